"""`chatsvc dev`: three real servers, governed by name."""

import asyncio
import signal
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from pathlib import Path

import pytest

from chatsvc.cli.local import free_ports
from chatsvc.client import AsyncClient, Timing

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


async def line_with(process: Process, text: str) -> str:
    """The next line of the output that has this text."""
    assert process.stdout is not None
    seen = ""
    async with asyncio.timeout(40):
        while True:
            line = (await process.stdout.readline()).decode()
            assert line, f"the output ended, and {text!r} was not in it: {seen}"
            seen += line
            if text in line:
                return line


def free_base_port() -> int:
    """The first of three neighbouring free ports."""
    while True:
        ports = free_ports(3)
        if ports[2] == ports[0] + 2:
            return ports[0]


async def test_a_local_cluster_is_killed_and_started_by_name_and_outlives_its_input(tmp_path: Path) -> None:
    port = free_base_port()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "chatsvc", "dev", "--base-port", f"{port}", "--data-dir", str(tmp_path)),
        stdin=PIPE,
        stdout=PIPE,
        stderr=STDOUT,
    )
    assert process.stdin is not None
    try:
        await line_with(process, "a: primary")
        await line_with(process, "3 servers on")
        servers = [f"127.0.0.1:{port + place}" for place in range(3)]
        patient = Timing(refused_s=60)
        async with await AsyncClient.connect("alice", servers, receive=False, timing=patient) as alice:
            assert (await alice.send("alice", "before")).conversation_seq == 1
            process.stdin.write(b"kill which\nkill a\n")
            await line_with(process, "kill which one? a, b, c")
            await line_with(process, "a killed")
            assert (await alice.send("alice", "after")).conversation_seq == 2
            process.stdin.write(b"status\nstart a\n")
            assert "unreachable" in await line_with(process, "a     127.0.0.1")
            await line_with(process, "a: backup, following")
            process.stdin.close()
            assert (await alice.send("alice", "the input has ended")).conversation_seq == 3
            await alice.logout()
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(20):
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            await process.wait()
