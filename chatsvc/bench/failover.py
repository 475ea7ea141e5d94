"""Faults of the primary under load: how long people wait for the next one."""

import asyncio
import random
from typing import Protocol

from chatsvc.bench.crew import BenchError
from chatsvc.bench.results import Failover
from chatsvc.bench.steady import Bench
from chatsvc.client import ClusterStatus

SERVED_S = 60.0
"""Longest wait for a new primary."""

HEALED_S = 60.0
"""Longest wait until all servers are in sync again."""

BETWEEN_S = (0.3, 0.8)
"""Between two faults all is well for a time drawn from here, so that they come at any moment of the servers' rhythm."""

POLL_S = 0.1


class Fault(Protocol):
    """What is done to the primary.

    Attributes:
        name: for people and scripts.
        is_order: whether the primary is told to go, and serves until it does; else it serves no more at once.
    """

    name: str
    is_order: bool

    async def strike(self, primary: str) -> int:
        """Do it to the server at that address.

        Returns:
            When that began, CLOCK_MONOTONIC in nanoseconds.
        """

    async def heal(self) -> None:
        """Let the server come back."""


async def measure_failovers(bench: Bench, fault: Fault, runs: int) -> Failover:
    """Faults, one after the other, while the pairs of a bench chat.

    Raises:
        BenchError: there was no new primary, or those in sync before were not in sync again in time.
    """
    everybody = sum(member.in_sync for member in (await bench.cluster.status()).members)
    if everybody < 2:
        raise BenchError("a failover takes two servers in sync")
    waited_ms: list[float] = []
    for number in range(runs):
        bench.tell(f"{fault.name}, {runs} times", number / runs)
        status = await _all_in_sync(bench, everybody)
        assert status.primary is not None
        await asyncio.sleep(random.uniform(*BETWEEN_S))
        await bench.crew.expect(status.epoch)
        began_ns = await fault.strike(status.primary)
        served = await bench.crew.served(SERVED_S)
        await fault.heal()
        waited_ns = served.pause_ns if fault.is_order else served.last_ns - began_ns
        waited_ms.append(round(waited_ns / 1e6, 1))
    await _all_in_sync(bench, everybody)
    return Failover(fault.name, waited_ms)


async def _all_in_sync(bench: Bench, everybody: int) -> ClusterStatus:
    try:
        async with asyncio.timeout(HEALED_S):
            while True:
                status = await bench.cluster.status(0.5)
                if status.primary is not None and sum(member.in_sync for member in status.members) >= everybody:
                    return status
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        raise BenchError(f"not all servers were in sync after {HEALED_S:g} s") from None
