"""Finding the primary.

All known servers are asked at once what they are, and each is asked again and again. Whoever says that it is the
primary is tried at once; what the others say of the primary and of further servers is asked as well. A server that is
asked again holds its answer back until there is news of a primary, so waiting costs little and ends at once.

Servers are asked first, and not simply logged in to all at once, because one server may be known by two addresses: two
logins of one client there would end each other.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Self, TypeVar

import msgspec
from grpc import aio

from chatsvc.client.addresses import is_address
from chatsvc.client.channels import open_channel
from chatsvc.client.errors import ConnectError, why_unreachable
from chatsvc.domain.errors import TooManySessions, Unavailable
from chatsvc.v1 import replication_pb2 as rpb
from chatsvc.v1.replication_pb2_grpc import ReplicationStub

T = TypeVar("T")

SERVERS_MAX = 64
"""Most addresses that are remembered."""

PAUSE_S_MIN, PAUSE_S_MAX = 0.05, 1.0
"""Before a server that has answered at once is asked again: doubles each time, and is drawn from its upper half."""

REFUSED_PAUSE_S = 0.25
"""Shortest pause before an address is dialled again where nobody listens: no server starts faster."""


class Timing(msgspec.Struct, frozen=True):
    """How long a client waits for what, in seconds.

    Attributes:
        connect_s: for one server's answer.
        refused_s: before it gives up where every known server refuses the connection.
        give_up_s: before it gives up where no primary answers.
        ping_s: for the answer to an operation before it asks for a sign of life, and for that before it asks the
            other servers for the primary.
        idle_s: a session that receives asks for a sign of life after so long without one.
        acknowledge_s: how long acknowledgements may be held back, to send several as one.
    """

    connect_s: float = 1.0
    refused_s: float = 5.0
    give_up_s: float = 30.0
    ping_s: float = 0.5
    idle_s: float = 10.0
    acknowledge_s: float = 0.03


class Servers:
    """The addresses that are known: those given, then those learned. All but the given ones may be forgotten."""

    def __init__(self, given: Iterable[str]) -> None:
        self._known = dict.fromkeys(given)

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._known))

    def learn(self, addresses: Iterable[str]) -> None:
        """Remember what a server has named, as far as it is an address."""
        for address in addresses:
            if address and len(self._known) < SERVERS_MAX and is_address(address):
                self._known.setdefault(address)


class Unreached(msgspec.Struct, frozen=True):
    """What a server was good for when it was asked last.

    Attributes:
        why: it is not used, in a few words.
        refused: whether it is certain that no server is there now.
        spoke: whether a server of ours answered.
        error: what the service itself said.
    """

    why: str
    refused: bool = False
    spoke: bool = False
    error: Unavailable | None = None


class NoPrimary(Exception):
    """None was found.

    Attributes:
        unreached: by address.
    """

    def __init__(self, unreached: dict[str, Unreached]) -> None:
        self.unreached = unreached

    @property
    def refused(self) -> bool:
        """Whether certainly no server is there at any address."""
        return all(one.refused for one in self.unreached.values())

    @property
    def silent(self) -> bool:
        """Whether no server of ours has said anything."""
        return not any(one.spoke for one in self.unreached.values())

    @property
    def full(self) -> TooManySessions | None:
        """The refusal of a primary that has as many sessions as it may."""
        for one in self.unreached.values():
            if isinstance(one.error, TooManySessions):
                return one.error
        return None

    def error(self) -> ConnectError:
        """The same for a person: the most telling address with its reason, and what holds for the others."""
        address, told = max(self.unreached.items(), key=lambda item: (item[1].error is not None, item[1].spoke))
        rest = {other: one.why for other, one in self.unreached.items() if other != address}
        same = [other for other, why in rest.items() if why == told.why]
        also = f" (the same at {', '.join(same)})" if same else ""
        also += "".join(f"; {other}: {why}" for other, why in rest.items() if why != told.why)
        return ConnectError(address, told.why, also)


class Answer(msgspec.Struct, frozen=True):
    """A server's view of itself."""

    address: str
    channel: aio.Channel
    status: rpb.GetStatusResponse


async def ask(channel: aio.Channel, timeout_s: float, *, wait_s: float = 0.0, epoch: int = 0) -> rpb.GetStatusResponse:
    """What a server says of itself and of its cluster.

    Args:
        channel: to the server.
        timeout_s: for the answer.
        wait_s: for so long it may hold the answer back for news of a primary.
        epoch: number of the newest reign that is no news.

    Raises:
        AioRpcError: it does not answer.
    """
    request = rpb.GetStatusRequest(wait_ms=int(1_000 * wait_s), epoch=epoch)
    response: rpb.GetStatusResponse = await ReplicationStub(channel).GetStatus(request, timeout=timeout_s)
    return response


class Search:
    """Asks all servers for the primary; a context manager. Keeps a connection to each server that answers.

    Args:
        servers: to ask; learns more.
        timeout_s: for each answer. Half of it a server may hold it back.
        epoch: number of the newest reign that is known.
        later: whether only a primary of a later reign is wanted, and not one of this reign.

    Attributes:
        unreached: by address, what the servers were good for that have answered or failed to.
    """

    def __init__(self, servers: Servers, timeout_s: float, epoch: int, *, later: bool = False) -> None:
        self.unreached: dict[str, Unreached] = {}
        self._servers, self._timeout_s, self._epoch = servers, timeout_s, epoch
        self._epoch_min = epoch + 1 if later else epoch
        self._channels: dict[str, aio.Channel] = {}
        self._pauses: dict[str, float] = {}  # before the next question, by address
        self._asking: dict[asyncio.Task[rpb.GetStatusResponse], str] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._asking:
            task.cancel()
        await asyncio.gather(*self._asking, return_exceptions=True)
        for channel in self._channels.values():
            await channel.close()

    @property
    def is_complete(self) -> bool:
        """Whether every server that is known has answered, or has failed to."""
        return all(address in self.unreached for address in self._servers)

    async def next(self, timeout_s: float | None) -> Answer | None:
        """Take the next answer of any server. Cancelling is safe.

        Returns:
            That of a primary, whose server is not asked again before the next call. None: a server has said something
            else or failed to answer, or `timeout_s` has passed.
        """
        asking = self._asking
        asked = set(asking.values())
        for address in self._servers:
            if address not in asked:
                asking[asyncio.ensure_future(self._ask(address))] = address
        done, _ = await asyncio.wait(asking, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if not done:
            return None
        task = done.pop()
        address = asking.pop(task)
        try:
            status = task.result()
        except aio.AioRpcError as error:
            unreached = Unreached(*why_unreachable(error, self._timeout_s))
            if unreached.refused:
                self._pauses[address] = max(self._pauses[address], REFUSED_PAUSE_S)
            await self.failed(address, unreached)
            return None
        if status.self.role == rpb.ROLE_PRIMARY and status.serving and status.epoch >= self._epoch_min:
            return Answer(address, self._channels[address], status)
        self._servers.learn([status.primary, *(member.address for member in status.members)])
        self.unreached[address] = Unreached("this server is not the primary", spoke=True)
        return None

    async def failed(self, address: str, unreached: Unreached) -> None:
        """Nothing came of that server; it is dialled anew."""
        self.unreached[address] = unreached
        channel = self._channels.pop(address, None)
        if channel is not None:
            await channel.close()

    def take(self, answer: Answer) -> aio.Channel:
        """The channel to that server, which is the caller's from now on."""
        return self._channels.pop(answer.address)

    async def _ask(self, address: str) -> rpb.GetStatusResponse:
        pause_s, hold_s = self._pauses.get(address, 0.0), self._timeout_s / 2
        await asyncio.sleep(pause_s)
        if address not in self._channels:
            self._channels[address] = open_channel(address)
        now = asyncio.get_running_loop().time
        began = now()
        try:
            return await ask(self._channels[address], self._timeout_s, wait_s=hold_s, epoch=self._epoch)
        finally:
            self._pauses[address] = 0.0 if now() - began >= hold_s else next_pause(pause_s)


async def search(
    servers: Servers,
    timing: Timing,
    use: Callable[[Answer], Awaitable[T]],
    *,
    first: bool,
    epoch: int = 0,
    since: float | None = None,
    pause_s: float = 0.0,
) -> tuple[T, aio.Channel]:
    """Use the primary as soon as there is one, or give up when it is time to. Cancelling is safe.

    Args:
        servers, epoch: see `Search`.
        timing: how long to wait for what.
        use: what is done with a server that says it is the primary. After `Unavailable`, AioRpcError or TimeoutError
            from it the search goes on.
        first: whether nobody has ever answered this client: then silence counts as refusal.
        since: when the wait began, by the loop's clock; None: now.
        pause_s: before it begins.

    Returns:
        What `use` returned, and the channel that it used, which is the caller's from now on.

    Raises:
        NoPrimary: it is time to give up.
        TooManySessions: at first, when the primary has as many sessions as it may.
        ChatError: raised by `use`.
    """
    now = asyncio.get_running_loop().time
    since = now() if since is None else since
    end, refused_since = since + timing.give_up_s, None
    await asyncio.sleep(pause_s)
    async with Search(servers, timing.connect_s, epoch) as asking:
        while True:
            answer = await asking.next(max(0.0, end - now()) if asking.is_complete else None)
            if answer is not None:
                address = answer.address
                try:
                    return await use(answer), asking.take(answer)
                except Unavailable as error:
                    servers.learn([error.metadata.get("primary", "")])
                    asking.unreached[address] = Unreached(str(error), spoke=True, error=error)
                except aio.AioRpcError as error:
                    await asking.failed(address, Unreached(*why_unreachable(error, timing.connect_s)))
                except TimeoutError:
                    await asking.failed(address, Unreached("the primary does not take the login", spoke=True))
            if not asking.is_complete:
                continue
            failure = NoPrimary({address: asking.unreached[address] for address in servers})
            if first and failure.full is not None:
                raise failure.full
            if not (failure.refused or (first and failure.silent)):
                refused_since = None
            elif refused_since is None:
                refused_since = now()
            end = since + timing.give_up_s
            if refused_since is not None:
                end = min(end, refused_since + timing.refused_s)
            if now() >= end:
                raise failure


def next_pause(pause_s: float) -> float:
    """The pause after this one."""
    longest = min(PAUSE_S_MAX, max(PAUSE_S_MIN, 2 * pause_s))
    return longest * random.uniform(0.5, 1.0)
