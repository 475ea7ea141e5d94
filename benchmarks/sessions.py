"""Many people at once: what a session costs, how fast all come back when the primary dies, and what the others notice.

    python -m benchmarks.sessions --sessions 10000
    python -m benchmarks.sessions --sessions 10000 --few 100 --rate 500 --seconds 10 --rounds 3 --json figures.json

Three servers. In each round:

1. A *few* sessions log in and write to each other, --rate messages a second in all.
2. The others log in too, --at-once of them at any moment; that gives logins a second, and memory of the primary before
   and after. Then all write to each other at the same rate. Time to an acknowledgement is compared with that of step 1.
3. The primary is killed (kill -9). Everybody comes back by itself: when its stream ends it tries the other servers in
   turn, and resumes its session. A run's figure is the time from the kill to the welcome of the last.
4. All write again: what is acknowledged then is delivered, once and in order. The dead server is started again, all log
   out, and the next round begins, with names that are known by now.

People are driven by `benchmarks.driver`: one connection each, in one process, which may be the limit itself; its CPU
is in the figures. Prints one JSON object.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import random
import resource
import statistics
import sys
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import psutil

from benchmarks.compare import machine
from benchmarks.dialects import DIALECTS
from benchmarks.driver import Counts, Crew, Load, Target, Team, User, cpu_s
from tests.cluster.processes import Cluster, running

PAUSE_S_MIN, PAUSE_S_MAX = 0.05, 1.0
"""Between two attempts at all servers, as the client library has it: doubles, and is drawn from its upper half."""
ATTEMPT_S_MIN, ATTEMPT_S_MAX = 1.0, 5.0
"""For one login at one server, as the client library has it: doubles each time it was not enough."""
BACK_S = 120.0
"""Nobody is waited for longer."""
LOGIN_S = 60.0
SETTLE_S = 2.0


class Crowd(Team):
    """People who log in little by little, and come back by themselves when their stream ends."""

    def __init__(self, target: Target) -> None:
        super().__init__(target)
        self._addresses: list[tuple[str, int]] = []
        self._returning: set[asyncio.Task[None]] = set()
        self._away: set[str] = set()  # users who are on their way back
        self._back_at: dict[str, float] = {}  # CLOCK_MONOTONIC, of users who are there again
        self._all_back = asyncio.Event()

    async def join(self, names: list[tuple[str, str]], load: Load, at_once: int) -> float:
        """Log in (name, peer) besides those who are there, so many at a time; returns the seconds it took."""
        dialect = DIALECTS[self._target.dialect]
        waiting = iter([User(n, peer, dialect(n, load.acknowledge, load.numbers, True), self) for n, peer in names])
        joined: list[User] = []

        async def log_in() -> None:
            for user in waiting:
                user.last_received = self._last_received.get(user.name, 0)
                await user.connect(self._target.host, self._target.port, LOGIN_S)
                joined.append(user)

        began_s = time.monotonic()
        await asyncio.gather(*(log_in() for _ in range(at_once)))
        took_s = time.monotonic() - began_s
        self._users += joined
        random.Random(len(self._users)).shuffle(self._users)  # so that writers are any of them
        return took_s

    async def expect_loss(self, addresses: list[tuple[str, int]]) -> None:
        """From now on, whose stream ends comes back to one of these servers."""
        self._addresses, self._back_at = addresses, {}
        self._all_back.clear()

    def on_ended(self, user: User, reason: str) -> None:
        """See `Team`."""
        if not self._addresses:
            super().on_ended(user, reason)
        elif user.name not in self._away:  # else its return goes on
            user.stream.close()
            self._away.add(user.name)
            self._back_at.pop(user.name, None)
            task = asyncio.ensure_future(self._return(user))
            self._returning.add(task)
            task.add_done_callback(self._returning.discard)

    async def _return(self, user: User) -> None:
        addresses, pause_s, attempt_s = self._addresses, PAUSE_S_MIN, ATTEMPT_S_MIN
        for place in itertools.count(random.randrange(len(addresses))):
            try:
                await user.connect(*addresses[place % len(addresses)], attempt_s)
                self._away.remove(user.name)
                self._back_at[user.name] = time.monotonic()
                if len(self._back_at) == len(self._users):
                    self._all_back.set()
                return
            except (OSError, RuntimeError, TimeoutError) as error:
                if isinstance(error, TimeoutError):
                    attempt_s = min(2 * attempt_s, ATTEMPT_S_MAX)
                if place % len(addresses) == 0:
                    await asyncio.sleep(random.uniform(pause_s / 2, pause_s))
                    pause_s = min(2 * pause_s, PAUSE_S_MAX)

    async def all_back(self, timeout_s: float) -> list[float]:
        """When each came back, of CLOCK_MONOTONIC; fewer than all if some did not in time."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._all_back.wait(), timeout_s)
        self._addresses = []
        return sorted(self._back_at.values())


def _target(cluster: Cluster, name: str) -> Target:
    host, _, port = cluster[name].address.rpartition(":")
    return Target(host, int(port), "chatsvc", (cluster[name].pid,))


def _rss_mib(cluster: Cluster, name: str) -> float:
    return round(psutil.Process(cluster[name].pid).memory_info().rss / 2**20, 1)


def _traffic(crowd: Crew, target: Target, load: Load) -> dict[str, Any]:
    """All write to each other; `sent` in it counts from here."""
    crowd.ask("pace", load.rate)
    time.sleep(load.warm_up_s)
    first, server = crowd.ask("mark"), cpu_s(target.pids)
    time.sleep(load.seconds)
    last, server_after = crowd.ask("mark"), cpu_s(target.pids)
    ack_ms, e2e_ms, late_ms = crowd.ask("latencies")
    stopped: Counts = crowd.ask("stop", load.quiet_s)
    arrived: Counts = crowd.ask("arrive", stopped.acked, load.quiet_s)
    seconds = last.time_s - first.time_s
    if (
        arrived.refused
        or arrived.reordered
        or arrived.doubled
        or not arrived.delivered == stopped.acked == stopped.sent
    ):
        raise RuntimeError(f"this was not sound: {arrived}")
    return {
        "acked_per_s": round((last.acked - first.acked) / seconds, 1),
        "ack_ms": asdict(ack_ms),
        "e2e_ms": asdict(e2e_ms),
        "late_ms": asdict(late_ms),
        "generator_cpu": round((last.cpu_s - first.cpu_s) / seconds, 2),
        "primary_cpu": round((server_after[0] - server[0]) / seconds, 2),
    }


async def one_round(cluster: Cluster, load: Load, sessions: int, few: int, at_once: int) -> dict[str, Any]:
    """See the module.

    Raises:
        RuntimeError: a message was lost, doubled, reordered or refused, or somebody did not come back.
    """
    primary = await cluster.all_in_sync()
    target = _target(cluster, primary)
    names = [f"p{number:06}" for number in range(sessions)]
    pairs = [(name, names[number ^ 1]) for number, name in enumerate(names)]
    result: dict[str, Any] = {"rss_mib_before": _rss_mib(cluster, primary)}
    with Crew(target, Crowd) as crowd:
        ask = crowd.ask
        await asyncio.to_thread(ask, "join", pairs[:few], load, at_once)
        result["few"] = await asyncio.to_thread(_traffic, crowd, target, load)
        result["rss_mib_few"] = _rss_mib(cluster, primary)
        took_s = await asyncio.to_thread(ask, "join", pairs[few:], load, at_once)
        result["logins_per_s"] = round((sessions - few) / took_s, 1)
        await asyncio.sleep(SETTLE_S)
        result["rss_mib_all"] = _rss_mib(cluster, primary)
        result["kib_a_session"] = round((result["rss_mib_all"] - result["rss_mib_few"]) * 1_024 / (sessions - few), 1)
        idle_from_s = time.monotonic()
        server = cpu_s(target.pids)
        await asyncio.sleep(SETTLE_S)
        idle_s = time.monotonic() - idle_from_s
        result["primary_cpu_idle"] = round((cpu_s(target.pids)[0] - server[0]) / idle_s, 3)
        result["all"] = await asyncio.to_thread(_traffic, crowd, target, load)
        result["rss_mib_primary"] = _rss_mib(cluster, primary)
        others = [_target(cluster, name) for name in cluster.servers if name != primary]
        await asyncio.to_thread(ask, "expect_loss", [(other.host, other.port) for other in others])
        killed_s = time.monotonic()
        cluster[primary].kill()
        back_s = await asyncio.to_thread(ask, "all_back", BACK_S)
        if len(back_s) < sessions:
            raise RuntimeError(f"{sessions - len(back_s)} of {sessions} did not come back within {BACK_S:g} s")
        waited = [moment - killed_s for moment in back_s]
        at = {share: round(waited[min(sessions - 1, int(share * sessions))], 3) for share in (0, 0.5, 0.99, 1)}
        result["back_s"] = {"first": at[0], "p50": at[0.5], "p99": at[0.99], "last": at[1]}
        result["storm_logins_per_s"] = round(sessions / (at[1] - at[0]), 1) if at[1] > at[0] else None
        now = await cluster.primary()
        target = _target(cluster, now)
        result["rss_mib_after_storm"] = _rss_mib(cluster, now)
        result["after"] = await asyncio.to_thread(_traffic, crowd, target, load)
    cluster[primary].start()
    return result


async def measure(rounds: int, load: Load, sessions: int, few: int, at_once: int) -> dict[str, Any]:
    """All rounds, and what is said of them in all."""
    results = []
    with tempfile.TemporaryDirectory(prefix="chatsvc-sessions") as directory:
        async with running(Path(directory)) as cluster:
            for number in range(rounds):
                results.append(await one_round(cluster, load, sessions, few, at_once))
                print(f"round {number + 1}: {json.dumps(results[-1])}", file=sys.stderr, flush=True)
    ratios = [round(result["all"]["ack_ms"]["p99"] / result["few"]["ack_ms"]["p99"], 2) for result in results]
    return {
        **machine(),
        "sessions": sessions,
        "few": few,
        "rate": load.rate,
        "rss_mib_primary": max(max(result["rss_mib_primary"], result["rss_mib_after_storm"]) for result in results),
        "kib_a_session": statistics.median(result["kib_a_session"] for result in results),
        "logins_per_s": statistics.median(result["logins_per_s"] for result in results),
        "all_back_s": sorted(result["back_s"]["last"] for result in results),
        "ack_p99_all_to_few": sorted(ratios),
        "rounds": results,
    }


def raise_descriptor_limit(wanted: int) -> None:
    """Let this process and its children open more files.

    Raises:
        SystemExit: the system does not allow as many.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        sys.exit(f"benchmarks.sessions: {wanted} open files are needed, {hard} are allowed: ulimit -Hn")
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(prog="benchmarks.sessions", description="Many sessions at once.")
    parser.add_argument("--sessions", type=int, default=10_000, help="default: %(default)s")
    parser.add_argument("--few", type=int, default=100, help="to compare with (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=500.0, help="messages/s in all (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=10.0, help="measured time of traffic (default: %(default)s)")
    parser.add_argument("--at-once", type=int, default=100, help="logins under way (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--json", type=Path, metavar="FILE", help="the same in a file")
    options = parser.parse_args()
    if options.sessions % 2 or options.few % 2 or not 0 < options.few < options.sessions:
        parser.error("people come in pairs: --sessions and --few are even, and --few is less")
    raise_descriptor_limit(options.sessions + 200)
    load = replace(Load("rate"), rate=options.rate, seconds=options.seconds)
    try:
        figures = asyncio.run(measure(options.rounds, load, options.sessions, options.few, options.at_once))
    except RuntimeError as error:
        sys.exit(f"benchmarks.sessions: {error}")
    print(json.dumps(figures))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
