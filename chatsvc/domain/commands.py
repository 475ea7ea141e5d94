"""What goes into the state: everything that changes it, each as one command.

Commands are what the log keeps and the servers exchange, so their fields and tags never change their meaning. A
field may be added at the end with a default.
"""

import msgspec


class OpenSession(msgspec.Struct, frozen=True, array_like=True, tag="open", gc=False):
    """A client logs in; an unknown name becomes a new account. Outcome: `SessionOpened` or a refusal.

    Attributes:
        user: name as the client wrote it.
        client_id: 16 bytes.
        receives: whether messages are pushed to it; such a login replaces an earlier one of another client.
        create: whether an unknown name becomes an account.
        incarnation: the one to resume, or 0 for a new login.
        first_unanswered_op_seq: lowest op seq whose answer the client has not received; at least 1.
    """

    user: str
    client_id: bytes
    receives: bool
    create: bool
    incarnation: int
    first_unanswered_op_seq: int


class Sends(msgspec.Struct, frozen=True, array_like=True, tag="send", gc=False):
    """Messages of one client with consecutive op seqs. Outcome: `SendsDone`, or `Refusal` of OP_SEQ_GAP.

    Attributes:
        client_id: 16 bytes.
        first_op_seq: of the first message; the others follow.
        answered_op_seq: the client has received the answers up to this op seq.
        keep_answers: whether answers are kept for repetitions; False for clients that do not count themselves.
        messages: (recipient's name, text) of each.
        refused: by offset in `messages`, why it can't be sent as it stands: an invalid text, left out of the log.
    """

    client_id: bytes
    first_op_seq: int
    answered_op_seq: int
    keep_answers: bool
    messages: list[tuple[str, str]]
    refused: dict[int, tuple[int, int]] = {}


class DeleteAccount(msgspec.Struct, frozen=True, array_like=True, tag="delete", gc=False):
    """The account of this client is deleted. Outcome: `AccountGone` or a refusal.

    Attributes:
        client_id: 16 bytes.
        op_seq: of this operation.
    """

    client_id: bytes
    op_seq: int


class AdvanceCursors(msgspec.Struct, frozen=True, array_like=True, tag="cursor", gc=False):
    """Messages were acknowledged. Outcome: None. Cursors never go back, and never beyond the inbox.

    Attributes:
        cursors: (account id, inbox_seq) of each.
    """

    cursors: list[tuple[int, int]]


class RetireClient(msgspec.Struct, frozen=True, array_like=True, tag="retire", gc=False):
    """A client has ended and will repeat nothing. Outcome: None.

    Attributes:
        client_id: 16 bytes.
    """

    client_id: bytes


Command = OpenSession | Sends | DeleteAccount | AdvanceCursors | RetireClient
