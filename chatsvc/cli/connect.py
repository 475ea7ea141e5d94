"""`chatsvc connect`: a chat by hand."""

import sys
from functools import partial

import click

from chatsvc.cli.options import option, server_options, user_option


@click.command(short_help="Chat by hand.")
@user_option("Who chats; an unknown name becomes an account.")
@option("--no-reconnect", is_flag=True, help="End when the connection is lost.")
@server_options
def connect(user: str, no_reconnect: bool, servers: tuple[str, ...] | None, give_up_s: float) -> int:
    """Chat: receive messages and send them, from a menu or with slash commands.

    Input that is not a terminal works too: the same lines, one after the other. At its end everything sent is waited
    for, then the user is logged out. This receives for the user, so it ends another `connect` or `tail` of the same
    name.

    \b
    Example:
      chatsvc connect --user alice
      printf '/send bob hello\\n/list\\n' | chatsvc connect --user alice
    """
    from chatsvc.client import Client

    log_in = partial(Client.connect, user, servers, reconnect=not no_reconnect, give_up_s=give_up_s)
    if sys.stdin.isatty() and sys.stdout.isatty():
        from chatsvc.cli.interactive import chat_on_screen

        return chat_on_screen(log_in)
    from chatsvc.cli.piped import chat_through_pipes

    return chat_through_pipes(log_in)
