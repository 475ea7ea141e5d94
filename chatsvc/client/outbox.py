"""What a session has to say, and what of it is not answered yet.

Pure: no clock and no I/O. `Outbox` holds the operations with op seqs: sends and the deletion of the account.

    waiting    taken from the application, without a number yet; may still be withdrawn
    in flight  numbered and written at least once, not answered; written again, in order, until it is

The numbers are dense, so an operation that has one is never withdrawn. The window (from the lowest operation
without an answer to the highest number given) is as wide as the answers that a server keeps for repetitions.
"""

from collections import deque
from typing import Any, Protocol

from chatsvc.client.errors import QueueFull
from chatsvc.domain.limits import WINDOW_OPS
from chatsvc.v1 import chat_pb2 as pb

QUEUE_MAX = 4_096
"""Most operations that wait to be written for the first time."""

FRAME_OPS_MAX = 1_024
"""Most operations in a frame."""

FRAME_BYTES_MAX = 1024 * 1024
"""Of a frame. Counted as four bytes a character, so that nothing has to be encoded twice."""

OPERATION_BYTES = 32
"""More than an operation takes beside its texts."""


class Answer(Protocol):
    """Where an answer goes: an `asyncio.Future` or a `concurrent.futures.Future`."""

    def done(self) -> bool:
        """Whether nobody waits any more."""

    def set_result(self, result: Any, /) -> None:
        """It was carried out."""

    def set_exception(self, error: BaseException, /) -> None:
        """It was refused, or its outcome is not known."""


class Operation:
    """A send, or the deletion of the account if `to` is None.

    Attributes:
        to, text: of a send.
        answer: where the answer goes.
        op_seq: its number; 0 while it has none.
    """

    __slots__ = ("answer", "op_seq", "text", "to")

    def __init__(self, to: str | None, text: str, answer: Answer) -> None:
        self.to, self.text, self.answer = to, text, answer
        self.op_seq = 0

    def fail(self, error: BaseException) -> None:
        """Give the error as the answer."""
        if not self.answer.done():
            self.answer.set_exception(error)


class Outbox:
    """See the module.

    Attributes:
        waiting: operations without a number, in order.
        in_flight: operations without an answer, by op seq.
        next_op_seq: the number that is given next.
        first_unanswered: lowest op seq without an answer; `next_op_seq` if all were answered.
        held: True: nothing with an op seq is written for now.
    """

    def __init__(self) -> None:
        self.waiting: deque[Operation] = deque()
        self.in_flight: dict[int, Operation] = {}
        self.next_op_seq = self.first_unanswered = 1
        self.held = False
        self._again: set[int] = set()  # in flight, to be written once more

    def __bool__(self) -> bool:
        """Whether anything has no answer yet."""
        return bool(self.in_flight or self.waiting)

    def add(self, operation: Operation, *, bounded: bool = True) -> None:
        """Take an operation.

        Raises:
            QueueFull: `bounded`, and too many wait.
        """
        if bounded and not self.has_room:
            raise QueueFull(f"{QUEUE_MAX:,} operations wait to be sent")
        self.waiting.append(operation)

    @property
    def has_room(self) -> bool:
        """Whether `add` takes another operation."""
        return len(self.waiting) < QUEUE_MAX

    @property
    def writable(self) -> bool:
        """Whether `fill` would add anything now."""
        if self.held:
            return False
        return bool(self._again) or (bool(self.waiting) and self.next_op_seq - self.first_unanswered < WINDOW_OPS)

    def fill(self, frame: pb.SessionRequest) -> None:
        """Add what may be written now, as far as it fits: first what is written again, then what is new."""
        if self.held:
            return
        frame.answered_op_seq = self.first_unanswered - 1
        add = frame.operations.add
        room, bytes_left = FRAME_OPS_MAX - len(frame.operations), FRAME_BYTES_MAX
        for op_seq in sorted(self._again):
            if room <= 0 or bytes_left <= 0:
                return
            bytes_left -= _write(self.in_flight[op_seq], add())
            self._again.discard(op_seq)
            room -= 1
        room = min(room, WINDOW_OPS - (self.next_op_seq - self.first_unanswered))
        waiting, in_flight = self.waiting, self.in_flight
        while room > 0 and bytes_left > 0 and waiting:
            operation = waiting.popleft()
            if operation.answer.done():  # withdrawn in time
                continue
            op_seq = operation.op_seq = self.next_op_seq
            self.next_op_seq = op_seq + 1
            in_flight[op_seq] = operation
            bytes_left -= _write(operation, add())
            room -= 1

    def answered(self, op_seq: int) -> Operation | None:
        """The operation that was answered; None if it had been answered before."""
        operation = self.in_flight.pop(op_seq, None)
        if operation is None:
            return None
        self._again.discard(op_seq)
        if op_seq == self.first_unanswered:
            in_flight, end = self.in_flight, self.next_op_seq
            op_seq += 1
            while op_seq < end and op_seq not in in_flight:
                op_seq += 1
            self.first_unanswered = op_seq
        return operation

    def write_again(self, first_op_seq: int = 1, end_op_seq: int | None = None) -> None:
        """Write once more what has no answer, by default all of it."""
        self._again.update(
            op_seq
            for op_seq in self.in_flight
            if op_seq >= first_op_seq and (end_op_seq is None or op_seq < end_op_seq)
        )

    def fail_all(self, error: BaseException) -> None:
        """Give the error as the answer to everything."""
        operations = [*self.in_flight.values(), *self.waiting]
        self.in_flight.clear()
        self.waiting.clear()
        self._again.clear()
        for operation in operations:
            operation.fail(error)


def _write(operation: Operation, target: pb.Operation) -> int:
    """Set all fields of `target`; returns how many bytes that may take."""
    target.op_seq = operation.op_seq
    to, text = operation.to, operation.text
    if to is None:
        target.delete_account.SetInParent()
        return OPERATION_BYTES
    send = target.send
    send.to = to
    send.text = text
    return 4 * (len(to) + len(text)) + OPERATION_BYTES
