"""Fixtures for tests against a real server in this process, on a port of its own."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from grpc import aio

from chatsvc.replication import Timers
from chatsvc.server import Server, ServerSettings
from chatsvc.v1 import chat_pb2 as pb
from chatsvc.v1.chat_pb2_grpc import ChatStub

DEADLINE_S = 10.0

FAST = Timers().scaled(0.1)
"""For a cluster of one, which waits for nobody."""


class Stream:
    """A `Chat.Session` stream by hand: operations up, events down one by one."""

    def __init__(self, call: aio.StreamStreamCall[Any, Any]) -> None:
        self.call = call
        self._events: list[pb.Event] = []

    async def send(self, *operations: pb.Operation, answered_op_seq: int = 0) -> None:
        """Write one frame."""
        await self.call.write(pb.SessionRequest(operations=operations, answered_op_seq=answered_op_seq))

    async def login(self, user: str, **fields: Any) -> pb.Welcome:
        """Log in and take the welcome."""
        await self.send(pb.Operation(login=pb.Login(user=user, **fields)))
        return await self.expect("welcome")

    async def say(self, to: str, *texts: str, op_seq: int = 0) -> None:
        """Send messages in one frame, by default without op seqs."""
        await self.send(
            *(
                pb.Operation(op_seq=op_seq + offset if op_seq else 0, send=pb.Send(to=to, text=text))
                for offset, text in enumerate(texts)
            )
        )

    async def event(self) -> pb.Event:
        """The next event."""
        while not self._events:
            async with asyncio.timeout(DEADLINE_S):
                frame = await self.call.read()
            assert frame is not aio.EOF, "the stream ended"
            self._events += frame.events
        return self._events.pop(0)

    async def expect(self, kind: str) -> Any:
        """The next event, which must be of this kind; its content."""
        event = await self.event()
        assert event.WhichOneof("kind") == kind, event
        return getattr(event, kind)

    async def expect_end(self) -> None:
        """The server has nothing more to say and ends the stream with OK."""
        assert not self._events, self._events
        async with asyncio.timeout(DEADLINE_S):
            assert await self.call.read() is aio.EOF
        assert (await self.call.code()).name == "OK"


class RunningServer:
    """A server in this process with everything a test needs of it."""

    def __init__(self, settings: ServerSettings) -> None:
        self.settings = settings
        self.server: Server
        self.failures: list[Exception | None] = []
        self.channels: list[aio.Channel] = []

    @property
    def address(self) -> str:
        """host:port."""
        return self.server.address

    async def start(self) -> None:
        """Start, or start again with the same directory and port."""
        self.server = Server(self.settings, self.failures.append)
        await self.server.start()
        assert self.server.node is not None
        async with asyncio.timeout(DEADLINE_S):
            await self.server.node.serving()

    async def stop(self) -> None:
        """Stop as SIGTERM does."""
        await self.server.stop()

    def channel(self) -> aio.Channel:
        """A new connection."""
        options = (("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1))
        channel = aio.insecure_channel(self.address, options=options)
        self.channels.append(channel)
        return channel

    def stub(self) -> Any:
        """Service Chat on a new connection."""
        return ChatStub(self.channel())

    def stream(self) -> Stream:
        """A new session stream on a new connection."""
        return Stream(self.stub().Session())


StartServer = Callable[..., Awaitable[RunningServer]]


@pytest.fixture
async def start_server(tmp_path: Path) -> AsyncIterator[StartServer]:
    """Starts servers, by default one on a free port with a directory of its own; stops them at the end."""
    running: list[RunningServer] = []

    async def start(**settings: Any) -> RunningServer:
        settings.setdefault("data_dir", tmp_path / f"data{len(running)}")
        settings.setdefault("listen", "127.0.0.1:0")
        settings.setdefault("timers", FAST)
        server = RunningServer(ServerSettings(**settings))
        running.append(server)
        await server.start()
        return server

    yield start
    for server in running:
        for channel in server.channels:
            await channel.close()
        await server.stop()


@pytest.fixture
async def server(start_server: StartServer) -> RunningServer:
    """A running server."""
    return await start_server()
