"""What `chatsvc bench` measures: a cluster, perhaps one of its own, a generator, and faults."""

import shutil
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from chatsvc.cli.local import LocalCluster, LocalServer, free_ports
from chatsvc.cli.render import harmless

if TYPE_CHECKING:
    from chatsvc.bench.failover import Fault
    from chatsvc.bench.results import Load, Result
    from chatsvc.bench.steady import Bench

SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP, "term": signal.SIGTERM}
"""Faults that are done to processes; those of somebody else are spared."""


class Measurement(msgspec.Struct, frozen=True):
    """A cluster, a generator, and what is measured with them.

    Attributes:
        local: how many servers to start; None: `servers` run already.
        servers: addresses; None: the usual ones.
        pairs, connections: people who chat, people who are just there.
        processes: of the generator.
        size: characters of a message.
        give_up_s: how long no primary may answer.
        tell: see `chatsvc.bench.steady.Tell`.
    """

    local: int | None
    servers: tuple[str, ...] | None
    pairs: int
    connections: int
    processes: int
    size: int
    give_up_s: float
    tell: Callable[[str, float], None]

    async def measure(self, loads: Sequence["Load"], fault: str | None, runs: int) -> list["Result"]:
        """All loads, one after the other; with a fault, the one load goes on under it.

        Raises:
            BenchError, ConnectError: it could not be done.
        """
        if self.local is None:
            from chatsvc.client.addresses import checked_servers

            return await self._measure(checked_servers(self.servers), None, loads, fault, runs)
        self.tell("starting servers", 0.0)
        async with _temporary_cluster(self.local, 2 * self.pairs + self.connections + 100) as cluster:
            return await self._measure(tuple(cluster.addresses), cluster, loads, fault, runs)

    async def _measure(
        self,
        servers: tuple[str, ...],
        cluster: LocalCluster | None,
        loads: Sequence["Load"],
        fault: str | None,
        runs: int,
    ) -> list["Result"]:
        from chatsvc.bench.crew import Crew
        from chatsvc.bench.failover import measure_failovers
        from chatsvc.bench.steady import Bench
        from chatsvc.client import AsyncCluster

        results = []
        async with Crew(self.processes) as crew:
            bench = Bench(crew, AsyncCluster(servers, give_up_s=self.give_up_s), self.pairs, self.tell)
            await bench.connect(servers, self.connections, self.size, self.give_up_s)
            for load in loads:
                if fault is None:
                    results.append(await bench.run(load))
                else:
                    result = await bench.begin(load)
                    result.failover = await measure_failovers(bench, self._fault(fault, bench, cluster), runs)
                    await bench.end(result)
                    results.append(result)
            if cluster is None:
                self.tell("deleting the accounts", 0.0)
                await crew.leave(delete=True)
        return results

    def _fault(self, name: str, bench: "Bench", cluster: LocalCluster | None) -> "Fault":
        assert cluster is not None
        return _Signal(name, cluster)


class _Signal:
    """A signal to the process of the primary; afterwards it goes on or is started again.

    Args:
        name: a key of `SIGNALS`.
    """

    def __init__(self, name: str, cluster: LocalCluster) -> None:
        self.name, self.is_order, self._cluster = name, name == "term", cluster
        self._victim: LocalServer

    async def strike(self, primary: str) -> int:
        """See `Fault`."""
        self._victim = self._cluster.at(primary)
        began_ns = time.monotonic_ns()
        if self.name == "stop":
            self._victim.signal(signal.SIGSTOP)
        else:
            await self._cluster.end(self._victim, SIGNALS[self.name])
        return began_ns

    async def heal(self) -> None:
        """See `Fault`."""
        if self.name == "stop":
            self._victim.signal(signal.SIGCONT)
        else:
            await self._cluster.start(self._victim)


@asynccontextmanager
async def _temporary_cluster(count: int, sessions: int) -> AsyncIterator[LocalCluster]:
    """Servers on free ports, all in sync; they and their directory are gone afterwards.

    Args:
        sessions: most that there will be.
    """
    from chatsvc.bench.crew import BenchError

    said: list[str] = []

    def on_line(server: LocalServer, line: str) -> None:
        said.append(f"{server.name}: {line}")
        del said[:-20]

    directory = Path(tempfile.mkdtemp(prefix="chatsvc-bench-"))
    try:
        options = ["--max-sessions", str(sessions)]
        cluster = LocalCluster(free_ports(count), directory, on_line, options)
        try:
            await cluster.start_all()
            if not await cluster.all_in_sync():
                raise BenchError(f"a server did not start: {harmless(said[-1] if said else '')}")
            yield cluster
        finally:
            await cluster.end_all(signal.SIGKILL)  # what they have is of no use to anybody
    finally:
        shutil.rmtree(directory, ignore_errors=True)
