"""Sessions of commands: begun with the options that all have, ended in a proper way whatever happens."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from chatsvc.cli.signals import Stopped

if TYPE_CHECKING:
    from chatsvc.client import Client


def leave(client: "Client") -> None:
    """Log out, unless there is no connection: nobody waits for one at the end of a program."""
    from chatsvc.client import State

    if client.state is State.CONNECTED:
        client.logout()


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
