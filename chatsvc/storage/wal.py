"""What can be told from a WAL file before SQLite opens it.

SQLite takes the WAL up to the first frame that fails its checksum and forgets the rest without a word. After a power
failure that is right for the last transaction, which may be half written. But if one that had been synced is damaged,
acknowledged entries would vanish. A transaction was synced if another one was begun after it, for that is the order
of work with synchronous=FULL; so what SQLite must find can be counted from the frame headers alone.

Format: https://sqlite.org/fileformat2.html#walformat
"""

import os
from pathlib import Path
from struct import Struct

_HEADER = Struct(">8I")  # magic, version, page size, checkpoint number, salt (2), checksum (2)
_FRAME_HEADER = Struct(">II8s")  # page number, database size in pages if the frame ends a transaction, salt
_FRAME_HEADER_BYTES = 24
_MAGIC = 0x377F0682  # with the lowest bit set: checksums are of big-endian words


class WalDamaged(Exception):
    """The header of the WAL is damaged, so that all of the WAL would be ignored."""


def wal_path(database: Path) -> Path:
    """The WAL of a database."""
    return database.with_name(database.name + "-wal")


def synced_frames(database: Path) -> int:
    """How many frames the WAL of a database must have that nobody has open.

    Raises:
        WalDamaged: its header is damaged.
        OSError: it can't be read.
    """
    try:
        descriptor = os.open(wal_path(database), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return 0
    try:
        return _synced_frames(descriptor)
    finally:
        os.close(descriptor)


def _synced_frames(descriptor: int) -> int:
    size = os.fstat(descriptor).st_size
    header = os.pread(descriptor, _HEADER.size, 0)
    if size <= _HEADER.size or header == bytes(_HEADER.size):
        return 0  # no transaction was begun, for the header is synced before the first
    magic, _, page_bytes, _, _, _, *checksum = _HEADER.unpack(header)
    if magic & ~1 != _MAGIC or _checksum(header[:24], "big" if magic & 1 else "little") != tuple(checksum):
        raise WalDamaged
    salt = header[16:24]
    synced = ended = 0
    frame_bytes = _FRAME_HEADER_BYTES + page_bytes
    for frame in range(1, (size - _HEADER.size) // frame_bytes + 1):
        start = os.pread(descriptor, _FRAME_HEADER.size, _HEADER.size + (frame - 1) * frame_bytes)
        _, database_pages, frame_salt = _FRAME_HEADER.unpack(start)
        if frame_salt == salt:  # else it is left from before the WAL last started over
            synced = ended
            if database_pages:
                ended = frame
    return synced


def _checksum(words: bytes, byteorder: str) -> tuple[int, int]:
    first = second = 0
    for low, high in Struct((">" if byteorder == "big" else "<") + "II").iter_unpack(words):
        first = (first + low + second) & 0xFFFF_FFFF
        second = (second + high + first) & 0xFFFF_FFFF
    return first, second
