"""Sessions of commands: begun with the options that all have, ended in a proper way whatever happens."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from chatsvc.cli.signals import Stopped

if TYPE_CHECKING:
    from chatsvc.client import Client, Receipt


LEAVE_S = 1.0
"""Longest wait for a log out that nobody waits for: at Ctrl-C, and when nobody reads the output."""


def leave(client: "Client") -> None:
    """Log out, if that can be done within `LEAVE_S`."""

    def log_out() -> None:
        with suppress(Exception):  # the session was over already, or is closed meanwhile
            client.logout()

    thread = threading.Thread(target=log_out, name="chatsvc log out", daemon=True)
    thread.start()
    thread.join(LEAVE_S)


@contextmanager
def logged_in(log_in: "Callable[[], Client]") -> "Iterator[Client]":
    """A session for the length of the block.

    At the end of the block it is logged out: everything sent is answered then, and what was acknowledged can no
    longer be lost. When the block is left because of a signal or because nobody reads the output, it is logged out
    if that can be done at once.
    """
    with log_in() as client:
        try:
            yield client
        except (Stopped, BrokenPipeError):
            leave(client)
            raise
        client.logout()


def send_when_there_is_room(client: "Client", to: str, text: str) -> "Future[Receipt]":
    """Send a message; waits while too many others wait to be sent."""
    from chatsvc.client import QueueFull

    while True:
        try:
            return client.send_nowait(to, text)
        except QueueFull:
            client.room()
