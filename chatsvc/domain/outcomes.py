"""What comes back from the state."""

import msgspec

from chatsvc.domain.errors import Refusal


class Message(msgspec.Struct, array_like=True, gc=False):
    """A message that was accepted.

    Attributes:
        conversation: key of the conversation, see `conversation_key`.
        conversation_seq: place in it, from 1.
        author_id, recipient_id: account ids.
        inbox_seq: place in the recipient's inbox, from 1.
        time_us: microseconds since the epoch, as chosen by the primary.
        client_id, op_seq: op id of the send.
        text: 1 to 1,500 code points.
        author, recipient: names as they were first written.
        author_deleted: whether the author's account is gone; known only where a message is read again.
    """

    conversation: int
    conversation_seq: int
    author_id: int
    recipient_id: int
    inbox_seq: int
    time_us: int
    client_id: bytes
    op_seq: int
    text: str
    author: str
    recipient: str
    author_deleted: bool = False


class SessionOpened(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A login was accepted.

    Attributes:
        account_id: of the account.
        user: its name as it was first written.
        created: whether this login made it.
        incarnation: of this session; 0 if it does not receive.
        next_op_seq: the op seq that this client has next.
        cursor: highest inbox_seq acknowledged.
        last_inbox_seq: highest inbox_seq there is.
        holes_made: op seqs that the client was once acknowledged and that are not found here. Above 0 only after a
            split of the cluster or a loss.
    """

    account_id: int
    user: str
    created: bool
    incarnation: int
    next_op_seq: int
    cursor: int
    last_inbox_seq: int
    holes_made: int


class SendsDone(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Each message of a `Sends` has its answer.

    Attributes:
        first_op_seq: of the first answer.
        answers: per message (conversation_seq, time_us); conversation_seq 0 marks a refusal.
        refusals: by offset, why.
        messages: those newly accepted, in order; none of a repeated operation.
    """

    first_op_seq: int
    answers: list[tuple[int, int]]
    refusals: dict[int, Refusal]
    messages: list[Message]


class AccountGone(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An account was deleted, by this operation or by the one that it repeats.

    Attributes:
        account_id: of the account.
        user: its name as it was first written.
    """

    account_id: int
    user: str


Outcome = SessionOpened | SendsDone | AccountGone | Refusal | None


def conversation_key(account_id: int, other_id: int) -> int:
    """The same number for both sides: the lower id in the upper half, the higher in the lower half."""
    if account_id < other_id:
        return account_id << 32 | other_id
    return other_id << 32 | account_id


def conversation_accounts(conversation: int) -> tuple[int, int]:
    """The two account ids of a conversation, the lower one first."""
    return conversation >> 32, conversation & 0xFFFF_FFFF
