"""One session, through all its streams: what is said to a server, and what is made of its answers.

A session lives from the login until the log out; streams and servers come and go. `Session` knows no gRPC call: a
stream asks it for frames to write, and gives it the events that it reads.
"""

import asyncio
import logging
import secrets
from collections.abc import Callable
from typing import Any

import msgspec

from chatsvc.client.errors import LoggedOut, ProtocolError, from_event
from chatsvc.client.inbox import Inbox
from chatsvc.client.outbox import Operation, Outbox
from chatsvc.client.search import Timing, next_pause
from chatsvc.client.values import LogoutReason, Message, Receipt
from chatsvc.domain.errors import (
    AccountDeleted,
    AcknowledgedTooMuch,
    ChatError,
    FrameTooLarge,
    MalformedFrame,
    NotPrimary,
    OpSeqGap,
    Replaced,
    Unavailable,
    UnknownAccount,
)
from chatsvc.domain.limits import CLIENT_ID_BYTES
from chatsvc.v1 import chat_pb2 as pb

log = logging.getLogger(__name__)

ACKNOWLEDGE_AT = 64
"""So many acknowledgements are sent at once."""

LOGIN_TAG = 1
"""Tag of every login; other tags are higher."""

FRAME_CALLS_MAX = 64
"""Most reading operations in a frame."""


class Lost(Exception):
    """The stream is of no use any more; the session goes on with another one.

    Attributes:
        primary: address of the primary, if the server has named it; else empty.
    """

    def __init__(self, why: str, primary: str = "") -> None:
        super().__init__(why)
        self.primary = primary


class Wish(msgspec.Struct, frozen=True):
    """What the application wants of its session.

    Attributes:
        user: name to log in with.
        receive: whether messages are pushed.
        create: whether an unknown name becomes an account.
    """

    user: str
    receive: bool
    create: bool


class Call(msgspec.Struct):
    """An operation without an op seq; it may be carried out any number of times.

    Attributes:
        operation: as it is written.
        answer: gets the answer's content.
    """

    operation: pb.Operation
    answer: asyncio.Future[Any]


class Session:
    """See the module. All methods are called on the event loop.

    Args:
        wish: see there.
        timing: how long to wait for what.
        deliver: called with each message, once and in order.

    Attributes:
        client_id: 16 random bytes, the name of this client.
        outbox, inbox: see there.
        wake: set when there may be something to write.
        progress_at: by the loop's clock, when an answer came last, or when something came to be unanswered. A sign
            of life is no progress where something else waits.
        busy: set while the server owes an answer.
        welcome: of the newest login; None before the first.
        leaving: whether it was asked to log out.
        done_with: whether it came to its end by the application's wish.
    """

    def __init__(self, wish: Wish, timing: Timing, deliver: Callable[[Message], None]) -> None:
        self.wish, self.timing, self.deliver = wish, timing, deliver
        self.client_id = secrets.token_bytes(CLIENT_ID_BYTES)
        self.outbox, self.inbox = Outbox(), Inbox()
        self.wake = asyncio.Event()
        self.busy = asyncio.Event()
        self.progress_at = 0.0
        self.welcome: pb.Welcome | None = None
        self.leaving = self.done_with = False
        self._loop = asyncio.get_running_loop()
        self._calls: dict[int, Call] = {}
        self._unwritten: dict[int, None] = {}  # tags of calls, in order
        self._last_tag = LOGIN_TAG
        self._deletion: Operation | None = None
        self._deletion_answer: asyncio.Future[None]
        self._logout_written = self._logout_written_ever = False
        self._acknowledge_now = self._over = False
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._room_came = asyncio.Event()
        # Refusals of the kind "later": since when without a success between them, and how long to hold back.
        self._later_since: float | None = None
        self._later_s = 0.0

    # ---- the application

    def submit(self, operation: Operation, *, bounded: bool = True) -> None:
        """Take a send.

        Args:
            operation: without a number.
            bounded: False: the caller has seen to it that there is room.

        Raises:
            QueueFull: see `room`.
        """
        self.outbox.add(operation, bounded=bounded)
        self.wake.set()

    def delete_account(self) -> asyncio.Future[None]:
        """Take the deletion of the account. Asked for twice, it happens once, and both get the same future."""
        if self._deletion is None:
            self._deletion_answer = self._loop.create_future()
            self._deletion = Operation(None, "", self._deletion_answer)
            self.outbox.add(self._deletion, bounded=False)
            self.wake.set()
        return self._deletion_answer

    async def room(self) -> None:
        """Wait until `submit` takes another one. Cancelling is safe."""
        while not self.outbox.has_room:
            self._room_came.clear()
            await self._room_came.wait()

    def call(self, operation: pb.Operation) -> asyncio.Future[Any]:
        """Have an operation without an op seq carried out.

        Returns:
            Gets what the answer contains.
        """
        self._last_tag += 1
        operation.tag = self._last_tag
        answer: asyncio.Future[Any] = self._loop.create_future()
        self._calls[self._last_tag] = Call(operation, answer)
        self._unwritten[self._last_tag] = None
        self.wake.set()
        return answer

    def ask_for_sign(self) -> asyncio.Future[Any]:
        """A ping of the client's own; nobody needs to wait for the answer."""
        answer = self.call(pb.Operation(ping=pb.Ping()))
        answer.add_done_callback(lambda done: done.cancelled() or done.exception())
        return answer

    def acknowledge(self, inbox_seq: int) -> None:
        """The application is done with every message up to this one; the server is told soon.

        Raises:
            ValueError: that message was not received.
        """
        self.inbox.acknowledge(inbox_seq)
        if self._over:
            return
        unsent = self.inbox.unsent
        if unsent >= ACKNOWLEDGE_AT:
            self.wake.set()
        elif unsent > 0 and "acknowledge" not in self._timers:
            self._after("acknowledge", self.timing.acknowledge_s, self._acknowledge_due)

    def leave(self) -> None:
        """Log out once everything is answered."""
        self.leaving = True
        self.wake.set()

    def fail(self, error: BaseException) -> None:
        """The session is over: give the error as the answer to everything."""
        self._over = True
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self.outbox.fail_all(error)
        calls, self._calls = self._calls, {}
        for call in calls.values():
            if not call.answer.done():
                call.answer.set_exception(error)
        self._room_came.set()

    # ---- streams

    def login(self) -> pb.Login:
        """The login of the next stream."""
        login = pb.Login(
            user=self.wish.user,
            client_id=self.client_id,
            send_only=not self.wish.receive,
            existing_only=not self.wish.create,
            explicit_acknowledgement=True,
            retire_client=True,
        )
        if self.welcome is not None:
            login.existing_only = True  # once there, the account is never made again
            login.incarnation = self.welcome.incarnation
            login.received_inbox_seq = self.inbox.acknowledged
            # A log out that was written may have retired this client. Then the server knows of no answers, and
            # should not take the ones received for lost ones.
            if not self._logout_written_ever:
                login.first_unanswered_op_seq = self.outbox.first_unanswered
        return login

    def start(self, welcome: pb.Welcome) -> None:
        """A stream was accepted: what is unanswered is written again.

        Raises:
            ProtocolError: the server counts the operations of this client in another way.
        """
        outbox = self.outbox
        if not self._logout_written_ever and not outbox.first_unanswered <= welcome.next_op_seq <= outbox.next_op_seq:
            raise ProtocolError(
                f"the server expects operation {welcome.next_op_seq}, "
                f"this client is between {outbox.first_unanswered} and {outbox.next_op_seq}"
            )
        self.welcome = welcome
        if self.wish.receive:
            self.inbox.start(welcome)
        self._release()
        outbox.write_again()
        self._unwritten = dict.fromkeys(self._calls)
        self._logout_written = False
        self.progress_at = self._loop.time()
        self.wake.set()

    def refused_login(self, error: ChatError) -> Exception:
        """What the refusal of a login means for the session."""
        if self.welcome is None:
            return error
        if isinstance(error, Replaced):
            return LoggedOut(LogoutReason.REPLACED, str(error))
        if isinstance(error, AccountDeleted | UnknownAccount):
            self._deleted()
            return LoggedOut(LogoutReason.ACCOUNT_DELETED, "the account was deleted")
        return error

    @property
    def outstanding(self) -> bool:
        """Whether the server owes an answer."""
        return bool(self.outbox.in_flight or self._calls or self._logout_written)

    def next_frame(self) -> pb.SessionRequest | None:
        """All that may be written now, as far as it fits into a frame; None if that is nothing."""
        was_outstanding = bool(self.outbox.in_flight) or len(self._calls) > len(self._unwritten)
        frame = pb.SessionRequest()
        while self._unwritten and len(frame.operations) < FRAME_CALLS_MAX and not self.outbox.held:
            tag = next(iter(self._unwritten))
            del self._unwritten[tag]
            frame.operations.append(self._calls[tag].operation)
        self.outbox.fill(frame)
        if not self._room_came.is_set() and self.outbox.has_room:
            self._room_came.set()
        if frame.operations or self._acknowledge_now or self.inbox.unsent >= ACKNOWLEDGE_AT or self.leaving:
            self._acknowledge_now = False
            self.inbox.fill(frame)
        if self.leaving and not (self.outbox or self._calls or self._logout_written):
            self._logout_written = self._logout_written_ever = True
            self._last_tag += 1
            frame.operations.add(tag=self._last_tag).logout.SetInParent()
        if not frame.operations:
            return None
        if not was_outstanding:
            self.progress_at = self._loop.time()
        if self.outstanding:
            self.busy.set()
        return frame

    # ---- events

    def handle(self, event: pb.Event) -> None:
        """Take what the server says.

        Raises:
            Lost: the session needs another stream.
            SessionEnded, ChatError: the session is over.
        """
        kind = event.WhichOneof("kind")
        if kind == "sent":
            self._sent(event.sent)
        elif kind == "message":
            message = self.inbox.take(event.message)
            if message is not None:
                self.deliver(message)
            elif self.inbox.unsent > 0:
                self.acknowledge(self.inbox.acknowledged)  # what this stream had to push again first
        elif kind == "error":
            self._refused(event)
        elif kind in ("accounts", "conversation", "pong"):
            self._answered(event.tag, getattr(event, kind))
        elif kind == "account_deleted":
            self._deleted()
        elif kind == "logged_out":
            self._logged_out(event.logged_out)
        elif kind == "welcome":
            raise ProtocolError("the server has accepted the login twice")

    def _sent(self, sent: pb.Sent) -> None:
        operation = self.outbox.answered(sent.op_seq)
        if operation is None:
            return
        self._later_since = None
        self._moved()
        if operation.to is not None and not operation.answer.done():
            time = sent.sent_time
            operation.answer.set_result(
                Receipt(
                    operation.to,
                    sent.conversation_seq,
                    time.seconds * 1_000_000 + time.nanos // 1_000,
                    sent.recipient_online,
                    self.client_id,
                    sent.op_seq,
                )
            )

    def _answered(self, tag: int, content: object) -> None:
        call = self._calls.pop(tag, None)
        if call is not None:
            self._moved(progress=not (isinstance(content, pb.Pong) and self.outstanding))
            if not call.answer.done():
                call.answer.set_result(content)

    def _moved(self, *, progress: bool = True) -> None:
        """An answer has come."""
        if progress:
            self.progress_at = self._loop.time()
        if self.outbox.waiting or self.leaving:
            self.wake.set()
        if not self.outstanding:
            self.busy.clear()

    def _refused(self, event: pb.Event) -> None:
        error, op_seq = from_event(event.error), event.error.op_seq
        if isinstance(error, NotPrimary):
            raise Lost(str(error), error.metadata.get("primary", ""))
        if isinstance(error, FrameTooLarge | MalformedFrame):
            raise ProtocolError(f"the server can't take a frame of this client: {error}")
        if isinstance(error, Unavailable):
            self._later(error)
            self.outbox.write_again(op_seq, op_seq + 1)
            if event.tag in self._calls:
                self._unwritten[event.tag] = None
        elif isinstance(error, OpSeqGap) and op_seq:
            self._gap(error, op_seq)
        elif op_seq:
            operation = self.outbox.answered(op_seq)
            if operation is not None:
                self._later_since = None
                self._moved()
                if operation is self._deletion:
                    self._deletion = None
                operation.fail(error)
        elif event.tag in self._calls:
            call = self._calls.pop(event.tag)
            self._moved()
            if not call.answer.done():
                call.answer.set_exception(error)
        elif isinstance(error, AcknowledgedTooMuch):
            log.error("%s", error)
        else:
            log.warning("the server refused something: %s", error)

    def _gap(self, error: OpSeqGap, op_seq: int) -> None:
        expected = error.metadata.get("expected", "")
        if not expected.isdigit() or int(expected) < self.outbox.first_unanswered:
            raise Lost(f"the server has forgotten operations: {error}")
        self._later(error)
        self.outbox.write_again(int(expected), op_seq + 1)

    def _later(self, error: ChatError) -> None:
        """Hold back what has an op seq for a while, so that all that is refused with it is known when it is written."""
        now = self._loop.time()
        if self._later_since is None:
            self._later_since, self._later_s = now, 0.0
        elif now - self._later_since >= self.timing.give_up_s:
            raise error
        if not self.outbox.held:
            self.outbox.held = True
            self._later_s = next_pause(self._later_s)
            self._after("later", self._later_s, self._release)

    def _deleted(self) -> None:
        """The account is gone; whoever wanted that has it."""
        operation, self._deletion = self._deletion, None
        if operation is not None:
            self.outbox.answered(operation.op_seq)
            self.done_with = True
            if not operation.answer.done():
                operation.answer.set_result(None)

    def _logged_out(self, logged_out: pb.LoggedOut) -> None:
        match logged_out.reason:
            case pb.LOGOUT_REASON_REQUESTED:
                self.done_with = True
                raise LoggedOut(LogoutReason.REQUESTED, logged_out.message)
            case pb.LOGOUT_REASON_REPLACED:
                raise LoggedOut(LogoutReason.REPLACED, logged_out.message)
            case pb.LOGOUT_REASON_ACCOUNT_DELETED:
                self._deleted()
                raise LoggedOut(LogoutReason.ACCOUNT_DELETED, logged_out.message)
            case _:
                raise Lost(logged_out.message)

    # ---- timers

    def _after(self, name: str, delay_s: float, action: Callable[[], None]) -> None:
        def run() -> None:
            del self._timers[name]
            action()

        self._timers[name] = self._loop.call_later(delay_s, run)

    def _acknowledge_due(self) -> None:
        self._acknowledge_now = True
        self.wake.set()

    def _release(self) -> None:
        self.outbox.held = False
        timer = self._timers.pop("later", None)
        if timer is not None:
            timer.cancel()
        self.wake.set()
