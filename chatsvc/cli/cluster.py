"""`chatsvc cluster`: decisions of those who run a cluster."""

import sys

import click

from chatsvc.cli.failures import DONE, NO_SERVER, REFUSED, say
from chatsvc.cli.options import option
from chatsvc.cli.render import harmless


@click.group(short_help="Decide for a cluster what it may not decide itself.")
def cluster() -> None:
    """Decide for a cluster what it may not decide itself.

    \b
    Example:
      chatsvc cluster force-promote --server 127.0.0.1:50052
    """


@cluster.command("force-promote", short_help="Make a waiting server the primary, whatever is lost by that.")
@option("--server", "address", env="CHATSVC_FORCE_SERVER", metavar="HOST:PORT", required=True, help="Which server.")
@option("--yes", is_flag=True, env="CHATSVC_FORCE_YES", help="Do not ask.")
def force_promote(address: str, yes: bool) -> int:
    """Make a waiting server the primary although those it waits for have not answered.

    For the case that they will never come back. What they had acknowledged and this server does not have is lost, and
    the cluster is marked as forced for ever. A server that comes back all the same follows, and gives up what only it
    had.

    \b
    Example:
      chatsvc cluster force-promote --server 127.0.0.1:50052
    """
    from chatsvc.client import force_promote as force
    from chatsvc.client import status

    found = status([address])
    own = next((member for member in found.members if member.address == address), None)
    if own is None or own.role == "unreachable":
        say(f"no server answers at {address}")
        return NO_SERVER
    missing = ", ".join(own.waiting_for) or "nobody that it knows of"
    name = harmless(own.name)
    print(f"{name} has entries up to {own.durable_index} on its disk and waits for {harmless(missing)}.")
    print("What others have acknowledged and it does not have will be lost.", flush=True)
    if not yes and not _confirmed():
        return REFUSED
    epoch = force(address)
    print(f"{name} is the primary, epoch {epoch}; the cluster is marked as forced")
    return DONE


def _confirmed() -> bool:
    if not sys.stdin.isatty():
        say("not done: say --yes to do it without being asked")
        return False
    try:
        if input("Make it the primary? (yes/no): ").strip().casefold() in ("yes", "y"):
            return True
    except EOFError:
        print()
    say("not done")
    return False
