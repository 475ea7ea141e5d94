"""A sender, its recipient, and the accounts kept between them."""

import time
from asyncio import Future
from collections import deque
from functools import partial
from typing import Literal, Protocol

from chatsvc.bench import SIZE_MIN
from chatsvc.client import AsyncClient, Message, Receipt, SessionEnded, State, Timing
from chatsvc.domain.errors import ChatError

Wrong = Literal["doubled", "reordered", "foreign", "refused"]
"""A delivery of what was delivered before, of what was sent before the last one, of what was not sent; a send that was
refused, or a session that has ended.
"""


class Tally(Protocol):
    """Who is told of everything that happens."""

    def acknowledged(self, pair: "Pair", latency_ns: int, now_ns: int) -> None:
        """A message was acknowledged."""

    def delivered(self, latency_ns: int, now_ns: int) -> None:
        """A message was delivered for the first time."""

    def served_anew(self) -> None:
        """A sender that was expected to be served again has been."""

    def went_wrong(self, kind: Wrong, what: str) -> None:
        """Something has happened that must not; `what` says it in words."""


class Pair:
    """Two people, of whom one writes to the other.

    Args:
        number: of the pair, for its names.
        batch: part of the names, so that no run before had them.
        size: characters of a message.
        tally: who is told.

    Attributes:
        last_sent: number of the newest message.
        unanswered, undelivered: when messages were due that are neither acknowledged nor refused, that have not been
            delivered; by number.
        backlog: when messages were due that wait for room in the window.
        served_ns: when the first acknowledgement came that `expect` waits for.
        pause_ns: longest time without an acknowledgement from `expect` until then.
    """

    def __init__(self, number: int, batch: str, size: int, tally: Tally) -> None:
        self.sender_name, self.recipient_name = f"bench-{batch}-s{number}", f"bench-{batch}-r{number}"
        self.last_sent = 0
        self.unanswered: dict[int, int] = {}
        self.undelivered: dict[int, int] = {}
        self.backlog: deque[int] = deque()
        self.served_ns: int | None = None
        self.pause_ns = 0
        self._expected_epoch: int | None = None  # a later one is waited for
        self._acked_ns = 0  # last, or since when acknowledgements are waited for
        self._tally = tally
        self._filling = "t" * (size - SIZE_MIN)
        self._highest_delivered = 0
        self._leaving: set[str] = set()  # names whose session is meant to end
        self._sender: AsyncClient
        self._recipient: AsyncClient | None = None

    async def connect_sender(self, servers: tuple[str, ...], timing: Timing) -> None:
        """Log the sender in."""
        self._sender = await AsyncClient.connect(
            self.sender_name,
            servers,
            receive=False,
            timing=timing,
            give_up_s=timing.give_up_s,
            on_state=partial(self._state_changed, self.sender_name),
        )

    async def connect_recipient(self, servers: tuple[str, ...], timing: Timing) -> None:
        """Log the recipient in."""
        self._leaving.discard(self.recipient_name)
        self._recipient = await AsyncClient.connect(
            self.recipient_name,
            servers,
            on_message=self._delivered,
            timing=timing,
            give_up_s=timing.give_up_s,
            on_state=partial(self._state_changed, self.recipient_name),
        )

    async def log_recipient_out(self) -> None:
        """The recipient goes away."""
        recipient, self._recipient = self._recipient, None
        assert recipient is not None
        self._leaving.add(self.recipient_name)
        await recipient.logout()

    async def leave(self, *, delete: bool) -> None:
        """Both log out, and delete their accounts if asked to."""
        self._leaving |= {self.sender_name, self.recipient_name}
        for client in (self._recipient, self._sender):
            if client is not None:
                await leave(client, delete=delete)

    @property
    def lost(self) -> int:
        """How many messages were acknowledged, and not delivered until now."""
        return len(self.undelivered) - sum(number in self.undelivered for number in self.unanswered)

    def send(self, due_ns: int) -> None:
        """Send the next message, which was due at that moment."""
        number = self.last_sent + 1
        try:
            answer = self._sender.send_nowait(self.recipient_name, f"{number:0{SIZE_MIN}}{self._filling}")
        except (SessionEnded, ChatError):
            return  # that the session has ended was told when it did
        self.last_sent = number
        self.unanswered[number] = self.undelivered[number] = due_ns
        answer.add_done_callback(partial(self._answered, number))

    def expect(self, epoch: int) -> None:
        """Note when the first acknowledgement comes from a primary of a later reign than this."""
        self._expected_epoch, self.served_ns = epoch, None
        self._acked_ns, self.pause_ns = time.monotonic_ns(), 0

    def _state_changed(self, name: str, state: State, detail: str) -> None:
        if state is State.CLOSED and name not in self._leaving:
            self._tally.went_wrong("refused", f"{name}: {detail}")

    def _answered(self, number: int, answer: "Future[Receipt]") -> None:
        now_ns = time.monotonic_ns()
        if answer.cancelled():
            return
        error = answer.exception()
        if error is not None:
            if isinstance(error, ChatError) and not isinstance(error, SessionEnded):
                del self.unanswered[number]
                self.undelivered.pop(number, None)
                self._tally.went_wrong("refused", f"{self.sender_name}, message {number}: {error}")
            return  # otherwise the session has ended, and what became of the message is not known
        due_ns = self.unanswered.pop(number)
        if self._expected_epoch is not None:
            self.pause_ns = max(self.pause_ns, now_ns - self._acked_ns)
            self._acked_ns = now_ns
            if self._sender.epoch > self._expected_epoch:
                self._expected_epoch, self.served_ns = None, now_ns
                self._tally.served_anew()
        self._tally.acknowledged(self, now_ns - due_ns, now_ns)

    def _delivered(self, message: Message) -> None:
        now_ns = time.monotonic_ns()
        text = message.text
        digits = text[:SIZE_MIN]
        number = int(digits) if digits.isdecimal() else 0
        if not 1 <= number <= self.last_sent or text[SIZE_MIN:] != self._filling or message.sender != self.sender_name:
            self._tally.went_wrong("foreign", f"{self.recipient_name} got {text[:40]!a} from {message.sender!a}")
            return
        due_ns = self.undelivered.pop(number, None)
        if due_ns is None:
            self._tally.went_wrong("doubled", f"{self.recipient_name} got message {number} again")
            return
        if number < self._highest_delivered:
            self._tally.went_wrong(
                "reordered", f"{self.recipient_name} got message {number} after {self._highest_delivered}"
            )
        self._highest_delivered = max(self._highest_delivered, number)
        self._tally.delivered(now_ns - due_ns, now_ns)


async def leave(client: AsyncClient, *, delete: bool) -> None:
    """Log out, with or without the account; a session that has ended already has been told of when it did."""
    try:
        await (client.delete_account() if delete else client.logout())
    except (SessionEnded, ChatError):
        pass
