"""The load driver: pairs of users, a sender and a recipient each, every one with a connection of its own.

    python -m benchmarks.driver --server HOST:PORT saturate --window 16 --seconds 5
    python -m benchmarks.driver --server HOST:PORT rate --rate 500 --seconds 5
    python -m benchmarks.driver --server HOST:PORT offline --messages 400

- `saturate`: every sender keeps that many messages un-acknowledged.
- `rate`: that many messages a second over all senders, whatever the server does.
- `offline`: the recipients log out; every sender sends that many messages; all recipients log in at once and drain.

Senders run in one process, recipients in another. A message of 105 characters carries the time it was sent (of
CLOCK_MONOTONIC, which all processes of a machine share), its number, its sender, and filling. It counts as
acknowledged when the server has answered its number to the sender, and as delivered when the recipient has parsed
it. At the end every run waits for what is under way and checks that all that was acknowledged was delivered, once
and in order. Prints one JSON object; exit status 1 when that check failed.

Independent of `chatsvc.client`, so that nothing of the client's speed is in the figures.
"""

import argparse
import asyncio
import collections
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from multiprocessing.connection import Connection
from typing import Any

import psutil

from benchmarks.dialects import DIALECTS, Dialect, Stream

FILLING = "t" * 64
OFFLINE_WINDOW = 32
WARM_UP_S = 1.0
CONNECT_S = 20.0
"""Most that connecting and logging in may take."""
GENERATOR_CPU_MAX = 0.9
"""Cores; a generator process that used more was likely the limit itself."""


@dataclass(frozen=True)
class Target:
    """What is driven.

    Attributes:
        host, port: of the server.
        dialect: a key of `DIALECTS`.
        pids: of the server's processes, whose CPU is measured.
    """

    host: str
    port: int
    dialect: str = "chatsvc"
    pids: tuple[int, ...] = ()


@dataclass(frozen=True)
class Load:
    """One run.

    Attributes:
        mode: saturate, rate or offline.
        seconds: measured time of `saturate` and `rate`.
        warm_up_s: under load before that.
        window: un-acknowledged messages a sender, of `saturate`.
        rate: messages a second over all senders, of `rate`.
        messages: a sender, of `offline`.
        pairs: of a sender and a recipient.
        acknowledge: whether recipients acknowledge explicitly; otherwise the server counts what the stream took.
        numbers: whether sends carry op seqs.
        quiet_s: what is under way at the end counts as lost when nothing has come for so long.
    """

    mode: str
    seconds: float = 5.0
    warm_up_s: float = WARM_UP_S
    window: int = 1
    rate: float = 500.0
    messages: int = 400
    pairs: int = 50
    acknowledge: bool = False
    numbers: bool = True
    quiet_s: float = 5.0

    @property
    def name(self) -> str:
        """Such as `W=16` or `500/s`."""
        match self.mode:
            case "saturate":
                return f"W={self.window}"
            case "rate":
                return f"{self.rate:,.0f}/s"
            case _:
                return self.mode


@dataclass(frozen=True)
class Millis:
    """Percentiles of a latency in milliseconds; None if nothing was measured."""

    p50: float | None = None
    p99: float | None = None

    @classmethod
    def of(cls, latencies_ns: Sequence[int]) -> "Millis":
        """Of that many measurements."""
        if not latencies_ns:
            return cls()
        ordered = sorted(latencies_ns)
        p50, p99 = (ordered[min(len(ordered) - 1, int(share * len(ordered)))] / 1e6 for share in (0.5, 0.99))
        return cls(round(p50, 3), round(p99, 3))


@dataclass
class Result:
    """What a run has shown.

    Attributes:
        mode, name, seconds: of the load.
        acked_per_s, delivered_per_s: in the measured time. In mode `offline`: while queueing, while draining.
        ack_ms: from sending a message to its acknowledgement at the sender.
        e2e_ms: from sending it to its arrival at the recipient.
        late_ms: how late the generator was with a message, in mode `rate`.
        sent, acked, delivered: messages in the whole run.
        lost: acknowledged and not delivered.
        doubled: deliveries of a message that was delivered before.
        reordered: deliveries of a message before all that were sent earlier.
        refused: what the server would not do, and streams that ended; the first one in words in `trouble`.
        acked_per_frame, delivered_per_frame: messages in an average frame to a sender, to a recipient; whole run.
        cpu: cores used, by name of process; that of the servers in the order of their ids.
        generator_bound: whether a generator process used so much CPU that it was likely the limit.
    """

    mode: str
    name: str
    seconds: float
    acked_per_s: float = 0.0
    delivered_per_s: float = 0.0
    ack_ms: Millis = Millis()
    e2e_ms: Millis = Millis()
    late_ms: Millis = Millis()
    sent: int = 0
    acked: int = 0
    delivered: int = 0
    lost: int = 0
    doubled: int = 0
    reordered: int = 0
    refused: int = 0
    trouble: str = ""
    acked_per_frame: float | None = None
    delivered_per_frame: float | None = None
    cpu: dict[str, Any] = field(default_factory=dict)
    generator_bound: bool = False

    @property
    def is_sound(self) -> bool:
        """Whether all that was sent was acknowledged and delivered, once and in order."""
        return not (self.lost or self.doubled or self.reordered or self.refused) and self.sent == self.acked


# ---- users, in the processes of the generator


class User:
    """A logged-in user: its stream, and what has been counted on it."""

    def __init__(self, name: str, peer: str, dialect: Dialect, team: "Team") -> None:
        self.name, self.peer, self.dialect, self.team = name, peer, dialect, team
        self.online: asyncio.Future[None]
        self.stream: Stream
        self.sent_ns: collections.deque[int] = collections.deque()  # of what is not acknowledged
        self.last_sent = self.last_acked = 0
        self.last_received = 0  # and all before it
        self.early: set[int] = set()  # received, above one that was not

    async def connect(self, host: str, port: int, timeout_s: float = CONNECT_S) -> None:
        """Connect, log in, and wait until the server says so; again after a stream has ended."""
        loop = asyncio.get_running_loop()
        self.online = loop.create_future()
        self.stream = stream = self.dialect.stream(self._take, self._ended)
        await loop.create_connection(lambda: stream, host, port)
        if login := self.dialect.login():
            stream.send(login)
            stream.flush()
        try:
            await asyncio.wait_for(self.online, timeout_s)
        except BaseException:
            stream.close()
            raise

    def send(self, count: int) -> None:
        """Queue messages as one frame."""
        texts = []
        first = self.last_sent + 1
        for number in range(first, first + count):
            now = time.monotonic_ns()
            self.sent_ns.append(now)
            texts.append(f"{now:016x}{number:016x}{self.name:9}{FILLING}")
        self.last_sent += count
        self.stream.send(self.dialect.sends(self.peer, first, texts))

    def _take(self, frames: list[bytes]) -> None:
        now, team = time.monotonic_ns(), self.team
        team.frames += len(frames)
        acknowledged = inbox_seq = 0
        for frame in frames:
            heard = self.dialect.heard(frame)
            for number in heard.acknowledged:
                if number == self.last_acked + 1:
                    self.last_acked = number
                    team.ack_ns.append(now - self.sent_ns.popleft())
                    acknowledged += 1
                else:
                    team.refuse(f"message {number} of {self.name} was acknowledged after {self.last_acked}")
            for text in heard.messages:
                self._received(text, now)
            inbox_seq = max(inbox_seq, heard.inbox_seq)
            if heard.online and not self.online.done():
                self.online.set_result(None)
            for refusal in heard.refusals:
                self._ended(refusal)
        if inbox_seq and (frame_back := self.dialect.acknowledge(inbox_seq)):
            self.stream.send(frame_back)
        if acknowledged:
            team.acked += acknowledged
            team.on_acknowledged(self, acknowledged)
        team.note()

    def _received(self, text: str, now: int) -> None:
        number, team = int(text[16:32], 16), self.team
        if number == self.last_received + 1:
            self.last_received = number
            while self.early and self.last_received + 1 in self.early:
                self.last_received += 1
                self.early.remove(self.last_received)
        elif number <= self.last_received or number in self.early:
            team.doubled += 1
        else:
            self.early.add(number)
            team.reordered += 1
        if text[32:41].rstrip() != self.peer:
            team.refuse(f"{self.name} got a message that {self.peer} did not send")
        team.delivered += 1
        team.e2e_ns.append(now - int(text[:16], 16))

    def _ended(self, reason: str) -> None:
        self.team.on_ended(self, reason)
        if not self.online.done():
            self.online.set_exception(RuntimeError(reason))


@dataclass(frozen=True)
class Counts:
    """What a team has counted since its start, at a moment; the fields are those of `Result`."""

    time_s: float
    cpu_s: float
    sent: int
    acked: int
    delivered: int
    doubled: int
    reordered: int
    refused: int
    trouble: str
    frames: int


class Team:
    """All users of one role, in one process."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._users: list[User] = []
        self._last_received: dict[str, int] = {}
        self._awaited: tuple[Callable[[], bool], asyncio.Future[None]] | None = None
        self._pacing: asyncio.Task[None] | None = None
        self.on_acknowledged: Callable[[User, int], None] = _nothing
        self.acked = self.delivered = self.doubled = self.reordered = self.refused = self.frames = 0
        self.trouble = ""
        self.ack_ns: list[int] = []
        self.e2e_ns: list[int] = []
        self.late_ns: list[int] = []

    def on_ended(self, user: User, reason: str) -> None:
        """The server would not do something for a user, or the user's stream has ended."""
        self.refuse(f"{user.name}: {reason}")

    def refuse(self, reason: str) -> None:
        """Count something that went wrong."""
        self.refused += 1
        self.trouble = self.trouble or reason

    def note(self) -> None:
        """Counts have changed."""
        if self._awaited is not None and self._awaited[0]():
            if not self._awaited[1].done():
                self._awaited[1].set_result(None)
            self._awaited = None

    async def _all(self, count: Callable[[], int], total: int, quiet_s: float) -> None:
        """Wait until `count` has reached `total`, something was refused, or nothing has come for `quiet_s`."""
        seen = -1
        while seen < count() < total and not self.refused:
            seen = count()
            all_came: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._awaited = (lambda: count() >= total or self.refused > 0), all_came
            await asyncio.wait((all_came,), timeout=quiet_s)

    # ---- what the main process asks for

    async def connect(self, names: list[tuple[str, str]], load: Load, receives: bool) -> float:
        """Connect and log in (name, peer); returns the time at which that began."""
        began_s = time.monotonic()
        dialect = DIALECTS[self._target.dialect]
        users = [
            User(name, peer, dialect(name, load.acknowledge, load.numbers, receives), self) for name, peer in names
        ]
        for user in users:
            user.last_received = self._last_received.get(user.name, 0)
        await asyncio.gather(*(user.connect(self._target.host, self._target.port) for user in users))
        self._users = users
        return began_s

    async def disconnect(self) -> None:
        """Cut all connections."""
        for user in self._users:
            self._last_received[user.name] = user.last_received
            user.stream.close()
        self._users = []

    async def leave(self) -> None:
        """As `disconnect`, for good."""
        for user in self._users:
            if goodbye := user.dialect.goodbye():
                user.stream.send(goodbye)
                user.stream.flush()
        await self.disconnect()

    def _counts(self) -> Counts:
        return Counts(
            time_s=time.monotonic(),
            cpu_s=time.process_time(),
            sent=sum(user.last_sent for user in self._users),
            acked=self.acked,
            delivered=self.delivered,
            doubled=self.doubled,
            reordered=self.reordered,
            refused=self.refused,
            trouble=self.trouble,
            frames=self.frames,
        )

    async def mark(self) -> Counts:
        """Counts so far; latencies are measured anew from here."""
        counts = self._counts()
        self._taken = self.ack_ns, self.e2e_ns, self.late_ns
        self.ack_ns, self.e2e_ns, self.late_ns = [], [], []
        return counts

    async def latencies(self) -> tuple[Millis, Millis, Millis]:
        """Between the last two marks: of acknowledgements, end to end, of the generator itself."""
        ack_ns, e2e_ns, late_ns = self._taken
        return Millis.of(ack_ns), Millis.of(e2e_ns), Millis.of(late_ns)

    async def saturate(self, window: int) -> None:
        """Keep so many messages a sender un-acknowledged until `stop`."""
        self.on_acknowledged = User.send
        for user in self._users:
            user.send(window)
            user.stream.flush()

    async def pace(self, rate: float) -> None:
        """Send so many messages a second, each sender in its turn, until `stop`."""

        async def pacing() -> None:
            start_s, count = time.monotonic(), 0
            while True:
                now_s = time.monotonic()
                while count < (now_s - start_s) * rate:
                    user = self._users[count % len(self._users)]
                    self.late_ns.append(int((time.monotonic() - start_s - count / rate) * 1e9))
                    user.send(1)
                    user.stream.flush()
                    count += 1
                await asyncio.sleep(max(0.0, start_s + count / rate - time.monotonic()))

        self._pacing = asyncio.ensure_future(pacing())

    async def queue(self, messages: int, quiet_s: float) -> float:
        """Send so many from each sender, `OFFLINE_WINDOW` un-acknowledged at most; returns the seconds it took."""
        total = messages * len(self._users)

        def send_more(user: User, count: int) -> None:
            if count := min(count, messages - user.last_sent):
                user.send(count)

        self.on_acknowledged = send_more
        began_s = time.monotonic()
        for user in self._users:
            user.send(min(OFFLINE_WINDOW, messages))
            user.stream.flush()
        await self._all(lambda: self.acked, total, quiet_s)
        return time.monotonic() - began_s

    async def stop(self, quiet_s: float) -> Counts:
        """Send no more; wait for the acknowledgements, as long as any come."""
        self.on_acknowledged = _nothing
        if self._pacing is not None:
            self._pacing.cancel()
            await asyncio.wait((self._pacing,))
        await self._all(lambda: self.acked, self._counts().sent, quiet_s)
        return self._counts()

    async def arrive(self, total: int, quiet_s: float) -> Counts:
        """Wait until so many were delivered, as long as any come."""
        await self._all(lambda: self.delivered - self.doubled, total, quiet_s)
        return self._counts()


def _nothing(_user: User, _count: int) -> None:
    pass


def _work(connection: Connection, target: Target, kind: type[Team]) -> None:
    """A process of the generator: does what it is asked for, until None is asked."""

    async def work() -> None:
        team = kind(target)
        while (asked := await asyncio.to_thread(connection.recv)) is not None:
            method, arguments = asked
            try:
                answer = await getattr(team, method)(*arguments)
            except Exception as error:
                answer = error
            connection.send(answer)
        await team.leave()

    asyncio.run(work())


# ---- the main process


class Crew:
    """A process with a team; use as a context manager."""

    def __init__(self, target: Target, kind: type[Team] = Team) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs, target, kind), daemon=True)
        self._process.start()
        theirs.close()

    def __enter__(self) -> "Crew":
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._connection.send(None)
            self._process.join(2)
        except OSError:
            pass
        self._process.kill()
        self._process.join()

    def start(self, method: str, *arguments: object) -> None:
        """Ask for something; `answer` has what comes of it."""
        self._connection.send((method, arguments))

    def answer(self) -> Any:
        """The answer to what was asked for."""
        answer = self._connection.recv()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def ask(self, method: str, *arguments: object) -> Any:
        """Both."""
        self.start(method, *arguments)
        return self.answer()


def run(target: Target, load: Load) -> Result:
    """Drive a server with one load, by users that no run before had.

    Raises:
        RuntimeError, OSError: a user could not connect or log in.
    """
    result = Result(load.mode, load.name, load.seconds)
    batch = os.urandom(2).hex()
    names = [(f"s{batch}{pair:03}", f"r{batch}{pair:03}") for pair in range(load.pairs)]
    swapped = [(recipient, sender) for sender, recipient in names]
    with Crew(target) as senders, Crew(target) as recipients:
        recipients.ask("connect", swapped, load, True)
        senders.ask("connect", names, load, False)
        if load.mode == "offline":
            _run_offline(target, load, senders, recipients, swapped, result)
        else:
            _run_online(target, load, senders, recipients, result)
    return result


def _run_online(target: Target, load: Load, senders: Crew, recipients: Crew, result: Result) -> None:
    if load.mode == "saturate":
        senders.ask("saturate", load.window)
    else:
        senders.ask("pace", load.rate)
    time.sleep(load.warm_up_s)
    first, servers = _mark(senders, recipients), cpu_s(target.pids)
    time.sleep(load.seconds)
    last, servers_after = _mark(senders, recipients), cpu_s(target.pids)
    seconds = [after.time_s - before.time_s for before, after in zip(first, last, strict=True)]
    result.acked_per_s = round((last[0].acked - first[0].acked) / seconds[0], 1)
    result.delivered_per_s = round((last[1].delivered - first[1].delivered) / seconds[1], 1)
    result.ack_ms, _, result.late_ms = senders.ask("latencies")
    _, result.e2e_ms, _ = recipients.ask("latencies")
    generator = [(after.cpu_s - before.cpu_s) / s for before, after, s in zip(first, last, seconds, strict=True)]
    _note_cpu(result, generator, [(b - a) / seconds[0] for a, b in zip(servers, servers_after, strict=True)])
    _stop(senders, load, result)
    _arrive(recipients, load, result)


def _run_offline(
    target: Target, load: Load, senders: Crew, recipients: Crew, names: list[tuple[str, str]], result: Result
) -> None:
    recipients.ask("disconnect")
    time.sleep(0.5)  # the server sees closed connections, which nobody confirms
    first, servers = _mark(senders, recipients), cpu_s(target.pids)
    queue_s = senders.ask("queue", load.messages, load.quiet_s)
    last, servers_after = _mark(senders, recipients), cpu_s(target.pids)
    result.ack_ms, _, _ = senders.ask("latencies")
    _stop(senders, load, result)
    result.acked_per_s = round(result.acked / queue_s, 1)
    generator = [(after.cpu_s - before.cpu_s) / queue_s for before, after in zip(first, last, strict=True)]
    _note_cpu(result, generator, [(b - a) / queue_s for a, b in zip(servers, servers_after, strict=True)])
    if not DIALECTS[target.dialect].keeps_for_absent:
        return
    time.sleep(1.0)  # the queue is on disk and nothing happens, as when people are away
    first, servers = _mark(senders, recipients), cpu_s(target.pids)
    began_s = recipients.ask("connect", names, load, True)
    last_s = _arrive(recipients, load, result)
    last, servers_after = _mark(senders, recipients), cpu_s(target.pids)
    drain_s = last_s - began_s
    result.delivered_per_s = round(result.delivered / drain_s, 1)
    _, result.e2e_ms, _ = recipients.ask("latencies")
    result.cpu["drain_recipients"] = round((last[1].cpu_s - first[1].cpu_s) / drain_s, 2)
    result.cpu["drain_servers"] = [round((b - a) / drain_s, 2) for a, b in zip(servers, servers_after, strict=True)]
    result.generator_bound |= result.cpu["drain_recipients"] >= GENERATOR_CPU_MAX


def _mark(senders: Crew, recipients: Crew) -> tuple[Counts, Counts]:
    senders.start("mark")
    recipients.start("mark")
    return senders.answer(), recipients.answer()


def _stop(senders: Crew, load: Load, result: Result) -> None:
    counts: Counts = senders.ask("stop", load.quiet_s)
    result.sent, result.acked = counts.sent, counts.acked
    result.refused += counts.refused
    result.trouble = result.trouble or counts.trouble
    result.acked_per_frame = round(counts.acked / max(1, counts.frames), 1)


def _arrive(recipients: Crew, load: Load, result: Result) -> float:
    """Returns the time at which the last message came."""
    counts: Counts = recipients.ask("arrive", result.acked, load.quiet_s)
    result.delivered, result.doubled, result.reordered = counts.delivered, counts.doubled, counts.reordered
    result.lost = max(0, result.acked - (result.delivered - result.doubled))
    result.refused += counts.refused
    result.trouble = result.trouble or counts.trouble
    result.delivered_per_frame = round(counts.delivered / max(1, counts.frames), 1)
    return counts.time_s


def _note_cpu(result: Result, generator: list[float], servers: list[float]) -> None:
    result.cpu = {
        "senders": round(generator[0], 2),
        "recipients": round(generator[1], 2),
        "servers": [round(cores, 2) for cores in servers],
    }
    result.generator_bound = max(generator) >= GENERATOR_CPU_MAX


def cpu_s(pids: Sequence[int]) -> list[float]:
    """CPU time that processes have used so far, seconds each."""
    times = [psutil.Process(pid).cpu_times() for pid in pids]
    return [cpu.user + cpu.system for cpu in times]


def add_load_options(parser: argparse.ArgumentParser) -> None:
    """Options that every run has."""
    parser.add_argument("--seconds", type=float, default=5.0, help="measured time of a run (default: %(default)s)")
    parser.add_argument("--warm-up", type=float, default=WARM_UP_S, metavar="SECONDS", help="under load before that")
    parser.add_argument("--pairs", type=int, default=50, help="senders, and as many recipients (default: %(default)s)")
    parser.add_argument("--messages", type=int, default=400, help="a sender, of offline (default: %(default)s)")
    parser.add_argument("--acknowledge", action="store_true", help="recipients acknowledge explicitly")
    parser.add_argument("--no-op-seqs", action="store_true", help="senders leave the counting to the server")


def common_load(options: argparse.Namespace) -> Load:
    """A load with what `add_load_options` has parsed; its mode is still to be set."""
    return Load(
        mode="",
        seconds=options.seconds,
        warm_up_s=options.warm_up,
        messages=options.messages,
        pairs=options.pairs,
        acknowledge=options.acknowledge,
        numbers=not options.no_op_seqs,
    )


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(prog="benchmarks.driver", description="Drives a chat server and measures it.")
    parser.add_argument("mode", choices=("saturate", "rate", "offline"))
    parser.add_argument("--server", required=True, metavar="HOST:PORT")
    parser.add_argument("--dialect", choices=sorted(DIALECTS), default="chatsvc")
    parser.add_argument("--pids", default="", metavar="PID,…", help="of the server, whose CPU is measured")
    parser.add_argument("--window", type=int, default=1, help="un-acknowledged messages a sender, of saturate")
    parser.add_argument("--rate", type=float, default=500.0, help="messages/s over all senders, of rate")
    add_load_options(parser)
    options = parser.parse_args()
    host, _, port = options.server.rpartition(":")
    target = Target(host, int(port), options.dialect, tuple(int(pid) for pid in options.pids.split(",") if pid))
    load = replace(common_load(options), mode=options.mode, window=options.window, rate=options.rate)
    result = run(target, load)
    print(json.dumps(asdict(result)))
    if not result.is_sound:
        sys.exit(1)


if __name__ == "__main__":
    main()
