"""All commands: their help, where options come from, and how they end when they can't do what they should."""

import resource
import signal
import socket
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click
import pytest

from chatsvc.cli.failures import failure_of
from chatsvc.cli.program import main, program
from chatsvc.cli.signals import STOPPING, Stopped
from chatsvc.client import ConnectError, LoggedOut, LogoutReason, ServersGone
from chatsvc.domain.errors import ERROR_OF, NotPrimary, NotReady

if TYPE_CHECKING:
    from tests.cli.conftest import Cluster, Commands


def _leaves(group: click.Group, prefix: str = "") -> dict[str, click.Command]:
    found: dict[str, click.Command] = {}
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            found |= _leaves(command, f"{prefix}{name} ")
        else:
            found[prefix + name] = command
    return found


EVERY_COMMAND = _leaves(program)
"""By the words that call it."""

TALKING = {
    "connect": ["connect", "--user", "alice"],
    "send": ["send", "--user", "alice", "bob", "hi"],
    "tail": ["tail", "--user", "alice"],
    "bench": ["bench"],
    "history": ["history", "--user", "alice", "--with", "bob"],
    "accounts": ["accounts"],
    "delete-account": ["delete-account", "--user", "alice", "--yes"],
}
"""Commands that need a primary."""


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    """`main` takes signals for itself, as it may in a process of its own."""
    handlers = {number: signal.getsignal(number) for number in STOPPING}
    yield
    signal.set_wakeup_fd(-1)
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def free_port() -> Iterator[int]:
    """A port on which nobody listens, and nobody will for now."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def test_these_commands_are_there() -> None:
    assert EVERY_COMMAND.keys() >= {*TALKING, "serve", "status"}


@pytest.mark.parametrize("name", EVERY_COMMAND)
def test_every_command_has_help_with_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*name.split(), "--help"]) == 0
    shown = capsys.readouterr()
    assert f"Usage: chatsvc {name} " in shown.out
    assert f"  chatsvc {name}" in shown.out.partition("Example")[2]
    assert shown.err == ""


@pytest.mark.parametrize("name", EVERY_COMMAND)
def test_every_option_has_help_and_comes_from_the_environment(name: str) -> None:
    for parameter in EVERY_COMMAND[name].params:
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter.name
            assert parameter.envvar, parameter.name
            names = [parameter.envvar] if isinstance(parameter.envvar, str) else parameter.envvar
            assert all(variable.startswith("CHATSVC_") for variable in names)
            assert parameter.show_envvar


def test_help_of_the_program_is_there_at_once(commands: "Commands") -> None:
    durations = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        result = commands.run("--help")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert result.status == 0
        assert all(name in result.output for name in program.commands)
        durations.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(durations) < 0.4  # of a processor; on an idle one, 0.2 s


def test_help_loads_nothing_that_takes_time(commands: "Commands") -> None:
    result = commands.shell(
        "chatsvc --version && python3 -V >/dev/null; "
        + "PYTHONPROFILEIMPORTTIME=1 chatsvc --help 2>&1 >/dev/null | grep -cE ' (grpc|prompt_toolkit|apsw|google)$'"
    )
    assert result.lines[0].startswith("chatsvc ")
    assert result.lines[-1] == "0"


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["chat"], id="unknown command"),
        pytest.param(["send", "--user", "alice", "bob"], id="missing argument"),
        pytest.param(["send", "bob", "hi"], id="missing option"),
        pytest.param(["accounts", "--colour"], id="unknown option"),
        pytest.param(["tail", "--user", "bob", "--count", "many"], id="no number"),
        pytest.param(["tail", "--user", "bob", "--count", "0"], id="number out of range"),
        pytest.param(["history", "--user", "a", "--with", "b", "--limit", "0"], id="no message asked for"),
        pytest.param(["accounts", "--server", "localhost"], id="address without port"),
        pytest.param(["accounts", "--server", "localhost:99999"], id="port out of range"),
        pytest.param(["accounts", "--server", ","], id="no address"),
        pytest.param(["serve"], id="server without a role"),
        pytest.param(["serve", "--primary", "--backup"], id="server with two roles"),
        pytest.param(["serve", "--backup"], id="backup of nobody"),
        pytest.param(["serve", "--backup", "--join", "here"], id="join without port"),
        pytest.param(["serve", "--primary", "--listen", "50051"], id="listen without host"),
        pytest.param(["serve", "--primary", "--advertise", "here"], id="advertise without port"),
        pytest.param(["serve", "--primary", "--listen", "127.0.0.1:0"], id="free port without directory"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    (line,) = shown.err.splitlines()
    assert line.startswith("chatsvc: ")


@pytest.mark.parametrize("name", EVERY_COMMAND)
def test_every_command_is_documented_with_an_example(name: str, pytestconfig: pytest.Config) -> None:
    text = (pytestconfig.rootpath / "docs" / "cli.md").read_text()
    section = text.partition(f"\n## {name.split()[0]}\n")[2].partition("\n## ")[0]
    assert f"\nchatsvc {name}" in section
    for parameter in EVERY_COMMAND[name].params:
        if isinstance(parameter, click.Option):
            assert f"{parameter.opts[0]}" in text, parameter.opts


def test_no_command_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "Usage: chatsvc" in "".join(capsys.readouterr())


@pytest.mark.parametrize("error", ERROR_OF.values(), ids=lambda error: error.__name__)
def test_every_refusal_is_one_line_and_status_1_or_without_a_primary_3(error: type[Exception]) -> None:
    status, line = failure_of(error("said in words"))
    assert status == (3 if error in (NotPrimary, NotReady) else 1)
    assert line == "said in words"


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        pytest.param(
            ConnectError("h:1", "connection refused"), 3, "Error connecting to h:1: connection refused", id="no server"
        ),
        pytest.param(
            ServersGone("gone"), 3, "Server shut down prematurely, so logging you out.", id="servers gone for good"
        ),
        pytest.param(LoggedOut(LogoutReason.REPLACED, "by another"), 1, "logged out: by another", id="another login"),
        pytest.param(KeyboardInterrupt(), 130, None, id="interrupted"),
        pytest.param(Stopped(2), 130, None, id="interrupted by a signal"),
        pytest.param(Stopped(15), 143, None, id="terminated"),
        pytest.param(BrokenPipeError(), 141, None, id="nobody reads"),
        pytest.param(OSError(28, "No space left on device"), 1, "No space left on device", id="disk full"),
        pytest.param(OSError(13, "Permission denied", "x"), 1, "x: Permission denied", id="file"),
    ],
)
def test_an_error_becomes_a_status_and_a_line(error: BaseException, status: int, line: str | None) -> None:
    assert failure_of(error) == (status, line)


def test_a_bug_is_one_line_and_status_70(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def crash(*arguments: object, **options: object) -> None:
        raise ZeroDivisionError("a\nb")

    monkeypatch.setattr(program.commands["accounts"], "callback", crash)
    monkeypatch.delenv("CHATSVC_DEBUG", raising=False)
    assert main(["accounts"]) == 70
    (line,) = capsys.readouterr().err.splitlines()
    assert "ZeroDivisionError" in line
    monkeypatch.setenv("CHATSVC_DEBUG", "1")
    assert main(["accounts"]) == 70
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize("name", TALKING)
def test_no_server_is_said_within_seconds_with_status_3(name: str, commands: "Commands", free_port: int) -> None:
    start = time.monotonic()
    result = commands.run(*TALKING[name], "--server", f"127.0.0.1:{free_port}")
    assert time.monotonic() - start < 20  # 5 s on a machine that has nothing else to do
    assert result.status == 3
    assert result.output == ""
    (line,) = result.error_lines
    assert line.startswith(f"chatsvc: Error connecting to 127.0.0.1:{free_port}: ")
    assert "refused" in line


def test_a_host_that_does_not_exist_is_said_with_status_3(commands: "Commands") -> None:
    result = commands.run("accounts", "--server", "no-such-host.invalid:50051")
    assert result.status == 3
    (line,) = result.error_lines
    assert line.startswith("chatsvc: Error connecting to no-such-host.invalid:50051: ")


def test_a_port_of_another_service_is_said_with_status_3(commands: "Commands") -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:

        def answer() -> None:
            while True:
                try:
                    connection, _ = other.accept()
                except OSError:
                    return
                with connection:
                    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        port = other.getsockname()[1]
        result = commands.run("accounts", "--server", f"127.0.0.1:{port}")
        other.shutdown(socket.SHUT_RDWR)
    thread.join()
    assert result.status == 3
    (line,) = result.error_lines
    assert line.startswith(f"chatsvc: Error connecting to 127.0.0.1:{port}: ")


def test_a_reader_that_leaves_ends_the_command_silently(cluster: "Cluster") -> None:
    alice, bob = cluster.name("alice"), cluster.name("bob")
    cluster.make(bob)
    cluster.say(alice, bob, *(f"text {number}" for number in range(2_000)))
    for command in (
        f"history --user {alice} --with {bob} --limit 2000 --json",
        f"history --user {alice} --with {bob} --limit 2000",
        f"tail --user {bob} --json",
    ):
        result = cluster.shell(f"chatsvc {command} | head -1; echo ${{PIPESTATUS[0]}}")
        assert result.errors == ""
        assert result.lines[-1] == "141", command
        assert "text 0" in result.lines[0]


def test_an_output_that_is_full_is_said(cluster: "Cluster") -> None:
    result = cluster.shell("chatsvc status > /dev/full")
    assert result.status == 1
    (line,) = result.error_lines
    assert line == "chatsvc: No space left on device"


def test_a_name_that_is_no_text_is_refused(cluster: "Cluster") -> None:
    result = cluster.shell("chatsvc send --user $'al\\xff' bob hi")
    assert result.status == 1
    assert result.output == ""
    (line,) = result.error_lines
    assert "not valid UTF-8" in line


def test_options_come_from_the_environment(cluster: "Cluster") -> None:
    alice = cluster.name("alice")
    result = cluster.run("send", alice, "hi", env={"CHATSVC_USER": alice, "CHATSVC_JSON": "1"})
    assert result.status == 0
    assert result.output.startswith('{"op_id": ')
    result = cluster.run("accounts", env={"CHATSVC_SERVERS": "elsewhere"})
    assert result.status == 2
    assert "elsewhere" in result.errors


def test_an_option_wins_over_the_environment(cluster: "Cluster") -> None:
    alice = cluster.name("alice")
    env = {"CHATSVC_SERVERS": "127.0.0.1:1", "CHATSVC_USER": "somebody"}
    result = cluster.run("send", "--user", alice, "--server", cluster.address, alice, "hi", env=env)
    assert result.status == 0
