"""Links over real sockets: both ends, order, bounds, and how soon a broken stream is known."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import aio

from chatsvc.node.peer_channel import path
from chatsvc.replication.envelopes import (
    Ack,
    Announce,
    Append,
    Fenced,
    Hello,
    Payload,
    Reject,
    RejectReason,
    Relinquish,
    Standing,
    StepDown,
    Survey,
    SurveyReply,
    Welcome,
)
from chatsvc.replication.events import Broken, Received
from chatsvc.replication.identity import NO_POSITION, Epoch
from chatsvc.v1 import replication_pb2 as pb

MakePeer = Callable[..., Awaitable[Any]]
Until = Callable[[Callable[[], object]], Awaitable[None]]
REIGN = Epoch(3, 5, b"p" * 16)
STANDING = Standing(0, None, None, False, (), (), 0)
SOURCE = pb.Source(dir_id=b"x" * 16, start_number=1, address="127.0.0.1:1")
HEADER = pb.Header(source=SOURCE, address="127.0.0.1:2")


def ack(number: int, stream: int = 1) -> Ack:
    return Ack(stream, REIGN, number, 0, 0, 0, 0, False, 0, False)


def reply(survey: Survey) -> SurveyReply:
    return SurveyReply(survey.survey_id, REIGN, NO_POSITION, None, STANDING, True)


async def connected(make_peer: MakePeer, **settings: Any) -> tuple[Any, Any, int]:
    """A primary, a follower with a stream to it, and the stream's link at the primary."""
    primary, follower = await make_peer("p", **settings), await make_peer("f")
    follower.hello(primary.address)
    _, link = await primary.hear(Hello)
    primary.send(follower.address, Welcome(1, primary.epoch, 0), link=link)
    await follower.hear(Welcome)
    return primary, follower, link


# ---- streams


async def test_a_stream_carries_both_ways_in_order(make_peer: MakePeer) -> None:
    primary, follower, link = await connected(make_peer)
    for index in range(1, 201):
        primary.send(follower.address, primary.append(index, b"%d" % index), link=link)
        follower.send(primary.address, ack(index))
    heard = [(await follower.hear(Append))[0] for _ in range(200)]
    acks = [await primary.hear(Ack) for _ in range(200)]
    assert [append.entries[0].payload for append in heard] == [b"%d" % index for index in range(1, 201)]
    assert [one.number for one, _ in acks] == list(range(1, 201))
    assert {by for _, by in acks} == {link}, "one link a stream"


async def test_what_waits_together_travels_in_one_frame(make_peer: MakePeer) -> None:
    primary = await make_peer("p")
    async with aio.insecure_channel(primary.address) as channel:
        call: Any = channel.stream_stream(path("Replicate"), response_deserializer=pb.ReplicateResponse.FromString)()
        hello = pb.ReplicateRequest.Envelope(header=HEADER, hello=pb.ReplicateRequest.Hello(stream=1))
        await call.write(pb.ReplicateRequest(envelopes=[hello]).SerializeToString())
        _, link = await primary.hear(Hello)
        primary.send("x:1", Welcome(1, primary.epoch, 0), *[primary.append(1) for _ in range(99)], link=link)
        frame = await call.read()
        assert len(frame.envelopes) == 100
        assert [envelope.HasField("header") for envelope in frame.envelopes] == [True] + [False] * 99
        call.cancel()


async def test_a_follower_that_has_promised_more_says_so_on_the_stream(make_peer: MakePeer) -> None:
    primary, follower, link = await connected(make_peer)
    primary.send(follower.address, primary.append(1), link=link)
    _, down = await follower.hear(Append)
    follower.send(primary.address, Fenced(REIGN), link=down)
    assert await primary.hear(Fenced) == (Fenced(REIGN), link)


async def test_a_new_hello_takes_the_place_of_the_old_stream(make_peer: MakePeer) -> None:
    primary, follower, link = await connected(make_peer)
    follower.hello(primary.address, stream=2)
    assert await primary.next(Broken) == Broken(follower.address, follower.dir_id, 1)
    _, second = await primary.hear(Hello)
    assert second != link
    follower.send(primary.address, ack(1), ack(7, stream=2))
    assert await primary.hear(Ack) == (ack(7, stream=2), second), "what names the old stream is dropped"
    primary.send(follower.address, primary.append(1), link=link)  # the way back is gone
    primary.send(follower.address, Welcome(2, primary.epoch, 0), link=second)
    await follower.hear(Welcome)
    assert not [event for event in follower.events if isinstance(event, Broken)], "it ended the stream itself"


@pytest.mark.parametrize(
    "last", [StepDown(1, REIGN), Reject(1, RejectReason.REMOVED, None)], ids=["step down", "reject"]
)
async def test_a_stream_ends_in_order_after_its_last_word(make_peer: MakePeer, until: Until, last: Payload) -> None:
    primary, follower, link = await connected(make_peer)
    primary.send(follower.address, primary.append(1), last, primary.append(1), link=link)
    await follower.hear(type(last))
    await until(lambda: not primary.links._streams() and not follower.links._streams())
    assert not primary.events
    assert not follower.events


async def test_a_closed_follower_is_reported_once(make_peer: MakePeer) -> None:
    primary, follower, _ = await connected(make_peer)
    follower.send(primary.address, Relinquish(1, REIGN))
    await follower.links.flush(5)
    await follower.stop()
    await primary.hear(Relinquish)
    assert await primary.next(Broken) == Broken(follower.address, follower.dir_id, 1)
    assert not primary.events


async def test_what_was_sent_before_closing_arrives(make_peer: MakePeer) -> None:
    primary, follower, link = await connected(make_peer)
    primary.send(follower.address, primary.append(1, b"x" * 100_000), StepDown(1, REIGN), link=link)
    await primary.links.flush(5)
    await primary.stop()
    await follower.hear(StepDown)
    primary.send(follower.address, primary.append(1), link=link)
    assert not primary.events


async def test_nobody_there_is_a_broken_stream(make_peer: MakePeer) -> None:
    follower, gone = await make_peer("f"), await make_peer("g")
    await gone.stop()
    follower.hello(gone.address, stream=4)
    assert await follower.next(Broken, 2) == Broken(gone.address, None, 4)


@pytest.mark.parametrize("address", ["", "nonsense", "127.0.0.1:99999", "no host:1", "\x00", "unix:/tmp/1:1"])
async def test_an_address_that_is_none_is_a_broken_stream(make_peer: MakePeer, address: str) -> None:
    follower = await make_peer("f")
    follower.hello(address, stream=4)
    assert await follower.next(Broken, 8) == Broken(address, None, 4)
    follower.send(address, Survey(1, None))
    assert not follower.links._requests._tasks


async def test_a_follower_finds_a_primary_again_that_was_away(make_peer: MakePeer) -> None:
    primary, follower, _ = await connected(make_peer)
    await primary.stop()
    assert (await follower.next(Broken)).address == primary.address
    follower.hello(primary.address, stream=2)
    while (await follower.next(Broken)).stream != 2:
        pass
    again = await make_peer("p", port=primary.port)
    begun = time.monotonic()
    follower.hello(again.address, stream=3)
    await again.hear(Hello)
    assert time.monotonic() - begun < 1, "no back-off of the failed attempts"


# ---- processes that die or stand still


@pytest.fixture
async def primary_process() -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    root = Path(__file__).parents[2]
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(Path(__file__).with_name("peer_process.py")),
        stdout=asyncio.subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(root)},
    )  # fmt: skip
    assert process.stdout is not None
    async with asyncio.timeout(30):
        port = int(await process.stdout.readline())
    yield process, f"127.0.0.1:{port}"
    if process.returncode is None:
        process.kill()
    await process.wait()
    process._transport.close()  # type: ignore[attr-defined]


async def test_a_killed_primary_is_reported_at_once(
    make_peer: MakePeer, primary_process: tuple[asyncio.subprocess.Process, str]
) -> None:
    process, address = primary_process
    follower = await make_peer("f")
    follower.hello(address)
    for _ in range(5):
        await follower.hear(Append)
    process.kill()
    begun = time.monotonic()
    while (broken := await follower.next(Broken)).stream == 0:
        assert broken == Broken(address)
    assert broken == Broken(address, None, 1)
    assert time.monotonic() - begun < 0.2


async def test_a_stopped_primary_is_silent_and_nothing_is_broken(
    make_peer: MakePeer, primary_process: tuple[asyncio.subprocess.Process, str]
) -> None:
    process, address = primary_process
    follower = await make_peer("f")
    follower.hello(address)
    await follower.hear(Append)
    process.send_signal(signal.SIGSTOP)
    with pytest.raises(TimeoutError):
        await follower.next(Broken, 1)
    process.send_signal(signal.SIGCONT)
    await follower.hear(Append)


async def test_a_killed_follower_is_reported_at_once(make_peer: MakePeer) -> None:
    primary = await make_peer("p")
    program = (
        "import asyncio, sys; from grpc import aio; from chatsvc.v1 import replication_pb2 as pb\n"
        "async def main():\n"
        " call = aio.insecure_channel(sys.argv[1]).stream_stream('/chatsvc.v1.Replication/Replicate')()\n"
        " await call.write(bytes.fromhex(sys.argv[2])); await call.read()\n"
        "asyncio.run(main())"
    )
    hello = pb.ReplicateRequest.Envelope(header=HEADER, hello=pb.ReplicateRequest.Hello(stream=6))
    data = pb.ReplicateRequest(envelopes=[hello]).SerializeToString()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, primary.address, data.hex(),
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    await primary.hear(Hello)
    process.kill()
    begun = time.monotonic()
    assert await primary.next(Broken) == Broken("127.0.0.1:1", b"x" * 16, 6)
    assert time.monotonic() - begun < 0.2
    await process.wait()


# ---- bounds


async def test_a_follower_that_does_not_read_loses_its_stream(make_peer: MakePeer, until: Until) -> None:
    primary = await make_peer("p", queue_bytes_max=4 << 20)
    async with aio.insecure_channel(primary.address) as channel:
        call: Any = channel.stream_stream(path("Replicate"))()
        hello = pb.ReplicateRequest.Envelope(header=HEADER, hello=pb.ReplicateRequest.Hello(stream=1))
        await call.write(pb.ReplicateRequest(envelopes=[hello]).SerializeToString())
        _, link = await primary.hear(Hello)
        payload = bytes(1 << 20)
        async with asyncio.timeout(20):
            for index in range(1, 200):
                primary.send("x:1", primary.append(index, payload), link=link)
                await asyncio.sleep(0.001)
                if primary.events:
                    break
        assert await primary.next(Broken) == Broken("127.0.0.1:1", b"x" * 16, 1)
        assert index < 40, "what gRPC takes, and what may wait"
        await until(lambda: not primary.links._served)
        assert not primary.links._streams()
        call.cancel()


async def test_many_small_envelopes_are_bounded_too(make_peer: MakePeer) -> None:
    primary, follower, link = await connected(make_peer, queue_envelopes_max=100)
    primary.send(follower.address, *[primary.append(1) for _ in range(101)], link=link)
    assert (await primary.next(Broken)).stream == 1
    while (await follower.next(Broken)).stream != 1:
        pass


async def test_a_directory_has_only_so_many_streams(make_peer: MakePeer, until: Until) -> None:
    primary = await make_peer("p", streams_per_peer_max=2)
    copies = [await make_peer("f") for _ in range(3)]
    for place, copy in enumerate(copies):
        await copy.stop()
        copy.boot += place
        await copy.start()
        copy.hello(primary.address)
    await until(
        lambda: [event for copy in copies for event in copy.events if event == Broken(primary.address, None, 1)]
    )
    assert len(primary.links._streams()) == 2


async def test_streams_are_bounded_whoever_dials(make_peer: MakePeer) -> None:
    primary = await make_peer("p", streams_max=1)
    first, second = await make_peer("f"), await make_peer("g")
    first.hello(primary.address)
    await primary.hear(Hello)
    second.hello(primary.address)
    while (await second.next(Broken)).stream != 1:
        pass
    assert len(primary.links._streams()) == 1


async def test_a_stream_without_a_hello_is_ended(make_peer: MakePeer) -> None:
    primary = await make_peer("p", hello_ms=50)
    async with aio.insecure_channel(primary.address) as channel:
        call: Any = channel.stream_stream(path("Replicate"))()
        assert await call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert not primary.events


async def test_calls_of_a_directory_are_bounded(make_peer: MakePeer, until: Until) -> None:
    peer, asking = await make_peer("p", calls_per_peer_max=2, rpc_ms=5_000), await make_peer("f")
    asking.send(peer.address, *[Survey(number, None) for number in range(4)])
    links = [(await peer.hear(Survey))[1] for _ in range(2)]
    await until(lambda: len(asking.links._requests._tasks) <= 2)
    assert not peer.events, "the others were turned away"
    for link in links:
        peer.send(asking.address, reply(Survey(1, None)), link=link)
        await asking.hear(SurveyReply)


async def test_to_one_address_the_oldest_call_is_given_up(make_peer: MakePeer) -> None:
    peer, asking = await make_peer("p", rpc_ms=5_000), await make_peer("f", calls_per_peer_max=2)
    for number in range(3):
        asking.send(peer.address, Survey(number, None))
        survey, link = await peer.hear(Survey)
        peer.send(asking.address, reply(survey), link=0 if number < 2 else link)
    assert (await asking.hear(SurveyReply))[0].survey_id == 2
    assert len(asking.links._requests._tasks) <= 2


# ---- calls


async def test_an_answer_finds_its_way_back_by_its_link(make_peer: MakePeer) -> None:
    peer, asking = await make_peer("p"), await make_peer("f")
    asking.send(peer.address, Survey(1, None), Survey(2, b"s" * 16))
    surveys = [await peer.hear(Survey) for _ in range(2)]
    for survey, link in reversed(surveys):
        peer.send(asking.address, reply(survey), reply(Survey(99, None)), link=link)
    assert {(await asking.hear(SurveyReply))[0].survey_id for _ in range(2)} == {1, 2}, "the first answer counts"


async def test_whoever_announces_is_told_of_a_higher_epoch(make_peer: MakePeer) -> None:
    peer, primary = await make_peer("f"), await make_peer("p")
    primary.send(peer.address, Announce(primary.epoch))
    _, link = await peer.hear(Announce)
    peer.send(primary.address, Fenced(REIGN), link=link)
    assert (await primary.hear(Fenced))[0] == Fenced(REIGN)


async def test_a_call_without_an_answer_is_answered_empty_in_time(make_peer: MakePeer) -> None:
    peer = await make_peer("p", rpc_ms=50)
    async with aio.insecure_channel(peer.address) as channel:
        request = pb.AnnounceRequest(header=HEADER, epoch=pb.Epoch(counter=1, dir_id=b"x" * 16))
        announce: Any = channel.unary_unary(path("Announce"))
        assert await announce(request.SerializeToString(), timeout=5) == b""
    _, link = await peer.hear(Announce)
    peer.send("x:1", Fenced(REIGN), link=link)  # too late: dropped
    assert not peer.links._calls


async def test_calls_go_on_after_the_peer_was_away(make_peer: MakePeer, until: Until) -> None:
    peer, asking = await make_peer("p"), await make_peer("f")
    asking.send(peer.address, Survey(1, None))
    survey, link = await peer.hear(Survey)
    peer.send(asking.address, reply(survey), link=link)
    await asking.hear(SurveyReply)
    await peer.stop()
    asking.send(peer.address, Survey(2, None))
    await until(lambda: not asking.links._requests._tasks)
    peer = await make_peer("p", port=peer.port)
    asking.send(peer.address, Survey(3, None))
    assert (await peer.hear(Survey))[0].survey_id == 3


async def test_channels_are_kept_to_so_many_addresses(make_peer: MakePeer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chatsvc.node.peer_calls.ADDRESSES_MAX", 1)
    first, second, asking = await make_peer("p"), await make_peer("q"), await make_peer("f")
    for peer in (first, second, first):
        asking.send(peer.address, Survey(1, None))
        survey, link = await peer.hear(Survey)
        peer.send(asking.address, reply(survey), link=link)
        await asking.hear(SurveyReply)
    assert list(asking.links._requests._lines) == [first.address]


async def test_identify_says_who_listens(make_peer: MakePeer) -> None:
    peer = await make_peer("p")
    async with aio.insecure_channel(peer.address) as channel:
        identify: Any = channel.unary_unary(path("Identify"), response_deserializer=pb.IdentifyResponse.FromString)
        assert (await identify(b"")).source.dir_id == peer.dir_id


# ---- malformed bytes


@pytest.mark.parametrize("data", [b"\xff\xff", b"", b"x" * 100], ids=["garbage", "empty", "text"])
@pytest.mark.parametrize("rpc", ["Survey", "Nominate", "Vote", "Announce"])
async def test_a_bad_request_is_an_invalid_argument(make_peer: MakePeer, rpc: str, data: bytes) -> None:
    peer = await make_peer("p")
    async with aio.insecure_channel(peer.address) as channel:
        call: Any = channel.unary_unary(path(rpc))
        with pytest.raises(aio.AioRpcError) as raised:
            await call(data, timeout=5)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert not peer.events


@pytest.mark.parametrize("after_hello", [False, True], ids=["at first", "later"])
async def test_a_bad_frame_ends_the_stream_of_a_follower(make_peer: MakePeer, after_hello: bool) -> None:
    primary = await make_peer("p")
    async with aio.insecure_channel(primary.address) as channel:
        call: Any = channel.stream_stream(path("Replicate"))()
        if after_hello:
            hello = pb.ReplicateRequest.Envelope(header=HEADER, hello=pb.ReplicateRequest.Hello(stream=1))
            await call.write(pb.ReplicateRequest(envelopes=[hello]).SerializeToString())
            await primary.hear(Hello)
        await call.write(b"\xff\xff")
        async with asyncio.timeout(5):
            assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT
    if after_hello:
        assert (await primary.next(Broken)).stream == 1
    assert not primary.events


async def test_a_bad_frame_ends_the_stream_to_a_primary(make_peer: MakePeer) -> None:
    follower = await make_peer("f")

    async def replicate(requests: object, context: Any) -> None:
        await context.read()
        await context.write(b"\xff\xff")
        await context.read()

    server = aio.server()
    handlers = {"Replicate": grpc.stream_stream_rpc_method_handler(replicate)}
    server.add_registered_method_handlers("chatsvc.v1.Replication", handlers)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    follower.hello(f"127.0.0.1:{port}", stream=9)
    assert await follower.next(Broken) == Broken(f"127.0.0.1:{port}", None, 9)
    assert not [event for event in follower.events if isinstance(event, Received)]
    await server.stop(0)
