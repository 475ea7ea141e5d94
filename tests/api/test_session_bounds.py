"""What a session does for clients that are hostile, careless or gone."""

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
from grpc import aio

from chatsvc.api.session import Session, SessionSettings
from chatsvc.domain.commands import Command
from chatsvc.domain.outcomes import Message
from chatsvc.engine import Done
from chatsvc.v1 import chat_pb2 as pb
from chatsvc.v1 import replication_pb2
from chatsvc.v1.replication_pb2_grpc import ReplicationStub

CLIENT_ID = b"client-id-16-byt"
LOGINS = 2
"""So many logins at once in these tests."""


class HeldContext:
    """A stream whose client writes what a test puts, and reads only while it is let."""

    def __init__(self) -> None:
        self.frames: asyncio.Queue[Any] = asyncio.Queue()
        self.taken = 0
        self.reads = asyncio.Event()
        self.reads.set()
        self.events: list[pb.Event] = []
        self._came = asyncio.Event()

    async def read(self) -> Any:
        frame = await self.frames.get()
        self.taken += 1
        return frame

    async def write(self, frame: bytes) -> None:
        await self.reads.wait()
        self.events += pb.SessionResponse.FromString(frame).events
        self._came.set()

    def put(self, *operations: pb.Operation) -> None:
        self.frames.put_nowait(pb.SessionRequest(operations=operations).SerializeToString())

    async def expect(self, kind: str) -> Any:
        """The next event of that kind; what comes before it is dropped."""
        async with asyncio.timeout(10):
            while True:
                while self.events:
                    event = self.events.pop(0)
                    if event.WhichOneof("kind") == kind:
                        return getattr(event, kind)
                self._came.clear()
                await self._came.wait()


class Held:
    """Sessions of a server on streams of that kind."""

    def __init__(self, server: Any) -> None:
        self.engine = server.server.node
        self.logins = asyncio.Semaphore(LOGINS)
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, context: Any) -> Session:
        session = Session(self.engine, context, SessionSettings(), self.logins, lambda session: None)
        self._tasks.append(asyncio.create_task(session.run()))
        return session

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@pytest.fixture
async def held(server: Any) -> AsyncIterator[Held]:
    held = Held(server)
    yield held
    await held.close()


def login(user: str, **fields: Any) -> pb.Operation:
    return pb.Operation(login=pb.Login(user=user, **fields))


def send(to: str, text: str, op_seq: int = 0) -> pb.Operation:
    return pb.Operation(op_seq=op_seq, send=pb.Send(to=to, text=text))


async def taken(context: HeldContext) -> int:
    """Frames that the session has read when it reads no more."""
    before = -1
    while context.taken != before:
        before = context.taken
        await asyncio.sleep(0.3)
    return before


async def test_frames_that_make_no_sense_are_read_only_while_their_refusals_are(held: Held) -> None:
    context = HeldContext()
    held.start(context)
    context.put(login("alice"))
    await context.expect("welcome")
    context.reads.clear()
    for _ in range(5_000):
        context.frames.put_nowait(b"\xff")
    assert await taken(context) < 4_000


async def test_sends_are_taken_only_while_their_answers_are_read(held: Held) -> None:
    context = HeldContext()
    held.start(context)
    context.put(login("alice", send_only=True))
    await context.expect("welcome")
    context.reads.clear()
    for _ in range(20):
        context.put(*[send("alice", "x" * 1_500)] * 1_000)
    assert await taken(context) < 8
    context.reads.set()
    for _ in range(20_000):
        await context.expect("sent")


async def test_a_page_is_read_only_when_the_one_before_it_was_written(
    held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = 0
    read = held.engine.read_conversation

    async def counted(*arguments: Any) -> Any:
        nonlocal pages
        pages += 1
        return await read(*arguments)

    monkeypatch.setattr(held.engine, "read_conversation", counted)
    context = HeldContext()
    session = held.start(context)
    context.put(login("alice", send_only=True), send("alice", "hello"))
    await context.expect("sent")
    context.reads.clear()
    context.put(*[pb.Operation(history=pb.History(peer="alice"))] * 100, pb.Operation(ping=pb.Ping()))
    await taken(context)
    assert pages < 4
    context.reads.set()
    await context.expect("pong")
    assert pages == 100
    assert session._pages_waiting == session._answers_waiting == 0


async def test_nothing_more_is_carried_out_on_a_stream_that_was_ended(held: Held) -> None:
    old, new = HeldContext(), HeldContext()
    held.start(old)
    old.put(login("alice", client_id=CLIENT_ID))
    await old.expect("welcome")
    old.reads.clear()
    old.put(pb.Operation(ping=pb.Ping()))  # its answer keeps the writer, and so the stream
    await taken(old)
    held.start(new)
    new.put(login("alice", client_id=CLIENT_ID))
    await new.expect("welcome")
    old.put(send("alice", "too late"))
    await taken(old)
    old.reads.set()
    assert (await old.expect("logged_out")).reason == pb.LOGOUT_REASON_REPLACED
    assert old.events == []
    new.put(send("alice", "in time"))
    assert (await new.expect("message")).text == "in time"


async def test_messages_acknowledged_at_the_last_moment_are_no_gap(held: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    """An acknowledgement of the session before can arrive between a login and its first page."""
    context = HeldContext()
    held.start(context)
    context.put(login("bob", send_only=True), send("bob", "1"), send("bob", "2"), send("bob", "3"))
    for _ in range(3):
        await context.expect("sent")
    read = held.engine.read_inbox

    async def late(account_id: int, after_inbox_seq: int, limit: int) -> list[Message]:
        return [message for message in await read(account_id, after_inbox_seq, limit) if message.inbox_seq > 2]

    monkeypatch.setattr(held.engine, "read_inbox", late)
    context = HeldContext()
    held.start(context)
    context.put(login("bob"))
    assert (await context.expect("message")).text == "3"
    context.put(send("bob", "4"))
    assert (await context.expect("message")).text == "4"


async def test_the_next_login_gets_nothing_that_the_one_before_has_taken(server: Any) -> None:
    first, second = server.stream(), server.stream()
    await first.login("alice")
    for number in range(5):
        await first.say("alice", f"{number}")
        await first.expect("message")
        await first.expect("sent")
    welcome = await second.login("alice")
    assert welcome.acknowledged_inbox_seq >= 4, "the last one may still be under way"
    await second.say("alice", "last")
    while (await second.expect("message")).text != "last":
        pass


async def test_the_end_of_the_input_brings_all_that_waits_before_the_goodbye(server: Any) -> None:
    alice, bob = server.stream(), server.stream()
    await alice.login("bob", send_only=True)
    await alice.say("bob", *[f"{number}" for number in range(700)])
    for _ in range(700):
        await alice.expect("sent")
    await bob.send(pb.Operation(login=pb.Login(user="bob")))
    await bob.call.done_writing()
    await bob.expect("welcome")
    assert [(await bob.expect("message")).text for _ in range(700)] == [f"{number}" for number in range(700)]
    assert (await bob.expect("logged_out")).reason == pb.LOGOUT_REASON_REQUESTED
    await bob.expect_end()
    again = server.stream()
    assert (await again.login("bob")).acknowledged_inbox_seq == 700


async def test_a_deletion_that_is_refused_leaves_the_session_as_it_was(server: Any) -> None:
    alice = server.stream()
    await alice.login("alice", client_id=CLIENT_ID)
    await alice.say("alice", "one", op_seq=1)
    await alice.expect("message")
    await alice.expect("sent")
    await alice.send(pb.Operation(op_seq=1, delete_account=pb.DeleteAccount()))
    assert (await alice.expect("error")).reason == pb.ERROR_REASON_IDEMPOTENCY_MISMATCH
    await alice.say("alice", "two", op_seq=2)
    assert (await alice.expect("message")).text == "two"
    await alice.expect("sent")
    await alice.send(pb.Operation(op_seq=3, delete_account=pb.DeleteAccount()))
    assert (await alice.expect("account_deleted")).user == "alice"
    assert (await alice.expect("logged_out")).reason == pb.LOGOUT_REASON_ACCOUNT_DELETED
    await alice.expect_end()


async def test_a_session_of_a_deleted_account_reads_nothing_of_a_namesake(server: Any) -> None:
    old = server.stream()
    await old.login("alice", send_only=True)
    await server.stub().DeleteAccount(pb.DeleteAccountRequest(user="alice"))
    new = server.stream()
    await new.login("alice")
    await new.say("alice", "private")
    await new.expect("message")
    await old.send(pb.Operation(history=pb.History(peer="alice")))
    assert (await old.expect("error")).reason == pb.ERROR_REASON_ACCOUNT_DELETED


async def test_numbers_at_the_end_of_their_range_are_refused_and_leave_the_status_readable(server: Any) -> None:
    for number in range(6):
        stream = server.stream()
        await stream.login(f"user{number}", client_id=bytes([number]) * 16, first_unanswered_op_seq=2**62)
    stream = server.stream()
    await stream.login("alice", client_id=CLIENT_ID, received_inbox_seq=2**64 - 1)
    await stream.send(send("alice", "x", 2**64 - 1), answered_op_seq=2**64 - 1)
    assert (await stream.expect("error")).reason == pb.ERROR_REASON_OP_SEQ_GAP
    await stream.send(pb.Operation(acknowledge=pb.Acknowledge(inbox_seq=2**64 - 1)))
    assert (await stream.expect("error")).reason == pb.ERROR_REASON_ACKNOWLEDGED_TOO_MUCH
    await stream.say("alice", "x", op_seq=1)
    await stream.expect("message")
    await stream.expect("sent")
    await stream.send(pb.Operation(history=pb.History(peer="alice", before=2**64 - 1)))
    assert len((await stream.expect("conversation")).messages) == 1
    status = await ReplicationStub(server.channel()).GetStatus(replication_pb2.GetStatusRequest())
    assert status.holes == 2**64 - 1


async def test_clients_that_reset_their_streams_leave_no_trace(server: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    talker = server.stream()
    await talker.login("alice", send_only=True)
    for round_ in range(8):
        stream = server.stream()
        await stream.login("alice")
        await talker.say("alice", *["x" * 1_500] * 1_000)
        for _ in range(20 * round_):
            await stream.expect("message")
        stream.call.cancel()
        for _ in range(1_000):
            await talker.expect("sent")
    api = server.server._api
    async with asyncio.timeout(10):
        while api._chat.sessions > 1:
            api._chat._session_ended.clear()
            await api._chat._session_ended.wait()
    assert [record.getMessage() for record in caplog.records] == []
    assert isinstance(talker.call, aio.StreamStreamCall)


async def test_a_storm_of_logins_reaches_the_engine_little_by_little(
    held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit, in_work, most = held.engine.submit, 0, 0

    def counted(command: Command, done: Done) -> None:
        nonlocal in_work, most
        in_work += 1
        most = max(most, in_work)

        def after(outcome: Any) -> None:
            nonlocal in_work
            in_work -= 1
            done(outcome)

        submit(command, after)

    monkeypatch.setattr(held.engine, "submit", counted)
    contexts = [HeldContext() for _ in range(5 * LOGINS)]
    for number, context in enumerate(contexts):
        held.start(context)
        context.put(pb.Operation(login=pb.Login(user=f"user{number}")))
    for context in contexts:
        await context.expect("welcome")
    assert most == LOGINS
