import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatsvc.replication.configs import ConfigContent, Mode, encode_config
from chatsvc.replication.entries import NO_CHAIN, EntryKind, make_entry
from chatsvc.replication.envelopes import EpochStart
from chatsvc.replication.identity import Epoch, Member
from chatsvc.replication.log import Log, view_of

MEMBER = Member(b"a", "a", "a")


def epoch(counter: int) -> Epoch:
    return Epoch(counter, 0, b"a")


def log_of(counters: list[int], configs: tuple[int, ...] = ()) -> Log:
    """A log with entries of those epochs; CONFIGs at those indexes."""
    log = Log(view_of(()))
    for index, counter in enumerate(counters, 1):
        if index in configs:
            payload = encode_config(ConfigContent((b"a",), (MEMBER,), Mode.AVAILABLE, str(index)))
            log.make(epoch(counter), EntryKind.CONFIG, payload)
        else:
            log.make(epoch(counter), EntryKind.OP, b"%d" % index)
    return log


def test_a_log_read_back_from_its_entries_is_the_same() -> None:
    log = log_of([1, 1, 2, 2], configs=(1, 3))
    again = Log(view_of(log.tail))
    assert (again.last, again.last_chain) == (log.last, log.last_chain)
    assert (again.epochs, again.configs) == (log.epochs, log.configs)


def test_a_gap_and_an_older_epoch_are_refused() -> None:
    log = log_of([2, 2])
    with pytest.raises(AssertionError):
        log.append(make_entry(epoch(2), 4, EntryKind.OP, b"", log.last_chain))
    with pytest.raises(AssertionError):
        log.append(make_entry(epoch(1), 3, EntryKind.OP, b"", log.last_chain))


def test_truncation_forgets_configs_and_epochs_beyond_it() -> None:
    log = log_of([1, 1, 2, 2, 3], configs=(1, 4))
    chain = log.chain_hash_at(2)
    assert chain is not None
    log.truncate(2, chain)
    assert log.last == (epoch(1), 2)
    assert [config.index for config in log.configs] == [1]
    assert log.epochs == [EpochStart(epoch(1), 1)]
    log.make(epoch(4), EntryKind.OP, b"new")
    assert log.last == (epoch(4), 3)


def test_truncation_below_what_is_in_memory_keeps_the_rest_to_the_disk() -> None:
    log = log_of([1] * 10)
    chain = log.chain_hash_at(3)
    assert chain is not None
    log.trim(10, 2, 1 << 20)
    assert log.first_in_memory == 9
    log.truncate(3, chain)
    assert log.tail == []
    assert log.get(3) is None
    log.make(epoch(1), EntryKind.OP, b"again")
    assert log.get(4) is not None


def test_trim_keeps_what_may_still_be_needed() -> None:
    log = log_of([1] * 10)
    log.trim(4, 2, 1 << 20)
    assert log.first_in_memory == 5


def test_the_chain_begins_with_the_newest_config_known_committed() -> None:
    log = log_of([1] * 6, configs=(1, 3, 5))
    assert [config.index for config in log.chain(0)] == [1, 3, 5]
    assert [config.index for config in log.chain(4)] == [3, 5]
    assert [config.index for config in log.chain(6)] == [5]
    log.forget_configs_before(4)
    assert [config.index for config in log.chain(4)] == [3, 5]


def test_reading_stops_at_the_bounds_but_gives_at_least_one_entry() -> None:
    log = log_of([1] * 5)
    read = log.in_memory(2, 2, 1 << 20)
    assert read is not None
    assert [entry.index for entry in read] == [2, 3]
    one = log.in_memory(2, 9, 0)
    assert one is not None
    assert len(one) == 1
    assert log.in_memory(6, 9, 9) == ()


@given(st.lists(st.booleans(), max_size=12), st.lists(st.booleans(), max_size=12), st.integers(0, 12))
def test_the_match_point_is_the_common_prefix_of_two_logs(left: list[bool], right: list[bool], common: int) -> None:
    """Two logs that share a prefix and then go on in epochs of their own, each epoch with one writer."""
    prefix = [1] * common
    mine = log_of(prefix + grow(left, 2))
    other = log_of(prefix + grow(right, 3))
    assert mine.match_index(other.epochs, other.last_index) == common
    assert other.match_index(mine.epochs, mine.last_index) == common


def grow(steps: list[bool], first: int) -> list[int]:
    """Epoch counters first, first + 2, …: disjoint from those that begin one off."""
    counters, counter = [], first
    for step in steps:
        counter += 2 * step
        counters.append(counter)
    return counters


def test_a_shorter_log_of_the_same_epoch_matches_to_its_end() -> None:
    long, short = log_of([1, 1, 1, 1]), log_of([1, 1])
    assert long.match_index(short.epochs, short.last_index) == 2
    assert short.match_index(long.epochs, long.last_index) == 2


def test_an_empty_log_matches_nothing() -> None:
    log = Log(view_of(()))
    assert log.last_chain == NO_CHAIN
    assert log.match_index(log_of([1]).epochs, 1) == 0
