"""There is one primary: a second one beside it, or a server from elsewhere, is refused and damages nothing (S17)."""

import asyncio
import shutil
from pathlib import Path

import pytest

from chatsvc.cli.local import free_ports
from tests.cluster.processes import Cluster, ServerProcess
from tests.cluster.traffic import Traffic

pytestmark = [pytest.mark.slow, pytest.mark.timeout(90)]


async def refusal(server: ServerProcess) -> str:
    """What a server says that must not come up."""
    server.start()
    try:
        async with asyncio.timeout(10):
            assert await asyncio.to_thread(server.wait) == 1
    finally:
        server.kill()
    return server.words()


async def says(server: ServerProcess, text: str, times: int = 1) -> None:
    """Wait until a server has said that so often."""
    async with asyncio.timeout(10):
        while server.words().count(text) < times:
            assert server.is_running, server.words()
            await asyncio.sleep(0.02)


async def test_a_second_primary_can_not_come_up_beside_a_living_one(
    cluster: Cluster, traffic: Traffic, tmp_path: Path
) -> None:
    primary = await cluster.all_in_sync()
    before = await cluster.status(primary)
    backup = next(name for name in cluster.servers if name != primary)
    port = int(cluster[primary].address.rpartition(":")[2])
    free = free_ports(2)

    second = ServerProcess("same-port", port, tmp_path / "other", ["--primary"])
    assert f"can't listen on 127.0.0.1:{port}" in await refusal(second)
    for name in (primary, backup):
        second = ServerProcess(f"directory-of-{name}", free[0], cluster[name].data_dir, ["--primary"])
        assert f"{name} is in use by process {cluster[name].pid}" in await refusal(second)
    for name in (primary, backup):
        copy = tmp_path / f"copy-of-{name}"
        shutil.copytree(cluster[name].data_dir, copy)
        for arguments in (["--primary"], ["--backup", "--join", ",".join(cluster.addresses)]):
            second = ServerProcess(f"copy-of-{name}{len(arguments)}", free[1], copy, arguments)
            words = await refusal(second)
            assert f"the server at {cluster[name].address} runs on a copy of {copy}" in words
            assert words.count("\n") == 1, "one line"

    primary = await cluster.all_in_sync()
    after = await cluster.status(primary)
    assert before is not None
    assert after is not None
    assert after.cluster_id == before.cluster_id
    assert {member.address for member in after.members} == set(cluster.addresses)
    await traffic.flows()
    cluster[primary].kill()  # nobody remembers the copies: the others still know each other
    await traffic.flows()
    await cluster.same_state()


async def test_a_server_of_another_cluster_can_not_join(cluster: Cluster, tmp_path: Path) -> None:
    port = free_ports(1)[0]
    founder = ServerProcess("founder", port, tmp_path / "foreign", ["--primary"])
    stranger = ServerProcess("stranger", port, tmp_path / "foreign", ["--backup", "--join", cluster["a"].address])
    try:
        founder.start()
        await says(founder, "primary, serving clients")
        founder.kill()
        assert f"the server at {cluster['a'].address} to" in await refusal(stranger)
        founder.start()  # it still serves its own cluster
        await says(founder, "primary, serving clients", times=2)
    finally:
        founder.kill()
    status = await cluster.status(await cluster.all_in_sync())
    assert status is not None
    assert len(status.members) == 3


async def test_a_backup_that_can_join_nobody_says_so(tmp_path: Path) -> None:
    own, dead = free_ports(2)
    alone = ServerProcess("alone", own, tmp_path / "alone", ["--backup", "--join", f"127.0.0.1:{own}"])
    assert f"127.0.0.1:{own} is this server itself" in await refusal(alone)

    async def no_server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 another protocol\r\n")
        writer.close()

    other = await asyncio.start_server(no_server, "127.0.0.1", 0)
    for port in (dead, other.sockets[0].getsockname()[1]):
        waiting = ServerProcess(f"joins-{port}", own, tmp_path / "alone", ["--backup", "--join", f"127.0.0.1:{port}"])
        waiting.start()
        try:
            await says(waiting, f"waiting for an answer from 127.0.0.1:{port}")
            assert await asyncio.to_thread(waiting.terminate) == 0
        finally:
            waiting.kill()
    other.close()
    await other.wait_closed()


async def test_a_founder_whose_directory_is_gone_joins_those_it_knows(
    cluster: Cluster, traffic: Traffic, tmp_path: Path
) -> None:
    """`--primary --join`: a new cluster is founded only where nobody answers."""
    await cluster.all_in_sync()
    cluster["a"].kill()
    await traffic.flows()
    shutil.rmtree(cluster["a"].data_dir)
    others = ",".join(cluster.addresses[1:])
    port = int(cluster["a"].address.rpartition(":")[2])
    cluster.servers["a"] = ServerProcess("a", port, tmp_path / "a", ["--primary", "--join", others])
    cluster["a"].start()
    assert await cluster.all_in_sync() != "a"
    await cluster.same_state()
