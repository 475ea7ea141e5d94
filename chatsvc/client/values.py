"""What a client gets to see: messages, receipts, accounts, the state of a cluster."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from enum import Enum

import msgspec
from google.protobuf.timestamp_pb2 import Timestamp

from chatsvc.v1 import chat_pb2 as pb

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def op_id(client_id: bytes, op_seq: int) -> str:
    """The name of one operation and all its retries, as text: `CLIENT-ID-IN-HEX/OP-SEQ`."""
    return f"{client_id.hex()}/{op_seq}"


def _time(time_us: int) -> datetime:
    return _EPOCH + timedelta(microseconds=time_us)


class State(Enum):
    """What a client is doing about its connection."""

    CONNECTING = "connecting"
    """Looking for the primary for the first time."""
    CONNECTED = "connected"
    """Logged in."""
    RECONNECTING = "reconnecting"
    """The connection was lost; looking for the primary, to go on where the session stopped."""
    CLOSED = "closed"
    """The session is over; this is the last state."""


class LogoutReason(Enum):
    """Why a server has ended a session for good."""

    REQUESTED = "requested"
    REPLACED = "replaced"
    ACCOUNT_DELETED = "account deleted"


class Message(msgspec.Struct, frozen=True, gc=False):
    """A chat message.

    Attributes:
        sender, recipient: names as they were first written.
        text: as sent; it may contain terminal control characters.
        inbox_seq: place in the recipient's inbox, from 1 without gaps; 0 in a history.
        conversation_seq: place in the conversation of the two, from 1 without gaps.
        time_us: when the primary took it, in microseconds since the epoch.
        client_id, op_seq: op id of the send.
        sender_deleted: whether the sender's account has been deleted since.
    """

    sender: str
    recipient: str
    text: str
    inbox_seq: int
    conversation_seq: int
    time_us: int
    client_id: bytes
    op_seq: int
    sender_deleted: bool = False

    @property
    def time(self) -> datetime:
        """When the primary took it, in UTC."""
        return _time(self.time_us)

    @property
    def op_id(self) -> str:
        """The op id of the send, as text."""
        return op_id(self.client_id, self.op_seq)


class Receipt(msgspec.Struct, frozen=True, gc=False):
    """A message was sent: it can no longer be lost.

    Attributes:
        to: the recipient's name, as it was given.
        conversation_seq: place of the message in the conversation of the two.
        time_us: when the primary took it, in microseconds since the epoch.
        recipient_online: whether the recipient had a session that receives at this moment.
        client_id, op_seq: op id of the send.
    """

    to: str
    conversation_seq: int
    time_us: int
    recipient_online: bool
    client_id: bytes
    op_seq: int

    @property
    def time(self) -> datetime:
        """When the primary took it, in UTC."""
        return _time(self.time_us)

    @property
    def op_id(self) -> str:
        """The op id of the send, as text."""
        return op_id(self.client_id, self.op_seq)


class Account(msgspec.Struct, frozen=True, gc=False):
    """An account as others see it.

    Attributes:
        name: as it was first written.
        online: whether it has a session that receives.
        created: when it was made, in UTC.
    """

    name: str
    online: bool
    created: datetime


class AccountPage(msgspec.Struct, frozen=True):
    """Part of a list of accounts.

    Attributes:
        accounts: in the order of their folded names.
        next_page_token: asks for the page after this one; empty after the last.
    """

    accounts: tuple[Account, ...]
    next_page_token: str = ""


class Member(msgspec.Struct, frozen=True):
    """A server of a cluster.

    Attributes:
        name: a label for people.
        address: host:port.
        role: `primary`, `backup`, `learner`, `waiting`, or `unreachable` if it did not answer in time.
        in_sync: whether every acknowledged entry is on its disk.
        durable_index: last log index on its disk.
        applied_index: last log index that its chat state has seen.
        state_hash: hash of its chat state at `hash_index`.
        hash_index: log index at which `state_hash` was taken.
        version: of its program; empty if it did not answer.
        sessions: open on it; 0 if it did not answer.
        since: since when it has its role, in UTC; None if it did not answer.
        waiting_for: without a primary, the servers whose return would permit an election, as it sees it.
        problem: what an operator must know or do about it; empty if nothing.
        cpu_us: CPU time that its process has used, in microseconds; 0 if it did not answer.
    """

    name: str
    address: str
    role: str
    in_sync: bool = False
    durable_index: int = 0
    applied_index: int = 0
    state_hash: bytes = b""
    hash_index: int = 0
    version: str = ""
    sessions: int = 0
    since: datetime | None = None
    waiting_for: tuple[str, ...] = ()
    problem: str = ""
    cpu_us: int = 0


class ClusterStatus(msgspec.Struct, frozen=True):
    """A cluster, as its servers describe it.

    Attributes:
        cluster_id: 16 bytes; empty if no server answered.
        mode: how the cluster decides when servers are missing: `available` or `majority`.
        epoch: number of the newest reign.
        primary: address of the server that says that it is the primary; None if none does.
        commit_index: log index up to which entries can no longer be lost.
        degraded: whether entries may have been lost or split by a decision on silence alone.
        holes: operations whose earlier acknowledgement this cluster could not find.
        members: all servers.
        forced: whether an operator has once overridden the rules, so that acknowledged entries may be missing.
    """

    cluster_id: bytes
    mode: str
    epoch: int
    primary: str | None
    commit_index: int
    degraded: bool
    holes: int
    members: tuple[Member, ...]
    forced: bool = False


def to_time(time: Timestamp) -> datetime:
    """A moment from its wire form, in UTC."""
    return _time(time.seconds * 1_000_000 + time.nanos // 1_000)


def to_message(sent: pb.Message) -> Message:
    """A message from its wire form."""
    time = sent.sent_time
    return Message(
        sent.sender,
        sent.recipient,
        sent.text,
        sent.inbox_seq,
        sent.conversation_seq,
        time.seconds * 1_000_000 + time.nanos // 1_000,
        sent.client_id,
        sent.op_seq,
        sent.sender_deleted,
    )


def to_account_page(accounts: Iterable[pb.Account], next_page_token: str) -> AccountPage:
    """A page of accounts from its wire form."""
    return AccountPage(
        tuple(
            Account(
                account.name,
                account.online,
                to_time(account.created_time),
            )
            for account in accounts
        ),
        next_page_token,
    )
