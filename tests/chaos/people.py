"""Clients of all kinds, which record what they see: the command line, bare stubs, readers, those who make accounts.

The client library's pairs are those of the cluster tests. All go on for ever, whatever happens to the servers, until
they are told to settle; then each hands over what it still knows.
"""

import asyncio
import contextlib
import itertools
import json
import os
import random
import signal
import sys
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc
from grpc import aio

from chatsvc.client import AsyncClient, AsyncCluster, Message
from chatsvc.domain.errors import Unavailable
from chatsvc.v1 import chat_pb2 as pb
from chatsvc.v1.chat_pb2_grpc import ChatStub
from tests.chaos.history import (
    AccountKind,
    AccountOp,
    Delivery,
    History,
    Outcome,
    Reading,
    Send,
    Session,
    Shown,
    conversation,
)

CHANNEL_OPTIONS = (
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
)

ANSWER_S = 2.0
"""How long a bare stub waits for an answer before it tries another server."""


def time_us(event: Any) -> int:
    """Of a message or an answer."""
    stamp = event.sent_time
    return int(stamp.seconds * 1_000_000 + stamp.nanos // 1_000)


def delivery(recipient: str, message: pb.Message) -> Delivery:
    """As the history records it."""
    op_id = f"{message.client_id.hex()}/{message.op_seq}"
    return Delivery(recipient, message.sender, message.text, message.inbox_seq, message.conversation_seq, op_id)


class CommandLine:
    """`chatsvc send -` and `chatsvc tail`. The sender may be killed: another one is started in its place."""

    def __init__(self, name: str, servers: Sequence[str], history: History, pace_s: float) -> None:
        self.sender_name, self.recipient_name = f"{name}-sender", f"{name}-recipient"
        self.sender: asyncio.subprocess.Process | None = None
        self.recipient: asyncio.subprocess.Process | None = None
        self._servers = servers
        self._options = ["--server", ",".join(servers), "--json", "--give-up", "120"]
        self._history, self._pace_s = history, pace_s
        self._open: dict[int, Send] = {}  # of the sender at work, by line
        self._numbers = itertools.count(1)
        self._acknowledged: set[str] = set()
        self._seen: set[str] = set()
        self._ending = False  # nothing more is sent
        self._stopping = False  # nor received
        self._progress = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def _run(self, *arguments: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "chatsvc",
            *arguments,
            *self._options,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )

    async def start(self) -> None:
        """Begin."""
        for name in (self.sender_name, self.recipient_name):  # so that there is somebody to send to, or to read of
            first = await AsyncClient.connect(name, self._servers, receive=False)
            await first.logout()
        self._tasks = [asyncio.create_task(self._receive()), asyncio.create_task(self._send())]

    async def _receive(self) -> None:
        shown = 0  # inbox_seq
        while not self._stopping:
            self.recipient = process = await self._run("tail", "--user", self.recipient_name)
            shown = await self._lines(process, shown)
            await process.wait()  # it gives up where every server refuses for some seconds, as it should

    async def _lines(self, process: asyncio.subprocess.Process, shown: int) -> int:
        """All that one recipient shows; its first lines may be what the one before had shown and not acknowledged."""
        assert process.stdout is not None
        again = True
        async for line in process.stdout:
            fields = json.loads(line)
            again = again and fields["inbox_seq"] <= shown
            if again:
                continue
            shown = fields["inbox_seq"]
            self._history.deliveries.append(
                Delivery(
                    self.recipient_name,
                    fields["from"],
                    fields["text"],
                    fields["inbox_seq"],
                    fields["conversation_seq"],
                    fields["op_id"],
                )
            )
            self._seen.add(fields["text"])
            self._progress.set()
        return shown

    async def _send(self) -> None:
        for life in itertools.count(1):
            if self._ending:
                return
            self.sender = process = await self._run("send", "--user", self.sender_name, self.recipient_name, "-")
            self._open = {}
            answers = asyncio.create_task(self._answers(process, self._open))
            assert process.stdin is not None
            with contextlib.suppress(ConnectionError):
                for line in itertools.count(1):
                    if self._ending or process.returncode is not None:
                        break
                    number = next(self._numbers)
                    text = f"{self.sender_name}/{number}"
                    client = f"{self.sender_name}-{life}"
                    send = Send(client, self.sender_name, self.recipient_name, number, text, time.monotonic())
                    self._open[line] = send
                    self._history.sends.append(send)
                    process.stdin.write(text.encode() + b"\n")
                    await process.stdin.drain()
                    await asyncio.sleep(self._pace_s)
                process.stdin.close()
            await answers

    async def _answers(self, process: asyncio.subprocess.Process, sends: dict[int, Send]) -> None:
        assert process.stdout is not None
        async for answer in process.stdout:
            fields = json.loads(answer)
            line = int(fields["op_id"].rpartition("/")[2])  # a client numbers its operations from 1
            send = sends[line]
            send.answer(fields["conversation_seq"], 0, fields["op_id"], time.monotonic())
            self._acknowledged.add(send.text)
        await process.wait()

    async def settle(self, deadline_s: float) -> None:
        """Let the sender finish, then wait until everything acknowledged was shown, and end the recipient."""
        async with asyncio.timeout(deadline_s):
            self._ending = True
            await self._tasks[1]
            while not self._acknowledged <= self._seen:
                self._progress.clear()
                await self._progress.wait()
            self._stopping = True
            assert self.recipient is not None
            if self.recipient.returncode is None:
                self.recipient.send_signal(signal.SIGINT)
            await self._tasks[0]

    async def close(self) -> None:
        """End the processes."""
        self._stopping = self._ending = True
        for process in (self.sender, self.recipient):
            if process is not None and process.returncode is None:
                process.kill()
                await process.wait()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


class _Worker:
    """Somebody with one thing to do, again and again: `_run`, which ends soon after `_stopping` is set.

    Args:
        name: of the task, which begins when the maker waits for something the next time.
        servers: that it keeps a connection to.
    """

    def __init__(self, name: str, servers: Sequence[str] = ()) -> None:
        self._channels = [aio.insecure_channel(server, options=CHANNEL_OPTIONS) for server in servers]
        self._stopping = False
        self._task = asyncio.create_task(self._run(), name=name)

    async def _run(self) -> None:
        raise NotImplementedError

    async def settle(self, deadline_s: float) -> None:
        """End, with everything answered."""
        self._stopping = True
        async with asyncio.timeout(deadline_s):
            await self._task
        await self.close()

    async def close(self) -> None:
        """Give up."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        for channel in self._channels:
            await channel.close()


class Stub(_Worker):
    """A receiving session by hand: it writes to itself, and retries at any server with the same op seqs.

    At each new login it sends its last answered operation once more, too: the answer must be the first one. One that
    was replaced asks once more, too, which must not help.

    Args:
        watch: whether what it is shown is recorded: only where it is the only one that is shown anything.
    """

    def __init__(
        self,
        user: str,
        client: str,
        servers: Sequence[str],
        history: History,
        dice: random.Random,
        watch: bool = True,
    ) -> None:
        self.user, self.client, self._watch = user, client, watch
        self._servers, self._history, self._dice = servers, history, dice
        self._client_id = os.urandom(16)
        self._sends: list[Send] = []  # by op seq
        self._answered = 0  # all up to here
        self._received = 0  # inbox seq
        self._incarnation = 0
        self._replaced = False
        self.opened = asyncio.Event()
        super().__init__(client)

    async def _run(self) -> None:
        while not self._replaced and not (self._stopping and self._answered == len(self._sends)):
            server = self._dice.choice(list(self._servers))
            with contextlib.suppress(aio.AioRpcError, TimeoutError, EOFError, asyncio.InvalidStateError):
                async with aio.insecure_channel(server, options=CHANNEL_OPTIONS) as channel:
                    await self._session(ChatStub(channel).Session())
            await asyncio.sleep(0.05)

    async def _session(self, call: Any) -> None:
        login = pb.Login(
            user=self.user,
            client_id=self._client_id,
            explicit_acknowledgement=True,
            incarnation=self._incarnation,
            first_unanswered_op_seq=max(self._answered, 1),
            received_inbox_seq=self._received,
        )
        try:
            await call.write(pb.SessionRequest(operations=[pb.Operation(login=login)]))
            events = self._events(call)
            async for event in events:
                kind = event.WhichOneof("kind")
                if kind == "welcome":
                    break
                if kind == "error" and event.error.reason == pb.ERROR_REASON_REPLACED:
                    self._replaced = True
                    return
            else:
                return
            welcome = event.welcome
            if welcome.incarnation != self._incarnation:
                self._incarnation = welcome.incarnation
                session = Session(self.user, self.client, time.monotonic(), welcome.incarnation)
                self._history.sessions.append(session)
            self.opened.set()
            await self._resend(call, max(self._answered, 1))
            async for event in events:
                await self._take(call, event)
                if self._stopping and self._answered == len(self._sends):
                    return
        finally:
            call.cancel()

    async def _events(self, call: Any) -> AsyncIterator[pb.Event]:
        while True:
            async with asyncio.timeout(ANSWER_S):
                frame = await call.read()
            if frame is aio.EOF:
                return
            for event in frame.events:
                yield event

    async def _resend(self, call: Any, first: int) -> None:
        operations = [self._operation(op_seq) for op_seq in range(first, len(self._sends) + 1)]
        if not operations:
            operations = [self._new()]
        await call.write(pb.SessionRequest(operations=operations))

    def _operation(self, op_seq: int) -> pb.Operation:
        return pb.Operation(op_seq=op_seq, send=pb.Send(to=self.user, text=self._sends[op_seq - 1].text))

    def _new(self) -> pb.Operation:
        number = len(self._sends) + 1
        send = Send(self.client, self.user, self.user, number, f"{self.client}/{number}", time.monotonic())
        self._sends.append(send)
        self._history.sends.append(send)
        return self._operation(number)

    async def _take(self, call: Any, event: pb.Event) -> None:
        match event.WhichOneof("kind"):
            case "sent":
                sent = event.sent
                op_id = f"{self._client_id.hex()}/{sent.op_seq}"
                self._sends[sent.op_seq - 1].answer(sent.conversation_seq, time_us(sent), op_id, time.monotonic())
                self._answered = max(self._answered, sent.op_seq)
                if self._answered == len(self._sends) and not self._stopping:
                    await asyncio.sleep(0.01)
                    operations = [self._new() for _ in range(self._dice.randint(1, 5))]
                    await call.write(pb.SessionRequest(operations=operations))
            case "message":
                message = event.message
                if message.inbox_seq > self._received:
                    self._received = message.inbox_seq
                    if self._watch:
                        self._history.deliveries.append(delivery(self.user, message))
                    acknowledge = pb.Acknowledge(inbox_seq=message.inbox_seq)
                    await call.write(pb.SessionRequest(operations=[pb.Operation(acknowledge=acknowledge)]))
            case "error":
                if event.error.reason == pb.ERROR_REASON_REPLACED and event.error.op_seq:
                    self._sends[event.error.op_seq - 1].outcome = Outcome.FAILED


class Stranger(_Worker):
    """One `SendMessage` after the other from a stock client; what has no answer is never tried again."""

    def __init__(self, user: str, to: str, servers: Sequence[str], history: History, dice: random.Random) -> None:
        self.user, self.to = user, to
        self._history, self._dice = history, dice
        super().__init__(user, servers)

    async def _run(self) -> None:
        chosen = 0
        number = 0
        while not self._stopping:
            number += 1
            text = f"{self.user}/{number}"
            send = Send(self.user, self.user, self.to, number, text, time.monotonic())
            self._history.sends.append(send)
            try:
                request = pb.SendMessageRequest(user=self.user, to=self.to, text=text)
                answer = await ChatStub(self._channels[chosen]).SendMessage(request, timeout=ANSWER_S)
            except aio.AioRpcError as error:
                if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                    raise
                chosen = (chosen + 1) % len(self._channels)
                await asyncio.sleep(0.1)
            else:
                message = answer.message
                op_id = f"{message.client_id.hex()}/{message.op_seq}"
                send.answer(message.conversation_seq, time_us(message), op_id, time.monotonic())
                await asyncio.sleep(0.02)


class Reader(_Worker):
    """Reads the newest messages of conversations, one after the other."""

    def __init__(
        self, pairs: Sequence[tuple[str, str]], servers: Sequence[str], history: History, pace_s: float
    ) -> None:
        self._pairs, self._history, self._pace_s = pairs, history, pace_s
        self._cluster = AsyncCluster(servers, give_up_s=5.0)
        super().__init__("reader")

    async def _run(self) -> None:
        for user, peer in itertools.cycle(self._pairs):
            if self._stopping:
                return
            begun = time.monotonic()
            with contextlib.suppress(Unavailable):
                messages = await self._cluster.history(user, peer, limit=20)
                self._history.readings.append(reading(user, peer, begun, messages))
            await asyncio.sleep(self._pace_s)


def reading(user: str, peer: str, begun: float, messages: Sequence[Message]) -> Reading:
    """What was read just now."""
    shown = tuple(Shown(message.conversation_seq, message.sender, message.text) for message in messages)
    return Reading(conversation(user, peer), begun, time.monotonic(), shown)


class Clerk(_Worker):
    """Makes, looks up and deletes accounts, a few names at a time, beside other clerks. Nothing is tried twice."""

    def __init__(self, names: Sequence[str], servers: Sequence[str], history: History, dice: random.Random) -> None:
        self._names, self._history, self._dice = names, history, dice
        self._chosen = 0
        super().__init__("clerk", servers)

    async def _run(self) -> None:
        for round_number in itertools.count(1):
            for name in self._names:
                for _ in range(6):  # a name is used for few operations: the checker tries their orders
                    if self._stopping:
                        return
                    await self._one(f"{name}-{round_number}", self._dice.choice(list(AccountKind)))
                    await asyncio.sleep(0.05)

    async def _one(self, name: str, kind: AccountKind) -> None:
        chat = ChatStub(self._channels[self._chosen])
        invoked, created_us = time.monotonic(), 0
        result: bool | None
        try:
            match kind:
                case AccountKind.CREATE:
                    result = await self._create(chat, name)
                case AccountKind.DELETE:
                    try:
                        await chat.DeleteAccount(pb.DeleteAccountRequest(user=name), timeout=ANSWER_S)
                        result = True
                    except aio.AioRpcError as error:
                        if error.code() is not grpc.StatusCode.NOT_FOUND:
                            raise
                        result = False
                case AccountKind.LOOK:
                    page = await chat.ListAccounts(pb.ListAccountsRequest(pattern=f"{name[:-1]}?"), timeout=ANSWER_S)
                    found = [account for account in page.accounts if account.name == name]
                    result = bool(found)
                    if found:
                        stamp = found[0].created_time
                        created_us = int(stamp.seconds * 1_000_000 + stamp.nanos // 1_000)
            self._history.accounts.append(AccountOp(name, kind, invoked, time.monotonic(), result, created_us))
        except (aio.AioRpcError, TimeoutError, EOFError, asyncio.InvalidStateError):
            if kind is not AccountKind.LOOK:
                self._history.accounts.append(AccountOp(name, kind, invoked, float("inf"), None))
            self._chosen = (self._chosen + 1) % len(self._channels)
            await asyncio.sleep(0.1)

    async def _create(self, chat: Any, name: str) -> bool:
        call = chat.Session()
        try:
            operation = pb.Operation(login=pb.Login(user=name, send_only=True, retire_client=True))
            await call.write(pb.SessionRequest(operations=[operation]))
            async with asyncio.timeout(ANSWER_S):
                frame = await call.read()
            if frame is aio.EOF or frame.events[0].WhichOneof("kind") != "welcome":
                raise EOFError
            return bool(frame.events[0].welcome.created)
        finally:
            call.cancel()


class Rivals:
    """Log in as one user again and again; each login ends the session before it."""

    def __init__(
        self, user: str, servers: Sequence[str], history: History, dice: random.Random, every_s: float
    ) -> None:
        self.user = user
        self._servers, self._history, self._dice, self._every_s = servers, history, dice, every_s
        self._stubs: list[Stub] = []
        self._stopping = asyncio.Event()
        self._task = asyncio.create_task(self._run(), name="rivals")

    async def _run(self) -> None:
        for number in itertools.count(1):
            stub = Stub(self.user, f"{self.user}-{number}", self._servers, self._history, self._dice, False)
            self._stubs.append(stub)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._every_s * self._dice.uniform(0.5, 2)):
                    await self._stopping.wait()
            if self._stopping.is_set():
                return

    async def settle(self, deadline_s: float) -> None:
        """End; the last one has everything answered."""
        self._stopping.set()
        await self._task
        for stub in self._stubs[:-1]:
            await stub.close()
        await self._stubs[-1].settle(deadline_s)

    async def close(self) -> None:
        """Give up."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        for stub in self._stubs:
            await stub.close()
