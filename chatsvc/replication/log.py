"""The log in memory: its newest entries, where each epoch begins, and its CONFIGs.

Older entries are on the host's disk only. Indexes start at 1; `start` is the last index that not even the
disk has any more.
"""

from __future__ import annotations

from collections.abc import Sequence

from chatsvc.replication.configs import Chain, Config, decode_config
from chatsvc.replication.entries import NO_CHAIN, Entry, EntryKind, make_entry
from chatsvc.replication.envelopes import EpochStart
from chatsvc.replication.events import LogView
from chatsvc.replication.identity import NO_EPOCH, NO_POSITION, Epoch, Position


def view_of(entries: Sequence[Entry]) -> LogView:
    """View of a log that is all there, from its first entry on."""
    epochs: list[EpochStart] = []
    for entry in entries:
        if not epochs or epochs[-1].epoch != entry.epoch:
            epochs.append(EpochStart(entry.epoch, entry.index))
    return LogView(
        last=entries[-1].position if entries else NO_POSITION,
        last_chain=entries[-1].chain if entries else NO_CHAIN,
        epochs=tuple(epochs),
        configs=tuple(decode_config(entry) for entry in entries if entry.kind == EntryKind.CONFIG),
        tail=tuple(entries),
    )


class Log:
    """One replica's log. `configs` holds the chain and perhaps older CONFIGs, oldest first."""

    def __init__(self, view: LogView) -> None:
        self.start_index = view.start_index
        self.start_chain = view.start_chain
        self.tail: list[Entry] = list(view.tail)
        self.tail_bytes = sum(len(entry.payload) for entry in view.tail)
        self.last_index = view.last.log_index
        self.last_epoch = view.last.epoch
        self.last_chain = view.last_chain
        self.epochs = list(view.epochs)
        self.configs = list(view.configs)
        self.first_in_memory = self.last_index - len(self.tail) + 1
        assert not self.tail or self.tail[-1].position == view.last, "the tail is not the end of the log"
        assert self.start_index <= self.first_in_memory - 1

    # ---- reading

    @property
    def last(self) -> Position:
        return Position(self.last_epoch, self.last_index)

    @property
    def newest_config(self) -> Config | None:
        return self.configs[-1] if self.configs else None

    def get(self, index: int) -> Entry | None:
        """The entry at that index; None where it is not in memory."""
        at = index - self.first_in_memory
        return self.tail[at] if 0 <= at < len(self.tail) else None

    def in_memory(self, first_index: int, entries_max: int, bytes_max: int) -> tuple[Entry, ...] | None:
        """Entries from `first_index` on, at least one if there is one; None if the first is on disk only."""
        at = first_index - self.first_in_memory
        if at < 0:
            return None
        entries = self.tail[at : at + entries_max]
        total = 0
        for count, entry in enumerate(entries):
            total += len(entry.payload)
            if total > bytes_max and count:
                return tuple(entries[:count])
        return tuple(entries)

    def epoch_at(self, index: int) -> Epoch:
        """Epoch of the entry at that index; NO_EPOCH for 0."""
        if self.epochs and index >= self.epochs[-1].first_index:
            return self.last_epoch
        for start in reversed(self.epochs):
            if index >= start.first_index:
                return start.epoch
        return NO_EPOCH

    def position_at(self, index: int) -> Position:
        return Position(self.epoch_at(index), index)

    def chain_hash_at(self, index: int) -> bytes | None:
        """Chain hash of the entry at that index; None where it is on disk only."""
        if index == self.last_index:
            return self.last_chain
        if index == self.start_index:
            return self.start_chain
        entry = self.get(index)
        return entry.chain if entry else None

    def configs_after(self, index: int) -> list[Config]:
        """CONFIGs beyond that index, oldest first."""
        count = 0
        for config in reversed(self.configs):
            if config.index <= index:
                break
            count += 1
        return self.configs[len(self.configs) - count :] if count else []

    def chain(self, commit_index: int) -> Chain:
        """The newest CONFIG known committed and every later one; all if none is known committed."""
        later = len(self.configs_after(commit_index))
        return tuple(self.configs[max(0, len(self.configs) - later - 1) :])

    def match_index(self, epochs: Sequence[EpochStart], last_index: int) -> int:
        """How many leading entries this log shares with another one that ends there and has those epochs.

        For the newest epoch that both have: the lower of its two last indexes. Sound because an epoch has one
        writer, so two entries of one epoch and index are the same, and everything before them.
        """
        own = {start.epoch: place for place, start in enumerate(self.epochs)}
        for other in range(len(epochs) - 1, -1, -1):
            place = own.get(epochs[other].epoch)
            if place is None:
                continue
            end = epochs[other + 1].first_index - 1 if other + 1 < len(epochs) else last_index
            own_end = self.epochs[place + 1].first_index - 1 if place + 1 < len(self.epochs) else self.last_index
            return min(end, own_end)
        return 0

    # ---- writing

    def make(self, epoch: Epoch, kind: EntryKind, payload: bytes) -> Entry:
        """Append a new entry of an own reign."""
        entry = make_entry(epoch, self.last_index + 1, kind, payload, self.last_chain)
        self.append(entry)
        return entry

    def append(self, entry: Entry) -> None:
        """Put an entry, checked by the caller to follow, at the end."""
        assert entry.index == self.last_index + 1, "a gap in the log"
        epoch = entry.epoch
        if epoch != self.last_epoch:
            assert epoch > self.last_epoch, "epochs in a log only grow"
            self.epochs.append(EpochStart(epoch, entry.index))
            self.last_epoch = epoch
        if entry.kind == EntryKind.CONFIG:
            self.configs.append(decode_config(entry))
        self.tail.append(entry)
        self.tail_bytes += len(entry.payload)
        self.last_index = entry.index
        self.last_chain = entry.chain

    def truncate(self, last_index: int, chain_hash: bytes) -> None:
        """Keep entries up to `last_index`, whose chain hash is given."""
        assert self.start_index <= last_index <= self.last_index
        keep = max(0, last_index - self.first_in_memory + 1)
        for entry in self.tail[keep:]:
            self.tail_bytes -= len(entry.payload)
        del self.tail[keep:]
        while self.configs and self.configs[-1].index > last_index:
            self.configs.pop()
        while self.epochs and self.epochs[-1].first_index > last_index:
            self.epochs.pop()
        self.last_index, self.last_chain = last_index, chain_hash
        self.last_epoch = self.epochs[-1].epoch if self.epochs else NO_EPOCH
        self.first_in_memory = last_index - len(self.tail) + 1

    def forget_configs_before(self, commit_index: int) -> None:
        """Keep the chain only."""
        later = len(self.configs_after(commit_index))
        del self.configs[: max(0, len(self.configs) - later - 1)]

    def trim(self, keep_after: int, entries_max: int, bytes_max: int) -> None:
        """Let go of the oldest entries in memory beyond those bounds, but of none after `keep_after`."""
        tail = self.tail
        if len(tail) <= entries_max + entries_max // 4 and self.tail_bytes <= bytes_max + bytes_max // 4:
            return
        free_max = min(len(tail), keep_after - self.first_in_memory + 1)
        count = 0
        while count < free_max and (len(tail) - count > entries_max or self.tail_bytes > bytes_max):
            self.tail_bytes -= len(tail[count].payload)
            count += 1
        if count:
            del tail[:count]
            self.first_in_memory += count
