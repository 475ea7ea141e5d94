"""`chatsvc delete-account`."""

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Cluster


@pytest.fixture
def alice(cluster: "Cluster") -> str:
    """An account."""
    alice = cluster.name("alice")
    cluster.say(alice, alice, "waits")
    return alice


def test_an_account_and_its_queue_are_gone(cluster: "Cluster", alice: str) -> None:
    result = cluster.run("delete-account", "--user", alice, "--yes")
    assert (result.status, result.errors) == (0, "")
    assert result.output == f"account {alice} is deleted\n"
    assert cluster.online(alice) is None
    assert cluster.waiting(alice) == 0  # this makes another account of the name


def test_without_a_terminal_and_without_yes_nothing_is_deleted(cluster: "Cluster", alice: str) -> None:
    result = cluster.run("delete-account", "--user", alice, data=b"yes\n")
    assert (result.status, result.output) == (1, "")
    (line,) = result.error_lines
    assert "--yes" in line
    assert cluster.online(alice) is False


@pytest.mark.parametrize(
    ("answer", "status", "said"),
    [
        pytest.param("yes\r", 0, "is deleted", id="yes"),
        pytest.param("no\r", 1, "not deleted", id="no"),
        pytest.param("\r", 1, "not deleted", id="Enter"),
        pytest.param("\x04", 1, "not deleted", id="Ctrl-D"),
        pytest.param("\x03", 130, "", id="Ctrl-C"),
    ],
)
def test_in_a_terminal_it_asks(cluster: "Cluster", alice: str, answer: str, status: int, said: str) -> None:
    terminal = cluster.terminal("delete-account", "--user", alice)
    terminal.wait(f"Delete account {alice}", "(yes/no):")
    terminal.type(answer)
    assert terminal.end() == status
    assert said in terminal.text
    assert "Traceback" not in terminal.text
    assert cluster.online(alice) is (None if status == 0 else False)


def test_an_unknown_account_is_refused(cluster: "Cluster") -> None:
    nobody = cluster.name("nobody")
    result = cluster.run("delete-account", "--user", nobody, "--yes")
    assert (result.status, result.output) == (1, "")
    (line,) = result.error_lines
    assert nobody in line


def test_who_is_logged_in_is_told(cluster: "Cluster", alice: str) -> None:
    tail = cluster.start("tail", "--user", alice)
    tail.line()
    cluster.delete(alice)
    status, _, errors = tail.end()
    assert status == 1
    (line,) = errors.splitlines()
    assert "deleted" in line
