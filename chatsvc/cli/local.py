"""A cluster whose servers are processes of this machine, started, killed and stopped by name."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

NAMES = "abcde"
STOP_S = 5.0
"""How long a server that was told to stop may take before it is killed."""

_PORT_MIN, _PORT_MAX = 20_000, 32_000


class LocalServer:
    """One server process, which may be ended and started again with the same command and directory."""

    def __init__(self, name: str, address: str, arguments: list[str]) -> None:
        self.name, self.address, self.arguments = name, address, arguments
        self.process: asyncio.subprocess.Process | None = None
        self.watch: asyncio.Task[None] | None = None
        self.expected_to_end = False

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.returncode is None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process, which must run."""
        assert self.process is not None
        self.process.send_signal(number)


class LocalCluster:
    """The servers.

    Args:
        ports: one for each server, on 127.0.0.1; at most as many as `NAMES` has letters.
        directory: has a directory for each server.
        on_line: called with what a server says, and with the news that one has ended unasked.
        options: of `chatsvc serve`, for all.

    Attributes:
        servers: by name, in the order of the ports.
    """

    def __init__(
        self,
        ports: Sequence[int],
        directory: Path,
        on_line: Callable[[LocalServer, str], None],
        options: Sequence[str] = (),
    ) -> None:
        addresses = [f"127.0.0.1:{port}" for port in ports]
        self.servers: dict[str, LocalServer] = {}
        self._on_line = on_line
        for place, address in enumerate(addresses):
            name = NAMES[place]
            others = ",".join(addresses[:place] + addresses[place + 1 :])
            # The first one founds the cluster only where none of the others knows of one: its directory may be gone.
            role = ["--backup" if place else "--primary", *(["--join", others] if others else [])]
            own = ["--listen", address, "--name", name, "--data-dir", str(directory / name)]
            self.servers[name] = LocalServer(name, address, [*role, *own, *options])

    @property
    def addresses(self) -> list[str]:
        return [server.address for server in self.servers.values()]

    def at(self, address: str) -> LocalServer:
        """The server with that address."""
        return next(server for server in self.servers.values() if server.address == address)

    async def start_all(self) -> None:
        """Start all; `all_in_sync` says when they serve."""
        for server in self.servers.values():
            await self.start(server)

    async def start(self, server: LocalServer) -> None:
        """Start one that does not run."""
        server.expected_to_end = False
        server.process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "chatsvc", "serve", *server.arguments),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=own_environment(),
            start_new_session=True,  # Ctrl-C is for this process; the servers are told in their turn
        )
        server.watch = asyncio.create_task(self._watch(server, server.process))

    async def _watch(self, server: LocalServer, process: asyncio.subprocess.Process) -> None:
        """Hand on what a server says, and that it has ended if nobody asked for that."""
        assert process.stdout is not None
        async for line in process.stdout:
            self._on_line(server, line.decode(errors="replace").rstrip())
        exit_status = await process.wait()
        if not server.expected_to_end:
            self._on_line(server, f"has ended with exit status {exit_status}")

    async def end(self, server: LocalServer, number: signal.Signals) -> None:
        """End one, by SIGTERM in good order or by SIGKILL; returns when the process is gone."""
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

    async def end_all(self, number: signal.Signals = signal.SIGTERM) -> None:
        """All at once."""
        await asyncio.gather(*(self.end(server, number) for server in self.servers.values()))

    async def all_in_sync(self, pause_s: float = 0.1) -> bool:
        """Wait until one serves and all would survive it.

        Returns:
            False: one has ended, and said why.
        """
        from chatsvc.client import AsyncCluster

        cluster = AsyncCluster(self.addresses)
        while all(server.is_running for server in self.servers.values()):
            found = await cluster.status(0.5)
            if found.primary is not None and sum(member.in_sync for member in found.members) == len(self.servers):
                return True
            await asyncio.sleep(pause_s)
        return False


def own_environment() -> dict[str, str]:
    """This process's environment without what is meant for it alone; every option is on the command lines."""
    return {
        name: value for name, value in os.environ.items() if not name.startswith("CHATSVC_") or name.endswith("DEBUG")
    }


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody has, below those that systems give to outgoing connections: a connection must
    not take a server's port while that server is down.
    """
    ports: list[int] = []
    candidate = _PORT_MIN + os.getpid() % (_PORT_MAX - _PORT_MIN)
    while len(ports) < count:
        candidate = candidate + 1 if candidate < _PORT_MAX else _PORT_MIN
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", candidate))
            except OSError:
                continue
        ports.append(candidate)
    return ports
