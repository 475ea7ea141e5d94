"""Finding the primary.

A *round* asks all known servers at once what they are. Whoever says that it is the primary is tried at once; what
the others say of the primary and of further servers is asked in the same round. Servers are asked first, and not
simply logged in to all at once, because one server may be known by two addresses: two logins of one client there
would end each other.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import TypeVar

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
"""Between two rounds: doubles from round to round, and is drawn from its upper half."""


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
    """What a server was good for in a round.

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
    """A round has found none.

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


async def ask(channel: aio.Channel, timeout_s: float) -> rpb.GetStatusResponse:
    """What a server says of itself and of its cluster.

    Raises:
        AioRpcError: it does not answer.
    """
    response: rpb.GetStatusResponse = await ReplicationStub(channel).GetStatus(
        rpb.GetStatusRequest(), timeout=timeout_s
    )
    return response


async def search_round(
    servers: Servers, timeout_s: float, use: Callable[[Answer], Awaitable[T]], epoch_min: int = 0
) -> tuple[T, aio.Channel]:
    """Ask all servers once and use the primary. Cancelling is safe.

    Args:
        servers: to ask; learns more.
        timeout_s: for each answer.
        use: what is done with a server that says it is the primary. `Unavailable` or AioRpcError from it send the
            round on its way.
        epoch_min: a primary of an earlier reign is left alone.

    Returns:
        What `use` returned, and the channel that it used, which is the caller's from now on.

    Raises:
        NoPrimary: no server could be used.
        ChatError: raised by `use`.
    """
    unreached: dict[str, Unreached] = {}
    channels: dict[str, aio.Channel] = {}
    asking: dict[asyncio.Task[rpb.GetStatusResponse], str] = {}

    def ask_new_ones() -> None:
        for address in servers:
            if address not in channels:
                channel = channels[address] = open_channel(address)
                asking[asyncio.ensure_future(ask(channel, timeout_s))] = address

    try:
        ask_new_ones()
        while asking:
            done, _ = await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                address = asking.pop(task)
                try:
                    status = task.result()
                    if status.self.role != rpb.ROLE_PRIMARY or status.epoch < epoch_min:
                        servers.learn([status.primary, *(member.address for member in status.members)])
                        unreached[address] = Unreached("this server is not the primary", spoke=True)
                    else:
                        used = await use(Answer(address, channels[address], status))
                        return used, channels.pop(address)
                except Unavailable as error:
                    servers.learn([error.metadata.get("primary", "")])
                    unreached[address] = Unreached(str(error), spoke=True, error=error)
                except aio.AioRpcError as error:
                    why, refused = why_unreachable(error, timeout_s)
                    unreached[address] = Unreached(why, refused)
                except TimeoutError:
                    unreached[address] = Unreached("the primary does not take the login", spoke=True)
            ask_new_ones()
        raise NoPrimary({address: unreached[address] for address in channels})
    finally:
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        for channel in channels.values():
            await channel.close()


async def search(
    servers: Servers,
    timing: Timing,
    use: Callable[[Answer], Awaitable[T]],
    *,
    first: bool,
    epoch_min: int = 0,
    since: float | None = None,
    pause_s: float = 0.0,
) -> tuple[T, aio.Channel]:
    """Rounds until one succeeds, or it is time to give up. Cancelling is safe.

    Args:
        servers, use, epoch_min: see `search_round`.
        timing: how long to wait for what.
        first: whether nobody has ever answered this client: then silence counts as refusal.
        since: when the wait began, by the loop's clock; None: now.
        pause_s: before the first round.

    Raises:
        NoPrimary: of the last round; it is time to give up.
        TooManySessions: at first, when the primary has as many sessions as it may.
        ChatError: raised by `use`.
    """
    now = asyncio.get_running_loop().time
    since = now() if since is None else since
    refused_since: float | None = None
    while True:
        await asyncio.sleep(pause_s)
        began = now()
        try:
            return await search_round(servers, timing.connect_s, use, epoch_min)
        except NoPrimary as failure:
            if first and failure.full is not None:
                raise failure.full from None
            if failure.refused or (first and failure.silent):
                refused_since = began if refused_since is None else refused_since
            else:
                refused_since = None
            end = since + timing.give_up_s
            if refused_since is not None:
                end = min(end, refused_since + timing.refused_s)
            pause_s = next_pause(pause_s)
            if now() >= end:
                raise
            pause_s = min(pause_s, end - now())


def next_pause(pause_s: float) -> float:
    """The pause after this one."""
    longest = min(PAUSE_S_MAX, max(PAUSE_S_MIN, 2 * pause_s))
    return longest * random.uniform(0.5, 1.0)


async def newer_primary(servers: Servers, timeout_s: float, epoch: int) -> str | None:
    """Address of a server that says that it is the primary of a later reign than `epoch`; None if none does.

    Cancelling is safe.
    """

    async def address(answer: Answer) -> str:
        return answer.address

    try:
        found, channel = await search_round(servers, timeout_s, address, epoch + 1)
    except NoPrimary:
        return None
    await channel.close()
    return found
