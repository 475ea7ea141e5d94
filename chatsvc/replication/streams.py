"""Sending the log to the followers of one reign.

Protocol 3.4 and 3.5. Entries leave as soon as they are in the log, several Appends may be on their way at
once; what a follower reports as lost is sent again from there.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from chatsvc.replication.entries import Entry, payload_bytes
from chatsvc.replication.envelopes import Ack, Append, StepDown, Welcome
from chatsvc.replication.events import Read, ReadDone
from chatsvc.replication.identity import DirId, Identity
from chatsvc.replication.lease import LONG_AGO

if TYPE_CHECKING:
    from chatsvc.replication.reign import Reign


class Stream:
    """What the primary knows about one follower since its last Hello."""

    __slots__ = (
        "ack_seen",
        "acked_last_index",
        "durable",
        "filled_at",
        "filled_index",
        "in_flight",
        "in_flight_bytes",
        "in_sync",
        "leased",
        "link",
        "next_index",
        "number",
        "reading",
        "source",
    )

    def __init__(self, number: int, source: Identity, link: int, match_index: int) -> None:
        self.number, self.source, self.link = number, source, link
        self.next_index = match_index + 1  # the next entry to send
        self.durable = 0  # entries that the follower has on disk, as far as it said on this stream
        self.ack_seen = 0  # highest number of an Ack received
        self.acked_last_index = 0  # end of the own log when the Append was sent that was acked last
        self.in_sync = False  # said in the last Append
        self.leased = False  # said in the last Ack
        self.filled_index = 0  # where a gap at the follower was filled last, and when
        self.filled_at = LONG_AGO
        self.reading = 0  # first index of the Read under way; 0: none
        self.in_flight: deque[tuple[int, int]] = deque()  # (last index, bytes), not durable there
        self.in_flight_bytes = 0


class Streams:
    """The streams of one reign, by directory."""

    def __init__(self, reign: Reign) -> None:
        self.reign, self.replica = reign, reign.replica
        self.by_member: dict[DirId, Stream] = {}
        self.next_heartbeat = self.replica.now
        self.new_entries = False  # some stream may have room for entries that were not sent yet
        self._ends: deque[tuple[int, int]] = deque()  # (when, end of the log), of the heartbeats of T_suspect

    def open(self, number: int, source: Identity, link: int, match_index: int) -> None:
        self.by_member[source.dir_id] = Stream(number, source, link, match_index)
        self.replica.send(
            source.address,
            Welcome(number, self.reign.epoch, match_index, self.replica.log.configs[-1].forced),
            source.dir_id,
            link,
        )
        self.send_append(self.by_member[source.dir_id], True, {})

    def close(self, member: DirId) -> None:
        self.by_member.pop(member, None)

    def say_goodbye(self) -> None:
        for member, stream in self.by_member.items():
            self.replica.send(stream.source.address, StepDown(stream.number, self.reign.epoch), member, stream.link)

    def end_lately(self) -> int:
        """Where the log ended T_suspect ago, or at the first heartbeat of this reign."""
        return self._ends[0][1] if self._ends else self.replica.log.last_index

    # ---- sending

    def flush(self) -> None:
        """Send what is due: new entries where there is room, a heartbeat to everybody, news about in_sync."""
        replica = self.replica
        heartbeat = replica.now >= self.next_heartbeat
        if heartbeat:
            self.next_heartbeat = replica.now + replica.timers.heartbeat
            self._ends.append((replica.now, replica.log.last_index))
            while self._ends[0][0] < replica.now - replica.timers.suspect:
                self._ends.popleft()
        replica.wake_by(self.next_heartbeat)
        if not (heartbeat or self.new_entries):
            return
        self.new_entries = False
        cut: dict[int, tuple[Entry, ...]] = {}  # one tuple for all streams that are equally far
        for stream in self.by_member.values():
            self.send_append(stream, heartbeat, cut)

    def send_append(self, stream: Stream, heartbeat: bool, cut: dict[int, tuple[Entry, ...]]) -> None:
        """Send Appends until the window is full or the log is at its end; at least one if `heartbeat`."""
        replica, settings = self.replica, self.replica.settings
        log = replica.log
        while True:
            first_index = stream.next_index
            entries: tuple[Entry, ...] = ()
            if (
                first_index <= log.last_index
                and not stream.reading
                and first_index - stream.durable <= settings.window_entries
                and stream.in_flight_bytes < settings.window_bytes
            ):
                found = cut.get(first_index)
                if found is None:
                    found = log.in_memory(first_index, settings.append_entries_max, settings.append_bytes_max)
                    if found is not None:
                        cut[first_index] = found
                if found is None:
                    self._read(stream)
                else:
                    entries = found
            if not entries and not heartbeat:
                return
            self._send(stream, entries)
            if not entries:
                return
            heartbeat = False

    def _send(self, stream: Stream, entries: tuple[Entry, ...]) -> None:
        """What comes next on that stream."""
        prev_index = stream.next_index - 1
        if entries:
            stream.next_index += len(entries)
            size = payload_bytes(entries)
            stream.in_flight.append((stream.next_index - 1, size))
            stream.in_flight_bytes += size
        self._append(stream, prev_index, entries)

    def _append(self, stream: Stream, prev_index: int, entries: tuple[Entry, ...]) -> None:
        replica, source = self.replica, stream.source
        log = replica.log
        stream.in_sync = self.reign.says_in_sync(source.dir_id)
        replica.send(
            source.address,
            Append(
                stream.number,
                self.reign.epoch,
                replica.now,
                log.position_at(prev_index),
                entries,
                log.last_index,
                replica.commit_index,
                stream.ack_seen,
                stream.in_sync,
            ),
            source.dir_id,
            stream.link,
        )

    def tell_in_sync(self) -> None:
        """The first Append that says in_sync does not wait for a heartbeat: until it has arrived, that server
        cannot take over by lease."""
        for member, stream in self.by_member.items():
            if not stream.in_sync and stream.ack_seen and self.reign.says_in_sync(member):
                self.send_append(stream, True, {})

    # ---- entries that are on disk only

    def _read(self, stream: Stream) -> None:
        settings = self.replica.settings
        stream.reading = stream.next_index
        end_index = min(stream.next_index + settings.append_entries_max, self.replica.log.last_index + 1)
        self.replica.read(Read(stream.next_index, end_index, settings.append_bytes_max, self.reign.purpose_of(stream)))

    def on_read(self, stream: Stream, event: ReadDone) -> None:
        if stream.reading != event.read.first_index:
            return
        stream.reading = 0
        if stream.next_index == event.read.first_index and event.entries:
            assert event.entries[0].index == stream.next_index
            self._send(stream, event.entries)
        self.new_entries = True

    # ---- hearing

    def on_ack(self, stream: Stream, ack: Ack) -> None:
        """Take what it says about the follower's log; go back where something was lost."""
        if ack.durable_index > stream.durable:
            stream.durable = ack.durable_index
            in_flight = stream.in_flight
            while in_flight and in_flight[0][0] <= ack.durable_index:
                stream.in_flight_bytes -= in_flight.popleft()[1]
            if stream.next_index <= stream.durable:  # it has what was about to be sent again
                stream.next_index = stream.durable + 1
            if stream.next_index <= self.replica.log.last_index:
                self.new_entries = True
        if ack.number > stream.ack_seen:
            stream.ack_seen = ack.number
            stream.acked_last_index = ack.append_last_index
            stream.leased = ack.leased
        if ack.gap:
            self._fill_gap(stream, max(ack.received_index, stream.durable))

    def _fill_gap(self, stream: Stream, received_index: int) -> None:
        """What comes after that was lost on the way, or is late: send one Append of it again.

        The follower keeps what it has beyond the gap. The same gap is filled once an RPC.
        """
        replica, settings = self.replica, self.replica.settings
        first_index, now = received_index + 1, self.replica.now
        if first_index >= stream.next_index or (
            stream.filled_index == first_index and now - stream.filled_at < replica.timers.rpc
        ):
            return
        stream.filled_index, stream.filled_at = first_index, now
        count = min(stream.next_index - first_index, settings.append_entries_max)
        entries = replica.log.in_memory(first_index, count, settings.append_bytes_max)
        if entries is None:
            self._rewind(stream, received_index)
        else:
            self._append(stream, received_index, entries)

    def _rewind(self, stream: Stream, received_index: int) -> None:
        """Send all after that anew."""
        stream.next_index = received_index + 1
        stream.reading = 0
        while stream.in_flight and stream.in_flight[-1][0] > received_index:
            stream.in_flight_bytes -= stream.in_flight.pop()[1]
        self.new_entries = True
