"""Everything that is on a server's disk. The only package with SQL and files."""

from chatsvc.storage.directory import DataDirectory
from chatsvc.storage.entries import (
    EPOCH_BYTES,
    NO_CHAIN,
    NO_EPOCH,
    EntryKind,
    LogEntry,
    chain_hash,
    entry_crc,
    follows,
    intact,
)
from chatsvc.storage.errors import (
    DirectoryLocked,
    DirectoryUnusable,
    DiskFull,
    NewerFormat,
    StorageDamaged,
    StorageError,
    StorageFailed,
    WrongCluster,
)
from chatsvc.storage.log import LogStore, LogSummary
from chatsvc.storage.reads import FoundAccount, ListedAccount
from chatsvc.storage.state import LoadedState, StateSnapshot, StateStore
from chatsvc.storage.threads import StorageThread

__all__ = [
    "EPOCH_BYTES",
    "NO_CHAIN",
    "NO_EPOCH",
    "DataDirectory",
    "DirectoryLocked",
    "DirectoryUnusable",
    "DiskFull",
    "EntryKind",
    "FoundAccount",
    "ListedAccount",
    "LoadedState",
    "LogEntry",
    "LogStore",
    "LogSummary",
    "NewerFormat",
    "StateSnapshot",
    "StateStore",
    "StorageDamaged",
    "StorageError",
    "StorageFailed",
    "StorageThread",
    "WrongCluster",
    "chain_hash",
    "entry_crc",
    "follows",
    "intact",
]
