"""Three real servers in bad times: frozen, starved of servers, beset by hostile clients, killed while they start."""

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import psutil
import pytest
from grpc import aio

from chatsvc.v1 import chat_pb2 as pb
from chatsvc.v1.chat_pb2_grpc import ChatStub
from tests.cluster.processes import Cluster
from tests.cluster.traffic import Traffic

pytestmark = [pytest.mark.slow, pytest.mark.timeout(90)]

SEED = 20_262

OPTIONS = (("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1))

LEAKS = ("Traceback", "never retrieved", "was destroyed", "was never awaited")
"""What a server's log has where a task was forgotten or an error not thought of."""


@pytest.fixture
async def clean(cluster: Cluster) -> AsyncIterator[None]:
    """At the end of the test no server's log shows a leak."""
    yield
    for server in cluster.servers.values():
        log = server.output.read_text()
        assert not [leak for leak in LEAKS if leak in log], log[-4_000:]


@asynccontextmanager
async def session(address: str, user: str, **fields: Any) -> AsyncIterator[aio.StreamStreamCall[Any, Any]]:
    """A session by hand, logged in; reset at the end."""
    async with aio.insecure_channel(address, options=OPTIONS) as channel:
        call = ChatStub(channel).Session()
        await call.write(pb.SessionRequest(operations=[pb.Operation(login=pb.Login(user=user, **fields))]))
        yield call
        call.cancel()


def sends(to: str, text: str, count: int, first_op_seq: int = 0) -> pb.SessionRequest:
    return pb.SessionRequest(
        operations=[
            pb.Operation(op_seq=first_op_seq and first_op_seq + number, send=pb.Send(to=to, text=text))
            for number in range(count)
        ]
    )


@pytest.mark.usefixtures("clean")
@pytest.mark.parametrize("role", ["primary", "backup", "all"])
async def test_servers_frozen_for_any_time_go_on_when_they_wake(cluster: Cluster, traffic: Traffic, role: str) -> None:
    for frozen_s in (0.3, 1.0, 2.0):
        primary = await cluster.all_in_sync()
        backup = next(name for name in cluster.servers if name != primary)
        victims = {"primary": [primary], "backup": [backup], "all": list(cluster.servers)}[role]
        for name in victims:
            cluster[name].signal(signal.SIGSTOP)
        await asyncio.sleep(frozen_s)
        for name in victims:
            cluster[name].signal(signal.SIGCONT)
        await traffic.flows()
    await cluster.all_in_sync()
    await cluster.same_state()


@pytest.mark.usefixtures("clean")
async def test_servers_that_may_not_serve_say_whom_they_wait_for(cluster: Cluster, traffic: Traffic) -> None:
    """The last survivor has acknowledged what the others do not have: without it they must not serve."""
    last = await cluster.all_in_sync()
    others = [name for name in cluster.servers if name != last]
    for name in others:
        cluster[name].kill()
    await traffic.flows()
    cluster[last].kill()
    for name in others:
        cluster[name].start()
    expected = f"{last} ({cluster[last].address})"
    async with asyncio.timeout(15):
        while True:
            answers = list((await cluster.statuses()).values())
            assert not any(answer.serving for answer in answers)
            if [list(answer.waiting_for) for answer in answers] == [[expected]] * 2:
                break
            await asyncio.sleep(0.05)
    async with aio.insecure_channel(cluster[others[0]].address, options=OPTIONS) as channel:
        with pytest.raises(aio.AioRpcError, match=f"waiting for {last}") as refused:
            await ChatStub(channel).SendMessage(pb.SendMessageRequest(user="alice", to="alice", text="x"), timeout=5)
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    assert f"waiting for {expected}" in cluster[others[0]].words()
    cluster[last].start()
    await traffic.flows()
    await cluster.all_in_sync()
    await cluster.same_state()


@pytest.mark.usefixtures("clean")
async def test_a_server_killed_or_told_to_stop_at_any_moment_of_its_start_comes_up_the_next_time(
    cluster: Cluster, traffic: Traffic
) -> None:
    primary = await cluster.all_in_sync()
    victim = cluster[next(name for name in cluster.servers if name != primary)]
    for step in range(6):
        victim.kill()
        victim.start()
        await asyncio.sleep(0.15 * step)
    for step in range(5):
        begun = time.monotonic()
        assert await asyncio.to_thread(victim.terminate) in (0, -signal.SIGTERM, 128 + signal.SIGTERM)
        assert time.monotonic() - begun < 3
        victim.start()
        await asyncio.sleep(0.15 * step)
    await cluster.all_in_sync()
    await traffic.flows()
    await cluster.same_state()


@pytest.mark.usefixtures("clean")
async def test_hostile_clients_hold_up_nobody_else(cluster: Cluster, traffic: Traffic) -> None:
    primary = await cluster.all_in_sync()
    address, process = cluster[primary].address, psutil.Process(cluster[primary].pid)
    begun = time.monotonic()

    async def flood(user: str) -> None:
        async with session(address, user, send_only=True) as call:
            for _ in range(12):
                await call.write(sends(user, "x" * 1_500, 500))  # and nothing is ever read

    async def say_nothing() -> None:
        async with aio.insecure_channel(address, options=OPTIONS) as channel:
            calls = [ChatStub(channel).Session() for _ in range(500)]
            await asyncio.sleep(1)
            for call in calls:
                call.cancel()

    async def reset() -> None:
        for number in range(40):
            async with session(address, f"reset{number % 3}") as call:
                await call.write(sends("reset1", "x", 20))
                if number % 2:
                    await call.done_writing()

    async def talk_garbage() -> None:
        for data in (b"", b"GET / HTTP/1.0\r\n\r\n", os.urandom(5_000)):
            _, writer = await asyncio.open_connection(*address.split(":"))
            writer.write(data)
            await writer.drain()
            writer.close()

    async def send_what_is_too_large() -> None:
        async with session(address, "giant", send_only=True) as call:
            await call.write(sends("giant", "x" * (4 << 20), 1))
            assert await call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED

    await asyncio.gather(
        flood("flood"), flood("flood2"), say_nothing(), reset(), talk_garbage(), send_what_is_too_large()
    )
    await traffic.flows()
    assert traffic.longest_pause(begun) < 5
    assert process.memory_info().rss < 400e6
    assert await cluster.primary() == primary
    await cluster.same_state()


@pytest.mark.usefixtures("clean")
async def test_two_streams_of_one_client_carry_out_each_operation_once(cluster: Cluster) -> None:
    primary = await cluster.all_in_sync()
    dice = random.Random(SEED)
    for send_only in (True, False):
        user, client_id = f"twin-{send_only}", dice.randbytes(16)
        fields = {"client_id": client_id, "send_only": send_only}
        async with session(cluster[primary].address, user, **fields) as first:
            await first.write(sends(user, "x", 200, first_op_seq=1))
            async with session(cluster[primary].address, user, **fields) as second:
                await second.write(sends(user, "x", 200, first_op_seq=1))
                answered: set[int] = set()
                while len(answered) < 200:
                    frame = await second.read()
                    assert not [event for event in frame.events if event.WhichOneof("kind") == "error"]
                    answered |= {event.sent.op_seq for event in frame.events if event.WhichOneof("kind") == "sent"}
                last = None
                async with asyncio.timeout(5):
                    while (frame := await first.read()) is not aio.EOF:
                        last = frame.events[-1]
                assert last is not None
                assert last.logged_out.reason == pb.LOGOUT_REASON_REPLACED
        async with aio.insecure_channel(cluster[primary].address, options=OPTIONS) as channel:
            page = await ChatStub(channel).GetHistory(pb.GetHistoryRequest(user=user, peer=user, limit=1_000))
        assert [message.op_seq for message in page.messages] == list(range(1, 201))
    await cluster.same_state()


@pytest.mark.usefixtures("clean")
async def test_an_account_is_deleted_and_made_again_while_messages_come(cluster: Cluster, traffic: Traffic) -> None:
    """Whoever has the name next sees a queue that begins at 1, and senders get an answer to everything."""
    primary = await cluster.all_in_sync()
    address, outcomes = cluster[primary].address, {"sent": 0, "error": 0}
    done = asyncio.Event()

    async def talk() -> None:
        async with session(address, "talker", send_only=True) as call:
            await call.read()  # the welcome
            while not done.is_set():
                await call.write(sends("victim", "x", 20))
                left = 20
                while left:
                    for event in (await call.read()).events:
                        outcomes[event.WhichOneof("kind")] += 1
                        left -= 1

    talking = asyncio.create_task(talk())
    for _ in range(15):
        async with asyncio.timeout(10), session(address, "victim") as call:
            expected_seq, last = 0, None
            while (frame := await call.read()) is not aio.EOF:
                for last in frame.events:
                    if last.WhichOneof("kind") == "message":
                        expected_seq += 1
                        assert last.message.inbox_seq == expected_seq
                        if expected_seq == 30:
                            deletion = pb.Operation(delete_account=pb.DeleteAccount())
                            await call.write(pb.SessionRequest(operations=[deletion]))
            assert last is not None
            assert last.logged_out.reason == pb.LOGOUT_REASON_ACCOUNT_DELETED
    done.set()
    await talking
    assert outcomes["sent"] > 100
    await traffic.flows()
    await cluster.same_state()


@pytest.mark.usefixtures("clean")
async def test_a_client_whose_servers_all_die_ends_with_one_line(cluster: Cluster) -> None:
    command = [sys.executable, "-m", "chatsvc", "tail", "--user", "alice", "--give-up", "1.5"]
    command += ["--server", ",".join(cluster.addresses)]
    tail = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    async with asyncio.timeout(10):
        while True:
            if sum(answer.sessions for answer in (await cluster.statuses()).values()) > 0:
                break
            await asyncio.sleep(0.05)
    for server in cluster.servers.values():
        server.kill()
    async with asyncio.timeout(15):
        _, errors = await tail.communicate()
    assert errors.decode().count("\n") == 1, errors.decode()
    assert "Server shut down prematurely, so logging you out." in errors.decode()
    assert tail.returncode == 3
