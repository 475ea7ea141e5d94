"""The asynchronous client."""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from types import TracebackType
from typing import Any, Self

import msgspec
from grpc import aio

from chatsvc.client.addresses import checked_servers
from chatsvc.client.errors import ClientClosed, ConnectionLost, LoggedOut, ProtocolError, ServersGone
from chatsvc.client.outbox import Operation
from chatsvc.client.paging import HISTORY_DEFAULT, every_account, newest_messages
from chatsvc.client.search import Answer, NoPrimary, Servers, Timing, next_pause, search
from chatsvc.client.session import Lost, Session, Wish
from chatsvc.client.stream import Link, Stream, log_in
from chatsvc.client.values import Account, AccountPage, Message, Receipt, State, to_account_page
from chatsvc.domain.errors import ChatError, NotPrimary, Reason, Refusal
from chatsvc.domain.limits import NAME_CODE_POINTS_MAX, TEXT_CODE_POINTS_MAX
from chatsvc.v1 import chat_pb2 as pb

log = logging.getLogger(__name__)

LOGIN_S_MAX = 5.0
"""Longest wait for one answer to a login. The first is as short as for any other answer, and it doubles."""

OnState = Callable[[State, str], None]
OnMessage = Callable[[Message], None]


class AsyncClient:
    """A user's session, which follows the primary through crashes and changes. Made by `connect`.

    Every operation is carried out once, however often the connection breaks: what has no answer is sent again, in
    order and under the same op id. Every message comes out once and in order.

    All methods belong to the event loop on which the client was made. When the session is over they raise the
    `SessionEnded` (or the refusal) that ended it. As a context manager it closes at the end; `logout` before that is
    what brings everything to its proper end.

    Cancelling a call is safe. A send that was cancelled before it was written is not sent, otherwise it is carried
    out all the same.
    """

    def __init__(self, session: Session, servers: Servers, reconnect: bool, on_state: OnState | None) -> None:
        """See `connect`."""
        self._session, self._servers, self._reconnect, self._on_state = session, servers, reconnect, on_state
        self._on_message: OnMessage | None = None
        self._state = State.CONNECTING
        self._server = ""
        self._first: pb.Welcome | None = None
        self._login_s = session.timing.connect_s
        self._error: BaseException | None = None
        self._messages: deque[Message] = deque()
        self._something_came = asyncio.Event()
        self._connected = asyncio.Event()
        self._task: asyncio.Task[None]

    @classmethod
    async def connect(
        cls,
        user: str,
        servers: Sequence[str] | None = None,
        *,
        receive: bool = True,
        create: bool = True,
        reconnect: bool = True,
        give_up_s: float = 30.0,
        on_state: OnState | None = None,
        on_message: OnMessage | None = None,
        timing: Timing | None = None,
    ) -> Self:
        """Find the primary and log in. Cancelling is safe; the account may have been made.

        Args:
            user: name to log in with.
            servers: addresses (host:port) of which one has to be reachable; the others are learned. None:
                `default_servers`.
            receive: whether messages are received. Such a session ends another one of the same user.
            create: whether an unknown name becomes an account.
            reconnect: whether the client makes another connection when the first is lost.
            give_up_s: how long no primary may answer.
            on_state: called with each new state, and with what is to be said of it: the server's address
                (connected), or why (reconnecting, closed).
            on_message: called with each message, in order; it counts as acknowledged when the call returns. It
                must not block. None: messages are taken with `messages`.
            timing: the other waits; its `give_up_s` is not used.

        Raises:
            ConnectError: every server has refused for 5 s, or no primary answered for `give_up_s`.
            ChatError: the login was refused.
            ValueError: an address is none.
        """
        known = Servers(checked_servers(servers))
        timing = msgspec.structs.replace(timing or Timing(), give_up_s=give_up_s)

        def deliver(message: Message) -> None:
            client._deliver(message)

        client = cls(Session(Wish(user, receive, create), timing, deliver), known, reconnect, on_state)
        client._on_message = on_message
        client._tell(State.CONNECTING, "")
        client._task = asyncio.create_task(client._run(), name=f"chatsvc client of {user}")
        try:
            await client._connected.wait()
        except BaseException:
            await client.close()
            raise
        if client._error is not None:
            await client.close()
            raise client._error.with_traceback(None)
        return client

    # ---- what is known

    @property
    def user(self) -> str:
        """The user's name as it was first written."""
        return self._welcome.user

    @property
    def created(self) -> bool:
        """Whether the login made the account."""
        return self._first is not None and self._first.created

    @property
    def waiting(self) -> int:
        """How many messages waited at the login."""
        first = self._first
        return 0 if first is None else first.last_inbox_seq - first.acknowledged_inbox_seq

    @property
    def client_id(self) -> bytes:
        """Name of this client, 16 bytes: the first part of its op ids."""
        return self._session.client_id

    @property
    def server(self) -> str:
        """Address of the server that was connected last."""
        return self._server

    @property
    def servers(self) -> tuple[str, ...]:
        """All addresses known."""
        return tuple(self._servers)

    @property
    def state(self) -> State:
        """What the client is doing about its connection."""
        return self._state

    @property
    def epoch(self) -> int:
        """Number of the reign of the primary that was connected last."""
        return self._welcome.epoch

    @property
    def cluster_id(self) -> bytes:
        """Identity of the cluster, 16 bytes."""
        return self._welcome.cluster_id

    @property
    def unanswered(self) -> int:
        """How many sends have no answer yet."""
        outbox = self._session.outbox
        return len(outbox.in_flight) + len(outbox.waiting)

    @property
    def _welcome(self) -> pb.Welcome:
        welcome = self._session.welcome
        assert welcome is not None, "a client that was made has been connected"
        return welcome

    # ---- sending

    async def send(self, to: str, text: str) -> Receipt:
        """Send a message and wait until it can no longer be lost.

        Many at once are sent together, in the order of the calls.

        Raises:
            ChatError: it was refused.
            SessionEnded: the session ended; whether the message was sent is not known.
        """
        session = self._session
        while not session.outbox.has_room:
            self._check()
            await session.room()
        return await self.send_nowait(to, text)

    def send_nowait(self, to: str, text: str) -> asyncio.Future[Receipt]:
        """Send a message.

        Returns:
            Gets the receipt, or why there is none; see `send`.

        Raises:
            QueueFull: more than 4,096 wait to be written; see `room`.
            SessionEnded: the session is over.
        """
        self._check(new=True)
        answer: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        self._submit(to, text, answer)
        return answer

    def _submit(self, to: str, text: str, answer: Any, *, bounded: bool = True) -> None:
        operation = Operation(to, text, answer)
        refusal = unsendable(to, text)
        if refusal is not None:
            operation.fail(refusal)
        else:
            self._session.submit(operation, bounded=bounded)

    async def room(self) -> None:
        """Wait until `send_nowait` takes another message."""
        await self._session.room()
        self._check()

    # ---- receiving

    def messages(self, *, acknowledge: bool = True, timeout_s: float | None = None) -> AsyncIterator[Message]:
        """The messages for this user, in order, each once.

        Args:
            acknowledge: whether a message is acknowledged when the next one is asked for. False: `acknowledge` is
                called for it, or it comes again at the next login.
            timeout_s: the iteration ends when no message has come for so long.

        Raises, while it is iterated over:
            SessionEnded, ChatError: why the session ended; after `logout`, `delete_account` and `close` the
                iteration just ends.
        """
        assert self._on_message is None, "messages go to on_message"
        return _Messages(self, acknowledge, timeout_s)

    async def receive(self, timeout_s: float | None = None) -> Message:
        """The next message; nothing is acknowledged. Cancelling is safe and loses nothing.

        Raises:
            TimeoutError: none came for so long.
            SessionEnded, ChatError: the session is over.
        """
        async with asyncio.timeout(timeout_s):
            while not self._messages:
                self._check()
                self._something_came.clear()
                await self._something_came.wait()
        return self._messages.popleft()

    def acknowledge(self, message: Message) -> None:
        """This message and all before it have arrived and need not come again. The server is told soon.

        Raises:
            ValueError: it was not received by this client.
        """
        self._session.acknowledge(message.inbox_seq)

    # ---- asking

    async def list_accounts(self, pattern: str = "", page_size: int = 100, page_token: str = "") -> AccountPage:
        """A page of accounts.

        Args:
            pattern: text that the name contains, or with `*` or `?` a pattern for the whole name; empty: all.
            page_size: most accounts to return, 1 to 1,000.
            page_token: `next_page_token` of the page before.
        """
        asked = pb.ListAccounts(pattern=pattern, page_size=page_size, page_token=page_token)
        page: pb.Accounts = await self._call(pb.Operation(list_accounts=asked))
        return to_account_page(page.accounts, page.next_page_token)

    def accounts(self, pattern: str = "") -> AsyncIterator[Account]:
        """All accounts that match, page by page; see `list_accounts`."""
        return every_account(lambda size, token: self.list_accounts(pattern, size, token))

    async def history(self, peer: str, limit: int = HISTORY_DEFAULT, before: int = 0) -> list[Message]:
        """The newest messages of the conversation with another user, oldest first.

        Args:
            peer: the other user's name; if no account has it now, the account that had it last.
            limit: most messages to return; any number.
            before: only messages with a conversation_seq below this one; 0: up to the newest.

        Raises:
            UnknownAccount: nobody has or had that name.
        """

        async def page(size: int, end: int) -> pb.Conversation:
            asked = pb.History(peer=peer, limit=size, before=end)
            conversation: pb.Conversation = await self._call(pb.Operation(history=asked))
            return conversation

        return await newest_messages(page, limit, before)

    async def ping(self) -> float:
        """Ask the server for a sign of life.

        Returns:
            How long it took, in seconds.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        await self._call(pb.Operation(ping=pb.Ping()))
        return loop.time() - began

    async def _call(self, operation: pb.Operation) -> Any:
        self._check(new=True)
        return await self._session.call(operation)

    # ---- the end

    async def delete_account(self) -> None:
        """Delete the account of this user; the session is over then. Sends before it are carried out before it."""
        self._check(new=True)
        await asyncio.shield(self._session.delete_account())
        await self._ended()

    async def logout(self) -> None:
        """End the session: everything sent is answered, and what was acknowledged can no longer be lost.

        Once called, nothing new is taken, even if the call is cancelled.

        Raises:
            SessionEnded, ChatError: the session ended in another way.
        """
        if self._error is None:
            self._session.leave()
            await self._ended()
        if not (isinstance(self._error, LoggedOut) and self._session.done_with):
            self._check()

    async def close(self) -> None:
        """Let go of everything at once. The server sees a connection that breaks. May be called again."""
        self._task.cancel()
        await self._ended()

    async def _ended(self) -> None:
        await asyncio.wait((self._task,))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def _check(self, *, new: bool = False) -> None:
        if self._error is not None:
            raise self._error.with_traceback(None)
        if new and self._session.leaving:
            raise ClientClosed

    # ---- the session's life

    async def _run(self) -> None:
        """The one task of this client."""
        try:
            await self._live()
        except asyncio.CancelledError:
            self._end(ClientClosed())
            raise
        except Exception as error:
            self._end(error)

    async def _live(self) -> None:
        """Go from stream to stream.

        Raises:
            Exception: why the session is over.
        """
        now = asyncio.get_running_loop().time
        since, pause_s = now(), 0.0
        while True:
            link, channel = await self._find(since, pause_s)
            began = now()
            try:
                self._session.start(link.welcome)
                self._tell_connected(link)
                stream = Stream(self._session, link, self._servers)
                try:
                    await stream.run()
                except Lost as lost:
                    if not self._reconnect:
                        raise ConnectionLost(link.address, str(lost), self.unanswered) from None
                    self._servers.learn([lost.primary])
                    self._tell(State.RECONNECTING, str(lost))
                    if stream.lively or now() - began >= LOGIN_S_MAX:
                        since, pause_s = now(), 0.0
                    elif now() - since >= self._session.timing.give_up_s:
                        raise ServersGone(str(lost)) from None
                    else:
                        pause_s = next_pause(pause_s)
            finally:
                link.call.cancel()
                await channel.close()

    async def _find(self, since: float, pause_s: float) -> tuple[Link, aio.Channel]:
        session = self._session
        first = session.welcome is None
        try:
            return await search(
                self._servers,
                session.timing,
                self._log_in,
                first=first,
                epoch=0 if session.welcome is None else session.welcome.epoch,
                since=since,
                pause_s=pause_s,
            )
        except NoPrimary as failure:
            error = failure.error()
            if first:
                raise error from None
            raise ServersGone(str(error)) from None
        except ChatError as error:
            raise session.refused_login(error) from None

    async def _log_in(self, answer: Answer) -> Link:
        session = self._session
        if session.welcome is not None and answer.status.cluster_id != session.welcome.cluster_id:
            raise NotPrimary("this server belongs to another cluster")
        try:
            link = await log_in(answer, session.login(), self._login_s)
        except TimeoutError:
            self._login_s = min(2 * self._login_s, LOGIN_S_MAX)
            raise
        self._login_s = session.timing.connect_s
        return link

    def _tell_connected(self, link: Link) -> None:
        self._server = link.address
        self._servers.learn(link.welcome.servers)
        if self._first is None:
            self._first = link.welcome
        self._tell(State.CONNECTED, link.address)
        self._connected.set()

    def _deliver(self, message: Message) -> None:
        if self._on_message is None:
            self._keep(message)
        else:
            self._on_message(message)
            self._session.acknowledge(message.inbox_seq)

    def _keep(self, message: Message) -> None:
        """Hold a message until the application takes it."""
        self._messages.append(message)
        self._something_came.set()

    def _tell(self, state: State, detail: str) -> None:
        self._state = state
        if self._on_state is not None:
            try:
                self._on_state(state, detail)
            except Exception:
                log.exception("on_state has failed")

    def _end(self, error: BaseException) -> None:
        if isinstance(error, ProtocolError) or not isinstance(error, (LoggedOut, ChatError, ClientClosed)):
            log.error("the session of %s ends", self._session.wish.user, exc_info=error)
        self._error = error
        self._session.fail(error)
        self._something_came.set()
        self._connected.set()
        self._tell(State.CLOSED, str(error))


class _Messages:
    """Iterator of `AsyncClient.messages`."""

    def __init__(self, client: AsyncClient, acknowledge: bool, timeout_s: float | None) -> None:
        self._client, self._acknowledge, self._timeout_s = client, acknowledge, timeout_s
        self._last: Message | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message:
        last, self._last = self._last, None
        if last is not None and self._acknowledge:
            self._client.acknowledge(last)
        try:
            message = self._last = await self._client.receive(self._timeout_s)
        except TimeoutError:
            raise StopAsyncIteration from None
        except (LoggedOut, ClientClosed) as end:
            if is_own_end(end, self._client._session.done_with):
                raise StopAsyncIteration from None
            raise
        return message


def is_own_end(end: BaseException | None, done_with: bool) -> bool:
    """Whether a session ended because the application wished it to."""
    return isinstance(end, ClientClosed) or (isinstance(end, LoggedOut) and done_with)


def unsendable(to: str, text: str) -> ChatError | None:
    """The refusal of a send that no frame can carry; None if it is the server's to judge."""
    if not 1 <= len(text) <= TEXT_CODE_POINTS_MAX:
        return Refusal(Reason.INVALID_TEXT, len(text)).error()
    if len(to) > 4 * NAME_CODE_POINTS_MAX or not _is_unicode(to):
        return Refusal(Reason.INVALID_NAME, len(to), to[: NAME_CODE_POINTS_MAX + 8]).error()
    if not _is_unicode(text):
        error = Refusal(Reason.INVALID_TEXT, len(text)).error()
        error.args = ("the text is no Unicode text: it has surrogates",)
        return error
    return None


def _is_unicode(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
