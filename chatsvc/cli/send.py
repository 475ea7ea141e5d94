"""`chatsvc send`: one message, or a message for each line of standard input."""

import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from functools import partial
from queue import Queue
from typing import TYPE_CHECKING

import click

from chatsvc.cli.failures import DONE, REFUSED, say
from chatsvc.cli.lines import read_lines
from chatsvc.cli.options import Text, json_option, server_options, user_option
from chatsvc.cli.render import harmless, json_line
from chatsvc.cli.sessions import logged_in, send_when_there_is_room

if TYPE_CHECKING:
    from chatsvc.client import Client, Receipt

UNANSWERED_MAX = 4_096
"""Input is not read further while so many of its lines have no answer."""


@click.command(short_help="Send a message, or one a line of standard input.")
@user_option("Who sends; an unknown name becomes an account.")
@click.argument("to", type=Text())
@click.argument("text", type=Text())
@json_option
@server_options
def send(user: str, to: str, text: str, as_json: bool, servers: tuple[str, ...] | None, give_up_s: float) -> int:
    """Send TEXT to the user TO, who may be away.

    With `-` as TEXT, each line of standard input is a message, sent as soon as it is read. A line that is refused is
    reported on stderr, and the others go on. The command ends when everything sent can no longer be lost.

    \b
    Example:
      chatsvc send --user alice bob "hello there"
      tail -f events.log | chatsvc send --user reporter alice -
    """
    from chatsvc.client import Client

    with logged_in(partial(Client.connect, user, servers, receive=False, give_up_s=give_up_s)) as client:
        if text == "-":
            return _send_lines(client, to, as_json)
        receipt = client.send(to, text)
        if as_json:
            _print_receipt(receipt)
        elif receipt.recipient_online:
            print(f"sent to {harmless(to)}")
        else:
            print(f"{harmless(to)} is offline, will be delivered")
    return DONE


def _print_receipt(receipt: "Receipt") -> None:
    fields = {"op_id": receipt.op_id, "to": receipt.to, "conversation_seq": receipt.conversation_seq}
    print(json_line(fields), flush=True)


def _send_lines(client: "Client", to: str, as_json: bool) -> int:
    from chatsvc.client import SessionEnded
    from chatsvc.domain.errors import ChatError

    exit_status = DONE
    for number, sent in _sent_lines(client, to):
        try:
            receipt = sent.result()
        except SessionEnded:
            raise
        except ChatError as refusal:
            say(f"line {number}: {refusal}")
            exit_status = REFUSED
        else:
            if as_json:
                _print_receipt(receipt)
    return exit_status


def _sent_lines(client: "Client", to: str) -> "Iterator[tuple[int, Future[Receipt]]]":
    """Each line of standard input with its number, as soon as it is handed over.

    A thread reads, so that answers are shown while it waits for input. It ends with the program if the input does not.
    """
    handed: Queue[tuple[int, Future[Receipt]] | BaseException | None] = Queue(UNANSWERED_MAX)

    def read() -> None:
        try:
            for number, line in enumerate(read_lines(sys.stdin.fileno()), 1):
                handed.put((number, _send_line(client, to, line)))
            handed.put(None)
        except BaseException as error:
            handed.put(error)

    threading.Thread(target=read, name="chatsvc input", daemon=True).start()
    while (item := handed.get()) is not None:
        if isinstance(item, BaseException):
            raise item
        yield item


def _send_line(client: "Client", to: str, line: bytes) -> "Future[Receipt]":
    from chatsvc.domain.errors import InvalidText

    try:
        text = line.decode()
    except UnicodeDecodeError:
        refused: Future[Receipt] = Future()
        refused.set_exception(InvalidText("the text is not valid UTF-8"))
        return refused
    return send_when_there_is_room(client, to, text)
