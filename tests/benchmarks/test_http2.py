"""The driver's gRPC stream, against a real gRPC server."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from grpc import aio

from benchmarks.http2 import GrpcStream

DEADLINE_S = 10.0


async def echo(_requests: object, context: Any) -> None:
    """Sends back what comes; ends the stream at an empty message."""
    while (message := await context.read()) is not aio.EOF and message:
        await context.write(message)


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """Of a server that echoes."""
    server = aio.server()
    method = grpc.stream_stream_rpc_method_handler(echo)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test", {"Echo": method}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield port
    await server.stop(None)


class Client:
    """A stream and what has come on it."""

    def __init__(self) -> None:
        self.stream = GrpcStream("/test/Echo", {}, self._came, self._ended)
        self.messages: asyncio.Queue[bytes] = asyncio.Queue()
        self.end: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def _came(self, messages: list[bytes]) -> None:
        for message in messages:
            self.messages.put_nowait(message)

    def _ended(self, reason: str) -> None:
        self.end.set_result(reason)


async def connected(port: int) -> Client:
    """A client of that port."""
    client = Client()
    await asyncio.get_running_loop().create_connection(lambda: client.stream, "127.0.0.1", port)
    return client


async def test_messages_of_any_size_pass_both_ways_in_order(port: int) -> None:
    client = await connected(port)
    sent = [bytes([size % 251]) * size for size in (1, 5, 16_384, 16_385, 65_535, 1_000_000, 7)]  # windows have 64 KiB
    async with asyncio.timeout(DEADLINE_S):
        for message in sent:
            client.stream.send(message)
        client.stream.flush()
        assert [await client.messages.get() for _ in sent] == sent
    client.stream.close()


async def test_the_end_of_a_stream_is_noticed(port: int) -> None:
    client = await connected(port)
    client.stream.send(b"")
    client.stream.flush()
    async with asyncio.timeout(DEADLINE_S):
        assert await client.end == "the server ended the stream"
    client.stream.close()
