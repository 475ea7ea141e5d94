"""What has no answer yet."""

import asyncio
from concurrent.futures import Future
from typing import Any

import pytest

from chatsvc.client.errors import QueueFull
from chatsvc.client.outbox import FRAME_BYTES_MAX, FRAME_OPS_MAX, QUEUE_MAX, Operation, Outbox
from chatsvc.domain.limits import WINDOW_OPS
from chatsvc.v1 import chat_pb2 as pb


def add(outbox: Outbox, count: int, text: str = "hi") -> list[Operation]:
    operations = [Operation("bob", text, Future()) for _ in range(count)]
    for operation in operations:
        outbox.add(operation)
    return operations


def written(outbox: Outbox) -> list[int]:
    return [operation.op_seq for operation in fill(outbox).operations]


def fill(outbox: Outbox) -> pb.SessionRequest:
    frame = pb.SessionRequest()
    assert outbox.writable == bool(frame.operations or _would_fill(outbox))
    outbox.fill(frame)
    return frame


def _would_fill(outbox: Outbox) -> bool:
    return outbox.writable


def test_operations_are_numbered_from_one_when_they_are_written() -> None:
    outbox = Outbox()
    add(outbox, 3)
    assert written(outbox) == [1, 2, 3]
    add(outbox, 1)
    assert written(outbox) == [4]
    assert written(outbox) == []


def test_a_withdrawn_operation_takes_no_number() -> None:
    outbox = Outbox()
    first, second, third = add(outbox, 3)
    second.answer.cancel()  # type: ignore[attr-defined]
    assert written(outbox) == [1, 2]
    assert (first.op_seq, second.op_seq, third.op_seq) == (1, 0, 2)


def test_at_most_a_window_is_in_flight() -> None:
    outbox = Outbox()
    add(outbox, WINDOW_OPS + 10)
    assert len(written(outbox)) == WINDOW_OPS
    assert not outbox.writable
    outbox.answered(2)  # an answer in the middle widens nothing: the server keeps answers from the first on
    assert written(outbox) == []
    outbox.answered(1)
    assert written(outbox) == [WINDOW_OPS + 1, WINDOW_OPS + 2]


def test_a_frame_says_what_was_answered_without_a_gap() -> None:
    outbox = Outbox()
    add(outbox, 5)
    written(outbox)
    for op_seq in (1, 2, 4):
        assert outbox.answered(op_seq) is not None
    assert outbox.answered(4) is None
    add(outbox, 1)
    assert fill(outbox).answered_op_seq == 2
    outbox.answered(3)
    add(outbox, 1)
    assert fill(outbox).answered_op_seq == 4


def test_a_frame_has_bounds_in_operations_and_in_bytes() -> None:
    outbox = Outbox()
    add(outbox, FRAME_OPS_MAX, "\U0001f600" * 1_500)
    frame = fill(outbox)
    assert 1 < len(frame.operations) < FRAME_OPS_MAX
    assert frame.ByteSize() <= FRAME_BYTES_MAX + 6_100
    outbox = Outbox()
    add(outbox, FRAME_OPS_MAX)
    other = pb.SessionRequest(operations=[pb.Operation()] * 24)
    outbox.fill(other)
    assert len(other.operations) == FRAME_OPS_MAX


def test_all_that_is_unanswered_is_written_again_in_order_before_what_is_new() -> None:
    outbox = Outbox()
    add(outbox, 5)
    written(outbox)
    outbox.answered(1)
    outbox.answered(3)
    add(outbox, 2)
    outbox.write_again()
    assert written(outbox) == [2, 4, 5, 6, 7]


def test_part_of_what_is_unanswered_is_written_again() -> None:
    outbox = Outbox()
    add(outbox, 6)
    written(outbox)
    outbox.write_again(3, 5)
    assert written(outbox) == [3, 4]


def test_what_is_answered_is_not_written_again() -> None:
    outbox = Outbox()
    add(outbox, 3)
    written(outbox)
    outbox.write_again()
    outbox.answered(2)
    assert written(outbox) == [1, 3]


def test_while_it_is_held_nothing_is_written() -> None:
    outbox = Outbox()
    add(outbox, 1)
    outbox.held = True
    assert written(outbox) == []
    outbox.held = False
    assert written(outbox) == [1]


def test_the_queue_is_bounded() -> None:
    outbox = Outbox()
    add(outbox, QUEUE_MAX)
    assert not outbox.has_room
    with pytest.raises(QueueFull):
        add(outbox, 1)


def test_the_deletion_of_the_account_is_an_operation_like_others() -> None:
    outbox = Outbox()
    outbox.add(Operation(None, "", Future()))
    (operation,) = fill(outbox).operations
    assert (operation.op_seq, operation.WhichOneof("kind")) == (1, "delete_account")


async def test_at_the_end_everybody_is_told() -> None:
    outbox = Outbox()
    loop = asyncio.get_running_loop()
    answers: list[asyncio.Future[Any]] = [loop.create_future() for _ in range(3)]
    for answer in answers:
        outbox.add(Operation("bob", "hi", answer))
    answers[2].cancel()
    written(outbox)
    outbox.fail_all(OSError("over"))
    assert not outbox
    for answer in answers[:2]:
        with pytest.raises(OSError, match="over"):
            await answer
