"""A gRPC stream on a connection of its own: the least of HTTP/2 that a grpc server asks for.

It costs far less than a gRPC library, so that the load generator is not what is measured. Left out: decoding of
header blocks (so the status of a stream that ended is not known), compression, padding, and giving back receive
windows, which are opened to their maximum of 2 GiB at the start and never used up.
"""

import asyncio
import struct
from collections.abc import Callable, Mapping

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, ACK, END_HEADERS = 0x1, 0x1, 0x4
SETTING_INITIAL_WINDOW = 4
WINDOW_DEFAULT = 65_535
WINDOW_MAX = 2**31 - 1
FRAME_BYTES_MAX = 16_384
STREAM_ID = 1


class GrpcStream(asyncio.Protocol):
    """One bidirectional gRPC stream, alone on its connection.

    Args:
        path: of the rpc, such as `/chatsvc.v1.Chat/Session`.
        metadata: of the call; names in lower case, names and values of less than 127 ASCII characters.
        on_messages: called with the messages that one read of the socket has completed, at least one.
        on_end: called once, with what is known of the reason, when the stream or its connection has ended.
    """

    def __init__(
        self,
        path: str,
        metadata: Mapping[str, str],
        on_messages: Callable[[list[bytes]], None],
        on_end: Callable[[str], None],
    ) -> None:
        self._path, self._metadata = path, metadata
        self._on_messages, self._on_end = on_messages, on_end
        self._transport: asyncio.Transport
        self._received = b""  # the start of a frame whose end has not come yet
        self._partial = b""  # the same for a message
        self._unsent = b""  # messages with their prefixes that wait for a window
        self._control = b""  # frames that wait for the next `flush`
        self._stream_window = self._connection_window = self._initial_window = WINDOW_DEFAULT
        self._ended = False

    # ---- sending

    def send(self, message: bytes) -> None:
        """Queue a message; `flush` writes it."""
        self._unsent += b"\0" + len(message).to_bytes(4, "big") + message

    def flush(self) -> None:
        """Write what is queued, as far as the server's windows allow; the rest goes when they open."""
        frames = [self._control] if self._control else []
        self._control = b""
        while self._unsent:
            size = min(len(self._unsent), self._stream_window, self._connection_window, FRAME_BYTES_MAX)
            if size <= 0:
                break
            frames.append(_frame(DATA, 0, STREAM_ID, self._unsent[:size]))
            self._unsent = self._unsent[size:]
            self._stream_window -= size
            self._connection_window -= size
        if frames:
            self._transport.write(b"".join(frames))

    def close(self) -> None:
        """Cut the connection; `on_end` is not called."""
        self._ended = True
        self._transport.close()

    # ---- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Open the stream."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        fields = {
            ":method": "POST",
            ":scheme": "http",
            ":path": self._path,
            ":authority": "localhost",
            "te": "trailers",
            "content-type": "application/grpc",
            **self._metadata,
        }
        transport.write(
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
            + _frame(SETTINGS, 0, 0, struct.pack(">HI", SETTING_INITIAL_WINDOW, WINDOW_MAX))
            + _frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", WINDOW_MAX - WINDOW_DEFAULT))
            + _frame(HEADERS, END_HEADERS, STREAM_ID, b"".join(_literal(*field) for field in fields.items()))
        )

    def connection_lost(self, exc: Exception | None) -> None:
        """The server has closed the connection, or this side has."""
        self._end(f"the connection was lost: {exc or 'closed by the server'}")

    def data_received(self, data: bytes) -> None:
        """Take frames apart; hand on the messages that are complete."""
        if self._received:
            data = self._received + data
        start, size = 0, len(data)
        messages: list[bytes] = []
        while size - start >= 9:
            end = start + 9 + (data[start] << 16 | data[start + 1] << 8 | data[start + 2])
            if end > size:
                break
            if data[start + 3] == DATA:
                self._take_messages(data[start + 9 : end], messages)
            else:
                stream_id = int.from_bytes(data[start + 5 : start + 9], "big")
                self._control_frame(data[start + 3], data[start + 4], stream_id, data[start + 9 : end])
            start = end
        self._received = data[start:]
        if messages:
            self._on_messages(messages)
        if not self._ended:
            self.flush()

    def _take_messages(self, data: bytes, messages: list[bytes]) -> None:
        if self._partial:
            data = self._partial + data
        start, size = 0, len(data)
        while size - start >= 5:
            end = start + 5 + int.from_bytes(data[start + 1 : start + 5], "big")
            if end > size:
                break
            assert data[start] == 0, "no compression was offered"
            messages.append(data[start + 5 : end])
            start = end
        self._partial = data[start:]

    def _control_frame(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        if kind == SETTINGS and not flags & ACK:
            for setting, value in struct.iter_unpack(">HI", payload):
                if setting == SETTING_INITIAL_WINDOW:
                    self._stream_window += value - self._initial_window
                    self._initial_window = value
            self._control += _frame(SETTINGS, ACK, 0, b"")
        elif kind == PING and not flags & ACK:
            self._control += _frame(PING, ACK, 0, payload)
        elif kind == WINDOW_UPDATE:
            increment = int.from_bytes(payload, "big")
            if stream_id:
                self._stream_window += increment
            else:
                self._connection_window += increment
        elif kind == HEADERS and flags & END_STREAM:
            self._end("the server ended the stream")
        elif kind == RST_STREAM:
            self._end(f"the server reset the stream, HTTP/2 error {int.from_bytes(payload, 'big')}")
        elif kind == GOAWAY:
            self._end(f"the server is going away: {payload[8:].decode(errors='replace') or 'no reason given'}")

    def _end(self, reason: str) -> None:
        if not self._ended:
            self._ended = True
            self._on_end(reason)


def _frame(kind: int, flags: int, stream_id: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream_id.to_bytes(4, "big") + payload


def _literal(name: str, value: str) -> bytes:
    """A header field in HPACK's plainest form: literal, not indexed, without Huffman coding."""
    assert len(name) < 127, "a longer one needs a length of more bytes"
    assert len(value) < 127, "a longer one needs a length of more bytes"
    return b"\0" + bytes((len(name),)) + name.encode() + bytes((len(value),)) + value.encode()
