"""All pairs of one process, and the people who are just there."""

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from chatsvc.bench.histogram import Histogram
from chatsvc.bench.orders import Connect, Connected, Counts, Served, Start, Taken
from chatsvc.bench.pair import Pair, Wrong, leave
from chatsvc.client import AsyncClient, Timing

LOGINS_MAX = 64
"""Most logins under way at once in a process."""


class Team:
    """See the module; told by its pairs of what happens (`pair.Tally`)."""

    def __init__(self) -> None:
        self._pairs: list[Pair] = []
        self._idle: list[AsyncClient] = []
        self._servers: tuple[str, ...] = ()
        self._timing = Timing()
        self._window = 0
        self._left: int | None = 0  # messages to send yet; None: any number
        self._pacing: asyncio.Task[None] | None = None
        self._acked = self._delivered = self._acked_ns = self._delivered_ns = 0
        self._wrong: dict[Wrong, int] = {"doubled": 0, "reordered": 0, "foreign": 0, "refused": 0}
        self._trouble = ""
        self._ack, self._e2e, self._late = Histogram(), Histogram(), Histogram()
        self._awaited: tuple[Callable[[], bool], asyncio.Event] | None = None

    # ---- people

    async def connect(self, order: Connect) -> Connected:
        """Log everybody in."""
        self._servers = order.servers
        self._timing = Timing(refused_s=order.give_up_s, give_up_s=order.give_up_s)
        last = order.first_pair + order.pairs
        self._pairs = [Pair(number, order.batch, order.size, self) for number in range(order.first_pair, last)]
        began_ns = time.monotonic_ns()
        # A message is to find its recipient's account.
        await _all(pair.connect_recipient(self._servers, self._timing) for pair in self._pairs)
        await _all(pair.connect_sender(self._servers, self._timing) for pair in self._pairs)
        names = (f"bench-{order.batch}-i{order.first_idle + place}" for place in range(order.idle))
        await _all(self._connect_idle(name) for name in names)
        ended_ns = time.monotonic_ns()
        # A full collection looks at everything that lives, and everything here lives to the end.
        gc.collect()
        gc.freeze()
        return Connected(began_ns, ended_ns)

    async def _connect_idle(self, name: str) -> None:
        give_up_s = self._timing.give_up_s
        self._idle.append(await AsyncClient.connect(name, self._servers, timing=self._timing, give_up_s=give_up_s))

    async def away(self) -> None:
        """Recipients log out."""
        await _all(pair.log_recipient_out() for pair in self._pairs)

    async def back(self) -> None:
        """Recipients log in, all at once."""
        await asyncio.gather(*(pair.connect_recipient(self._servers, self._timing) for pair in self._pairs))

    async def leave(self, *, delete: bool) -> None:
        """Everybody logs out."""
        await _all(pair.leave(delete=delete) for pair in self._pairs)
        await _all(leave(client, delete=delete) for client in self._idle)

    # ---- load

    def start(self, order: Start) -> None:
        """Begin to send."""
        self._window, self._left = order.window, order.messages
        if order.rate is not None:
            self._pacing = asyncio.ensure_future(self._pace(order.rate))
            return
        now_ns = time.monotonic_ns()
        for _ in range(order.window):
            for pair in self._pairs:
                if self._may_send():
                    pair.send(now_ns)

    def _may_send(self) -> bool:
        if self._left is None:
            return True
        if self._left == 0:
            return False
        self._left -= 1
        return True

    async def _pace(self, rate: float) -> None:
        """Each pair in its turn. What finds no room in its sender's window waits, and counts from when it was due."""
        start_ns, count = time.monotonic_ns(), 0
        while True:
            now_ns = time.monotonic_ns()
            while (due_ns := start_ns + int(count / rate * 1e9)) <= now_ns:
                if not self._may_send():
                    return
                self._late.record(now_ns - due_ns)
                pair = self._pairs[count % len(self._pairs)]
                if len(pair.unanswered) < self._window and not pair.backlog:
                    pair.send(due_ns)
                else:
                    pair.backlog.append(due_ns)
                count += 1
            await asyncio.sleep((due_ns - now_ns) / 1e9)

    async def halt(self, *, deliveries: bool, quiet_s: float) -> None:
        """Send no more, and wait for what is under way as long as anything comes."""
        self._left = 0
        if self._pacing is not None:
            self._pacing.cancel()
            self._pacing = None
        for pair in self._pairs:
            pair.backlog.clear()

        def all_came() -> bool:
            return not any(pair.unanswered or (deliveries and pair.undelivered) for pair in self._pairs)

        seen = -1
        while not all_came() and (now := self._acked + self._delivered + self._wrong["refused"]) != seen:
            seen = now
            await self.until(all_came, quiet_s)

    async def served(self, timeout_s: float) -> Served:
        """Wait until all senders have had what `expect` waits for.

        Raises:
            TimeoutError: not all have had it in time.
        """

        def all_served() -> bool:
            return all(pair.served_ns is not None for pair in self._pairs)

        await self.until(all_served, timeout_s)
        missing = [pair.sender_name for pair in self._pairs if pair.served_ns is None]
        if missing:
            raise TimeoutError(
                f"{len(missing)} senders were not served within {timeout_s:g} s, {missing[0]} among them"
            )
        return Served(
            max(pair.served_ns or 0 for pair in self._pairs),
            max(pair.pause_ns for pair in self._pairs),
        )

    def expect(self, epoch: int) -> None:
        """See `Pair.expect`."""
        for pair in self._pairs:
            pair.expect(epoch)

    async def until(self, reached: Callable[[], bool], timeout_s: float) -> None:
        """Wait for something that any of the events below bring about, or so long."""
        if reached():
            return
        event = asyncio.Event()
        self._awaited = reached, event
        try:
            async with asyncio.timeout(timeout_s):
                await event.wait()
        except TimeoutError:
            pass
        self._awaited = None

    def _note(self) -> None:
        if self._awaited is not None and self._awaited[0]():
            self._awaited[1].set()
            self._awaited = None

    # ---- what was counted

    def counts(self) -> Counts:
        """Since the process began."""
        return Counts(
            time_ns=time.monotonic_ns(),
            cpu_ns=time.process_time_ns(),
            sent=sum(pair.last_sent for pair in self._pairs),
            acked=self._acked,
            delivered=self._delivered,
            lost=sum(pair.lost for pair in self._pairs),
            **self._wrong,
            unanswered=sum(len(pair.unanswered) for pair in self._pairs),
            trouble=self._trouble,
            acked_ns=self._acked_ns,
            delivered_ns=self._delivered_ns,
        )

    def take(self) -> Taken:
        """Latencies since the last time."""
        taken = Taken(self._ack, self._e2e, self._late)
        self._ack, self._e2e, self._late = Histogram(), Histogram(), Histogram()
        return taken

    def acknowledged(self, pair: Pair, latency_ns: int, now_ns: int) -> None:
        """See `pair.Tally`."""
        self._acked += 1
        self._acked_ns = now_ns
        self._ack.record(latency_ns)
        if pair.backlog:
            pair.send(pair.backlog.popleft())
        elif self._pacing is None and self._may_send():
            pair.send(now_ns)
        if self._awaited is not None:
            self._note()

    def delivered(self, latency_ns: int, now_ns: int) -> None:
        """See `pair.Tally`."""
        self._delivered += 1
        self._delivered_ns = now_ns
        self._e2e.record(latency_ns)
        if self._awaited is not None:
            self._note()

    def served_anew(self) -> None:
        """See `pair.Tally`."""
        self._note()

    def went_wrong(self, kind: Wrong, what: str) -> None:
        """See `pair.Tally`."""
        self._wrong[kind] += 1
        self._trouble = self._trouble or what
        self._note()


async def _all(work: Iterable[Awaitable[Any]]) -> None:
    """All of it, not too much at once."""
    room = asyncio.Semaphore(LOGINS_MAX)

    async def one(part: Awaitable[Any]) -> None:
        async with room:
            await part

    await asyncio.gather(*(one(part) for part in work))
