"""One stream of `Chat.Session`.

Three parties work on a session, all on the event loop:

- the *reader*, which takes frames off the stream and carries out their operations in order,
- the engine, which calls back with outcomes and with messages for the account,
- the *writer*, which takes all that waits each time it writes. A quiet session keeps its latency, a busy one grows
  its frames by itself, and no two writes are ever under way at once.

What bounds a session: the reader stops while `WINDOW_OPS` operations are without an outcome or twice as many answers
or events wait to be written, and reads no page while another one waits to be written; messages are pushed only while
at most `CREDIT_MESSAGES` are not acknowledged, and what does not fit stays in the inbox and is read from there later.
"""

import asyncio
import secrets
from collections.abc import Callable
from typing import Any

import grpc
import msgspec
from google.protobuf.message import DecodeError
from grpc import aio

from chatsvc import failpoints
from chatsvc.api import reads
from chatsvc.api.events import fill_message
from chatsvc.api.status import abort, error_event
from chatsvc.domain.commands import DeleteAccount, OpenSession, RetireClient, Sends
from chatsvc.domain.errors import (
    AcknowledgedTooMuch,
    AlreadyLoggedIn,
    ChatError,
    FrameTooLarge,
    LoginTimeout,
    MalformedFrame,
    NotLoggedIn,
    NotPrimary,
    NotReady,
    OpSeqMixed,
    Reason,
    Refusal,
    Unavailable,
    UnknownOperation,
)
from chatsvc.domain.limits import CLIENT_ID_BYTES, NAME_CODE_POINTS_MAX, TEXT_CODE_POINTS_MAX, WINDOW_OPS
from chatsvc.domain.names import check_name
from chatsvc.domain.outcomes import AccountGone, Message, Outcome, SendsDone, SessionOpened
from chatsvc.engine import Engine
from chatsvc.v1 import chat_pb2 as pb

CREDIT_MESSAGES = 256
"""Most messages pushed and not acknowledged."""

FRAME_EVENTS_MAX = 1_024
"""Most operations in a frame from a client, and most of what waits put into one frame to it."""

FRAME_TEXT_MAX = 1024 * 1024
"""Size after which a frame to a client is full, in code points of messages and bytes of the rest."""

_ENDED = (grpc.RpcError, aio.BaseError, asyncio.InvalidStateError)
"""What writing to a stream raises whose client is gone."""

_PAGES = frozenset({"accounts", "conversation"})


class SessionSettings(msgspec.Struct, frozen=True):
    """What a session is allowed.

    Attributes:
        login_timeout_s: how long a stream may stay without a login.
        slow_consumer_s: how long a write may wait for a client that does not read.
        servers: addresses that a welcome names.
    """

    login_timeout_s: float = 60.0
    slow_consumer_s: float = 30.0
    servers: tuple[str, ...] = ()


Context = aio.ServicerContext[Any, Any]


class Session:
    """See the module; also the engine's `Subscriber` for its account.

    Args:
        engine: what carries out operations.
        context: of the stream, whose frames are bytes in both directions.
        settings: see there.
        logins: held while a login is in work.
        on_login: called with this session when it is logged in, to end an older stream of the same client.
    """

    def __init__(
        self,
        engine: Engine,
        context: Context,
        settings: SessionSettings,
        logins: asyncio.Semaphore,
        on_login: Callable[["Session"], None],
    ) -> None:
        self.engine, self.context, self.settings, self.on_login = engine, context, settings, on_login
        self._logins = logins
        self.account_id = 0
        self.incarnation = 0
        self.client_id = b""
        self._user = ""
        self._receives = self._explicit = self._retires = False
        self._logged_in = self._welcomed = False
        # Operations.
        self._next_op_seq = 1  # that is submitted next
        self._client_counts: bool | None = None  # whether op seqs come from the client; None: not known yet
        self._without_outcome = 0
        self._answered_op_seq = 0
        self._deleting = False
        self._outcome_came = asyncio.Event()
        # Events to write: a Message, a SendsDone, or an event as it goes out.
        self._waiting: list[Message | SendsDone | pb.Event] = []
        self._answers_waiting = self._pages_waiting = 0  # of those events
        self._idle: asyncio.Future[None] | None = None  # what the writer waits for
        self._write_began: float | None = None  # loop time; None: no write is under way
        self._too_slow = False
        self._written = asyncio.Event()
        self._ending = False  # nothing more is accepted; the writer ends after what waits
        # Delivery: acknowledged <= pushed <= last; live means that pushed == last and messages go out as they come.
        self._acknowledged = self._pushed = self._last = 0
        self._live = False

    # ---- the stream

    async def run(self) -> None:
        """Serve the stream until either side ends it. Cancelled when the client is gone."""
        reader = asyncio.ensure_future(self._read())
        writer = self._writer = asyncio.ensure_future(self._write())
        try:
            await asyncio.wait((reader, writer), return_when=asyncio.FIRST_COMPLETED)
            if reader.done() and not writer.done():
                reader.result()
                await asyncio.wait((writer,))
            if self._too_slow:
                # The status waits for the client to read, or for its connection's end; nobody else does.
                await self.context.abort(
                    grpc.StatusCode.RESOURCE_EXHAUSTED, f"nothing was read for {self.settings.slow_consumer_s:g} s"
                )
            if writer.done():
                writer.result()
        finally:
            self._ending = True
            self._leave_engine()
            for task in (reader, writer):
                task.cancel()
            await asyncio.gather(reader, writer, return_exceptions=True)

    def end(self, reason: pb.LogoutReason, message: str) -> None:
        """Say goodbye; the stream ends once that is written."""
        if not self._ending:
            self._push(pb.Event(logged_out=pb.LoggedOut(reason=reason, message=message)))
            self._ending = True

    def check_reading(self, now: float) -> None:
        """Give up a client that has left a write waiting for too long.

        Args:
            now: the loop's time, seconds.
        """
        if self._write_began is not None and now - self._write_began > self.settings.slow_consumer_s:
            self._too_slow = self._ending = True
            self._leave_engine()
            self._writer.cancel()

    def _leave_engine(self) -> None:
        if self._logged_in and self._receives:
            self.engine.unsubscribe(self)

    async def _read(self) -> None:
        read, eof = self.context.read, aio.EOF
        try:
            async with asyncio.timeout(self.settings.login_timeout_s):
                while not self._logged_in and not self._ending and (frame := await read()) is not eof:
                    if not self._ending:  # it may have been ended while this frame was waited for
                        await self._handle(frame)
        except TimeoutError:
            await abort(self.context, LoginTimeout(f"no login came within {self.settings.login_timeout_s:g} s"))
        if self._logged_in:
            while not self._ending and (frame := await read()) is not eof:
                if not self._ending:
                    await self._handle(frame)
        # The client has said all it wanted to say.
        await self._all_outcomes()
        await self._log_out()

    async def _write(self) -> None:
        loop, write = asyncio.get_running_loop(), self.context.write
        while not self._ending or self._waiting:
            if not self._waiting and not (self._may_catch_up() and await self._catch_up()):
                if self._ending:
                    return
                self._idle = loop.create_future()
                await self._idle
                continue
            frame, highest_inbox_seq = self._next_frame()
            self._write_began = loop.time()
            if failpoints.ON:
                failpoints.reach("answer_before_write")
            try:
                await write(frame)
                if failpoints.ON:
                    failpoints.reach("answer_after_write")
            except _ENDED:
                return  # the client is gone
            finally:
                self._write_began = None
            if highest_inbox_seq and not self._explicit:
                self._acknowledge(highest_inbox_seq)
            self._written.set()

    def _wake_writer(self) -> None:
        idle = self._idle
        if idle is not None:
            self._idle = None
            if not idle.done():
                idle.set_result(None)

    def _next_frame(self) -> tuple[bytes, int]:
        """All that waits, as far as it fits, with the highest inbox_seq among it (0: none)."""
        waiting, self._waiting = self._waiting, []
        response = pb.SessionResponse()
        add = response.events.add
        room, highest_inbox_seq = FRAME_TEXT_MAX, 0
        for place, item in enumerate(waiting):
            if place >= FRAME_EVENTS_MAX or room <= 0:
                self._waiting = waiting[place:]
                break
            if isinstance(item, Message):
                fill_message(add().message, item)
                highest_inbox_seq = item.inbox_seq
                room -= len(item.text)
            elif isinstance(item, SendsDone):
                self._add_answers(add, item)
                self._answers_waiting -= len(item.answers)
                room -= 64 * len(item.answers) + 1_024 * len(item.refusals)  # a refusal repeats the name that it is of
            else:
                size = item.ByteSize()
                if place and size > room:
                    self._waiting = waiting[place:]
                    break
                response.events.append(item)
                room -= size
                if item.WhichOneof("kind") in _PAGES:
                    self._pages_waiting -= 1
        return response.SerializeToString(), highest_inbox_seq

    def _add_answers(self, add: Callable[[], pb.Event], done: SendsDone) -> None:
        """Answers to sends, refused ones among them."""
        is_online, new = self.engine.is_online, done.messages
        accepted = None  # recipients by op seq, where some are refused or repeated
        if len(new) < len(done.answers):
            accepted = {message.op_seq: message.recipient_id for message in new}
        op_seq = done.first_op_seq
        seconds = nanos = last_time_us = 0
        for offset, (conversation_seq, time_us) in enumerate(done.answers):
            if conversation_seq:
                if time_us != last_time_us:  # mostly that of the one before
                    last_time_us, seconds, nanos = time_us, time_us // 1_000_000, time_us % 1_000_000 * 1_000
                sent = add().sent
                sent.op_seq = op_seq
                sent.conversation_seq = conversation_seq
                sent_time = sent.sent_time
                sent_time.seconds = seconds
                sent_time.nanos = nanos
                if is_online(accepted.get(op_seq, 0) if accepted is not None else new[offset].recipient_id):
                    sent.recipient_online = True
            else:
                add().CopyFrom(error_event(done.refusals[offset].error(), op_seq, 0))
            op_seq += 1

    def _push(self, item: Message | SendsDone | pb.Event) -> None:
        if not self._ending:
            self._waiting.append(item)
            if self._idle is not None:
                self._wake_writer()

    def _refuse(self, error: ChatError, op_seq: int = 0, tag: int = 0) -> None:
        self._push(error_event(error, op_seq, tag))

    # ---- operations

    async def _handle(self, raw: bytes) -> None:
        """Carry out a frame. Returns when the next one may be read."""
        try:
            frame = pb.SessionRequest.FromString(raw)
        except DecodeError:
            self._refuse(
                MalformedFrame("the frame is no SessionRequest with UTF-8 text; nothing of it was carried out")
            )
            await self._room()
            return
        operations = frame.operations
        if len(operations) > FRAME_EVENTS_MAX:
            self._refuse(
                FrameTooLarge(
                    f"a frame has at most {FRAME_EVENTS_MAX:,} operations, this one has {len(operations):,}; "
                    "nothing of it was carried out",
                    limit=FRAME_EVENTS_MAX,
                ),
                operations[0].op_seq,
                operations[0].tag,
            )
            await self._room()
            return
        self._answered_op_seq = max(self._answered_op_seq, frame.answered_op_seq)
        sends: list[pb.Operation] = []  # neighbours, which become one command
        for operation in operations:
            kind = operation.WhichOneof("kind")
            if kind == "send" and self._logged_in:
                sends.append(operation)
                continue
            if sends:
                self._submit_sends(sends)
                sends = []
            try:
                await self._carry_out(kind, operation)
            except ChatError as error:
                self._refuse(error, operation.op_seq, operation.tag)
            if self._ending:
                return
        if sends:
            self._submit_sends(sends)
        await self._room()

    async def _carry_out(self, kind: str | None, operation: pb.Operation) -> None:
        if kind is None:
            raise UnknownOperation("an operation without a kind that this server knows")
        if kind == "login":
            await self._log_in(operation.login, operation.tag)
            return
        if not self._logged_in:
            raise NotLoggedIn("the first operation must be a login")
        match kind:
            case "acknowledge":
                self._acknowledge_explicitly(operation.acknowledge.inbox_seq)
            case "list_accounts":
                await self._all_outcomes()  # a session reads what it has written
                asked = operation.list_accounts
                page = await reads.accounts(self.engine, asked.pattern, asked.page_size, asked.page_token)
                await self._push_page(pb.Event(tag=operation.tag, accounts=page))
            case "history":
                await self._all_outcomes()
                if self.engine.account_id(self._user) != self.account_id:
                    raise Refusal(Reason.ACCOUNT_DELETED).error()  # whoever has the name now is somebody else
                history = operation.history
                part = await reads.conversation(self.engine, self._user, history.peer, history.limit, history.before)
                await self._push_page(pb.Event(tag=operation.tag, conversation=part))
            case "delete_account":
                await self._delete_account(operation)
            case "logout":
                await self._all_outcomes()
                await self._log_out(operation.tag)
            case "ping":
                self._push(pb.Event(tag=operation.tag, pong=pb.Pong()))
            case _:
                raise AssertionError(f"unhandled operation {kind}")

    async def _room(self) -> None:
        """Wait until the session and the engine have room for another frame."""
        while not self._ending and (
            self._without_outcome >= WINDOW_OPS
            or self._answers_waiting >= 2 * WINDOW_OPS
            or len(self._waiting) >= 2 * WINDOW_OPS
        ):
            event = self._outcome_came if self._without_outcome >= WINDOW_OPS else self._written
            event.clear()
            await event.wait()
        await self.engine.room()

    async def _push_page(self, page: pb.Event) -> None:
        """Push an event as large as a frame; returns when the next one may be read."""
        if not self._ending:
            self._pages_waiting += 1
            self._push(page)
        while self._pages_waiting and not self._ending:
            self._written.clear()
            await self._written.wait()

    async def _all_outcomes(self) -> None:
        while self._without_outcome and not self._ending:
            self._outcome_came.clear()
            await self._outcome_came.wait()

    async def _outcome(self, command: OpenSession | DeleteAccount | RetireClient) -> Outcome:
        """Have one command carried out.

        Raises:
            ChatError: it was refused, or this server can't say what came of it.
        """
        (outcome,) = await self.engine.execute(command)
        if isinstance(outcome, Refusal):
            raise outcome.error()
        return outcome

    # ---- login and logout

    async def _log_in(self, login: pb.Login, tag: int) -> None:
        if self._logged_in:
            raise AlreadyLoggedIn(f"this stream is logged in as {self._user}")
        if refusal := check_name(login.user):
            raise refusal.error()
        client_id = login.client_id or secrets.token_bytes(CLIENT_ID_BYTES)
        if len(client_id) != CLIENT_ID_BYTES:
            raise Refusal(Reason.INVALID_CLIENT_ID).error()
        self.client_id, self._receives = client_id, not login.send_only
        self._explicit, self._retires = login.explicit_acknowledgement, login.retire_client or not login.client_id
        opened: asyncio.Future[SessionOpened] = asyncio.get_running_loop().create_future()

        def done(outcome: Outcome | Unavailable) -> None:
            # Here and not after the await, so that no message comes between the login and the subscription.
            if opened.cancelled():
                return
            if isinstance(outcome, SessionOpened):
                self._open(outcome, login.received_inbox_seq)
                opened.set_result(outcome)
            elif isinstance(outcome, Refusal):
                opened.set_exception(outcome.error())
            else:
                assert isinstance(outcome, Unavailable)
                opened.set_exception(outcome)

        first_unanswered = max(1, login.first_unanswered_op_seq)
        async with self._logins:
            if self._ending:
                return
            self.engine.submit(
                OpenSession(
                    login.user, client_id, self._receives, not login.existing_only, login.incarnation, first_unanswered
                ),
                done,
            )
            outcome = await opened
        status = self.engine.status()
        self._push(
            pb.Event(
                tag=tag,
                welcome=pb.Welcome(
                    user=outcome.user,
                    created=outcome.created,
                    client_id=client_id,
                    incarnation=outcome.incarnation,
                    next_op_seq=outcome.next_op_seq,
                    acknowledged_inbox_seq=outcome.cursor,
                    last_inbox_seq=outcome.last_inbox_seq,
                    epoch=status.epoch,
                    cluster_id=status.cluster_id,
                    servers=[member.address for member in status.members],
                ),
            )
        )
        self._welcomed = True
        self._wake_writer()

    def _open(self, outcome: SessionOpened, received_inbox_seq: int) -> None:
        self._logged_in = True
        self.account_id, self.incarnation = outcome.account_id, outcome.incarnation
        self._user, self._next_op_seq = outcome.user, outcome.next_op_seq
        if self._receives:
            self._last = self.engine.subscribe(self)
            self._acknowledged = self._pushed = min(max(outcome.cursor, received_inbox_seq), self._last)
            if self._pushed > outcome.cursor:
                self.engine.acknowledge(self.account_id, self._pushed)
        self.on_login(self)

    async def _log_out(self, tag: int = 0) -> None:
        """End the session once its acknowledgements can no longer be lost."""
        if self._logged_in and not self._ending:
            try:
                if not self._explicit and self._receives:
                    await self._all_delivered()
                await self.engine.flush_acknowledgements()
                if self._retires:
                    await self._outcome(RetireClient(self.client_id))
            except Unavailable as error:
                self.end(pb.LOGOUT_REASON_SERVER_LEAVING, str(error))
        self._push(pb.Event(tag=tag, logged_out=pb.LoggedOut(reason=pb.LOGOUT_REASON_REQUESTED, message="logged out")))
        self._ending = True
        self._wake_writer()

    async def _all_delivered(self) -> None:
        """Wait until all messages up to now are written; later ones wait for the next login."""
        last = self._last
        while self._acknowledged < last and not self._ending:
            self._written.clear()
            await self._written.wait()
        self._leave_engine()
        self._receives = False
        while self._waiting and not self._ending:
            self._written.clear()
            await self._written.wait()

    async def _delete_account(self, operation: pb.Operation) -> None:
        op_seq = self._take_op_seq(operation.op_seq)
        if op_seq is None:
            return
        self._next_op_seq = max(self._next_op_seq, op_seq + 1)
        await self._all_outcomes()
        self._deleting = True  # the engine's word that the account is gone is expected; the answer says it
        try:
            outcome = await self._outcome(DeleteAccount(self.client_id, op_seq))
        except Unavailable:
            self._next_op_seq = min(self._next_op_seq, op_seq)
            raise
        finally:
            self._deleting = False
        assert isinstance(outcome, AccountGone)
        if self._retires:
            await self._outcome(RetireClient(self.client_id))
        self._push(pb.Event(tag=operation.tag, account_deleted=pb.AccountDeleted(user=outcome.user)))
        self.end(pb.LOGOUT_REASON_ACCOUNT_DELETED, "the account was deleted")

    # ---- sends

    def _take_op_seq(self, op_seq: int) -> int | None:
        """The op seq of an operation: its own, or the next one if the server counts. None: it was refused."""
        if self._client_counts is None:
            self._client_counts = op_seq > 0
        if self._client_counts != (op_seq > 0):
            self._refuse(OpSeqMixed("either all operations of a session have an op seq or none"), op_seq)
            return None
        if op_seq > self._next_op_seq:
            self._refuse(Refusal(Reason.OP_SEQ_GAP, self._next_op_seq).error(), op_seq)
            return None
        return op_seq or self._next_op_seq

    def _submit_sends(self, operations: list[pb.Operation]) -> None:
        """Submit sends, those with consecutive op seqs as one command."""
        first_op_seq = 0
        messages: list[tuple[str, str]] = []
        refused: dict[int, tuple[int, int]] = {}
        for operation in operations:
            op_seq = self._take_op_seq(operation.op_seq)
            if op_seq is None:
                continue
            if op_seq != first_op_seq + len(messages):
                if messages:
                    self._submit(first_op_seq, messages, refused)
                first_op_seq, messages, refused = op_seq, [], {}
            send = operation.send
            to, text = send.to, send.text
            if not 1 <= len(text) <= TEXT_CODE_POINTS_MAX:
                refused[len(messages)] = (Reason.INVALID_TEXT, len(text))
                text = ""  # a text that is not allowed does not go into the log
            if len(to) > 4 * NAME_CODE_POINTS_MAX:
                to = to[: 4 * NAME_CODE_POINTS_MAX + 1]  # too long for a name in any composition
            messages.append((to, text))
            if op_seq >= self._next_op_seq:
                self._next_op_seq = op_seq + 1
        if messages:
            self._submit(first_op_seq, messages, refused)

    def _submit(self, first_op_seq: int, messages: list[tuple[str, str]], refused: dict[int, tuple[int, int]]) -> None:
        count = len(messages)
        self._without_outcome += count

        def done(outcome: Outcome | Unavailable) -> None:
            self._without_outcome -= count
            self._outcome_came.set()
            if type(outcome) is SendsDone:
                if not self._ending:
                    self._answers_waiting += count
                    self._push(outcome)
                return
            if isinstance(outcome, NotPrimary | NotReady):
                # What became of them is not known here; the client sends them again where it is.
                self.end(pb.LOGOUT_REASON_SERVER_LEAVING, str(outcome))
                return
            assert isinstance(outcome, Unavailable | Refusal)
            error = outcome if isinstance(outcome, Unavailable) else outcome.error()
            for op_seq in range(first_op_seq, first_op_seq + count):
                self._refuse(error, op_seq)
            # They did not take their numbers.
            self._next_op_seq = min(self._next_op_seq, first_op_seq)

        keep_answers = bool(self._client_counts)
        self.engine.submit(
            Sends(self.client_id, first_op_seq, self._answered_op_seq, keep_answers, messages, refused), done
        )

    # ---- delivery

    def deliver(self, message: Message) -> None:
        """Engine: a message for the account. Pushed now if all before it were, and there is credit."""
        self._last = message.inbox_seq
        if self._live and self._last - self._acknowledged <= CREDIT_MESSAGES:
            self._pushed = self._last
            self._push(message)
        else:
            self._live = False
            self._wake_writer()

    def replaced(self) -> None:
        """Engine: a later login receives for the account."""
        self.end(pb.LOGOUT_REASON_REPLACED, "another login of the same name has replaced this one")

    def account_deleted(self) -> None:
        """Engine: the account is gone."""
        if self._deleting:
            return
        self.end(pb.LOGOUT_REASON_ACCOUNT_DELETED, "the account was deleted")

    def _may_catch_up(self) -> bool:
        return (
            self._welcomed
            and self._receives
            and not self._live
            and not self._ending
            and self._pushed - self._acknowledged < CREDIT_MESSAGES
        )

    async def _catch_up(self) -> bool:
        """Push a page of what waits in the inbox, or find that messages can go out as they come.

        Returns:
            Whether there is anything to write.
        """
        if self._pushed < self._last:
            room = CREDIT_MESSAGES - (self._pushed - self._acknowledged)
            last = self._last
            page = await self.engine.read_inbox(self.account_id, self._pushed, room)
            if self._ending or not self._receives:
                return bool(self._waiting)  # they are pushed to another session
            # What is left out below the first was acknowledged by a session before this one, at its last moment.
            first = page[0].inbox_seq if page else last + 1
            assert all(message.inbox_seq == first + place for place, message in enumerate(page)), "an inbox has no gaps"
            self._waiting += page
            self._pushed = first + len(page) - 1
            self._acknowledged = max(self._acknowledged, first - 1)
        if self._pushed == self._last:
            self._live = True
        return bool(self._waiting)

    def _acknowledge_explicitly(self, inbox_seq: int) -> None:
        if inbox_seq > self._pushed:
            raise AcknowledgedTooMuch(
                f"message {inbox_seq} was acknowledged, the last one pushed is {self._pushed}", pushed=self._pushed
            )
        self._acknowledge(inbox_seq)

    def _acknowledge(self, inbox_seq: int) -> None:
        if inbox_seq > self._acknowledged:
            self._acknowledged = inbox_seq
            self.engine.acknowledge(self.account_id, inbox_seq)
            if not self._live:
                self._wake_writer()
