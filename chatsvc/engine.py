"""What the api talks to: commands in, outcomes after commit; inboxes, history and accounts out.

An engine keeps the replicated chat state. The built-in one is `chatsvc.node`; the api must not care which one it
serves. All methods are called on the event loop that runs the engine, and callbacks come on that loop.
"""

from collections.abc import Callable
from typing import Protocol

import msgspec

from chatsvc.domain.commands import Command
from chatsvc.domain.errors import Unavailable
from chatsvc.domain.outcomes import Message, Outcome

Done = Callable[[Outcome | Unavailable], None]
"""Called once with what came of a command: its outcome after commit, or why it is not known here.

After `Unavailable` the command may still be carried out; it is safe to submit it again, at the primary.
"""


class AccountInfo(msgspec.Struct, frozen=True, gc=False):
    """An account as others see it.

    Attributes:
        user: name as it was first written.
        key: what names are compared and ordered by.
        created_us: microseconds since the epoch.
        online: whether it has a subscriber.
    """

    user: str
    key: str
    created_us: int
    online: bool


class ConversationPage(msgspec.Struct, frozen=True):
    """Part of a conversation.

    Attributes:
        peer: the other user's name.
        messages: by conversation_seq, oldest first; their inbox_seq is 0.
        has_older: whether there are older ones.
    """

    peer: str
    messages: list[Message]
    has_older: bool


class MemberStatus(msgspec.Struct, frozen=True):
    """A server of the cluster; see `Member` in replication.proto for the meaning of the fields.

    Attributes:
        role: `primary`, `backup`, `learner`, `waiting` or `out`.
    """

    name: str
    address: str
    role: str
    in_sync: bool
    durable_index: int
    applied_index: int
    state_hash: bytes
    hash_index: int
    role_since_us: int


class EngineStatus(msgspec.Struct, frozen=True):
    """The engine's view of the cluster; see `GetStatusResponse` in replication.proto for the meaning."""

    cluster_id: bytes
    mode: str
    epoch: int
    primary: str
    commit_index: int
    degraded: bool
    forced: bool
    holes: int
    waiting_for: list[str]
    problem: str
    serving: bool
    last_index: int
    self_member: MemberStatus
    members: list[MemberStatus]


class ForcedInVain(Exception):
    """A promotion that an operator wanted was refused; the text says why."""


class Subscriber(Protocol):
    """A session that receives; told what happens to its account, in log order."""

    account_id: int
    incarnation: int

    def deliver(self, message: Message) -> None:
        """A message was accepted for the account. Between two calls no inbox_seq is left out."""

    def replaced(self) -> None:
        """A later login receives for the account, or another stream of the same client; nothing more comes."""

    def account_deleted(self) -> None:
        """The account is gone; nothing more comes."""


class Engine(Protocol):
    """The replicated chat state, as one server offers it."""

    def check_serving(self) -> None:
        """Return if clients are served here.

        Raises:
            NotPrimary: another server serves them; the metadata name its address.
            NotReady: this one is not ready yet or is stopping, or no primary is known.
        """

    def submit(self, command: Command, done: Done) -> None:
        """Have a command carried out. Commands are carried out, and `done` is called, in the order of submission.

        Never blocks; see `room`.
        """

    async def execute(self, *commands: Command) -> list[Outcome]:
        """Have commands carried out one right after the other, and wait for their outcomes.

        Cancelling is safe; the commands may then be carried out all the same.

        Raises:
            Unavailable: whether they are carried out is not known here.
        """

    async def room(self) -> None:
        """Wait until so little is in work that it is reasonable to submit more. Cancelling is safe."""

    def subscribe(self, subscriber: Subscriber) -> int:
        """Tell this session of every message accepted for its account from now on, in place of an earlier session.

        Returns:
            The last inbox_seq before; messages up to there are got with `read_inbox`.
        """

    def unsubscribe(self, subscriber: Subscriber) -> None:
        """Tell it nothing more. Does nothing if another session has taken its place."""

    def acknowledge(self, account_id: int, inbox_seq: int) -> None:
        """Messages up to `inbox_seq` have arrived. Becomes part of the state within a fraction of a second."""

    async def flush_acknowledgements(self) -> None:
        """Wait until everything acknowledged so far can no longer be lost.

        Raises:
            Unavailable: that is not known here.
        """

    async def read_inbox(self, account_id: int, after_inbox_seq: int, limit: int) -> list[Message]:
        """Messages to an account that are not acknowledged yet, by inbox_seq; at most `limit`.

        Complete up to what was carried out when the call began: if it returns fewer than `limit`, there were no
        more at that moment.
        """

    async def read_conversation(self, user: str, peer: str, limit: int, before: int) -> ConversationPage:
        """The newest `limit` messages with a conversation_seq below `before` (0: no bound) between two users.

        `peer` is resolved to the living account of that name, else to the deleted one that had it last.

        Raises:
            UnknownAccount: there is no `user`, or there never was a `peer`.
        """

    async def list_accounts(self, pattern: str, limit: int, after_key: str) -> list[AccountInfo]:
        """Living accounts whose key is above `after_key`, by key; at most `limit`.

        The pattern is compared by key: with `*` or `?` in it it is for the whole name, else for a part of it.
        """

    def is_online(self, account_id: int) -> bool:
        """Whether the account has a subscriber."""

    def account_id(self, user: str) -> int | None:
        """Id of the living account that has this name."""

    async def force_promote(self) -> int:
        """Make this server primary although the rules forbid it; an operator's decision.

        Returns:
            Number of the reign that has begun.

        Raises:
            ForcedInVain: the cluster has a primary, or there is nothing to serve.
            Unavailable: this server is stopping, or failed in it.
        """

    async def primary_news(self, epoch: int) -> None:
        """Wait until clients are served here in a reign of at least that number, or a primary of a later one is known.

        Cancelling is safe. Returns early where this server stops, or too many wait.
        """

    def status(self) -> EngineStatus:
        """What this server knows of itself and of its cluster at this moment."""
