"""`chatsvc accounts`: who there is, and who is online."""

import click

from chatsvc.cli.options import Text, json_option, server_options
from chatsvc.cli.render import account_line, harmless, json_line


@click.command(short_help="List accounts and who is online.")
@click.argument("pattern", type=Text(), default="")
@json_option
@server_options
def accounts(pattern: str, as_json: bool, servers: tuple[str, ...] | None, give_up_s: float) -> None:
    """List the accounts whose names contain PATTERN, or all of them.

    With `*` or `?` in it, the pattern is for the whole name.

    \b
    Example:
      chatsvc accounts ali
      chatsvc accounts 'team-?' --json
    """
    from chatsvc.client import accounts as find_accounts

    found = find_accounts(pattern, servers=servers, give_up_s=give_up_s)
    for account in found:
        if as_json:
            print(json_line({"name": account.name, "online": account.online}), flush=True)
        else:
            print(account_line(account.name, account.online))
    if not found and not as_json:
        click.echo(f"no account matches {harmless(pattern)}" if pattern else "there are no accounts yet", err=True)
