"""How a log entry is stored."""

from struct import Struct, error

from chatsvc.replication.entries import Entry, EntryKind
from chatsvc.replication.identity import Epoch

_HEADER = Struct(">IH16sB16sI")  # epoch (counter, lot, dir_id), kind, chain, crc


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
        raise ValueError("shorter than any entry") from None
    return Entry(Epoch(counter, lot, dir_id), log_index, EntryKind(kind), stored[_HEADER.size :], chain, crc)


_EPOCH = Struct(">IH16s")


def pack_epoch(epoch: Epoch) -> bytes:
    """An epoch as stored."""
    return _EPOCH.pack(*epoch)


def unpack_epoch(stored: bytes) -> Epoch:
    """The epoch that was stored."""
    return Epoch(*_EPOCH.unpack(stored))
