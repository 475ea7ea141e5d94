"""Starting and stopping a server as a whole."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from chatsvc.server import Server, ServerSettings, StartError, is_loopback, split_address
from chatsvc.storage import DirectoryLocked
from chatsvc.v1 import chat_pb2 as pb


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        pytest.param("127.0.0.1:50051", ("127.0.0.1", 50_051), id="v4"),
        pytest.param("[::1]:0", ("::1", 0), id="v6"),
        pytest.param("chat.example:1", ("chat.example", 1), id="name"),
    ],
)
def test_an_address_is_a_host_and_a_port(address: str, parts: tuple[str, int]) -> None:
    assert split_address(address) == parts


@pytest.mark.parametrize(
    "address", ["", "50051", ":50051", "host", "host:", "host:x", "::1:5", "host:65536", "host:-1"]
)
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(StartError):
        split_address(address)


def test_only_loopback_is_this_machine_alone() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.9.9.9", "::1", "localhost")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "192.0.2.1", "example.org")))


async def refused_start(settings: ServerSettings) -> Exception:
    with pytest.raises((StartError, DirectoryLocked)) as refusal:
        await Server(settings, lambda error: None).start()
    assert "\n" not in str(refusal.value)
    return refusal.value


async def test_listening_beyond_loopback_needs_the_word_insecure(tmp_path: Path) -> None:
    error = await refused_start(ServerSettings(tmp_path / "data", listen="0.0.0.0:0"))
    assert "--insecure" in str(error)
    assert not (tmp_path / "data").exists()


async def test_a_taken_port_is_named(server: Any, tmp_path: Path) -> None:
    error = await refused_start(ServerSettings(tmp_path / "other", listen=server.address))
    assert server.address in str(error)


async def test_a_directory_in_use_is_refused(server: Any) -> None:
    settings = ServerSettings(server.settings.data_dir, listen="127.0.0.1:0")
    assert "in use" in str(await refused_start(settings))


async def test_isolated_promotion_must_be_longer_than_an_eviction(tmp_path: Path) -> None:
    error = await refused_start(ServerSettings(tmp_path / "data", listen="127.0.0.1:0", isolated_promotion_s=5))
    assert "too soon" in str(error)


async def test_a_failed_start_lets_go_of_the_directory(start_server: Any, server: Any, tmp_path: Path) -> None:
    await refused_start(ServerSettings(tmp_path / "other", listen=server.address))
    await start_server(data_dir=tmp_path / "other")


async def test_what_was_answered_is_there_after_a_restart(server: Any) -> None:
    alice, bob = server.stream(), server.stream()
    await bob.login("bob")
    await alice.login("alice", client_id=bytes(16))
    await alice.say("bob", "one", "two", "three", op_seq=1)
    for _ in range(3):
        await alice.expect("sent")
    assert [(await bob.expect("message")).text for _ in range(3)] == ["one", "two", "three"]
    before = server.server.node.status()
    await server.stop()
    await server.start()
    after = server.server.node.status()
    assert after.cluster_id == before.cluster_id
    assert after.epoch > before.epoch
    again = server.stream()
    welcome = await again.login("alice", client_id=bytes(16), first_unanswered_op_seq=3)
    assert (welcome.created, welcome.next_op_seq) == (False, 4)
    await again.say("bob", "three", "four", op_seq=3)
    assert [(await again.expect("sent")).conversation_seq for _ in range(2)] == [3, 4]
    page = await server.stub().GetHistory(pb.GetHistoryRequest(user="bob", peer="alice"))
    assert [message.text for message in page.messages] == ["one", "two", "three", "four"]


async def test_a_stopped_server_leaves_no_task_behind(start_server: Any) -> None:
    before = asyncio.all_tasks()
    server = await start_server()
    stream = server.stream()
    await stream.login("alice")
    await server.stop()
    stream.call.cancel()
    for channel in server.channels:
        await channel.close()
    left = {task for task in asyncio.all_tasks() - before if not task.done()}
    async with asyncio.timeout(5):
        while left and not all(task.done() for task in left):
            await asyncio.wait(left)
