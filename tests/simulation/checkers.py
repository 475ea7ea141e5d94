"""The judge: knows everything that happened anywhere in the cluster, and compares it with what was promised.

Numbers I1 to I16 are those of docs/replication.md, "Invariants". A broken one raises `Violation`, which ends
the run. The judge looks into disks and memories that no server could see; it takes no part in anything.
"""

from __future__ import annotations

from collections import Counter
from typing import Any


class Violation(Exception):
    """A guarantee is broken."""


class Judge:
    """Of one run."""

    def __init__(self, stats: Counter[str]) -> None:
        self.stats = stats
        self.committed: list[Any] = [None]  # by log index from 1: identity of the entry committed there
        self.effects: list[int] = [0]  # by log index: digest of the state after it
        self.written: dict[tuple[Any, int], Any] = {}  # (epoch, index) -> chain hash
        self.primaries: dict[Any, tuple[str, Any]] = {}  # epoch -> (server, boot)
        self.top_epoch: Any = None  # highest epoch that committed anything
        self.applied: dict[tuple[int, int], int] = {}  # (client, number) -> result
        self.heads: dict[int, int] = {}  # client -> last number applied
        self.issued: dict[int, int] = {}  # client -> last number ever sent
        self.answered_index = 0  # highest log index of an operation that a client has answered
        self.index_of: dict[tuple[int, int], int] = {}  # (client, number) -> log index
        self.note = lambda *what: None  # the run's trace

    def violation(self, kind: str, *what: Any) -> None:
        self.note("VIOLATION", kind, *what)
        raise Violation(f"{kind}: {' '.join(map(str, what))}")

    # ---- clients: nothing acknowledged is lost, doubled, reordered or invented

    def invoked(self, client: int, last: int) -> None:
        self.issued[client] = max(last, self.issued.get(client, 0))

    def answered(self, client: int, number: int, result: int) -> None:
        """A client has its answer. It must be the result of the committed operation, today and on every
        retry.
        """
        known = self.applied.get((client, number))
        if known is None:
            self.violation("acknowledged but not committed", client, number)
        if known != result:
            self.violation("answer differs from the committed result (I8)", client, number, result, known)
        self.answered_index = max(self.answered_index, self.index_of[client, number])

    def resumed(self, client: int, following: int, acked: int, server: str) -> None:
        """A server tells a client where to go on: never below what it has acknowledged."""
        if following <= acked:
            self.violation("acknowledged operation missing at resume", client, following, acked, server)
        if following > self.issued.get(client, 0) + 1:
            self.violation("operation invented", client, following)

    # ---- the log

    def wrote(self, server: str, epoch: Any, index: int, chain: Any) -> None:
        """I4: one epoch and index, one entry and one history before it."""
        known = self.written.setdefault((epoch, index), chain)
        if known != chain:
            self.violation("two entries of one epoch and index (I4)", server, epoch, index)

    def released(self, server: str, index: int, identity: Any, outcomes: list[Any] | None, digest: int) -> None:
        """A server applies a committed entry: the same as everybody at that index, to the same effect (I11)."""
        committed = self.committed
        if index < len(committed):
            if committed[index] != identity:
                self.violation("two entries committed at one index", server, index, identity, committed[index])
            if self.effects[index] != digest:
                self.violation("states differ at one applied index (I11)", server, index)
            return
        if index > len(committed):
            self.violation("entries committed with a gap", server, index, len(committed))
        committed.append(identity)
        self.effects.append(digest)
        for command, result in outcomes or ():
            if command[0] == "send":
                self._first_applied(command[2], command[3], result, index)

    def read(self, server: str, read_index: int, answered_index: int) -> None:
        """A granted read shows everything that was acknowledged when it was asked for."""
        self.stats["reads granted"] += 1
        if read_index < answered_index:
            self.violation("stale read", server, read_index, answered_index)

    def _first_applied(self, client: int, number: int, result: int, index: int) -> None:
        if (client, number) in self.applied:
            self.stats["entries doubled"] += 1  # in the log twice, applied once
            if self.applied[client, number] != result:
                self.violation("operation applied twice (I8)", client, number)
            return
        if number != self.heads.get(client, 0) + 1:
            self.violation("operations of a client reordered (I9)", client, number, self.heads.get(client, 0))
        if number > self.issued.get(client, 0):
            self.violation("operation invented", client, number)
        self.heads[client] = number
        self.applied[client, number] = result
        self.index_of[client, number] = index

    def truncated(self, server: str, cut: list[Any], commit_index: int) -> None:
        """I7: nothing committed is cut off."""
        if cut[0].index <= commit_index:
            self.violation("entry below the own commit index truncated (I7)", server, cut[0].index)
        for entry in cut:
            if entry.index < len(self.committed) and self.committed[entry.index] == entry.chain:
                self.violation("committed entry truncated (I7)", server, entry.index)

    # ---- primaries

    def promoted(self, server: str, boot: Any, epoch: Any, log: list[Any]) -> None:
        """I1, I3: one primary an epoch, and its log holds everything committed (chain hashes cover what is
        before).
        """
        if self.primaries.setdefault(epoch, (server, boot)) != (server, boot):
            self.violation("two primaries in one epoch (I1)", server, epoch, self.primaries[epoch])
        last = len(self.committed) - 1
        if last and (len(log) < last or log[last - 1].chain != self.committed[last]):
            self.violation("winner lacks committed entries (I3)", server, epoch, len(log), last)

    def commits(self, server: str, epoch: Any) -> None:
        """I2: nobody commits once a primary of a higher epoch did."""
        if self.top_epoch is not None and epoch < self.top_epoch:
            self.violation("deposed primary commits (I2)", server, epoch, self.top_epoch)
        self.top_epoch = epoch
