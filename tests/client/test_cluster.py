"""Calls without a session."""

import asyncio
from typing import Any

import pytest
from grpc import StatusCode

from chatsvc.client import AsyncClient, AsyncCluster, ConnectError, Member, Timing
from chatsvc.client.cluster import merged
from chatsvc.domain.errors import InvalidName, UnknownAccount
from chatsvc.v1 import replication_pb2 as rpb


async def test_history_and_accounts_are_read_without_an_account(server: Any) -> None:
    async with await AsyncClient.connect("alice", [server.address]) as alice:
        count = 1_234
        await asyncio.gather(*(alice.send("alice", str(number)) for number in range(count)))
        cluster = AsyncCluster([server.address])
        assert [message.text for message in await cluster.history("alice", "alice", 5_000)] == [
            str(number) for number in range(count)
        ]
        assert [(account.name, account.online) for account in await cluster.accounts()] == [("alice", True)]
        assert await cluster.accounts("bob") == []
        assert (await cluster.list_accounts("ali", 1)).next_page_token == ""
        with pytest.raises(UnknownAccount):
            await cluster.history("nobody", "alice")
        with pytest.raises(InvalidName):
            await cluster.history("no name", "alice")
        await alice.ping()  # nobody was logged out


async def test_an_account_is_deleted_once(server: Any) -> None:
    cluster = AsyncCluster([server.address])
    async with await AsyncClient.connect("alice", [server.address]):
        await cluster.delete_account("Alice")
    with pytest.raises(UnknownAccount):
        await cluster.delete_account("alice")
    assert await cluster.accounts() == []


async def test_a_deletion_whose_answer_was_lost_is_not_refused(scripted: Any, fast: Timing) -> None:
    server = await scripted()
    calls = []

    async def delete_account(request: Any, context: Any) -> None:
        calls.append(request.user)
        if len(calls) == 1:
            await context.abort(StatusCode.UNAVAILABLE, "Socket closed")
        await abort_with(context, "UNKNOWN_ACCOUNT")

    server.DeleteAccount = delete_account
    await server.stop()
    await server.start()
    await AsyncCluster([server.address], timing=fast).delete_account("alice")
    assert calls == ["alice", "alice"]


async def abort_with(context: Any, reason: str) -> None:
    from google.protobuf.any_pb2 import Any as AnyProto
    from google.rpc.error_details_pb2 import ErrorInfo
    from google.rpc.status_pb2 import Status

    detail = AnyProto()
    detail.Pack(ErrorInfo(reason=reason, domain="chatsvc"))
    status = Status(code=5, message="no", details=[detail])
    await context.abort(StatusCode.NOT_FOUND, "no", (("grpc-status-details-bin", status.SerializeToString()),))


async def test_a_primary_that_is_not_ready_is_asked_again(scripted: Any, fast: Timing) -> None:
    from chatsvc.v1 import chat_pb2 as pb

    server = await scripted()
    calls = []

    async def list_accounts(request: Any, context: Any) -> pb.ListAccountsResponse:
        calls.append(request.pattern)
        if len(calls) < 3:
            await abort_with(context, "NOT_READY")
        return pb.ListAccountsResponse(accounts=[pb.Account(name="alice")])

    server.ListAccounts = list_accounts
    await server.stop()
    await server.start()
    accounts = await AsyncCluster([server.address], timing=fast).accounts("a")
    assert [account.name for account in accounts] == ["alice"]
    assert calls == ["a", "a", "a"]


async def test_without_a_primary_a_call_gives_up(scripted: Any, fast: Timing) -> None:
    backup = await scripted(role=rpb.ROLE_BACKUP)
    with pytest.raises(ConnectError, match="not the primary"):
        await AsyncCluster([backup.address], give_up_s=0.3, timing=fast).accounts()


async def test_the_status_of_a_real_server(server: Any) -> None:
    status = await AsyncCluster([server.address]).status()
    assert (len(status.cluster_id), status.mode, status.primary) == (16, "available", server.address)
    assert status.epoch >= 1
    assert (status.degraded, status.holes) == (False, 0)
    (member,) = status.members
    assert (member.address, member.role, member.in_sync) == (server.address, "primary", True)
    assert member.version
    assert member.cpu_us > 0
    assert member.durable_index >= member.applied_index >= 1
    assert len(member.state_hash) == 16


async def test_the_status_of_silent_servers_comes_in_time(scripted: Any, free_port: int) -> None:
    hung = await scripted(hangs=True)
    dead = f"127.0.0.1:{free_port}"
    status = await AsyncCluster([hung.address, dead]).status(timeout_s=0.2)
    assert (status.cluster_id, status.primary) == (b"", None)
    assert status.members == tuple(Member(address, address, "unreachable") for address in (hung.address, dead))


async def test_the_status_asks_the_servers_that_others_name_and_says_who_is_silent(
    scripted: Any, free_port: int
) -> None:
    dead = f"127.0.0.1:{free_port}"
    backup = await scripted(role=rpb.ROLE_BACKUP)
    primary = await scripted(members=[backup.address, dead], epoch=2)
    backup.members = [primary.address]
    backup.details.self.durable_index = 7
    status = await AsyncCluster([backup.address]).status()
    assert (status.epoch, status.primary) == (2, primary.address)
    assert {member.address: member.role for member in status.members} == {
        primary.address: "primary",
        backup.address: "backup",
        dead: "unreachable",
    }
    assert {member.address: member.durable_index for member in status.members}[backup.address] == 7


def answer(address: str, role: int, epoch: int, *members: rpb.Member, cluster: bytes = b"c") -> rpb.GetStatusResponse:
    own = rpb.Member(name=address, address=address, role=role)  # type: ignore[arg-type]
    return rpb.GetStatusResponse(cluster_id=cluster, epoch=epoch, self=own, members=members)


def test_the_newest_reign_is_believed_and_a_deposed_primary_is_not_the_primary() -> None:
    old = answer("old:1", rpb.ROLE_PRIMARY, 3)
    new = answer("new:1", rpb.ROLE_BACKUP, 4, rpb.Member(address="old:1", in_sync=True))
    status = merged([old, new])
    assert (status.epoch, status.primary) == (4, None)
    assert {member.address: member.in_sync for member in status.members} == {"old:1": True, "new:1": False}


def test_servers_of_another_cluster_are_left_out() -> None:
    status = merged([answer("a:1", rpb.ROLE_PRIMARY, 2), answer("x:1", rpb.ROLE_PRIMARY, 1, cluster=b"x")])
    assert [member.address for member in status.members] == ["a:1"]


def test_a_role_of_a_newer_server_is_unknown() -> None:
    assert [member.role for member in merged([answer("a:1", 99, 2)]).members] == ["unknown"]
