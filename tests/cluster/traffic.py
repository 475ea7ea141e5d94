"""People who chat all the time; what they saw is recorded and judged by the checker of the chaos runs."""

import asyncio
import time
from collections.abc import Sequence

from chatsvc.client import AsyncClient, Receipt, Timing
from tests.chaos.checker import check, longest_gap
from tests.chaos.history import Delivery, History, Outcome, Reading, Send, Shown, conversation

SETTLE_S = 30.0
PATIENCE_S = 60.0
ENOUGH = 50
"""Messages of each pair."""


class Pair:
    """A sender, who numbers its messages, and their recipient, both with the client library.

    Args:
        name: the beginning of their names.
        window: most sends without an answer.
        history: records what they see.
        pace_s: time between two sends; it leaves the machine to the servers.
        patience_s: how long they wait for a primary.
    """

    def __init__(
        self, name: str, window: int, history: History, pace_s: float = 0.002, patience_s: float = PATIENCE_S
    ) -> None:
        self.sender_name, self.recipient_name, self.window = f"{name}-sender", f"{name}-recipient", window
        self.sends: list[Send] = []
        self.acknowledged = 0
        self.received = 0
        self.acknowledged_at: list[float] = []  # of CLOCK_MONOTONIC, seconds
        self.stopping = False
        self._history, self._pace_s, self._patience_s = history, pace_s, patience_s
        self._sender: AsyncClient
        self._recipient: AsyncClient
        self._tasks: list[asyncio.Task[None]] = []
        self._unanswered = 0
        self._answered = asyncio.Event()
        self.progress = asyncio.Event()
        self._came = asyncio.Event()

    async def start(self, servers: Sequence[str]) -> None:
        """Log in and begin."""
        patient = Timing(refused_s=self._patience_s)  # these tests are not about giving up
        self._recipient = await AsyncClient.connect(
            self.recipient_name, servers, give_up_s=self._patience_s, timing=patient
        )
        self._sender = await AsyncClient.connect(
            self.sender_name, servers, receive=False, give_up_s=self._patience_s, timing=patient
        )
        self._tasks = [asyncio.create_task(self._send()), asyncio.create_task(self._receive())]

    async def _send(self) -> None:
        while not self.stopping:
            while self._unanswered >= self.window:
                self._answered.clear()
                await self._answered.wait()
            number = len(self.sends) + 1
            text = f"{self.sender_name}/{number}"
            send = Send(self.sender_name, self.sender_name, self.recipient_name, number, text, time.monotonic())
            self.sends.append(send)
            self._history.sends.append(send)
            self._unanswered += 1
            future = self._sender.send_nowait(self.recipient_name, text)
            future.add_done_callback(lambda done, send=send: self._on_answer(send, done))
            await asyncio.sleep(self._pace_s)

    def _on_answer(self, send: Send, done: "asyncio.Future[Receipt]") -> None:
        now = time.monotonic()
        if done.exception() is None:  # whoever reads the messages sees what ended the session
            receipt = done.result()
            send.answer(receipt.conversation_seq, receipt.time_us, receipt.op_id, now)
            self.acknowledged += 1
            self.acknowledged_at.append(now)
        self._unanswered -= 1
        self._answered.set()
        self.progress.set()

    async def _receive(self) -> None:
        async for message in self._recipient.messages():
            self._history.deliveries.append(
                Delivery(
                    self.recipient_name,
                    message.sender,
                    message.text,
                    message.inbox_seq,
                    message.conversation_seq,
                    message.op_id,
                )
            )
            self.received += 1
            self._came.set()

    async def settle(self, deadline_s: float = SETTLE_S) -> None:
        """Stop sending, wait until all is answered and delivered, and read the conversation.

        Raises:
            TimeoutError: that took too long.
        """
        self.stopping = True
        async with asyncio.timeout(deadline_s):
            while self._unanswered:
                self._answered.clear()
                await self._answered.wait()
            while self.received < self.acknowledged:
                self._came.clear()
                await self._came.wait()
            await self._sender.logout()
            begun = time.monotonic()
            messages = await self._recipient.history(self.sender_name, limit=len(self.sends) + 1)
            await self._recipient.logout()
            await asyncio.gather(*self._tasks)
        shown = tuple(Shown(message.conversation_seq, message.sender, message.text) for message in messages)
        between = conversation(self.sender_name, self.recipient_name)
        self._history.final.append(Reading(between, begun, time.monotonic(), shown))

    async def close(self) -> None:
        """Give up, whatever is on the way."""
        self.stopping = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(self._sender.close(), self._recipient.close())


class Traffic:
    """Several pairs at once."""

    def __init__(self, pairs: int = 4, window: int = 16) -> None:
        self.history = History()
        self.pairs = [Pair(f"p{number}", window, self.history) for number in range(pairs)]

    async def start(self, servers: Sequence[str]) -> None:
        """Log all in and begin."""
        await asyncio.gather(*(pair.start(servers) for pair in self.pairs))

    async def flows(self, deadline_s: float = 20.0) -> float:
        """Wait until every pair has had an acknowledgement of a message from now on; seconds until the last of them."""
        return await flows(self.pairs, deadline_s)

    async def settle(self) -> None:
        """Wait until there were messages enough to prove something, stop, wait for the end and check everything."""
        async with asyncio.timeout(SETTLE_S):
            for pair in self.pairs:
                while pair.acknowledged < ENOUGH:
                    pair.progress.clear()
                    await pair.progress.wait()
        await asyncio.gather(*(pair.settle() for pair in self.pairs))
        unanswered = [send for send in self.history.sends if send.outcome is not Outcome.OK]
        assert not unanswered, "every send was answered"
        assert not check(self.history), "nothing is lost, doubled, reordered or invented"

    def longest_pause(self, since: float) -> float:
        """Longest time that a pair was without an acknowledgement after a moment of CLOCK_MONOTONIC."""
        return max(longest_gap(pair.acknowledged_at, since, time.monotonic()) for pair in self.pairs)


async def flows(pairs: Sequence[Pair], deadline_s: float) -> float:
    """Wait until every pair has had an acknowledgement of a message from now on; seconds until the last of them.

    Raises:
        TimeoutError: one had none.
    """
    begun = time.monotonic()
    next_places = [len(pair.sends) for pair in pairs]
    async with asyncio.timeout(deadline_s):
        for pair, place in zip(pairs, next_places, strict=True):
            while len(pair.sends) <= place or pair.sends[place].outcome is not Outcome.OK:
                pair.progress.clear()
                await pair.progress.wait()
    return time.monotonic() - begun
