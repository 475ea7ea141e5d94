"""Refusals: one error for each reason, the numbers of the API, one line for people."""

import pytest

from chatsvc.domain import errors
from chatsvc.domain.errors import ERROR_OF, ChatError, InvalidText, OpSeqGap, Reason, Refusal, Unavailable
from chatsvc.v1 import chat_pb2 as pb

every_reason = pytest.mark.parametrize("reason", Reason, ids=lambda reason: reason.name)


def test_every_reason_has_exactly_one_error() -> None:
    kinds = [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, ChatError) and kind not in (ChatError, Unavailable)
    ]
    assert sorted(kind.reason for kind in kinds) == sorted(Reason)
    assert {kind.reason: kind for kind in kinds} == ERROR_OF


def test_reasons_have_the_numbers_and_names_of_the_api() -> None:
    prefix = "ERROR_REASON_"
    assert {prefix + reason.name: reason.value for reason in Reason} == {
        name: number for name, number in pb.ErrorReason.items() if number
    }


@every_reason
@pytest.mark.parametrize("subject", ["", "bob", "a\nb\x1b[31m\u202e\x00"], ids=["none", "plain", "hostile"])
@pytest.mark.parametrize("detail", [0, 1, 1_501])
def test_a_refusal_reads_as_one_printable_line(reason: Reason, detail: int, subject: str) -> None:
    error = Refusal(reason, detail, subject).error()
    assert type(error) is ERROR_OF[reason]
    assert error.reason is reason
    message = str(error)
    assert message
    assert message.isprintable()
    assert all(type(value) is str for value in error.metadata.values())


def test_a_refused_text_tells_its_length_and_the_limit() -> None:
    error = Refusal(Reason.INVALID_TEXT, 1_501).error()
    assert type(error) is InvalidText
    assert str(error) == "the text has 1,501 characters, 1,500 are allowed"
    assert error.metadata == {"limit": "1500", "length": "1501"}
    assert str(Refusal(Reason.INVALID_TEXT, 0).error()) == "the text is empty"


def test_a_gap_tells_the_op_seq_that_is_expected() -> None:
    error = Refusal(Reason.OP_SEQ_GAP, 7).error()
    assert type(error) is OpSeqGap
    assert error.metadata == {"expected": "7"}


def test_what_may_be_repeated_elsewhere_or_later_is_unavailable() -> None:
    assert {reason.name for reason, kind in ERROR_OF.items() if issubclass(kind, Unavailable)} == {
        "NOT_PRIMARY", "NOT_READY", "DISK_FULL", "TOO_MANY_SESSIONS", "LOGIN_TIMEOUT",
    }  # fmt: skip
