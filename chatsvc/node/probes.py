"""Carries out probes: is an address refused, does a kernel accept there, does a process answer?

The answer comes over gRPC on a connection of its own, begun after the probe's connect was accepted.
"""

import asyncio
import socket
import struct
from collections.abc import Callable, Iterable
from typing import TypeAlias

import grpc
from grpc import aio

from chatsvc.node.peer_channel import fresh_channel, path, split_address
from chatsvc.node.peer_codec import BadEnvelope, decode_identity
from chatsvc.replication import Identity
from chatsvc.replication.events import Probe, ProbeAccepted, ProbeAnswered, ProbeRefused

ProbeEvent: TypeAlias = ProbeRefused | ProbeAccepted | ProbeAnswered

CANDIDATES_MAX = 4
"""Most addresses of one host name that are dialled."""

_RESET_AT_CLOSE = struct.pack("ii", 1, 0)


class Probes:
    """The probes of one node.

    Args:
        on_event: told the results; never from inside `start`. It must not raise.
        rpc_ms: after that a connect is taken as hanging, and an answer as not coming; neither is reported.
        under_way_max: most probes under way; beyond, none is begun.
    """

    def __init__(self, on_event: Callable[[ProbeEvent], None], rpc_ms: int = 300, under_way_max: int = 32) -> None:
        self._on_event, self._timeout_s, self._under_way_max = on_event, rpc_ms / 1_000, under_way_max
        self._connecting: set[str] = set()
        self._asking: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, probes: Iterable[Probe]) -> None:
        """Begin these probes. Never blocks.

        To one address there is one connect under way at most: a probe that comes meanwhile reports nothing. And one
        question: a probe that is accepted meanwhile reports just that. So a hung process is probed as often as asked
        for, and still is not buried in questions.
        """
        for probe in probes:
            if probe.address in self._connecting or len(self._tasks) >= self._under_way_max:
                continue
            self._connecting.add(probe.address)
            task = asyncio.get_running_loop().create_task(self._probe(probe), name=f"probe of {probe.address}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Give up all probes; nothing is reported any more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _probe(self, probe: Probe) -> None:
        address = probe.address
        try:
            accepted = await self._connect(address)
        finally:
            self._connecting.discard(address)
        if accepted is None:
            return
        if not accepted:
            self._on_event(ProbeRefused(probe))
            return
        self._on_event(ProbeAccepted(probe))
        if address in self._asking:
            return
        self._asking.add(address)
        try:
            await self._ask(probe)
        finally:
            self._asking.discard(address)

    async def _connect(self, address: str) -> bool | None:
        """True: some kernel there accepts; False: all refuse; None: neither is known."""
        host_and_port = split_address(address)
        if host_and_port is None:
            return None
        host, port = host_and_port
        try:
            async with asyncio.timeout(self._timeout_s):
                found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
                answers = [await _accepts(family, to) for family, _, _, _, to in found[:CANDIDATES_MAX]]
        except (TimeoutError, OSError, UnicodeError):  # the last: a label of a host name is too long
            return None
        if True in answers:
            return True
        return False if answers and None not in answers else None

    async def _ask(self, probe: Probe) -> None:
        identity = await identify(probe.address, self._timeout_s)
        if identity is not None:
            self._on_event(ProbeAnswered(probe, identity))


async def identify(address: str, timeout_s: float) -> Identity | None:
    """Which server answers there; None: none does in time."""
    if split_address(address) is None:
        return None
    try:
        async with fresh_channel(address) as channel:
            call: aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(path("Identify"))
            return decode_identity(await call(b"", timeout=timeout_s))
    except (grpc.RpcError, aio.BaseError, BadEnvelope):
        return None


async def _accepts(family: int, to: tuple[object, ...]) -> bool | None:
    """Does the kernel at that socket address accept a connect? None: it does not say."""
    with socket.socket(family, socket.SOCK_STREAM) as connection:
        connection.setblocking(False)
        # Closed with a reset, a connect leaves nothing behind on this side that would have to time out.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_CLOSE)
        try:
            await asyncio.get_running_loop().sock_connect(connection, to)
        except ConnectionRefusedError:
            return False
        except OSError:
            return None
        # A connect to a free port among those that the kernel gives to callers can meet itself.
        own, other = connection.getsockname(), connection.getpeername()
        return bool(own != other)
