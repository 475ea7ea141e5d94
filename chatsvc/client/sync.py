"""The synchronous client: an `AsyncClient` on a background thread."""

import threading
from collections import deque
from collections.abc import Coroutine, Iterator, Sequence
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any, Self, TypeVar

from chatsvc.client.aio import AsyncClient, OnMessage, OnState, is_own_end
from chatsvc.client.background import Background
from chatsvc.client.cluster import STATUS_S, AsyncCluster
from chatsvc.client.errors import QueueFull
from chatsvc.client.outbox import QUEUE_MAX
from chatsvc.client.paging import HISTORY_DEFAULT, PAGE_MAX
from chatsvc.client.search import Timing
from chatsvc.client.values import Account, AccountPage, ClusterStatus, Message, Receipt, State

T = TypeVar("T")


class _Bridged(AsyncClient):
    """An `AsyncClient` whose messages are taken by another thread."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.arrived: SimpleQueue[Message | None] = SimpleQueue()  # None: nothing more comes

    def _keep(self, message: Message) -> None:
        self.arrived.put(message)

    def _end(self, error: BaseException) -> None:
        super()._end(error)
        self.arrived.put(None)


class Client:
    """A user's session for programs without an event loop; see `AsyncClient`. Made by `connect`.

    A background thread does the work; it ends with the last client. Methods may be called from any thread, and all
    that wait can be interrupted (Ctrl-C). Callbacks run on the background thread; of this client they may call
    only what does not wait.
    """

    def __init__(self, background: Background, client: _Bridged) -> None:
        """See `connect`."""
        self._background, self._client = background, client
        self._lock = threading.Lock()
        self._released = False
        # Handed over to the loop all at once, however many there are: waking it takes longer than a send.
        self._handed: deque[tuple[str, str, Future[Receipt]]] = deque()
        self._acknowledged: Message | None = None
        self._handing = False

    @classmethod
    def connect(
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
        """Find the primary and log in; see `AsyncClient.connect`.

        Raises:
            ConnectError: every server has refused for 5 s, or no primary answered for `give_up_s`.
            ChatError: the login was refused.
            ValueError: an address is none.
        """
        background = Background.hold()
        try:
            client = background.run(
                _Bridged.connect(
                    user,
                    servers,
                    receive=receive,
                    create=create,
                    reconnect=reconnect,
                    give_up_s=give_up_s,
                    on_state=on_state,
                    on_message=on_message,
                    timing=timing,
                )
            )
        except BaseException:
            background.release()
            raise
        return cls(background, client)

    # ---- what is known

    @property
    def user(self) -> str:
        """The user's name as it was first written."""
        return self._client.user

    @property
    def created(self) -> bool:
        """Whether the login made the account."""
        return self._client.created

    @property
    def waiting(self) -> int:
        """How many messages waited at the login."""
        return self._client.waiting

    @property
    def client_id(self) -> bytes:
        """Name of this client, 16 bytes: the first part of its op ids."""
        return self._client.client_id

    @property
    def server(self) -> str:
        """Address of the server that was connected last."""
        return self._client.server

    @property
    def servers(self) -> tuple[str, ...]:
        """All addresses known."""
        return self._client.servers

    @property
    def state(self) -> State:
        """What the client is doing about its connection."""
        return self._client.state

    @property
    def unanswered(self) -> int:
        """How many sends have no answer yet."""
        return self._client.unanswered + len(self._handed)

    # ---- sending

    def send(self, to: str, text: str, timeout_s: float | None = None) -> Receipt:
        """Send a message and wait until it can no longer be lost.

        Raises:
            ChatError: it was refused.
            SessionEnded: the session ended; whether the message was sent is not known.
            TimeoutError: it took longer. The send goes on all the same.
        """
        while True:
            try:
                answer = self.send_nowait(to, text)
            except QueueFull:
                self.room()
            else:
                return answer.result(timeout_s)

    def send_nowait(self, to: str, text: str) -> "Future[Receipt]":
        """Send a message. Never waits.

        Returns:
            Gets the receipt, or why there is none; see `send`.

        Raises:
            QueueFull: more than 4,096 wait to be written; see `room`.
            SessionEnded: the session is over.
        """
        self._client._check(new=True)
        answer: Future[Receipt] = Future()
        with self._lock:
            if not self._has_room:
                raise QueueFull(f"{QUEUE_MAX:,} messages wait to be sent")
            self._handed.append((to, text, answer))
            self._hand_over()
        return answer

    def room(self) -> None:
        """Wait until `send_nowait` takes another message."""
        while not self._has_room:
            self._run(self._client.room())
        self._client._check()

    @property
    def _has_room(self) -> bool:
        return len(self._handed) + len(self._client._session.outbox.waiting) < QUEUE_MAX

    # ---- receiving

    def messages(self, *, acknowledge: bool = True, timeout_s: float | None = None) -> Iterator[Message]:
        """The messages for this user, in order, each once.

        Args:
            acknowledge: whether a message is acknowledged when the next one is asked for. False: `acknowledge` is
                called for it, or it comes again at the next login.
            timeout_s: the iteration ends when no message has come for so long.

        Raises, while it is iterated over:
            SessionEnded, ChatError: why the session ended; after `logout`, `delete_account` and `close` the
                iteration just ends.
        """
        client = self._client
        assert client._on_message is None, "messages go to on_message"
        while True:
            try:
                message = client.arrived.get(timeout=timeout_s)
            except Empty:
                return
            if message is None:
                client.arrived.put(None)  # for whoever asks next
                if is_own_end(client._error, client._session.done_with):
                    return
                client._check()
                raise AssertionError("a session that is over has a reason")
            yield message
            if acknowledge:
                self.acknowledge(message)

    def acknowledge(self, message: Message) -> None:
        """This message and all before it have arrived and need not come again. The server is told soon.

        Raises:
            ValueError: it was not received by this client.
        """
        if message.inbox_seq > self._client._session.inbox.received:
            raise ValueError(f"message {message.inbox_seq} was not received")
        with self._lock:
            if self._acknowledged is None or message.inbox_seq > self._acknowledged.inbox_seq:
                self._acknowledged = message
                self._hand_over()

    # ---- asking

    def list_accounts(self, pattern: str = "", page_size: int = 100, page_token: str = "") -> AccountPage:
        """A page of accounts; see `AsyncClient.list_accounts`."""
        return self._run(self._client.list_accounts(pattern, page_size, page_token))

    def accounts(self, pattern: str = "") -> Iterator[Account]:
        """All accounts that match, page by page."""
        token = ""
        while True:
            page = self.list_accounts(pattern, PAGE_MAX, token)
            yield from page.accounts
            token = page.next_page_token
            if not token:
                return

    def history(self, peer: str, limit: int = HISTORY_DEFAULT, before: int = 0) -> list[Message]:
        """The newest messages of the conversation with another user, oldest first; see `AsyncClient.history`."""
        return self._run(self._client.history(peer, limit, before))

    def ping(self) -> float:
        """Ask the server for a sign of life; returns how long it took, in seconds."""
        return self._run(self._client.ping())

    # ---- the end

    def delete_account(self) -> None:
        """Delete the account of this user; the session is over then."""
        self._run(self._client.delete_account())

    def logout(self) -> None:
        """End the session: everything sent is answered, and what was acknowledged can no longer be lost.

        Raises:
            SessionEnded, ChatError: the session ended in another way.
        """
        if self._released:
            self._client._check()
        self._run(self._client.logout())

    def close(self) -> None:
        """Let go of everything at once. The server sees a connection that breaks. May be called again."""
        with self._lock:
            if self._released:
                return
            self._released = True
        try:
            self._background.run(self._client.close())
        finally:
            self._background.release()
            self._take_handed()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    # ---- to the loop

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        if self._released:
            work.close()
            self._client._check()
        return self._background.run(work)

    def _hand_over(self) -> None:
        """Have `_take_handed` called soon. The lock is held."""
        if not self._handing and not self._released:
            self._handing = True
            self._background.loop.call_soon_threadsafe(self._take_handed)

    def _take_handed(self) -> None:
        with self._lock:
            self._handing = False
            count = len(self._handed)
            acknowledged, self._acknowledged = self._acknowledged, None
        client = self._client
        for _ in range(count):  # one by one, so that whoever counts what waits misses none
            to, text, answer = self._handed.popleft()
            if not answer.set_running_or_notify_cancel():
                continue
            if client._error is not None:
                answer.set_exception(client._error)
            else:
                client._submit(to, text, answer, bounded=False)
        if acknowledged is not None:
            client.acknowledge(acknowledged)


# ---- without a session


def list_accounts(
    pattern: str = "",
    page_size: int = 100,
    page_token: str = "",
    *,
    servers: Sequence[str] | None = None,
    give_up_s: float = 30.0,
) -> AccountPage:
    """A page of accounts; see `AsyncCluster`."""
    with Background.hold() as background:
        return background.run(AsyncCluster(servers, give_up_s=give_up_s).list_accounts(pattern, page_size, page_token))


def accounts(pattern: str = "", *, servers: Sequence[str] | None = None, give_up_s: float = 30.0) -> list[Account]:
    """All accounts that match; see `AsyncCluster`."""
    with Background.hold() as background:
        return background.run(AsyncCluster(servers, give_up_s=give_up_s).accounts(pattern))


def history(
    user: str,
    peer: str,
    limit: int = HISTORY_DEFAULT,
    before: int = 0,
    *,
    servers: Sequence[str] | None = None,
    give_up_s: float = 30.0,
) -> list[Message]:
    """The newest messages between two users, oldest first; see `AsyncCluster`."""
    with Background.hold() as background:
        return background.run(AsyncCluster(servers, give_up_s=give_up_s).history(user, peer, limit, before))


def delete_account(user: str, *, servers: Sequence[str] | None = None, give_up_s: float = 30.0) -> None:
    """Delete an account; see `AsyncCluster`."""
    with Background.hold() as background:
        background.run(AsyncCluster(servers, give_up_s=give_up_s).delete_account(user))


def status(servers: Sequence[str] | None = None, timeout_s: float = STATUS_S) -> ClusterStatus:
    """What the servers say of themselves; see `AsyncCluster`."""
    with Background.hold() as background:
        return background.run(AsyncCluster(servers).status(timeout_s))


def force_promote(address: str) -> int:
    """Make one server primary although the rules forbid it; see `AsyncCluster`."""
    with Background.hold() as background:
        return background.run(AsyncCluster([address]).force_promote(address))
