"""What a replica knows of itself and of the others when an election is weighed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatsvc.replication.envelopes import PrimaryHint, Standing
from chatsvc.replication.identity import DirId
from chatsvc.replication.rules import Rules

if TYPE_CHECKING:
    from chatsvc.replication.replica import Replica


class Weighing:
    """The observer that `permission` asks, and the own standing."""

    def __init__(self, replica: Replica) -> None:
        self.replica = replica
        self.rules: Rules = replica.rules
        self.lease_length = replica.timers.lease
        self.suspect_after = replica.timers.suspect
        self.isolated_after = replica.settings.isolated_promotion

    # ---- of the others

    @property
    def now(self) -> int:
        return self.replica.now

    @property
    def suspects(self) -> bool:
        return self.replica.following.suspects

    def suspicion_age(self) -> int:
        return self.replica.evidence.awake - self.replica.following.suspected_awake

    def refused_now(self, member: DirId) -> bool:
        return self.replica.evidence.refused_now(member, self.replica.now)

    def silence(self, member: DirId) -> int:
        """Counted from the own suspicion at the earliest: backups do not talk to each other before."""
        return self.replica.evidence.silence(member, self.replica.following.suspected_awake)

    def hung(self, member: DirId) -> bool:
        """Is the suspected primary hung (rule `hung`)? Its kernel accepts probes, its process answers none.

        A cut accepts nothing; and once a hung primary wakes it steps down.
        """
        replica = self.replica
        following = replica.following
        return (
            self.rules.hung
            and member == following.primary
            and following.suspects
            and following.silence() >= replica.timers.suspect
            and replica.evidence.all_accepted_none_answered(replica.now)
        )

    # ---- of itself

    def in_service(self) -> bool:
        """Is this replica primary, or does it hear one?"""
        return self.replica.reign is not None or self.replica.following.hears()

    def just_started(self) -> bool:
        """For T_start a process neither grants, nor stands, nor takes a lease.

        So a member that is refused again and again at shorter intervals can have taken part in nothing
        between. A server that has no peers has nobody who could look.
        """
        replica = self.replica
        if replica.now - replica.started_at >= replica.timers.start:
            return False
        configs = replica.log.configs
        return not configs or any(member.dir_id != replica.dir_id for config in configs for member in config.members)

    def can_vote(self) -> bool:
        """May it promise, and can it keep a promise?"""
        return not (self.just_started() or self.is_mute())

    def is_mute(self) -> bool:
        """Can it keep no promise, for who knows how long? Then it is silent in elections: nobody counts on it."""
        return self.replica.disk_suspect or self.replica.disk_full

    def left_out(self) -> bool:
        """Does the newest CONFIG of the own log leave this replica out (rule `dropped`)?

        What follows that CONFIG in this log needs no ack of this replica, so it proves nothing and holds up
        nobody.
        """
        config = self.replica.log.newest_config
        return self.rules.dropped and config is not None and self.replica.dir_id not in config.in_sync

    def standing(self, when_durable: bool = False) -> Standing:
        """What an election may know of this replica.

        Args:
            when_durable: it is not sent before all that was to be saved so far is on disk.
        """
        replica = self.replica
        following, lease = replica.following, replica.following.lease
        return Standing(
            lease.until - replica.now,
            lease.giver,
            lease.epoch,
            following.latched,
            replica.chain(),
            tuple(sorted(lease.granted_to)),
            replica.log.last_index if when_durable else replica.saving.durable_index,
        )

    def primary_hint(self) -> PrimaryHint | None:
        """Who is primary, as far as this replica can tell right now."""
        replica = self.replica
        if replica.reign is not None:
            return PrimaryHint(replica.reign.epoch, replica.dir_id, replica.identity.address)
        return replica.following.hint()
