"""Everything that is on a server's disk. The only package with SQL and files.

A data directory (`DataDirectory`) holds

    lock            locked by the process that uses the directory; has its process id
    identity.json   who the directory is: format, dir_id
    log.db          the log and the hard state, the cluster id included (`LogStore`): the truth
    committed.json  how far log.db had come when last a CONFIG was committed; by it a replica recognises that log.db was
                    put back from an older copy, and then promises nothing and elects nobody
    state.db        the chat state in tables (`StateStore`), as it was after some entry of the log

What is in the log, and what a replica wants saved, are the replication core's own types: `LogStore.load` gives what a
replica starts from, `LogStore.carry_out` does what its saves ask for.

Order of durability
    1. An entry is acknowledged after `LogStore.carry_out` has returned: one transaction with one sync, whatever else
       it brings. Entries that are truncated are kept as orphans. `committed.json` is written after that, and so never
       says more than the log has.
    2. What was applied is written to the tables later, many entries in one transaction (a *flush*) that is not synced
       for itself. The tables are never ahead of the log. After a crash they are at some earlier flush, whole, and the
       entries after it are applied again.
    So an operation waits for one write to the end of one file, never for an index, and the two databases need no
    transaction in common. A directory whose tables are ahead of its log had its log rolled back, and is refused.

Threads
    One thread each for the writes of the log, for flushes and for reading pages (`StorageThread`); the log has one
    more of its own for checkpoints. The mappings that the chat state looks into live on the event loop. SQLite lets
    them all work at the same time: readers see the last commit and hold up nobody.
    Each call into SQLite gives up Python's lock and must win it back from a busy event loop, which takes up to 5 ms.
    So whatever happens often is one statement, or a few: an append, a flush, a page.

Errors
    `DiskFull` leaves everything as it was, and goes away. `StorageFailed` is for good: a store that has failed once
    raises it for ever, and the process must stop. `StorageDamaged` is the same, found in what was stored. Nothing is
    repaired or deleted because of it.

Modules: `directory`, `log`, `entries` (how they are packed), `wal` (damage that SQLite says nothing about), `state`,
`reads` (pages of the state), `mappings` (its larger parts, mostly on disk), `database` (connections and their errors),
`files`, `threads`, `errors`.
"""

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
