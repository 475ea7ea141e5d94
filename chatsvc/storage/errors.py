"""What can go wrong with a data directory. Every message is one line that says what to do."""


class StorageError(Exception):
    """The data directory can't be used, or not any more."""


class DirectoryLocked(StorageError):
    """Another process uses the directory."""


class DirectoryUnusable(StorageError):
    """The path is no directory that can be read and written, or it holds something else."""


class NewerFormat(StorageError):
    """A newer program has made or upgraded the directory."""


class DiskFull(StorageError):
    """There is no room. What was asked for was not done, not even in part; it may be asked for again."""


class StorageFailed(StorageError):
    """The disk or its file system has failed, so what is stored is unknown: the process must stop.

    After a failed sync the kernel may call data clean that never reached the disk, and a later sync would succeed
    without it. So there is no second try: a store that has failed once fails always.
    """


class StorageDamaged(StorageFailed):
    """Something that was written is missing or altered. Nothing was changed or deleted because of it.

    Attributes:
        log_index: of the entry that is damaged, where it is one; else None.
    """

    def __init__(self, message: str, log_index: int | None = None) -> None:
        super().__init__(message)
        self.log_index = log_index
