"""All commands under one name, and the one place where errors end."""

import logging
import os
import sys
import traceback
from collections.abc import Sequence
from importlib import metadata

import click

from chatsvc.cli.accounts import accounts
from chatsvc.cli.connect import connect
from chatsvc.cli.delete_account import delete_account
from chatsvc.cli.dev import dev
from chatsvc.cli.failures import DONE, failure_of, say
from chatsvc.cli.history import history
from chatsvc.cli.send import send
from chatsvc.cli.serve import serve
from chatsvc.cli.signals import stop_on_signals
from chatsvc.cli.status import status
from chatsvc.cli.tail import tail


def _show_version(context: click.Context, parameter: click.Parameter, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        click.echo(f"chatsvc {metadata.version('chatsvc')}")
        context.exit()


@click.group(
    epilog="Every option also comes from the environment, as its help says. "
    "Exit status: 0 done, 1 refused, 2 wrong usage, 3 no server or no primary.",
    context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "CHATSVC", "max_content_width": 110},
)
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_show_version, help="Show it.")
def program() -> None:
    """Chat by user name: messages to people who are away wait for them.

    \b
    Example, in three terminals:
      chatsvc serve --primary
      chatsvc connect --user alice
      chatsvc connect --user bob
    """


for command in (serve, dev, connect, send, tail, history, accounts, delete_account, status):
    program.add_command(command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: those of the command line; None: the process's own.

    Returns:
        The exit status. Nothing is raised: what went wrong is one line on stderr.
    """
    debug = bool(os.environ.get("CHATSVC_DEBUG"))
    _prepare_streams()
    _prepare_logging(debug)
    stop_on_signals()
    try:
        exit_status = program.main(arguments, prog_name="chatsvc", standalone_mode=False)
        _flush_output()
        return exit_status or DONE
    except BaseException as error:  # the outermost place: whatever it is, it ends the process here
        failure = failure_of(error)
        if debug:
            traceback.print_exc()
        if failure.line is not None:
            say(failure.line)
        _drop_output()
        return failure.exit_status


def _prepare_streams() -> None:
    """Give the program all three streams, each able to write any text.

    One that is closed is like /dev/null: otherwise its number is given to the next file or connection that is opened.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 - it stays open
        elif mode == "w" and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # where the locale has no way to write a character


def _prepare_logging(debug: bool) -> None:
    """What a command has to say it says itself; the libraries under it are heard when a bug is looked for."""
    if debug:
        logging.basicConfig(level=logging.DEBUG)
    else:
        logging.basicConfig(handlers=[logging.NullHandler()])
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")


def _flush_output() -> None:
    sys.stdout.flush()


def _drop_output() -> None:
    """Bring out what is buffered, or see that Python does not complain at exit about what can't be."""
    try:
        _flush_output()
    except (OSError, ValueError):
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 1)
