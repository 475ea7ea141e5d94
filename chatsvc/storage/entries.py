"""How log entries and epochs are stored."""

from struct import Struct, error

from chatsvc.replication.entries import Entry, EntryKind
from chatsvc.replication.identity import Epoch

_EPOCH = Struct(">QH16s")  # counter, lot, dir_id: ordered as epochs are
_HEADER = Struct(">QH16sB16sI")  # epoch, kind, chain, crc

EPOCH_BYTES = _EPOCH.size
"""An epoch as stored has so many; a stored entry begins with its epoch."""


def pack(entry: Entry) -> bytes:
    """The entry as stored under its log index."""
    counter, lot, dir_id = entry.epoch
    return _HEADER.pack(counter, lot, dir_id, entry.kind, entry.chain, entry.crc) + entry.payload


def unpack(log_index: int, stored: bytes) -> Entry:
    """The entry that was stored; not verified.

    Raises:
        ValueError: these bytes are no entry.
    """
    try:
        counter, lot, dir_id, kind, chain, crc = _HEADER.unpack_from(stored)
    except (error, TypeError):
        raise ValueError("no header of an entry") from None
    return Entry(Epoch(counter, lot, dir_id), log_index, EntryKind(kind), stored[_HEADER.size :], chain, crc)


def pack_epoch(epoch: Epoch) -> bytes:
    """An epoch as stored; not `NO_EPOCH`."""
    return _EPOCH.pack(*epoch)


def unpack_epoch(stored: bytes) -> Epoch:
    """The epoch that was stored.

    Raises:
        ValueError: these bytes are no epoch.
    """
    try:
        return Epoch(*_EPOCH.unpack(stored))
    except error:
        raise ValueError("no epoch") from None
