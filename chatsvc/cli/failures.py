"""What is said when a command fails, and the exit status that goes with it."""

import sys
from typing import NamedTuple

import click

from chatsvc.cli.render import harmless
from chatsvc.cli.signals import Stopped

DONE = 0
REFUSED = 1
USAGE = 2
NO_SERVER = 3
BUG = 70
INTERRUPTED = 130
BROKEN_PIPE = 141


class Failure(NamedTuple):
    """How a command ends that did not do all it was asked to.

    Attributes:
        exit_status: of the process.
        line: what is said on stderr after `chatsvc: `; None: nothing.
    """

    exit_status: int
    line: str | None


def say(line: str) -> None:
    """One line on stderr. A stderr that nobody reads is no reason to fail."""
    try:
        print(f"chatsvc: {harmless(line)}", file=sys.stderr, flush=True)
    except (OSError, ValueError):
        pass


def failure_of(error: BaseException) -> Failure:
    """What this error means to a person; errors that no table knows are bugs."""
    match error:
        case Stopped():
            return Failure(128 + error.number, None)
        case KeyboardInterrupt() | click.Abort():
            return Failure(INTERRUPTED, None)
        case click.UsageError():
            return Failure(USAGE, _usage(error))
        case click.ClickException():
            return Failure(REFUSED, error.format_message())
        case BrokenPipeError():
            return Failure(BROKEN_PIPE, None)
        case OSError():
            return Failure(REFUSED, _input_or_output(error))
    return _chat_failure(error) or _server_failure(error) or Failure(BUG, _bug(error))


def _chat_failure(error: BaseException) -> Failure | None:
    from chatsvc.client import ConnectError, ConnectionLost, ForcedInVain, LoggedOut, ProtocolError, ServersGone
    from chatsvc.domain.errors import ChatError, NotPrimary, NotReady

    match error:
        case ConnectError() | ServersGone() | ConnectionLost() | ProtocolError() | NotPrimary() | NotReady():
            return Failure(NO_SERVER, str(error))
        case LoggedOut():
            return Failure(REFUSED, f"logged out: {error}")
        case ChatError() | ForcedInVain():
            return Failure(REFUSED, str(error))
        case _:
            return None


def _server_failure(error: BaseException) -> Failure | None:
    if "chatsvc.server" not in sys.modules:
        return None
    from chatsvc.server import StartError
    from chatsvc.storage import StorageError

    return Failure(REFUSED, str(error)) if isinstance(error, StartError | StorageError) else None


def _bug(error: BaseException) -> str:
    return f"this is a bug: {type(error).__name__}: {error} (CHATSVC_DEBUG=1 shows where)"


def _usage(error: click.UsageError) -> str:
    message = error.format_message().rstrip(".")
    return f"{message} (see {error.ctx.command_path} --help)" if error.ctx is not None else message


def _input_or_output(error: OSError) -> str:
    what = error.strerror or str(error) or type(error).__name__
    return f"{error.filename}: {what}" if error.filename else what
