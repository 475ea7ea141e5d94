"""Wakes those who wait for something, in portions."""

import asyncio
from collections import deque

WAKES_MAX = 64
"""Most who are woken in one iteration of the loop. Thousands at once would hold up everything else on it."""


class Bell:
    """Many may wait for it to ring, and do not hold up the loop when it does.

    Args:
        waiting_max: beyond so many nobody waits.
    """

    def __init__(self, waiting_max: int) -> None:
        self._waiting_max = waiting_max
        self._waiting: dict[asyncio.Future[None], None] = {}
        self._to_wake: deque[asyncio.Future[None]] = deque()

    def __bool__(self) -> bool:
        """Whether somebody waits for the next ring."""
        return bool(self._waiting)

    async def wait(self) -> bool:
        """Wait for the next ring. Cancelling is safe.

        Returns:
            Whether it rang; False: too many wait already.
        """
        if len(self._waiting) + len(self._to_wake) >= self._waiting_max:
            return False
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[future] = None
        try:
            await future
        finally:
            self._waiting.pop(future, None)
        return True

    def ring(self) -> None:
        """Wake all who wait now, soon."""
        waiting, self._waiting = self._waiting, {}
        is_waking = bool(self._to_wake)
        self._to_wake.extend(waiting)
        if self._to_wake and not is_waking:
            self._wake()

    def _wake(self) -> None:
        for _ in range(min(WAKES_MAX, len(self._to_wake))):
            future = self._to_wake.popleft()
            if not future.done():
                future.set_result(None)
        if self._to_wake:
            asyncio.get_running_loop().call_soon(self._wake)
