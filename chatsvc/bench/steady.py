"""A load on a cluster, measured."""

import asyncio
import secrets
import time
from collections.abc import Callable, Sequence

from chatsvc.bench.crew import Crew
from chatsvc.bench.histogram import Histogram
from chatsvc.bench.orders import Connect, Counts, Start
from chatsvc.bench.results import Cpu, Load, Result, Sessions, together
from chatsvc.client import AsyncCluster

QUIET_S = 10.0
"""What is under way at the end counts as lost or unanswered when nothing has come for so long."""

AWAY_S = 1.0
"""How long nothing happens before people come back to their messages."""

LOOK_S = 0.1
"""How often progress is told."""

Tell = Callable[[str, float], None]
"""Told what is being done, and how much of it is done: 0 to 1."""


class CpuMeter:
    """CPU time of servers, as they say it, and of the generator.

    Args:
        cluster: whose servers are asked.
    """

    def __init__(self, cluster: AsyncCluster) -> None:
        self._cluster = cluster
        self._began: dict[str, tuple[int, int]] = {}  # by address: time, CPU time

    async def start(self, counts: Sequence[Counts]) -> None:
        """From here on."""
        self._generator = counts
        self._began = {address: (now, cpu_ns) for address, (_, now, cpu_ns) in (await self._ask()).items()}

    async def stop(self, counts: Sequence[Counts]) -> Cpu:
        """Until here. Servers that have been started in between, or do not answer, are left out."""
        servers = {}
        for address, (name, now, cpu_ns) in (await self._ask()).items():
            before, cpu_before_ns = self._began.get(address, (now, cpu_ns))
            if now > before and cpu_ns >= cpu_before_ns:
                servers[name] = round((cpu_ns - cpu_before_ns) / (now - before), 3)
        generator = [
            round((after.cpu_ns - before.cpu_ns) / max(1, after.time_ns - before.time_ns), 3)
            for before, after in zip(self._generator, counts, strict=True)
        ]
        return Cpu(servers, generator)

    async def _ask(self) -> dict[str, tuple[str, int, int]]:
        status = await self._cluster.status()
        now = time.monotonic_ns()
        return {member.address: (member.name, now, member.cpu_us * 1_000) for member in status.members if member.cpu_us}


class Bench:
    """Pairs that are logged in, and what they are made to do.

    Args:
        crew: the processes that they are in.
        cluster: which they are logged in to.
        pairs: how many.
        tell: see there.
    """

    def __init__(self, crew: Crew, cluster: AsyncCluster, pairs: int, tell: Tell) -> None:
        self.crew, self.cluster, self.pairs, self.tell = crew, cluster, pairs, tell
        self.sessions = Sessions(0, 0.0)
        self._meter = CpuMeter(cluster)

    async def connect(self, servers: tuple[str, ...], idle: int, size: int, give_up_s: float) -> None:
        """Log everybody in: the pairs, and `idle` people who are just there.

        Raises:
            ConnectError: no primary can be reached.
            BenchError: not everybody could be logged in.
        """
        self.tell("logging in", 0.0)
        await self.cluster.list_accounts(page_size=1)  # says it best if there is none
        batch = secrets.token_hex(4)
        told = await self.crew.connect(Connect(servers, batch, 0, self.pairs, 0, idle, size, give_up_s))
        seconds = (max(part.ended_ns for part in told) - min(part.began_ns for part in told)) / 1e9
        logins = 2 * self.pairs + idle
        self.sessions = Sessions(logins, round(logins / seconds, 1))

    async def run(self, load: Load) -> Result:
        """Measure one load; `begin` and `end` in one."""
        if load.offline:
            return await self._offline(load)
        result = await self.begin(load)
        await self.end(result)
        return result

    async def begin(self, load: Load) -> Result:
        """Measure a load; unless it was a number of messages it goes on until `end`."""
        result = Result(load, self.pairs, self.sessions)
        await self._measure(load, result)
        return result

    async def end(self, result: Result) -> None:
        """Wait for all that is under way, and count what became of it."""
        self.tell("waiting for the rest", 0.0)
        result.counts = together(await self.crew.halt(deliveries=True, quiet_s=QUIET_S))

    async def _measure(self, load: Load, result: Result) -> None:
        await self.crew.take()
        counted = await self.crew.look()
        if load.messages is None:
            await self.crew.start(Start(load.window, load.rate, None))
            await self._pass(f"{load.name}: warming up", load.warm_up_s)
            await self.crew.take()
            counted = await self.crew.look()
            await self._meter.start(counted)
            await self._pass(f"{load.name}: measuring", load.duration_s)
        else:
            await self._meter.start(counted)
            counted = await self.crew.look()  # the time begins now
            await self.crew.start(Start(load.window, load.rate, load.messages))
            await self._until_all_came(load, load.messages, together(counted))
        after = await self.crew.look()
        result.cpu = await self._meter.stop(after)
        taken = await self.crew.take()
        result.ack = Histogram.merged(part.ack for part in taken)
        result.e2e = Histogram.merged(part.e2e for part in taken)
        result.late = Histogram.merged(part.late for part in taken)
        result.acked_per_s = _per_s(counted, after, "acked", to_the_last=load.messages is not None)
        result.delivered_per_s = _per_s(counted, after, "delivered", to_the_last=load.messages is not None)

    async def _offline(self, load: Load) -> Result:
        result = Result(load, self.pairs, self.sessions)
        await self.crew.away()
        await self._measure(load, result)
        counts = together(await self.crew.halt(deliveries=False, quiet_s=QUIET_S))
        await self._pass(f"{load.name}: recipients are away", AWAY_S)
        await self.crew.take()
        counted = await self.crew.look()
        queued = counts.acked - counts.delivered
        self.tell(f"{load.name}: draining", 0.0)
        await self._meter.start(counted)
        began_ns = time.monotonic_ns()
        await self.crew.back()
        after = await self.crew.halt(deliveries=True, quiet_s=QUIET_S)
        result.drain_cpu = await self._meter.stop(after)
        result.counts = together(after)
        seconds = (result.counts.delivered_ns - began_ns) / 1e9
        result.delivered_per_s = round(queued / seconds, 1) if seconds > 0 else 0.0
        result.e2e = Histogram()  # of people who were away it says nothing
        return result

    async def _pass(self, what: str, seconds: float) -> None:
        """Let time pass, and tell how much."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        while (left := began + seconds - loop.time()) > 0:
            self.tell(what, 1 - left / seconds)
            await asyncio.sleep(min(LOOK_S, left))

    async def _until_all_came(self, load: Load, wanted: int, before: Counts) -> None:
        """Until so many were acknowledged and delivered, or nothing has come for `QUIET_S`."""
        seen, since = -1, time.monotonic()
        while True:
            counts = together(await self.crew.look())
            acked = counts.acked + counts.refused - before.acked - before.refused
            delivered = counts.delivered + counts.refused - before.delivered - before.refused
            came = acked if load.offline else min(acked, delivered)
            self.tell(f"{load.name}: measuring", came / wanted)
            if came >= wanted or (seen == acked + delivered and time.monotonic() - since > QUIET_S):
                return
            if acked + delivered != seen:
                seen, since = acked + delivered, time.monotonic()
            await asyncio.sleep(LOOK_S)


def _per_s(before: Sequence[Counts], after: Sequence[Counts], what: str, *, to_the_last: bool) -> float:
    """Messages a second.

    Args:
        before, after: of each process.
        what: acked or delivered.
        to_the_last: whether the time ends with the last of them and not when `after` was counted.
    """
    numbers: list[int] = [getattr(last, what) - getattr(first, what) for first, last in zip(before, after, strict=True)]
    if to_the_last:
        ns: int = max(getattr(last, f"{what}_ns") for last in after) - min(first.time_ns for first in before)
        return round(sum(numbers) / (ns / 1e9), 1) if ns > 0 else 0.0
    times = [(last.time_ns - first.time_ns) / 1e9 for first, last in zip(before, after, strict=True)]
    return round(sum(number / seconds for number, seconds in zip(numbers, times, strict=True)), 1)
