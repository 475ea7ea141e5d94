"""Handing committed entries to the host, in order and each once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatsvc.replication.events import Read, ReadDone

if TYPE_CHECKING:
    from chatsvc.replication.replica import Replica

READ_RELEASE = -1
"""Purpose of a Read for entries that are committed and not in memory any more."""

RELEASE_ENTRIES_MAX = 4_096


class Releasing:
    """How far the host has been given what is committed."""

    def __init__(self, replica: Replica, released_index: int) -> None:
        self.replica = replica
        self.index = released_index  # released <= commit
        self._reading = 0  # first index of the Read under way; 0: none

    def release(self) -> None:
        """Release what is committed and in memory; what is on disk only is read first.

        Then let go of entries that are neither needed here nor for followers that keep up.
        """
        replica = self.replica
        log, ready, reign, commit_index = replica.log, replica.ready, replica.reign, replica.commit_index
        if reign is not None and not reign.may_release():
            return
        settings = replica.settings
        while self.index < commit_index:
            count = min(commit_index - self.index, RELEASE_ENTRIES_MAX)
            entries = log.in_memory(self.index + 1, count, settings.tail_bytes_max)
            if entries is None:
                self._read(self.index + 1, min(self.index + 1 + count, log.first_in_memory))
                return
            self.index = entries[-1].index
            ready.committed.extend(entries)
            if reign is not None:
                reign.released(sum([len(entry.payload) for entry in entries]))
        if len(log.tail) > settings.tail_entries_max or log.tail_bytes > settings.tail_bytes_max:
            keep_after = min(self.index, replica.saving.durable_index)
            log.trim(keep_after, settings.tail_entries_max, settings.tail_bytes_max)

    def _read(self, first_index: int, end_index: int) -> None:
        if self._reading != first_index:
            self._reading = first_index
            bytes_max = self.replica.settings.append_bytes_max
            self.replica.read(Read(first_index, end_index, bytes_max, READ_RELEASE))

    def on_read(self, event: ReadDone) -> None:
        self._reading = 0
        for entry in event.entries:
            if entry.index == self.index + 1 and entry.index <= self.replica.commit_index:
                self.replica.ready.committed.append(entry)
                self.index = entry.index
