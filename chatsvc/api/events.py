"""Outcomes as protobuf."""

from collections.abc import Iterable

from google.protobuf.timestamp_pb2 import Timestamp

from chatsvc.domain.outcomes import Message
from chatsvc.engine import AccountInfo
from chatsvc.v1 import chat_pb2 as pb


def timestamp(time_us: int) -> Timestamp:
    """Microseconds since the epoch as a Timestamp."""
    seconds, microseconds = divmod(time_us, 1_000_000)
    return Timestamp(seconds=seconds, nanos=microseconds * 1_000)


def fill_message(target: pb.Message, message: Message) -> None:
    """Set all fields of `target`.

    Field by field: that takes half the time of a constructor with keywords, and this is done for every message.
    """
    target.sender = message.author
    target.recipient = message.recipient
    target.text = message.text
    target.inbox_seq = message.inbox_seq
    target.conversation_seq = message.conversation_seq
    time_us = message.time_us
    sent_time = target.sent_time
    sent_time.seconds = time_us // 1_000_000
    sent_time.nanos = time_us % 1_000_000 * 1_000
    target.client_id = message.client_id
    target.op_seq = message.op_seq
    if message.author_deleted:
        target.sender_deleted = True


def to_messages(messages: Iterable[Message]) -> list[pb.Message]:
    """Messages of a page."""
    filled = []
    for message in messages:
        target = pb.Message()
        fill_message(target, message)
        filled.append(target)
    return filled


def to_accounts(accounts: Iterable[AccountInfo]) -> list[pb.Account]:
    """Accounts of a page."""
    return [
        pb.Account(name=account.user, online=account.online, created_time=timestamp(account.created_us))
        for account in accounts
    ]
