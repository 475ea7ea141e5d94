import struct

import pytest

from chatsvc.storage import NO_CHAIN, EntryKind, LogEntry, chain_hash, follows, intact
from chatsvc.storage.entries import pack, unpack

EPOCH = bytes(range(22))


def entry(payload: bytes = b"payload") -> LogEntry:
    return LogEntry.make(3, EPOCH, EntryKind.OP, payload, chain_hash(NO_CHAIN, 3, EPOCH, EntryKind.OP, payload))


@pytest.mark.parametrize("payload", [b"", b"x", bytes(100_000)], ids=["empty", "one byte", "large"])
def test_an_entry_survives_being_stored(payload: bytes) -> None:
    stored = unpack(3, pack(entry(payload)))
    assert stored == entry(payload)
    assert intact(stored)
    assert follows(stored, NO_CHAIN)
    assert isinstance(stored.kind, EntryKind)


def test_every_flipped_bit_of_a_stored_entry_is_noticed() -> None:
    stored = pack(entry())
    for bit in range(len(stored) * 8):
        flipped = bytearray(stored)
        flipped[bit // 8] ^= 1 << bit % 8
        try:
            read = unpack(3, bytes(flipped))
        except ValueError:
            continue
        assert not (intact(read) and follows(read, NO_CHAIN)), bit


def test_an_entry_in_another_place_is_noticed() -> None:
    moved = unpack(4, pack(entry()))
    assert not intact(moved)


def test_an_entry_after_another_one_is_noticed() -> None:
    assert not follows(entry(), b"another chain ha")


def test_a_stored_entry_that_is_cut_off_is_no_entry() -> None:
    with pytest.raises(struct.error):
        unpack(3, pack(entry())[:20])
