"""The chat state and what each command does to it."""

import hashlib
from collections import deque
from collections.abc import Iterable, MutableMapping, Sequence
from unicodedata import normalize
from zlib import crc32

import msgspec

from chatsvc.domain.commands import AdvanceCursors, Command, DeleteAccount, OpenSession, RetireClient, Sends
from chatsvc.domain.errors import Reason, Refusal
from chatsvc.domain.limits import CLIENT_ID_BYTES, OP_SEQ_MAX, WINDOW_OPS
from chatsvc.domain.names import cached_name_key, check_name, check_text, name_key
from chatsvc.domain.outcomes import (
    AccountGone,
    Message,
    Outcome,
    SendsDone,
    SessionOpened,
    conversation_key,
)

Answer = tuple[int, int, int, Refusal | None]
"""Kept answer of one operation: digest of the operation, conversation_seq, time_us, refusal.

conversation_seq is `DELETION` for a deletion, which has the account id in place of the time and the name in the
refusal's subject.
"""

DELETION = -1

_DELETION_DIGEST = -1
"""No send has it, whatever a client writes: theirs are CRCs, and those can be chosen."""


class Account(msgspec.Struct, array_like=True):
    """Who a name stands for.

    Attributes:
        account_id: from 1, never used again; below 2**31.
        user: name as it was first written, NFC.
        key: `name_key` of it, unique among living accounts.
        created_us: microseconds since the epoch.
        last_inbox_seq: highest inbox_seq given out.
        cursor: highest inbox_seq acknowledged; 0 <= cursor <= last_inbox_seq.
        incarnation: number of logins so far that receive.
        client_id: of the newest of them; empty before the first.
    """

    account_id: int
    user: str
    key: str
    created_us: int
    last_inbox_seq: int = 0
    cursor: int = 0
    incarnation: int = 0
    client_id: bytes = b""


class Client(msgspec.Struct, array_like=True):
    """One program at work for an account.

    Attributes:
        account_id: of its account, which may be gone.
        incarnation: of its newest login that receives; 0 if it only sends.
        head: highest op seq carried out; the next operation has head + 1.
        answers: of the operations `head - len(answers) + 1` to `head`.
        holes: half-open ranges of op seqs at or below `head` that were not carried out here: the client has been
            acknowledged them by a primary whose acknowledgements are not in this log.
    """

    account_id: int
    incarnation: int = 0
    head: int = 0
    answers: deque[Answer] = msgspec.field(default_factory=deque)
    holes: list[tuple[int, int]] = msgspec.field(default_factory=list)

    def forget_answers(self, answered_op_seq: int) -> None:
        """Drop the answers that the client has received, and what exceeds the window."""
        answers = self.answers
        surplus = min(len(answers), answered_op_seq - self.head + len(answers))
        for _ in range(max(surplus, len(answers) - WINDOW_OPS)):
            answers.popleft()

    def answer(self, op_seq: int) -> Answer | None:
        """Kept answer of an operation at or below the head; None if it is kept no more."""
        position = op_seq - self.head + len(self.answers) - 1
        return self.answers[position] if position >= 0 else None


class Changes:
    """What has changed since the changes were last taken; enough to bring stored tables up to date.

    Attributes:
        messages: accepted, in order.
        accounts: by id, those made or changed that still live.
        deleted: accounts deleted, as they were at the end.
        clients: by client id, those made or changed.
        retired: client ids that ended.
    """

    __slots__ = ("accounts", "clients", "deleted", "messages", "retired")

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.accounts: dict[int, Account] = {}
        self.deleted: list[Account] = []
        self.clients: dict[bytes, Client] = {}
        self.retired: set[bytes] = set()


class ChatState:
    """Everything that the rules of chat need to know.

    Accounts are held in memory. Of clients and conversations there may be very many, so they are looked up in
    mappings that the caller provides: plain dicts, or ones that keep most of their content on disk.

    Args:
        accounts: living accounts.
        conversations: by `conversation_key`, the last conversation_seq; absent means 0.
        clients: by client id.
        next_account_id: id of the account that is made next.
        digest: of the state that this one continues, see `digest`.

    Attributes:
        changes: since `take_changes`.
        digest: 16 bytes that depend on every command applied and on every outcome, in order: equal on two servers
            that have applied the same entries, unless one has gone wrong.
    """

    def __init__(
        self,
        accounts: Iterable[Account] = (),
        conversations: MutableMapping[int, int] | None = None,
        clients: MutableMapping[bytes, Client] | None = None,
        next_account_id: int = 1,
        digest: bytes = bytes(16),
    ) -> None:
        self.accounts = {account.account_id: account for account in accounts}
        self.account_ids = {account.key: account.account_id for account in self.accounts.values()}
        self.conversations: MutableMapping[int, int] = {} if conversations is None else conversations
        self.clients: MutableMapping[bytes, Client] = {} if clients is None else clients
        self.next_account_id = next_account_id
        self.digest = digest
        self.changes = Changes()

    def find(self, user: str) -> Account | None:
        """The account that a name stands for now."""
        account_id = self.account_ids.get(cached_name_key(user))
        return None if account_id is None else self.accounts[account_id]

    def take_changes(self) -> Changes:
        """All changes since the last call."""
        changes, self.changes = self.changes, Changes()
        return changes

    def apply(self, commands: Sequence[Command], time_us: int) -> list[Outcome]:
        """Carry out the commands of one log entry.

        Args:
            commands: in order.
            time_us: time of the entry in microseconds since the epoch; above that of the entry before.

        Returns:
            An outcome per command.
        """
        outcomes = [self._apply_one(command, time_us) for command in commands]
        # What sends do is in their outcomes; of a cursor or a retired client the command alone tells.
        others = [command for command in commands if type(command) is not Sends]
        self.digest = hashlib.blake2b(
            self.digest + time_us.to_bytes(8, "big") + _encode((outcomes, others)), digest_size=16
        ).digest()
        return outcomes

    def _apply_one(self, command: Command, time_us: int) -> Outcome:
        match command:
            case Sends():
                return self._sends(command, time_us)
            case AdvanceCursors():
                self._advance_cursors(command)
            case OpenSession():
                return self._open_session(command, time_us)
            case DeleteAccount():
                return self._delete_account(command)
            case RetireClient():
                self._retire_client(command)
        return None

    # ---- sessions

    def _open_session(self, command: OpenSession, time_us: int) -> SessionOpened | Refusal:
        if len(command.client_id) != CLIENT_ID_BYTES:
            return Refusal(Reason.INVALID_CLIENT_ID)
        account = self.find(command.user)
        client = self.clients.get(command.client_id)
        if command.first_unanswered_op_seq > OP_SEQ_MAX:
            return Refusal(Reason.OP_SEQ_GAP, 1 if client is None else client.head + 1)
        if client is not None and (account is None or client.account_id != account.account_id):
            gone = client.account_id not in self.accounts
            return Refusal(Reason.ACCOUNT_DELETED if gone else Reason.INVALID_CLIENT_ID)
        created = account is None
        if account is None:
            if refusal := check_name(command.user):
                return refusal
            if not command.create:
                return Refusal(Reason.UNKNOWN_ACCOUNT, subject=command.user)
        if command.receives and command.incarnation:
            newest = (0, b"") if account is None else (account.incarnation, account.client_id)
            if newest != (command.incarnation, command.client_id):
                return Refusal(Reason.REPLACED)
        if account is None:
            account = self._create_account(command.user, time_us)
        if command.receives and account.client_id != command.client_id:
            account.incarnation += 1
            account.client_id = command.client_id
        if client is None:
            client = self.clients[command.client_id] = Client(account.account_id)
        client.incarnation = account.incarnation if command.receives else 0
        holes_made = self._note_acknowledged(client, command.first_unanswered_op_seq - 1)
        self.changes.accounts[account.account_id] = account
        self.changes.clients[command.client_id] = client
        self.changes.retired.discard(command.client_id)
        return SessionOpened(
            account.account_id,
            account.user,
            created,
            client.incarnation,
            client.head + 1,
            account.cursor,
            account.last_inbox_seq,
            holes_made,
        )

    def _create_account(self, user: str, time_us: int) -> Account:
        name = normalize("NFC", user)
        account = Account(self.next_account_id, name, name_key(name), time_us)
        assert account.account_id < 2**31, "account ids fit into the halves of a conversation key"
        self.next_account_id += 1
        self.accounts[account.account_id] = account
        self.account_ids[account.key] = account.account_id
        return account

    @staticmethod
    def _note_acknowledged(client: Client, answered_op_seq: int) -> int:
        """The client has answers up to `answered_op_seq`; what lies between head and it becomes a hole.

        Returns:
            How many op seqs that is.
        """
        missing = max(0, answered_op_seq - client.head)
        if missing:
            client.holes.append((client.head + 1, answered_op_seq + 1))
            client.head = answered_op_seq
            client.answers.clear()
        client.forget_answers(answered_op_seq)
        return missing

    def _retire_client(self, command: RetireClient) -> None:
        self.clients.pop(command.client_id, None)
        self.changes.clients.pop(command.client_id, None)
        self.changes.retired.add(command.client_id)

    # ---- messages

    def _sends(self, command: Sends, time_us: int) -> SendsDone | Refusal:
        client_id = command.client_id
        client = self.clients.get(client_id)
        if client is None:
            return Refusal(Reason.INVALID_CLIENT_ID)
        op_seq = command.first_op_seq
        if op_seq > client.head + 1:
            return Refusal(Reason.OP_SEQ_GAP, client.head + 1)
        client.forget_answers(command.answered_op_seq)
        author_refusal = self._author_refusal(client)
        author_id = client.account_id
        author_name = self.accounts[author_id].user if author_refusal is None else ""
        keep, kept = command.keep_answers, client.answers
        if not keep:
            kept.clear()
        accounts, account_ids, conversations = self.accounts, self.account_ids, self.conversations
        touched = self.changes.accounts
        answers: list[tuple[int, int]] = []
        refusals: dict[int, Refusal] = {}
        messages: list[Message] = []
        for offset, (to, text) in enumerate(command.messages):
            digest = crc32(text.encode(), crc32(to.encode(), len(to)))  # the length keeps the two apart
            refused = command.refused.get(offset) if command.refused else None
            if refused is not None:
                digest = crc32(b"%d %d" % refused, digest)
            if op_seq <= client.head:
                answer = self._repeated(client, op_seq, digest)
            else:
                refusal = author_refusal
                recipient_id = account_ids.get(cached_name_key(to))
                if refusal is None:
                    if refused is not None:
                        refusal = Refusal(Reason(refused[0]), refused[1])
                    elif recipient_id is None:
                        refusal = check_name(to) or Refusal(Reason.UNKNOWN_RECIPIENT, subject=to)
                    else:
                        refusal = check_text(text)
                if refusal is None:
                    assert recipient_id is not None
                    recipient = accounts[recipient_id]
                    recipient.last_inbox_seq = inbox_seq = recipient.last_inbox_seq + 1
                    conversation = conversation_key(author_id, recipient_id)
                    conversations[conversation] = seq = conversations.get(conversation, 0) + 1
                    messages.append(
                        Message(
                            conversation, seq, author_id, recipient_id, inbox_seq, time_us, client_id, op_seq, text,
                            author_name, recipient.user,
                        )
                    )  # fmt: skip
                    touched[recipient_id] = recipient
                    answer = (digest, seq, time_us, None)
                else:
                    answer = (digest, 0, time_us, refusal)
                client.head = op_seq
                if keep:
                    kept.append(answer)
            answers.append(answer[1:3])
            if answer[3] is not None:
                refusals[offset] = answer[3]
            op_seq += 1
        if len(kept) > WINDOW_OPS:
            client.forget_answers(0)
        self.changes.messages += messages
        self.changes.clients[client_id] = client
        return SendsDone(command.first_op_seq, answers, refusals, messages)

    def _author_refusal(self, client: Client) -> Refusal | None:
        """Why this client may not act for its account any more; None if it may."""
        account = self.accounts.get(client.account_id)
        if account is None:
            return Refusal(Reason.ACCOUNT_DELETED)
        if client.incarnation and client.incarnation != account.incarnation:
            return Refusal(Reason.REPLACED)
        return None

    @staticmethod
    def _repeated(client: Client, op_seq: int, digest: int) -> Answer:
        """Answer of an operation whose op seq was taken before."""
        answer = client.answer(op_seq)
        if answer is None:
            return (digest, 0, 0, Refusal(Reason.ANSWER_FORGOTTEN, op_seq))
        if answer[0] != digest:
            return (digest, 0, 0, Refusal(Reason.IDEMPOTENCY_MISMATCH, op_seq))
        return answer

    def _advance_cursors(self, command: AdvanceCursors) -> None:
        for account_id, inbox_seq in command.cursors:
            account = self.accounts.get(account_id)
            if account is not None and inbox_seq > account.cursor:
                account.cursor = min(inbox_seq, account.last_inbox_seq)
                self.changes.accounts[account_id] = account

    # ---- deletion

    def _delete_account(self, command: DeleteAccount) -> AccountGone | Refusal:
        client = self.clients.get(command.client_id)
        if client is None:
            return Refusal(Reason.INVALID_CLIENT_ID)
        if command.op_seq > client.head + 1:
            return Refusal(Reason.OP_SEQ_GAP, client.head + 1)
        if command.op_seq <= client.head:
            return self._repeated_deletion(client, command.op_seq)
        refusal = self._author_refusal(client)
        client.head = command.op_seq
        self.changes.clients[command.client_id] = client
        if refusal is not None:
            client.answers.append((_DELETION_DIGEST, 0, 0, refusal))
            client.forget_answers(0)
            return refusal
        account = self.accounts.pop(client.account_id)
        del self.account_ids[account.key]
        self.changes.accounts.pop(account.account_id, None)
        self.changes.deleted.append(account)
        kept = Refusal(Reason.ACCOUNT_DELETED, subject=account.user)
        client.answers.append((_DELETION_DIGEST, DELETION, account.account_id, kept))
        client.forget_answers(0)
        return AccountGone(account.account_id, account.user)

    def _repeated_deletion(self, client: Client, op_seq: int) -> AccountGone | Refusal:
        _, conversation_seq, account_id, refusal = self._repeated(client, op_seq, _DELETION_DIGEST)
        assert refusal is not None, "a send has another digest"
        return AccountGone(account_id, refusal.subject) if conversation_seq == DELETION else refusal


_encode = msgspec.msgpack.Encoder().encode
