"""How long people wait when the primary of three servers is killed, or hangs.

    python -m benchmarks.failover --runs 100
    python -m benchmarks.failover --runs 20 --fault stop

Ten senders keep one message each un-acknowledged, through the client library. In each run the primary is killed
(kill -9) or stopped (SIGSTOP, for three seconds); a run's figure is the time from then to the moment when the last of
the ten has had an acknowledgement of a message that it sent afterwards or had under way. Between runs the victim comes
back and all servers are in sync again. Prints one JSON object with milliseconds.
"""

import argparse
import asyncio
import json
import signal
import statistics
import sys
import tempfile
import time
from pathlib import Path

from chatsvc.client import AsyncClient, Timing
from tests.cluster.processes import Cluster, running

SENDERS = 10
STOPPED_S = 3.0


class Sender:
    """Sends one message after the other, for ever."""

    def __init__(self, client: AsyncClient) -> None:
        self.client, self.acknowledged = client, 0
        self.last_at = 0.0  # of CLOCK_MONOTONIC, seconds
        self.came = asyncio.Event()

    async def run(self) -> None:
        while True:
            await self.client.send(self.client.user, "to myself")
            self.acknowledged += 1
            self.last_at = time.monotonic()
            self.came.set()

    async def next_at(self, since: float) -> float:
        """When the first acknowledgement after that moment came."""
        while self.last_at <= since:
            self.came.clear()
            await self.came.wait()
        return self.last_at


async def one_run(cluster: Cluster, senders: list[Sender], fault: str) -> float:
    """Seconds until everybody was served again."""
    primary = cluster[await cluster.all_in_sync()]
    began = time.monotonic()
    if fault == "kill":
        primary.kill()
    else:
        primary.signal(signal.SIGSTOP)
    async with asyncio.timeout(30):
        waited = max([await sender.next_at(began) for sender in senders]) - began
    if fault == "kill":
        primary.start()
    else:
        await asyncio.sleep(max(0.0, began + STOPPED_S - time.monotonic()))
        primary.signal(signal.SIGCONT)
    return waited


async def measure(runs: int, fault: str) -> dict[str, float]:
    """All runs."""
    waited = []
    with tempfile.TemporaryDirectory(prefix="chatsvc-failover") as directory:
        async with running(Path(directory)) as cluster:
            patient = Timing(refused_s=60)
            senders = [
                Sender(await AsyncClient.connect(f"user{number}", cluster.addresses, receive=False, timing=patient))
                for number in range(SENDERS)
            ]
            tasks = [asyncio.ensure_future(sender.run()) for sender in senders]
            for number in range(runs):
                waited.append(await one_run(cluster, senders, fault) * 1_000)
                print(f"run {number + 1}: {waited[-1]:.0f} ms", file=sys.stderr, flush=True)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.gather(*(sender.client.close() for sender in senders))
    waited.sort()
    return {
        "runs": runs,
        "p50": round(statistics.median(waited), 1),
        "p99": round(waited[min(len(waited) - 1, int(0.99 * len(waited)))], 1),
        "max": round(waited[-1], 1),
    }


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(prog="benchmarks.failover", description="Times failovers of three servers.")
    parser.add_argument("--runs", type=int, default=20, help="default: %(default)s")
    parser.add_argument("--fault", choices=["kill", "stop"], default="kill", help="default: %(default)s")
    options = parser.parse_args()
    print(json.dumps({"fault": options.fault, "ms": asyncio.run(measure(options.runs, options.fault))}))


if __name__ == "__main__":
    main()
