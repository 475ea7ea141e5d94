"""Pages of the chat state's tables, for readers that hold up nobody."""

from pathlib import Path
from struct import Struct
from typing import Any

import apsw
import msgspec

from chatsvc.domain.outcomes import Message
from chatsvc.storage.database import connect, translate, translated

# A page is one row, of all its messages one after the other: each call into SQLite gives up Python's lock and must win
# it back from a busy event loop, so a call per message would take as long as the loop likes. The aggregate works on
# text, and leaves its bytes alone.
_PAGE = "SELECT count(*), CAST(group_concat(CAST(message AS TEXT), '' ORDER BY page.key) AS BLOB)"
_READ_INBOX = f"""
{_PAGE} FROM (
    SELECT inbox_key AS key, message_key FROM inbox WHERE inbox_key > ? AND inbox_key < ? ORDER BY inbox_key LIMIT ?
) AS page
CROSS JOIN messages USING (message_key)
"""
_READ_CONVERSATION = f"""
{_PAGE} FROM (
    SELECT message_key AS key, message FROM messages WHERE message_key > ? AND message_key < ?
    ORDER BY message_key DESC LIMIT ?
) AS page
"""
_DELETED_AMONG = """
SELECT json_group_array(account_id) FROM accounts
WHERE deleted = 1 AND account_id IN (SELECT value FROM json_each(?))
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

_KEY = Struct(">QQ")

pack_key = _KEY.pack
"""Key of a message (conversation, conversation_seq) or of a place in an inbox (account id, inbox_seq)."""

unpack_key = _KEY.unpack
"""What a key was made of."""


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
        return self._page(_READ_INBOX, pack_key(account_id, after_inbox_seq), pack_key(account_id + 1, 0), limit)

    def read_conversation(self, conversation: int, before: int, limit: int) -> tuple[list[Message], bool]:
        """The newest messages of a conversation with a conversation_seq below `before` (0: no bound).

        Returns:
            At most `limit` messages, oldest first, with inbox_seq 0; and whether there are older ones.
        """
        end = pack_key(conversation, before) if before else pack_key(conversation + 1, 0)
        messages = self._page(_READ_CONVERSATION, pack_key(conversation, 0), end, limit + 1)
        for message in messages:
            message.inbox_seq = 0
        has_older = len(messages) > limit
        return messages[has_older:], has_older

    def _page(self, statement: str, after_key: bytes, end_key: bytes, limit: int) -> list[Message]:
        count, packed = self._one(statement, after_key, end_key, limit)
        if count == 0:
            return []
        messages = _decode_messages(_ARRAY_OF + count.to_bytes(4, "big") + packed)
        authors = list({message.author_id for message in messages})
        deleted = _decode_numbers(self._one(_DELETED_AMONG, _encode_json(authors).decode()))
        if deleted:
            for message in messages:
                message.author_deleted = message.author_id in deleted
        return messages

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

    def _one(self, statement: str, *bindings: int | str | bytes) -> Any:
        try:
            return self._pages.execute(statement, bindings).get
        except apsw.Error as error:
            raise translate(error, self.path, 0) from error

    def close(self) -> None:
        """Close the file. Nothing may be in work. May be called twice."""
        self._pages.close()


_ARRAY_OF = b"\xdd"  # MessagePack: an array, its length in the next four bytes

_decode_messages = msgspec.msgpack.Decoder(list[Message]).decode
_decode_numbers = msgspec.json.Decoder(list[int]).decode
_encode_json = msgspec.json.Encoder().encode
_decode_accounts = msgspec.json.Decoder(list[ListedAccount]).decode
