"""What can be asked of a cluster without a session: nobody is logged in or out, and no account is made."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import grpc
import msgspec
from grpc import aio

from chatsvc.client.addresses import checked_servers
from chatsvc.client.channels import open_channel
from chatsvc.client.errors import ConnectError, ForcedInVain, from_status, why_unreachable
from chatsvc.client.paging import HISTORY_DEFAULT, every_account, newest_messages
from chatsvc.client.search import Answer, NoPrimary, Servers, Timing, ask, search
from chatsvc.client.values import Account, AccountPage, ClusterStatus, Member, Message, to_account_page, to_time
from chatsvc.domain.errors import UnknownAccount
from chatsvc.v1 import chat_pb2 as pb
from chatsvc.v1 import replication_pb2 as rpb
from chatsvc.v1.chat_pb2_grpc import ChatStub
from chatsvc.v1.replication_pb2_grpc import ReplicationStub

T = TypeVar("T")

CALL_S = 10.0
"""Longest wait for the answer to one call."""

STATUS_S = 2.0

ROLE_NAME: dict[int, str] = {
    rpb.ROLE_PRIMARY: "primary",
    rpb.ROLE_BACKUP: "backup",
    rpb.ROLE_LEARNER: "learner",
    rpb.ROLE_WAITING: "waiting",
}
UNREACHABLE = "unreachable"


class AsyncCluster:
    """Calls without a session. Each finds the primary anew.

    Args:
        servers: addresses (host:port) of which one has to be reachable; None: `default_servers`.
        give_up_s: how long no primary may answer.
        timing: the other waits; its `give_up_s` is not used.

    Every call but `status` raises `ConnectError` (no primary could be reached) and `ChatError` (it was refused).
    Cancelling is safe.
    """

    def __init__(
        self, servers: Sequence[str] | None = None, *, give_up_s: float = 30.0, timing: Timing | None = None
    ) -> None:
        """Takes note; nothing is dialled yet.

        Raises:
            ValueError: an address is none.
        """
        self._servers = checked_servers(servers)
        self._timing = msgspec.structs.replace(timing or Timing(), give_up_s=give_up_s)

    async def list_accounts(self, pattern: str = "", page_size: int = 100, page_token: str = "") -> AccountPage:
        """A page of accounts; see `AsyncClient.list_accounts`."""
        return await self._at_primary(lambda chat: _account_page(chat, pattern, page_size, page_token))

    async def accounts(self, pattern: str = "") -> list[Account]:
        """All accounts that match; see `AsyncClient.list_accounts`."""

        async def use(chat: Any) -> list[Account]:
            pages = every_account(lambda size, token: _account_page(chat, pattern, size, token))
            return [account async for account in pages]

        return await self._at_primary(use)

    async def history(self, user: str, peer: str, limit: int = HISTORY_DEFAULT, before: int = 0) -> list[Message]:
        """The newest messages between two users, oldest first; see `AsyncClient.history`."""

        async def use(chat: Any) -> list[Message]:
            async def page(size: int, end: int) -> pb.GetHistoryResponse:
                asked = pb.GetHistoryRequest(user=user, peer=peer, limit=size, before=end)
                response: pb.GetHistoryResponse = await chat.GetHistory(asked, timeout=CALL_S)
                return response

            return await newest_messages(page, limit, before)

        return await self._at_primary(use)

    async def delete_account(self, user: str) -> None:
        """Delete an account. Messages it had sent are still delivered; what waited for it is dropped."""
        tried = False

        async def use(chat: Any) -> None:
            nonlocal tried
            tried_before, tried = tried, True
            try:
                await chat.DeleteAccount(pb.DeleteAccountRequest(user=user), timeout=CALL_S)
            except aio.AioRpcError as error:
                # An attempt without an answer may have done it.
                if not (tried_before and isinstance(from_status(error), UnknownAccount)):
                    raise

        await self._at_primary(use)

    async def status(self, timeout_s: float = STATUS_S) -> ClusterStatus:
        """What the servers say of themselves; all are asked at once. Silent ones are `unreachable`.

        Args:
            timeout_s: how long an answer may take.
        """
        statuses = await _ask_all(self._servers, timeout_s)
        if not statuses:
            members = tuple(Member(address, address, UNREACHABLE) for address in self._servers)
            return ClusterStatus(b"", "", 0, None, 0, False, 0, members)
        return merged(list(statuses.values()))

    async def force_promote(self, address: str) -> int:
        """Make one server primary although the rules forbid it: what others have acknowledged without it is lost.

        Args:
            address: of that server, host:port.

        Returns:
            Number of the reign that has begun.

        Raises:
            ForcedInVain: it was refused; the text says why.
            ConnectError: the server did not answer.
        """
        channel = open_channel(address)
        try:
            response = await ReplicationStub(channel).ForcePromote(rpb.ForcePromoteRequest(), timeout=CALL_S)
        except aio.AioRpcError as error:
            if error.code() == grpc.StatusCode.FAILED_PRECONDITION:
                raise ForcedInVain(error.details() or "refused") from None
            if (refusal := from_status(error)) is not None:
                raise refusal from None
            raise ConnectError(address, why_unreachable(error, CALL_S)[0]) from None
        finally:
            await channel.close()
        return int(response.epoch)

    async def _at_primary(self, use: Callable[[Any], Awaitable[T]]) -> T:
        async def use_primary(answer: Answer) -> T:
            try:
                return await use(ChatStub(answer.channel))
            except aio.AioRpcError as error:
                refusal = from_status(error)
                if refusal is None:
                    raise
                raise refusal from None

        try:
            result, channel = await search(Servers(self._servers), self._timing, use_primary, first=True)
        except NoPrimary as failure:
            raise failure.error() from None
        await channel.close()
        return result


async def _account_page(chat: Any, pattern: str, page_size: int, page_token: str) -> AccountPage:
    asked = pb.ListAccountsRequest(pattern=pattern, page_size=page_size, page_token=page_token)
    page: pb.ListAccountsResponse = await chat.ListAccounts(asked, timeout=CALL_S)
    return to_account_page(page.accounts, page.next_page_token)


async def _ask_all(given: Sequence[str], timeout_s: float) -> dict[str, rpb.GetStatusResponse]:
    """Answers of the given servers and of those that they name, by each server's own address."""
    servers = Servers(given)
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_s
    asked: set[str] = set()
    asking: set[asyncio.Task[rpb.GetStatusResponse | None]] = set()
    statuses: dict[str, rpb.GetStatusResponse] = {}

    async def one(address: str) -> rpb.GetStatusResponse | None:
        channel = open_channel(address)
        try:
            return await ask(channel, deadline - loop.time())
        except aio.AioRpcError:
            return None
        finally:
            await channel.close()

    try:
        while True:
            for address in servers:
                if address not in asked:
                    asked.add(address)
                    asking.add(asyncio.ensure_future(one(address)))
            if not asking:
                return statuses
            done, asking = await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                status = task.result()
                if status is not None:
                    statuses[status.self.address] = status
                    servers.learn(member.address for member in status.members)
    finally:
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)


def merged(statuses: Sequence[rpb.GetStatusResponse]) -> ClusterStatus:
    """One picture out of what several servers said, at least one.

    The newest reign's primary is believed about the cluster, and every server about itself.
    """
    told = max(statuses, key=lambda one: (one.epoch, one.self.role == rpb.ROLE_PRIMARY, one.commit_index))
    own = {one.self.address: one for one in statuses if one.cluster_id == told.cluster_id}
    members = {member.address: member for member in (*told.members, told.self)}
    members.update((address, one.self) for address, one in own.items() if address not in members)
    in_sync = {member.address: member.in_sync for member in told.members}
    return ClusterStatus(
        told.cluster_id,
        told.mode,
        told.epoch,
        told.self.address if told.self.role == rpb.ROLE_PRIMARY else None,
        told.commit_index,
        told.degraded,
        told.holes,
        tuple(_member(member, own.get(address), in_sync.get(address)) for address, member in members.items()),
        told.forced,
    )


def _member(known: rpb.Member, own: rpb.GetStatusResponse | None, in_sync: bool | None) -> Member:
    newest = known if own is None else own.self
    return Member(
        newest.name,
        newest.address,
        UNREACHABLE if own is None else ROLE_NAME.get(newest.role, "unknown"),
        own is not None and (newest.in_sync if in_sync is None else in_sync),
        newest.durable_index,
        newest.applied_index,
        newest.state_hash,
        newest.hash_index,
        "" if own is None else own.version,
        0 if own is None else own.sessions,
        None if own is None else to_time(own.self.role_time),
        () if own is None else tuple(own.waiting_for),
        "" if own is None else own.problem,
        0 if own is None else own.cpu_us,
    )
