"""The transcripts of docs/api.md are what a server prints.

`python tests/docs/test_api.py --rewrite HOST:PORT` fills in the answers of a fresh server; review the difference.
"""

import asyncio
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

DOCUMENT = Path(__file__).parents[2] / "docs" / "api.md"
WRITTEN_ADDRESS = "127.0.0.1:50051"
CALL = [str(Path(sys.executable).with_name("buf")), "curl", "--protocol", "grpc", "--http2-prior-knowledge"]

VARIES = re.compile(
    r'(?<="sentTime": )".*?"|(?<="createdTime": )".*?"|(?<="roleTime": )".*?"|(?<="clientId": )".*?"'
    r'|(?<="clusterId": )".*?"|(?<="stateHash": )".*?"|(?<="version": )".*?"|(?<="epoch": )".*?"'
    r'|(?<="commitIndex": )".*?"|(?<="durableIndex": )".*?"|(?<="appliedIndex": )".*?"|(?<="hashIndex": )".*?"'
    r'|(?<="value": )".*?"|(?<="lastIndex": )".*?"|(?<="cpuUs": )".*?"'
)


def commands(text: str) -> Iterator[tuple[str, str]]:
    """Each `call` of the document with what follows it in its block."""
    for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            if command.startswith("call "):
                yield command, output


async def run(command: str, address: str) -> str:
    """What a command prints, with `…` for what varies and all events of a stream in one list."""
    arguments = shlex.split(command.replace(WRITTEN_ADDRESS, address))[1:]
    process = await asyncio.create_subprocess_exec(
        *CALL, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    async with asyncio.timeout(20):
        output, _ = await process.communicate()
    joined = output.decode().replace('\n  ]\n}\n{\n  "events": [\n', ",\n")  # how events share frames varies
    return VARIES.sub('"…"', joined.rstrip("\n").replace(address, WRITTEN_ADDRESS)) + "\n"


async def test_the_transcripts_are_what_a_server_prints(server: Any) -> None:
    shown = list(commands(DOCUMENT.read_text()))
    assert len(shown) >= 10
    for command, output in shown:
        assert await run(command, server.address) == output, command


async def rewrite(address: str) -> None:
    """Put the present answers into the document."""
    text = DOCUMENT.read_text()
    for command, output in list(commands(text)):
        text = text.replace(f"$ {command}\n{output}", f"$ {command}\n{await run(command, address)}")
    DOCUMENT.write_text(text)


if __name__ == "__main__":
    assert sys.argv[1] == "--rewrite"
    asyncio.run(rewrite(sys.argv[2]))
