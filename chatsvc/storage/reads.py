"""Pages of the chat state's tables, for readers that hold up nobody."""

from pathlib import Path
from typing import Any

import apsw
import msgspec

from chatsvc.domain.outcomes import Message, conversation_accounts
from chatsvc.storage.database import connect, translate, translated

# Pages are read with one call into SQLite, too, and for the same reason: all rows come as one JSON array.
_MESSAGE_ROW = """
json_array(m.conversation, m.conversation_seq, m.author_id, m.time_us, hex(m.client_id), m.op_seq, m.text,
    author.user, author.deleted, {inbox_seq})
"""
_READ_INBOX = f"""
SELECT json_group_array({_MESSAGE_ROW.format(inbox_seq="i.inbox_seq")} ORDER BY i.inbox_seq), (
    SELECT user FROM accounts WHERE account_id = ?1
)
FROM (SELECT * FROM inbox WHERE account_id = ?1 AND inbox_seq > ?2 ORDER BY inbox_seq LIMIT ?3) AS i
CROSS JOIN messages AS m USING (conversation, conversation_seq)
CROSS JOIN accounts AS author ON author.account_id = m.author_id
"""
_READ_CONVERSATION = f"""
SELECT json_group_array({_MESSAGE_ROW.format(inbox_seq="0")} ORDER BY m.conversation_seq), (
    SELECT user FROM accounts WHERE account_id = ?1 >> 32
), (
    SELECT user FROM accounts WHERE account_id = ?1 & 0xffffffff
)
FROM (
    SELECT * FROM messages WHERE conversation = ?1 AND conversation_seq < ?2 ORDER BY conversation_seq DESC LIMIT ?3
) AS m
CROSS JOIN accounts AS author ON author.account_id = m.author_id
"""
_LIST_ACCOUNTS = """
SELECT json_group_array(json_array(account_id, user, key, created_us) ORDER BY key)
FROM (
    SELECT account_id, user, key, created_us FROM accounts
    WHERE deleted = 0 AND key > ?2 AND {matches} ORDER BY key LIMIT ?3
)
"""
_LIST_WHOLE = _LIST_ACCOUNTS.format(matches="key GLOB ?1")
_LIST_PART = _LIST_ACCOUNTS.format(matches="instr(key, ?1)")
_FIND_LIVING = "SELECT account_id, user, deleted FROM accounts WHERE key = ? AND deleted = 0"
_FIND_DELETED = """
SELECT account_id, user, deleted FROM accounts WHERE key = ? AND deleted = 1 ORDER BY account_id DESC LIMIT 1
"""

_SEQ_MAX = (1 << 63) - 1

_StoredMessage = tuple[int, int, int, int, str, int, str, str, int, int]


class FoundAccount(msgspec.Struct, frozen=True, gc=False):
    """The account that a name stands for, or once stood for."""

    account_id: int
    user: str
    deleted: bool


class ListedAccount(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A living account; see `chatsvc.domain.state.Account` for the meaning of the fields."""

    account_id: int
    user: str
    key: str
    created_us: int


class StateReader:
    """Reads pages from the tables, in one thread. Each call sees the state after one flush, and holds up nobody.

    All methods raise `StorageDamaged` or `StorageFailed` if the disk can't be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with translated(path):
            self._pages = connect(path, read_only=True)

    def read_inbox(self, account_id: int, after_inbox_seq: int, limit: int) -> list[Message]:
        """Messages to an account above `after_inbox_seq`, by inbox_seq; only those not yet acknowledged."""
        found, recipient = self._one(_READ_INBOX, account_id, after_inbox_seq, limit)
        return [_message(row, account_id, recipient) for row in _decode_messages(found)]

    def read_conversation(self, conversation: int, before: int, limit: int) -> tuple[list[Message], bool]:
        """The newest messages of a conversation with a conversation_seq below `before` (0: no bound).

        Returns:
            At most `limit` messages, oldest first, with inbox_seq 0; and whether there are older ones.
        """
        found, low, high = self._one(_READ_CONVERSATION, conversation, before or _SEQ_MAX, limit + 1)
        rows = _decode_messages(found)
        has_older = len(rows) > limit
        low_id, high_id = conversation_accounts(conversation)
        messages = [
            _message(row, high_id, high) if row[2] == low_id else _message(row, low_id, low)
            for row in (rows[1:] if has_older else rows)
        ]
        return messages, has_older

    def find_account(self, key: str) -> FoundAccount | None:
        """The living account with this key, else the one that was deleted last."""
        row = self._one(_FIND_LIVING, key) or self._one(_FIND_DELETED, key)
        return None if row is None else FoundAccount(row[0], row[1], bool(row[2]))

    def list_accounts(self, pattern_key: str, whole: bool, after_key: str, limit: int) -> list[ListedAccount]:
        """Living accounts above `after_key`, by key.

        Args:
            pattern_key: compared with keys.
            whole: whether the pattern is for the whole key, with `*` for any characters and `?` for one; else it
                is for a part of it.
            after_key: exclusive.
            limit: most accounts.
        """
        if whole:
            found = self._one(_LIST_WHOLE, pattern_key.replace("[", "[[]"), after_key, limit)
        else:
            found = self._one(_LIST_PART, pattern_key, after_key, limit)
        return _decode_accounts(found)

    def _one(self, statement: str, *bindings: int | str) -> Any:
        try:
            return self._pages.execute(statement, bindings).get
        except apsw.Error as error:
            raise translate(error, self.path, 0) from error

    def close(self) -> None:
        """Close the file. Nothing may be in work. May be called twice."""
        self._pages.close()


def _message(row: _StoredMessage, recipient_id: int, recipient: str) -> Message:
    conversation, seq, author_id, time_us, client_id, op_seq, text, author, author_deleted, inbox_seq = row
    return Message(
        conversation, seq, author_id, recipient_id, inbox_seq, time_us, bytes.fromhex(client_id), op_seq, text,
        author, recipient, bool(author_deleted),
    )  # fmt: skip


_decode_messages = msgspec.json.Decoder(list[_StoredMessage]).decode
_decode_accounts = msgspec.json.Decoder(list[ListedAccount]).decode
