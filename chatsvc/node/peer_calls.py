"""Requests to other servers: unary calls that carry one envelope, and perhaps one back.

A channel is kept for the next call as long as its calls succeed. After a failure the next call dials anew: a connection
that was cut for a while may take seconds to find out that it works again.
"""

import asyncio
from collections.abc import Callable

import grpc
from grpc import aio

from chatsvc.node.peer_channel import fresh_channel, path, split_address
from chatsvc.node.peer_codec import BadEnvelope, Rpc, decode_response, encode_request
from chatsvc.replication.envelopes import Envelope

ADDRESSES_MAX = 64
"""Most addresses to which a channel is kept."""


class _Line:
    """A channel with the calls that are under way on it, oldest first."""

    def __init__(self, address: str) -> None:
        self.address, self.channel = address, fresh_channel(address)
        self.calls: dict[asyncio.Task[None], None] = {}
        self.kept = True


class PeerCalls:
    """Unary calls of one node.

    Args:
        on_answer: told each envelope that comes back.
        timeout_s: after that a call has failed.
        per_address_max: most calls under way to one address; beyond, the oldest is given up.
    """

    def __init__(self, on_answer: Callable[[Envelope], None], timeout_s: float, per_address_max: int) -> None:
        self._on_answer, self._timeout_s, self._per_address_max = on_answer, timeout_s, per_address_max
        self._lines: dict[str, _Line] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, envelope: Envelope) -> None:
        """Carry this request; never blocks. An address that is none is never reached."""
        if split_address(envelope.address) is None:
            return
        rpc, data = encode_request(envelope)
        line = self._line(envelope.address)
        if len(line.calls) >= self._per_address_max:
            oldest = next(iter(line.calls))
            del line.calls[oldest]
            oldest.cancel()
        task = asyncio.get_running_loop().create_task(self._carry(line, rpc, data), name=f"{rpc.value} {line.address}")
        line.calls[task] = None
        self._hold(task)

    async def close(self) -> None:
        """Give up all calls, close all channels."""
        lines, self._lines = list(self._lines.values()), {}
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for line in lines:
            await line.channel.close()

    def _line(self, address: str) -> _Line:
        line = self._lines.pop(address, None) or _Line(address)
        self._lines[address] = line  # the one used last is last
        if len(self._lines) > ADDRESSES_MAX:
            self._let_go(next(iter(self._lines.values())))
        return line

    def _let_go(self, line: _Line) -> None:
        """Use that channel for no further call; it is closed when its last call has ended."""
        line.kept = False
        if self._lines.get(line.address) is line:
            del self._lines[line.address]
            if not line.calls:
                self._hold(asyncio.get_running_loop().create_task(line.channel.close()))

    def _hold(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(self, line: _Line, rpc: Rpc, data: bytes) -> None:
        try:
            call: aio.UnaryUnaryMultiCallable[bytes, bytes] = line.channel.unary_unary(path(rpc.value))
            envelope = decode_response(rpc, await call(data, timeout=self._timeout_s))
            if envelope is not None:
                self._on_answer(envelope)
        except (grpc.RpcError, aio.BaseError, BadEnvelope):
            self._let_go(line)
        finally:
            task = asyncio.current_task()
            assert task is not None
            line.calls.pop(task, None)
            if not line.kept and not line.calls:
                await line.channel.close()
