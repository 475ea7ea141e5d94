"""What a session has received, and what of it the application has acknowledged.

Pure: no clock and no I/O. Each message reaches the application once and in order, whatever a server pushes again
after a reconnect. Invariant: acknowledged <= received, and acknowledgements that were sent <= pushed.
"""

import logging

from chatsvc.client.errors import ProtocolError
from chatsvc.client.values import Message, to_message
from chatsvc.v1 import chat_pb2 as pb

log = logging.getLogger(__name__)

UNACKNOWLEDGED_MAX = 4_096
"""Most messages held for the application. A server pushes far fewer without an acknowledgement."""


class Inbox:
    """See the module.

    Attributes:
        received: highest inbox_seq that was given to the application.
        acknowledged: highest inbox_seq that the application is done with.
        pushed: highest inbox_seq that this stream has pushed; only up to here may this stream acknowledge.
        sent: highest inbox_seq that was acknowledged on this stream.
    """

    def __init__(self) -> None:
        self.received = self.acknowledged = 0
        self.pushed = self.sent = 0
        self._started = False

    def start(self, welcome: pb.Welcome) -> None:
        """A stream has begun. It pushes what is behind the cursor or behind `acknowledged`, whichever is higher."""
        cursor, last = welcome.acknowledged_inbox_seq, welcome.last_inbox_seq
        if not self._started:
            self._started = True
            self.received = self.acknowledged = cursor
        elif last < self.received:
            # Only a cluster that lost what it had acknowledged can say that. What it sends from here on is new.
            log.warning("the inbox ends at %d now, %d messages had been received", last, self.received)
            self.received, self.acknowledged = last, min(self.acknowledged, last)
        self.pushed = self.sent = min(max(cursor, self.acknowledged), last)

    def take(self, pushed: pb.Message) -> Message | None:
        """A message that was pushed, if the application has not had it yet.

        Raises:
            ProtocolError: one was left out, or far too many came.
        """
        inbox_seq = pushed.inbox_seq
        self.pushed = max(self.pushed, inbox_seq)
        if inbox_seq <= self.received:
            return None
        if inbox_seq != self.received + 1:
            raise ProtocolError(f"message {self.received + 1} was left out: {inbox_seq} came in its place")
        if inbox_seq - self.acknowledged > UNACKNOWLEDGED_MAX:
            raise ProtocolError(f"more than {UNACKNOWLEDGED_MAX:,} messages came without an acknowledgement")
        self.received = inbox_seq
        return to_message(pushed)

    def acknowledge(self, inbox_seq: int) -> None:
        """The application is done with every message up to this one. Never goes back.

        Raises:
            ValueError: that message was not received.
        """
        if inbox_seq > self.received:
            raise ValueError(f"message {inbox_seq} was not received, the last one is {self.received}")
        self.acknowledged = max(self.acknowledged, inbox_seq)

    @property
    def unsent(self) -> int:
        """How many acknowledgements the server could be told now."""
        return min(self.acknowledged, self.pushed) - self.sent

    def fill(self, frame: pb.SessionRequest) -> None:
        """Add what the server has not been told, if there is any."""
        if self.unsent > 0:
            self.sent = min(self.acknowledged, self.pushed)
            frame.operations.add().acknowledge.inbox_seq = self.sent
