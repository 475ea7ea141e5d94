"""Following a primary: dialling it, taking its entries, answering with Acks; suspecting it.

Protocol 3.4, 6 and 9.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatsvc.replication.entries import Entry, EntryKind, follows
from chatsvc.replication.envelopes import (
    Ack,
    Announce,
    Append,
    Fenced,
    Hello,
    PrimaryHint,
    Reject,
    RejectReason,
    Relinquish,
    StepDown,
    Welcome,
)
from chatsvc.replication.events import NoteKind, Read, ReadDone
from chatsvc.replication.identity import NO_CLUSTER, NO_EPOCH, DirId, Epoch, Identity
from chatsvc.replication.lease import LONG_AGO, Lease

if TYPE_CHECKING:
    from chatsvc.replication.replica import Replica

READ_MATCH = 0
"""Purpose of the Read that fetches the chain hash at a match point."""

STREAM_NUMBERS = 1 << 48
EARLY_MAX = 256

PROBLEM_SHOWN_HELLOS = 20
"""A rejection is shown for that many waits between two Hellos."""

SLOW_HELLO = 5
"""A follower that was turned away for good dials that many times less often."""

TURNED_AWAY = frozenset(
    {
        RejectReason.WRONG_CLUSTER,
        RejectReason.REMOVED,
        RejectReason.LOST_DATA,
        RejectReason.SNAPSHOT,
        RejectReason.MODE,
    }
)


DIVERGED = (
    "this server has committed entries that the primary has not, which was forced or split off: "
    "empty its data directory and start it again, and it will follow"
)


class Following:
    """A replica's relation to the primary that it follows, or followed last."""

    def __init__(self, replica: Replica) -> None:
        self.replica = replica
        self.primary: DirId | None = None
        self.address = ""
        self.epoch: Epoch = NO_EPOCH  # of that primary; of the own reign while there is one
        self.contact = 0  # awake clock when it was last heard as primary
        self.suspects = False
        self.suspected_awake = 0
        self.latched = False
        self.lease = Lease()
        self.granted_epoch: Epoch | None = None

        self.stream: int | None = None  # open: a Welcome has come
        self.hello_number = replica.draw(STREAM_NUMBERS)  # so that processes do not share numbers
        self.next_hello = 0
        self._welcome: tuple[Identity, Welcome] | None = None  # waits for a Read
        self._ack_number = 0
        self._ack_due = False
        self._ack_on_save = False
        self._acked_at = 0
        self._append_at = 0  # when an Append came on the open stream, or when that was opened
        self._append_sent_at = 0
        self._append_last_index = 0
        self._gap = False
        self._early: dict[int, tuple[Entry, ...]] = {}  # came before what they follow; by that one's index
        self._relinquished: int | None = None  # on this stream no lease is taken any more

    # ---- whom

    @property
    def active(self) -> bool:
        """Does this replica follow a primary that it does not suspect?"""
        return self.primary is not None and not self.suspects and self.replica.is_follower

    def hears(self) -> bool:
        """Is the primary that it follows a living one, as far as can be told?"""
        return self.active and self.silence() < self.replica.timers.suspect

    def silence(self) -> int:
        return self.replica.evidence.awake - self.contact

    def follow(self, source: Identity, epoch: Epoch) -> None:
        """A primary whose epoch is not below `promised` was heard: suspicion and latch end.

        The lease of an older primary outlives this, unless the new one won without the own grant: then its
        holder was passed over.
        """
        replica = self.replica
        awake = replica.evidence.awake
        if (
            self.primary == source.dir_id
            and self.epoch == epoch
            and not self.suspects
            and replica.is_follower
            and replica.election is None
        ):
            self.contact = awake
            self.address = source.address
            return
        replica.step_down(epoch)
        if self.primary != source.dir_id or self.epoch != epoch:
            self.close_stream()
            self.next_hello = replica.now
            lease = self.lease
            if lease.epoch is not None and epoch > lease.epoch and epoch != self.granted_epoch:
                lease.void()
            replica.note(NoteKind.FOLLOWS, "{} epoch {}", source.address, epoch)
            replica.evidence.forget_primary_probes()
        self.primary, self.address, self.epoch = source.dir_id, source.address, epoch
        self.suspects = self.latched = False
        self.contact = awake
        replica.end_election()
        replica.reporting.waiting_for = ()
        replica.wake_by(self.next_hello)

    def suspect(self, why: str) -> None:
        """Stop following: the primary is silent for T_suspect, refused, restarted, or has stepped down.

        A holder whose lease of this reign still runs at this moment latches (rules `latchown`, `lease`): its
        newest CONFIG was the newest one then. The latch serves degraded decisions only.
        """
        replica, lease = self.replica, self.lease
        self.suspects, self.suspected_awake = True, replica.evidence.awake
        own = lease.epoch == self.epoch or not replica.rules.latchown
        self.latched = (lease.runs(replica.now) and own) or not replica.rules.lease
        self.close_stream()
        replica.survey_within(replica.timers.survey_wait)
        replica.note(NoteKind.SUSPECTS, "{}: {}", self.address, why)

    def forget(self) -> None:
        """Follow nobody; what was learned about leases stays."""
        self.primary = None
        self.close_stream()

    def after_stall(self, lease_runs: bool) -> None:
        """Waits begin anew; a latch stays only with its lease (rule `latchawake`).

        The primary may have dropped this replica while it slept.
        """
        replica = self.replica
        awake = replica.evidence.awake
        if self.suspects:
            self.suspected_awake = awake
            if replica.rules.latchawake and not lease_runs:
                self.latched = False
            replica.evidence.forget_primary_probes()
        if not self.latched:
            self.contact = awake

    # ---- dialling

    def hello(self, address: str, dir_id: DirId | None) -> None:
        """Open a new stream; what still comes on an older one is void."""
        replica = self.replica
        self.hello_number += 1
        self.close_stream()
        log = replica.log
        replica.send(
            address,
            Hello(
                self.hello_number,
                replica.promised,
                log.last,
                tuple(log.epochs),
                log.start_index,
                replica.commit_index,
            ),
            dir_id,
        )

    def hello_if_due(self) -> None:
        replica = self.replica
        if not self.active or self.stream is not None:
            return
        if replica.now >= self.next_hello:
            self.next_hello = replica.now + replica.timers.hello_every
            self.hello(self.address, self.primary)
        replica.wake_by(self.next_hello)

    def close_stream(self) -> None:
        self.stream = None
        self._welcome = None
        self._ack_due = self._ack_on_save = False
        self._early.clear()

    def on_broken(self, stream: int) -> None:
        """The own stream broke: dial again; the probe that tells more is already under way."""
        if stream == self.hello_number and self.stream is not None:
            self.close_stream()
            self.next_hello = self.replica.now + self.replica.timers.probe_every

    # ---- what the primary says

    def on_reject(self, source: Identity, reject: Reject, link: int) -> None:
        replica = self.replica
        if reject.stream != self.hello_number or self.stream is not None:
            return
        reason = reject.reason
        if reason is RejectReason.NOT_PRIMARY:
            # As good as its StepDown: it answers a Hello that was sent after it was heard as primary.
            if self.active and self.primary == source.dir_id:
                self.suspect("it says that it is not primary")
            return
        replica.report(f"{source.address} says: {reason}", PROBLEM_SHOWN_HELLOS * replica.timers.hello_every)
        if reason in TURNED_AWAY:
            later = replica.now + SLOW_HELLO * replica.timers.hello_every
            self.next_hello = later
            replica.next_election = max(replica.next_election, later)

    def on_announce(self, source: Identity, announce: Announce, link: int) -> None:
        if announce.epoch < self.replica.promised:
            self.replica.send(source.address, Fenced(self.replica.promised), source.dir_id, link)
            return
        self.follow(source, announce.epoch)
        if self.stream is not None and self.replica.now - self._append_at > self.replica.timers.rpc:
            # It has no stream for this replica: what is open here leads nowhere.
            self.close_stream()
            self.next_hello = self.replica.now
            self.replica.wake_by(self.next_hello)

    def on_step_down(self, source: Identity, payload: StepDown, link: int) -> None:
        if self.active and self.primary == source.dir_id and self.epoch == payload.epoch:
            self.suspect("it has stepped down")

    def on_welcome(self, source: Identity, welcome: Welcome, link: int) -> None:
        """Cut the log to what it shares with the primary's; only the Welcome to the newest Hello counts."""
        replica = self.replica
        if welcome.epoch < replica.promised:
            replica.send(source.address, Fenced(replica.promised), source.dir_id, link)
            return
        if welcome.stream != self.hello_number or self.stream is not None:
            return
        if replica.identity.cluster_id == NO_CLUSTER:
            replica.join_cluster(source.cluster_id)
        self.follow(source, welcome.epoch)
        replica.report("")
        match_index, log = welcome.match_index, replica.log
        assert log.start_index <= match_index <= log.last_index, "a match point outside the own log"
        if match_index < replica.commit_index:
            # Only where a split was risked: the state below cannot be undone, entries are not thrown away.
            assert replica.split_possible or welcome.forced, "a committed entry would be truncated"
            replica.report(DIVERGED)
            self.next_hello = replica.now + SLOW_HELLO * replica.timers.hello_every
            return
        chain_hash = log.chain_hash_at(match_index)
        if chain_hash is None:
            self._welcome = (source, welcome)
            replica.read(Read(match_index, match_index + 1, 0, READ_MATCH))
            return
        self._open(welcome.stream, match_index, chain_hash)

    def on_match_read(self, event: ReadDone) -> None:
        """The chain hash at the match point has come."""
        waiting = self._welcome
        if waiting is None or waiting[1].match_index != event.read.first_index or not self.active:
            return
        self._welcome = None
        if waiting[1].stream == self.hello_number and waiting[1].epoch == self.epoch:
            self._open(waiting[1].stream, waiting[1].match_index, event.entries[0].chain)

    def _open(self, stream: int, match_index: int, chain_hash: bytes) -> None:
        replica = self.replica
        log = replica.log
        if match_index < log.last_index:
            replica.note(NoteKind.TRUNCATES, "from {} to {}", log.last_index, match_index)
        log.truncate(match_index, chain_hash)
        replica.hearing.config_changed()
        replica.saving.truncate(match_index)
        self.stream = stream
        self._ack_number = 0
        self._append_sent_at, self._append_last_index = LONG_AGO, 0
        self._ack_on_save = True
        self._append_at = replica.now
        self.lease.new_stream()

    def on_append(self, source: Identity, append: Append, link: int) -> None:
        """Follow the primary; on the own stream take the entries, renew the lease, and owe an Ack."""
        replica = self.replica
        if append.epoch < replica.promised:
            replica.send(source.address, Fenced(replica.promised), source.dir_id, link)
            return
        self.follow(source, append.epoch)
        if append.stream != self.stream:
            return
        self._append_at = replica.now
        log, prev_index, entries = replica.log, append.prev.log_index, append.entries
        present = log.last_index - prev_index
        took = False
        if present >= 0:
            if len(entries) > present:
                took = self._take(entries[present:] if present else entries)
                if not took:
                    return
            if self._early and not self._take_early():
                return
        elif entries and len(self._early) < EARLY_MAX:
            self._early[prev_index] = entries
        self._gap = log.last_index < prev_index
        if append.commit_index > replica.commit_index:
            replica.advance_commit(min(append.commit_index, log.last_index))
        if append.sent_at >= self._append_sent_at:
            self._append_sent_at, self._append_last_index = append.sent_at, append.last_index
        if self._relinquished != append.stream:
            self.lease.renew(
                append.ack_seen,
                replica.timers.lease,
                source.dir_id,
                append.epoch,
                (append.in_sync and not replica.weighing.just_started()) or not replica.rules.learnerlease,
            )
        if took:
            self._ack_on_save = True
        if not took or replica.now - self._acked_at >= replica.timers.heartbeat:
            self._ack_due = True

    def _take_early(self) -> bool:
        """Take what had come too early and follows now."""
        log = self.replica.log
        for prev_index in sorted(self._early):
            present = log.last_index - prev_index
            if present < 0:
                break
            entries = self._early.pop(prev_index)
            if len(entries) > present and not self._take(entries[present:]):
                return False
        return True

    def _take(self, entries: tuple[Entry, ...]) -> bool:
        replica = self.replica
        log, saving = replica.log, replica.saving
        for entry in entries:
            if not follows(entry, log.last_chain) or entry.index != log.last_index + 1:
                # Neither its log nor this one can be trusted here; do not add to the damage.
                replica.report(f"entry {entry.index} does not follow the own log")
                self.close_stream()
                self.next_hello = replica.now + SLOW_HELLO * replica.timers.hello_every
                return False
            log.append(entry)
            saving.append(entry)
            if entry.kind != EntryKind.OP:
                replica.hearing.config_changed()
        return True

    # ---- Acks

    def on_saved(self) -> None:
        if self._ack_on_save:
            self._ack_due = True
            self._ack_on_save = self.replica.saving.durable_index < self.replica.log.last_index

    def send_ack_if_due(self) -> None:
        """At most one Ack a turn, and none before the promise of this epoch is durable (rule `dprom`)."""
        if not self._ack_due or self.stream is None:
            return
        replica = self.replica
        saving = replica.saving
        if not self.active or self.epoch < replica.promised or saving.promised < self.epoch:
            return
        self._ack_due = False
        if self._relinquished == self.stream:
            replica.send(self.address, Relinquish(self.stream, self.epoch), self.primary)
        self._ack_number += 1
        self._acked_at = now = replica.now
        lease, last_index = self.lease, replica.log.last_index
        lease.ack_sent(self._ack_number, now)
        durable = saving.durable_index if replica.rules.fsync else last_index
        assert durable <= last_index
        replica.send(
            self.address,
            Ack(
                self.stream,
                self.epoch,
                self._ack_number,
                durable,
                last_index,
                self._append_sent_at,
                self._append_last_index,
                self._gap,
                replica.released_index,
                lease.until > now and lease.epoch == self.epoch,
            ),
            self.primary,
        )

    def relinquish(self) -> None:
        """Give up lease and latch, and say so: the primary need not wait for this replica any more.

        No lease is taken on this stream again: an Append that says in_sync may have left before the primary
        knew, and a late Relinquish may arrive after an Ack. A new stream begins anew.
        """
        replica = self.replica
        self.lease.void()
        self.latched = False
        if self.active and self.stream is not None and self._relinquished != self.stream:
            replica.note(NoteKind.RELINQUISHES, "{}", self.address)
            self._relinquished = self.stream
            replica.send(self.address, Relinquish(self.stream, self.epoch), self.primary)

    def end_relinquishing(self) -> None:
        """This replica can keep up again: open a new stream."""
        if self._relinquished is not None and self.active and self.stream == self._relinquished:
            self.close_stream()
            self.next_hello = self.replica.now
        self._relinquished = None

    def hint(self) -> PrimaryHint | None:
        if self.primary is not None and self.hears():
            return PrimaryHint(self.epoch, self.primary, self.address)
        return None
