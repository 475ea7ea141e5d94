"""All commands under one name, and the one place where errors end."""

import logging
import os
import sys
import traceback
from collections.abc import Sequence
from importlib import metadata

import click
from click.shell_completion import shell_complete

from chatsvc.cli.accounts import accounts
from chatsvc.cli.bench import bench
from chatsvc.cli.cluster import cluster
from chatsvc.cli.connect import connect
from chatsvc.cli.delete_account import delete_account
from chatsvc.cli.dev import dev
from chatsvc.cli.failures import DONE, USAGE, failure_of, say
from chatsvc.cli.history import history
from chatsvc.cli.send import send
from chatsvc.cli.serve import serve
from chatsvc.cli.signals import stop_on_signals
from chatsvc.cli.status import status
from chatsvc.cli.tail import tail

NAME = "chatsvc"


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


for command in (serve, dev, connect, send, tail, history, accounts, delete_account, status, cluster, bench):
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
        exit_status = _run(sys.argv[1:] if arguments is None else list(arguments))
        sys.stdout.flush()
        return exit_status
    except BaseException as error:  # the outermost place: whatever it is, it ends the process here
        failure = failure_of(error)
        if debug:
            traceback.print_exc()
        if failure.line is not None:
            say(failure.line)
        _drop_output()
        return failure.exit_status


def _run(arguments: list[str]) -> int:
    """Like `click.Command.main`, which has views of its own on broken pipes and interrupts."""
    completion = os.environ.get("_CHATSVC_COMPLETE")
    if completion:
        return shell_complete(program, {}, NAME, "_CHATSVC_COMPLETE", completion)
    try:
        with program.make_context(NAME, arguments) as context:
            return program.invoke(context) or DONE
    except click.exceptions.NoArgsIsHelpError as nothing_asked:
        click.echo(nothing_asked.format_message(), err=True)
        return USAGE
    except click.exceptions.Exit as end:
        return end.exit_code


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


def _drop_output() -> None:
    """Bring out what is buffered, or see that Python does not complain at exit about what can't be."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 1)
