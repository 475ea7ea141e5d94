"""Servers as real processes, for tests that kill and stop them."""

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

from grpc import aio

from chatsvc.cli.local import free_ports
from chatsvc.v1 import replication_pb2 as pb
from chatsvc.v1.replication_pb2_grpc import ReplicationStub

DEADLINE_S = 20.0
POLL_S = 0.02

_LOG_LINE = re.compile(r"[-0-9]{10} [:,0-9]{12} [A-Z]+ ")

_CHANNEL_OPTIONS = (
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 100),
)


class ServerProcess:
    """One `chatsvc serve`, which may be killed, stopped and started again on the same directory.

    Args:
        prefix: a command that runs it, such as one that gives it a network of its own; it must exec.
    """

    def __init__(
        self,
        name: str,
        port: int,
        data_dir: Path,
        arguments: list[str],
        host: str = "127.0.0.1",
        prefix: Sequence[str] = (),
    ) -> None:
        self.name, self.address, self.data_dir = name, f"{host}:{port}", data_dir
        self.output = data_dir.parent / f"{name}.log"
        self._arguments, self._prefix = arguments, prefix
        self._process: subprocess.Popen[bytes] | None = None
        self.is_paused = False

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def exit_status(self) -> int | None:
        """As of `subprocess`: minus the signal that ended it; None while it runs."""
        return None if self._process is None else self._process.poll()

    def start(
        self,
        arguments: list[str] | None = None,
        prefix: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Start the process, by default with the same command line as always.

        Args:
            arguments: others than always.
            prefix: a command that runs it this time, after the one that always does.
            environment: variables beside those of this process.
        """
        assert not self.is_running
        arguments = arguments or self._arguments
        command = [*self._prefix, *prefix, sys.executable, "-m", "chatsvc", "serve", *arguments, "--log-level", "info"]
        command += ["--listen", self.address, "--name", self.name, "--data-dir", str(self.data_dir)]
        with self.output.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **(environment or {})},
            )

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to this very process."""
        assert self._process is not None
        self._process.send_signal(number)
        if number in (signal.SIGSTOP, signal.SIGCONT):
            self.is_paused = number == signal.SIGSTOP

    def kill(self) -> None:
        """kill -9; returns when the process is gone."""
        if self.is_running:
            assert self._process is not None
            self._process.kill()
            self._process.wait()
        self.is_paused = False

    def wait(self) -> int:
        """Wait for the end of the process; its exit status."""
        assert self._process is not None
        return self._process.wait(timeout=DEADLINE_S)

    def words(self) -> str:
        """What it has said, without its log."""
        lines = self.output.read_text().splitlines(keepends=True) if self.output.exists() else []
        return "".join(line for line in lines if not _LOG_LINE.match(line))

    def terminate(self) -> int:
        """SIGTERM; the exit status."""
        assert self._process is not None
        self._process.terminate()
        return self._process.wait(timeout=DEADLINE_S)


def roles(place: int, addresses: Sequence[str]) -> list[str]:
    """What the server at that place is told about the cluster: the first one founds it, if nobody of it answers."""
    others = ",".join([*addresses[:place], *addresses[place + 1 :]])
    role = "--primary" if place == 0 else "--backup"
    return [role, "--join", others] if others else [role]


class Cluster:
    """Servers by name, the first of which founds the cluster."""

    def __init__(self, servers: Sequence[ServerProcess]) -> None:
        self.servers = {server.name: server for server in servers}
        self._channels: dict[str, aio.Channel] = {}

    @classmethod
    def local(cls, directory: Path, size: int = 3, ports: Sequence[int] = ()) -> "Cluster":
        """Servers on 127.0.0.1, a port for each, by default free ones."""
        ports = ports or free_ports(size)
        addresses = [f"127.0.0.1:{port}" for port in ports]
        return cls(
            [
                ServerProcess(name, port, directory / name, roles(place, addresses))
                for place, (name, port) in enumerate(zip("abcde", ports, strict=False))
            ]
        )

    @property
    def addresses(self) -> list[str]:
        return [server.address for server in self.servers.values()]

    def __getitem__(self, name: str) -> ServerProcess:
        return self.servers[name]

    async def start(self, deadline_s: float = DEADLINE_S) -> None:
        """Start all and wait until all are in sync."""
        for server in self.servers.values():
            server.start()
        await self.all_in_sync(deadline_s=deadline_s)

    def channel(self, name: str) -> aio.Channel:
        """A connection to a server, the same at every call."""
        if name not in self._channels:
            self._channels[name] = aio.insecure_channel(self.servers[name].address, options=_CHANNEL_OPTIONS)
        return self._channels[name]

    async def status(self, name: str) -> pb.GetStatusResponse | None:
        """What a server says of itself; None if it does not answer at once."""
        try:
            answer: pb.GetStatusResponse = await ReplicationStub(self.channel(name)).GetStatus(
                pb.GetStatusRequest(), timeout=0.3
            )
        except aio.AioRpcError:
            return None
        return answer

    async def statuses(self) -> dict[str, pb.GetStatusResponse]:
        """Of all that answer."""
        names = list(self.servers)
        answers = await asyncio.gather(*(self.status(name) for name in names))
        return {name: answer for name, answer in zip(names, answers, strict=True) if answer is not None}

    async def primary(self, deadline_s: float = DEADLINE_S) -> str:
        """Name of the server that serves clients; waits for one."""
        async with asyncio.timeout(deadline_s):
            while True:
                serving = {name: answer for name, answer in (await self.statuses()).items() if answer.serving}
                if serving:
                    return max(serving, key=lambda name: serving[name].epoch)
                await asyncio.sleep(POLL_S)

    async def all_in_sync(self, *names: str, deadline_s: float = DEADLINE_S) -> str:
        """Wait until the named servers, by default all, would survive the others' death; the primary's name."""
        wanted = {self.servers[name].address for name in names or self.servers}
        async with asyncio.timeout(deadline_s):
            while True:
                primary = await self.primary(deadline_s)
                answer = await self.status(primary)
                if answer is not None and answer.serving:
                    in_sync = {member.address for member in answer.members if member.in_sync}
                    if wanted <= in_sync:
                        return primary
                await asyncio.sleep(POLL_S)

    async def same_state(self, deadline_s: float = DEADLINE_S) -> None:
        """Wait until all running servers have applied the same and show the same state hash."""
        async with asyncio.timeout(deadline_s):
            while True:
                answers = (await self.statuses()).values()
                running = sum(server.is_running for server in self.servers.values())
                hashes = {(answer.self.hash_index, answer.self.state_hash) for answer in answers}
                if len(answers) == running and len(hashes) == 1:
                    return
                await asyncio.sleep(POLL_S)

    async def close(self) -> None:
        """End everything that was started here."""
        for channel in self._channels.values():
            await channel.close()
        for server in self.servers.values():
            if server.is_running and server.is_paused:
                server.signal(signal.SIGCONT)
            server.kill()

    def outputs(self) -> str:
        """The logs of all servers, for a failed test."""
        texts = []
        for server in self.servers.values():
            with contextlib.suppress(FileNotFoundError):
                texts.append(f"--- {server.name} {server.address}\n{server.output.read_text()[-6_000:]}")
        return "\n".join(texts)


@contextlib.asynccontextmanager
async def running(directory: Path, size: int = 3) -> AsyncIterator[Cluster]:
    """A cluster, all in sync; ended at the end, with its logs printed if the test fails."""
    cluster = Cluster.local(directory, size)
    try:
        await cluster.start()
        yield cluster
    except BaseException:
        print(cluster.outputs())
        raise
    finally:
        await cluster.close()
