"""Two ends of links, on ports of their own, and what they hear."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

import pytest
from grpc import aio

from chatsvc.api.server import OPTIONS
from chatsvc.node.links import Links, LinkSettings
from chatsvc.replication.entries import NO_CHAIN, Entry, EntryKind, make_entry
from chatsvc.replication.envelopes import Append, Envelope, Hello, Payload
from chatsvc.replication.events import Broken, Received
from chatsvc.replication.identity import NO_EPOCH, NO_POSITION, Epoch, Identity, Position, boot_id
from chatsvc.v1.replication_pb2_grpc import ReplicationServicer, add_ReplicationServicer_to_server

DEADLINE_S = 10.0

E = TypeVar("E", Received, Broken)


async def until(is_so: Callable[[], object]) -> None:
    """Wait for what no event tells."""
    async with asyncio.timeout(DEADLINE_S):
        while not is_so():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


class Peer:
    """Links behind a real server; keeps what they report until it is asked for."""

    def __init__(self, letter: str, settings: LinkSettings | None = None) -> None:
        self.dir_id = letter.encode() * 16
        self.epoch = Epoch(3, 5, self.dir_id)
        self.settings = settings
        self.events: list[Received | Broken] = []
        self._more = asyncio.Event()
        self.boot = boot_id(1, ord(letter))
        self.serving = False

    async def start(self, port: int = 0) -> None:
        self.links = Links(lambda: self.identity, self._on_event, self.settings)
        self.server = aio.server(options=OPTIONS)
        add_ReplicationServicer_to_server(ReplicationServicer(), self.server)
        self.links.add_to_server(self.server)
        self.port = self.server.add_insecure_port(f"127.0.0.1:{port}")
        self.address = f"127.0.0.1:{self.port}"
        self.identity = Identity(b"c" * 16, self.dir_id, self.boot, self.address, "")
        await self.server.start()
        self.serving = True

    async def stop(self) -> None:
        if self.serving:
            self.serving = False
            await self.links.close()
            await self.server.stop(0)

    def _on_event(self, event: Received | Broken) -> None:
        self.events.append(event)
        self._more.set()

    def envelope(self, to: str, payload: Payload, link: int = 0) -> Envelope:
        return Envelope(self.identity, to, None, link, payload)

    def send(self, to: str, *payloads: Payload, link: int = 0) -> None:
        self.links.send([self.envelope(to, payload, link) for payload in payloads])

    def hello(self, to: str, stream: int = 1) -> None:
        self.send(to, Hello(stream, NO_EPOCH, NO_POSITION, (), 0, 0))

    def append(self, index: int, *payloads: bytes, stream: int = 1) -> Append:
        """Entries from that index on; none: a heartbeat."""
        entries: list[Entry] = []
        for place, payload in enumerate(payloads):
            entries.append(make_entry(self.epoch, index + place, EntryKind.OP, payload, NO_CHAIN))
        prev = Position(self.epoch, index - 1)
        return Append(stream, self.epoch, 1_000, prev, tuple(entries), index, index - 1, 0, True)

    async def next(self, kind: type[E], timeout_s: float = DEADLINE_S) -> E:
        """The next event of that kind; those before it are dropped."""
        async with asyncio.timeout(timeout_s):
            while True:
                while self.events:
                    event = self.events.pop(0)
                    if isinstance(event, kind):
                        return event
                self._more.clear()
                await self._more.wait()

    async def hear(self, payload: type[Payload]) -> tuple[Any, int]:
        """The next payload of that kind, and the link it came by."""
        while True:
            received = await self.next(Received)
            if isinstance(received.envelope.payload, payload):
                return received.envelope.payload, received.link


MakePeer = Callable[..., Awaitable[Peer]]


@pytest.fixture
async def make_peer() -> AsyncIterator[MakePeer]:
    """Start a peer: its letter, and settings if not the usual ones."""
    peers: list[Peer] = []

    async def make(letter: str, port: int = 0, **settings: Any) -> Peer:
        peer = Peer(letter, LinkSettings(**settings) if settings else None)
        peers.append(peer)
        await peer.start(port)
        return peer

    yield make
    for peer in peers:
        await peer.stop()


@pytest.fixture(name="until")
def _until() -> Callable[[Callable[[], object]], Awaitable[None]]:
    return until
