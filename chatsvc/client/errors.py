"""What can go wrong, and how it is read off the wire.

Three kinds, and they are never mixed:

- a refusal is a `ChatError` of `chatsvc.domain.errors`, made again from what the server said;
- `Unavailable` among them means "not now or not here": a client follows the primary by itself, so who sees one
  waited in vain;
- `SessionEnded` means that this client is of no use any more, whatever is asked of it.
"""

import re
from collections.abc import Mapping

import grpc
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from chatsvc.client.values import LogoutReason
from chatsvc.domain.errors import ERROR_OF, ChatError, Reason, Unavailable
from chatsvc.v1 import chat_pb2 as pb

DOMAIN = "chatsvc"
"""Domain of every ErrorInfo that the service sends."""

SERVERS_GONE = "Server shut down prematurely, so logging you out."


class ConnectError(Unavailable):
    """No primary could be reached.

    Args:
        address: of the server that the text names.
        why: in a few words.
        also: what is to be said of the other addresses; empty if nothing.
    """

    def __init__(self, address: str, why: str, also: str = "") -> None:
        super().__init__(f"Error connecting to {address}: {why}{also}", address=address)


class SessionEnded(Exception):
    """The session is over. Whether an operation without an answer was carried out is not known."""


class LoggedOut(SessionEnded):
    """The session has come to its end on the server.

    Attributes:
        reason: why.
    """

    def __init__(self, reason: LogoutReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class ServersGone(SessionEnded, Unavailable):
    """No server has answered as the primary for as long as this client waits.

    Args:
        why: the reason behind it, in a few words.
    """

    def __init__(self, why: str) -> None:
        super().__init__(SERVERS_GONE, why=why)


class ConnectionLost(SessionEnded, Unavailable):
    """The connection was lost, and this client was told not to make another one.

    Args:
        address: of the server.
        why: in a few words.
        unanswered: operations that were not answered.
    """

    def __init__(self, address: str, why: str, unanswered: int) -> None:
        outcome = f"; the outcome of {unanswered:,} operations is not known" if unanswered else ""
        super().__init__(
            f"The connection to {address} was lost: {why}{outcome}", address=address, unanswered=unanswered
        )


class ClientClosed(SessionEnded):
    """`close` was called."""

    def __init__(self) -> None:
        super().__init__("the client is closed")


class ProtocolError(SessionEnded):
    """A server has said what no server says: a bug, or a server of another kind."""


class ForcedInVain(Exception):
    """A promotion that an operator wanted was refused."""


class QueueFull(Exception):
    """So many sends wait to be written that no more are taken now; see `room`."""


def rebuilt(reason: int, message: str, metadata: Mapping[str, str]) -> ChatError:
    """The refusal that a server has sent."""
    try:
        kind = ERROR_OF[Reason(reason)]
    except (ValueError, KeyError):  # of a newer server
        return ChatError(message, reason=reason, **metadata)
    error = kind(message)
    error.metadata = dict(metadata)
    return error


def from_event(error: pb.Error) -> ChatError:
    """The refusal of an operation of a session."""
    return rebuilt(error.reason, error.message, error.metadata)


def from_status(error: grpc.aio.AioRpcError) -> ChatError | None:
    """The refusal that ended a call; None if the service itself has not spoken."""
    for key, value in error.trailing_metadata() or ():
        if key != "grpc-status-details-bin" or not isinstance(value, bytes):
            continue
        try:
            status = Status.FromString(value)
        except DecodeError:
            continue
        for detail in status.details:
            info = ErrorInfo()
            if detail.Unpack(info) and info.domain == DOMAIN:
                reason = Reason.__members__.get(info.reason, 0)
                return rebuilt(reason, status.message, info.metadata)
    return None


def why_unreachable(error: grpc.aio.AioRpcError, timeout_s: float) -> tuple[str, bool]:
    """Why a server could not be talked to.

    Returns:
        In a few words, and whether that is a refusal: it is known that no server of ours is there now.
    """
    details = error.details() or ""
    lowered = details.lower()
    for sign, why in _SIGNS:
        if sign in lowered:
            return why, True
    if "timed out" in lowered or error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
        return f"no answer within {timeout_s:g} s", False
    match error.code():
        case grpc.StatusCode.UNIMPLEMENTED:
            return "no chatsvc server", True
        case grpc.StatusCode.UNAVAILABLE:
            return _last_part(details), False
        case code:
            return f"{code.name}: {_last_part(details)}", False


_SIGNS = (
    ("connection refused", "connection refused"),
    ("dns resolution failed", "no such host"),
    ("domain name not found", "no such host"),
    ("address lookup failed", "no such host"),
    ("no route to host", "no route to the host"),
    ("network is unreachable", "the network can't be reached"),
    ("failed parsing http/2", "no gRPC server"),
)
"""What gRPC's texts say when nothing of ours is at an address, and how it is put to a person."""

_WHERE = re.compile(r"^(?:[A-Z_]+: )?(?:ipv4|ipv6|unix):\S+: ")


def _last_part(details: str) -> str:
    """The end of gRPC's nested texts, which is what a person understands; one line."""
    text = " ".join(details.split()).rpartition("last error: ")[2]
    return _WHERE.sub("", text)[:200] or "unavailable"
