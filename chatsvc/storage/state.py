"""The chat state in tables: accounts, messages, inboxes and clients, as they were after some log entry.

It lags behind the log, and is brought up to date in large transactions, so that no commit waits for an index.
"""

from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import msgspec

from chatsvc import failpoints
from chatsvc.domain.outcomes import Message
from chatsvc.domain.state import Account, Answer, Changes, Client
from chatsvc.storage.database import HOW_TO_REPAIR, check_format, connect, tidy, translate, translated
from chatsvc.storage.errors import StorageDamaged, StorageError, StorageFailed
from chatsvc.storage.mappings import StoredMapping
from chatsvc.storage.reads import StateReader, pack_key, unpack_key

STATE_FORMAT = 1

HEADS_CAPACITY = 200_000
CLIENTS_CAPACITY = 20_000

_CHECKPOINT_PAGES = 16_000

_SCHEMA = """
CREATE TABLE meta (
    format INTEGER NOT NULL,
    dir_id BLOB NOT NULL,
    applied_index INTEGER NOT NULL,
    digest BLOB NOT NULL,
    next_account_id INTEGER NOT NULL,
    time_us INTEGER NOT NULL
);
CREATE TABLE accounts (
    account_id INTEGER PRIMARY KEY,
    user TEXT NOT NULL,
    key TEXT NOT NULL,
    created_us INTEGER NOT NULL,
    last_inbox_seq INTEGER NOT NULL,
    cursor INTEGER NOT NULL,
    incarnation INTEGER NOT NULL,
    client_id BLOB NOT NULL,
    deleted INTEGER NOT NULL DEFAULT 0  -- such a row stays, for the author's name in the other side's history
);
CREATE UNIQUE INDEX living_accounts ON accounts (key) WHERE deleted = 0;
CREATE INDEX deleted_accounts ON accounts (key) WHERE deleted = 1;
-- Keys of these two are big-endian numbers of 8 bytes each, so that they are ordered as the numbers are.
CREATE TABLE messages (
    message_key BLOB PRIMARY KEY,  -- conversation, conversation_seq
    message BLOB NOT NULL  -- MessagePack of the domain's Message
) WITHOUT ROWID;
CREATE TABLE inbox (  -- not yet acknowledged when flushed
    inbox_key BLOB PRIMARY KEY,  -- account id, inbox_seq
    message_key BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE peers (  -- both directions of every conversation that has messages
    account_id INTEGER NOT NULL,
    peer_id INTEGER NOT NULL,
    conversation INTEGER NOT NULL,
    PRIMARY KEY (account_id, peer_id)
) WITHOUT ROWID;
CREATE TABLE clients (client_id BLOB PRIMARY KEY, state BLOB NOT NULL) WITHOUT ROWID;

-- All of a flush but the messages: rows come as JSON arrays.
CREATE VIEW flush AS SELECT
    '' AS deleted, '' AS accounts, '' AS conversations, '' AS clients, '' AS retired,
    0 AS applied_index, x'' AS digest, 0 AS next_account_id, 0 AS time_us;
CREATE TRIGGER flush_insert INSTEAD OF INSERT ON flush BEGIN
    INSERT INTO accounts
        SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6,
            unhex(value ->> 7), 1
        FROM jsonb_each(NEW.deleted) WHERE true
        ON CONFLICT (account_id) DO UPDATE SET deleted = 1;
    INSERT INTO accounts
        SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6,
            unhex(value ->> 7), 0
        FROM jsonb_each(NEW.accounts) WHERE true
        ON CONFLICT (account_id) DO UPDATE SET
            last_inbox_seq = excluded.last_inbox_seq, cursor = excluded.cursor, incarnation = excluded.incarnation,
            client_id = excluded.client_id;
    INSERT INTO peers
        SELECT value >> 32, value & 0xffffffff, value FROM json_each(NEW.conversations);
    INSERT INTO peers
        SELECT value & 0xffffffff, value >> 32, value FROM json_each(NEW.conversations)
        WHERE value & 0xffffffff <> value >> 32;
    DELETE FROM inbox WHERE inbox_key IN (
        SELECT i.inbox_key
        FROM jsonb_each(NEW.accounts) AS changed
        CROSS JOIN inbox AS i
            ON i.inbox_key > unhex(printf('%016x%016x', changed.value ->> 0, 0))
            AND i.inbox_key <= unhex(printf('%016x%016x', changed.value ->> 0, changed.value ->> 5))
    );
    DELETE FROM inbox WHERE inbox_key IN (
        SELECT i.inbox_key
        FROM jsonb_each(NEW.deleted) AS gone
        CROSS JOIN inbox AS i
            ON i.inbox_key > unhex(printf('%016x%016x', gone.value ->> 0, 0))
            AND i.inbox_key < unhex(printf('%016x%016x', (gone.value ->> 0) + 1, 0))
    );
    DELETE FROM messages WHERE message_key IN (
        SELECT m.message_key
        FROM jsonb_each(NEW.deleted) AS gone
        CROSS JOIN peers AS p ON p.account_id = gone.value ->> 0
        CROSS JOIN accounts AS a ON a.account_id = p.peer_id AND a.deleted = 1
        CROSS JOIN messages AS m
            ON m.message_key > unhex(printf('%016x%016x', p.conversation, 0))
            AND m.message_key < unhex(printf('%016x%016x', p.conversation + 1, 0))
    );
    INSERT INTO clients
        SELECT unhex(value ->> 0), unhex(value ->> 1) FROM jsonb_each(NEW.clients) WHERE true
        ON CONFLICT (client_id) DO UPDATE SET state = excluded.state;
    DELETE FROM clients WHERE client_id IN (SELECT unhex(value) FROM json_each(NEW.retired));
    UPDATE meta SET applied_index = NEW.applied_index, digest = NEW.digest, next_account_id = NEW.next_account_id,
        time_us = NEW.time_us;
END;
"""

# Each call into SQLite gives up Python's lock and must win it back from a busy event loop; a call per row would spend
# nearly all its time on that. Arrays of keys with values are also the cheapest rows there are: a JSON array of seven
# fields a message costs three times as much.
_FLUSH_MESSAGES = "INSERT INTO messages SELECT substr(value, 1, 16), substr(value, 17) FROM carray(?)"
_FLUSH_INBOX = "INSERT INTO inbox SELECT substr(value, 1, 16), substr(value, 17) FROM carray(?)"
_FLUSH = """
INSERT INTO flush VALUES (
    CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS TEXT), ?, ?, ?, ?
)
"""

_LOAD_ACCOUNTS = """
SELECT account_id, user, key, created_us, last_inbox_seq, cursor, incarnation, client_id FROM accounts WHERE deleted = 0
"""
_HEAD = "SELECT max(message_key) FROM messages WHERE message_key > ? AND message_key < ?"
_CLIENT = "SELECT state FROM clients WHERE client_id = ?"

_SEQ_MAX = (1 << 63) - 1  # of what SQLite can count; there never are so many of anything

_StoredClient = tuple[int, int, int, list[Answer], list[tuple[int, int]]]
_AccountRow = tuple[int, str, str, int, int, int, int, str]


class LoadedState(msgspec.Struct, frozen=True):
    """What the chat state starts from.

    Attributes:
        accounts: the living ones.
        next_account_id: id of the account that is made next.
        applied_index: the state is that after this log entry; 0 means before the first.
        digest: `ChatState.digest` there.
        last_time_us: time of that entry.
    """

    accounts: list[Account]
    next_account_id: int
    applied_index: int
    digest: bytes
    last_time_us: int


class StateSnapshot(msgspec.Struct, frozen=True, gc=False):
    """What a flush writes. Nothing in it changes any more, so that it may be given to a thread."""

    messages: list[Message]
    accounts: list[_AccountRow]
    deleted: list[_AccountRow]
    clients: list[tuple[str, str]]
    retired: list[str]
    applied_index: int
    digest: bytes
    next_account_id: int
    last_time_us: int


class ConversationHeads(StoredMapping[int, int]):
    """By conversation, the last conversation_seq. Of those with only deleted accounts nothing is known any more."""

    __slots__ = ()


class ClientTable(StoredMapping[bytes, Client]):
    """By client id, the client."""

    __slots__ = ()


class StateStore(StateReader):
    """The tables in `state.db`.

    `flush` is called in one thread, the methods of `StateReader` in another one, and everything else on the event loop,
    all at the same time.

    Attributes:
        conversations, clients: mappings for the chat state.
    """

    def __init__(
        self,
        path: Path,
        dir_id: bytes,
        *,
        conversations_capacity: int = HEADS_CAPACITY,
        clients_capacity: int = CLIENTS_CAPACITY,
    ) -> None:
        """Open existing tables.

        Raises:
            StorageDamaged: they are missing, empty, no such tables, or another directory's.
            NewerFormat: a newer program has made them.
            DiskFull, DirectoryUnusable, StorageFailed: see there.
        """
        self.path = path
        self._failed: StorageFailed | None = None
        with translated(path):
            self._writer = connect(path, synchronous="NORMAL")
        try:
            self._check_meta(dir_id)
            super().__init__(path)
            with translated(path):
                self._writer.wal_autocheckpoint(_CHECKPOINT_PAGES)
                self._lookups = connect(path, read_only=True)
                tidy(self._writer)
        except BaseException:
            self._writer.close()
            raise
        self.conversations = ConversationHeads(self._lookup_head, self._head_keys, conversations_capacity)
        self.clients = ClientTable(self._lookup_client, self._client_keys, clients_capacity)

    @staticmethod
    def create(path: Path, dir_id: bytes) -> None:
        """Make empty tables for a directory."""
        with translated(path):
            connection = connect(path, create=True)
            try:
                tidy(connection)
                connection.execute("BEGIN")
                connection.execute(_SCHEMA)
                connection.execute("INSERT INTO meta VALUES (?, ?, 0, ?, 1, 0)", (STATE_FORMAT, dir_id, bytes(16)))
                connection.execute("COMMIT")
            finally:
                connection.close()

    def _check_meta(self, dir_id: bytes) -> None:
        with translated(self.path):
            known = self._writer.execute("SELECT 1 FROM sqlite_schema WHERE name = 'meta'").get
            meta = self._writer.execute("SELECT format, dir_id FROM meta").get if known else None
        if meta is None:
            raise StorageDamaged(f"{self.path} was emptied: {HOW_TO_REPAIR}")
        check_format(self.path, meta[0], STATE_FORMAT)
        if meta[1] != dir_id:
            raise StorageDamaged(
                f"{self.path} belongs to another directory, or identity.json is damaged: put the right file back"
            )

    def applied_index(self) -> int:
        """Index of the log entry whose state the tables have."""
        try:
            applied_index: int = self._writer.execute("SELECT applied_index FROM meta").get
        except apsw.Error as error:
            raise self._noted(error, self._writer) from error
        return applied_index

    def load(self) -> LoadedState:
        """Where the chat state stands. `conversations` and `clients` belong to it.

        Raises:
            StorageDamaged, StorageFailed: the tables can't be read.
        """
        try:
            meta = self._writer.execute("SELECT applied_index, digest, next_account_id, time_us FROM meta").get
            accounts = [Account(*row) for row in self._writer.execute(_LOAD_ACCOUNTS)]
        except apsw.Error as error:
            raise self._noted(error, self._writer) from error
        applied_index, digest, next_account_id, time_us = meta
        return LoadedState(accounts, next_account_id, applied_index, digest, time_us)

    # ---- flushes

    def begin_flush(
        self, changes: Changes, applied_index: int, digest: bytes, next_account_id: int, last_time_us: int
    ) -> StateSnapshot:
        """What `flush` is to write; on the event loop, with nothing applied since the changes were taken.

        One flush at a time: `finish_flush` comes before the next `begin_flush`.

        Args:
            changes: all since the last call.
            applied_index: of the last entry that is in them.
            digest: of the state after it.
            next_account_id: in the state after it.
            last_time_us: time of that entry.
        """
        self.conversations.begin_flush()
        self.clients.begin_flush()
        return StateSnapshot(
            changes.messages,
            [_account_row(account) for account in changes.accounts.values()],
            [_account_row(account) for account in changes.deleted],
            [(client_id.hex(), _encode_client(client).hex()) for client_id, client in changes.clients.items()],
            [client_id.hex() for client_id in changes.retired],
            applied_index,
            digest,
            next_account_id,
            last_time_us,
        )

    def flush(self, snapshot: StateSnapshot) -> None:
        """Bring the tables up to date, all or nothing; in the state's thread.

        A flush that was interrupted by a crash is done again by applying the log again.

        Raises:
            DiskFull: nothing was written; try again with the same snapshot when there is room.
            StorageFailed: the process must stop.
        """
        if self._failed is not None:
            raise self._failed
        cursors = {row[0]: row[5] for row in snapshot.accounts}
        messages = snapshot.messages
        # A recipient without a row was deleted since.
        inbox = [
            pack_key(m.recipient_id, m.inbox_seq) + pack_key(m.conversation, m.conversation_seq)
            for m in messages
            if m.inbox_seq > cursors.get(m.recipient_id, _SEQ_MAX)
        ]
        rows = [pack_key(m.conversation, m.conversation_seq) + _encode_msgpack(m) for m in messages]
        rows.sort()  # in the order of the table: neighbours go to the same page
        inbox.sort()
        bindings = (
            _encode_json(snapshot.deleted),
            _encode_json(snapshot.accounts),
            _encode_json([m.conversation for m in messages if m.conversation_seq == 1]),
            _encode_json(snapshot.clients),
            _encode_json(snapshot.retired),
            snapshot.applied_index,
            snapshot.digest,
            snapshot.next_account_id,
            snapshot.last_time_us,
        )
        writer = self._writer
        if failpoints.ON:
            failpoints.reach("state_before_write")
        try:
            writer.execute("BEGIN IMMEDIATE")
            if rows:
                writer.execute(_FLUSH_MESSAGES, (apsw.carray(tuple(rows)),))
            if inbox:
                writer.execute(_FLUSH_INBOX, (apsw.carray(tuple(inbox)),))
            writer.execute(_FLUSH, bindings)
            if failpoints.ON:
                failpoints.reach("state_before_commit")
            writer.execute("COMMIT")
            if failpoints.ON:
                failpoints.reach("state_after_commit")
        except apsw.Error as error:
            meaning = self._noted(error, writer)
            if writer.in_transaction:  # some errors have ended it already
                try:
                    writer.execute("ROLLBACK")
                except apsw.Error as second:
                    raise self._noted(second, writer) from error
            raise meaning from error

    def finish_flush(self, snapshot: StateSnapshot) -> None:
        """The flush of this snapshot is done; on the event loop."""
        self.conversations.finish_flush()
        self.clients.finish_flush()

    # ---- lookups on the event loop

    def _lookup_head(self, conversation: int) -> int | None:
        last_key: bytes | None = self._look_up(_HEAD, pack_key(conversation, 0), pack_key(conversation + 1, 0))
        return None if last_key is None else unpack_key(last_key)[1]

    def _lookup_client(self, client_id: bytes) -> Client | None:
        stored: bytes | None = self._look_up(_CLIENT, client_id)
        return None if stored is None else _decode_client(stored)

    def _look_up(self, statement: str, *keys: bytes) -> Any:
        if self._failed is not None:
            raise self._failed
        try:
            return self._lookups.execute(statement, keys).get
        except apsw.Error as error:
            raise self._noted(error, self._lookups) from error

    def _head_keys(self) -> Iterator[int]:
        rows = self._lookups.execute("SELECT DISTINCT substr(message_key, 1, 8) FROM messages")
        return (int.from_bytes(row[0], "big") for row in rows)

    def _client_keys(self) -> Iterator[bytes]:
        return (row[0] for row in self._lookups.execute("SELECT client_id FROM clients"))

    # ---- errors

    def _noted(self, error: apsw.Error, connection: apsw.Connection) -> StorageError:
        meaning = translate(error, self.path, connection.system_errno)
        if isinstance(meaning, StorageFailed):
            self._failed = meaning
        return meaning

    def close(self) -> None:
        """Close the files. Nothing may be in work."""
        super().close()
        self._lookups.close()
        self._writer.close()


def _account_row(account: Account) -> _AccountRow:
    return (
        account.account_id,
        account.user,
        account.key,
        account.created_us,
        account.last_inbox_seq,
        account.cursor,
        account.incarnation,
        account.client_id.hex(),
    )


def _encode_client(client: Client) -> bytes:
    return _encode_msgpack((client.account_id, client.incarnation, client.head, list(client.answers), client.holes))


def _decode_client(stored: bytes) -> Client:
    account_id, incarnation, head, answers, holes = _decode_msgpack(stored)
    return Client(account_id, incarnation, head, deque(answers), holes)


_encode_json = msgspec.json.Encoder().encode
_encode_msgpack = msgspec.msgpack.Encoder().encode
_decode_msgpack = msgspec.msgpack.Decoder(_StoredClient).decode
