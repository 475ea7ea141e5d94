"""A primary in a process of its own, to be killed or stopped: welcomes everybody, then sends a heartbeat every 20 ms.

Prints its port.
"""

import asyncio
import itertools

from grpc import aio

from chatsvc.api.server import OPTIONS
from chatsvc.node.links import Links
from chatsvc.replication.envelopes import Append, Envelope, Hello, Welcome
from chatsvc.replication.events import Broken, Received
from chatsvc.replication.identity import Epoch, Identity, Position


async def main() -> None:
    streams: dict[int, tuple[str, int]] = {}
    dir_id = b"p" * 16
    epoch = Epoch(1, 1, dir_id)

    def on_event(event: Received | Broken) -> None:
        if isinstance(event, Received) and isinstance(event.envelope.payload, Hello):
            source, number = event.envelope.source, event.envelope.payload.stream
            streams[event.link] = source.address, number
            links.send([Envelope(identity, source.address, source.dir_id, event.link, Welcome(number, epoch, 0))])

    links = Links(lambda: identity, on_event)
    server = aio.server(options=OPTIONS)
    links.add_to_server(server)
    port = server.add_insecure_port("127.0.0.1:0")
    identity = Identity(b"c" * 16, dir_id, 1, f"127.0.0.1:{port}", "")
    await server.start()
    print(port, flush=True)
    for now in itertools.count():
        await asyncio.sleep(0.02)
        for link, (address, number) in streams.items():
            heartbeat = Append(number, epoch, now, Position(epoch, 0), (), 0, 0, 0, False)
            links.send([Envelope(identity, address, None, link, heartbeat)])


if __name__ == "__main__":
    asyncio.run(main())
