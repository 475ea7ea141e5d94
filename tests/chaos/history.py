"""What clients saw of a cluster, from outside. Times are seconds of CLOCK_MONOTONIC in the recording process."""

from enum import StrEnum
from math import inf

import msgspec

Conversation = tuple[str, str]
"""Two users, in the order of their names."""


def conversation(one: str, other: str) -> Conversation:
    """The conversation of two users."""
    return (one, other) if one <= other else (other, one)


class Outcome(StrEnum):
    """What whoever asked knows of an operation."""

    OK = "ok"
    FAILED = "failed"  # definitely: it was refused, and has no effect
    UNKNOWN = "unknown"  # no answer came: it has its effect once or not at all


class Send(msgspec.Struct, gc=False):
    """A message that somebody wanted to send, and what they heard of it.

    Attributes:
        client: name of the sending program; its sends are numbered in the order in which it asked for them.
        text: different for every send of a history.
        replies: every answer that it got, with those to retries: conversation_seq and time in microseconds.
    """

    client: str
    sender: str
    recipient: str
    number: int
    text: str
    invoked: float
    completed: float = inf
    outcome: Outcome = Outcome.UNKNOWN
    op_id: str = ""
    replies: tuple[tuple[int, int], ...] = ()

    def answer(self, seq: int, time_us: int, op_id: str, now: float) -> None:
        """A positive answer came."""
        if self.outcome is not Outcome.OK:
            self.outcome, self.completed, self.op_id = Outcome.OK, now, op_id
        self.replies = (*self.replies, (seq, time_us))


class Delivery(msgspec.Struct, frozen=True, gc=False):
    """A message that a recipient was shown."""

    recipient: str
    sender: str
    text: str
    inbox_seq: int
    seq: int
    op_id: str = ""


class Shown(msgspec.Struct, frozen=True, gc=False):
    """A message in a history."""

    seq: int
    sender: str
    text: str


class Reading(msgspec.Struct, frozen=True):
    """The newest messages of a conversation, by number, as somebody read them; at the end of a run all of them."""

    between: Conversation
    begun: float
    ended: float
    messages: tuple[Shown, ...]


class Session(msgspec.Struct, frozen=True):
    """A receiving session that was opened: all earlier ones of the same user are over."""

    user: str
    client: str
    opened: float
    incarnation: int


class AccountKind(StrEnum):
    """What is done with a name."""

    CREATE = "create"  # by a login; result: whether it made the account
    DELETE = "delete"  # result: whether there was one
    LOOK = "look"  # in the list; result: whether it is there


class AccountOp(msgspec.Struct, frozen=True):
    """Something that was done with a user name.

    Attributes:
        completed: infinite if no answer came; then there is no result, and it has its effect once or not at all.
        created_us: of a look that found the account: when it was made, its identity.
    """

    name: str
    kind: AccountKind
    invoked: float
    completed: float
    result: bool | None
    created_us: int = 0


class Fault(msgspec.Struct):
    """Something bad that was done to the cluster.

    Attributes:
        kind: its class.
        what: what was done to whom.
        bound_s: longest time that a steady sender may be without an answer because of it.
        recovered: when every steady sender had an answer again after its end.
        in_sync: when every server was in sync again.
        evidence: how it is known that it acted; empty: it is not.
        steady: seconds of traffic before it, and after its recovery, that is judged.
    """

    kind: str
    what: str
    bound_s: float
    began: float
    ended: float = inf
    recovered: float = inf
    in_sync: float = inf
    evidence: str = ""
    steady: tuple[tuple[float, float], ...] = ()


class FinalState(msgspec.Struct, frozen=True):
    """What a server said of its state when everything was over."""

    server: str
    hash_index: int
    state_hash: str


class History(msgspec.Struct):
    """A whole run.

    Attributes:
        steady: clients that never pause by themselves; they measure availability and traffic.
        starved: when the recording process, which nobody stops, got no CPU: until when, for how many seconds.
        final: conversations as they were read when everything was over, whole.
        rate_min: answers a second, of all steady clients, below which nothing is proved.
        ended: when the faults were over.
    """

    sends: list[Send] = msgspec.field(default_factory=list)
    deliveries: list[Delivery] = msgspec.field(default_factory=list)
    readings: list[Reading] = msgspec.field(default_factory=list)
    final: list[Reading] = msgspec.field(default_factory=list)
    sessions: list[Session] = msgspec.field(default_factory=list)
    accounts: list[AccountOp] = msgspec.field(default_factory=list)
    faults: list[Fault] = msgspec.field(default_factory=list)
    states: list[FinalState] = msgspec.field(default_factory=list)
    steady: set[str] = msgspec.field(default_factory=set)
    starved: list[tuple[float, float]] = msgspec.field(default_factory=list)
    rate_min: float = 0.0
    ended: float = 0.0
