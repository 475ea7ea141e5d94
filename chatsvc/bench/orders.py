"""What the process that measures and the processes of the generator tell each other: length, then MessagePack.

Every order has one answer: what it says, or `Failed`. All times are of CLOCK_MONOTONIC, which all processes of a
machine share, in nanoseconds.
"""

import msgspec

from chatsvc.bench.histogram import Histogram

LENGTH_BYTES = 4


class Connect(msgspec.Struct, tag=True, frozen=True):
    """Log everybody in; answered by `Connected`.

    Attributes:
        servers: addresses.
        batch: part of all names, so that no run before had them.
        first_pair, pairs: which pairs this process has.
        first_idle, idle: which people it has who are just there.
        size: characters of a message.
        give_up_s: how long no primary may answer.
    """

    servers: tuple[str, ...]
    batch: str
    first_pair: int
    pairs: int
    first_idle: int
    idle: int
    size: int
    give_up_s: float


class Start(msgspec.Struct, tag=True, frozen=True):
    """Begin to send; answered by `Done` at once.

    Attributes:
        window: most un-acknowledged messages of a sender.
        rate: messages a second of this process; None: as the window permits.
        messages: end after so many of this process; None: at `Halt`.
    """

    window: int
    rate: float | None
    messages: int | None


class Look(msgspec.Struct, tag=True, frozen=True):
    """Say what was counted; answered by `Counts`."""


class Take(msgspec.Struct, tag=True, frozen=True):
    """Give what was measured since the last `Take`, and begin anew; answered by `Taken`."""


class Halt(msgspec.Struct, tag=True, frozen=True):
    """Send no more, and wait for what is under way; answered by `Counts`.

    Attributes:
        deliveries: whether to wait for them, too; else only for acknowledgements.
        quiet_s: what is still under way when nothing has come for so long is given up.
    """

    deliveries: bool
    quiet_s: float


class Away(msgspec.Struct, tag=True, frozen=True):
    """Recipients log out; answered by `Done`."""


class Back(msgspec.Struct, tag=True, frozen=True):
    """Recipients log in, all at once; answered by `Done`."""


class Expect(msgspec.Struct, tag=True, frozen=True):
    """From now on note each sender's first acknowledgement from a primary of a later reign; answered by `Done`.

    Attributes:
        epoch: of the reign before.
    """

    epoch: int


class AwaitServed(msgspec.Struct, tag=True, frozen=True):
    """Wait until all senders have what `Expect` has told to note; answered by `Served`.

    Attributes:
        timeout_s: most time for that.
    """

    timeout_s: float


class Leave(msgspec.Struct, tag=True, frozen=True):
    """Log out; answered by `Done`.

    Attributes:
        delete: whether to delete the accounts, too.
    """

    delete: bool


Order = Connect | Start | Look | Take | Halt | Away | Back | Expect | AwaitServed | Leave


class Done(msgspec.Struct, tag=True, frozen=True):
    """That is done."""


class Connected(msgspec.Struct, tag=True, frozen=True):
    """All are logged in.

    Attributes:
        began_ns, ended_ns: of the logins.
    """

    began_ns: int
    ended_ns: int


class Counts(msgspec.Struct, tag=True, frozen=True):
    """What was counted since the process began.

    Attributes:
        time_ns: when this was said.
        cpu_ns: CPU time of this process.
        sent, acked, delivered: messages; a delivery counts once for each message.
        lost: acknowledged, and not delivered until now.
        doubled: deliveries of a message that was delivered before.
        reordered: deliveries of a message after one that was sent later.
        foreign: deliveries of what nobody here has sent.
        refused: sends that the server refused, and sessions that it ended.
        unanswered: sends without an answer until now.
        trouble: the first thing that went wrong, in words.
        acked_ns, delivered_ns: when the last acknowledgement, the last delivery came; 0: never.
    """

    time_ns: int
    cpu_ns: int
    sent: int
    acked: int
    delivered: int
    lost: int
    doubled: int
    reordered: int
    foreign: int
    refused: int
    unanswered: int
    trouble: str
    acked_ns: int
    delivered_ns: int


class Taken(msgspec.Struct, tag=True, frozen=True):
    """Latencies in nanoseconds.

    Attributes:
        ack: from the moment when a message was due to its acknowledgement.
        e2e: from then to its delivery.
        late: from then to the moment when the generator turned to it.
    """

    ack: Histogram
    e2e: Histogram
    late: Histogram


class Served(msgspec.Struct, tag=True, frozen=True):
    """All have been served.

    Attributes:
        last_ns: when the last of them was.
        pause_ns: longest time that one of them had no acknowledgement, from the order to expect that on.
    """

    last_ns: int
    pause_ns: int


class Failed(msgspec.Struct, tag=True, frozen=True):
    """It could not be done.

    Attributes:
        why: in a line.
    """

    why: str


Answer = Done | Connected | Counts | Taken | Served | Failed

encode = msgspec.msgpack.encode


def framed(message: Order | Answer) -> bytes:
    """As it is written."""
    data = encode(message)
    return len(data).to_bytes(LENGTH_BYTES, "big") + data
