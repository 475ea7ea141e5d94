"""`chatsvc history`: what two users have written to each other."""

import click

from chatsvc.cli.options import Text, json_option, option, server_options, user_option
from chatsvc.cli.render import history_lines, json_line, utc


@click.command(short_help="Show what two users have written to each other.")
@user_option("Whose history; an account is never made.")
@option("--with", "peer", required=True, metavar="NAME", type=Text(), help="The other user.")
@option("--limit", metavar="N", type=click.IntRange(min=1), default=20, show_default=True, help="The newest N.")
@option("--before", metavar="SEQ", type=click.IntRange(min=1), help="Only messages before this one of the list.")
@json_option
@server_options
def history(
    user: str,
    peer: str,
    limit: int,
    before: int | None,
    as_json: bool,
    servers: tuple[str, ...] | None,
    give_up_s: float,
) -> None:
    """Show the newest messages of a conversation, oldest first.

    Each line begins with the message's number in the conversation, which --before takes. Nothing is received by
    this, and nobody is logged out.

    \b
    Example:
      chatsvc history --user alice --with bob --limit 50
      chatsvc history --user alice --with bob --before 120 --json
    """
    from chatsvc.client import history as read_history

    messages = read_history(user, peer, limit, before or 0, servers=servers, give_up_s=give_up_s)
    if not as_json:
        for line in history_lines(messages):
            print(line)
        return
    for message in messages:
        fields = {
            "from": message.sender,
            "to": message.recipient,
            "text": message.text,
            "conversation_seq": message.conversation_seq,
            "time": utc(message.time),
            "op_id": message.op_id,
            "from_deleted": message.sender_deleted,
        }
        print(json_line(fields), flush=True)
