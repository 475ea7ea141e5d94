import msgspec
import pytest

from chatsvc.replication.entries import NO_CHAIN, Entry, EntryKind, follows, intact, make_entry
from chatsvc.replication.identity import Epoch

EPOCH = Epoch(7, 123, b"d" * 16)


def two_entries() -> tuple[Entry, Entry]:
    first = make_entry(EPOCH, 1, EntryKind.OP, b"one", NO_CHAIN)
    return first, make_entry(EPOCH, 2, EntryKind.OP, b"two", first.chain)


def test_an_entry_follows_its_predecessor_and_nothing_else() -> None:
    first, second = two_entries()
    assert follows(first, NO_CHAIN)
    assert follows(second, first.chain)
    assert not follows(second, NO_CHAIN)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"payload": b"twO"}, id="payload"),
        pytest.param({"index": 3}, id="index"),
        pytest.param({"epoch": Epoch(8, 123, b"d" * 16)}, id="epoch"),
        pytest.param({"kind": EntryKind.FEATURE}, id="kind"),
    ],
)
def test_a_changed_entry_is_noticed_by_chain_and_by_crc(change: dict[str, object]) -> None:
    first, second = two_entries()
    changed = msgspec.structs.replace(second, **change)
    assert not follows(changed, first.chain)
    assert not intact(changed)
    assert intact(second)


def test_equal_payloads_at_different_places_have_different_chains() -> None:
    first = make_entry(EPOCH, 1, EntryKind.OP, b"same", NO_CHAIN)
    second = make_entry(EPOCH, 2, EntryKind.OP, b"same", first.chain)
    assert first.chain != second.chain
