"""Refusals as gRPC statuses with rich details, and as error events of a stream."""

from typing import NoReturn, cast

import grpc
from google.protobuf.any_pb2 import Any
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from chatsvc.domain.errors import ChatError, Reason
from chatsvc.v1 import chat_pb2 as pb

DOMAIN = "chatsvc"
"""Domain of every ErrorInfo."""

_DETAILS_KEY = "grpc-status-details-bin"

STATUS_OF: dict[Reason, grpc.StatusCode] = {
    Reason.INVALID_NAME: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.INVALID_TEXT: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.UNKNOWN_RECIPIENT: grpc.StatusCode.NOT_FOUND,
    Reason.UNKNOWN_ACCOUNT: grpc.StatusCode.NOT_FOUND,
    Reason.ACCOUNT_DELETED: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.REPLACED: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.NOT_LOGGED_IN: grpc.StatusCode.UNAUTHENTICATED,
    Reason.ALREADY_LOGGED_IN: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.IDEMPOTENCY_MISMATCH: grpc.StatusCode.ALREADY_EXISTS,
    Reason.OP_SEQ_GAP: grpc.StatusCode.OUT_OF_RANGE,
    Reason.ANSWER_FORGOTTEN: grpc.StatusCode.ALREADY_EXISTS,
    Reason.ACKNOWLEDGED_TOO_MUCH: grpc.StatusCode.OUT_OF_RANGE,
    Reason.FRAME_TOO_LARGE: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.UNKNOWN_OPERATION: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.INVALID_PAGE: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.INVALID_PATTERN: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.INVALID_CLIENT_ID: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.TOO_MANY_SESSIONS: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.NOT_PRIMARY: grpc.StatusCode.UNAVAILABLE,
    Reason.NOT_READY: grpc.StatusCode.UNAVAILABLE,
    Reason.LOGIN_TIMEOUT: grpc.StatusCode.DEADLINE_EXCEEDED,
    Reason.DISK_FULL: grpc.StatusCode.UNAVAILABLE,
    Reason.OP_SEQ_MIXED: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.MALFORMED_FRAME: grpc.StatusCode.INVALID_ARGUMENT,
}


async def abort(context: grpc.aio.ServicerContext[object, object], error: ChatError) -> NoReturn:
    """End a call with the status of this refusal; its ErrorInfo has the reason and the metadata."""
    code = STATUS_OF[error.reason]
    details = Any()
    details.Pack(ErrorInfo(reason=error.reason.name, domain=DOMAIN, metadata=error.metadata))
    status = Status(code=code.value[0], message=str(error), details=[details])
    await context.abort(code, str(error), ((_DETAILS_KEY, status.SerializeToString()),))
    raise AssertionError("abort raises")


def error_event(error: ChatError, op_seq: int, tag: int) -> pb.Event:
    """The refusal of one operation as an event of its stream."""
    return pb.Event(
        tag=tag,
        error=pb.Error(
            reason=cast(pb.ErrorReason, error.reason.value), message=str(error), op_seq=op_seq, metadata=error.metadata
        ),
    )
