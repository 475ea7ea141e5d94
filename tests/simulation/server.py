"""One simulated server: its machine's clock, its data directory, and the process that hosts a replica.

`Process` is the host of the core's contract, with the faults a real one has: it may be paused (its kernel
goes on accepting and buffering), may die between any two steps, and handles what has arrived one by one or
all at once.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from chatsvc.replication import Identity, Role, boot_id
from chatsvc.replication.configs import Config
from chatsvc.replication.entries import Entry, EntryKind
from chatsvc.replication.envelopes import ON_STREAM, Ack, Envelope, Hello, Relinquish, Vote, VoteReply
from chatsvc.replication.events import (
    AppendEntries,
    Broken,
    Event,
    NoteKind,
    ProbeAccepted,
    ProbeAnswered,
    ProbeRefused,
    Propose,
    Read,
    ReadBarrier,
    ReadDone,
    Ready,
    Received,
    Save,
    Saved,
    SaveFailed,
    Tick,
    TruncateTo,
)
from chatsvc.replication.replica import Replica
from tests.simulation.agenda import MS
from tests.simulation.disk import Disk
from tests.simulation.machine import Machine
from tests.simulation.memory import too_large
from tests.simulation.network import Link
from tests.simulation.workload import Client, Front

if TYPE_CHECKING:
    from tests.simulation.cluster import Cluster

NEVER = 1 << 60
CALLS_REMEMBERED = 256
MEMORY_EVERY = 100  # turns
NOBODY: tuple[int, Any] = (0, None)
TICK = Tick()
AIMED = {NoteKind.CONFIG: "CONFIG", NoteKind.STANDS: "candidacy", NoteKind.GRANTS: "vote", NoteKind.WINS: "promotion"}


class Server:
    """A machine with an address, a clock and a data directory; at most one process of ours runs on it."""

    def __init__(self, cluster: Cluster, slot: int):
        self.cluster, self.slot = cluster, slot
        self.address = "abcdefgh"[slot]
        self.rate = cluster.parameters.clock_rates[slot]
        self.base = cluster.randoms["clocks"].randrange(10**6) * MS
        self.directory = cluster.new_directory(self.address)
        self.disk = self._new_disk()
        self.process: Process | None = None
        self.advertised = self.address  # what it tells others; the truth, but for a story

    def _new_disk(self) -> Disk:
        cluster = self.cluster
        return Disk(
            cluster.agenda, cluster.randoms["disk"], cluster.parameters, cluster.stats, self._carry_out, self._told
        )

    def _carry_out(self, save: Save) -> None:
        self.directory.carry_out(save)

    def _told(self, outcome: str, save: Save) -> None:
        if self.process is not None:
            self.process.arrive(outcome, save, None)

    def new_directory(self) -> None:
        assert self.process is None
        self.directory = self.cluster.new_directory(self.address)
        self.disk = self._new_disk()

    def copy_directory(self, source: Server) -> None:
        """What an operator should never do: run on a copy of another server's directory."""
        assert self.process is None
        self.directory = source.directory.copy(self.address)
        self.disk = self._new_disk()

    def now_ms(self) -> int:
        """The machine's clock; it runs at its own rate."""
        return (self.base + self.cluster.agenda.now * self.rate // 1_000_000) // MS

    def when(self, local_ms: int) -> int:
        """The simulated time at which that clock shows `local_ms`."""
        return -((self.base - local_ms * MS) * 1_000_000 // self.rate)

    def role(self) -> str:
        return self.process.replica.role.value if self.process else "down"


class Process:
    """One process start: the host of one replica."""

    def __init__(self, server: Server, founder: bool = False):
        cluster = self.cluster = server.cluster
        self.server, self.directory, self.address = server, server.directory, server.address
        self.network, self.judge, self.stats = cluster.network, cluster.judge, cluster.stats
        self.alive, self.paused = True, False
        self.pauses = 0
        self.waiting = 0
        self.inbox: deque[tuple[str, Any, Any]] = deque()
        self.turn_planned = self.in_turn = False
        self.turns = 0
        self.commit_index = self.directory.commit_index  # that was judged
        self.dialled: dict[int, Link] = {}  # stream number -> link
        self.incoming: dict[int, tuple[Link, bytes, int]] = {}  # link number -> link, follower's dir, stream
        directory, random = self.directory, cluster.randoms["replica"]
        directory.starts += 1
        boot = boot_id(directory.starts, random.getrandbits(64))
        if founder:
            cluster.found(directory, boot)
        self.identity = Identity(directory.cluster_id, directory.dir_id, boot, server.advertised, self.address)
        self.calls = 0
        self.callers: dict[int, tuple[int, Process]] = {}
        self.log: list[Entry] = list(directory.entries)  # in memory: what is written and what will be
        self.machine = Machine()
        for entry in self.log[: directory.commit_index]:
            self._apply(entry)
        self.front = Front(self, self.machine)
        self.front_epoch: Any = None
        self.seen_config: Config | None = None  # newest in the log at the end of the last turn
        self.proposals = 0
        self.reads: list[int] = []  # token of a read barrier -> what it must show
        self.replica = Replica(
            self.identity,
            directory.hard_state(),
            directory.log_view(random, cluster.parameters.tail_entries),
            cluster.settings(self.address),
            random.randrange,
            server.now_ms(),
            cluster.rules,
        )
        self.alarm_at = NEVER
        cluster.network.listen(self)
        self.step(TICK)
        self.handle(self.replica.take_ready())

    # ---- the event loop

    def arrive(self, kind: str, first: Any, second: Any) -> None:
        """Something has reached this process, or its kernel while it is paused."""
        if not self.alive:
            return
        self.inbox.append((kind, first, second))
        if self.paused:
            self.waiting += 1
        elif not self.turn_planned and not self.in_turn:
            delay = self.cluster.parameters.loop_delay
            if delay:
                self.turn_planned = True
                self.cluster.agenda.after(int(self.cluster.randoms["replica"].random() * delay), self._turn)
            else:
                self._turn()

    def _turn(self) -> None:
        """Handle everything that has arrived."""
        self.turn_planned = False
        if not self.alive or self.paused:
            return
        self.in_turn = True
        one_by_one, inbox = self.cluster.parameters.one_at_a_time, self.inbox
        stepped = False
        while inbox and self.alive:
            kind, first, second = inbox.popleft()
            if kind == "frame":
                if stepped:  # clients are answered from what take_ready gave, not before
                    self.handle(self.replica.take_ready())
                    stepped = False
                self.front.frame(first, *second)
                continue
            event = self._event(kind, first, second)
            if event is not None:
                self.step(event)
                stepped = True
                if one_by_one:
                    self.handle(self.replica.take_ready())
                    stepped = False
        payload = self.front.group() if self.alive else None
        if payload is not None:
            self.proposals += 1
            self.step(Propose(payload, self.proposals))
            stepped = True
        if stepped and self.alive:
            self.handle(self.replica.take_ready())
        self.in_turn = False
        self.turns += 1
        if self.turns % MEMORY_EVERY == 0:
            self._memory_is_bounded()
        if inbox and self.alive:
            self._turn()

    def _memory_is_bounded(self) -> None:
        """I16."""
        found = too_large(self.replica)
        if found is not None:
            self.judge.violation("memory grows without a bound (I16)", self.address, *found)

    def step(self, event: Event) -> None:
        self.replica.step(event, self.server.now_ms())
        self.cluster.stepped()

    def _event(self, kind: str, first: Any, second: Any) -> Event | None:
        if kind == "envelope":
            if type(second) is not Link:
                return Received(first, self._caller(second) if second is not None else 0)
            if type(first.payload) is Hello:
                self.incoming[second.number] = (second, first.source.dir_id, first.payload.stream)
            return Received(first, second.number)
        if kind == "saved":
            return Saved(first.save_id)
        if kind == "tick":
            return TICK
        if kind == "full":
            return SaveFailed(first.save_id, True)
        if kind == "failed":
            self.stats["poisoned"] += 1
            self.cluster.agenda.after(self.cluster.parameters.latency_max, self.exit)
            return SaveFailed(first.save_id, False)
        if kind == "event":
            return first
        if kind == "broken":
            return self._broken(first)
        if kind == "undialled":
            return Broken(first, None, second)
        if kind == "refused":
            return ProbeRefused(first)
        if kind == "accepted":
            return ProbeAccepted(first)
        if kind == "answered":
            return ProbeAnswered(first, second)
        if kind == "dialled":
            self.network.answer_probe(self, first, self.replica.answer_probe())
            return None
        assert kind == "read", kind
        return self._read(first)

    def _caller(self, process: Process) -> int:
        """Remember who called, for an answer; the numbers are negative, those of links positive."""
        self.calls += 1
        self.callers[self.calls % CALLS_REMEMBERED] = (self.calls, process)
        return -self.calls

    def _broken(self, link: Link) -> Event | None:
        known = self.incoming.pop(link.number, None)
        if known is not None:
            other = link.processes[0].address
            return Broken(other, known[1], known[2])
        for stream, each in self.dialled.items():
            if each is link:
                del self.dialled[stream]
                return Broken(link.processes[1].address, None, stream)
        return None

    def _read(self, read: Read) -> Event | None:
        entries, size = [], 0
        for entry in self.directory.entries[read.first_index - 1 : read.end_index - 1]:
            size += len(entry.payload)
            if entries and size > read.bytes_max:
                break
            entries.append(entry)
        return ReadDone(read, tuple(entries)) if entries else None

    # ---- what the replica asks for

    def handle(self, ready: Ready) -> None:
        cluster, commit_index = self.cluster, self.replica.commit_index
        if commit_index > self.commit_index:
            self.commit_index = commit_index
            if self.replica.role is Role.PRIMARY:
                cluster.commit_advanced(self)
        if self.front_epoch is not None and (
            self.replica.reign is None or self.replica.reign.epoch != self.front_epoch
        ):
            self.front_epoch = None  # no answer leaves after the end of a reign
            self.front.end()
        if ready.notes:
            for note in ready.notes:
                self._noted(note)
        if ready.save is not None:
            self._save(ready.save)
        if ready.committed:
            self._release(ready.committed)
        for envelope in ready.envelopes:
            self._send(envelope)
        for probe in ready.probes:
            self.network.probe(self, probe.address, probe)
        for read in ready.reads:
            cluster.agenda.after(cluster.parameters.write_min, self.arrive, "read", read, None)
        for barrier in ready.barriers:
            if barrier.granted:
                self.judge.read(self.address, barrier.read_index, self.reads[barrier.token])
        for result in ready.results:
            if not result.index:
                self.stats[f"refused: {result.refusal}"] += 1
                self.front.end()
                self.front_epoch = None
        reign = self.replica.reign
        if (
            reign is not None
            and reign.serving
            and self.front_epoch is None
            and self.machine.applied == self.replica.commit_index
        ):
            self.front_epoch = reign.epoch
            self.front.begin()
        self.seen_config = self.replica.log.newest_config
        self._set_alarm(ready.wake_at)

    def _set_alarm(self, wake_at_ms: int) -> None:
        """A tick at that time of the own clock, and never later than the contract allows."""
        now = self.cluster.agenda.now
        self.wake_at = min(max(self.server.when(wake_at_ms), now + MS // 2), now + self.cluster.idle_max)
        if self.wake_at < self.alarm_at:
            self.alarm_at = self.wake_at
            self.cluster.agenda.at(self.wake_at, self._alarm, self.wake_at)

    def _alarm(self, which: int) -> None:
        if which != self.alarm_at or not self.alive:
            return
        self.alarm_at = NEVER
        if self.paused:
            return
        if self.wake_at > self.cluster.agenda.now:
            self.alarm_at = self.wake_at
            self.cluster.agenda.at(self.wake_at, self._alarm, self.wake_at)
        else:
            self.arrive("tick", None, None)

    def _save(self, save: Save) -> None:
        for operation in save.operations:
            if type(operation) is AppendEntries:
                self.log.extend(operation.entries)
            elif type(operation) is TruncateTo:
                del self.log[operation.last_index :]
        self.server.disk.submit(save)

    def _apply(self, entry: Entry) -> None:
        if entry.kind == EntryKind.OP:
            outcomes = self.machine.apply(entry.index, entry.payload)
        else:
            outcomes = []
            self.cluster.config_committed(entry)
            self.machine.skip(entry.index)
        self.judge.released(self.address, entry.index, entry.chain, outcomes, self.machine.digest)
        self.outcomes = outcomes

    def _release(self, entries: list[Entry]) -> None:
        replica = self.replica
        if replica.role is Role.PRIMARY:
            self.cluster.committed(self, entries)
        for entry in entries:
            self._apply(entry)
            if self.front_epoch is not None and self.outcomes:
                self.front.applied(self.outcomes)

    def _send(self, envelope: Envelope) -> None:
        payload = envelope.payload
        kind = type(payload)
        if kind is Ack or (kind is VoteReply and payload.granted) or kind is Vote:
            self._promises_what_is_durable(payload)
        if kind is Hello:
            for stream in list(self.dialled):
                self.network.close(self, self.dialled.pop(stream))
            link = self.network.dial(self, envelope.address)
            if link is None:
                self.cluster.agenda.after(
                    self.cluster.parameters.latency_max, self.arrive, "undialled", envelope.address, payload.stream
                )
                return
            self.dialled[payload.stream] = link
        elif kind is Ack or kind is Relinquish:
            link = self.dialled.get(payload.stream)
        elif kind in ON_STREAM:
            known = self.incoming.get(envelope.link)
            link = known[0] if known else None
        else:
            number, caller = self.callers.get(-envelope.link % CALLS_REMEMBERED, NOBODY)
            if envelope.link < 0 and number == -envelope.link:
                self.network.reply(self, caller, envelope)
            else:
                self.network.call(self, envelope.address, envelope)
            return
        if link is not None:
            self.network.send(self, link, envelope)
        else:
            self.stats["no such link"] += 1

    def _promises_what_is_durable(self, payload: Any) -> None:
        """I6: nothing leaves that rests on what is not on disk."""
        if payload.epoch > self.directory.promised:
            self.judge.violation("a promise left before it was on disk (I6)", self.address, type(payload).__name__)
        if type(payload) is Ack and payload.durable_index > len(self.directory.entries):
            self.judge.violation(
                "an ack counts what is not on disk (I6)",
                self.address,
                payload.durable_index,
                len(self.directory.entries),
            )

    def _noted(self, note: Any) -> None:
        cluster = self.cluster
        cluster.stats[f"note {note.kind.value}"] += 1
        if cluster.lines is not None:
            cluster.note(self.address, note.kind.value, note.text)
        if note.kind is NoteKind.WINS:
            kind = next((kind for kind in ("closed", "leased", "degraded") if kind in note.text), "other")
            cluster.stats[f"promoted: {kind}"] += 1
            cluster.promoted(self)
        if note.kind in AIMED and cluster.interesting is not None:
            cluster.interesting(self.server, AIMED[note.kind])

    # ---- clients

    def reply(self, client: Client, token: int, kind: str, content: Any) -> None:
        self.cluster.to_client(self, client, token, kind, content)

    def read(self) -> None:
        """A client wants to read: state may be shown once the barrier is granted."""
        self.reads.append(self.judge.answered_index)
        self.arrive("event", ReadBarrier(len(self.reads) - 1), None)

    def hint(self) -> str | None:
        primary = self.replica.status().primary
        return primary.address if primary else None

    # ---- faults

    def pause(self, lasts: int) -> None:
        self.paused = True
        self.pauses += 1
        self.server.disk.pause()
        self.cluster.agenda.after(lasts, self.resume, self.pauses)

    def resume(self, which: int | None = None) -> None:
        if not self.alive or not self.paused or (which is not None and which != self.pauses):
            return
        self.paused, self.waiting = False, 0
        self.server.disk.resume()
        self.inbox.append(("tick", None, None))
        if not self.turn_planned:
            self._turn()

    def exit(self) -> None:
        """The process ends by itself."""
        if self.alive:
            self.cluster.note(self.address, "exits")
            self.kill()

    def kill(self) -> None:
        self.alive = False
        self.server.process = None
        self.server.disk.crash()
        self.network.hang_up(self, self.links())

    def links(self) -> list[Link]:
        return [*self.dialled.values(), *(known[0] for known in self.incoming.values())]
