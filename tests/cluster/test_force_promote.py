"""The last resort: an operator makes a server primary that must not become it by itself."""

import asyncio
import json
import subprocess
import sys
from typing import Any

import pytest

from chatsvc.client import AsyncCluster
from chatsvc.v1 import chat_pb2 as pb
from chatsvc.v1.chat_pb2_grpc import ChatStub
from tests.cluster.processes import POLL_S, Cluster

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


async def command(*arguments: str) -> tuple[int, str]:
    """Exit status and output of a command."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "chatsvc", *arguments), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode()


async def say(cluster: Cluster, name: str, text: str) -> None:
    chat: Any = ChatStub(cluster.channel(name))
    await chat.SendMessage(pb.SendMessageRequest(user="alice", to="alice", text=text), timeout=20)


async def test_a_server_that_must_wait_can_be_forced_and_the_others_follow_it(cluster: Cluster) -> None:
    primary = await cluster.all_in_sync()
    left_behind, other = [name for name in cluster.servers if name != primary]
    await say(cluster, primary, "everybody has this")
    await cluster.same_state()
    cluster[left_behind].kill()
    await say(cluster, primary, "one does not have this")
    for name in (primary, other):
        cluster[name].kill()
    cluster[left_behind].start()

    async with asyncio.timeout(20):
        while True:
            status = await cluster.status(left_behind)
            if status is not None and len(status.waiting_for) == 2:
                break
            await asyncio.sleep(POLL_S)
    address = cluster[left_behind].address
    exit_status, output = await command("status", "--server", address)
    assert exit_status == 3
    assert f"{left_behind} is waiting for" in output

    exit_status, output = await command("cluster", "force-promote", "--server", address)
    assert exit_status == 1, "it asks first"
    assert "will be lost" in output
    exit_status, output = await command("cluster", "force-promote", "--server", address, "--yes")
    assert exit_status == 0, output
    assert await cluster.primary() == left_behind
    exit_status, output = await command("cluster", "force-promote", "--server", address, "--yes")
    assert exit_status == 1
    assert "is primary" in output

    # Those who had applied what is lost now can't follow: their state can't be undone.
    for name in (primary, other):
        cluster[name].start()
    async with asyncio.timeout(20):
        while True:
            statuses = await cluster.statuses()
            if primary in statuses and "empty its data directory" in statuses[primary].problem:
                break
            await asyncio.sleep(POLL_S)
    for name in (primary, other):
        cluster[name].kill()
        for file in cluster[name].data_dir.iterdir():
            file.unlink()
        cluster[name].start(["--backup", "--join", address])
    await cluster.all_in_sync()
    await cluster.same_state()
    exit_status, output = await command("status", "--json", "--server", address)
    assert (exit_status, json.loads(output)["forced"]) == (0, True)
    asking = AsyncCluster(cluster.addresses)
    assert [message.text for message in await asking.history("alice", "alice")] == ["everybody has this"]
