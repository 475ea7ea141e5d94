import pytest

from chatsvc.replication.configs import ConfigContent, Mode, decode_config, encode_config
from chatsvc.replication.entries import NO_CHAIN, EntryKind, make_entry
from chatsvc.replication.identity import Epoch, Member

A, B = Member(b"a", "a:1", "ann"), Member(b"b", "b:1", "bob")
EPOCH = Epoch(1, 2, b"a")


def test_a_config_comes_back_from_its_entry_as_it_was() -> None:
    content = ConfigContent((b"a",), (A, B), Mode.AVAILABLE, "drop", (b"b",), (b"x",))
    config = decode_config(make_entry(EPOCH, 5, EntryKind.CONFIG, encode_config(content), NO_CHAIN))
    assert config.position == (EPOCH, 5)
    assert (config.in_sync, config.members, config.mode) == ((b"a",), (A, B), Mode.AVAILABLE)
    assert (config.reason, config.bypassed, config.removed) == ("drop", (b"b",), (b"x",))
    assert config.degraded
    assert config.address_of(b"b") == "b:1"
    assert config.address_of(b"c") is None
    assert config.member(b"a") == A


@pytest.mark.parametrize(
    "in_sync", [pytest.param((), id="nobody"), pytest.param((b"c",), id="somebody who is no member")]
)
def test_a_config_without_a_member_in_sync_cannot_be_written(in_sync: tuple[bytes, ...]) -> None:
    with pytest.raises(AssertionError):
        encode_config(ConfigContent(in_sync, (A, B), Mode.AVAILABLE, ""))
