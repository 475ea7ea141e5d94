"""One reign: from the promotion of a primary until it steps down. Commit, proposals, read barriers.

Protocol 3, 5 and 8.2. Who belongs to the in-sync set is in `membership`, what others may do meanwhile in
`behind`, how entries reach the followers in `streams`.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from chatsvc.replication.behind import BehindItsBack
from chatsvc.replication.configs import Config
from chatsvc.replication.entries import EntryKind
from chatsvc.replication.envelopes import (
    Ack,
    Announce,
    Hello,
    Reject,
    RejectReason,
    Relinquish,
)
from chatsvc.replication.events import (
    BarrierResult,
    Broken,
    NoteKind,
    ProposalResult,
    Propose,
    ReadBarrier,
    ReadDone,
)
from chatsvc.replication.identity import DirId, Epoch, Identity
from chatsvc.replication.lease import LONG_AGO
from chatsvc.replication.membership import Membership
from chatsvc.replication.streams import Stream, Streams

if TYPE_CHECKING:
    from chatsvc.replication.replica import Replica

BARRIERS_MAX = 4_096
STRANGERS_MAX = 64


class Reign:
    """Made when a replica wins, gone when it steps down. Its first entry is a CONFIG of its own."""

    def __init__(self, replica: Replica, epoch: Epoch) -> None:
        self.replica, self.epoch = replica, epoch
        self.won_awake = replica.evidence.awake
        self.first_index = replica.log.last_index + 1  # of the first CONFIG of this reign
        self.serving = False  # that CONFIG is committed
        self.lease_holders: tuple[DirId, ...] = ()  # the others in the newest CONFIG committed in this reign
        self.others: tuple[DirId, ...] = ()  # in sync besides this primary, by the newest CONFIG in the log
        self.ack_awake: dict[DirId, int] = {}  # awake clock at the last Ack in this reign
        self.behind = BehindItsBack(self)
        self.streams = Streams(self)
        self.membership = Membership(self)
        self._announced_at = LONG_AGO
        self._barriers: list[tuple[int, int]] = []  # (token, asked at)
        self._uncommitted_bytes = 0
        self._verify_since: int | None = None  # a client has seen a higher epoch: nothing is released until
        self._verified_counter = epoch.counter  # everybody in sync has acked something sent after that

    # ---- turns

    def on_time(self) -> None:
        """What time alone brings about."""
        self.membership.change()
        self.commit()
        self._announce()
        self._probe()
        if self._barriers:
            self._grant_barriers()
        self.replica.wake_by(self.replica.now + self.replica.timers.heartbeat)

    def after_stall(self) -> None:
        awake = self.replica.evidence.awake
        for member in self.ack_awake:
            self.ack_awake[member] = awake
        self.membership.after_stall()

    def config_appended(self, config: Config) -> None:
        """A new CONFIG is in the log, so in effect."""
        own = self.replica.dir_id
        assert own in config.in_sync, "a primary is in sync"
        before = self.others
        self.others = tuple(member for member in config.in_sync if member != own)
        awake = self.replica.evidence.awake
        for member in self.others:
            if member not in before:
                self.membership.on_grown(member)
            self.ack_awake.setdefault(member, awake)

    # ---- what others have done

    def unacked(self, member: DirId) -> int:
        """Awake ms since its last Ack in this reign."""
        return self.replica.evidence.awake - self.ack_awake.get(member, 0)

    def never_dropped(self) -> list[DirId]:
        """The others that are in every CONFIG from the newest one committed in this reign on.

        Only they may get a lease (rule `always`): of one that was dropped and added again, none of it
        committed, a restarted primary may remember the first half only.
        """
        later = self.replica.log.configs_after(self.replica.commit_index)
        return [member for member in self.lease_holders if all(member in config.in_sync for config in later)]

    def counts_on(self, member: DirId) -> bool:
        """Is it in sync, by the newest CONFIG or by the newest committed one?"""
        return member in self.others or member in self.lease_holders

    def says_in_sync(self, member: DirId) -> bool:
        """Does an Append to that member give it a lease?"""
        if member not in self.lease_holders or self.membership.lease_withheld(member):
            return False
        if not self._at_its_address(member):
            return False
        if self.replica.rules.always:
            return member in self.others and member in self.never_dropped()
        return member in self.others

    def _at_its_address(self, member: DirId) -> bool:
        """Do all CONFIGs since the newest committed one name the address where its process is?

        Else a refusal at the address that others know would be taken for its death while it holds a lease
        (rule `dialback`).
        """
        stream = self.streams.by_member.get(member)
        if stream is None or not self.replica.rules.dialback:
            return True
        address = stream.source.address
        return all(config.address_of(member) == address for config in self.replica.chain())

    def passed_over(self, members: Collection[DirId]) -> None:
        """On silence alone, so they may have gone on by themselves."""
        self.membership.bypassed.update(members)

    # ---- commit

    def commit(self) -> None:
        """Commit what every member of the newest CONFIG has on disk, this primary included.

        Only together with the newest CONFIG itself (rules `cover`, `ownconfig`): before anything is committed
        without a member, all that remain know that it was dropped. And only if nobody can have been elected
        behind the primary's back meanwhile.
        """
        replica = self.replica
        index = replica.saving.durable_index
        by_member = self.streams.by_member
        for member in self.others:
            stream = by_member.get(member)
            if stream is None:
                return
            if stream.durable < index:
                index = stream.durable
        if index <= replica.commit_index:
            return
        config = replica.log.configs[-1]
        rules = replica.rules
        if rules.ownconfig and index < (config.index if rules.cover else self.first_index):
            return
        if rules.anchor and not self.behind.may_go_on_with(config.in_sync, commit=True):
            return
        known_committed = replica.log.configs[0]
        replica.advance_commit(index)
        if replica.log.configs[0] is not known_committed:
            self._config_committed()

    def _config_committed(self) -> None:
        replica = self.replica
        committed = replica.log.chain(replica.commit_index)[0]
        if committed.epoch != self.epoch:
            return
        self.lease_holders = tuple(member for member in committed.in_sync if member != replica.dir_id)
        if not self.serving:
            self.serving = True
            replica.following.lease.void()
            replica.note(NoteKind.SERVES, "in sync {}", replica.reporting.names(committed.in_sync))
        self.streams.tell_in_sync()

    # ---- proposals

    def propose(self, event: Propose) -> ProposalResult:
        replica, settings = self.replica, self.replica.settings
        refusal = ""
        if not self.serving:
            refusal = "not ready"
        elif (
            replica.log.last_index - replica.commit_index >= settings.uncommitted_entries_max
            or self._uncommitted_bytes >= settings.uncommitted_bytes_max
        ):
            refusal = "too much in flight"
        elif replica.disk_full:
            refusal = "disk full"
        if refusal:
            return ProposalResult(event.token, 0, refusal, None)
        entry = replica.log.make(self.epoch, EntryKind.OP, event.payload)
        replica.saving.append(entry)
        self._uncommitted_bytes += len(event.payload)
        self.streams.new_entries = True
        return ProposalResult(event.token, entry.index, "", None)

    def released(self, size: int) -> None:
        """That many bytes of entries were committed."""
        self._uncommitted_bytes = max(0, self._uncommitted_bytes - size)

    # ---- reads, and clients that know better

    def on_barrier(self, event: ReadBarrier) -> None:
        replica = self.replica
        if not self.serving or len(self._barriers) >= BARRIERS_MAX:
            replica.ready.barriers.append(BarrierResult(event.token, False, 0))
        elif self._verify_since is None and self._all_acked_since(replica.now - replica.timers.suspect_earliest):
            replica.ready.barriers.append(BarrierResult(event.token, True, replica.commit_index))
        else:
            self._barriers.append((event.token, replica.now))
            self._ask_round()

    def _ask_round(self) -> None:
        """Let the next Appends leave at once: their Acks end a round trip."""
        self.streams.next_heartbeat = min(self.streams.next_heartbeat, self.replica.now + 1)
        self.replica.wake_by(self.streams.next_heartbeat)

    def _all_acked_since(self, since: int) -> bool:
        """Has every other server in sync acked something sent after that moment?"""
        acked = self.behind.acked_append_at
        return all(acked.get(member, LONG_AGO) > since for member in self.others)

    def _grant_barriers(self) -> None:
        still = []
        for token, asked_at in self._barriers:
            if self._all_acked_since(asked_at):
                self.replica.ready.barriers.append(BarrierResult(token, True, self.replica.commit_index))
            else:
                still.append((token, asked_at))
        self._barriers = still

    def on_epoch_seen(self, counter: int) -> None:
        if counter > self._verified_counter:
            self._verified_counter = counter
            self._verify_since = self.replica.now
            self._ask_round()

    def may_release(self) -> bool:
        """Is it certain enough that nobody has replaced this primary?"""
        if self._verify_since is not None:
            if not self._all_acked_since(self._verify_since):
                return False
            self._verify_since = None
        return True

    def end(self) -> None:
        """Stepping down: say so, answer nobody any more."""
        self.streams.say_goodbye()
        for token, _ in self._barriers:
            self.replica.ready.barriers.append(BarrierResult(token, False, 0))
        self._barriers = []

    # ---- followers

    def on_hello(self, source: Identity, hello: Hello, link: int) -> None:
        """Open a stream, or say why not."""
        replica, member = self.replica, source.dir_id
        present = self.streams.by_member.get(member)
        if present is not None and present.number >= hello.stream:
            return
        config = replica.log.configs[-1]
        if hello.promised > self.epoch:
            if self.counts_on(member) or not replica.rules.renew:
                replica.step_down(hello.promised)
            else:
                self.membership.renew_above(hello.promised)
                self._reject(source, hello, link, RejectReason.RENEW)
            return
        if member in config.removed:
            self._reject(source, hello, link, RejectReason.REMOVED)
            return
        match_index = replica.log.match_index(hello.epochs, hello.last.log_index)
        if match_index < replica.log.start_index or match_index < hello.log_start:
            self._reject(source, hello, link, RejectReason.SNAPSHOT)
            return
        if replica.rules.lostdata and match_index < self.membership.durable_once.get(member, 0):
            self._reject(source, hello, link, RejectReason.LOST_DATA)
            self.membership.on_relinquish(member)  # it will never ack again, and holds no lease
            return
        if present is None and len(self.streams.by_member) >= len(config.members) + STRANGERS_MAX:
            return
        self.membership.on_follower(source)
        self.streams.open(hello.stream, source, link, match_index)

    def _reject(self, source: Identity, hello: Hello, link: int, reason: RejectReason) -> None:
        self.replica.send(source.address, Reject(hello.stream, reason, None), source.dir_id, link)

    def _stream_of(self, source: Identity, number: int, epoch: Epoch) -> Stream | None:
        stream = self.streams.by_member.get(source.dir_id)
        return stream if stream is not None and stream.number == number and epoch == self.epoch else None

    def on_ack(self, source: Identity, ack: Ack, link: int) -> None:
        stream = self._stream_of(source, ack.stream, ack.epoch)
        if stream is None:
            return
        member, before = source.dir_id, stream.durable
        self.streams.on_ack(stream, ack)
        self.ack_awake[member] = self.replica.evidence.awake
        self.behind.on_acked(member, ack.append_sent_at)
        if stream.durable > before:
            self.membership.on_progress(member, stream.durable)
            self.commit()
        if member not in self.others:
            self.membership.change()
        elif not stream.in_sync and member in self.lease_holders:
            self.streams.tell_in_sync()
        if self._barriers:
            self._grant_barriers()

    def on_relinquish(self, source: Identity, payload: Relinquish, link: int) -> None:
        if self._stream_of(source, payload.stream, payload.epoch) is not None:
            self.membership.on_relinquish(source.dir_id)

    def on_broken(self, event: Broken) -> None:
        if event.dir_id is None:
            return
        stream = self.streams.by_member.get(event.dir_id)
        if stream is not None and stream.number == event.stream:
            self.streams.close(event.dir_id)

    def on_saved(self) -> None:
        self.commit()

    # ---- entries read from disk for a follower

    def purpose_of(self, stream: Stream) -> int:
        return stream.number

    def on_read(self, event: ReadDone) -> None:
        for stream in self.streams.by_member.values():
            if stream.reading == event.read.first_index and stream.number == event.read.purpose:
                self.streams.on_read(stream, event)
                return
        self.streams.new_entries = True

    # ---- those who do not hear of this reign by themselves

    def _announce(self) -> None:
        """To every member without a stream: here I am."""
        replica = self.replica
        if replica.now - self._announced_at < replica.timers.rpc:
            return
        self._announced_at = replica.now
        by_member = self.streams.by_member
        for member in replica.log.configs[-1].members:
            if member.dir_id != replica.dir_id and member.dir_id not in by_member:
                replica.send(member.address, Announce(self.epoch), member.dir_id)

    def _probe(self) -> None:
        """Dial the silent anew, as long as their being up or down matters."""
        replica, evidence = self.replica, self.replica.evidence
        relevant = dict.fromkeys((*self.others, *self.lease_holders))
        for config in replica.log.configs_after(replica.commit_index):
            relevant.update(dict.fromkeys(config.in_sync))
        relevant.pop(replica.dir_id, None)
        for member in relevant:
            silent = evidence.silence(member) >= replica.timers.probe_after
            if silent or evidence.refused(member) or member not in self.streams.by_member:
                replica.hearing.probe_member(member)
