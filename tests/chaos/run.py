"""One run: a cluster, people who chat through it, one fault after the other, and a judgement."""

import asyncio
import os
import random
import re
import shutil
import subprocess
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Protocol

import msgspec

from chatsvc.client import AsyncCluster
from chatsvc.domain.errors import Unavailable
from tests.chaos.checker import Violation, check
from tests.chaos.faults import CLASSES, SMALL_DISK_BYTES, Limits, World
from tests.chaos.history import Fault, FinalState, History, Outcome
from tests.chaos.network import INSIDE, Network
from tests.chaos.people import Clerk, CommandLine, Reader, Rivals, Stranger, Stub, reading
from tests.cluster.processes import Cluster, ServerProcess, roles
from tests.cluster.traffic import Pair, flows

CALM_S, CALM_TIMES = 1.0, 15
"""How long there is traffic before a fault, and after it; and how often that is waited for."""

TICK_S, STARVED_S = 0.05, 0.2
"""How often this process looks at the clock, and what it takes for starvation if it comes so much too late."""

RECOVERED_S, IN_SYNC_S, SETTLE_S = 120.0, 120.0, 120.0
"""After so long without recovery, without everybody in sync, without an end, a run has failed."""

PORT = 50_051
SMALL_DISK = "c"


class Options(msgspec.Struct, frozen=True):
    """What a run is made of.

    Attributes:
        duration_s: after so long no fault begins any more.
        seed: of all choices.
        faults: classes to draw from.
        directory: for data and reports.
        pairs, window, pace_s: of the client library's people.
        pause_s: longest pause or cut.
        slack_s: how much longer than by the rules a sender may be without an answer.
        rate_min: answers a second that are traffic enough.
    """

    duration_s: float
    seed: int
    faults: tuple[str, ...]
    directory: Path
    pairs: int = 3
    window: int = 16
    pace_s: float = 0.01
    pause_s: float = 4.0
    slack_s: float = 5.0
    rate_min: float = 10.0


class Result(msgspec.Struct):
    """What came of a run. Times but those of faults are seconds since its beginning.

    Attributes:
        left_out: classes of faults that this machine does not permit.
        sums: what was done and seen.
        failpoints: how often each was reached.
        faults: all, with their times.
        violations: what is wrong; empty: nothing.
        clock: the beginning on the clock of `faults`.
        acknowledged_at: of the steady clients, sorted.
        promotions: when which server began to serve.
    """

    options: Options
    left_out: dict[str, str]
    began: str = ""
    took_s: float = 0.0
    load: float = 0.0
    clock: float = 0.0
    sums: dict[str, int] = msgspec.field(default_factory=dict)
    failpoints: dict[str, int] = msgspec.field(default_factory=dict)
    faults: list[Fault] = msgspec.field(default_factory=list)
    violations: list[Violation] = msgspec.field(default_factory=list)
    acknowledged_at: list[float] = msgspec.field(default_factory=list)
    promotions: list[tuple[float, str]] = msgspec.field(default_factory=list)


class Person(Protocol):
    """Whoever chats."""

    async def settle(self, deadline_s: float) -> None:
        """Come to an end."""

    async def close(self) -> None:
        """Give up."""


def not_permitted() -> dict[str, str]:
    """What faults need and this machine does not permit, with the reason."""
    missing = {}
    if INSIDE not in os.environ:
        missing["namespaces"] = "namespaces of its own are not permitted here"
    if shutil.which("strace") is None:
        missing["strace"] = "strace is not installed"
    return missing


async def run(options: Options) -> tuple[Result, History]:
    """Do it all; the servers are gone when it returns."""
    missing = not_permitted()
    left_out = {name: missing[CLASSES[name].needs] for name in options.faults if CLASSES[name].needs in missing}
    result = Result(options, left_out)
    running = _Run(options, [name for name in options.faults if name not in left_out], result)
    await running.run()
    return result, running.history


class _Run:
    def __init__(self, options: Options, classes: list[str], result: Result) -> None:
        self.options, self.classes, self.result = options, classes, result
        self.history = History(rate_min=options.rate_min)
        self.dice = random.Random(options.seed)
        small_disks: dict[str, Path] = {}
        network = None
        if INSIDE in os.environ:
            network = Network("abc")
            addresses = [f"{network.hosts[name]}:{PORT}" for name in "abc"]
            servers = []
            for place, name in enumerate("abc"):
                directory = options.directory / name
                if name == SMALL_DISK:
                    disk = options.directory / f"disk-{name}"
                    disk.mkdir(parents=True)
                    _command("mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK_BYTES}", "tmpfs", str(disk))
                    small_disks[name] = disk
                    directory = disk / name
                arguments = [*roles(place, addresses), "--insecure"]
                prefix = network.prefix(name)
                servers.append(ServerProcess(name, PORT, directory, arguments, network.hosts[name], prefix))
            self.cluster = Cluster(servers)
        else:
            self.cluster = Cluster.local(options.directory)
        people_dice = random.Random(options.seed + 1)
        servers_known = self.cluster.addresses
        self.pairs = [
            Pair(f"lib{number}", options.window, self.history, options.pace_s, patience_s=300.0)
            for number in range(options.pairs)
        ]
        self.command_lines = [CommandLine("cli", servers_known, self.history, 5 * options.pace_s)]
        self.history.steady = {pair.sender_name for pair in self.pairs}
        self.people_dice = people_dice
        limits = Limits(options.pause_s, options.slack_s)
        self.world = World(self.cluster, network, self.command_lines, small_disks, self.dice, limits)
        self.people: list[Person] = []
        self.conversations: list[tuple[str, str]] = []
        self.started = time.monotonic()
        self.started_wall = time.time()

    async def run(self) -> None:
        result = self.result
        result.began = datetime.now().isoformat(timespec="seconds")
        tasks_failed: list[str] = []
        watching = asyncio.create_task(self._watch_starvation())
        try:
            await self.cluster.start(IN_SYNC_S)
            await self._begin_chat()
            self.started, self.started_wall = time.monotonic(), time.time()
            try:
                await self._faults()
                self.history.ended = time.monotonic()
                await self._settle()
            except TimeoutError as error:
                self.history.ended = self.history.ended or time.monotonic()
                tasks_failed.append(f"{error or 'something took too long'}")
        finally:
            watching.cancel()
            await asyncio.gather(*(person.close() for person in [*self.people, *self.pairs]), return_exceptions=True)
            await self.cluster.close()
            self._add_up(tasks_failed)

    async def _watch_starvation(self) -> None:
        before = time.monotonic()
        while True:
            await asyncio.sleep(TICK_S)
            now = time.monotonic()
            if now - before - TICK_S > STARVED_S:
                self.history.starved.append((now, now - before - TICK_S))
            before = now

    async def _begin_chat(self) -> None:
        servers, history, dice = self.cluster.addresses, self.history, self.people_dice
        await asyncio.gather(
            *(pair.start(servers) for pair in self.pairs), *(line.start() for line in self.command_lines)
        )
        self.conversations = [
            *((pair.sender_name, pair.recipient_name) for pair in self.pairs),
            *((line.sender_name, line.recipient_name) for line in self.command_lines),
        ]
        self.people += [
            *self.command_lines,
            Stub("stub", "stub-1", servers, history, dice),
            Stranger("stranger", "stranger", servers, history, dice),
            Rivals("rival", servers, history, dice, 4.0),
            Reader(self.conversations, servers, history, 0.1),
            Clerk(["name1", "name2"], servers, history, random.Random(self.options.seed + 2)),
            Clerk(["name1", "name2"], servers, history, random.Random(self.options.seed + 3)),
        ]
        await flows(self.pairs, RECOVERED_S)

    # ---- faults

    async def _faults(self) -> None:
        end = time.monotonic() + self.options.duration_s
        waiting: list[str] = []
        while time.monotonic() < end and self.classes:
            if not waiting:
                waiting = list(self.classes)
                self.dice.shuffle(waiting)
            await self._one(waiting.pop())

    async def _one(self, kind: str) -> None:
        world = self.world
        await asyncio.sleep(self.dice.random())
        world.damaged = ""
        world.primary = await self.cluster.all_in_sync(deadline_s=IN_SYNC_S)
        before = await self._calm()
        fault = world.fault = Fault(kind, "", 0.0, time.monotonic(), steady=())
        self.history.faults.append(fault)
        await CLASSES[kind].act(world)
        fault.ended = time.monotonic()
        print(f"{fault.ended - self.started:7.1f} {kind}: {fault.what}; {fault.evidence}", flush=True)
        self.world.count(f"fault {kind}")
        tending = asyncio.create_task(world.tend())
        try:
            await flows(self.pairs, RECOVERED_S)
            fault.recovered = time.monotonic()
            await self.cluster.all_in_sync(deadline_s=IN_SYNC_S)
        except TimeoutError:
            raise TimeoutError(f"no recovery from {kind} ({fault.what})") from None
        finally:
            tending.cancel()
        fault.in_sync = time.monotonic()
        fault.steady = (before, await self._calm())

    async def _calm(self) -> tuple[float, float]:
        """A while with traffic enough, or the last one waited for: from when to when."""
        for _ in range(CALM_TIMES):
            since, answers = time.monotonic(), sum(pair.acknowledged for pair in self.pairs)
            await asyncio.sleep(CALM_S)
            to = time.monotonic()
            if sum(pair.acknowledged for pair in self.pairs) - answers >= self.options.rate_min * (to - since):
                break
        return since, to

    # ---- the end

    async def _settle(self) -> None:
        people = [*self.people, *self.pairs]
        came = await asyncio.gather(*(person.settle(SETTLE_S) for person in people), return_exceptions=True)
        late = [
            f"{type(person).__name__} {getattr(person, 'sender_name', '')}".strip()
            for person, error in zip(people, came, strict=True)
            if isinstance(error, TimeoutError)
        ]
        for error in came:
            if isinstance(error, BaseException) and not isinstance(error, TimeoutError):
                raise error
        if late:
            raise TimeoutError(f"at the end not all was answered and delivered: {', '.join(late)}")
        asking = AsyncCluster(self.cluster.addresses)
        for user, peer in [
            *self.conversations[len(self.pairs) :],
            *((name, name) for name in ("stub", "stranger", "rival")),
        ]:
            begun = time.monotonic()
            try:
                messages = await asking.history(user, peer, limit=10_000_000)
            except Unavailable as error:
                raise TimeoutError(f"the conversation of {user} and {peer} can't be read: {error}") from error
            self.history.final.append(reading(user, peer, begun, messages))
        try:
            await self.cluster.same_state()
        except TimeoutError:
            pass  # the checker says so
        for name, answer in (await self.cluster.statuses()).items():
            state = FinalState(name, answer.self.hash_index, answer.self.state_hash.hex())
            self.history.states.append(state)
            if answer.holes:
                self.result.violations.append(
                    Violation("H1", f"{name} knows {answer.holes} operations whose acknowledgement was lost")
                )
        if len(self.history.states) < len(self.cluster.servers):
            self.result.violations.append(Violation("H12", "not every server answers at the end"))

    def _add_up(self, failed: Sequence[str]) -> None:
        result, history = self.result, self.history
        result.took_s, result.load = time.monotonic() - self.started, os.getloadavg()[0]
        result.violations += [Violation("H11", text) for text in [*failed, *self.world.troubles]]
        result.violations += check(history)
        result.clock = self.started
        result.faults, result.failpoints = history.faults, self.world.failpoints
        acknowledged = [send for send in history.sends if send.outcome is Outcome.OK]
        result.acknowledged_at = sorted(
            send.completed - self.started for send in acknowledged if send.client in history.steady
        )
        result.promotions = sorted(
            (when - self.started_wall, server.name)
            for server in self.cluster.servers.values()
            for when in serving_times(server.output)
        )
        result.sums = {
            "faults": len(history.faults),
            "failovers": sum(when > 0 for when, _ in result.promotions),
            "acknowledged": len(acknowledged),
            "without an answer": len(history.sends) - len(acknowledged),
            "delivered": len(history.deliveries),
            "reads": len(history.readings),
            "seconds without CPU": round(sum(seconds for _, seconds in history.starved)),
            "account operations": len(history.accounts),
            "session takeovers": len(history.sessions),
            "failpoints reached": sum(self.world.failpoints.values()),
            "different failpoints": len(self.world.failpoints),
            **self.world.counts,
        }


_SERVING = re.compile(r"^([-0-9]{10} [:0-9]{8},[0-9]{3}) .*serving clients, epoch", re.MULTILINE)


def serving_times(output: Path) -> list[float]:
    """When a server began to serve, by its log; seconds since 1970."""
    times = _SERVING.findall(output.read_text())
    return [datetime.strptime(when, "%Y-%m-%d %H:%M:%S,%f").timestamp() for when in times]


def _command(*command: str) -> None:
    subprocess.run(command, check=True)
