"""One server whose disk fills up: it says so, forgets nothing, and goes on when there is room."""

import asyncio
import logging
import time
from typing import Any

import pytest
from grpc import StatusCode, aio

from chatsvc.storage import DiskFull
from chatsvc.v1 import chat_pb2 as pb


class Disk:
    """Of a running server: full or not."""

    def __init__(self, server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.full = False
        self.refused = asyncio.Event()
        directory = server.server.node._directory
        loop = asyncio.get_running_loop()
        for store, method in ((directory.log, "carry_out"), (directory.state, "flush")):
            write = getattr(store, method)

            def refuse(*arguments: Any, write: Any = write) -> Any:
                if self.full:
                    loop.call_soon_threadsafe(self.refused.set)
                    raise DiskFull("the disk is full")
                return write(*arguments)

            monkeypatch.setattr(store, method, refuse)


def ask(server: Any, text: str) -> Any:
    return server.stub().SendMessage(pb.SendMessageRequest(user="alice", to="alice", text=text), timeout=5)


async def test_a_full_disk_refuses_what_is_new_and_keeps_what_was_taken(
    server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(server, monkeypatch)
    stream = server.stream()
    await stream.login("alice")
    disk.full = True
    await stream.say("alice", "taken")  # on its way to the disk when that turns out to be full
    await disk.refused.wait()
    await stream.say("alice", "refused")
    assert (await stream.expect("error")).reason == pb.ERROR_REASON_DISK_FULL
    with pytest.raises(aio.AioRpcError, match="disk is full") as failure:
        await ask(server, "refused")
    assert failure.value.code() is StatusCode.UNAVAILABLE
    await stream.send(pb.Operation(ping=pb.Ping()))
    await stream.expect("pong")
    disk.full = False
    assert (await stream.expect("message")).text == "taken"
    assert (await stream.expect("sent")).op_seq == 1
    assert (await ask(server, "new")).message.conversation_seq == 2
    page = await server.stub().GetHistory(pb.GetHistoryRequest(user="alice", peer="alice"))
    assert [message.text for message in page.messages] == ["taken", "new"]


async def test_what_can_not_be_brought_into_the_tables_is_no_reason_to_hang(
    server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ask(server, "first")
    disk = Disk(server, monkeypatch)
    disk.full = True
    server.server.node._machine._start_materialising()
    await disk.refused.wait()
    with pytest.raises(aio.AioRpcError, match="disk is full"):
        await server.stub().ListAccounts(pb.ListAccountsRequest(), timeout=5)
    disk.full = False
    async with asyncio.timeout(5):
        while True:
            try:
                page = await server.stub().ListAccounts(pb.ListAccountsRequest(), timeout=5)
                break
            except aio.AioRpcError:
                await asyncio.sleep(0.05)
    assert [account.name for account in page.accounts] == ["alice"]


async def test_a_server_stops_soon_although_its_disk_is_full(
    start_server: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR, "asyncio")
    server = await start_server()
    await ask(server, "first")
    disk = Disk(server, monkeypatch)
    disk.full = True
    waiting = asyncio.ensure_future(ask(server, "in doubt"))
    await disk.refused.wait()
    begun = time.monotonic()
    await server.stop()
    assert time.monotonic() - begun < 2.9
    with pytest.raises(aio.AioRpcError):
        await waiting
    disk.full = False
    await server.start()
    page = await server.stub().GetHistory(pb.GetHistoryRequest(user="alice", peer="alice"))
    assert [message.text for message in page.messages][:1] == ["first"]
    assert [record.getMessage() for record in caplog.records] == ["the disk is full"]
