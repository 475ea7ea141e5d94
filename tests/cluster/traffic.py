"""People who chat all the time, and the checker of what became of their messages."""

import asyncio
import itertools
import time
from collections.abc import Sequence

from chatsvc.client import AsyncClient, Message, Receipt, Timing

SETTLE_S = 30.0
PATIENCE_S = 60.0
ENOUGH = 50
"""Messages of each pair."""


class Pair:
    """A sender, who numbers its messages, and their recipient."""

    def __init__(self, name: str, window: int) -> None:
        self.sender_name, self.recipient_name, self.window = f"{name}-sender", f"{name}-recipient", window
        self.sent = 0
        self.receipts: dict[int, Receipt] = {}
        self.received: list[Message] = []
        self.acknowledged_at: list[float] = []  # of CLOCK_MONOTONIC, seconds
        self.stopping = False
        self._sender: AsyncClient
        self._recipient: AsyncClient
        self._tasks: list[asyncio.Task[None]] = []
        self._unanswered = 0
        self._answered = asyncio.Event()
        self.progress = asyncio.Event()
        self._came = asyncio.Event()

    async def start(self, servers: Sequence[str]) -> None:
        patient = Timing(refused_s=PATIENCE_S)  # these tests are not about giving up
        self._recipient = await AsyncClient.connect(self.recipient_name, servers, give_up_s=PATIENCE_S, timing=patient)
        self._sender = await AsyncClient.connect(
            self.sender_name, servers, receive=False, give_up_s=PATIENCE_S, timing=patient
        )
        self._tasks = [asyncio.create_task(self._send()), asyncio.create_task(self._receive())]

    async def _send(self) -> None:
        while not self.stopping:
            while self._unanswered >= self.window:
                self._answered.clear()
                await self._answered.wait()
            self.sent += 1
            number = self.sent
            self._unanswered += 1
            future = self._sender.send_nowait(self.recipient_name, str(number))
            future.add_done_callback(lambda done, number=number: self._on_answer(number, done))
            await asyncio.sleep(0.002)  # a pace that leaves the machine to the servers

    def _on_answer(self, number: int, done: "asyncio.Future[Receipt]") -> None:
        if done.exception() is None:  # whoever reads the messages sees what ended the session
            self.receipts[number] = done.result()
        self.acknowledged_at.append(time.monotonic())
        self._unanswered -= 1
        self._answered.set()
        self.progress.set()

    async def _receive(self) -> None:
        async for message in self._recipient.messages():
            self.received.append(message)
            self._came.set()

    async def settle(self) -> None:
        """Stop sending and wait until all is answered and delivered."""
        self.stopping = True
        async with asyncio.timeout(SETTLE_S):
            while self._unanswered:
                self._answered.clear()
                await self._answered.wait()
            while len(self.received) < len(self.receipts):
                self._came.clear()
                await self._came.wait()
            await self._sender.logout()
            history = await self._recipient.history(self.sender_name, limit=self.sent + 1)
            await self._recipient.logout()
            await asyncio.gather(*self._tasks)
        self.check(history)

    def check(self, history: list[Message]) -> None:
        """Nothing lost, doubled, reordered or invented, to the recipient and in history."""
        expected = [str(number) for number in range(1, self.sent + 1)]
        assert sorted(self.receipts) == list(range(1, self.sent + 1)), "every send was answered"
        assert [message.text for message in self.received] == expected
        assert [message.inbox_seq for message in self.received] == list(range(1, self.sent + 1))
        assert [message.text for message in history] == expected
        for message in self.received:
            receipt = self.receipts[int(message.text)]
            assert (message.conversation_seq, message.op_id) == (receipt.conversation_seq, receipt.op_id)


class Traffic:
    """Several pairs at once."""

    def __init__(self, pairs: int = 4, window: int = 16) -> None:
        self.pairs = [Pair(f"p{number}", window) for number in range(pairs)]

    async def start(self, servers: Sequence[str]) -> None:
        """Log all in and begin."""
        await asyncio.gather(*(pair.start(servers) for pair in self.pairs))

    @property
    def acknowledged(self) -> int:
        """Messages so far."""
        return sum(len(pair.receipts) for pair in self.pairs)

    async def flows(self, deadline_s: float = 20.0) -> float:
        """Wait until every pair has had an acknowledgement of a message from now on; seconds until the last of them."""
        begun = time.monotonic()
        sent = [pair.sent for pair in self.pairs]
        async with asyncio.timeout(deadline_s):
            for pair, number in zip(self.pairs, sent, strict=True):
                while number + 1 not in pair.receipts:
                    pair.progress.clear()
                    await pair.progress.wait()
        return time.monotonic() - begun

    async def settle(self) -> None:
        """Wait until there were messages enough to prove something, stop, wait for the end and check everything."""
        async with asyncio.timeout(SETTLE_S):
            for pair in self.pairs:
                while len(pair.receipts) < ENOUGH:
                    pair.progress.clear()
                    await pair.progress.wait()
        await asyncio.gather(*(pair.settle() for pair in self.pairs))

    def longest_pause(self, since: float) -> float:
        """Longest time that a pair was without an acknowledgement after a moment of CLOCK_MONOTONIC."""
        longest = 0.0
        for pair in self.pairs:
            moments = [since, *(at for at in pair.acknowledged_at if at > since), time.monotonic()]
            longest = max(longest, *(later - earlier for earlier, later in itertools.pairwise(moments)))
        return longest
