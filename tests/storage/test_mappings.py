from collections.abc import Iterator

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from chatsvc.storage.mappings import StoredMapping

KEYS = st.integers(0, 15)


class StoredMappingBesideADict(RuleBasedStateMachine):
    """A mapping of mutable values behaves as a dict, whenever it is flushed and however little it keeps."""

    def __init__(self) -> None:
        super().__init__()
        self.database: dict[int, list[int]] = {}
        self.model: dict[int, list[int]] = {}
        self.changed: set[int] = set()
        self.flushing: dict[int, list[int] | None] | None = None
        self.mapping = StoredMapping[int, list[int]](self.lookup, lambda: iter(list(self.database)), capacity=2)

    def lookup(self, key: int) -> list[int] | None:
        value = self.database.get(key)
        return None if value is None else list(value)

    @rule(key=KEYS, value=st.integers())
    def set(self, key: int, value: int) -> None:
        self.mapping[key] = [value]
        self.model[key] = [value]
        self.changed.add(key)

    @rule(key=KEYS, value=st.integers())
    def change_in_place(self, key: int, value: int) -> None:
        found = self.mapping.get(key)
        if found is not None:
            found.append(value)
            self.model[key].append(value)
            self.changed.add(key)

    @rule(key=KEYS)
    def pop(self, key: int) -> None:
        assert self.mapping.pop(key, None) == self.model.pop(key, None)
        self.changed.add(key)

    @rule(key=KEYS)
    def get(self, key: int) -> None:
        assert self.mapping.get(key) == self.model.get(key)
        assert self.mapping.get(key, "nothing") == self.model.get(key, "nothing")
        assert (key in self.mapping) == (key in self.model)

    @precondition(lambda self: self.flushing is None)
    @rule()
    def begin_flush(self) -> None:
        self.mapping.begin_flush()
        self.flushing = {key: list(self.model[key]) if key in self.model else None for key in self.changed}
        self.changed = set()

    @precondition(lambda self: self.flushing is not None)
    @rule()
    def finish_flush(self) -> None:
        assert self.flushing is not None
        for key, value in self.flushing.items():
            if value is None:
                self.database.pop(key, None)
            else:
                self.database[key] = value
        self.mapping.finish_flush()
        self.flushing = None

    @rule()
    def look_at_everything(self) -> None:
        assert dict(self.mapping) == self.model
        assert len(self.mapping) == len(self.model)

    @invariant()
    def keeps_little_of_what_is_not_in_use(self) -> None:
        assert len(self.mapping._old) <= 2 or self.flushing is not None


StoredMappingBesideADict.TestCase.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
TestStoredMapping = StoredMappingBesideADict.TestCase


def nothing() -> Iterator[int]:
    return iter(())


def test_what_was_used_lately_is_not_looked_up() -> None:
    looked_up: list[int] = []
    mapping = StoredMapping[int, int](lambda key: looked_up.append(key) or key * 10, nothing, capacity=2)
    for key in (1, 2, 3, 4):
        assert mapping.get(key) == key * 10
    mapping.begin_flush()
    assert mapping.get(1) == 10
    mapping.finish_flush()
    for key in (3, 4, 1):
        assert mapping.get(key) == key * 10
    assert looked_up == [1, 2, 3, 4]
    assert mapping.get(2) == 20, "the least recently used one was dropped"
    assert looked_up == [1, 2, 3, 4, 2]


def test_memory_is_bounded_by_the_capacity_and_what_is_used_between_two_flushes() -> None:
    mapping = StoredMapping[int, int](lambda _: None, nothing, capacity=100)
    for round_number in range(50):
        for key in range(200):
            mapping[round_number * 200 + key] = key + 1
        mapping.begin_flush()
        mapping.finish_flush()
    assert mapping.in_memory == 100


def test_a_missing_key_raises() -> None:
    mapping = StoredMapping[int, int](lambda _: None, nothing, capacity=1)
    with pytest.raises(KeyError):
        mapping[1]
    with pytest.raises(KeyError):
        del mapping[1]
