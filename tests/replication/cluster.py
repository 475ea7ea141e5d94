"""A small cluster in one process for unit tests: fixed delays, no accidents but those a test asks for."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from random import Random
from typing import Any

import msgspec

from chatsvc.replication.entries import Entry, EntryKind
from chatsvc.replication.envelopes import ON_STREAM, Envelope
from chatsvc.replication.events import (
    AppendEntries,
    BarrierResult,
    Broken,
    ConfigFile,
    Event,
    ForceResult,
    HardState,
    Note,
    Probe,
    ProbeAccepted,
    ProbeAnswered,
    ProbeRefused,
    ProposalResult,
    Propose,
    Read,
    ReadDone,
    Received,
    Role,
    Save,
    SaveCluster,
    SaveCommit,
    SaveConfigFile,
    Saved,
    SavePromise,
    Tick,
    TruncateTo,
)
from chatsvc.replication.founding import found
from chatsvc.replication.identity import NO_CLUSTER, NO_EPOCH, Identity, boot_id
from chatsvc.replication.log import view_of
from chatsvc.replication.replica import Replica
from chatsvc.replication.rules import ALL, Rules
from chatsvc.replication.settings import Settings, Timers

CLUSTER = b"cluster-of-tests"
DELAY = 1
DISK = 1


class Disk:
    """What survives a crash."""

    def __init__(self) -> None:
        self.cluster_id = NO_CLUSTER
        self.entries: list[Entry] = []
        self.orphans: list[Entry] = []
        self.promised = NO_EPOCH
        self.commit_index = 0
        self.config_file: ConfigFile | None = None

    def carry_out(self, save: Save) -> None:
        for operation in save.operations:
            match operation:
                case TruncateTo(last_index):
                    self.orphans.extend(self.entries[last_index:])
                    del self.entries[last_index:]
                case AppendEntries(entries):
                    assert entries[0].index == len(self.entries) + 1
                    self.entries.extend(entries)
                case SavePromise(epoch):
                    self.promised = max(self.promised, epoch)
                case SaveCommit(commit_index):
                    assert commit_index <= len(self.entries)
                    self.commit_index = max(self.commit_index, commit_index)
                case SaveConfigFile(config, commit_index):
                    self.config_file = ConfigFile(config, commit_index)
                case SaveCluster(cluster_id):
                    self.cluster_id = cluster_id

    def hard_state(self) -> HardState:
        return HardState(self.promised, self.commit_index, self.config_file)


class Server:
    """One address: its disk, and the process that runs there or none."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self.cluster, self.name = cluster, name
        self.disk = Disk()
        self.dir_id = b"dir-" + name.encode() + b"-1"
        self.wipes = 0
        self.starts = 0
        self.replica: Replica | None = None
        self.paused_until = -1
        self.stuck_disk = False
        self.inbox: list[Event] = []
        self.applied: list[Entry] = []
        self.results: list[ProposalResult] = []
        self.barriers: list[BarrierResult] = []
        self.forced: list[ForceResult] = []
        self.notes: list[tuple[int, Note]] = []
        self.stuck_saves: list[Save] = []

    @property
    def paused(self) -> bool:
        return self.paused_until > self.cluster.now

    @property
    def core(self) -> Replica:
        assert self.replica is not None, f"{self.name} is down"
        return self.replica

    def wipe(self) -> None:
        assert self.replica is None
        self.wipes += 1
        self.dir_id = f"dir-{self.name}-{self.wipes + 1}".encode()
        self.disk = Disk()


class Cluster:
    """Servers by name, and what lies between them."""

    def __init__(
        self,
        names: str = "abc",
        rules: Rules = ALL,
        seed: int = 1,
        timers: Timers | None = None,
        isolated: int | None = None,
        **settings: Any,
    ) -> None:
        self.random = Random(seed)
        self.now = 1_000
        self.rules = rules
        self.timers = timers or Timers()
        self.isolated = isolated
        self.more_settings = settings
        self.servers = {name: Server(self, name) for name in names}
        self.cut_links: set[tuple[str, str]] = set()
        self.drop: Callable[[str, str, Any], bool] = lambda source, target, item: False
        self._queue: list[tuple[int, int, Callable[[], None]]] = []
        self._count = 0
        self._token = 0
        self.tail_at_start: int | None = None  # entries of its log that a server has in memory when it starts
        self.committed: list[Entry] = []  # what any replica has released, by index

    def __getitem__(self, name: str) -> Server:
        return self.servers[name]

    # ---- time

    def later(self, delay: int, act: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._queue, (self.now + delay, self._count, act))

    def run(self, ms: int, until: Callable[[], bool] | None = None) -> bool:
        """Let time pass; True as soon as `until` holds."""
        end = self.now + ms
        while True:
            if until is not None and until():
                return True
            if not self._queue or self._queue[0][0] > end:
                self.now = end
                return until is not None and until()
            at, _, act = heapq.heappop(self._queue)
            self.now = max(self.now, at)
            act()

    # ---- servers

    def found(self, name: str) -> None:
        server = self.servers[name]
        state, view, save = found(self.identity(server, CLUSTER), self.random.randrange)
        assert view.last.log_index == 1
        server.disk.carry_out(save)
        assert server.disk.promised == state.promised
        self.start(name)

    def identity(self, server: Server, cluster_id: bytes) -> Identity:
        boot = boot_id(max(1, server.starts), self.random.getrandbits(64))
        return Identity(cluster_id, server.dir_id, boot, server.name, server.name)

    def start(self, name: str) -> None:
        server = self.servers[name]
        assert server.replica is None
        server.starts += 1
        server.paused_until = -1
        server.stuck_disk, server.stuck_saves = False, []
        server.inbox = []
        join = tuple(other for other in self.servers if other != name)
        settings = Settings(timers=self.timers, join=join, isolated_promotion=self.isolated, **self.more_settings)
        disk = server.disk
        server.applied = disk.entries[: disk.commit_index]
        view = view_of(disk.entries)
        if self.tail_at_start is not None:
            tail = disk.entries[max(0, len(disk.entries) - self.tail_at_start) :]
            view = msgspec.structs.replace(view, tail=tuple(tail))
        server.replica = Replica(
            self.identity(server, disk.cluster_id),
            disk.hard_state(),
            view,
            settings,
            self.random.randrange,
            self.now,
            self.rules,
        )
        self._step(server, Tick())

    def kill(self, *names: str) -> None:
        for name in names:
            self.servers[name].replica = None
            for other in self.servers.values():
                if other.replica is not None:
                    self.later(DELAY, lambda other=other, name=name: self._step(other, Broken(name)))  # type: ignore[misc]

    def pause(self, name: str, ms: int) -> None:
        self.servers[name].paused_until = self.now + ms
        server, replica = self.servers[name], self.servers[name].replica

        def wake() -> None:
            if server.replica is replica and replica is not None and not server.paused:
                events, server.inbox = server.inbox, []
                for event in [Tick(), *events]:
                    self._step(server, event)

        self.later(ms, wake)

    def cut(self, *pairs: str) -> None:
        """Each pair "ab": nothing goes from a to b any more."""
        self.cut_links.update((pair[0], pair[1]) for pair in pairs)

    def cut_both(self, *pairs: str) -> None:
        self.cut(*pairs, *(pair[::-1] for pair in pairs))

    def heal(self) -> None:
        self.cut_links.clear()

    def form(self) -> None:
        """The first server founds a cluster, the others join, until all are in sync and hold leases."""
        names = list(self.servers)
        self.found(names[0])
        for name in names[1:]:
            self.start(name)
        assert self.run(20_000, lambda: self.all_in_sync(names)), self.describe()

    def all_in_sync(self, names: Iterable[str]) -> bool:
        primary = self.primary()
        if primary is None:
            return False
        status = primary.core.status()
        servers = [self.servers[name] for name in names]
        if not status.serving or set(status.in_sync) != {server.dir_id for server in servers}:
            return False
        return all(
            server is primary or (server.replica is not None and server.core.lease.runs(self.now)) for server in servers
        )

    def primary(self) -> Server | None:
        """The serving primary of the highest epoch among the processes that run."""
        found = [
            server
            for server in self.servers.values()
            if server.replica is not None
            and server.replica.reign is not None
            and server.replica.reign.serving
            and not server.paused
        ]
        return max(found, key=lambda server: server.core.epoch, default=None)

    # ---- what clients do

    def propose(self, name: str, payload: bytes) -> int:
        """Index given to the entry; 0 if it was refused."""
        self._token += 1
        server = self.servers[name]
        self._step(server, Propose(payload, self._token))
        assert server.results[-1].token == self._token
        return server.results[-1].index

    def write(self, payload: bytes, ms: int = 5_000) -> bool:
        """Does somebody acknowledge this within that time?"""
        end = self.now + ms
        while self.now < end:
            primary = self.primary()
            if primary is None:
                self.run(5)
                continue
            core, index = primary.core, self.propose(primary.name, payload)
            while index and self.now < end and primary.replica is core and core.reign is not None:
                if core.released_index >= index:
                    return self.committed[index - 1].payload == payload
                self.run(1)
            self.run(5)
        return False

    # ---- the host's work

    def event(self, name: str, event: Event) -> None:
        self._step(self.servers[name], event)

    def _step(self, server: Server, event: Event) -> None:
        replica = server.replica
        if replica is None:
            return
        if server.paused:
            server.inbox.append(event)
            return
        replica.step(event, self.now)
        ready = replica.take_ready()
        for envelope in ready.envelopes:
            self._send(server, envelope)
        if ready.save is not None:
            self._save(server, replica, ready.save)
        for entry in ready.committed:
            self._apply(server, entry)
        for probe in ready.probes:
            self._probe(server, replica, probe)
        for read in ready.reads:
            self._read(server, replica, read)
        server.results.extend(ready.results)
        server.barriers.extend(ready.barriers)
        server.forced.extend(ready.forced)
        server.notes.extend((self.now, note) for note in ready.notes)
        self._wake(server, replica, ready.wake_at)

    def _wake(self, server: Server, replica: Replica, at: int) -> None:
        if getattr(server, "wake_at", 0) == at:
            return
        server.wake_at = at  # type: ignore[attr-defined]

        def tick() -> None:
            if server.replica is replica and not server.paused:
                self._step(server, Tick())

        self.later(max(1, at - self.now), tick)

    def _send(self, source: Server, envelope: Envelope) -> None:
        if (source.name, envelope.address) in self.cut_links:
            return
        if self.drop(source.name, envelope.address, envelope.payload):
            return
        assert isinstance(envelope.payload, ON_STREAM) or envelope.address

        def arrive() -> None:
            target = self.servers.get(envelope.address)
            if target is not None and (source.name, envelope.address) not in self.cut_links:
                self._step(target, Received(envelope))

        self.later(DELAY, arrive)

    def _save(self, server: Server, replica: Replica, save: Save) -> None:
        if server.stuck_disk:
            server.stuck_saves.append(save)
            return
        disk = server.disk

        def done() -> None:
            if server.replica is replica:
                disk.carry_out(save)
                self._step(server, Saved(save.save_id))

        self.later(DISK, done)

    def unstick(self, name: str) -> None:
        server = self.servers[name]
        server.stuck_disk = False
        saves, server.stuck_saves = server.stuck_saves, []
        for save in saves:
            self._save(server, server.core, save)

    def _apply(self, server: Server, entry: Entry) -> None:
        assert entry.index == len(server.applied) + 1, "released out of order"
        server.applied.append(entry)
        if entry.index <= len(self.committed):
            assert self.committed[entry.index - 1] == entry, "two versions of a committed entry"
        else:
            self.committed.append(entry)

    def _probe(self, server: Server, replica: Replica, probe: Probe) -> None:
        links = ((server.name, probe.address), (probe.address, server.name))

        def back(event: Event) -> None:
            if server.replica is replica and links[1] not in self.cut_links:
                self._step(server, event)

        def arrive() -> None:
            if any(link in self.cut_links for link in links):
                return
            target = self.servers.get(probe.address)
            if target is None or target.replica is None:
                self.later(DELAY, lambda: back(ProbeRefused(probe)))
                return
            identity = target.replica.answer_probe()
            self.later(DELAY, lambda: back(ProbeAccepted(probe)))
            if not target.paused:
                self.later(DELAY, lambda: back(ProbeAnswered(probe, identity)))

        self.later(DELAY, arrive)

    def _read(self, server: Server, replica: Replica, read: Read) -> None:
        def done() -> None:
            if server.replica is replica:
                entries = tuple(server.disk.entries[read.first_index - 1 : read.end_index - 1])
                self._step(server, ReadDone(read, entries))

        self.later(DISK, done)

    # ---- for people

    def describe(self) -> str:
        lines = [f"at {self.now}"]
        for server in self.servers.values():
            if server.replica is None:
                lines.append(f"{server.name} down")
                continue
            status = server.replica.status()
            in_sync = [
                other.name for other in self.servers.values() if status.config and other.dir_id in status.config.in_sync
            ]
            lines.append(
                f"{server.name} {status.role} epoch={status.epoch} last={status.last_index} "
                f"commit={status.commit_index} in_sync={','.join(in_sync)} {status.waiting_for or ''}"
                f"{status.problem}{' paused' if server.paused else ''}"
            )
        return "\n".join(lines)

    def log(self) -> str:
        lines = sorted(
            (at, server.name, f"{note.kind} {note.text}")
            for server in self.servers.values()
            for at, note in server.notes
        )
        return "\n".join(f"{at} {name} {text}" for at, name, text in lines)


def operations(server: Server) -> list[bytes]:
    return [entry.payload for entry in server.applied if entry.kind == EntryKind.OP]


__all__ = ["CLUSTER", "Cluster", "Disk", "Role", "Server", "operations"]
