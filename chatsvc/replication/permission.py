"""What permits a promotion: a closed, a leased or a degraded election.

`grants` are the standings of those who take part (in a survey: of those who would), the candidate's own
included. Evidence about those who do not comes from the observer, the replica that weighs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from chatsvc.replication.configs import Chain, Config
from chatsvc.replication.envelopes import Standing
from chatsvc.replication.identity import DirId, Epoch
from chatsvc.replication.rules import Rules


class Observer(Protocol):
    """What the replica that weighs an election knows."""

    @property
    def rules(self) -> Rules: ...
    @property
    def now(self) -> int: ...
    @property
    def lease_length(self) -> int: ...
    @property
    def suspect_after(self) -> int: ...
    @property
    def isolated_after(self) -> int | None: ...
    @property
    def suspects(self) -> bool: ...
    def suspicion_age(self) -> int: ...
    def refused_now(self, member: DirId) -> bool: ...
    def hung(self, member: DirId) -> bool: ...
    def silence(self, member: DirId) -> int: ...


class Grant(NamedTuple):
    """A participant's standing, its lease on the observer's clock."""

    lease_until: int
    lease_giver: DirId | None
    lease_epoch: Epoch | None
    latched: bool
    chain: Chain
    granted_to: tuple[DirId, ...]
    durable_index: int = 0

    @classmethod
    def of(cls, standing: Standing, asked_at: int) -> Grant:
        """The time left is counted from the question, so it is never too long."""
        return cls(
            asked_at + standing.lease_left,
            standing.lease_giver,
            standing.lease_epoch,
            standing.latched,
            standing.chain,
            standing.granted_to,
            standing.durable_index,
        )


Grants = Mapping[DirId, Grant]


class Permission(NamedTuple):
    kind: str  # "closed", "leased" or "degraded"
    members: frozenset[DirId]  # those of them who granted form the first CONFIG of the reign


def known_committed(grants: Grants, rules: Rules) -> Config:
    """K, the newest CONFIG known committed.

    One that is committed below somebody's commit index, or that every one of its own members answers to have
    in its log (rule `heldbyall`), and on its disk (rule `helddurable`): what a member has in memory only, a
    crash takes away. If nobody knows of any, the founder's CONFIG.
    """
    committed = max((grant.chain[0] for grant in grants.values() if grant.chain), key=_position)
    if not rules.heldbyall:
        return committed
    later = {
        config.position: config
        for grant in grants.values()
        for config in grant.chain
        if config.position > committed.position
    }
    for position in sorted(later, reverse=True):
        config = later[position]
        if all(member in grants and _holds(grants[member], config, rules) for member in config.in_sync):
            return config
    return committed


def _position(config: Config) -> tuple[Epoch, int]:
    return config.position


def _holds(grant: Grant, config: Config, rules: Rules) -> bool:
    if grant.durable_index < config.index and rules.helddurable:
        return False
    position = config.position
    return any(own.position == position for own in grant.chain)


def permission(observer: Observer, candidate: DirId, grants: Grants) -> Permission | None:
    """May the candidate become primary with these grants?

    Only members of K are eligible (rule `elig`): the first CONFIG of anybody else could be missed by a later
    closed set. And nobody whom the newest CONFIG of its own log leaves out (rule `dropped`).
    """
    committed = known_committed(grants, observer.rules)
    if candidate not in committed.in_sync and observer.rules.elig:
        return None
    if left_out(observer.rules, candidate, grants):
        return None
    closed = closed_set(observer.rules, committed, grants)
    if closed <= grants.keys() or not observer.rules.closed:
        return Permission("closed", closed)
    degraded = None
    for holder, grant in grants.items():
        if not grant.chain:
            continue
        newest = grant.chain[-1]  # committed or not
        if holder not in newest.in_sync or candidate not in newest.in_sync:
            continue
        if leased(observer, holder, grants):
            return Permission("leased", frozenset(newest.in_sync))
        if degraded_allowed(observer, holder, grants):
            degraded = Permission("degraded", frozenset(newest.in_sync))
    return degraded


def left_out(rules: Rules, member: DirId, grants: Grants) -> bool:
    """Does the newest CONFIG of a participant's own log leave it out (rule `dropped`)?"""
    chain = grants[member].chain
    return rules.dropped and bool(chain) and member not in chain[-1].in_sync


def closed_set(rules: Rules, committed: Config, grants: Grants) -> frozenset[DirId]:
    """All members of K and of every later CONFIG in the log of a member of K.

    If all of them grant, nothing can be committed that is unknown to them: what follows K is written by a
    member of K, which has it on disk, and CONFIGs that are not committed only add members.
    """
    if not rules.union:
        newest = max((grant.chain[-1] for grant in grants.values() if grant.chain), key=_position)
        return frozenset(newest.in_sync)
    closed = set(committed.in_sync)
    for member in committed.in_sync:
        grant = grants.get(member)
        if grant is not None:
            for config in grant.chain:
                if config.position >= committed.position:
                    closed.update(config.in_sync)
    return frozenset(closed)


def leased(observer: Observer, holder: DirId, grants: Grants) -> bool:
    """Does the holder's lease, or a pair of leases, permit a promotion?

    It runs or is one of a pair, and each missing member of the holder's newest CONFIG may be passed over: it
    is refused now; or it is the giver of the lease, and another member of that CONFIG grants as well (rule
    `solo`) or the giver is hung (rule `hung`).

    While the lease runs its giver cannot have dropped the holder, so the holder's newest CONFIG is the newest
    that can have been committed. Two granters are enough to pass over a silent giver: it can then neither go
    on alone nor get their acks. A silent backup is never passed over (rule `bypassfast`).

    The giver is passed over as the primary of the reign that gave the lease. If a granter has granted it since,
    it may be primary once more, of a reign that has given no lease yet and so may drop everybody; then it
    counts as any other member (rule `regiven`). All who still hold a lease of its earlier reign had to grant.
    """
    grant = grants[holder]
    if not (grant.lease_until > observer.now or pair(observer, holder, grants) or not observer.rules.lease):
        return False
    members = grant.chain[-1].in_sync
    missing = [member for member in members if member not in grants]
    companion = len(members) - len(missing) > 1
    giver = grant.lease_giver
    if observer.rules.regiven and any(giver in grants[member].granted_to for member in members if member in grants):
        giver = None
    return all(_may_be_passed_over(observer, member, giver, companion) for member in missing)


def _may_be_passed_over(observer: Observer, member: DirId, giver: DirId | None, companion: bool) -> bool:
    rules = observer.rules
    if observer.refused_now(member):
        return True
    if member == giver and (companion or observer.hung(member) or not rules.solo):
        return True
    return not rules.bypassfast and observer.suspects and observer.silence(member) >= observer.suspect_after


def pair(observer: Observer, holder: DirId, grants: Grants) -> bool:
    """Have all members of the holder's newest CONFIG but the giver, at least two, had leases of one reign?

    Then the leases need not run any more (rule `pair`). They have the same newest CONFIG, too, and all whom
    they have granted since are among the granters: so nobody else was elected with a grant of theirs, and
    their giver could drop none of them without an ack of another. Where degraded decisions are on, the giver
    may go on alone after T_isolated: then the leases must have ended less than T_isolated - L ago.
    """
    rules, grant, isolated = observer.rules, grants[holder], observer.isolated_after
    if grant.lease_epoch is None or not rules.pair:
        return False
    if isolated is not None and observer.now - grant.lease_until >= isolated - observer.lease_length:
        return False
    newest = grant.chain[-1]

    def is_mate(member: DirId) -> bool:
        other = grants.get(member)
        return (
            other is not None
            and other.lease_epoch == grant.lease_epoch
            and bool(other.chain)
            and other.chain[-1].position == newest.position
        )

    mates = [member for member in newest.in_sync if member != grant.lease_giver]
    if not rules.pairall:
        mates = [member for member in newest.in_sync if is_mate(member)]
    return len(mates) > 1 and all(
        is_mate(member) and grants.keys() >= set(grants[member].granted_to) for member in mates
    )


def degraded_allowed(observer: Observer, holder: DirId, grants: Grants) -> bool:
    """Permission on silence alone, where that is switched on.

    The holder is latched, has granted nobody outside since (rule `degrants`), and every missing member of its
    newest CONFIG is refused now or has been silent for T_isolated, counted from the observer's suspicion at
    the earliest. A long partition looks the same: acknowledged entries may be lost then.
    """
    isolated, grant = observer.isolated_after, grants[holder]
    if isolated is None or not (grant.latched and observer.suspects):
        return False
    if observer.suspicion_age() < isolated:
        return False
    if observer.rules.degrants and not grants.keys() >= set(grant.granted_to):
        return False
    return all(
        observer.silence(member) >= isolated or observer.refused_now(member)
        for member in grant.chain[-1].in_sync
        if member not in grants
    )


def waiting_for(observer: Observer, grants: Grants) -> frozenset[DirId]:
    """The missing members of the smallest permission still possible.

    A closed set is always possible once its members are back; while a lease runs (or a pair could be made),
    fewer may be enough.
    """
    committed = known_committed(grants, observer.rules)
    best = closed_set(observer.rules, committed, grants) - grants.keys()
    for holder, grant in grants.items():
        if not grant.chain or holder not in grant.chain[-1].in_sync:
            continue
        if grant.lease_until > observer.now:
            missing = frozenset(
                member
                for member in grant.chain[-1].in_sync
                if member not in grants and not observer.refused_now(member)
            )
            if len(missing) < len(best):
                best = missing
    return best
