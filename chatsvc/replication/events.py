"""What a host tells a replica (events), and what a replica asks of its host (Ready)."""

from __future__ import annotations

from enum import StrEnum
from typing import TypeAlias

import msgspec

from chatsvc.replication.configs import Chain, Config
from chatsvc.replication.entries import NO_CHAIN, Entry
from chatsvc.replication.envelopes import Envelope, EpochStart, PrimaryHint
from chatsvc.replication.identity import NO_EPOCH, NO_POSITION, ClusterId, DirId, Epoch, Identity, Position


class Probe(msgspec.Struct, frozen=True, gc=False):
    """A fresh TCP connect that the replica asks for; handed back whole with its results."""

    address: str
    number: int  # of the replica's own events: what it had heard when it asked
    begun_at: int  # ms


# ---- events


class Tick(msgspec.Struct, frozen=True, gc=False):
    """Time has passed."""


class Received(msgspec.Struct, frozen=True, gc=False):
    """An envelope came in."""

    envelope: Envelope
    link: int = 0  # by which the host finds the way back for an answer; 0: by address


class ProbeRefused(msgspec.Struct, frozen=True, gc=False):
    """The kernel at that address refused the connect: nobody listens."""

    probe: Probe


class ProbeAccepted(msgspec.Struct, frozen=True, gc=False):
    """The kernel at that address accepted the connect; that says nothing about the process."""

    probe: Probe


class ProbeAnswered(msgspec.Struct, frozen=True, gc=False):
    """The process at that address answered on that connection, and said who it is."""

    probe: Probe
    identity: Identity


class Broken(msgspec.Struct, frozen=True, gc=False):
    """A connection broke. No evidence; it only starts a probe, and ends a stream if it names one."""

    address: str
    dir_id: DirId | None = None  # the follower whose incoming stream broke; None: a stream dialled from here
    stream: int = 0  # 0: no stream


class Saved(msgspec.Struct, frozen=True, gc=False):
    """That save and all earlier ones are on disk."""

    save_id: int


class SaveFailed(msgspec.Struct, frozen=True, gc=False):
    """A save failed.

    `full`: the disk is full, nothing of the save was done, and the host tries it again until it can report
    Saved. Otherwise the disk cannot be trusted: the replica takes part in nothing from now on.
    """

    save_id: int
    full: bool = False


class Propose(msgspec.Struct, frozen=True, gc=False):
    """One group of commands, to become one entry."""

    payload: bytes
    token: int  # comes back in the ProposalResult


class ReadDone(msgspec.Struct, frozen=True, gc=False):
    """The entries that a Read asked for: from its first index on, without gaps, at least one."""

    read: Read
    entries: tuple[Entry, ...]


class ReadBarrier(msgspec.Struct, frozen=True, gc=False):
    """May state be read here, so that it shows everything acknowledged so far?"""

    token: int  # comes back in a BarrierResult


class EpochSeen(msgspec.Struct, frozen=True, gc=False):
    """A client has seen this epoch counter somewhere: a hint to verify, it deposes nobody."""

    counter: int


class Leave(msgspec.Struct, frozen=True, gc=False):
    """The process is about to stop: give up every role. The listener stays open until Ready is sent."""


class ForcePromote(msgspec.Struct, frozen=True, gc=False):
    """An operator makes this replica primary, whatever the others may have acknowledged without it."""

    token: int  # comes back in the ForceResult


class Remove(msgspec.Struct, frozen=True, gc=False):
    """An operator sends a member away (primary only)."""

    dir_id: DirId


Event: TypeAlias = (
    Tick
    | Received
    | ProbeRefused
    | ProbeAccepted
    | ProbeAnswered
    | Broken
    | Saved
    | SaveFailed
    | Propose
    | ReadDone
    | ReadBarrier
    | EpochSeen
    | Leave
    | ForcePromote
    | Remove
)


# ---- durable operations


class TruncateTo(msgspec.Struct, frozen=True, gc=False):
    """Keep entries up to `last_index`; copy those beyond to the orphans, keyed (epoch, index), and delete
    them from the log, in one transaction."""

    last_index: int


class AppendEntries(msgspec.Struct, frozen=True, gc=False):
    """Put these at the end of the log."""

    entries: tuple[Entry, ...]


class SavePromise(msgspec.Struct, frozen=True, gc=False):
    epoch: Epoch


class SaveCommit(msgspec.Struct, frozen=True, gc=False):
    commit_index: int


class SaveConfigFile(msgspec.Struct, frozen=True, gc=False):
    """Write the small file beside the database; after the database has what it speaks of."""

    config: Position  # newest CONFIG at or below commit_index
    commit_index: int


class SaveCluster(msgspec.Struct, frozen=True, gc=False):
    """The directory belongs to that cluster from now on."""

    cluster_id: ClusterId


Operation: TypeAlias = TruncateTo | AppendEntries | SavePromise | SaveCommit | SaveConfigFile | SaveCluster


class Save(msgspec.Struct, frozen=True, gc=False):
    """Operations to carry out in order; all saves are carried out in order of their ids."""

    save_id: int
    operations: tuple[Operation, ...]


# ---- what was on disk when the process started


class ConfigFile(msgspec.Struct, frozen=True, gc=False):
    config: Position
    commit_index: int


class HardState(msgspec.Struct, frozen=True, gc=False):
    """What survives a crash besides the log."""

    promised: Epoch = NO_EPOCH
    commit_index: int = 0
    config_file: ConfigFile | None = None  # None: never written


class LogView(msgspec.Struct, frozen=True, gc=False):
    """The log on disk, as far as a replica needs to know it at its start."""

    start_index: int = 0  # index of the last entry that is no longer there
    start_chain: bytes = NO_CHAIN
    last: Position = NO_POSITION
    last_chain: bytes = NO_CHAIN
    epochs: tuple[EpochStart, ...] = ()  # oldest first
    configs: Chain = ()  # every CONFIG in the log, and the newest before its start; oldest first
    tail: tuple[Entry, ...] = ()  # the newest entries, to the end of the log; may be all of them or none


# ---- Ready


class Read(msgspec.Struct, frozen=True, gc=False):
    """Entries to read from disk: from `first_index` on, fewer than asked for if they are big."""

    first_index: int
    end_index: int  # the first one not wanted
    bytes_max: int
    purpose: int  # the replica's own business


class ProposalResult(msgspec.Struct, frozen=True, gc=False):
    """index > 0: appended there, not committed yet. 0: refused, nothing was appended."""

    token: int
    index: int
    refusal: str  # "", "not primary", "not ready", "too much in flight", "disk full"
    primary: PrimaryHint | None


class BarrierResult(msgspec.Struct, frozen=True, gc=False):
    token: int
    granted: bool
    read_index: int  # apply at least so far, then read


class ForceResult(msgspec.Struct, frozen=True, gc=False):
    """`epoch` of the reign that has begun; None: refused."""

    token: int
    epoch: Epoch | None
    refusal: str  # "", or why not


class Role(StrEnum):
    WAITING = "waiting"  # follows nobody: just started, surveying, or no election can be won
    BACKUP = "backup"  # follows a primary, in sync
    LEARNER = "learner"  # follows a primary, not in sync
    CANDIDATE = "candidate"
    PRIMARY = "primary"
    OUT = "out"  # has left, or cannot trust its disk


class NoteKind(StrEnum):
    SUSPECTS = "suspects"
    FOLLOWS = "follows"
    SURVEYS = "surveys"
    STANDS = "stands"
    GRANTS = "grants"
    WINS = "wins"
    SERVES = "serves"
    STEPS_DOWN = "steps down"
    CONFIG = "config"
    DROPS = "drops"
    GROWS = "grows"
    FREEZES = "freezes"
    RELINQUISHES = "relinquishes"
    TRUNCATES = "truncates"
    STALLED = "stalled"
    DEGRADED = "degraded"
    PROBLEM = "problem"


class Note(msgspec.Struct, frozen=True, gc=False):
    """Something rare and worth a line in a log."""

    kind: NoteKind
    text: str
    config: Config | None = None  # CONFIG: the one just appended here as primary


class Ready:
    """What a replica asks of its host since it was asked last. Empty fields are empty tuples or lists."""

    __slots__ = (
        "barriers",
        "committed",
        "envelopes",
        "forced",
        "notes",
        "probes",
        "reads",
        "results",
        "save",
        "wake_at",
    )

    def __init__(self) -> None:
        self.envelopes: list[Envelope] = []  # may leave at once, in order
        self.save: Save | None = None
        self.committed: list[Entry] = []  # newly released, in order of their index, each exactly once
        self.probes: list[Probe] = []
        self.reads: list[Read] = []
        self.results: list[ProposalResult] = []
        self.barriers: list[BarrierResult] = []
        self.forced: list[ForceResult] = []
        self.notes: list[Note] = []
        self.wake_at = 0  # ms: step the replica then, if nothing happens before


class Status(msgspec.Struct, frozen=True, gc=False):
    """What `status` shows of one replica."""

    role: Role
    epoch: Epoch  # of the reign that is served or followed; else NO_EPOCH
    promised: Epoch
    primary: PrimaryHint | None
    serving: bool  # primary whose first CONFIG is committed: clients may be answered
    last_index: int
    durable_index: int
    commit_index: int
    config: Config | None  # newest in the own log
    in_sync: tuple[DirId, ...]  # on the primary: who would survive now, itself included; else what it knows
    durable_of: dict[DirId, int]  # on the primary: per member with a stream
    silent_of: dict[DirId, int]  # on the primary: per other member, awake ms since it was heard
    waiting_for: tuple[str, ...]  # without a primary: names of those whose return would permit an election
    problem: str  # "", or what an operator must know
