"""`chatsvc serve`: a server in the foreground."""

import logging
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from chatsvc.cli.options import option

if TYPE_CHECKING:
    from chatsvc.server import Server

DEFAULT_LISTEN = "127.0.0.1:50051"
_FOUND_BY_DEFAULT = ("127.0.0.1:50051", "127.0.0.1:50052", "127.0.0.1:50053")


@click.command(short_help="Run a server.")
@option("--primary", is_flag=True, help="Start a cluster, or serve the one that the data directory holds.")
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
    listen: str,
    advertise: str | None,
    data_dir: Path | None,
    name: str | None,
    mode: str,
    insecure: bool,
    max_sessions: int,
    log_level: str,
) -> None:
    """Run a server until Ctrl-C or SIGTERM.

    What it has acknowledged is in its data directory; the same command serves it again, also after a crash.

    \b
    Example:
      chatsvc serve --primary
      chatsvc serve --primary --listen 127.0.0.1:50061 --data-dir ./chat
    """
    if not primary:
        raise click.UsageError("Say what this server is: --primary.")
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
        sessions_max=max_sessions,
    )
    run(settings, _say_how_to_connect)


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


def _say_how_to_connect(server: "Server") -> None:
    command = f"{_own_name()} connect --user alice"
    if server.address not in _FOUND_BY_DEFAULT:
        command += f" --server {server.address}"
    try:
        print(
            f"serving on {server.address}, data in {server.settings.data_dir}\n"
            f"chat, in another terminal:  {command}\n"
            "stop with Ctrl-C",
            flush=True,
        )
    except OSError:
        pass  # nobody reads it; the server serves all the same


def _own_name() -> str:
    """How this program is called from here."""
    called = sys.argv[0]
    on_path = shutil.which("chatsvc")
    if os.path.basename(called) != "chatsvc" or (on_path is not None and os.path.samefile(on_path, called)):
        return "chatsvc"
    relative = os.path.relpath(called)
    return os.path.abspath(called) if relative.startswith("..") else relative
