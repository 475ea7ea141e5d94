"""Small files that are there whole or not at all."""

import os
from contextlib import suppress
from pathlib import Path

from chatsvc import failpoints


def write_durably(path: Path, content: bytes) -> None:
    """Put a file in the place of the one that has this name, or of none. On the disk when this returns.

    Raises:
        OSError: this one or the old one is there, whole.
    """
    new = path.with_name(path.name + ".new")
    try:
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            while content:
                content = content[os.write(descriptor, content) :]
            if failpoints.ON:
                failpoints.reach("file_before_sync")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if failpoints.ON:
            failpoints.reach("file_before_rename")
        os.replace(new, path)
    except OSError:
        with suppress(OSError):
            new.unlink(missing_ok=True)  # a full disk needs its room
        raise
    if failpoints.ON:
        failpoints.reach("file_before_directory_sync")
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Bring the names in a directory to the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
