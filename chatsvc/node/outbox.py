"""What waits to be written on one stream.

One writer takes all that waits each time it writes: a quiet stream keeps its latency, a busy one grows its frames by
itself, and no two writes are ever under way at once.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

FRAME_BYTES = 1 << 20
"""A frame that has so much takes nothing more."""


class Outbox:
    """Bounded queue of encoded envelopes, in order.

    Args:
        bytes_max: most bytes that may wait.
        envelopes_max: most envelopes that may wait.
    """

    def __init__(self, bytes_max: int, envelopes_max: int) -> None:
        self._bytes_max, self._envelopes_max = bytes_max, envelopes_max
        self._waiting: deque[tuple[list[bytes], int]] = deque()
        self._bytes = 0
        self._finished = False
        self._wake, self._idle = asyncio.Event(), asyncio.Event()
        self._idle.set()

    def put(self, parts: list[bytes]) -> bool:
        """Have an envelope written; False: there is no room, and the stream is of no use any more."""
        size = sum(map(len, parts))
        if self._bytes + size > self._bytes_max or len(self._waiting) >= self._envelopes_max:
            return False
        self._waiting.append((parts, size))
        self._bytes += size
        self._idle.clear()
        self._wake.set()
        return True

    def finish(self) -> None:
        """Have the writer end when all that waits is written."""
        self._finished = True
        self._wake.set()

    async def idle(self) -> None:
        """Wait until nothing waits and nothing is being written. Cancelling is safe."""
        await self._idle.wait()

    async def write_all(self, write: Callable[[bytes], Awaitable[None]]) -> None:
        """Write what comes, until `finish`. Cancelling it loses what is being written; raises what `write` raises."""
        while True:
            if self._waiting:
                await write(self._take())
            elif self._finished:
                self._idle.set()
                return
            else:
                self._idle.set()
                self._wake.clear()
                await self._wake.wait()

    def _take(self) -> bytes:
        frame: list[bytes] = []
        frame_size = 0
        while self._waiting and (not frame or frame_size + self._waiting[0][1] <= FRAME_BYTES):
            parts, size = self._waiting.popleft()
            frame += parts
            frame_size += size
        self._bytes -= frame_size
        return b"".join(frame)
