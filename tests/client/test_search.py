"""Finding the primary among scripted servers."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from chatsvc.client import AsyncClient, AsyncCluster, ConnectError, Timing
from chatsvc.client.search import PAUSE_S_MAX, Search, Servers, next_pause
from chatsvc.domain.errors import InvalidName, Reason, TooManySessions
from chatsvc.v1 import chat_pb2 as pb
from chatsvc.v1 import replication_pb2 as rpb

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]


@asynccontextmanager
async def listener(answer: bytes | None) -> AsyncIterator[str]:
    """An address where something listens that is no chat server. None: it says nothing."""
    done = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if answer is None:
            await done.wait()
        else:
            await reader.read(1)
            writer.write(answer)
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        done.set()
        server.close()
        await server.wait_closed()


async def connect_error(servers: list[str], timing: Timing, **options: Any) -> str:
    with pytest.raises(ConnectError) as caught:
        await AsyncClient.connect("alice", servers, timing=timing, **options)
    return str(caught.value)


async def test_the_primary_is_found_among_backups_and_dead_addresses(
    scripted: Any, fast: Timing, free_port: int
) -> None:
    backup, primary = await scripted(role=rpb.ROLE_BACKUP), await scripted()
    servers = [f"127.0.0.1:{free_port}", backup.address, primary.address]
    async with await AsyncClient.connect("alice", servers, timing=fast) as client:
        assert client.server == primary.address
        await client.logout()
    assert backup.streams == 0


async def test_a_backup_names_the_primary(scripted: Any, fast: Timing) -> None:
    primary = await scripted()
    backup = await scripted(role=rpb.ROLE_BACKUP, primary=primary.address)
    async with await AsyncClient.connect("alice", [backup.address], timing=fast) as client:
        assert client.server == primary.address
        assert client.servers == (backup.address, primary.address)


async def test_a_server_that_has_just_ceased_to_be_the_primary_names_the_new_one(scripted: Any, fast: Timing) -> None:
    primary = await scripted()

    async def refuse(stream: Any) -> None:
        await stream.refuse(await stream.operation("login"), Reason.NOT_PRIMARY, primary=primary.address)

    deposed = await scripted(refuse)
    async with await AsyncClient.connect("alice", [deposed.address], timing=fast) as client:
        assert client.server == primary.address


async def test_a_hung_server_does_not_hold_up_the_search(scripted: Any, fast: Timing) -> None:
    hung, primary = await scripted(hangs=True), await scripted()
    async with await AsyncClient.connect("alice", [hung.address, primary.address], timing=fast) as client:
        assert client.server == primary.address


async def test_a_primary_that_does_not_take_the_login_is_tried_again_with_more_patience(
    scripted: Any, fast: Timing
) -> None:
    async def hang(stream: Any) -> None:
        await stream.hang()

    async def welcome(stream: Any) -> None:
        await stream.welcome()
        await stream.serve()

    server = await scripted(hang, welcome)
    async with await AsyncClient.connect("alice", [server.address], timing=fast):
        assert server.streams == 2


async def test_a_primary_that_is_not_ready_is_waited_for(scripted: Any, fast: Timing) -> None:
    async def refuse(stream: Any) -> None:
        await stream.refuse(await stream.operation("login"), Reason.NOT_READY)

    async def leave(stream: Any) -> None:
        await stream.operation("login")
        await stream.log_out(pb.LOGOUT_REASON_SERVER_LEAVING)

    async def end(stream: Any) -> None:
        await stream.operation("login")

    async def welcome(stream: Any) -> None:
        await stream.welcome()
        await stream.serve()

    server = await scripted(refuse, leave, end, welcome)
    async with await AsyncClient.connect("alice", [server.address], timing=fast):
        assert server.streams == 4


async def test_servers_of_the_welcome_are_learned(scripted: Any, fast: Timing) -> None:
    async def welcome(stream: Any) -> None:
        await stream.welcome(servers=["127.0.0.1:1", "no address", ""])
        await stream.serve()

    server = await scripted(welcome)
    async with await AsyncClient.connect("alice", [server.address], timing=fast) as client:
        assert client.servers == (server.address, "127.0.0.1:1")


async def test_a_server_known_by_two_addresses_gets_one_login(scripted: Any, fast: Timing) -> None:
    server = await scripted()
    port = server.address.rpartition(":")[2]
    async with await AsyncClient.connect("alice", [f"localhost:{port}", server.address], timing=fast):
        assert server.streams == 1


async def test_where_every_server_refuses_the_end_comes_soon_and_says_why(free_port: int, fast: Timing) -> None:
    servers = [f"127.0.0.1:{free_port}", f"localhost:{free_port}", "host.invalid:1"]
    began = time.monotonic()
    text = await connect_error(servers, fast)
    assert time.monotonic() - began < 5
    assert text == (
        f"Error connecting to 127.0.0.1:{free_port}: connection refused (the same at localhost:{free_port}); "
        "host.invalid:1: no such host"
    )


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        pytest.param(b"HTTP/1.1 400 Bad Request\r\n\r\n", "no gRPC server", id="web"),
        pytest.param(b"SSH-2.0-OpenSSH\r\n", "no gRPC server", id="ssh"),
        pytest.param(b"", "Socket closed", id="closes"),
        pytest.param(None, "no answer within 0.5 s", id="silent"),
    ],
)
async def test_what_is_no_chat_server_is_named_for_what_it_is(answer: bytes | None, why: str, fast: Timing) -> None:
    async with listener(answer) as address:
        assert await connect_error([address], fast) == f"Error connecting to {address}: {why}"


async def test_a_grpc_server_of_another_kind_is_no_chat_server(fast: Timing) -> None:
    from grpc import aio

    server = aio.server()
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        assert await connect_error([address], fast) == f"Error connecting to {address}: no chatsvc server"
    finally:
        await server.stop(None)


async def test_servers_without_a_primary_are_waited_for_and_given_up(scripted: Any, free_port: int) -> None:
    backup = await scripted(role=rpb.ROLE_BACKUP)
    patient = Timing(connect_s=10)  # an answer may take as long as it likes, on a machine that is busy
    text = await connect_error([f"127.0.0.1:{free_port}", backup.address], patient, give_up_s=0.6)
    assert text.startswith(f"Error connecting to {backup.address}: this server is not the primary; ")
    assert backup.asked > 1


async def test_a_primary_that_comes_up_is_found(scripted: Any, fast: Timing) -> None:
    server = await scripted(role=rpb.ROLE_WAITING)
    connecting = asyncio.create_task(AsyncClient.connect("alice", [server.address], timing=fast))
    await server.was_asked(2)
    server.role = rpb.ROLE_PRIMARY
    async with await connecting as client:
        assert client.server == server.address


async def test_servers_hold_their_answers_back_while_there_is_no_primary(scripted: Any) -> None:
    """So nobody asks again and again, and all hear at once of a new primary."""
    news = asyncio.Event()
    server = await scripted(role=rpb.ROLE_WAITING, news=news)
    patient = Timing(connect_s=60.0)  # nothing ends in time but by the news
    connecting = asyncio.create_task(AsyncClient.connect("alice", [server.address], timing=patient))
    await server.was_asked(1)
    server.role = rpb.ROLE_PRIMARY
    news.set()
    async with asyncio.timeout(10), await connecting as client:
        assert client.server == server.address
    assert server.asked == 1


async def test_a_primary_that_does_not_serve_yet_is_not_logged_in_to(scripted: Any, fast: Timing) -> None:
    server = await scripted(role=rpb.ROLE_WAITING)
    server.details.self.role = rpb.ROLE_PRIMARY
    connecting = asyncio.create_task(AsyncClient.connect("alice", [server.address], timing=fast))
    await server.was_asked(3)
    assert server.streams == 0
    server.role = rpb.ROLE_PRIMARY
    async with await connecting:
        assert server.streams == 1


async def test_a_full_server_says_so_at_once(scripted: Any, fast: Timing) -> None:
    async def refuse(stream: Any) -> None:
        await stream.refuse(await stream.operation("login"), Reason.TOO_MANY_SESSIONS, "full", limit="3")

    server = await scripted(refuse)
    with pytest.raises(TooManySessions, match="full") as caught:
        await AsyncClient.connect("alice", [server.address], timing=fast)
    assert caught.value.metadata == {"limit": "3"}
    assert server.streams == 1


async def test_a_refused_login_is_told_as_it_is(scripted: Any, fast: Timing) -> None:
    async def refuse(stream: Any) -> None:
        await stream.refuse(await stream.operation("login"), Reason.INVALID_NAME, "what a name")

    server = await scripted(refuse)
    with pytest.raises(InvalidName, match="what a name"):
        await AsyncClient.connect("alice", [server.address], timing=fast)


async def test_a_cancelled_connect_leaves_nothing(scripted: Any, fast: Timing) -> None:
    server = await scripted(role=rpb.ROLE_WAITING)
    connecting = asyncio.create_task(AsyncClient.connect("alice", [server.address], timing=fast))
    await server.was_asked(1)
    connecting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await connecting
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "chatsvc client of alice"]


async def test_only_a_later_reign_is_a_newer_primary(scripted: Any) -> None:
    old, new = await scripted(epoch=3), await scripted(epoch=4)
    servers = Servers([old.address, new.address])
    async with Search(servers, 0.5, 3, later=True) as search:
        while (found := await search.next(None)) is None:
            pass
        assert found.address == new.address
    async with Search(servers, 0.5, 4, later=True) as search:
        while not search.is_complete:
            assert await search.next(None) is None


def test_pauses_grow_and_stay_bounded() -> None:
    pause_s = 0.0
    for longest in (0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0):
        following = next_pause(pause_s)
        assert 0.025 <= following <= longest
        pause_s = following
    assert next_pause(PAUSE_S_MAX) <= PAUSE_S_MAX


async def test_cluster_calls_find_the_primary_too(scripted: Any, fast: Timing, free_port: int) -> None:
    with pytest.raises(ConnectError, match=f"Error connecting to 127.0.0.1:{free_port}: connection refused"):
        await AsyncCluster([f"127.0.0.1:{free_port}"], timing=fast).accounts()
