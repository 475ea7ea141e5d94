"""`chatsvc serve`: a server in the foreground."""

import logging
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from chatsvc.cli.options import Addresses, SecondsOrNever, option
from chatsvc.cli.render import harmless

if TYPE_CHECKING:
    from chatsvc.server import Server

DEFAULT_LISTEN = "127.0.0.1:50051"
_FOUND_BY_DEFAULT = ("127.0.0.1:50051", "127.0.0.1:50052", "127.0.0.1:50053")


@click.command(short_help="Run a server.")
@option("--primary", is_flag=True, help="Start a new cluster if the data directory is empty.")
@option("--backup", is_flag=True, help="Join a cluster, whose servers --join names.")
@option(
    "--join",
    metavar="HOST:PORT[,…]",
    type=Addresses(),
    help="Where servers of the cluster are. One that answers is enough, the others are learned from it.",
)
@option("--listen", metavar="HOST:PORT", default=DEFAULT_LISTEN, show_default=True, help="Where to listen.")
@option("--advertise", metavar="HOST:PORT", help="What clients are told to dial, if it is not --listen.")
@option(
    "--data-dir",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where everything is kept.  [default: ~/.local/share/chatsvc/PORT]",
)
@option("--name", metavar="NAME", help="A label for people.  [default: the address]")
@option(
    "--mode",
    type=click.Choice(["available"]),
    default="available",
    show_default=True,
    help="How the cluster decides when servers are missing.",
)
@option(
    "--isolated-promotion",
    "isolated_promotion_s",
    metavar="SECONDS|never",
    type=SecondsOrNever(),
    default="never",
    show_default=True,
    help="Silence of all others after which a server goes on alone. In a longer cut of the network both sides may "
    "then acknowledge, and what one side had acknowledged can be lost.",
)
@option("--insecure", is_flag=True, help="Listen beyond this machine although nothing is encrypted.")
@option(
    "--max-sessions",
    metavar="N",
    type=click.IntRange(min=1),
    default=10_000,
    show_default=True,
    help="Most sessions at once; the one too many is refused.",
)
@option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="warning",
    show_default=True,
    help="What is logged to stderr.",
)
def serve(
    primary: bool,
    backup: bool,
    join: tuple[str, ...] | None,
    listen: str,
    advertise: str | None,
    data_dir: Path | None,
    name: str | None,
    mode: str,
    isolated_promotion_s: float | None,
    insecure: bool,
    max_sessions: int,
    log_level: str,
) -> None:
    """Run a server until Ctrl-C or SIGTERM.

    What it has acknowledged is in its data directory. The same command serves every start, also after a crash: a
    server whose directory is not empty finds its cluster again, follows the primary that there is, or waits.

    \b
    Example, in three terminals:
      chatsvc serve --primary
      chatsvc serve --backup --join 127.0.0.1:50051 --listen 127.0.0.1:50052
      chatsvc serve --backup --join 127.0.0.1:50051,127.0.0.1:50052 --listen 127.0.0.1:50053
    """
    if primary == backup:
        raise click.UsageError("Say what this server is: --primary or --backup.")
    if backup and not join:
        raise click.UsageError("A backup needs --join HOST:PORT[,…].")
    logging.basicConfig(level=log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True)
    from chatsvc.server import ServerSettings, run

    _, port = _checked_address(listen, "'--listen'")
    if advertise is not None:
        _checked_address(advertise, "'--advertise'")
    if data_dir is None and port == 0:
        raise click.UsageError("With port 0, say where the data is: --data-dir DIR.")
    settings = ServerSettings(
        data_dir=data_dir or default_data_dir(port),
        listen=listen,
        advertise=advertise,
        name=name,
        insecure=insecure,
        found=primary,
        join=join or (),
        isolated_promotion_s=isolated_promotion_s,
        sessions_max=max_sessions,
    )
    run(settings, _Sayer().say)


def _checked_address(address: str, parameter: str) -> tuple[str, int]:
    from chatsvc.server import StartError, split_address

    try:
        return split_address(address)
    except StartError as error:
        raise click.BadParameter(f"{error}.", param_hint=parameter) from None


def default_data_dir(port: int) -> Path:
    """One directory a port, where a user's programs keep their data."""
    base = os.environ.get("XDG_DATA_HOME", "")
    return (Path(base) if os.path.isabs(base) else Path.home() / ".local" / "share") / "chatsvc" / str(port)


class _Sayer:
    """Says what the server is doing, and how to connect when it serves for the first time."""

    def __init__(self) -> None:
        self._has_said_how = False

    def say(self, server: "Server", condition: str) -> None:
        """One line for each new condition; a reader that is gone is no reason to stop serving."""
        lines = [condition]
        if not self._has_said_how and not condition.startswith("waiting"):
            self._has_said_how = True
            lines = [f"serving on {server.address}, data in {server.settings.data_dir}", condition]
            if condition.startswith("primary"):
                lines.append(f"chat, in another terminal:  {_how_to_connect(server.address)}")
            lines.append("stop with Ctrl-C")
        try:
            print("\n".join(map(harmless, lines)), flush=True)
        except OSError:
            pass


def _how_to_connect(address: str) -> str:
    command = f"{own_name()} connect --user alice"
    return command if address in _FOUND_BY_DEFAULT else f"{command} --server {address}"


def own_name() -> str:
    """How this program is called from here."""
    called = sys.argv[0]
    on_path = shutil.which("chatsvc")
    if os.path.basename(called) != "chatsvc" or (on_path is not None and os.path.samefile(on_path, called)):
        return "chatsvc"
    relative = os.path.relpath(called)
    return os.path.abspath(called) if relative.startswith("..") else relative
