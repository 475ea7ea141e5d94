"""What the commands' options have in common: each may come from the environment, addresses, names, output."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])

GIVE_UP_S = 30.0


class Text(click.ParamType[str]):
    """Any text; bytes that are no text are refused as such, not sent on."""

    name = "text"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The text itself."""
        try:
            value.encode()
        except UnicodeEncodeError:
            raise click.ClickException(f"{_label(param)} is not valid UTF-8: {value}") from None
        return value


class Addresses(click.ParamType[tuple[str, ...]]):
    """One HOST:PORT or several with commas between them."""

    name = "addresses"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """The addresses, at least one."""
        from chatsvc.client.addresses import parse_servers

        try:
            return value if isinstance(value, tuple) else parse_servers(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class SecondsOrNever(click.ParamType[float | None]):
    """A number of seconds above 0, or the word `never`."""

    name = "seconds or never"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float | None:
        """The seconds; None for `never`."""
        if value is None or value == "never":
            return None
        return click.FloatRange(min=0, min_open=True).convert(value, param, ctx)


def _label(param: click.Parameter | None) -> str:
    return param.get_error_hint(None).strip("'") if param is not None else "a value"


def option(*names: str, env: str | Sequence[str] | None = None, **settings: Any) -> Callable[[Command], Command]:
    """A `click.option` that also comes from the environment: `--data-dir` from CHATSVC_DATA_DIR, unless `env` says
    otherwise.
    """
    long = next(name for name in names if name.startswith("--"))
    envvar = env or "CHATSVC_" + long.removeprefix("--").split("/")[0].upper().replace("-", "_")
    settings.setdefault("show_envvar", True)
    return click.option(*names, envvar=envvar, **settings)


def user_option(meaning: str) -> Callable[[Command], Command]:
    """`--user`."""
    return option("--user", required=True, metavar="NAME", type=Text(), help=meaning)


def json_option(command: Command) -> Command:
    """`--json`."""
    return option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")(command)


def servers_option(command: Command) -> Command:
    """`--server`."""
    return option(
        "--server",
        "servers",
        env=("CHATSVC_SERVERS", "CHATSVC_SERVER"),
        metavar="HOST:PORT[,…]",
        type=Addresses(),
        help="Where servers are. One that answers is enough, the others are learned from it.  "
        "[default: 127.0.0.1:50051,127.0.0.1:50052,127.0.0.1:50053]",
    )(command)


def server_options(command: Command) -> Command:
    """`--server` and `--give-up`, which every command has that needs a primary."""
    command = option(
        "--give-up",
        "give_up_s",
        metavar="SECONDS",
        type=click.FloatRange(min=0, min_open=True),
        default=GIVE_UP_S,
        show_default=True,
        help="End when no primary has answered for so long.",
    )(command)
    return servers_option(command)
