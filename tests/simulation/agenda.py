"""Simulated time: what will happen, in order.

Time jumps from one planned act to the next; nothing costs anything while it waits. All times are integers
of microseconds since the start of the run, so that a run repeats exactly on every machine.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any

MS = 1_000
SECOND = 1_000_000


class Agenda:
    """A heap of acts; acts planned for the same time happen in the order in which they were planned."""

    __slots__ = ("_heap", "_planned", "now")

    def __init__(self) -> None:
        self.now = 0
        self._planned = 0
        self._heap: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []

    def at(self, when: int, act: Callable[..., None], *args: Any) -> None:
        """Plan `act(*args)` for the time `when`, or for now if that is past."""
        self._planned += 1
        heappush(self._heap, (when if when > self.now else self.now, self._planned, act, args))

    def after(self, delay: int, act: Callable[..., None], *args: Any) -> None:
        self._planned += 1
        heappush(self._heap, (self.now + delay, self._planned, act, args))

    def run(self, until: int, enough: Callable[[], bool] | None = None) -> bool:
        """Let everything happen that is planned up to and including `until`.

        Returns True as soon as `enough` holds (it is asked after every act), else False when `until` is
        reached; the clock stands at `until` then.
        """
        heap = self._heap
        while heap and heap[0][0] <= until:
            when, _, act, args = heappop(heap)
            self.now = when
            act(*args)
            if enough is not None and enough():
                return True
        self.now = max(self.now, until)
        return False
