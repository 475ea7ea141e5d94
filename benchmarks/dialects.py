"""What the driver says to a server: one small class for each kind of server."""

import secrets
from typing import NamedTuple, Protocol

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


class Dialect(Protocol):
    """What one user says and hears on one stream; a new one for each stream."""

    path: str
    keeps_for_absent: bool
    """Whether messages to people who are away wait for them."""

    def metadata(self) -> dict[str, str]:
        """What the call carries."""

    def login(self) -> bytes | None:
        """The first frame, or None."""

    def sends(self, to: str, first_number: int, texts: list[str]) -> bytes:
        """A frame with messages, numbered from `first_number`."""

    def acknowledge(self, inbox_seq: int) -> bytes | None:
        """A frame saying that all messages up to this one have arrived; None: not asked for."""

    def heard(self, frame: bytes) -> Heard:
        """What a frame from the server says."""


class Chatsvc:
    """chatsvc.v1.

    Args:
        user: name.
        acknowledges: whether arrival is acknowledged explicitly, as the client library does, or left to the server.
        numbers: whether sends carry op seqs, as the client library's do, or the server counts.
    """

    path = "/chatsvc.v1.Chat/Session"
    keeps_for_absent = True

    def __init__(self, user: str, acknowledges: bool, numbers: bool) -> None:
        self._user, self._acknowledges, self._numbers = user, acknowledges, numbers
        self._answered = 0

    def metadata(self) -> dict[str, str]:
        """See `Dialect`."""
        return {}

    def login(self) -> bytes | None:
        """See `Dialect`."""
        client_id = secrets.token_bytes(16) if self._numbers else b""
        login = pb.Login(user=self._user, client_id=client_id, explicit_acknowledgement=self._acknowledges)
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
            elif kind == "error":
                refusals.append(event.error.message)
            elif kind == "logged_out":
                refusals.append(f"logged out: {event.logged_out.message}")
        if acknowledged:
            self._answered = acknowledged[-1]
        return Heard(online, acknowledged, messages, inbox_seq, refusals)


class Bare:
    """The prototype's.

    Args:
        user: name.
        acknowledges: has no meaning; its recipients acknowledge nothing.
        numbers: has no meaning either; messages are always numbered.
    """

    path = f"/{SERVICE}/Session"
    keeps_for_absent = False

    def __init__(self, user: str, acknowledges: bool, numbers: bool) -> None:
        self._user = user

    def metadata(self) -> dict[str, str]:
        """See `Dialect`."""
        return {"user": self._user}

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

    def heard(self, frame: bytes) -> Heard:
        """See `Dialect`."""
        down = Down.FromString(frame)
        messages = [message.text for message in down.messages]
        return Heard(not frame, list(down.acknowledged), messages, 0, [])


DIALECTS: dict[str, type[Chatsvc] | type[Bare]] = {"chatsvc": Chatsvc, "prototype": Bare}
