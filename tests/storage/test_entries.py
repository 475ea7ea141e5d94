import pytest

from chatsvc.replication.entries import NO_CHAIN, Entry, EntryKind, follows, intact, make_entry
from chatsvc.replication.identity import Epoch
from chatsvc.storage.entries import EPOCH_BYTES, pack, pack_epoch, unpack, unpack_epoch

EPOCH = Epoch(1 << 40, 0xFFFE, bytes(range(16)))


def entry(payload: bytes = b"payload") -> Entry:
    return make_entry(EPOCH, 3, EntryKind.OP, payload, NO_CHAIN)


@pytest.mark.parametrize("payload", [b"", b"x", bytes(100_000)], ids=["empty", "one byte", "large"])
def test_an_entry_survives_being_stored(payload: bytes) -> None:
    stored = unpack(3, pack(entry(payload)))
    assert stored == entry(payload)
    assert intact(stored)
    assert follows(stored, NO_CHAIN)
    assert isinstance(stored.kind, EntryKind)
    assert isinstance(stored.epoch, Epoch)


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


@pytest.mark.parametrize("stored", [b"", pack(entry())[:20], "text", 7], ids=["empty", "cut off", "text", "number"])
def test_what_has_no_header_is_no_entry(stored: bytes) -> None:
    with pytest.raises(ValueError, match="no header of an entry"):
        unpack(3, stored)


def test_a_stored_entry_begins_with_its_epoch() -> None:
    assert pack(entry())[:EPOCH_BYTES] == pack_epoch(EPOCH)
    assert unpack_epoch(pack_epoch(EPOCH)) == EPOCH
    with pytest.raises(ValueError, match="no epoch"):
        unpack_epoch(pack_epoch(EPOCH)[:-1])


def test_stored_epochs_are_ordered_as_epochs_are() -> None:
    epochs = [Epoch(counter, lot, bytes([who]) * 16) for counter in (1, 255, 256) for lot in (0, 256) for who in (1, 2)]
    assert sorted(map(pack_epoch, epochs)) == [pack_epoch(epoch) for epoch in epochs]
