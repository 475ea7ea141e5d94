"""Servers for tests of the client: scripted ones for what no real server can be made to do, and a real process."""

import asyncio
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from grpc import StatusCode, aio

from chatsvc.client import Timing
from chatsvc.v1 import chat_pb2 as pb
from chatsvc.v1 import replication_pb2 as rpb
from chatsvc.v1.chat_pb2_grpc import ChatServicer, add_ChatServicer_to_server
from chatsvc.v1.replication_pb2_grpc import ReplicationServicer, add_ReplicationServicer_to_server

DEADLINE_S = 10.0
CLUSTER = b"c" * 16


class ScriptedStream:
    """A stream as its script sees it: operations come in one by one, events go out."""

    def __init__(self, context: Any) -> None:
        self.context = context
        self.frames: list[pb.SessionRequest] = []
        self._operations: list[pb.Operation] = []

    async def operation(self, kind: str | None = None) -> pb.Operation:
        """The next operation, which must be of this kind."""
        while not self._operations:
            frame = await self.context.read()
            if frame is aio.EOF:
                await self.hang()
            self.frames.append(frame)
            self._operations += frame.operations
        operation = self._operations.pop(0)
        assert kind in (None, operation.WhichOneof("kind")), operation
        return operation

    async def write(self, *events: pb.Event) -> None:
        """Send a frame."""
        await self.context.write(pb.SessionResponse(events=events))

    async def welcome(self, **fields: Any) -> pb.Login:
        """Accept the login, which it returns."""
        operation = await self.operation("login")
        fields.setdefault("user", operation.login.user)
        fields.setdefault("next_op_seq", max(1, operation.login.first_unanswered_op_seq))
        fields.setdefault("incarnation", 0 if operation.login.send_only else 1)
        fields.setdefault("epoch", 1)
        fields.setdefault("cluster_id", CLUSTER)
        welcome = pb.Welcome(client_id=operation.login.client_id, **fields)
        await self.write(pb.Event(tag=operation.tag, welcome=welcome))
        return operation.login

    async def refuse(self, operation: pb.Operation, reason: int, message: str = "no", **metadata: str) -> None:
        """Refuse an operation."""
        error = pb.Error(reason=reason, message=message, op_seq=operation.op_seq, metadata=metadata)  # type: ignore[arg-type]
        await self.write(pb.Event(tag=operation.tag, error=error))

    async def push(self, *inbox_seqs: int) -> None:
        """Push messages."""
        await self.write(
            *(
                pb.Event(message=pb.Message(sender="a", recipient="b", text=f"m{seq}", inbox_seq=seq))
                for seq in inbox_seqs
            )
        )

    async def log_out(self, reason: int, message: str = "bye") -> None:
        """Say goodbye."""
        await self.write(pb.Event(logged_out=pb.LoggedOut(reason=reason, message=message)))  # type: ignore[arg-type]

    async def answer(self, operation: pb.Operation) -> bool:
        """Answer as a server does; False: that was the log out."""
        match operation.WhichOneof("kind"):
            case "send":
                await self.write(pb.Event(sent=pb.Sent(op_seq=operation.op_seq, conversation_seq=operation.op_seq)))
            case "ping":
                await self.write(pb.Event(tag=operation.tag, pong=pb.Pong()))
            case "logout":
                await self.log_out(pb.LOGOUT_REASON_REQUESTED, "logged out")
                return False
        return True

    async def serve(self) -> None:
        """Answer everything until the log out."""
        while await self.answer(await self.operation()):
            pass

    async def hang(self) -> None:
        """Do nothing more."""
        await asyncio.Event().wait()


Script = Callable[[ScriptedStream], Awaitable[None]]


async def serve(stream: ScriptedStream) -> None:
    """The script of a good server."""
    await stream.welcome()
    await stream.serve()


class ScriptedServer(ChatServicer, ReplicationServicer):
    """Says of itself what its attributes say, and gives each stream the next of its scripts.

    Attributes:
        scripts: of the streams to come; the last one serves all further ones.
        failures: assertions of scripts that failed.
        asked: how many times it was asked for its status.
        news: if there is one, answers that may be held back are held until it is set.
    """

    def __init__(self, *scripts: Script) -> None:
        self.scripts = list(scripts) or [serve]
        self.role, self.epoch, self.primary, self.cluster_id = rpb.ROLE_PRIMARY, 1, "", CLUSTER
        self.members: list[str] = []
        self.hangs = False
        self.news: asyncio.Event | None = None
        self.failures: list[BaseException] = []
        self.asked = self.streams = 0
        self._asked_again = asyncio.Event()
        self.address = "127.0.0.1:0"
        self.details = rpb.GetStatusResponse()
        self._server: aio.Server | None = None

    async def start(self) -> None:
        """Start, or start again on the same port."""
        self._server = aio.server(options=(("grpc.so_reuseport", 0),))
        add_ChatServicer_to_server(self, self._server)
        add_ReplicationServicer_to_server(self, self._server)
        port = self._server.add_insecure_port(self.address)
        self.address = f"127.0.0.1:{port}"
        await self._server.start()

    async def stop(self) -> None:
        """Cut everything at once."""
        if self._server is not None:
            await self._server.stop(None)
            self._server = None

    async def was_asked(self, times: int) -> None:
        """Wait until it was asked for its status so often."""
        while self.asked < times:
            self._asked_again.clear()
            await self._asked_again.wait()

    async def Session(self, request_iterator: Any, context: Any) -> None:
        """Run the next script."""
        self.streams += 1
        script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
        try:
            await script(ScriptedStream(context))
        except AssertionError as error:
            self.failures.append(error)
            raise

    async def GetStatus(self, request: Any, context: Any) -> rpb.GetStatusResponse:
        """Say what the attributes say."""
        self.asked += 1
        self._asked_again.set()
        if self.hangs:
            await asyncio.Event().wait()
        if self.news is not None and request.wait_ms:
            try:
                async with asyncio.timeout(request.wait_ms / 1_000):
                    await self.news.wait()
            except TimeoutError:
                pass
        response = rpb.GetStatusResponse(
            cluster_id=self.cluster_id,
            mode="available",
            epoch=self.epoch,
            primary=self.primary,
            serving=self.role == rpb.ROLE_PRIMARY,
            self=rpb.Member(name=self.address, address=self.address, role=self.role),
            members=[rpb.Member(name=address, address=address) for address in self.members],
        )
        response.MergeFrom(self.details)
        return response


StartScripted = Callable[..., Awaitable[ScriptedServer]]


@pytest.fixture
async def scripted() -> AsyncIterator[StartScripted]:
    """Starts scripted servers; stops them at the end and fails if a script has failed."""
    started: list[ScriptedServer] = []

    async def start(*scripts: Script, **attributes: Any) -> ScriptedServer:
        server = ScriptedServer(*scripts)
        for name, value in attributes.items():
            setattr(server, name, value)
        started.append(server)
        await server.start()
        return server

    yield start
    for server in started:
        await server.stop()
    assert [failure for server in started for failure in server.failures] == []


@pytest.fixture
def fast() -> Timing:
    """Waits short enough for tests of what happens after them."""
    return Timing(connect_s=0.5, refused_s=0.3, ping_s=0.1, idle_s=0.3, acknowledge_s=0.01)


@pytest.fixture
def abort() -> Callable[..., Script]:
    """Makes scripts that end a stream with a status."""

    def make(code: StatusCode, details: str = "no", metadata: tuple[tuple[str, bytes], ...] = ()) -> Script:
        async def script(stream: ScriptedStream) -> None:
            await stream.context.abort(code, details, metadata)

        return script

    return make


@pytest.fixture
def free_port() -> int:
    """A port on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


SERVE = """
import pathlib, sys
from chatsvc.server import ServerSettings, run
settings = ServerSettings(data_dir=pathlib.Path(sys.argv[1]), listen=sys.argv[2])
run(settings, lambda server, condition: print(server.address, flush=True))
"""


class ServerProcess:
    """A real server in a process of its own."""

    def __init__(self, data_dir: Path) -> None:
        self.address, self._data_dir = "127.0.0.1:0", data_dir
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start, or start again on the same port; returns when it serves."""
        command = [sys.executable, "-c", SERVE, str(self._data_dir), self.address]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        address = self._process.stdout.readline().strip()
        if not address:
            self.kill()
            raise AssertionError("the server has not started")
        self.address = address

    def kill(self) -> None:
        """kill -9."""
        assert self._process is not None
        assert self._process.stdout is not None
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()


@pytest.fixture
def server_process(tmp_path: Path) -> Iterator[ServerProcess]:
    """A real server in a process of its own, running."""
    process = ServerProcess(tmp_path / "process")
    process.start()
    yield process
    process.kill()
