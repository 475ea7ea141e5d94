"""Who belongs to the in-sync set of a reign: drops, growth, lagging members, newcomers, renewal.

Protocol 5.1 and 5.4 to 5.9.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from chatsvc.replication.configs import REMOVED_MAX, Config
from chatsvc.replication.events import NoteKind
from chatsvc.replication.identity import DirId, Epoch, Identity, Member
from chatsvc.replication.lease import LONG_AGO

if TYPE_CHECKING:
    from chatsvc.replication.reign import Reign

NEWCOMERS_MAX = 64
STEADY_DOUBLINGS_MAX = 6
GROWTH_HEARTBEATS = 3


class Membership:
    """Decides about CONFIGs of one reign."""

    def __init__(self, reign: Reign) -> None:
        self.reign, self.replica = reign, reign.replica
        self.durable_once: dict[DirId, int] = {}  # highest durable index it ever acked in this reign
        self.bypassed: set[DirId] = set()  # passed over on silence alone in this reign
        self.frozen_at: dict[DirId, int] = {}  # awake clock when its leases were stopped
        self.relinquished: set[DirId] = set()
        self.removing: set[DirId] = set()
        self._progress_awake: dict[DirId, int] = {}  # awake clock when it was last seen not to lag
        self._newcomers: dict[DirId, Identity] = {}  # followers that the newest CONFIG does not know so
        self._dialled: dict[DirId, tuple[int, str]] = {}  # (boot, address) that answered there
        self._steady_since: dict[DirId, int] = {}  # awake clock; of followers that are not in sync
        self._silent_drops: dict[DirId, int] = {}  # how often it was dropped for silence
        self._renew_above: Epoch | None = None

    def after_stall(self) -> None:
        awake = self.replica.evidence.awake
        for clock in (self._progress_awake, self.frozen_at, self._steady_since):
            for member in clock:
                clock[member] = awake

    def change(self) -> None:
        """Append a CONFIG if somebody is to be dropped or added, or if the members are to be known otherwise.

        Somebody is added only where nobody is dropped, one at a time.
        """
        replica = self.replica
        config = replica.log.configs[-1]
        self._watch_lag(config)
        in_sync = set(config.in_sync)
        remaining = self._after_drops(in_sync)
        reason = "members"
        if remaining != in_sync:
            reason = "drop"
            names = replica.reporting.names
            replica.note(NoteKind.DROPS, "{} leaving {}", names(in_sync - remaining), names(remaining))
        else:
            ready = self._ready_to_grow(config)
            if ready:
                remaining = in_sync | {ready[replica.draw(len(ready))]}
                reason = "grow"
                replica.note(NoteKind.GROWS, "to {}", replica.reporting.names(remaining))
        members, removed = self._members(config, remaining)
        if remaining != in_sync or members != config.members or removed != config.removed:
            bypassed = (set(config.bypassed) | self.bypassed) - remaining
            bypassed.intersection_update(member.dir_id for member in members)
            self.bypassed.clear()
            replica.append_config(remaining, members, reason, tuple(sorted(bypassed)), removed)
        if self._renew_above is not None:
            self._renew_if_possible()

    # ---- drops

    def _after_drops(self, in_sync: set[DirId]) -> set[DirId]:
        """The members that stay.

        All who are to go, go at once, and only if the primary may commit with those that remain. Otherwise it
        drops nobody, stays primary, acknowledges nothing and keeps dialling.
        """
        gone = [member for member in self.reign.others if self._is_gone(member)]
        if not gone:
            return in_sync
        remaining = in_sync.difference(gone)
        if not self.reign.behind.may_go_on_with(remaining):
            return in_sync
        for member in gone:
            if not self.replica.evidence.refused(member) and member not in self.relinquished:
                self._silent_drops[member] = self._silent_drops.get(member, 0) + 1
            self._steady_since.pop(member, None)
            self.frozen_at.pop(member, None)
        return remaining

    def _is_gone(self, member: DirId) -> bool:
        replica = self.replica
        evict = replica.timers.evict
        if replica.evidence.refused(member) or self.reign.unacked(member) >= evict:
            return True
        if member in self.relinquished:
            return True
        frozen_at = self.frozen_at.get(member)
        return frozen_at is not None and replica.evidence.awake - frozen_at >= evict

    # ---- lag

    def on_progress(self, member: DirId, durable: int) -> None:
        self._progress_awake[member] = self.replica.evidence.awake
        if durable > self.durable_once.get(member, 0):
            self.durable_once[member] = durable
        if member in self.frozen_at and member not in self.removing:
            del self.frozen_at[member]

    def on_grown(self, member: DirId) -> None:
        """A CONFIG that takes it in is in the log: its lag is measured from now on."""
        self._progress_awake[member] = self.replica.evidence.awake

    def _watch_lag(self, config: Config) -> None:
        """Freeze members that live but do not get on, and those that an operator sends away."""
        replica = self.replica
        awake, last_index = replica.evidence.awake, replica.log.last_index
        for member in self.reign.others:
            stream = self.reign.streams.by_member.get(member)
            if stream is None or stream.durable >= last_index or member not in self._progress_awake:
                self._progress_awake[member] = awake
            elif (
                replica.rules.lag
                and member not in self.frozen_at
                and awake - self._progress_awake[member] >= replica.timers.lag
            ):
                self.frozen_at[member] = awake
                replica.note(NoteKind.FREEZES, "{} does not get on", replica.reporting.names([member]))
            if member in self.removing and member not in self.frozen_at:
                self.frozen_at[member] = awake

    def lease_withheld(self, member: DirId) -> bool:
        """Frozen members get no more leases, so that they can be dropped while they live."""
        return (member in self.frozen_at or member in self.relinquished) and self.replica.rules.frozenlease

    def on_relinquish(self, member: DirId) -> None:
        self.relinquished.add(member)
        self.change()

    def remove(self, member: DirId) -> None:
        """An operator sends it away. What is in sync is frozen first."""
        if member != self.replica.dir_id:
            self.removing.add(member)
            self.change()

    # ---- growth

    def _ready_to_grow(self, config: Config) -> list[DirId]:
        in_sync = config.in_sync
        return [
            member
            for member in self.reign.streams.by_member
            if member not in in_sync and self._may_grow(config, member)
        ]

    def _may_grow(self, config: Config, member: DirId) -> bool:
        """May it become a member in sync?

        On its disk is at least what the primary's log held when the primary sent the Append that it acked
        last (or T_suspect ago: under steady writes there is always more on its way); that Ack is younger
        than 3 heartbeats; it is not refused; its present process answered at the address that the CONFIG
        gives (rule `dialback`); and it has acked long enough (rule `steady`).
        """
        reign, replica = self.reign, self.replica
        stream = reign.streams.by_member[member]
        known = config.member(member)
        awake = replica.evidence.awake
        acking = member in reign.ack_awake and reign.unacked(member) < GROWTH_HEARTBEATS * replica.timers.heartbeat
        if not acking:
            self._steady_since.pop(member, None)
            return False
        steady_since = self._steady_since.setdefault(member, awake)
        return (
            known is not None
            and stream.acked_last_index > 0
            and stream.durable >= min(stream.acked_last_index, reign.streams.end_lately())
            and member not in self.removing
            and member not in self.relinquished
            and not replica.evidence.refused(member)
            and self._answered_at(stream.source, known.address)
            and (awake - steady_since >= self._steady_for(member) or not replica.rules.steady)
        )

    def _steady_for(self, member: DirId) -> int:
        """Awake ms of acks before it is taken back; doubles with each drop for silence."""
        drops = self._silent_drops.get(member, 0)
        return self.replica.timers.suspect << min(drops - 1, STEADY_DOUBLINGS_MAX) if drops else 0

    # ---- who is known

    def on_follower(self, source: Identity) -> None:
        """It says Hello: if it is not known by that address yet, it is dialled there first."""
        member = source.dir_id
        if len(self._newcomers) < NEWCOMERS_MAX or member in self._newcomers:
            self._newcomers[member] = source
        self._steady_since.pop(member, None)
        self.relinquished.discard(member)  # it takes leases again, on the new stream only
        if not self._answered_at(source, source.address):
            self.replica.probe(source.address, at_once=True)

    def on_answered(self, identity: Identity, address: str) -> None:
        """That process answered a probe of that address."""
        if identity.dir_id in self._newcomers or identity.dir_id in self.reign.streams.by_member:
            self._dialled[identity.dir_id] = (identity.boot, address)

    def _answered_at(self, source: Identity, address: str) -> bool:
        if not self.replica.rules.dialback:
            return True
        return self._dialled.get(source.dir_id) == (source.boot, address)

    def _members(self, config: Config, in_sync: Collection[DirId]) -> tuple[tuple[Member, ...], tuple[DirId, ...]]:
        """The members and the removed.

        Newcomers replace directories at their address that are not in sync.
        """
        members = {member.dir_id: member for member in config.members}
        removed = config.removed
        for dir_id, source in list(self._newcomers.items()):
            if dir_id in removed:
                del self._newcomers[dir_id]
                continue
            known = members.get(dir_id)
            if known is not None and known.address == source.address and known.name == source.name:
                if self._answered_at(source, source.address):
                    del self._newcomers[dir_id]
                else:
                    self.replica.probe(source.address)
                continue
            if not self._answered_at(source, source.address):
                self.replica.probe(source.address)
                continue
            del self._newcomers[dir_id]
            members[dir_id] = Member(dir_id, source.address, source.name)
        for dir_id, member in list(members.items()):
            if dir_id not in in_sync and self._replaced_at(member, members):
                del members[dir_id]
        for dir_id in [dir_id for dir_id in members if dir_id not in in_sync and self._is_to_leave(dir_id)]:
            del members[dir_id]
            removed = (*removed, dir_id)[-REMOVED_MAX:]
            self.reign.streams.close(dir_id)
            self.removing.discard(dir_id)
            self.frozen_at.pop(dir_id, None)
        return tuple(sorted(members.values())), removed

    def _replaced_at(self, member: Member, members: Mapping[DirId, Member]) -> bool:
        """Has another member answered at its address?"""
        return any(
            other.address == member.address
            and other.dir_id != member.dir_id
            and self._dialled.get(other.dir_id, (0, ""))[1] == member.address
            for other in members.values()
        )

    def _is_to_leave(self, member: DirId) -> bool:
        """Not in sync: was it sent away, or not seen for long?"""
        if member in self.removing:
            return True
        silent = self.replica.evidence.silence(member, since=self.reign.won_awake)
        return silent >= self.replica.timers.forget

    # ---- renewal

    def renew_above(self, promised: Epoch) -> None:
        if self._renew_above is None or promised > self._renew_above:
            self._renew_above = promised

    def _renew_if_possible(self) -> None:
        """Stand again above that epoch, once all members are at hand (rule `renew`)."""
        reign, replica = self.reign, self.replica
        acked = reign.behind.acked_append_at
        if (
            reign.serving
            and self._renew_above is not None
            and all(replica.now - acked.get(member, LONG_AGO) < replica.timers.suspect for member in reign.others)
        ):
            above, self._renew_above = self._renew_above, None
            replica.renew(above)
