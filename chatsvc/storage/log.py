"""The log of committed and to-be-committed entries, with the hard state: the truth on this server's disk."""

import struct
from pathlib import Path
from threading import Event, Lock, Thread

import apsw
import msgspec

from chatsvc.storage.database import HOW_TO_REPAIR, check_format, connect, keep_evidence, tidy, translate, translated
from chatsvc.storage.entries import NO_CHAIN, NO_EPOCH, LogEntry, follows, intact, pack, unpack
from chatsvc.storage.errors import StorageDamaged, StorageError, StorageFailed
from chatsvc.storage.wal import WalDamaged, synced_frames, wal_path

LOG_FORMAT = 1

CHECKPOINT_BYTES = 8 << 20
"""So much in the WAL makes a checkpoint due, which a thread of its own does beside the commits."""

WAL_BYTES_MAX = 64 << 20
"""So much in the WAL makes the writer itself finish a checkpoint, so that the WAL starts over.

A checkpoint beside a busy writer never catches up with it, and the WAL starts over only when everything in it is in
the database.
"""

_PAGE_BYTES = 4096

_SCHEMA = """
CREATE TABLE about (format INTEGER NOT NULL, dir_id BLOB NOT NULL);
CREATE TABLE entries (log_index INTEGER PRIMARY KEY, entry BLOB NOT NULL);
CREATE TABLE hard_state (key TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID;

-- One statement is one transaction is one call into SQLite, however many entries it brings. Each call gives up
-- Python's lock and must win it back from a busy event loop, which can take longer than the sync itself.
CREATE VIEW batch AS SELECT 0 AS first_index, '' AS spans, x'' AS packed, 0 AS commit_index;
CREATE TRIGGER batch_insert INSTEAD OF INSERT ON batch BEGIN
    INSERT INTO entries
        SELECT NEW.first_index + key, substr(NEW.packed, value ->> 0, value ->> 1) FROM json_each(NEW.spans);
    INSERT INTO hard_state
        SELECT 'commit_index', NEW.commit_index WHERE NEW.commit_index IS NOT NULL
        ON CONFLICT (key) DO UPDATE SET value = excluded.value;
END;
"""

_APPEND = "INSERT INTO batch VALUES (?, ?, ?, ?)"
_SET = "INSERT INTO hard_state VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
_READ = "SELECT log_index, entry FROM entries WHERE log_index >= ? AND log_index < ? ORDER BY log_index"

HardValue = int | str | bytes


class LogSummary(msgspec.Struct, frozen=True):
    """What a verified log holds.

    Attributes:
        first_index: of the first entry; `last_index + 1` if there is none.
        last_index: of the last entry; 0 if there is none.
        last_chain: its chain hash; `NO_CHAIN` if there is none.
        last_epoch: its epoch; `NO_EPOCH` if there is none.
        commit_index: the highest that was saved; what is really committed may be more. At most `last_index`.
        hard_state: everything set with `set_hard_state`, and the commit index.
    """

    first_index: int
    last_index: int
    last_chain: bytes
    last_epoch: bytes
    commit_index: int
    hard_state: dict[str, HardValue]


class LogStore:
    """Entries and hard state in `log.db`.

    All methods belong to one writer thread, except `read` and `checkpoint`, which may be called from any other
    thread at the same time. `load` comes first.

    When a method returns, what it wrote is on the disk: one transaction, one sync. When it raises, nothing of it was
    written; after `StorageFailed` that is unknown, and every later call raises the same again.
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
                with connection:
                    connection.execute(_SCHEMA)
                    connection.execute("INSERT INTO about VALUES (?, ?)", (LOG_FORMAT, dir_id))
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
            raise StorageDamaged(f"{self.path} belongs to another directory: put the right file back")

    def _check_wal(self, synced: int) -> None:
        with translated(self.path):
            found, _ = self._writer.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_NOOP)
        if found < synced:
            raise self._wal_damaged()

    def _wal_damaged(self) -> StorageDamaged:
        return StorageDamaged(f"{wal_path(self.path)} is damaged: {HOW_TO_REPAIR}")

    def stored_last_index(self) -> int:
        """Index of the last entry, not verified; 0 if there is none."""
        try:
            last: int = self._writer.execute("SELECT coalesce(max(log_index), 0) FROM entries").get
        except apsw.Error as error:
            raise self._noted(error, self._writer) from error
        return last

    def load(self) -> LogSummary:
        """Verify the whole log.

        Raises:
            StorageDamaged: an entry is altered or missing, or the log is shorter than what it says is committed.
            StorageFailed: the disk can't be read.
        """
        first_index, last_index, chain, epoch = 1, 0, NO_CHAIN, NO_EPOCH
        try:
            hard_state: dict[str, HardValue] = dict(self._writer.execute("SELECT key, value FROM hard_state"))
            for log_index, stored in self._writer.execute(_READ, (0, 1 << 62)):
                entry = self._verified(log_index, stored, last_index + 1, chain)
                last_index, chain, epoch = log_index, entry.chain, entry.epoch
        except apsw.Error as error:
            raise self._noted(error, self._writer) from error
        commit_index = hard_state.get("commit_index", 0)
        assert isinstance(commit_index, int)
        if commit_index > last_index:
            raise StorageDamaged(
                f"{self.path} ends at entry {last_index}, but entry {commit_index} was committed: {HOW_TO_REPAIR}",
                last_index + 1,
            )
        self.last_index = last_index
        tidy(self._writer)
        return LogSummary(first_index, last_index, chain, epoch, commit_index, hard_state)

    def append(self, entries: list[LogEntry], commit_index: int | None = None) -> None:
        """Add entries to the end, and save the commit index, if there is one, in the same transaction.

        Args:
            entries: the next ones; `log_index` without a gap.

        Raises:
            DiskFull: nothing was written; try again when there is room.
            StorageFailed: the process must stop.
        """
        first_index = self.last_index + 1
        spans: list[tuple[int, int]] = []
        packed: list[bytes] = []
        offset = 1  # SQL counts from 1
        for position, entry in enumerate(entries):
            assert entry.log_index == first_index + position, "the log has no gaps"
            stored = pack(entry)
            packed.append(stored)
            spans.append((offset, len(stored)))
            offset += len(stored)
        joined = packed[0] if len(packed) == 1 else b"".join(packed)
        self._write(_APPEND, (first_index, _encode_json(spans).decode(), joined, commit_index), offset)
        self.last_index += len(entries)

    def truncate(self, first_index: int) -> None:
        """Remove the entries from `first_index` on.

        Raises:
            DiskFull, StorageFailed: as `append`.
        """
        self._write("DELETE FROM entries WHERE log_index >= ?", (first_index,), _PAGE_BYTES)
        self.last_index = min(self.last_index, first_index - 1)

    def set_hard_state(self, key: str, value: HardValue) -> None:
        """Save one value that must survive a crash.

        Raises:
            DiskFull, StorageFailed: as `append`.
        """
        self._write(_SET, (key, value), _PAGE_BYTES)

    def read(self, first_index: int, end_index: int, bytes_max: int) -> list[LogEntry]:
        """Verified entries from `first_index` up to, not including, `end_index`, or to the end of the log.

        As many as have about `bytes_max` bytes of payload; at least one, if there is one. From any thread.

        Raises:
            StorageDamaged: one is altered or missing.
            StorageFailed: the disk can't be read.
        """
        entries: list[LogEntry] = []
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

    def _unpacked(self, log_index: int, stored: bytes, expected_index: int) -> LogEntry:
        if log_index != expected_index:
            raise self._damaged(expected_index)
        try:
            entry = unpack(log_index, stored)
        except (struct.error, TypeError, ValueError):
            raise self._damaged(log_index) from None
        if not intact(entry):
            raise self._damaged(log_index)
        return entry

    def _verified(self, log_index: int, stored: bytes, expected_index: int, previous_chain: bytes) -> LogEntry:
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
                self.checkpoint()
            except StorageError:
                return  # the store is poisoned; the writer reports it

    # ---- errors

    def _write(self, statement: str, bindings: tuple[object, ...], size: int) -> None:
        if self._failed is not None:
            raise self._failed
        try:
            if self._wal_too_large:
                self._finish_checkpoint()
            self._writer.execute(statement, bindings)
        except apsw.Error as error:
            raise self._noted(error, self._writer) from error
        self._wal_bytes_new += size + 2 * _PAGE_BYTES
        if self._wal_bytes_new >= CHECKPOINT_BYTES:
            self._checkpoint_due.set()

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


_encode_json = msgspec.json.Encoder().encode
