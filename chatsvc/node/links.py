"""Carries the envelopes of one replica to its peers and back, over gRPC.

A follower dials its primary: each Hello opens a stream on a fresh channel, and the stream before it ends. Everything
outside streams is a unary call. What comes in is reported as `Received` with a *link*, by which an answer finds its way
back: one link a stream, one a unary call. A stream that ends is reported as `Broken`, at once.

Bounded: what waits on a stream, streams and calls by peer and together, the bytes of a message before it is parsed. A
stream whose peer does not read is ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import grpc
import msgspec
from grpc import aio

from chatsvc.node.outbox import Outbox
from chatsvc.node.peer_calls import PeerCalls
from chatsvc.node.peer_channel import SERVICE, fresh_channel, path, split_address
from chatsvc.node.peer_codec import (
    RPC_OF,
    BadEnvelope,
    DownDecoder,
    DownEncoder,
    EntryBytes,
    Rpc,
    UpDecoder,
    UpEncoder,
    decode_request,
    encode_identity,
    encode_response,
)
from chatsvc.replication.envelopes import Ack, Envelope, Hello, Reject, Relinquish, StepDown
from chatsvc.replication.events import Broken, Received
from chatsvc.replication.identity import DirId, Identity

GOODBYE_S = 0.5
"""How long `close` lets streams end in an orderly way."""

_ENDED = (grpc.RpcError, aio.BaseError, asyncio.InvalidStateError)
"""What reading from and writing to a stream that has ended raises."""

Context: TypeAlias = "aio.ServicerContext[Any, Any]"
Dialled: TypeAlias = "aio.StreamStreamCall[Any, Any]"


class LinkSettings(msgspec.Struct, frozen=True):
    """Times and bounds of the links of one node.

    Attributes:
        rpc_ms: an incoming unary call is answered by then, empty if need be; an outgoing one gets twice that.
        hello_ms: an incoming stream on which no Hello has come by then is ended.
        queue_bytes_max: most bytes that wait on one stream; beyond, it is ended.
        queue_envelopes_max: most envelopes that wait on one stream; beyond, it is ended.
        streams_max: most incoming streams.
        streams_per_peer_max: most incoming streams of one directory.
        calls_max: most incoming unary calls under way.
        calls_per_peer_max: most incoming unary calls under way of one directory, and outgoing ones to one address.
    """

    rpc_ms: int = 300
    hello_ms: int = 1_000
    queue_bytes_max: int = 32 << 20
    queue_envelopes_max: int = 4_096
    streams_max: int = 64
    streams_per_peer_max: int = 4
    calls_max: int = 256
    calls_per_peer_max: int = 16


class _Stream:
    """One end of a stream.

    Attributes:
        link: of all that comes on it.
        number: of the Hello that opened it.
        address: of the other end.
        source: who dialled; None: this node.
        quiet: its end is no news.
        overflow: it was ended because its peer does not read.
    """

    def __init__(
        self, link: int, number: int, address: str, source: Identity | None, outbox: Outbox,
        encoder: UpEncoder | DownEncoder,
    ) -> None:  # fmt: skip
        self.link, self.number, self.address, self.source = link, number, address, source
        self.outbox, self._encoder = outbox, encoder
        self.quiet = self.overflow = False
        self._over = asyncio.Event()

    def send(self, envelope: Envelope) -> None:
        if self._over.is_set() or self.quiet:
            return
        if not self.outbox.put(self._encoder.encode(envelope)):
            self.overflow = True
            self._over.set()
        elif isinstance(envelope.payload, Reject | StepDown):
            self.quiet = True
            self.outbox.finish()

    def end(self) -> None:
        """End it now, whatever still waits."""
        self._over.set()

    async def run(self, reading: asyncio.Task[Any], writing: asyncio.Task[None], half_close: bool) -> None:
        """Return when the stream is over, one way or other.

        Args:
            half_close: the end of the writing does not end the stream, the other end does.
        """
        over = asyncio.get_running_loop().create_task(self._over.wait())
        try:
            waited: set[asyncio.Task[Any]] = {reading, writing, over}
            done, _ = await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            if half_close and done == {writing} and writing.exception() is None:
                await asyncio.wait({reading, over}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._over.set()
            over.cancel()


class _Call:
    """An incoming unary call that waits for its answer."""

    def __init__(self, rpc: Rpc, dir_id: DirId) -> None:
        self.rpc, self.dir_id = rpc, dir_id
        self.response: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def send(self, envelope: Envelope) -> None:
        if not self.response.done():
            self.response.set_result(encode_response(self.rpc, envelope))


class Links:
    """The links of one node. All on one event loop.

    Args:
        whoami: who this process is, asked for each Identify.
        on_event: told what happens; never from inside a method of this class. It must not raise.
    """

    def __init__(
        self,
        whoami: Callable[[], Identity],
        on_event: Callable[[Received | Broken], None],
        settings: LinkSettings | None = None,
    ) -> None:
        settings = settings or LinkSettings()
        self._whoami, self._on_event, self._settings = whoami, on_event, settings
        self._last_link = 0
        self._incoming: dict[int, _Stream] = {}
        self._calls: dict[int, _Call] = {}
        self._dialled: _Stream | None = None
        self._entry_bytes = EntryBytes()
        self._greeting = 0  # incoming streams without a Hello yet
        self._served: set[asyncio.Task[Any]] = set()  # gRPC's tasks that are in a method of this class
        self._dialling: set[asyncio.Task[None]] = set()
        self._closed = False
        self._requests = PeerCalls(self._answered, 2 * settings.rpc_ms / 1_000, settings.calls_per_peer_max)

    # ---- for the host

    def send(self, envelopes: Iterable[Envelope]) -> None:
        """Send what the replica asks for, in order. Never blocks; what can't be delivered is dropped.

        A Hello dials its address and ends the stream dialled before. Ack and Relinquish go on the dialled stream that
        they name; whatever has a link goes the way back of what it answers. A Survey, Nominate, Vote or Announce is a
        call to its address; what is answered comes as Received.
        """
        if self._closed:
            return
        for envelope in envelopes:
            payload = envelope.payload
            if envelope.link:
                way = self._way_back(envelope.link)
                if way is not None:
                    way.send(envelope)
            elif isinstance(payload, Ack | Relinquish):
                if self._dialled is not None and self._dialled.number == payload.stream:
                    self._dialled.send(envelope)
            elif isinstance(payload, Hello):
                self._dial(envelope, payload)
            elif type(payload) in RPC_OF:
                self._requests.start(envelope)

    def add_to_server(self, server: aio.Server) -> None:
        """Serve the rpcs between servers on that one, which is not started yet.

        To be called after `add_ReplicationServicer_to_server`, whose servicer keeps the other methods: of two handlers
        of one method gRPC takes the one registered last. The server must take messages of 4 MiB and pings every 2 s.
        """
        handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            "Replicate": grpc.stream_stream_rpc_method_handler(self._serve_stream),
            "Identify": grpc.unary_unary_rpc_method_handler(self._serve_identify),
        }
        for rpc in Rpc:
            handlers[rpc.value] = grpc.unary_unary_rpc_method_handler(self._server_of(rpc))
        server.add_registered_method_handlers(SERVICE, handlers)

    async def flush(self, timeout_s: float) -> None:
        """Wait until what was sent on streams is handed to the network, or `timeout_s` has passed.

        Cancelling is safe.
        """
        try:
            async with asyncio.timeout(timeout_s):
                for stream in self._streams():
                    await stream.outbox.idle()
        except TimeoutError:
            pass

    async def close(self) -> None:
        """End all streams and calls. From now on nothing is reported, and what is sent is dropped.

        Takes little more than `GOODBYE_S`. The server still has to be stopped.
        """
        self._closed = True
        for call in self._calls.values():
            if not call.response.done():
                call.response.set_result(b"")
        for stream in self._streams():
            stream.outbox.finish()
        tasks = self._served | self._dialling
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=GOODBYE_S)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)
        await self._requests.close()
        self._entry_bytes.forget()

    # ---- both directions

    def _streams(self) -> list[_Stream]:
        dialled = [] if self._dialled is None else [self._dialled]
        return [*self._incoming.values(), *dialled]

    def _way_back(self, link: int) -> _Stream | _Call | None:
        if self._dialled is not None and self._dialled.link == link:
            return self._dialled
        return self._incoming.get(link) or self._calls.get(link)

    def _new_link(self) -> int:
        self._last_link += 1
        return self._last_link

    def _outbox(self) -> Outbox:
        return Outbox(self._settings.queue_bytes_max, self._settings.queue_envelopes_max)

    def _report(self, event: Received | Broken) -> None:
        if not self._closed:
            self._on_event(event)

    def _answered(self, envelope: Envelope) -> None:
        self._report(Received(envelope, self._new_link()))

    # ---- the stream to the primary

    def _dial(self, envelope: Envelope, hello: Hello) -> None:
        if self._dialled is not None:
            self._dialled.quiet = True
            self._dialled.end()
        stream = _Stream(self._new_link(), hello.stream, envelope.address, None, self._outbox(), UpEncoder())
        stream.send(envelope)
        self._dialled = stream
        task = asyncio.get_running_loop().create_task(self._follow(stream), name=f"stream to {stream.address}")
        self._dialling.add(task)
        task.add_done_callback(self._dialling.discard)

    async def _follow(self, stream: _Stream) -> None:
        if split_address(stream.address) is None:
            stream.end()
            if not stream.quiet:
                self._report(Broken(stream.address, None, stream.number))
            return
        create_task = asyncio.get_running_loop().create_task
        channel = fresh_channel(stream.address)
        call: Dialled = channel.stream_stream(path("Replicate"))()
        reading = create_task(self._read_down(stream, call))
        writing = create_task(self._write_up(stream, call))
        watching = create_task(self._watch(stream, channel))
        try:
            await stream.run(reading, writing, half_close=True)
            if not stream.quiet:
                self._report(Broken(stream.address, None, stream.number))
        finally:
            if self._dialled is stream:
                self._dialled = None
            for task in (reading, writing, watching):
                task.cancel()
            await asyncio.wait({reading, writing, watching})
            call.cancel()
            await channel.close()
        _raise_bugs(reading, writing, watching)

    async def _read_down(self, stream: _Stream, call: Dialled) -> None:
        decoder = DownDecoder()
        try:
            while isinstance(frame := await call.read(), bytes):
                for envelope in decoder.decode(frame):
                    stream.quiet = stream.quiet or isinstance(envelope.payload, Reject | StepDown)
                    self._report(Received(envelope, stream.link))
                if stream.quiet:
                    return
        except (*_ENDED, BadEnvelope):
            pass

    async def _write_up(self, stream: _Stream, call: Dialled) -> None:
        try:
            await stream.outbox.write_all(call.write)
            await call.done_writing()
        except _ENDED:
            await asyncio.Event().wait()  # the reading says when it is over, after what has still come

    async def _watch(self, stream: _Stream, channel: aio.Channel) -> None:
        """Report that the connection is lost, or about to be: often known before the stream's end, never proof."""
        state = channel.get_state()
        while state is not grpc.ChannelConnectivity.SHUTDOWN:
            await channel.wait_for_state_change(state)
            before, state = state, channel.get_state()
            if before is grpc.ChannelConnectivity.READY and state is not before:
                if not stream.quiet:
                    self._report(Broken(stream.address))
                return

    # ---- streams of followers

    async def _serve_stream(self, _: object, context: Context) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._served.add(task)
        try:
            await self._lead(context)
        finally:
            self._served.discard(task)

    async def _lead(self, context: Context) -> None:
        settings = self._settings
        if self._closed:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the server is stopping")
        if len(self._incoming) + self._greeting >= settings.streams_max:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many streams")
        decoder = UpDecoder()
        self._greeting += 1
        try:
            async with asyncio.timeout(settings.hello_ms / 1_000):
                frame = await context.read()
            if not isinstance(frame, bytes):
                return  # the end of the stream
            first = decoder.decode(frame)
        except TimeoutError:
            await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "no Hello has come")
        except BadEnvelope as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except _ENDED:
            return
        finally:
            self._greeting -= 1
        source, hello = first[0].source, first[0].payload
        assert isinstance(hello, Hello)
        for other in self._of_peer(source.dir_id):
            if other.source is not None and other.source.boot == source.boot and other.number < hello.stream:
                self._lost(other)  # before the Hello is heard
                other.end()
        if self._closed or len(self._of_peer(source.dir_id)) >= settings.streams_per_peer_max:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many streams of that directory")
        stream = _Stream(
            self._new_link(), hello.stream, source.address, source, self._outbox(), DownEncoder(self._entry_bytes)
        )
        self._incoming[stream.link] = stream
        for envelope in first:
            self._report(Received(envelope, stream.link))
        await self._lead_on(stream, decoder, context)

    async def _lead_on(self, stream: _Stream, decoder: UpDecoder, context: Context) -> None:
        create_task = asyncio.get_running_loop().create_task
        reading = create_task(self._read_up(stream, decoder, context))
        writing = create_task(self._write_down(stream, context))
        try:
            await stream.run(reading, writing, half_close=False)
        finally:
            self._lost(stream)
            for task in (reading, writing):
                task.cancel()
            await asyncio.wait({reading, writing})
        _raise_bugs(reading, writing)
        if stream.overflow:
            await _abort_unread(context)
        wrong = None if reading.cancelled() else reading.result()
        if wrong is not None:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, wrong)

    def _lost(self, stream: _Stream) -> None:
        if self._incoming.pop(stream.link, None) is not None and not stream.quiet and stream.source is not None:
            self._report(Broken(stream.source.address, stream.source.dir_id, stream.number))
        if not self._incoming:
            self._entry_bytes.forget()

    def _of_peer(self, dir_id: DirId) -> list[_Stream]:
        return [
            stream for stream in self._incoming.values()
            if stream.source is not None and stream.source.dir_id == dir_id
        ]  # fmt: skip

    async def _read_up(self, stream: _Stream, decoder: UpDecoder, context: Context) -> str | None:
        """Returns what is wrong with what came, or None at the stream's end."""
        try:
            while isinstance(frame := await context.read(), bytes):
                for envelope in decoder.decode(frame):
                    self._report(Received(envelope, stream.link))
        except _ENDED:
            pass
        except BadEnvelope as error:
            return str(error)
        return None

    async def _write_down(self, stream: _Stream, context: Context) -> None:
        try:
            await stream.outbox.write_all(context.write)
        except _ENDED:
            pass

    # ---- calls of peers

    def _server_of(self, rpc: Rpc) -> Callable[[bytes, Context], Any]:
        async def serve(data: bytes, context: Context) -> bytes:
            task = asyncio.current_task()
            assert task is not None
            self._served.add(task)
            try:
                return await self._serve_call(rpc, data, context)
            finally:
                self._served.discard(task)

        return serve

    async def _serve_call(self, rpc: Rpc, data: bytes, context: Context) -> bytes:
        settings = self._settings
        try:
            envelope = decode_request(rpc, data)
        except BadEnvelope as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        dir_id = envelope.source.dir_id
        of_peer = sum([call.dir_id == dir_id for call in self._calls.values()])
        if self._closed or len(self._calls) >= settings.calls_max or of_peer >= settings.calls_per_peer_max:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many calls at once")
        link, call = self._new_link(), _Call(rpc, dir_id)
        self._calls[link] = call
        try:
            self._report(Received(envelope, link))
            async with asyncio.timeout(settings.rpc_ms / 1_000):
                return await call.response
        except TimeoutError:
            return b""
        finally:
            del self._calls[link]

    async def _serve_identify(self, _: bytes, context: Context) -> bytes:
        return encode_identity(self._whoami())


async def _abort_unread(context: Context) -> None:
    """End a stream whose peer does not read: the status waits behind what is unread, the server does not."""
    try:
        async with asyncio.timeout(GOODBYE_S):
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too much is unread")
    except TimeoutError:
        raise asyncio.CancelledError from None


def _raise_bugs(*tasks: asyncio.Task[Any]) -> None:
    """All that may go wrong with a peer is caught where it happens; anything else is a bug here or in the host."""
    for task in tasks:
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error
