"""Refusals: understood and declined.

A refusal raised by a rule is a `ChatError`. In outcomes, and so in answers that are kept for repeated operations,
it stands as a `Refusal`: its reason with one number of detail, from which the error is made again.
"""

from enum import IntEnum

import msgspec

from chatsvc.domain.limits import NAME_CODE_POINTS_MAX, PATTERN_CODE_POINTS_MAX, TEXT_CODE_POINTS_MAX


class Reason(IntEnum):
    """Why an operation was refused. The numbers are stored and sent, so they never change."""

    INVALID_NAME = 1
    INVALID_TEXT = 2
    UNKNOWN_RECIPIENT = 3
    UNKNOWN_ACCOUNT = 4
    ACCOUNT_DELETED = 5
    REPLACED = 6
    NOT_LOGGED_IN = 7
    ALREADY_LOGGED_IN = 8
    IDEMPOTENCY_MISMATCH = 9
    OP_SEQ_GAP = 10
    ANSWER_FORGOTTEN = 11
    ACKNOWLEDGED_TOO_MUCH = 12
    FRAME_TOO_LARGE = 13
    UNKNOWN_OPERATION = 14
    INVALID_PAGE = 15
    INVALID_PATTERN = 16
    INVALID_CLIENT_ID = 17
    TOO_MANY_SESSIONS = 18
    NOT_PRIMARY = 19
    NOT_READY = 20
    LOGIN_TIMEOUT = 21
    DISK_FULL = 22
    OP_SEQ_MIXED = 23
    MALFORMED_FRAME = 24


class ChatError(Exception):
    """An operation was declined; the session goes on.

    Attributes:
        reason: why, for programs.
        metadata: details by name, all text.
    """

    reason: Reason

    def __init__(self, message: str, **metadata: object) -> None:
        super().__init__(message)
        self.metadata = {name: str(value) for name, value in metadata.items()}


class InvalidName(ChatError):
    """A user name breaks the rules for names."""

    reason = Reason.INVALID_NAME


class InvalidText(ChatError):
    """A text is empty or too long."""

    reason = Reason.INVALID_TEXT


class UnknownRecipient(ChatError):
    """No account has the recipient's name."""

    reason = Reason.UNKNOWN_RECIPIENT


class UnknownAccount(ChatError):
    """No account has this name."""

    reason = Reason.UNKNOWN_ACCOUNT


class AccountDeleted(ChatError):
    """The account of the client was deleted."""

    reason = Reason.ACCOUNT_DELETED


class Replaced(ChatError):
    """Another client has logged in for the account."""

    reason = Reason.REPLACED


class NotLoggedIn(ChatError):
    """The first operation of a stream must be a login."""

    reason = Reason.NOT_LOGGED_IN


class AlreadyLoggedIn(ChatError):
    """The stream is logged in already."""

    reason = Reason.ALREADY_LOGGED_IN


class IdempotencyMismatch(ChatError):
    """An op id was used before for another operation."""

    reason = Reason.IDEMPOTENCY_MISMATCH


class OpSeqGap(ChatError):
    """An op seq is above the next one."""

    reason = Reason.OP_SEQ_GAP


class AnswerForgotten(ChatError):
    """The operation was carried out, and the client had received its answer, so that it is kept no more."""

    reason = Reason.ANSWER_FORGOTTEN


class AcknowledgedTooMuch(ChatError):
    """An acknowledgement above the highest message that was pushed."""

    reason = Reason.ACKNOWLEDGED_TOO_MUCH


class FrameTooLarge(ChatError):
    """A frame with too many operations."""

    reason = Reason.FRAME_TOO_LARGE


class UnknownOperation(ChatError):
    """An operation of no known kind."""

    reason = Reason.UNKNOWN_OPERATION


class InvalidPage(ChatError):
    """A page size, limit or page token out of range."""

    reason = Reason.INVALID_PAGE


class InvalidPattern(ChatError):
    """A pattern for names that is too long."""

    reason = Reason.INVALID_PATTERN


class InvalidClientId(ChatError):
    """A client id of another length than 16 bytes, or of another account."""

    reason = Reason.INVALID_CLIENT_ID


class OpSeqMixed(ChatError):
    """An operation with an op seq after one without, or the other way round."""

    reason = Reason.OP_SEQ_MIXED


class MalformedFrame(ChatError):
    """A frame that can't be read, such as one with text that is not UTF-8."""

    reason = Reason.MALFORMED_FRAME


class Unavailable(ChatError):
    """Not now, or not here: the same operation may be repeated, at the primary."""

    reason = Reason.NOT_READY


class NotPrimary(Unavailable):
    """This server is not the primary."""

    reason = Reason.NOT_PRIMARY


class NotReady(Unavailable):
    """The primary is not ready yet, or it is stopping."""

    reason = Reason.NOT_READY


class DiskFull(Unavailable):
    """The server's disk is full; reads go on."""

    reason = Reason.DISK_FULL


class TooManySessions(Unavailable):
    """The server has as many sessions as it may."""

    reason = Reason.TOO_MANY_SESSIONS


class LoginTimeout(Unavailable):
    """No login came in time."""

    reason = Reason.LOGIN_TIMEOUT


ERROR_OF: dict[Reason, type[ChatError]] = {
    error.reason: error
    for error in (
        InvalidName, InvalidText, UnknownRecipient, UnknownAccount, AccountDeleted, Replaced, NotLoggedIn,
        AlreadyLoggedIn, IdempotencyMismatch, OpSeqGap, AnswerForgotten, AcknowledgedTooMuch, FrameTooLarge,
        UnknownOperation, InvalidPage, InvalidPattern, InvalidClientId, OpSeqMixed, NotPrimary, NotReady, DiskFull,
        TooManySessions, LoginTimeout, MalformedFrame,
    )
}  # fmt: skip


class Refusal(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A refusal as a stored outcome.

    Attributes:
        reason: why.
        detail: a number that belongs to it: length of the text, expected op seq; else 0.
        subject: the name it is about, as the client wrote it; else empty.
    """

    reason: Reason
    detail: int = 0
    subject: str = ""

    def error(self) -> ChatError:
        """The error that says this to a person."""
        return ERROR_OF[self.reason](self._message(), **self._metadata())

    def _message(self) -> str:
        match self.reason:
            case Reason.INVALID_NAME:
                return f"{self.subject!r} is no user name: 1 to {NAME_CODE_POINTS_MAX} letters, digits, '_', '.' or '-'"
            case Reason.INVALID_TEXT if self.detail == 0:
                return "the text is empty"
            case Reason.INVALID_TEXT:
                return f"the text has {self.detail:,} characters, {TEXT_CODE_POINTS_MAX:,} are allowed"
            case Reason.UNKNOWN_RECIPIENT | Reason.UNKNOWN_ACCOUNT:
                return f"there is no account {self.subject!r}"
            case Reason.ACCOUNT_DELETED:
                return "this account was deleted"
            case Reason.REPLACED:
                return "another login of the same name has replaced this one"
            case Reason.IDEMPOTENCY_MISMATCH:
                return f"op seq {self.detail} was used before for another operation"
            case Reason.OP_SEQ_GAP:
                return f"op seq {self.detail} is the next one"
            case Reason.ANSWER_FORGOTTEN:
                return f"op seq {self.detail} was carried out before, and its answer received"
            case Reason.INVALID_CLIENT_ID:
                return "the client id has not 16 bytes, or is another account's, or was retired"
            case Reason.INVALID_PATTERN:
                return f"a pattern has at most {PATTERN_CODE_POINTS_MAX} characters"
            case reason:
                return reason.name.lower().replace("_", " ")

    def _metadata(self) -> dict[str, object]:
        match self.reason:
            case Reason.INVALID_TEXT:
                return {"limit": TEXT_CODE_POINTS_MAX, "length": self.detail}
            case Reason.OP_SEQ_GAP:
                return {"expected": self.detail}
            case Reason.INVALID_NAME | Reason.UNKNOWN_RECIPIENT | Reason.UNKNOWN_ACCOUNT:
                return {"name": self.subject}
            case _:
                return {}
