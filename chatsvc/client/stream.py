"""One stream of a session: login, a reader, a writer, and a watchdog that notices a server that hangs."""

import asyncio
from typing import Any, NoReturn

import msgspec
from grpc import aio

from chatsvc.client.errors import ServersGone, from_event, from_status, why_unreachable
from chatsvc.client.search import Answer, Search, Servers
from chatsvc.client.session import LOGIN_TAG, Lost, Session
from chatsvc.domain.errors import NotReady
from chatsvc.v1 import chat_pb2 as pb
from chatsvc.v1.chat_pb2_grpc import ChatStub


class Link(msgspec.Struct):
    """A stream whose login was accepted.

    Attributes:
        address: of the server.
        call: the stream.
        welcome: answer to the login.
        events: that came with the welcome.
    """

    address: str
    call: aio.StreamStreamCall[Any, Any]
    welcome: pb.Welcome
    events: list[pb.Event]


async def log_in(answer: Answer, login: pb.Login, timeout_s: float) -> Link:
    """Open a stream to a server and log in. Cancelling is safe; the login may have been accepted.

    Raises:
        ChatError: it was refused; `Unavailable` among them: not now, or not by this server.
        AioRpcError, TimeoutError: the server has not answered.
    """
    call: aio.StreamStreamCall[Any, Any] = ChatStub(answer.channel).Session()
    try:
        async with asyncio.timeout(timeout_s):
            try:
                await call.write(pb.SessionRequest(operations=[pb.Operation(tag=LOGIN_TAG, login=login)]))
            except asyncio.InvalidStateError:
                pass  # the stream has ended already, and reading says why
            response: Any = await call.read()
        if response is aio.EOF or not response.events:
            raise NotReady("the server has ended the stream without an answer to the login")
        event, *rest = response.events
        match event.WhichOneof("kind"):
            case "welcome":
                return Link(answer.address, call, event.welcome, rest)
            case "error":
                raise from_event(event.error)
            case "logged_out":
                raise NotReady(event.logged_out.message)
            case kind:
                raise NotReady(f"the server has answered the login with {kind}")
    except aio.AioRpcError as error:
        call.cancel()
        refusal = from_status(error)
        if refusal is None:
            raise
        raise refusal from None
    except BaseException:
        call.cancel()
        raise


class Stream:
    """A session on a link.

    Args:
        session: that goes on here.
        link: whose login was accepted, and whose welcome the session has.
        servers: that are asked for the primary when this one hangs.

    Attributes:
        lively: whether the server has said anything after the welcome.
    """

    def __init__(self, session: Session, link: Link, servers: Servers) -> None:
        self.lively = False
        self._session, self._link, self._servers = session, link, servers
        self._now = asyncio.get_running_loop().time
        self._heard_at = self._now()

    async def run(self) -> NoReturn:
        """Until the stream is lost or the session is over. Cancelling is safe.

        Raises:
            Lost: the session needs another stream.
            SessionEnded, ChatError: the session is over.
        """
        tasks = [asyncio.ensure_future(part()) for part in (self._read, self._write, self._watch)]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            self._link.call.cancel()
        errors = [result for result in results if isinstance(result, Exception)]
        raise next((error for error in errors if not isinstance(error, Lost)), errors[0])

    async def _read(self) -> NoReturn:
        handle = self._session.handle
        for event in self._link.events:
            handle(event)
        read = self._link.call.read
        try:
            while True:
                frame: Any = await read()
                if frame is aio.EOF:
                    raise Lost("the server has ended the stream")
                self._heard_at = self._now()
                self.lively = True
                for event in frame.events:
                    handle(event)
        except aio.AioRpcError as error:
            refusal = from_status(error)
            raise Lost(str(refusal) if refusal is not None else why_unreachable(error, 0)[0]) from None

    async def _write(self) -> NoReturn:
        session, write = self._session, self._link.call.write
        try:
            while True:
                await session.wake.wait()
                session.wake.clear()
                while (frame := session.next_frame()) is not None:
                    await write(frame)
        except (aio.AioRpcError, asyncio.InvalidStateError):
            # The stream is over. The reader, which may still have a goodbye to read, says why.
            await asyncio.Event().wait()
            raise AssertionError("nobody sets that event") from None

    async def _watch(self) -> NoReturn:
        """Ask for signs of life; leave a server that gives none, or brings nothing to an end, for a newer primary."""
        session, timing = self._session, self._session.timing
        ping: asyncio.Future[Any] | None = None
        while True:
            if not session.outstanding:
                await self._idle()
            waited = self._now() - session.progress_at
            if waited < timing.ping_s:
                await asyncio.sleep(timing.ping_s - waited)
                continue
            if ping is None or ping.done():
                ping = session.ask_for_sign()
            await self._look_elsewhere()

    async def _idle(self) -> None:
        """Wait until the server owes an answer. A session that receives sees to that now and then."""
        session = self._session
        try:
            async with asyncio.timeout(session.timing.idle_s if session.wish.receive else None):
                await session.busy.wait()
        except TimeoutError:
            if self._now() - self._heard_at >= session.timing.idle_s:
                session.ask_for_sign()

    async def _look_elsewhere(self) -> None:
        """Ask all servers for a primary of a later reign, until this one answers. Nobody is left for silence alone."""
        session, timing, address = self._session, self._session.timing, self._link.address
        assert session.welcome is not None
        async with Search(self._servers, timing.connect_s, session.welcome.epoch, later=True) as search:
            while session.outstanding and self._now() - session.progress_at >= timing.ping_s:
                found = await search.next(timing.ping_s)
                if found is not None:
                    raise Lost(f"{address} does not answer, {found.address} is the primary", found.address)
                silent_s = self._now() - max(self._heard_at, session.progress_at)
                if silent_s >= timing.give_up_s:
                    raise ServersGone(f"{address} has not answered for {silent_s:.0f} s")
