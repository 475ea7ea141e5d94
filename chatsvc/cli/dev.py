"""`chatsvc dev`: a whole cluster on this machine, in the foreground."""

import asyncio
import signal
import sys
import threading
from pathlib import Path

import click

from chatsvc.cli.local import NAMES, LocalCluster, LocalServer
from chatsvc.cli.options import option
from chatsvc.cli.render import harmless, table

HELP = """\
status        how the servers are
kill NAME     kill -9 that server, for example: kill a
stop NAME     let it leave in good order
start NAME    start it again, with the same command and directory
pause NAME    freeze it (SIGSTOP); resume NAME lets it go on
help, quit"""

_ONLY_ALONE = ("serving on", "chat, in another", "stop with")
"""Beginnings of what a server says to somebody who runs it alone."""


@click.command(short_help="Run a whole cluster on this machine.")
@option(
    "--servers",
    "count",
    env="CHATSVC_DEV_SERVERS",
    metavar="N",
    type=click.IntRange(1, len(NAMES)),
    default=3,
    show_default=True,
    help="How many.",
)
@option(
    "--base-port",
    metavar="PORT",
    type=click.IntRange(1, 65_500),
    default=50_051,
    show_default=True,
    help="Port of the first server; the others have the next ones.",
)
@option(
    "--data-dir",
    env="CHATSVC_DEV_DATA_DIR",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Has a directory for each server.  [default: ~/.local/share/chatsvc/dev-PORT]",
)
def dev(count: int, base_port: int, data_dir: Path | None) -> int:
    """Run a whole cluster on this machine, and kill and start its servers by name from a prompt.

    Goes on after the end of its standard input; Ctrl-C or SIGTERM stops it and its servers.

    \b
    Example:
      chatsvc dev
      chatsvc dev --servers 5 --base-port 50061 --data-dir ./cluster
    """
    from chatsvc.cli.serve import default_data_dir

    directory = data_dir or default_data_dir(base_port).with_name(f"dev-{base_port}")
    return asyncio.run(_Prompt(count, base_port, directory).run())


class _Prompt:
    """The servers, and the prompt they are governed from."""

    def __init__(self, count: int, base_port: int, directory: Path) -> None:
        self._cluster = LocalCluster(range(base_port, base_port + count), directory, self._server_said)
        self._servers = self._cluster.servers
        self._directory = directory
        self._stopped = asyncio.Event()
        self._lines: asyncio.Queue[str | None] = asyncio.Queue()
        self._is_terminal = sys.stdin.isatty() and sys.stdout.isatty()

    async def run(self) -> int:
        """Start everything; return when told to stop."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._stopped.set)
        try:
            await self._cluster.start_all()
            await self._wait_for_all()
            self._say_how_to_connect()
            threading.Thread(target=self._read_input, args=(loop,), name="input", daemon=True).start()
            await self._obey()
        finally:
            await self._cluster.end_all()
        return 0

    # ---- the prompt

    def _read_input(self, loop: asyncio.AbstractEventLoop) -> None:
        """Hand over lines of standard input; in a thread, because not every kind of input can be waited for."""
        try:
            for line in sys.stdin:
                loop.call_soon_threadsafe(self._lines.put_nowait, line)
            loop.call_soon_threadsafe(self._lines.put_nowait, None)
        except (RuntimeError, OSError, ValueError):
            pass  # the loop is closed, or there is no input: nobody asks any more

    async def _obey(self) -> None:
        stopped = asyncio.ensure_future(self._stopped.wait())
        try:
            while not self._stopped.is_set():
                if self._is_terminal:
                    print("dev> ", end="", flush=True)
                line = asyncio.ensure_future(self._lines.get())
                await asyncio.wait((line, stopped), return_when=asyncio.FIRST_COMPLETED)
                if not line.done():
                    line.cancel()
                    return
                command = line.result()
                if command is None:
                    await stopped  # the end of the input is no wish to stop
                    return
                await self._carry_out(command.split())
        finally:
            stopped.cancel()

    async def _carry_out(self, words: list[str]) -> None:
        match words:
            case []:
                pass
            case ["status"]:
                await self._status()
            case ["help"]:
                self._print(HELP)
            case ["quit" | "exit"]:
                self._stopped.set()
            case ["kill" | "stop" | "start" | "restart" | "pause" | "resume" as verb, name] if name in self._servers:
                await self._act(verb, self._servers[name])
            case ["kill" | "stop" | "start" | "restart" | "pause" | "resume" as verb, *_]:
                self._print(f"{verb} which one? {', '.join(self._servers)}")
            case _:
                self._print(f"unknown: {harmless(' '.join(words))}\n{HELP}")

    async def _act(self, verb: str, server: LocalServer) -> None:
        if verb in ("start", "restart"):
            if server.is_running and verb == "start":
                self._print(f"{server.name} runs already")
                return
            await self._cluster.end(server, signal.SIGKILL)
            await self._cluster.start(server)
            self._print(f"{server.name} started")
        elif not server.is_running:
            self._print(f"{server.name} does not run")
        elif verb in ("kill", "stop"):
            await self._cluster.end(server, signal.SIGKILL if verb == "kill" else signal.SIGTERM)
            self._print(f"{server.name} {'killed' if verb == 'kill' else 'stopped'}")
        else:
            server.signal(signal.SIGSTOP if verb == "pause" else signal.SIGCONT)
            self._print(f"{server.name} {verb}d")

    async def _status(self) -> None:
        from chatsvc.client import AsyncCluster

        found = await AsyncCluster(self._cluster.addresses).status()
        known = {member.address: member for member in found.members}
        rows = [["NAME", "ADDRESS", "PROCESS", "ROLE", "IN SYNC", "DURABLE"]]
        for server in self._servers.values():
            member = known.get(server.address)
            process = f"pid {server.process.pid}" if server.is_running and server.process is not None else "-"
            role = member.role if member is not None else "unreachable"
            in_sync = "yes" if member is not None and member.in_sync else "no"
            durable = f"{member.durable_index}" if member is not None else "-"
            rows.append([server.name, server.address, process, role, in_sync, durable])
        self._print(table(rows))

    def _print(self, text: str) -> None:
        try:
            print(text, flush=True)
        except OSError:
            pass  # nobody reads it; the servers go on

    def _say_how_to_connect(self) -> None:
        from chatsvc.cli.serve import own_name

        addresses = ",".join(self._cluster.addresses)
        default = addresses == "127.0.0.1:50051,127.0.0.1:50052,127.0.0.1:50053"
        where = "" if default else f" --server {addresses}"
        self._print(
            f"{len(self._servers)} servers on {addresses.replace(',', ', ')}; data in {self._directory}\n"
            f"chat, in other terminals:  {own_name()} connect --user alice{where}\n"
            f"                           {own_name()} connect --user bob{where}\n"
            "here: status, kill NAME, start NAME, help; Ctrl-C stops all"
        )

    async def _wait_for_all(self) -> None:
        """Until all are in sync; or one has ended (it has said why), or it is time to stop."""
        waits = asyncio.ensure_future(self._cluster.all_in_sync()), asyncio.ensure_future(self._stopped.wait())
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)

    def _server_said(self, server: LocalServer, line: str) -> None:
        if not line.startswith(_ONLY_ALONE):
            self._print(f"{server.name}: {harmless(line)}")
