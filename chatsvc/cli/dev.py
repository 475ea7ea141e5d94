"""`chatsvc dev`: a whole cluster on this machine, in the foreground."""

import asyncio
import os
import signal
import sys
import threading
from pathlib import Path

import click

from chatsvc.cli.options import option
from chatsvc.cli.render import harmless, table

NAMES = "abcde"
STOP_S = 5.0
"""How long a server that was told to stop may take before it is killed."""

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
    return asyncio.run(_Cluster(count, base_port, directory).run())


class _Server:
    """One server process."""

    def __init__(self, name: str, address: str, arguments: list[str]) -> None:
        self.name, self.address, self.arguments = name, address, arguments
        self.process: asyncio.subprocess.Process | None = None
        self.watch: asyncio.Task[None] | None = None
        self.expected_to_end = False

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.returncode is None


class _Cluster:
    """The servers, and the prompt they are governed from."""

    def __init__(self, count: int, base_port: int, directory: Path) -> None:
        addresses = [f"127.0.0.1:{base_port + place}" for place in range(count)]
        self._servers: dict[str, _Server] = {}
        for place, address in enumerate(addresses):
            name = NAMES[place]
            others = ",".join(addresses[:place] + addresses[place + 1 :])
            # The first one founds the cluster only where none of the others knows of one: its directory may be gone.
            join = ["--join", others] if others else []
            arguments = [
                "--backup" if place else "--primary",
                *join,
                "--listen",
                address,
                "--name",
                name,
                "--data-dir",
                str(directory / name),
            ]
            self._servers[name] = _Server(name, address, arguments)
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
            for server in self._servers.values():
                await self._start(server)
            await self._wait_for_all()
            self._say_how_to_connect()
            threading.Thread(target=self._read_input, args=(loop,), name="input", daemon=True).start()
            await self._obey()
        finally:
            await self._stop_all()
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

    async def _act(self, verb: str, server: _Server) -> None:
        if verb in ("start", "restart"):
            if server.is_running and verb == "start":
                self._print(f"{server.name} runs already")
                return
            await self._end(server, signal.SIGKILL)
            await self._start(server)
            self._print(f"{server.name} started")
        elif not server.is_running:
            self._print(f"{server.name} does not run")
        elif verb in ("kill", "stop"):
            await self._end(server, signal.SIGKILL if verb == "kill" else signal.SIGTERM)
            self._print(f"{server.name} {'killed' if verb == 'kill' else 'stopped'}")
        else:
            assert server.process is not None
            server.process.send_signal(signal.SIGSTOP if verb == "pause" else signal.SIGCONT)
            self._print(f"{server.name} {verb}d")

    async def _status(self) -> None:
        from chatsvc.client import status

        found = await asyncio.to_thread(status, [server.address for server in self._servers.values()])
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

        addresses = ",".join(server.address for server in self._servers.values())
        default = addresses == "127.0.0.1:50051,127.0.0.1:50052,127.0.0.1:50053"
        where = "" if default else f" --server {addresses}"
        self._print(
            f"{len(self._servers)} servers on {addresses.replace(',', ', ')}; data in {self._directory}\n"
            f"chat, in other terminals:  {own_name()} connect --user alice{where}\n"
            f"                           {own_name()} connect --user bob{where}\n"
            "here: status, kill NAME, start NAME, help; Ctrl-C stops all"
        )

    # ---- processes

    async def _start(self, server: _Server) -> None:
        server.expected_to_end = False
        server.process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "chatsvc", "serve", *server.arguments),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=_environment(),
            start_new_session=True,  # Ctrl-C is for this process; the servers are told in their turn
        )
        server.watch = asyncio.create_task(self._watch(server, server.process))

    async def _watch(self, server: _Server, process: asyncio.subprocess.Process) -> None:
        """Show what a server says, and that it has ended if nobody asked for that."""
        assert process.stdout is not None
        async for line in process.stdout:
            text = line.decode(errors="replace").rstrip()
            if not text.startswith(_ONLY_ALONE):
                self._print(f"{server.name}: {harmless(text)}")
        exit_status = await process.wait()
        if not server.expected_to_end:
            self._print(f"{server.name} has ended with exit status {exit_status}")

    async def _end(self, server: _Server, number: signal.Signals) -> None:
        if server.process is None:
            return
        server.expected_to_end = True
        if server.is_running:
            server.process.send_signal(number)
            server.process.send_signal(signal.SIGCONT)
            try:
                async with asyncio.timeout(STOP_S):
                    await server.process.wait()
            except TimeoutError:
                server.process.kill()
                await server.process.wait()
        if server.watch is not None:
            await server.watch

    async def _stop_all(self) -> None:
        """All at once."""
        await asyncio.gather(*(self._end(server, signal.SIGTERM) for server in self._servers.values()))

    async def _wait_for_all(self) -> None:
        """Until one serves and all would survive it; or one has ended (it has said why), or it is time to stop."""
        from chatsvc.client import status

        addresses = [server.address for server in self._servers.values()]
        while not self._stopped.is_set() and all(server.is_running for server in self._servers.values()):
            found = await asyncio.to_thread(status, addresses, 0.5)
            in_sync = sum(member.in_sync for member in found.members)
            if found.primary is not None and in_sync == len(self._servers):
                return
            try:
                async with asyncio.timeout(0.1):
                    await self._stopped.wait()
            except TimeoutError:
                pass


def _environment() -> dict[str, str]:
    """This process's environment without what is meant for it alone; every option is on the command lines."""
    return {
        name: value for name, value in os.environ.items() if not name.startswith("CHATSVC_") or name.endswith("DEBUG")
    }
