"""What others may have done behind a primary's back: leaders, companions, anchors.

Protocol 5.2 and 5.3, rule `alone`.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from chatsvc.replication.identity import DirId
from chatsvc.replication.lease import LONG_AGO

if TYPE_CHECKING:
    from chatsvc.replication.reign import Reign


class Death:
    """A member that was refused and has not been heard since."""

    __slots__ = ("could_not_suspect", "last_refusal", "unbroken")

    def __init__(self, refused_at: int, could_not_suspect: bool) -> None:
        self.last_refusal = refused_at
        # The newest Append that it had acked was younger than T_suspect when the first refused attempt began.
        self.could_not_suspect = could_not_suspect
        # No two refusals in succession were further apart than T_fresh.
        self.unbroken = True


class BehindItsBack:
    """Watches whether somebody may have been elected without this primary."""

    def __init__(self, reign: Reign) -> None:
        self.reign, self.replica = reign, reign.replica
        self.suspect_earliest = reign.replica.timers.suspect_earliest
        self.acked_append_at: dict[DirId, int] = {}  # when the newest Append was sent that it has acked
        self.deaths: dict[DirId, Death] = {}

    def may_suspect(self, member: DirId, at: int) -> bool:
        """At that time the newest Append it has acked is T_suspect old, so it may suspect this primary."""
        return at - self.acked_append_at.get(member, LONG_AGO) >= self.suspect_earliest

    def died_in_time(self, member: DirId) -> bool:
        """Refused, and not heard since, by an attempt begun when it could not suspect the primary."""
        death = self.deaths.get(member)
        return death is not None and death.could_not_suspect

    def may_be_suspected(self) -> bool:
        """Some lease holder may have suspected this primary (rule `stall`)."""
        now = self.replica.now
        return any(
            self.may_suspect(member, now) and not self.died_in_time(member) for member in self.reign.lease_holders
        )

    def rivals(self) -> list[DirId]:
        """Leaders that may have elected somebody behind the primary's back; empty if none can have.

        Such an election is led by a holder of this primary's lease that may have suspected it and did not die
        before that. It needs a companion, another member that grants: one that may be awake, restarted ones
        included. A member refused ever since its death, at intervals that leave no room for a restart, took
        part in nothing. Members of CONFIGs that are not committed may be companions, too (rule `comp`).
        """
        reign, replica = self.reign, self.replica
        now = replica.now
        acked, latest = self.acked_append_at, now - self.suspect_earliest
        for member in reign.lease_holders:
            if acked.get(member, LONG_AGO) <= latest:
                break
        else:
            return []
        leaders = [
            member for member in reign.lease_holders if self.may_suspect(member, now) and not self.died_in_time(member)
        ]
        if not leaders:
            return leaders
        members = set(reign.lease_holders)
        if replica.rules.comp:
            for config in replica.log.configs_after(replica.commit_index):
                members.update(config.in_sync)
            members.discard(replica.dir_id)
        companions = sum(
            1
            for member in members
            if self.may_suspect(member, now) and not (self.died_in_time(member) and self._down_ever_since(member))
        )
        return leaders if companions > 1 else []

    def may_go_on_with(self, servers: Collection[DirId], commit: bool = False) -> bool:
        """May this primary commit, or shrink the in-sync set, with these servers?

        Yes, if nobody can have been elected behind its back, or if there is an anchor among the servers; to
        commit, one that has acked something sent within T_suspect (rule `anchorfresh`): an older Ack may have
        been long under way, and its sender have granted somebody since.
        Where degraded decisions are on, also after T_isolated if all possible rivals are merely silent.
        """
        if not self.replica.rules.alone:
            return True
        rivals = self.rivals()
        if not rivals:
            return True
        if commit and self.replica.rules.anchorfresh:
            now = self.replica.now
            anchors = [member for member in servers if not self.may_suspect(member, now)]
        else:
            anchors = list(servers)
        return self._anchored(anchors, rivals) or self._long_silent(rivals)

    def _anchored(self, servers: Collection[DirId], rivals: Collection[DirId]) -> bool:
        """Is there a server without which the rivals cannot have elected anybody (rule `anchor`)?

        It was in every CONFIG since the newest committed one, so an election of the rivals needs its grant or
        its refusal. Its present process was up before the first of them can have suspected (rule
        `anchorboot`), so none of them was refused by it. And if it has granted, it acks no more here.
        """
        replica = self.replica
        if not replica.rules.anchor:
            return any(member != replica.dir_id for member in servers)
        up_by = replica.now
        if replica.rules.anchorboot:
            longest_silent = min(self.acked_append_at.get(member, LONG_AGO) for member in rivals)
            up_by = longest_silent + self.suspect_earliest - replica.timers.rpc
        heard_at = replica.evidence.boot_heard_at
        return any(
            heard_at.get(anchor, replica.now) <= up_by for anchor in self.reign.never_dropped() if anchor in servers
        )

    def _long_silent(self, rivals: Collection[DirId]) -> bool:
        """Degraded decision: are all of them merely silent, for T_isolated?"""
        isolated = self.replica.settings.isolated_promotion
        if isolated is None:
            return False
        refused = self.replica.evidence.refused
        if any(refused(member) or self.reign.unacked(member) < isolated for member in rivals):
            return False
        self.reign.passed_over(rivals)
        return True

    def _down_ever_since(self, member: DirId) -> bool:
        death = self.deaths[member]
        return death.unbroken and self.replica.now - death.last_refusal <= self.replica.timers.fresh

    def on_heard(self, member: DirId) -> None:
        if self.deaths:
            self.deaths.pop(member, None)

    def on_refused(self, member: DirId, refused_at: int) -> None:
        death = self.deaths.get(member)
        if death is None:
            self.deaths[member] = Death(refused_at, not self.may_suspect(member, refused_at))
            return
        if refused_at - death.last_refusal > self.replica.timers.fresh:
            death.unbroken = False
        death.last_refusal = max(death.last_refusal, refused_at)

    def on_acked(self, member: DirId, sent_at: int) -> None:
        if sent_at > self.acked_append_at.get(member, LONG_AGO):
            self.acked_append_at[member] = sent_at
