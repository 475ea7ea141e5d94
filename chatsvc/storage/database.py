"""What the two databases have in common: how they are opened, and what SQLite's errors mean here."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw

from chatsvc.storage.errors import DirectoryUnusable, DiskFull, NewerFormat, StorageDamaged, StorageError, StorageFailed

SQLITE_VERSION_MIN = (3, 51, 3)
"""Older ones can lose a commit when a checkpoint resets the WAL while another connection writes."""

HOW_TO_REPAIR = "restore the directory from a copy, or empty it and rejoin"

_BUSY_TIMEOUT_MS = 10_000

_LEAST_ROOM_BYTES = 64 << 10
"""What opening a database may need at once."""

NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})
_MAYBE_FULL = frozenset({apsw.SQLITE_IOERR_WRITE, apsw.SQLITE_IOERR_SHMSIZE, apsw.SQLITE_IOERR_SHMMAP})
"""I/O errors that leave nothing half done, and mean no more than a full disk if that is their cause."""


def check_sqlite_version() -> None:
    """Refuse an SQLite that is known to lose data.

    Raises:
        DirectoryUnusable: it is too old.
    """
    version = tuple(int(part) for part in apsw.sqlite_lib_version().split("."))
    if version < SQLITE_VERSION_MIN:
        wanted = ".".join(map(str, SQLITE_VERSION_MIN))
        raise DirectoryUnusable(f"SQLite {apsw.sqlite_lib_version()} is too old, {wanted} is needed: upgrade apsw")


def full(path: Path) -> DiskFull:
    """The error that says that there is no room for `path`."""
    return DiskFull(f"the disk of {path.parent} is full: free some space")


def translate(error: apsw.Error, path: Path, system_errno: int) -> StorageError:
    """What an error of SQLite means for the database at `path`."""
    code = getattr(error, "extendedresult", 0)
    if isinstance(error, apsw.FullError) or (code in _MAYBE_FULL and system_errno in NO_SPACE):
        return full(path)
    if isinstance(error, (apsw.CorruptError, apsw.NotADBError)):
        return StorageDamaged(f"{path} is damaged ({error}): {HOW_TO_REPAIR}")
    return StorageFailed(f"{path} failed ({error}): check the disk, then start again")


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Raise errors of SQLite as errors of storage, where a database is opened. Not for the hot path."""
    try:
        yield
    except (apsw.CantOpenError, apsw.ReadOnlyError, apsw.PermissionsError) as error:
        raise DirectoryUnusable(f"{path} can't be opened for writing ({error}): check its permissions") from error
    except apsw.Error as error:
        raise translate(error, path, _room_errno(path)) from error


def _room_errno(path: Path) -> int:
    """ENOSPC if there is no room; for where the connection, and with it the error's cause, is gone already."""
    try:
        space = os.statvfs(path.parent)
    except OSError:
        return 0
    return errno.ENOSPC if space.f_bavail * space.f_frsize < _LEAST_ROOM_BYTES else 0


def connect(path: Path, *, create: bool = False, read_only: bool = False, synchronous: str = "FULL") -> apsw.Connection:
    """A connection in WAL mode that never checkpoints by itself, nor when it is closed, unless `tidy` was called.

    Raises:
        apsw.Error: see `translated`.
    """
    if read_only:
        flags = apsw.SQLITE_OPEN_READONLY
    else:
        flags = apsw.SQLITE_OPEN_READWRITE | (apsw.SQLITE_OPEN_CREATE if create else 0)
    connection = apsw.Connection(str(path), flags=flags)
    try:
        connection.set_busy_timeout(_BUSY_TIMEOUT_MS)
        if not read_only:
            connection.pragma("journal_mode", "wal")
            connection.pragma("synchronous", synchronous)
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        connection.wal_autocheckpoint(0)
        connection.pragma("temp_store", "memory")  # no temporary files: neither their cost nor their errors
        connection.pragma("cache_size", -16_384)
        connection.pragma("trusted_schema", False)
    except BaseException:
        connection.close()
        raise
    return connection


def tidy(connection: apsw.Connection) -> None:
    """Let the database be left without a WAL. Only for one that is known to be good: the WAL may be evidence."""
    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0)


def keep_evidence(connection: apsw.Connection) -> None:
    """Undo `tidy`."""
    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)


def check_format(path: Path, stored: int, known: int) -> None:
    """Refuse a format that a newer program made.

    Raises:
        NewerFormat: it is newer than what is known here.
    """
    if stored > known:
        raise NewerFormat(
            f"{path} was made by a newer chatsvc (format {stored}; this one knows {known}): use that version"
        )
