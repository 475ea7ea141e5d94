"""The log of entries, committed and not yet, with the hard state: the truth on this server's disk."""

import zlib
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from struct import Struct
from threading import Event, Lock, Thread
from typing import Any

import apsw
import msgspec

from chatsvc import failpoints
from chatsvc.replication.configs import Config, decode_config
from chatsvc.replication.entries import NO_CHAIN, Entry, EntryKind, follows, intact
from chatsvc.replication.envelopes import EpochStart
from chatsvc.replication.events import (
    AppendEntries,
    ConfigFile,
    HardState,
    LogView,
    Operation,
    SaveCluster,
    SaveCommit,
    SaveConfigFile,
    SavePromise,
    TruncateTo,
)
from chatsvc.replication.identity import NO_CLUSTER, NO_EPOCH, NO_POSITION, ClusterId, Position
from chatsvc.storage.database import (
    HOW_TO_REPAIR,
    NO_SPACE,
    check_format,
    connect,
    keep_evidence,
    tidy,
    translate,
    translated,
)
from chatsvc.storage.entries import EPOCH_BYTES, pack, pack_epoch, unpack, unpack_epoch
from chatsvc.storage.errors import StorageDamaged, StorageError, StorageFailed
from chatsvc.storage.files import write_durably
from chatsvc.storage.wal import WalDamaged, synced_frames, wal_path

LOG_FORMAT = 1

CONFIG_FILE = "committed.json"

CHECKPOINT_BYTES = 8 << 20
"""So much in the WAL makes a checkpoint due, which a thread of its own does beside the commits."""

WAL_BYTES_MAX = 64 << 20
"""So much in the WAL makes the writer itself finish a checkpoint, so that the WAL starts over.

A checkpoint beside a busy writer never catches up with it, and the WAL starts over only when everything in it is in
the database.
"""

TAIL_ENTRIES_MAX = 4_096
TAIL_BYTES_MAX = 4 << 20
"""How much of the end of the log `load` hands over: so many entries with about so many bytes of payload."""

_PAGE_BYTES = 4096

_SCHEMA = """
CREATE TABLE about (format INTEGER NOT NULL, dir_id BLOB NOT NULL);
CREATE TABLE entries (log_index INTEGER PRIMARY KEY, entry BLOB NOT NULL);
CREATE TABLE orphans (epoch BLOB, log_index INTEGER, entry BLOB NOT NULL, PRIMARY KEY (epoch, log_index)) WITHOUT ROWID;
CREATE TABLE hard_state (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;  -- see _seal

-- One statement is one transaction is one call into SQLite, however many entries it brings. Each call gives up
-- Python's lock and must win it back from a busy event loop, which can take longer than the sync itself.
CREATE VIEW batch AS SELECT 0 AS first_index, '' AS spans, x'' AS packed, x'' AS commit_index;
CREATE TRIGGER batch_insert INSTEAD OF INSERT ON batch BEGIN
    INSERT INTO entries
        SELECT NEW.first_index + key, substr(NEW.packed, value ->> 0, value ->> 1) FROM json_each(NEW.spans);
    INSERT INTO hard_state
        SELECT 'commit_index', NEW.commit_index WHERE NEW.commit_index IS NOT NULL
        ON CONFLICT (key) DO UPDATE SET value = excluded.value;
END;
"""

_APPEND = "INSERT INTO batch VALUES (?, ?, ?, ?)"
_KEEP_ORPHANS = f"""
INSERT INTO orphans SELECT substr(entry, 1, {EPOCH_BYTES}), log_index, entry FROM entries WHERE log_index > ?
ON CONFLICT (epoch, log_index) DO NOTHING
"""
_TRUNCATE = "DELETE FROM entries WHERE log_index > ?"
_SET = "INSERT INTO hard_state VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
_READ = "SELECT log_index, entry FROM entries WHERE log_index >= ? AND log_index < ? ORDER BY log_index"

_COMMIT_INDEX, _PROMISED, _CLUSTER_ID, _STARTS = "commit_index", "promised", "cluster_id", "starts"
_NUMBER = Struct(">Q")


class StoredLog(msgspec.Struct, frozen=True):
    """What a verified log holds.

    Attributes:
        cluster_id: that this directory belongs to; `NO_CLUSTER` while it belongs to none.
        hard_state: what a replica must remember.
        view: the log, as far as a replica needs to know it.
    """

    cluster_id: ClusterId
    hard_state: HardState
    view: LogView


class LogStore:
    """Entries and hard state in `log.db`, and a small file beside it that says how far it had come.

    All methods belong to one writer thread, except `read` and `checkpoint`, which may be called from any other
    thread at the same time. `load` comes first.

    When a method returns, what it wrote is on the disk: one transaction, one sync. When it raises, nothing of it was
    written; after `StorageFailed` that is unknown, and every later call raises the same again.

    Attributes:
        path: of the database.
        last_index: of the last entry, after `load`; that entry is on the disk.
    """

    def __init__(self, path: Path, dir_id: bytes) -> None:
        """Open an existing log.

        Raises:
            StorageDamaged: it is missing, empty, no log, or another directory's.
            NewerFormat: a newer program has made it.
            DiskFull, DirectoryUnusable, StorageFailed: see there.
        """
        self.path = path
        self.last_index = 0
        self._starts = 0
        self._failed: StorageFailed | None = None
        self._wal_bytes_new = 0  # about so much was written to the WAL since the last checkpoint began
        self._wal_too_large = False
        self._closed = False
        self._checkpoint_due = Event()
        self._read_lock = Lock()
        self._maintenance_lock = Lock()
        self._reader: apsw.Connection | None = None
        self._maintainer: apsw.Connection | None = None
        try:
            synced = synced_frames(path)
        except WalDamaged:
            raise self._wal_damaged() from None
        with translated(path):
            self._writer = connect(path)
        try:
            self._check_about(dir_id)
            self._check_wal(synced)
        except BaseException:
            self._writer.close()
            raise
        self._checkpointer = Thread(target=self._checkpoint_when_due, name="log-checkpoints", daemon=True)
        self._checkpointer.start()

    @staticmethod
    def create(path: Path, dir_id: bytes) -> None:
        """Make an empty log for a directory."""
        with translated(path):
            connection = connect(path, create=True)
            try:
                tidy(connection)
                connection.execute("BEGIN")
                connection.execute(_SCHEMA)
                connection.execute("INSERT INTO about VALUES (?, ?)", (LOG_FORMAT, dir_id))
                connection.execute("COMMIT")
            finally:
                connection.close()

    def _check_about(self, dir_id: bytes) -> None:
        with translated(self.path):
            known = self._writer.execute("SELECT 1 FROM sqlite_schema WHERE name = 'about'").get
            about = self._writer.execute("SELECT format, dir_id FROM about").get if known else None
        if about is None:
            raise StorageDamaged(f"{self.path} was emptied: {HOW_TO_REPAIR}")
        check_format(self.path, about[0], LOG_FORMAT)
        if about[1] != dir_id:
            raise StorageDamaged(
                f"{self.path} belongs to another directory, or identity.json is damaged: put the right file back"
            )

    def _check_wal(self, synced: int) -> None:
        with translated(self.path):
            found, _ = self._writer.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_NOOP)
        if found < synced:
            raise self._wal_damaged()

    def _wal_damaged(self) -> StorageDamaged:
        return StorageDamaged(f"{wal_path(self.path)} is damaged: {HOW_TO_REPAIR}")

    def stored_last_index(self) -> int:
        """Index of the last entry, not verified; 0 if there is none."""
        last_index: int = self._get("SELECT coalesce(max(log_index), 0) FROM entries")
        return last_index

    def load(self) -> StoredLog:
        """Verify the whole log.

        Raises:
            StorageDamaged: an entry is altered or missing, the log is shorter than what it says is committed, or the
                hard state or the small file is altered.
            StorageFailed: the disk can't be read.
        """
        last, chain = NO_POSITION, NO_CHAIN
        epochs: list[EpochStart] = []
        configs: list[Config] = []
        tail: deque[Entry] = deque()
        tail_bytes = 0
        try:
            hard_state = dict(self._writer.execute("SELECT key, value FROM hard_state"))
            for log_index, stored in self._writer.execute(_READ, (0, 1 << 62)):
                entry = self._verified(log_index, stored, last.log_index + 1, chain)
                if entry.epoch != last.epoch:
                    epochs.append(EpochStart(entry.epoch, log_index))
                if entry.kind == EntryKind.CONFIG:
                    configs.append(decode_config(entry))
                last, chain = entry.position, entry.chain
                tail.append(entry)
                tail_bytes += len(entry.payload)
                while len(tail) > TAIL_ENTRIES_MAX or (tail_bytes > TAIL_BYTES_MAX and len(tail) > 1):
                    tail_bytes -= len(tail.popleft().payload)
        except apsw.Error as error:
            raise self._noted(error, self._writer) from error
        starts, commit_index = self._number(_STARTS, hard_state), self._number(_COMMIT_INDEX, hard_state)
        if commit_index > last.log_index:
            raise StorageDamaged(
                f"{self.path} ends at entry {last.log_index}, but entry {commit_index} was committed: {HOW_TO_REPAIR}",
                last.log_index + 1,
            )
        promised = self._opened(_PROMISED, hard_state)
        cluster_id = self._opened(_CLUSTER_ID, hard_state)
        config_file = self._read_config_file()
        self.last_index, self._starts = last.log_index, starts
        tidy(self._writer)
        return StoredLog(
            NO_CLUSTER if cluster_id is None else cluster_id,
            HardState(NO_EPOCH if promised is None else unpack_epoch(promised), commit_index, config_file),
            LogView(last=last, last_chain=chain, epochs=tuple(epochs), configs=tuple(configs), tail=tuple(tail)),
        )

    def _opened(self, key: str, hard_state: dict[str, Any]) -> bytes | None:
        """What was sealed; None if there is nothing."""
        value = hard_state.get(key)
        if value is None:
            return None
        content = value[:-_CHECKSUM_BYTES] if isinstance(value, bytes) else b""
        if value != _seal(key, content):
            raise StorageDamaged(f"{key!r} in {self.path} is damaged: {HOW_TO_REPAIR}")
        return content

    def _number(self, key: str, hard_state: dict[str, Any]) -> int:
        content = self._opened(key, hard_state)
        return 0 if content is None else int.from_bytes(content, "big")

    def count_start(self) -> int:
        """Count one more start of a process on this directory.

        Returns:
            How many that makes; it is on the disk.
        """
        self._write(_SET, (_STARTS, _seal(_STARTS, _NUMBER.pack(self._starts + 1))), _PAGE_BYTES)
        self._starts += 1
        return self._starts

    # ---- saves

    def carry_out(self, operations: Sequence[Operation]) -> None:
        """Carry out what a replica wants saved: in order, in one transaction with one sync, all or nothing.

        A `SaveConfigFile` follows when that is on the disk. There may be no room for it: then the file says less than
        it could, which does no harm.

        Raises:
            DiskFull: nothing was written; try again when there is room.
            StorageFailed: the process must stop.
        """
        entries: list[Entry] = []
        commit_index: int | None = None
        for operation in operations:
            match operation:
                case AppendEntries():
                    entries += operation.entries
                case SaveCommit():
                    commit_index = operation.commit_index
                case _:
                    self._carry_out_one_by_one(operations)
                    return
        if failpoints.ON:
            failpoints.reach("log_before_write")
        if entries or commit_index is not None:  # nearly always: one statement does it
            self._append(entries, commit_index)
        if failpoints.ON:
            failpoints.reach("log_after_write")

    def _carry_out_one_by_one(self, operations: Sequence[Operation]) -> None:
        last_index = self.last_index
        config_file: SaveConfigFile | None = None
        promises = False
        self._write("BEGIN IMMEDIATE", (), 0)
        try:
            for operation in operations:
                match operation:
                    case AppendEntries():
                        self._append(operation.entries, None)
                    case TruncateTo():
                        if failpoints.ON:
                            failpoints.reach("truncate_before")
                        self._write(_KEEP_ORPHANS, (operation.last_index,), _PAGE_BYTES)
                        self._write(_TRUNCATE, (operation.last_index,), _PAGE_BYTES)
                        self.last_index = min(self.last_index, operation.last_index)
                        if failpoints.ON:
                            failpoints.reach("truncate_before_commit")
                    case SaveCommit():
                        self._append((), operation.commit_index)
                    case SavePromise():
                        self._set(_PROMISED, pack_epoch(operation.epoch))
                        promises = True
                    case SaveCluster():
                        self._set(_CLUSTER_ID, operation.cluster_id)
                    case SaveConfigFile():
                        config_file = operation
            if failpoints.ON and promises:
                failpoints.reach("promise_before_commit")
            self._write("COMMIT", (), 0)
        except BaseException:
            self.last_index = last_index
            self._roll_back()
            raise
        if failpoints.ON and promises:
            failpoints.reach("promise_after_commit")
        if config_file is not None:
            if failpoints.ON:
                failpoints.reach("config_file_before")
            self._write_config_file(config_file)
            if failpoints.ON:
                failpoints.reach("config_file_after")

    def _roll_back(self) -> None:
        if not self._writer.in_transaction:
            return  # some errors have ended it already
        try:
            self._writer.execute("ROLLBACK")
        except apsw.Error as error:
            failure = StorageFailed(f"{self.path} failed ({error}): check the disk, then start again")
            self._fail(failure)
            raise failure from error

    def _set(self, key: str, content: bytes) -> None:
        self._write(_SET, (key, _seal(key, content)), _PAGE_BYTES)

    def _append(self, entries: Sequence[Entry], commit_index: int | None) -> None:
        first_index = self.last_index + 1
        spans: list[tuple[int, int]] = []
        packed: list[bytes] = []
        offset = 1  # SQL counts from 1
        for position, entry in enumerate(entries):
            assert entry.index == first_index + position, "the log has no gaps"
            stored = pack(entry)
            packed.append(stored)
            spans.append((offset, len(stored)))
            offset += len(stored)
        joined = packed[0] if len(packed) == 1 else b"".join(packed)
        sealed = None if commit_index is None else _seal(_COMMIT_INDEX, _NUMBER.pack(commit_index))
        self._write(_APPEND, (first_index, _encode_json(spans).decode(), joined, sealed), offset)
        self.last_index += len(entries)

    def orphans(self) -> list[Entry]:
        """All entries that were ever truncated, by epoch and index: they were in no later primary's log.

        Raises:
            StorageDamaged, StorageFailed: they can't be read.
        """
        try:
            rows = self._writer.execute("SELECT log_index, entry FROM orphans ORDER BY epoch, log_index")
            return [self._unpacked(log_index, stored, log_index) for log_index, stored in rows]
        except apsw.Error as error:
            raise self._noted(error, self._writer) from error

    # ---- the small file beside the database, by which a database that was rolled back is recognised

    @property
    def _config_file(self) -> Path:
        return self.path.with_name(CONFIG_FILE)

    def _read_config_file(self) -> ConfigFile | None:
        try:
            content = self._config_file.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageFailed(f"{self._config_file} failed ({error.strerror}): check the disk") from error
        try:
            stored = msgspec.json.decode(content, type=_StoredConfigFile)
            config = Position(unpack_epoch(bytes.fromhex(stored.epoch)), stored.log_index)
        except (msgspec.MsgspecError, ValueError):
            raise StorageDamaged(f"{self._config_file} is damaged: {HOW_TO_REPAIR}") from None
        return ConfigFile(config, stored.commit_index)

    def _write_config_file(self, save: SaveConfigFile) -> None:
        content = _StoredConfigFile(pack_epoch(save.config.epoch).hex(), save.config.log_index, save.commit_index)
        try:
            write_durably(self._config_file, msgspec.json.encode(content) + b"\n")
        except OSError as error:
            if error.errno in NO_SPACE:
                return  # what it says is older than the database: that is allowed
            failure = StorageFailed(f"{self._config_file} failed ({error.strerror}): check the disk, then start again")
            self._fail(failure)
            raise failure from error

    # ---- reading

    def read(self, first_index: int, end_index: int, bytes_max: int) -> list[Entry]:
        """Verified entries from `first_index` up to, not including, `end_index`, or to the end of the log.

        As many as have about `bytes_max` bytes of payload; at least one, if there is one. From any thread.

        Raises:
            StorageDamaged: one is altered or missing.
            StorageFailed: the disk can't be read.
        """
        entries: list[Entry] = []
        with self._read_lock:
            self._check_usable()
            try:
                if self._reader is None:
                    self._reader = connect(self.path, read_only=True)
                rows = iter(self._reader.execute(_READ, (first_index - 1, end_index)))
                chain = NO_CHAIN
                if first_index > 1:
                    before = next(rows, None)
                    if before is None:
                        return []
                    chain = self._unpacked(before[0], before[1], first_index - 1).chain
                size = 0
                for log_index, stored in rows:
                    entry = self._verified(log_index, stored, first_index + len(entries), chain)
                    entries.append(entry)
                    chain = entry.chain
                    size += len(entry.payload)
                    if size >= bytes_max:
                        break
            except apsw.Error as error:
                raise self._noted(error, self._reader or self._writer) from error
            except StorageDamaged as damage:
                self._fail(damage)
                raise
        return entries

    def _unpacked(self, log_index: int, stored: bytes, expected_index: int) -> Entry:
        if log_index != expected_index:
            raise self._damaged(expected_index)
        try:
            entry = unpack(log_index, stored)
        except ValueError:
            raise self._damaged(log_index) from None
        if not intact(entry):
            raise self._damaged(log_index)
        return entry

    def _verified(self, log_index: int, stored: bytes, expected_index: int, previous_chain: bytes) -> Entry:
        entry = self._unpacked(log_index, stored, expected_index)
        if not follows(entry, previous_chain):
            raise self._damaged(log_index)
        return entry

    def _damaged(self, log_index: int) -> StorageDamaged:
        return StorageDamaged(
            f"entry {log_index} of {self.path} is damaged: {HOW_TO_REPAIR}",
            log_index,
        )

    def checkpoint(self) -> None:
        """Move what is in the WAL into the database, beside the writer and without holding it up. From any thread.

        Called by a thread of the store's own whenever `CHECKPOINT_BYTES` have gathered. A full disk is no error here:
        the WAL keeps what it has.

        Raises:
            StorageFailed: the process must stop.
        """
        with self._maintenance_lock:
            self._check_usable()
            try:
                if self._maintainer is None:
                    self._maintainer = connect(self.path)
                self._wal_bytes_new = 0
                frames, _ = self._maintainer.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
                self._wal_too_large = frames * _PAGE_BYTES >= WAL_BYTES_MAX
            except (apsw.FullError, apsw.BusyError):
                pass
            except apsw.Error as error:
                raise self._noted(error, self._maintainer or self._writer) from error

    def _finish_checkpoint(self) -> None:
        """Do what little a checkpoint beside a busy writer leaves over, so that the next commit starts the WAL over.

        Passive as well: it never waits for a reader. If there is one, the WAL goes on until the next time.
        """
        self._wal_too_large = False
        try:
            self._writer.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        except (apsw.FullError, apsw.BusyError):
            pass

    def _checkpoint_when_due(self) -> None:
        while True:
            self._checkpoint_due.wait()
            self._checkpoint_due.clear()
            if self._closed:
                return
            try:
                if failpoints.ON:
                    failpoints.reach("checkpoint_before")
                self.checkpoint()
                if failpoints.ON:
                    failpoints.reach("checkpoint_after")
            except StorageError:
                return  # the store is poisoned; the writer reports it

    # ---- errors

    def _write(self, statement: str, bindings: tuple[object, ...], size: int) -> None:
        if self._failed is not None:
            raise self._failed
        try:
            if self._wal_too_large and not self._writer.in_transaction:
                self._finish_checkpoint()
            self._writer.execute(statement, bindings)
        except apsw.Error as error:
            raise self._noted(error, self._writer) from error
        self._wal_bytes_new += size + 2 * _PAGE_BYTES
        if self._wal_bytes_new >= CHECKPOINT_BYTES:
            self._checkpoint_due.set()

    def _get(self, statement: str) -> Any:
        try:
            return self._writer.execute(statement).get
        except apsw.Error as error:
            raise self._noted(error, self._writer) from error

    def _check_usable(self) -> None:
        if self._failed is not None:
            raise self._failed

    def _noted(self, error: apsw.Error, connection: apsw.Connection) -> StorageError:
        meaning = translate(error, self.path, connection.system_errno)
        if isinstance(meaning, StorageFailed):
            self._fail(meaning)
        return meaning

    def _fail(self, meaning: StorageFailed) -> None:
        if self._failed is None:
            self._failed = meaning

    def close(self) -> None:
        """Close the files. Nothing may be in work. May be called twice."""
        self._closed = True
        self._checkpoint_due.set()
        self._checkpointer.join()
        if self._failed is not None:
            keep_evidence(self._writer)
        for connection in (self._reader, self._maintainer, self._writer):
            if connection is not None:
                connection.close()


class _StoredConfigFile(msgspec.Struct, frozen=True):
    epoch: str  # hexadecimal
    log_index: int
    commit_index: int


def _seal(key: str, content: bytes) -> bytes:
    """A value of the hard state, with a checksum: SQLite would not notice a flipped bit."""
    return content + zlib.crc32(content, zlib.crc32(key.encode())).to_bytes(_CHECKSUM_BYTES, "big")


_CHECKSUM_BYTES = 4


_encode_json = msgspec.json.Encoder().encode
