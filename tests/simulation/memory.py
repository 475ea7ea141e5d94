"""How much a replica keeps in memory: every collection that can be reached from it, and its bound (I16)."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator
from typing import Any

import msgspec

from chatsvc.replication.entries import Entry
from chatsvc.replication.replica import Replica

SMALL = 256
"""Bound of whatever has none of its own below: it grows with members and strangers, never with traffic."""

LOOKED_INTO = 16  # of the items of one collection


def collections_of(replica: Replica) -> Iterator[tuple[str, Collection[Any]]]:
    """Shortest path and collection, each once."""
    seen = {id(replica.rules), id(replica.settings), id(replica.timers)}
    waiting: deque[tuple[str, Any]] = deque([("replica", replica)])
    while waiting:
        path, thing = waiting.popleft()
        if id(thing) in seen or isinstance(thing, (str, bytes, int, Entry)):
            continue
        seen.add(id(thing))
        if isinstance(thing, (dict, list, set, frozenset, tuple, deque)):
            yield path, thing
            items = thing.values() if isinstance(thing, dict) else thing
            waiting.extend((f"{path}[]", item) for _, item in zip(range(LOOKED_INTO), items, strict=False))
        elif type(thing).__module__.startswith("chatsvc.replication"):
            waiting.extend((f"{path}.{name}", value) for name, value in _attributes(thing))


def _attributes(thing: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(thing, msgspec.Struct):
        names = [*thing.__struct_fields__]
    else:
        names = [*getattr(thing, "__dict__", ())]
        names += [name for each in type(thing).__mro__ for name in getattr(each, "__slots__", ())]
    for name in names:
        yield name, getattr(thing, name, None)


def bound(replica: Replica, path: str) -> int:
    """Most items that the collection at that path may have now."""
    settings, log = replica.settings, replica.log
    end = path.rsplit(".", 1)[-1]
    if path == "replica.log.tail":
        needed = log.last_index - min(replica.releasing.index, replica.saving.durable_index)
        # Entries that were not on disk when something was last released leave with the next release.
        return settings.tail_entries_max * 5 // 4 + settings.window_entries + needed
    if end == "in_flight":
        return settings.window_entries + 1  # an entry may follow while the window is not full
    if end in ("_acks", "_barriers", "outstanding"):
        return 4_096
    if end in ("epochs", "configs"):  # one a reign; as long as the log
        return log.last_index - log.start_index
    return SMALL


def too_large(replica: Replica) -> tuple[str, int] | None:
    """A collection beyond its bound, and its size; None if there is none."""
    for path, collection in collections_of(replica):
        if len(collection) > bound(replica, path):
            return path, len(collection)
    if replica.log.tail_bytes != sum(len(entry.payload) for entry in replica.log.tail):
        return "replica.log.tail_bytes", replica.log.tail_bytes
    return None
