"""What was received, and what of it was acknowledged."""

import pytest

from chatsvc.client.errors import ProtocolError
from chatsvc.client.inbox import UNACKNOWLEDGED_MAX, Inbox
from chatsvc.v1 import chat_pb2 as pb


def started(cursor: int = 0, last: int = 0) -> Inbox:
    inbox = Inbox()
    inbox.start(pb.Welcome(acknowledged_inbox_seq=cursor, last_inbox_seq=last))
    return inbox


def take(inbox: Inbox, *inbox_seqs: int) -> list[int]:
    messages = [inbox.take(pb.Message(inbox_seq=seq)) for seq in inbox_seqs]
    return [message.inbox_seq for message in messages if message is not None]


def acknowledged(inbox: Inbox) -> int:
    frame = pb.SessionRequest()
    inbox.fill(frame)
    return sum(operation.acknowledge.inbox_seq for operation in frame.operations)


def test_messages_come_out_from_behind_the_cursor() -> None:
    assert take(started(cursor=3, last=5), 4, 5) == [4, 5]


def test_what_was_received_is_dropped_when_it_is_pushed_again() -> None:
    inbox = started()
    assert take(inbox, 1, 2, 3) == [1, 2, 3]
    inbox.start(pb.Welcome(acknowledged_inbox_seq=0, last_inbox_seq=4))
    assert take(inbox, 1, 2, 3, 4) == [4]


def test_a_message_that_is_left_out_is_not_passed_over_in_silence() -> None:
    inbox = started()
    take(inbox, 1)
    with pytest.raises(ProtocolError, match="message 2 was left out: 3 came"):
        take(inbox, 3)


def test_a_server_that_does_not_wait_for_acknowledgements_is_found_out() -> None:
    inbox = started()
    take(inbox, *range(1, UNACKNOWLEDGED_MAX + 1))
    with pytest.raises(ProtocolError, match="without an acknowledgement"):
        take(inbox, UNACKNOWLEDGED_MAX + 1)


def test_acknowledgements_are_cumulative_and_told_once() -> None:
    inbox = started()
    take(inbox, 1, 2, 3)
    inbox.acknowledge(2)
    inbox.acknowledge(1)
    assert (inbox.unsent, acknowledged(inbox)) == (2, 2)
    assert (inbox.unsent, acknowledged(inbox)) == (0, 0)


def test_what_was_not_received_can_not_be_acknowledged() -> None:
    with pytest.raises(ValueError, match="message 1 was not received"):
        started().acknowledge(1)


def test_a_new_stream_is_told_only_of_what_it_has_pushed() -> None:
    inbox = started()
    take(inbox, 1, 2, 3)
    inbox.acknowledge(1)
    inbox.start(pb.Welcome(acknowledged_inbox_seq=0, last_inbox_seq=3))  # which takes 1 from the login
    inbox.acknowledge(3)
    assert acknowledged(inbox) == 0
    take(inbox, 2)
    assert acknowledged(inbox) == 2
    take(inbox, 3)
    assert acknowledged(inbox) == 3


def test_after_a_loss_in_the_cluster_new_messages_are_taken_for_new() -> None:
    inbox = started()
    take(inbox, 1, 2, 3)
    inbox.acknowledge(3)
    inbox.start(pb.Welcome(acknowledged_inbox_seq=1, last_inbox_seq=2))
    assert take(inbox, 3) == [3]
