"""What the driver says to a server: one small class for each kind of server."""

import json
import secrets
from collections.abc import Callable
from typing import NamedTuple, Protocol

from benchmarks.http2 import GrpcStream
from benchmarks.nats import NatsStream, consumer_config
from benchmarks.prototype_messages import SERVICE, Down, Message, Up
from chatsvc.v1 import chat_pb2 as pb


class Heard(NamedTuple):
    """What a frame from a server says.

    Attributes:
        online: whether it says that the user is logged in.
        acknowledged: numbers of the user's messages that are safe, as the driver counts them, from 1.
        messages: texts for the user.
        inbox_seq: the highest number of a message for the user, 0 if the server doesn't number them.
        refusals: what the server would not do, in words.
    """

    online: bool
    acknowledged: list[int]
    messages: list[str]
    inbox_seq: int
    refusals: list[str]


Stream = GrpcStream | NatsStream


class Dialect(Protocol):
    """What one user says and hears."""

    keeps_for_absent: bool
    """Whether messages to people who are away wait for them."""

    def stream(self, on_frames: Callable[[list[bytes]], None], on_end: Callable[[str], None]) -> Stream:
        """A stream to say and hear it on; not connected yet."""

    def login(self) -> bytes | None:
        """The first frame, or None."""

    def sends(self, to: str, first_number: int, texts: list[str]) -> bytes:
        """A frame with messages, numbered from `first_number`."""

    def acknowledge(self, inbox_seq: int) -> bytes | None:
        """A frame saying that all messages up to this one have arrived; None: not asked for."""

    def goodbye(self) -> bytes | None:
        """The last frame of a user who never comes back, or None."""

    def heard(self, frame: bytes) -> Heard:
        """What a frame from the server says."""


class Chatsvc:
    """chatsvc.v1.

    Args:
        user: name.
        acknowledges: whether arrival is acknowledged explicitly, as the client library does, or left to the server.
        numbers: whether sends carry op seqs, as the client library's do, or the server counts.
        receives: has no meaning; every session receives.
    """

    keeps_for_absent = True

    def __init__(self, user: str, acknowledges: bool, numbers: bool, receives: bool) -> None:
        self._user, self._acknowledges, self._numbers = user, acknowledges, numbers
        self._client_id = secrets.token_bytes(16) if numbers else b""
        self._answered = self._received = self._incarnation = 0

    def stream(self, on_frames: Callable[[list[bytes]], None], on_end: Callable[[str], None]) -> Stream:
        """See `Dialect`."""
        return GrpcStream("/chatsvc.v1.Chat/Session", {}, on_frames, on_end)

    def login(self) -> bytes | None:
        """See `Dialect`; after the first one the session is resumed."""
        login = pb.Login(
            user=self._user,
            client_id=self._client_id,
            explicit_acknowledgement=self._acknowledges,
            incarnation=self._incarnation,
            first_unanswered_op_seq=self._answered + 1,
            received_inbox_seq=self._received,
        )
        return pb.SessionRequest(operations=[pb.Operation(login=login)]).SerializeToString()

    def sends(self, to: str, first_number: int, texts: list[str]) -> bytes:
        """See `Dialect`."""
        request = pb.SessionRequest()
        add = request.operations.add
        if self._numbers:
            request.answered_op_seq = self._answered
        for number, text in enumerate(texts, start=first_number):
            operation = add(op_seq=number) if self._numbers else add()
            send = operation.send
            send.to = to
            send.text = text
        return request.SerializeToString()

    def acknowledge(self, inbox_seq: int) -> bytes | None:
        """See `Dialect`."""
        if not self._acknowledges:
            return None
        operation = pb.Operation(acknowledge=pb.Acknowledge(inbox_seq=inbox_seq))
        return pb.SessionRequest(operations=[operation]).SerializeToString()

    def goodbye(self) -> bytes | None:
        """See `Dialect`."""
        return None

    def heard(self, frame: bytes) -> Heard:
        """See `Dialect`."""
        online, inbox_seq = False, 0
        acknowledged: list[int] = []
        messages: list[str] = []
        refusals: list[str] = []
        for event in pb.SessionResponse.FromString(frame).events:
            kind = event.WhichOneof("kind")
            if kind == "sent":
                acknowledged.append(event.sent.op_seq)
            elif kind == "message":
                message = event.message
                messages.append(message.text)
                inbox_seq = message.inbox_seq
            elif kind == "welcome":
                online = True
                if self._numbers:
                    self._incarnation = event.welcome.incarnation
            elif kind == "error":
                refusals.append(event.error.message)
            elif kind == "logged_out":
                refusals.append(f"logged out: {event.logged_out.message}")
        if acknowledged:
            self._answered = acknowledged[-1]
        self._received = max(self._received, inbox_seq)
        return Heard(online, acknowledged, messages, inbox_seq, refusals)


class Bare:
    """The prototype's.

    Args:
        user: name.
        acknowledges: has no meaning; its recipients acknowledge nothing.
        numbers: has no meaning either; messages are always numbered.
        receives: nor has this; every session receives.
    """

    keeps_for_absent = False

    def __init__(self, user: str, acknowledges: bool, numbers: bool, receives: bool) -> None:
        self._user = user

    def stream(self, on_frames: Callable[[list[bytes]], None], on_end: Callable[[str], None]) -> Stream:
        """See `Dialect`."""
        return GrpcStream(f"/{SERVICE}/Session", {"user": self._user}, on_frames, on_end)

    def login(self) -> bytes | None:
        """See `Dialect`."""
        return None

    def sends(self, to: str, first_number: int, texts: list[str]) -> bytes:
        """See `Dialect`."""
        return bytes(
            Up(
                messages=[
                    Message(id=f"{number:016x}", to=to, text=text, time=int(text[:16], 16), number=number)
                    for number, text in enumerate(texts, start=first_number)
                ]
            ).SerializeToString()
        )

    def acknowledge(self, inbox_seq: int) -> bytes | None:
        """See `Dialect`."""
        return None

    def goodbye(self) -> bytes | None:
        """See `Dialect`."""
        return None

    def heard(self, frame: bytes) -> Heard:
        """See `Dialect`."""
        down = Down.FromString(frame)
        messages = [message.text for message in down.messages]
        return Heard(not frame, list(down.acknowledged), messages, 0, [])


class Nats:
    """NATS JetStream's: a message is published to the recipient's subject in a stream, and the stream's answer is the
    acknowledgement; a durable consumer pushes a recipient's messages.

    It does less than chatsvc: nobody's name is checked, a repeated message is stored twice, and the answer does not
    say whether the recipient is there.

    Args:
        user: name.
        acknowledges: has no meaning; the consumer is always told how far the messages have arrived.
        numbers: has no meaning; the answers come in order and are counted.
        receives: whether this user has a consumer.
    """

    keeps_for_absent = True

    def __init__(self, user: str, acknowledges: bool, numbers: bool, receives: bool) -> None:
        self._user, self._receives = user, receives
        self._answered = self._received = 0
        self._last = b""  # subject that acknowledges the newest message and all before it
        self._inbox = b"answers.%b" % user.encode()

    def stream(self, on_frames: Callable[[list[bytes]], None], on_end: Callable[[str], None]) -> Stream:
        """See `Dialect`."""
        return NatsStream(on_frames, on_end)

    def login(self) -> bytes | None:
        """See `Dialect`."""
        user = self._user.encode()
        frame = b'CONNECT {"verbose":false,"pedantic":false}\r\nSUB %b 1\r\n' % self._inbox
        if not self._receives:
            return frame + b"PING\r\n"
        config = json.dumps(consumer_config(self._user)).encode()
        frame += b"SUB to.%b 2\r\n" % user
        return frame + _publish(b"$JS.API.CONSUMER.DURABLE.CREATE.CHAT.%b" % user, config, self._inbox)

    def sends(self, to: str, first_number: int, texts: list[str]) -> bytes:
        """See `Dialect`."""
        subject = b"chat." + to.encode()
        return b"".join(_publish(subject, text.encode(), self._inbox) for text in texts)

    def acknowledge(self, inbox_seq: int) -> bytes | None:
        """See `Dialect`."""
        return _publish(self._last, b"")

    def goodbye(self) -> bytes | None:
        """See `Dialect`."""
        if not self._receives:
            return None
        return _publish(b"$JS.API.CONSUMER.DELETE.CHAT.%b" % self._user.encode(), b"", self._inbox)

    def heard(self, frame: bytes) -> Heard:
        """See `Dialect`; a frame is any number of whole protocol messages but PING."""
        online, start = False, 0
        acknowledged: list[int] = []
        messages: list[str] = []
        refusals: list[str] = []
        while start < len(frame):
            end = frame.index(b"\r\n", start)
            words = frame[start:end].split()
            start = end + 2
            if words[0] == b"MSG":
                size = int(words[-1])
                payload = frame[start : start + size]
                start += size + 2
                if words[2] == b"2":
                    messages.append(payload.decode())
                    self._last = words[3]
                    self._received += 1
                elif b'"error"' in payload:
                    refusals.append(payload.decode())
                elif b'"seq"' in payload and not self._receives:
                    self._answered += 1
                    acknowledged.append(self._answered)
                else:
                    online = True  # the consumer is there
            elif words[0] == b"PONG":
                online = True
            elif words[0] == b"-ERR":
                refusals.append(b" ".join(words).decode())
        return Heard(online, acknowledged, messages, self._received if messages else 0, refusals)


def _publish(subject: bytes, payload: bytes, answer_to: bytes = b"") -> bytes:
    return b"PUB %b %b %d\r\n%b\r\n" % (subject, answer_to, len(payload), payload)


DIALECTS: dict[str, type[Chatsvc] | type[Bare] | type[Nats]] = {"chatsvc": Chatsvc, "prototype": Bare, "nats": Nats}
