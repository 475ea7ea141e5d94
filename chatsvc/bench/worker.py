"""A process of the generator: does what its standard input orders, and ends with that."""

import asyncio
import resource
import sys

import msgspec

from chatsvc.bench import orders
from chatsvc.bench.orders import Answer, Done, Failed, Order, framed
from chatsvc.bench.team import Team
from chatsvc.client import ConnectError, SessionEnded
from chatsvc.domain.errors import ChatError

_decode = msgspec.msgpack.Decoder(Order).decode


async def work() -> None:
    """Obey until the orders end."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin.buffer)
    output = sys.stdout.buffer
    team = Team()
    while True:
        try:
            length = int.from_bytes(await reader.readexactly(orders.LENGTH_BYTES), "big")
            order = _decode(await reader.readexactly(length))
        except asyncio.IncompleteReadError:
            return
        try:
            answer = await obey(team, order)
        except (ConnectError, ChatError, SessionEnded, TimeoutError) as error:
            answer = Failed(str(error) or type(error).__name__)
        output.write(framed(answer))
        output.flush()


async def obey(team: Team, order: Order) -> Answer:
    """Carry out one order."""
    match order:
        case orders.Connect():
            return await team.connect(order)
        case orders.Start():
            team.start(order)
        case orders.Look():
            return team.counts()
        case orders.Take():
            return team.take()
        case orders.Halt():
            await team.halt(deliveries=order.deliveries, quiet_s=order.quiet_s)
            return team.counts()
        case orders.Away():
            await team.away()
        case orders.Back():
            await team.back()
        case orders.Expect():
            team.expect(order.epoch)
        case orders.AwaitServed():
            return await team.served(order.timeout_s)
        case orders.Leave():
            await team.leave(delete=order.delete)
    return Done()


def raise_descriptor_limit() -> None:
    """Each connection takes a descriptor: as many as this process may have."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def main() -> None:
    """Run with uvloop where it is installed: that takes a tenth of the CPU time away."""
    raise_descriptor_limit()
    try:
        import uvloop
    except ImportError:
        asyncio.run(work())
    else:
        uvloop.run(work())


if __name__ == "__main__":
    main()
