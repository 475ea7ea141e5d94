"""Mappings for the chat state that keep in memory only what was used lately, and the rest in the database.

They work in generations. What is read or written goes into the *young* one, which is a plain dict. When a flush begins
(`begin_flush`) it becomes the *flushing* one, and when the flush is in the database (`finish_flush`) it joins the
*old* one, which alone is bounded: its least recently used entries are dropped. So whatever may have changed since the
last flush is in memory, even if it was changed in place by somebody who had got it before, and what is dropped is what
the database has.

They live on the event loop, and look into the database there: one lookup by primary key, tens of microseconds, and
only for what was not used lately.
"""

from collections.abc import Callable, Iterator, MutableMapping
from typing import Generic, TypeVar, cast, overload

Key = TypeVar("Key")
Value = TypeVar("Value")
Default = TypeVar("Default")

_GONE = object()


class StoredMapping(MutableMapping[Key, Value], Generic[Key, Value]):
    """A mapping of which most may be in the database only.

    Iteration and `len` read all of the database; they are for tests. `None` is no value.

    Args:
        lookup: the value in the database; None if there is none.
        keys: all keys in the database.
        capacity: how many entries are kept beyond those used since the last flush.
    """

    __slots__ = ("_capacity", "_flushing", "_keys", "_lookup", "_old", "_young")

    def __init__(self, lookup: Callable[[Key], Value | None], keys: Callable[[], Iterator[Key]], capacity: int) -> None:
        self._lookup = lookup
        self._keys = keys
        self._capacity = capacity
        self._young: dict[Key, Value] = {}  # the value may be _GONE
        self._flushing: dict[Key, Value] = {}
        self._old: dict[Key, Value] = {}  # least recently used first

    @overload
    def get(self, key: Key, /) -> Value | None: ...
    @overload
    def get(self, key: Key, /, default: Value) -> Value: ...
    @overload
    def get(self, key: Key, /, default: Default) -> Value | Default: ...
    def get(self, key: Key, /, default: Value | Default | None = None) -> Value | Default | None:
        """The value, or `default` if there is none."""
        value = self._young.get(key)
        if value is None:
            value = self._fetch(key)
            if value is None:
                return default
        return default if value is _GONE else value

    def __getitem__(self, key: Key) -> Value:
        value = self.get(key)
        if value is None:
            raise KeyError(key)
        return value

    def __contains__(self, key: object) -> bool:
        return self.get(cast(Key, key)) is not None

    def __setitem__(self, key: Key, value: Value) -> None:
        self._young[key] = value

    def __delitem__(self, key: Key) -> None:
        if self.get(key) is None:
            raise KeyError(key)
        self._young[key] = cast(Value, _GONE)

    def __iter__(self) -> Iterator[Key]:
        known = {**self._old, **self._flushing, **self._young}
        yield from (key for key, value in known.items() if value is not _GONE)
        yield from (key for key in self._keys() if key not in known)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _fetch(self, key: Key) -> Value | None:
        """Bring an entry that is not in the young generation there; None if there is none."""
        value = self._flushing.get(key)
        if value is None:
            value = self._old.pop(key, None)
            if value is None:
                value = self._lookup(key)
                if value is None:
                    return None
        self._young[key] = value
        return value

    @property
    def in_memory(self) -> int:
        """How many entries are in memory."""
        return len(self._young) + len(self._flushing) + len(self._old)

    def begin_flush(self) -> None:
        """What was used until now is being written to the database."""
        assert not self._flushing, "one flush at a time"
        self._flushing, self._young = self._young, {}

    def finish_flush(self) -> None:
        """What was being written is in the database."""
        old = self._old
        young = self._young
        for key, value in self._flushing.items():
            old.pop(key, None)
            if value is not _GONE and key not in young:
                old[key] = value
        self._flushing = {}
        surplus = len(old) - self._capacity
        if surplus > 0:
            for key in [key for key, _ in zip(old, range(surplus), strict=False)]:
                del old[key]
