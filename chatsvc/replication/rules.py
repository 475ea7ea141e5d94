"""The rules of the protocol by name, so that a test can take one away.

Production always runs `ALL`. The protocol without one of its rules is a mutant: a test that does not notice
the difference judges nothing. K is the newest CONFIG known committed.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """One switch a rule; what each one says is in RULES."""

    closed: bool = True
    union: bool = True
    heldbyall: bool = True
    helddurable: bool = True
    elig: bool = True
    dropped: bool = True
    lease: bool = True
    pair: bool = True
    pairall: bool = True
    solo: bool = True
    hung: bool = True
    fresh: bool = True
    bypassfast: bool = True
    regiven: bool = True
    regrant: bool = True
    learnerlease: bool = True
    always: bool = True
    degrants: bool = True
    latchown: bool = True
    latchawake: bool = True
    alone: bool = True
    anchor: bool = True
    anchorboot: bool = True
    anchorfresh: bool = True
    comp: bool = True
    stall: bool = True
    cover: bool = True
    ownconfig: bool = True
    dprom: bool = True
    fsync: bool = True
    lag: bool = True
    frozenlease: bool = True
    renew: bool = True
    duplicate: bool = True
    dialback: bool = True
    steady: bool = True
    lostdata: bool = True

    def without(self, *names: str) -> Rules:
        """The same rules but for those named."""
        unknown = set(names) - set(RULES)
        assert not unknown, f"no such rule: {sorted(unknown)}"
        return msgspec.structs.replace(self, **dict.fromkeys(names, False))


class Rule(NamedTuple):
    says: str
    without: str  # what breaks when it is taken away


RULES: dict[str, Rule] = {
    # Who may become primary
    "closed": Rule(
        "A closed election needs a grant of every member of K and of every later CONFIG.",
        "A few restarted members serve without acknowledged entries.",
    ),
    "union": Rule(
        "The closed set is K together with all later CONFIGs, not the newest CONFIG alone.",
        "A CONFIG that only its dead writer holds passes for the whole membership.",
    ),
    "heldbyall": Rule(
        "A CONFIG that every one of its own members reports is known committed, too.",
        "Nothing is lost, but restarted clusters wait for members that were dropped long ago.",
    ),
    "helddurable": Rule(
        "Only what a member has on disk counts as held by it.",
        "A CONFIG is taken for committed that its writer had in memory only and has lost.",
    ),
    "elig": Rule(
        "Only a member of K may become primary.",
        "A member of an uncommitted growth wins; no later closed set must ask anybody who knows its CONFIG.",
    ),
    "dropped": Rule(
        "Whom the newest CONFIG of its own log leaves out is not eligible, and its log holds up nobody.",
        "It wins although it was dropped, and once that is committed nobody asks for it.",
    ),
    "lease": Rule(
        "A leased election needs a granter whose lease still runs; a latch needs a running lease, too.",
        "A survivor that was dropped long ago serves with an old log.",
    ),
    "pair": Rule(
        "All members but the giver, at least two, may go on after their leases if these were of one reign.",
        "Nothing is lost; survivors that met too late wait for the dead primary.",
    ),
    "pairall": Rule(
        "A pair needs all members but the giver, not any two.",
        "Two of four go on though their giver may have gone on with the fourth.",
    ),
    "solo": Rule(
        "One member alone may pass over the silent giver of its lease only if that one is hung.",
        "Two primaries in a set of two.",
    ),
    "hung": Rule(
        "A primary whose kernel accepts every probe while its process answers none is hung.",
        "Nothing is lost; the last survivor of two waits while its primary hangs.",
    ),
    "fresh": Rule(
        "Only a refusal younger than an RPC passes over a member: an old one says nothing about today.",
        "A member that is back in sync is passed over.",
    ),
    "bypassfast": Rule(
        "A silent backup is never passed over in a leased election.",
        "Two backups that cannot reach each other both become primary.",
    ),
    "regiven": Rule(
        "A giver that a granter has granted since the lease was renewed is not passed over in silence.",
        "Two primaries: one renewed its reign and drops the silent, the others use leases of its old reign.",
    ),
    "regrant": Rule(
        "A repeated Vote is answered 'granted' only if exactly this epoch was granted.",
        "An epoch only learned from Fenced counts as a grant, though log and CONFIG were never compared.",
    ),
    # What a backup may believe
    "learnerlease": Rule(
        "A lease comes only from an Append with in_sync, and only to a process older than T_start.",
        "Learners, and joiners whose CONFIG was never committed, take over by lease.",
    ),
    "always": Rule(
        "in_sync is said only to a server that is in every CONFIG from the newest committed one on.",
        "One dropped and added again, uncommitted, serves beside a primary that remembers only the drop.",
    ),
    "degrants": Rule(
        "A degraded election needs a latched server that has granted nobody outside since.",
        "The granter goes on alone while the one whom it has elected is merely silent.",
    ),
    "latchown": Rule(
        "Only a lease of the reign that is suspected makes a latch.",
        "A lease of an older reign carries a degraded election.",
    ),
    "latchawake": Rule(
        "An own stall clears the latch unless the lease still runs.",
        "A member that was dropped while it hung serves with an old log.",
    ),
    # What a primary must do
    "alone": Rule(
        "A primary shrinks and commits only if nobody can have been elected behind its back, or anchored.",
        "A primary commits beside its successor.",
    ),
    "anchor": Rule(
        "Not any other member will do: an anchor is in every CONFIG since the newest committed one.",
        "A primary that was passed over goes on with a newcomer.",
    ),
    "anchorboot": Rule(
        "The present process of an anchor was up before the first rival can have suspected.",
        "A member that was refused, so passed over, and is back at once counts as an anchor.",
    ),
    "anchorfresh": Rule(
        "To commit, an anchor must have acked something sent within T_suspect.",
        "A primary that was passed over commits by Acks that were long under way.",
    ),
    "comp": Rule(
        "Members of CONFIGs not yet committed count as possible companions of a rival.",
        "A primary goes on alone though the member it was adding has elected somebody with a lease holder.",
    ),
    "stall": Rule(
        "After an own stall a candidate gives up; a primary steps down if a lease holder may suspect it.",
        "The woken primary commits beside its successor.",
    ),
    "cover": Rule(
        "Nothing is committed below the newest CONFIG.",
        "Follows from the order of the log; kept as an assertion.",
    ),
    "ownconfig": Rule(
        "Nothing is committed before the first CONFIG of the own reign (switches off `cover`, too).",
        "A new primary commits what it found in its log though it was passed over already.",
    ),
    # What must be on disk
    "dprom": Rule(
        "The promised epoch is on disk before a Vote, a grant or the first Ack of it leaves.",
        "A restarted member grants beside what it granted before.",
    ),
    "fsync": Rule(
        "An ack counts only what is on disk.",
        "A crash takes acknowledged entries with it.",
    ),
    # Members that live but do not keep up, newcomers, labels
    "lag": Rule(
        "A live member whose durable index stands still for T_lag is frozen, and dropped T_evict later.",
        "Nothing is lost; a full disk holds up writes for ever.",
    ),
    "frozenlease": Rule(
        "A frozen member is sent in_sync = false for T_evict, or has relinquished, before it is dropped.",
        "A member takes over by a lease that outlives its membership.",
    ),
    "renew": Rule(
        "A higher promise of a server that is not in sync does not depose; the primary renews its reign.",
        "Nothing is lost; any returning server interrupts a healthy primary.",
    ),
    "duplicate": Rule(
        "Of two processes of one directory at two addresses the one known first stays while it lives.",
        "Two processes on copies of one directory count as one member; a copy deposes the original.",
    ),
    "dialback": Rule(
        "A server is admitted only after its advertised address was dialled and the same process answered.",
        "A refusal at a wrong address is taken for the death of a living member.",
    ),
    "steady": Rule(
        "Dropped for silence, a member is taken back only after T_suspect of steady acks, then twice that.",
        "Nothing is lost; a flapping member stops the writers again and again.",
    ),
    "lostdata": Rule(
        "A member that comes back with less than it once acked in this reign is turned away.",
        "A disk that lost acknowledged entries counts as a copy of them.",
    ),
}

ALL = Rules()
assert set(RULES) == set(Rules.__struct_fields__)
