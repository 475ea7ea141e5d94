"""What replicas say to each other: one class a payload, and the envelope around it.

Streams: a follower dials the primary with Hello; Welcome or Reject, Append and StepDown come back on that
stream, Ack and Relinquish go up on it. `stream` is the number of the Hello that opened it, unique within one
process of the follower. All other payloads are requests and answers outside streams.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TypeAlias

import msgspec

from chatsvc.replication.configs import Chain, Config
from chatsvc.replication.entries import Entry
from chatsvc.replication.identity import DirId, Epoch, Identity, Member, Position


class EpochStart(msgspec.Struct, frozen=True, gc=False):
    epoch: Epoch
    first_index: int  # of the epoch's first entry in that log


# ---- stream between a primary and one follower


class Hello(msgspec.Struct, frozen=True, gc=False):
    """Follower: opens a stream."""

    stream: int  # grows with each Hello of one process, from a random number on
    promised: Epoch
    last: Position  # end of the follower's log
    epochs: tuple[EpochStart, ...]  # of the follower's log, oldest first
    log_start: int  # index of the last entry that it no longer has; 0 if it has all
    commit_index: int


class Welcome(msgspec.Struct, frozen=True, gc=False):
    """Primary: keep the first `match_index` entries, cut the rest off, answer on this stream."""

    stream: int
    epoch: Epoch
    match_index: int
    forced: bool = False  # this line goes back to an operator's override, it may lack committed entries


class RejectReason(StrEnum):
    NOT_PRIMARY = "not primary"
    WRONG_CLUSTER = "wrong cluster"
    DUPLICATE = "duplicate"  # another process of that directory acks at this moment
    REMOVED = "removed"  # sent away by a CONFIG
    RENEW = "renew"  # has promised more than this reign; it will be renewed
    LOST_DATA = "lost data"  # the log ends before what that directory once acked
    SNAPSHOT = "snapshot"  # the log here begins after the match point
    MODE = "mode"


class Reject(msgspec.Struct, frozen=True, gc=False):
    """Whoever was dialled: no stream, and why."""

    stream: int
    reason: RejectReason
    primary: PrimaryHint | None


class Append(msgspec.Struct, frozen=True, gc=False):
    """Primary: the entries that follow `prev`; without entries a heartbeat."""

    stream: int
    epoch: Epoch
    sent_at: int  # ms, the primary's clock
    prev: Position
    entries: tuple[Entry, ...]
    last_index: int  # end of the primary's log when it sent this
    commit_index: int
    ack_seen: int  # highest number of an Ack of this stream that has arrived
    in_sync: bool  # a lease may be taken: see rules always, learnerlease, lag


class Ack(msgspec.Struct, frozen=True, gc=False):
    """Follower: what it has, and the newest Append of this stream that it has received."""

    stream: int
    epoch: Epoch
    number: int  # 1, 2, 3, … within this stream
    durable_index: int  # matched in this stream, and on disk
    received_index: int  # matched in this stream, on disk or not
    append_sent_at: int  # repeated from that Append
    append_last_index: int  # repeated from that Append
    gap: bool  # that Append began after received_index: something between was lost
    released_index: int  # how far the follower's host may have applied
    leased: bool  # the follower holds a running lease of this reign


class StepDown(msgspec.Struct, frozen=True, gc=False):
    """Former primary: that reign is over; starts the follower's suspicion at once."""

    stream: int
    epoch: Epoch


class Relinquish(msgspec.Struct, frozen=True, gc=False):
    """Follower: lease and latch are given up, I may be dropped at once."""

    stream: int
    epoch: Epoch


# ---- outside streams


class Announce(msgspec.Struct, frozen=True, gc=False):
    """Primary, to members without a stream: here I am."""

    epoch: Epoch


class Fenced(msgspec.Struct, frozen=True, gc=False):
    """Anybody, to a primary of a lower epoch. Not a grant."""

    promised: Epoch


class PrimaryHint(msgspec.Struct, frozen=True, gc=False):
    epoch: Epoch
    dir_id: DirId
    address: str


class Standing(msgspec.Struct, frozen=True, gc=False):
    """What a replica lets an election know about itself."""

    lease_left: int  # ms; the receiver counts them from the moment it asked
    lease_giver: DirId | None
    lease_epoch: Epoch | None
    latched: bool
    chain: Chain
    granted_to: tuple[DirId, ...]  # whom it has granted since the lease was last renewed
    durable_index: int  # how much of its log is on disk when this leaves


class Survey(msgspec.Struct, frozen=True, gc=False):
    survey_id: int
    suspected: DirId | None  # whoever still follows that one dials it anew before answering


class SurveyReply(msgspec.Struct, frozen=True, gc=False):
    survey_id: int
    promised: Epoch
    last: Position
    primary: PrimaryHint | None  # set if the sender is primary or hears one
    standing: Standing
    can_vote: bool  # False: it has just started


class Electorate(msgspec.Struct, frozen=True, gc=False):
    """On what an election rests."""

    committed: Config  # K: newest CONFIG known committed
    voters: tuple[Member, ...]  # members of K and of every later CONFIG reported


class Nominate(msgspec.Struct, frozen=True, gc=False):
    """Whoever surveyed, to the best candidate: stand."""

    counter: int
    electorate: Electorate


class Vote(msgspec.Struct, frozen=True, gc=False):
    """Candidate: asks for a grant."""

    epoch: Epoch
    last: Position
    committed: Config  # K
    sent_at: int  # ms, the candidate's clock


class VoteReply(msgspec.Struct, frozen=True, gc=False):
    epoch: Epoch
    granted: bool
    promised: Epoch
    standing: Standing  # at the grant
    vote_sent_at: int  # repeated from the Vote


Payload: TypeAlias = (
    Hello
    | Welcome
    | Reject
    | Append
    | Ack
    | StepDown
    | Relinquish
    | Announce
    | Fenced
    | Survey
    | SurveyReply
    | Nominate
    | Vote
    | VoteReply
)

ON_STREAM = (Hello, Welcome, Reject, Append, Ack, StepDown, Relinquish)
"""Payloads that travel on the stream they name; in order, until it breaks."""


class Envelope(msgspec.Struct, frozen=True, gc=False):
    """One payload on its way."""

    source: Identity
    address: str  # of the target; on a stream for people only
    dir_id: DirId | None  # of the target, where it is known
    link: int  # of the Received that this answers; 0: answers none
    payload: Payload
