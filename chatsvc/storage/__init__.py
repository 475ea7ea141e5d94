"""Everything that is on a server's disk. The only package with SQL and files."""

from chatsvc.storage.directory import DataDirectory
from chatsvc.storage.errors import (
    DirectoryLocked,
    DirectoryUnusable,
    DiskFull,
    NewerFormat,
    StorageDamaged,
    StorageError,
    StorageFailed,
)
from chatsvc.storage.log import LogStore, StoredLog
from chatsvc.storage.reads import FoundAccount, ListedAccount
from chatsvc.storage.state import LoadedState, StateSnapshot, StateStore
from chatsvc.storage.threads import StorageThread

__all__ = [
    "DataDirectory",
    "DirectoryLocked",
    "DirectoryUnusable",
    "DiskFull",
    "FoundAccount",
    "ListedAccount",
    "LoadedState",
    "LogStore",
    "NewerFormat",
    "StateSnapshot",
    "StateStore",
    "StorageDamaged",
    "StorageError",
    "StorageFailed",
    "StorageThread",
    "StoredLog",
]
