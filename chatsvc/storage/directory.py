"""A data directory: who it is, that nobody else uses it, and what is in it."""

import errno
import fcntl
import os
import secrets
from pathlib import Path
from time import time_ns

import msgspec

from chatsvc import failpoints
from chatsvc.storage.database import HOW_TO_REPAIR, check_format, check_sqlite_version, full
from chatsvc.storage.errors import (
    DirectoryLocked,
    DirectoryUnusable,
    StorageDamaged,
    StorageError,
    StorageFailed,
)
from chatsvc.storage.files import sync_directory, write_durably
from chatsvc.storage.log import LogStore
from chatsvc.storage.state import StateStore

DIRECTORY_FORMAT = 1

_LOCK = "lock"
_IDENTITY = "identity.json"
_IDENTITY_NEW = "identity.json.new"
_LOG = "log.db"
_STATE = "state.db"


class _Identity(msgspec.Struct, frozen=True):
    format: int
    dir_id: str
    created_us: int
    complete: bool  # whether the databases were made; until then there is nothing to lose


class _Format(msgspec.Struct, frozen=True):
    format: int


class DataDirectory:
    """An open data directory. No other process has it open.

    Attributes:
        path: of the directory.
        dir_id: 16 random bytes, its identity.
        log: the log and hard state; not loaded yet.
        state: the chat state.
    """

    path: Path
    dir_id: bytes
    log: LogStore
    state: StateStore

    def __init__(self, path: Path, lock: int, identity: _Identity, log: LogStore, state: StateStore) -> None:
        self.path = path
        self.dir_id = bytes.fromhex(identity.dir_id)
        self.log = log
        self.state = state
        self._lock: int | None = lock

    @classmethod
    def open(cls, path: Path, *, make: bool = True, new_dir_id: bytes | None = None) -> "DataDirectory":
        """Open a directory, or make a new one.

        Args:
            path: of the directory.
            make: whether a missing or empty directory becomes a data directory.
            new_dir_id: identity for a new one, 16 bytes; random if not given.

        Raises:
            DirectoryLocked: another process uses it.
            DirectoryUnusable: it can't be read and written, has other files, or is missing and not to be made.
            NewerFormat: a newer program has made it.
            StorageDamaged: something is missing in it.
            DiskFull: there is no room.
            StorageFailed: the disk failed.
        """
        check_sqlite_version()
        try:
            if make:
                path.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = _lock(path)
        except OSError as error:
            raise _meaning(error, path) from error
        try:
            identity = _read_identity(path)
            if identity is None or not identity.complete:
                identity = _initialise(path, identity, make, new_dir_id)
            return cls(path, lock, identity, *_open_databases(path, bytes.fromhex(identity.dir_id)))
        except OSError as error:
            os.close(lock)
            raise _meaning(error, path) from error
        except BaseException:
            os.close(lock)
            raise

    def close(self) -> None:
        """Close the files and let others use the directory. Nothing may be in work. May be called twice."""
        if self._lock is None:
            return
        self.log.close()
        self.state.close()
        os.close(self._lock)
        self._lock = None


def _lock(path: Path) -> int:
    """Descriptor of the locked lock file; the lock ends with it or with the process. Children don't inherit it."""
    descriptor = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.read(descriptor, 32).decode(errors="replace").strip()
            raise DirectoryLocked(
                f"{path} is in use by process {owner or '(starting)'}: stop that process, or use another directory"
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _read_identity(path: Path) -> _Identity | None:
    file = path / _IDENTITY
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        return None
    try:
        check_format(path, msgspec.json.decode(content, type=_Format).format, DIRECTORY_FORMAT)
        return msgspec.json.decode(content, type=_Identity)
    except msgspec.MsgspecError as error:
        raise StorageDamaged(f"{file} is damaged ({error}): restore the directory from a copy") from error


def _write_identity(path: Path, identity: _Identity) -> None:
    write_durably(path / _IDENTITY, msgspec.json.encode(identity) + b"\n")


def _initialise(path: Path, begun: _Identity | None, make: bool, new_dir_id: bytes | None) -> _Identity:
    """Make the content of a new directory, or begin again where a crash interrupted that."""
    databases = {name + suffix for name in (_LOG, _STATE) for suffix in ("", "-wal", "-shm", "-journal")}
    if begun is None:
        foreign = sorted(set(os.listdir(path)) - {_LOCK, _IDENTITY_NEW})
        if foreign:
            raise DirectoryUnusable(
                f"{path} has other files in it ({foreign[0]!a}) and no {_IDENTITY}: use an empty or a new directory"
            )
        if not make:
            raise DirectoryUnusable(f"{path} is no data directory: use the right one")
        dir_id = new_dir_id or secrets.token_bytes(16)
        begun = _Identity(DIRECTORY_FORMAT, dir_id.hex(), time_ns() // 1_000, complete=False)
        _write_identity(path, begun)
    if failpoints.ON:
        failpoints.reach("directory_before_databases")
    for name in databases:
        (path / name).unlink(missing_ok=True)
    dir_id = bytes.fromhex(begun.dir_id)
    LogStore.create(path / _LOG, dir_id)
    StateStore.create(path / _STATE, dir_id)
    sync_directory(path)
    if failpoints.ON:
        failpoints.reach("directory_before_complete")
    complete = msgspec.structs.replace(begun, complete=True)
    _write_identity(path, complete)
    return complete


def _open_databases(path: Path, dir_id: bytes) -> tuple[LogStore, StateStore]:
    for name in (_LOG, _STATE):
        file = path / name
        if not file.exists():
            raise StorageDamaged(f"{file} is missing: {HOW_TO_REPAIR}")
        if file.stat().st_size == 0:  # SQLite would take it for a new database, and delete the WAL
            raise StorageDamaged(f"{file} was emptied: {HOW_TO_REPAIR}")
    log = LogStore(path / _LOG, dir_id)
    try:
        state = StateStore(path / _STATE, dir_id)
        try:
            _check_together(path, log, state)
        except BaseException:
            state.close()
            raise
        return log, state
    except BaseException:
        log.close()
        raise


def _check_together(path: Path, log: LogStore, state: StateStore) -> None:
    """What is in the state was in the log before, on the disk."""
    applied_index, last_index = state.applied_index(), log.stored_last_index()
    if applied_index > last_index:
        raise StorageDamaged(
            f"{path / _LOG} ends at entry {last_index}, but {_STATE} was made from {applied_index} entries, "
            f"so the log was rolled back: {HOW_TO_REPAIR}"
        )


def _meaning(error: OSError, path: Path) -> StorageError:
    reason = os.strerror(error.errno) if error.errno else str(error)
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return full(path / _LOCK)
        case errno.EIO:
            return StorageFailed(f"{path} failed ({reason}): check the disk, then start again")
        case _:
            return DirectoryUnusable(
                f"{path} can't be used as a data directory ({reason}): give one that can be read and written"
            )
