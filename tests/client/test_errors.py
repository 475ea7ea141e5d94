"""Errors, read off the wire."""

from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyProto
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from chatsvc.client.errors import ConnectError, ConnectionLost, ServersGone, from_event, from_status, why_unreachable
from chatsvc.domain.errors import ERROR_OF, ChatError, Reason, Unavailable
from chatsvc.v1 import chat_pb2 as pb


def call_error(code: grpc.StatusCode, details: str, *metadata: tuple[str, Any]) -> Any:
    return SimpleNamespace(code=lambda: code, details=lambda: details, trailing_metadata=lambda: metadata)


def status_details(reason: str, domain: str = "chatsvc", **metadata: str) -> tuple[str, bytes]:
    detail = AnyProto()
    detail.Pack(ErrorInfo(reason=reason, domain=domain, metadata=metadata))
    return "grpc-status-details-bin", Status(code=3, message="no", details=[detail]).SerializeToString()


@pytest.mark.parametrize("reason", Reason, ids=lambda reason: reason.name)
def test_every_reason_becomes_its_own_error_again(reason: Reason) -> None:
    error = from_event(pb.Error(reason=reason.value, message="no", metadata={"a": "b"}))  # type: ignore[arg-type]
    assert type(error) is ERROR_OF[reason]
    assert (error.reason, str(error), error.metadata) == (reason, "no", {"a": "b"})
    status = from_status(call_error(grpc.StatusCode.INTERNAL, "no", status_details(reason.name, a="b")))
    assert type(status) is ERROR_OF[reason]
    assert (str(status), status.metadata) == ("no", {"a": "b"})


def test_every_reason_of_the_protocol_has_an_error() -> None:
    names = {value.name.removeprefix("ERROR_REASON_") for value in pb.ErrorReason.DESCRIPTOR.values} - {"UNSPECIFIED"}
    assert names == {reason.name for reason in Reason}


def test_a_reason_of_a_newer_server_is_a_refusal_without_a_kind() -> None:
    error = from_event(pb.Error(reason=999, message="new"))  # type: ignore[arg-type]
    assert type(error) is ChatError
    assert (str(error), error.metadata) == ("new", {"reason": "999"})


@pytest.mark.parametrize(
    "metadata",
    [
        pytest.param((), id="nothing"),
        pytest.param((("grpc-status-details-bin", b"\xff\xff"),), id="not-a-status"),
        pytest.param((status_details("NOT_PRIMARY", domain="elsewhere"),), id="another-domain"),
        pytest.param((("other", b""),), id="other-metadata"),
    ],
)
def test_a_status_that_the_service_has_not_given_is_no_refusal(metadata: Any) -> None:
    assert from_status(call_error(grpc.StatusCode.UNAVAILABLE, "gone", *metadata)) is None


PREFIX = "failed to connect to all addresses; last error: "


@pytest.mark.parametrize(
    ("code", "details", "why", "refused"),
    [
        ("UNAVAILABLE", PREFIX + "UNKNOWN: ipv4:127.0.0.1:1: x: Connection refused", "connection refused", True),
        ("UNAVAILABLE", "errors resolving a:1: [field:hostname Domain name not found]", "no such host", True),
        ("UNAVAILABLE", PREFIX + "INTERNAL: ipv4:1.2.3.4:1: Failed parsing HTTP/2 (x)", "no gRPC server", True),
        ("UNAVAILABLE", PREFIX + "UNKNOWN: ipv6:%5B::1%5D:9: y: Network is unreachable", "the network can't", True),
        ("UNIMPLEMENTED", "Method not found!", "no chatsvc server", True),
        ("UNAVAILABLE", PREFIX + "UNAVAILABLE: ipv4:127.0.0.1:3: Socket\nclosed", "Socket closed", False),
        ("UNAVAILABLE", "", "unavailable", False),
        ("DEADLINE_EXCEEDED", "Deadline Exceeded", "no answer within 1 s", False),
        ("INTERNAL", "odd", "INTERNAL: odd", False),
    ],
)
def test_why_a_server_is_not_reached_is_said_in_a_few_words(code: str, details: str, why: str, refused: bool) -> None:
    told, is_refusal = why_unreachable(call_error(grpc.StatusCode[code], details), 1.0)
    assert told.startswith(why)
    assert "\n" not in told
    assert is_refusal is refused


def test_texts_of_the_contract() -> None:
    assert str(ConnectError("h:1", "connection refused")) == "Error connecting to h:1: connection refused"
    assert str(ServersGone("why")) == "Server shut down prematurely, so logging you out."
    assert "the outcome of 2 operations is not known" in str(ConnectionLost("h:1", "closed", 2))
    assert "outcome" not in str(ConnectionLost("h:1", "closed", 0))
    assert all(issubclass(kind, Unavailable) for kind in (ConnectError, ServersGone, ConnectionLost))
