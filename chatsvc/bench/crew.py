"""The processes of the generator, seen from the one that measures."""

import asyncio
import sys
from collections.abc import Sequence
from types import TracebackType
from typing import Self, TypeVar

import msgspec

from chatsvc.bench import orders
from chatsvc.bench.orders import Answer, Connect, Counts, Failed, Order, Served, Start, Taken, framed

END_S = 5.0
"""How long a process may take to end by itself."""

T = TypeVar("T")

_decode = msgspec.msgpack.Decoder(Answer).decode


class BenchError(Exception):
    """The measurement could not be done; the text says why in a line."""


class Crew:
    """A number of processes, each new and not a copy of this one; as an async context manager it ends them.

    Args:
        size: how many.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._processes: list[asyncio.subprocess.Process] = []

    async def __aenter__(self) -> Self:
        try:
            for _ in range(self.size):
                process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-m", "chatsvc.bench.worker"),
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    start_new_session=True,  # Ctrl-C is for the process that measures
                )
                self._processes.append(process)
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._end()

    async def _end(self) -> None:
        async def one(process: asyncio.subprocess.Process) -> None:
            assert process.stdin is not None
            process.stdin.close()
            try:
                async with asyncio.timeout(END_S):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()

        await asyncio.gather(*map(one, self._processes))

    # ---- orders

    async def connect(self, order: Connect) -> list[orders.Connected]:
        """Have everybody logged in; pairs and idle people are spread over the processes."""
        pairs, idle = spread(order.pairs, self.size), spread(order.idle, self.size)
        parts = [
            msgspec.structs.replace(
                order,
                first_pair=order.first_pair + sum(pairs[:place]),
                pairs=pairs[place],
                first_idle=order.first_idle + sum(idle[:place]),
                idle=idle[place],
            )
            for place in range(self.size)
        ]
        return await self._each(parts, orders.Connected)

    async def start(self, order: Start) -> None:
        """Have messages sent; rate and number of messages are spread over the processes."""
        messages = [None] * self.size if order.messages is None else spread(order.messages, self.size)
        rate = None if order.rate is None else order.rate / self.size
        await self._each([Start(order.window, rate, part) for part in messages], orders.Done)

    async def look(self) -> list[Counts]:
        """What was counted."""
        return await self._all(orders.Look(), Counts)

    async def take(self) -> list[Taken]:
        """What was measured since the last time."""
        return await self._all(orders.Take(), Taken)

    async def halt(self, *, deliveries: bool, quiet_s: float) -> list[Counts]:
        """Have nothing more sent; see `orders.Halt`."""
        return await self._all(orders.Halt(deliveries, quiet_s), Counts)

    async def away(self) -> None:
        """Have the recipients log out."""
        await self._all(orders.Away(), orders.Done)

    async def back(self) -> None:
        """Have the recipients log in."""
        await self._all(orders.Back(), orders.Done)

    async def expect(self, epoch: int) -> None:
        """See `orders.Expect`."""
        await self._all(orders.Expect(epoch), orders.Done)

    async def served(self, timeout_s: float) -> Served:
        """Wait until all senders were served by a primary of a later reign; see `orders.AwaitServed`."""
        parts = await self._all(orders.AwaitServed(timeout_s), Served)
        return Served(max(part.last_ns for part in parts), max(part.pause_ns for part in parts))

    async def leave(self, *, delete: bool) -> None:
        """Have everybody log out."""
        await self._all(orders.Leave(delete), orders.Done)

    async def _all(self, order: Order, kind: type[T]) -> list[T]:
        return await self._each([order] * self.size, kind)

    async def _each(self, parts: Sequence[Order], kind: type[T]) -> list[T]:
        """Give each process its order, and wait for all answers.

        Raises:
            BenchError: it could not be carried out.
        """

        async def one(process: asyncio.subprocess.Process, order: Order) -> Answer:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(framed(order))
            try:
                length = int.from_bytes(await process.stdout.readexactly(orders.LENGTH_BYTES), "big")
                answer: Answer = _decode(await process.stdout.readexactly(length))
            except (asyncio.IncompleteReadError, ConnectionError):
                raise BenchError("a process of the load generator has ended") from None
            return answer

        answers = await asyncio.gather(*map(one, self._processes, parts))
        for answer in answers:
            if isinstance(answer, Failed):
                raise BenchError(answer.why)
        assert all(isinstance(answer, kind) for answer in answers)
        return [answer for answer in answers if isinstance(answer, kind)]


def spread(total: int, parts: int) -> list[int]:
    """The total in parts that differ by 1 at most."""
    return [total // parts + (place < total % parts) for place in range(parts)]
