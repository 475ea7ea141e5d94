"""`chatsvc tail`: messages as they come, each acknowledged once it is out."""

import sys
from functools import partial
from itertools import chain, islice
from typing import TYPE_CHECKING

import click

from chatsvc.cli.options import json_option, option, server_options, user_option
from chatsvc.cli.render import json_line, message_line, utc
from chatsvc.cli.sessions import logged_in
from chatsvc.cli.signals import ReaderWatch, postponed

if TYPE_CHECKING:
    from chatsvc.client import Message


@click.command(short_help="Print messages as they come.")
@user_option("Who receives; an unknown name becomes an account.")
@option("--count", metavar="N", type=click.IntRange(min=1), help="End after N messages.")
@option("--timeout", "timeout_s", metavar="S", type=click.FloatRange(min=0), help="End after S seconds without one.")
@json_option
@server_options
def tail(
    user: str,
    count: int | None,
    timeout_s: float | None,
    as_json: bool,
    servers: tuple[str, ...] | None,
    give_up_s: float,
) -> None:
    """Print messages as they come, first those that have waited.

    A message counts as delivered once its line is out. This receives for the user, so it ends another `tail` or
    `connect` of the same name.

    \b
    Example:
      chatsvc tail --user bob
      chatsvc tail --user bob --json --count 10 --timeout 60
    """
    from chatsvc.client import Client

    render = _as_json if as_json else message_line
    output_fd = sys.stdout.fileno()
    with logged_in(partial(Client.connect, user, servers, give_up_s=give_up_s)) as client:
        messages = chain(
            islice(client.messages(acknowledge=False), client.waiting),  # these come, however short the timeout
            client.messages(acknowledge=False, timeout_s=timeout_s),
        )
        shown = 0
        with ReaderWatch(output_fd) as reader:
            while shown != count:
                with reader.waiting():
                    message = next(messages, None)
                if message is None:
                    break
                line = render(message)
                with postponed(output_fd):
                    print(line, flush=True)
                    client.acknowledge(message)
                shown += 1


def _as_json(message: "Message") -> str:
    return json_line(
        {
            "from": message.sender,
            "to": message.recipient,
            "text": message.text,
            "inbox_seq": message.inbox_seq,
            "conversation_seq": message.conversation_seq,
            "time": utc(message.time),
            "op_id": message.op_id,
        }
    )
