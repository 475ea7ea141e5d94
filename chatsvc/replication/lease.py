"""A backup's lease: until when it knows that it has not been dropped, and from whom."""

from __future__ import annotations

from collections import deque

from chatsvc.replication.identity import DirId, Epoch

LONG_AGO = -(1 << 60)
ACKS_REMEMBERED_MAX = 4_096


class Lease:
    """Protocol 6.1 and 6.2.

    The primary drops nobody before T_evict after an Ack it has received. So the lease runs for the shorter L
    from the moment that Ack was *sent*, on real time.
    """

    def __init__(self) -> None:
        self.until = LONG_AGO  # ms
        self.giver: DirId | None = None
        self.epoch: Epoch | None = None
        self.granted_to: set[DirId] = set()  # whom the holder has granted since the last renewal
        self._acks: deque[tuple[int, int]] = deque(maxlen=ACKS_REMEMBERED_MAX)  # (number, sent at)

    def runs(self, now: int) -> bool:
        return now < self.until

    def new_stream(self) -> None:
        self._acks.clear()

    def ack_sent(self, number: int, now: int) -> None:
        self._acks.append((number, now))

    def renew(self, ack_seen: int, length: int, giver: DirId, epoch: Epoch, entitled: bool) -> None:
        """The primary has received that Ack of the present stream.

        Args:
            length: L in ms.
            entitled: the Append says in_sync, and this process has been up for T_start.
        """
        acks = self._acks
        while acks and acks[0][0] < ack_seen:
            acks.popleft()
        if not (entitled and acks and acks[0][0] == ack_seen):
            return
        until = acks[0][1] + length
        if until > self.until:
            self.until, self.giver, self.epoch = until, giver, epoch
            if self.granted_to:
                self.granted_to.clear()

    def void(self) -> None:
        self.until, self.epoch = LONG_AGO, None
