"""What is to be made durable, what is durable, and the envelopes that wait for it."""

from __future__ import annotations

from collections import deque

import msgspec

from chatsvc.replication.entries import Entry
from chatsvc.replication.envelopes import Envelope
from chatsvc.replication.events import AppendEntries, Operation, Save, SaveCommit, SavePromise, TruncateTo
from chatsvc.replication.identity import Epoch


class _Outstanding(msgspec.Struct):
    """What is durable once that save has ended."""

    save_id: int
    generation: int
    last_index: int
    promised: Epoch
    held: list[Envelope]


class Saving:
    """Gathers operations into saves and knows which have ended.

    A truncation and an own reign begin a new *generation* of the log: what was durable before counts only
    once a save of the new generation has ended. So an index is never reported durable for entries that the
    disk may still hold in another version.
    """

    def __init__(self, last_index: int, promised: Epoch, commit_index: int, wait_for_promise: bool) -> None:
        self.operations: list[Operation] = []
        self.held: list[Envelope] = []
        self.outstanding: deque[_Outstanding] = deque()
        self.generation = 0
        self.promised = promised  # durable
        self._promising = promised  # durable, or on its way
        self._wait_for_promise = wait_for_promise
        self._entries: list[Entry] = []
        self._commit_index = commit_index  # durable, or on its way
        self._next_id = 1
        self._saved_generation = 0
        self._saved_index = last_index

    @property
    def durable_index(self) -> int:
        """How much of the present log is on disk."""
        return self._saved_index if self._saved_generation == self.generation else 0

    def append(self, entry: Entry) -> None:
        self._entries.append(entry)

    def add(self, operation: Operation) -> None:
        self._close_entries()
        self.operations.append(operation)

    def truncate(self, last_index: int) -> None:
        self.add(TruncateTo(last_index))
        self.generation += 1

    def promise(self, epoch: Epoch) -> None:
        """Switched off by rule `dprom`: then a promise is as good as durable, and forgotten by a restart."""
        if self._wait_for_promise:
            self.add(SavePromise(epoch))
            self._promising = epoch
        else:
            self.promised = self._promising = epoch

    def commit(self, commit_index: int) -> None:
        self.add(SaveCommit(commit_index))
        self._commit_index = commit_index

    def hold(self, envelope: Envelope) -> None:
        """Keep it until all that was asked for so far is durable."""
        self.held.append(envelope)

    def _close_entries(self) -> None:
        if self._entries:
            self.operations.append(AppendEntries(tuple(self._entries)))
            self._entries = []

    def collect(self, last_index: int, commit_index: int, out: list[Envelope]) -> Save | None:
        """The next save, if there is anything to save; envelopes that wait for nothing go to `out`.

        The commit index goes along with entries, so that a restart knows it without a save of its own.
        """
        if self._entries:
            self._close_entries()
            if commit_index > self._commit_index:
                self.operations.append(SaveCommit(commit_index))
                self._commit_index = commit_index
        if not self.operations:
            if self.held:
                if self.outstanding:
                    self.outstanding[-1].held.extend(self.held)
                else:
                    out.extend(self.held)
                self.held = []
            return None
        save = Save(self._next_id, tuple(self.operations))
        self.outstanding.append(_Outstanding(save.save_id, self.generation, last_index, self._promising, self.held))
        self._next_id += 1
        self.operations, self.held = [], []
        return save

    def saved(self, save_id: int, out: list[Envelope]) -> None:
        """That save and all before it have ended; what waited for them goes to `out`."""
        outstanding = self.outstanding
        while outstanding and outstanding[0].save_id <= save_id:
            done = outstanding.popleft()
            self._saved_generation, self._saved_index = done.generation, done.last_index
            if done.promised > self.promised:
                self.promised = done.promised
            if done.held:
                out.extend(done.held)
