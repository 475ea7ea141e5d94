"""The load driver: what it counts is what happened, and it notices a server that lies."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import aio

from benchmarks.driver import Load, Millis, Result, Target, run
from benchmarks.prototype import SERVICE, Prototype, Store
from benchmarks.prototype_messages import Down, Up

TINY = Load("saturate", seconds=0.3, warm_up_s=0.1, window=4, pairs=3, messages=40, rate=200, quiet_s=0.5)


async def drive(target: Target, load: Load) -> Result:
    """`run` beside a server on this loop."""
    return await asyncio.to_thread(run, target, load)


@asynccontextmanager
async def serving(make: Callable[[Store, list[Any]], Prototype], directory: Path) -> AsyncIterator[Target]:
    """A prototype on this loop."""
    store = Store(directory)
    prototype = make(store, [])
    server = aio.server()
    method = grpc.stream_stream_rpc_method_handler(prototype.session, Up.FromString, Down.SerializeToString)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {"Session": method}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    committing = asyncio.ensure_future(prototype.commit())
    try:
        yield Target("127.0.0.1", port, "prototype")
    finally:
        committing.cancel()
        await asyncio.gather(committing, return_exceptions=True)
        await server.stop(None)
        store.close()


class Forgetful(Prototype):
    """Acknowledges everything and loses a message now and then."""

    def answer(self, group: list[tuple[Any, Any]]) -> None:
        for _, message in group:
            if message.number % 10 == 3:
                message.to = "nobody"
        super().answer(group)


class Stuttering(Prototype):
    """Delivers a message now and then twice."""

    def answer(self, group: list[tuple[Any, Any]]) -> None:
        for _, message in group:
            if message.number % 10 == 3 and (recipient := self.online.get(message.to)):
                recipient.messages.append(message)
        super().answer(group)


class Eager(Prototype):
    """Acknowledges a message that nobody has sent."""

    def answer(self, group: list[tuple[Any, Any]]) -> None:
        group[0][0].acknowledged.append(group[0][1].number + 1_000_000)
        super().answer(group)


@pytest.mark.parametrize(
    "load",
    [
        pytest.param({"mode": "saturate", "acknowledge": True}, id="saturated, acknowledging"),
        pytest.param({"mode": "rate", "numbers": False}, id="paced, without op seqs"),
        pytest.param({"mode": "offline"}, id="offline"),
    ],
)
async def test_all_that_chatsvc_acknowledges_is_counted_as_delivered(server: Any, load: dict[str, Any]) -> None:
    host, _, port = server.address.rpartition(":")
    result = await drive(Target(host, int(port)), Load(**{**vars(TINY), **load}))
    assert result.is_sound, result
    assert result.sent == result.acked == result.delivered > 0
    assert result.e2e_ms.p50 is not None
    if load["mode"] == "offline":
        assert result.sent == TINY.pairs * TINY.messages
        assert result.delivered_per_s > 0


async def test_a_server_that_acknowledges_without_delivering_is_noticed(tmp_path: Path) -> None:
    async with serving(Forgetful, tmp_path) as target:
        result = await drive(target, TINY)
    assert result.lost > 0
    assert result.skipped > 0
    assert not result.is_sound


async def test_a_server_that_delivers_twice_is_noticed(tmp_path: Path) -> None:
    async with serving(Stuttering, tmp_path) as target:
        result = await drive(target, TINY)
    assert result.doubled > 0
    assert result.lost == 0
    assert not result.is_sound


async def test_an_acknowledgement_of_what_was_not_sent_does_not_count(tmp_path: Path) -> None:
    async with serving(Eager, tmp_path) as target:
        result = await drive(target, TINY)
    assert result.refused > 0
    assert result.acked <= result.sent
    assert "was acknowledged after" in result.trouble


def test_percentiles_of_nothing_are_nothing() -> None:
    assert Millis.of([]) == Millis(None, None)
    assert Millis.of([number * 1_000_000 for number in range(1, 101)]) == Millis(51.0, 100.0)
