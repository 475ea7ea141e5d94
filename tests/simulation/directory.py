"""A simulated data directory: what survives a crash of the process, and how it is read back at a start."""

from __future__ import annotations

from collections import Counter
from random import Random

from chatsvc.replication.configs import Config, decode_config
from chatsvc.replication.entries import NO_CHAIN, Entry, EntryKind
from chatsvc.replication.envelopes import EpochStart
from chatsvc.replication.events import (
    AppendEntries,
    ConfigFile,
    HardState,
    LogView,
    Save,
    SaveCluster,
    SaveCommit,
    SaveConfigFile,
    SavePromise,
    TruncateTo,
)
from chatsvc.replication.identity import NO_CLUSTER, NO_EPOCH, NO_POSITION
from tests.simulation.checkers import Judge


class Directory:
    """The durable state. Its operations are carried out by `carry_out` only, when their write has ended."""

    def __init__(self, dir_id: bytes, owner: str, judge: Judge, stats: Counter[str]):
        self.dir_id, self.owner, self.judge, self.stats = dir_id, owner, judge, stats
        self.cluster_id = NO_CLUSTER
        self.starts = 0  # of processes on this directory
        self.promised = NO_EPOCH
        self.commit_index = 0
        self.config_file: ConfigFile | None = None
        self.entries: list[Entry] = []
        self.orphans: dict[object, Entry] = {}  # by position: what truncations took from the log

    def carry_out(self, save: Save) -> None:
        for operation in save.operations:
            kind = type(operation)
            if kind is AppendEntries:
                for entry in operation.entries:
                    if entry.index != len(self.entries) + 1:
                        self.judge.violation("gap in the log on disk", self.owner, entry.index, len(self.entries))
                    self.judge.wrote(self.owner, entry.epoch, entry.index, entry.chain)
                    self.entries.append(entry)
            elif kind is SaveCommit:
                if operation.commit_index < self.commit_index:
                    self.judge.violation("commit index on disk decreases (I5)", self.owner)
                if operation.commit_index > len(self.entries):
                    self.judge.violation("commit index on disk beyond its log", self.owner)
                self.commit_index = operation.commit_index
            elif kind is SavePromise:
                if operation.epoch < self.promised:
                    self.judge.violation("promise on disk decreases (I5)", self.owner, operation.epoch)
                self.promised = operation.epoch
            elif kind is TruncateTo:
                self._truncate(operation.last_index)
            elif kind is SaveConfigFile:
                self.config_file = ConfigFile(operation.config, operation.commit_index)
            elif kind is SaveCluster:
                self.cluster_id = operation.cluster_id
            else:
                raise AssertionError(operation)

    def _truncate(self, last_index: int) -> None:
        cut = self.entries[last_index:]
        if not cut:
            return
        self.judge.truncated(self.owner, cut, self.commit_index)
        self.stats["truncations"] += 1
        for entry in cut:
            self.orphans[entry.position] = entry
        del self.entries[last_index:]

    # ---- what no honest disk does

    def lose(self, count: int) -> None:
        """The last entries are gone, and what would tell of them."""
        del self.entries[len(self.entries) - count :]
        self.commit_index = min(self.commit_index, len(self.entries))
        self.config_file = None

    def copy(self, owner: str) -> Directory:
        """Another directory with the same identity and content."""
        other = Directory(self.dir_id, owner, self.judge, self.stats)
        other.cluster_id, other.starts, other.promised = self.cluster_id, self.starts, self.promised
        other.commit_index, other.config_file = self.commit_index, self.config_file
        other.entries = list(self.entries)
        return other

    # ---- at a start

    def hard_state(self) -> HardState:
        return HardState(promised=self.promised, commit_index=self.commit_index, config_file=self.config_file)

    def configs(self) -> tuple[Config, ...]:
        return tuple(decode_config(entry) for entry in self.entries if entry.kind == EntryKind.CONFIG)

    def log_view(self, random: Random, tail_max: int) -> LogView:
        """The whole log is there; how much of its tail is read at once is up to chance."""
        entries = self.entries
        epochs: list[EpochStart] = []
        for entry in entries:
            if not epochs or epochs[-1].epoch != entry.epoch:
                epochs.append(EpochStart(entry.epoch, entry.index))
        tail = min(random.choice((0, 5, len(entries), len(entries))), tail_max)
        return LogView(
            start_index=0,
            start_chain=NO_CHAIN,
            last=entries[-1].position if entries else NO_POSITION,
            last_chain=entries[-1].chain if entries else NO_CHAIN,
            epochs=tuple(epochs),
            configs=self.configs(),
            tail=tuple(entries[len(entries) - min(tail, len(entries)) :]),
        )
