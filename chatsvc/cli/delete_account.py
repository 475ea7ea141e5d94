"""`chatsvc delete-account`: an account and its queue, gone."""

import sys

import click

from chatsvc.cli.failures import DONE, REFUSED, say
from chatsvc.cli.options import option, server_options, user_option
from chatsvc.cli.render import harmless


@click.command("delete-account", short_help="Delete an account and what waits for it.")
@user_option("Whose account.")
@option("--yes", is_flag=True, help="Do not ask.")
@server_options
def delete_account(user: str, yes: bool, servers: tuple[str, ...] | None, give_up_s: float) -> int:
    """Delete an account and the messages that wait for it.

    Messages it has sent are still delivered. Its name is free afterwards: who takes it gets nothing of the old account.

    \b
    Example:
      chatsvc delete-account --user alice --yes
    """
    if not yes and not _confirmed(user):
        return REFUSED
    from chatsvc.client import delete_account as delete

    delete(user, servers=servers, give_up_s=give_up_s)
    print(f"account {harmless(user)} is deleted")
    return DONE


def _confirmed(user: str) -> bool:
    if not sys.stdin.isatty():
        say("not deleted: say --yes to delete without being asked")
        return False
    question = f"Delete account {harmless(user)} and the messages that wait for it? (yes/no): "
    if input(question).strip().casefold() in ("yes", "y"):
        return True
    say("not deleted")
    return False
