"""`chatsvc connect` with pipes in place of a terminal."""

import signal
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Cluster


@pytest.fixture
def alice(cluster: "Cluster") -> str:
    """A name without an account."""
    return cluster.name("alice")


@pytest.fixture
def bob(cluster: "Cluster") -> str:
    """An account that is away, with nothing waiting."""
    bob = cluster.name("bob")
    cluster.make(bob)
    return bob


def test_the_same_lines_work_and_their_end_logs_out(cluster: "Cluster", alice: str, bob: str) -> None:
    script = f"1\n{bob}\nhello\n/send {bob} again\n2\n{alice}\n/history {bob}\nnonsense\n"
    result = cluster.run("connect", "--user", alice, data=script.encode())
    assert (result.status, result.errors) == (0, "")
    assert result.lines[0].startswith(f"logged in as {alice}")
    assert result.lines.count(f"{bob} is offline, will be delivered") == 2
    assert f"online  {alice}" in result.lines
    assert [line.rpartition("  ")[2] for line in result.lines if line.startswith(("1  ", "2  "))] == [
        f"{alice}: hello",
        f"{alice}: again",
    ]
    assert sum(line.startswith("1 send, 2 list") for line in result.lines) == 2
    assert result.lines[-1] == "logged out"
    assert cluster.texts(bob, alice) == ["hello", "again"]


@pytest.mark.parametrize("lines", ["4\n/list\n", "/logout\n/list\n", ""])
def test_log_out_ends_it_though_more_lines_follow(cluster: "Cluster", alice: str, lines: str) -> None:
    result = cluster.run("connect", "--user", alice, data=lines.encode())
    assert (result.status, result.errors) == (0, "")
    assert result.lines[-1] == "logged out"
    assert f"online  {alice}" not in result.lines


@pytest.mark.parametrize("lines", ["3\nyes\n", "/delete\ny\n", "/delete\nyes"])
def test_an_account_is_deleted_after_a_yes(cluster: "Cluster", alice: str, lines: str) -> None:
    result = cluster.run("connect", "--user", alice, data=lines.encode())
    assert (result.status, result.errors) == (0, "")
    assert result.lines[-1] == f"account {alice} is deleted"
    assert cluster.online(alice) is None


@pytest.mark.parametrize("lines", ["3\n", "3\nno\n", "3\n\n"])
def test_an_account_is_kept_without_a_yes(cluster: "Cluster", alice: str, lines: str) -> None:
    result = cluster.run("connect", "--user", alice, data=lines.encode())
    assert (result.status, result.lines[-1]) == (0, "logged out")
    assert cluster.online(alice) is False


def test_refusals_go_to_stderr_and_the_rest_goes_on(cluster: "Cluster", alice: str, bob: str) -> None:
    script = f"/send nobody-at-all hi\n/send {bob} caf\xe9\n/send {bob} fine\n"
    result = cluster.run("connect", "--user", alice, data=script.encode("latin-1"))
    assert result.status == 0
    unknown, invalid = sorted(result.error_lines, key=lambda line: "UTF-8" in line)
    assert "nobody-at-all" in unknown
    assert "UTF-8" in invalid
    assert f"{bob} is offline, will be delivered" in result.lines


def test_messages_come_as_lines(cluster: "Cluster", alice: str, bob: str) -> None:
    connect = cluster.start("connect", "--user", alice)
    connect.line()
    connect.line()
    cluster.say(bob, alice, "one\x1b[1m")
    assert connect.line().endswith(rf"{bob}: one\x1b[1m")
    assert connect.end()[0] == 0
    assert cluster.waiting(alice) == 0


def test_many_sends_are_all_answered_before_the_log_out(cluster: "Cluster", alice: str, bob: str) -> None:
    script = "".join(f"/send {bob} text {number}\n" for number in range(10_000))
    result = cluster.run("connect", "--user", alice, data=script.encode())
    assert (result.status, result.errors) == (0, "")
    assert result.lines.count(f"{bob} is offline, will be delivered") == 10_000
    assert cluster.texts(alice, bob) == [f"text {number}" for number in range(10_000)]


def test_another_login_ends_it_though_the_input_goes_on(cluster: "Cluster", alice: str) -> None:
    first = cluster.start("connect", "--user", alice)
    first.line()
    first.line()
    second = cluster.start("connect", "--user", alice)
    second.line()
    assert first.popen.wait(10) == 1
    assert first.popen.stderr.read().decode().startswith("chatsvc: logged out: ")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_though_the_input_goes_on(cluster: "Cluster", alice: str, number: int) -> None:
    connect = cluster.start("connect", "--user", alice)
    connect.line()
    connect.stop(number)
    assert connect.popen.wait(10) == 128 + number
    assert connect.popen.stderr.read() == b""
    assert cluster.online(alice) is False


def test_a_reader_that_leaves_ends_it(cluster: "Cluster", alice: str, bob: str) -> None:
    connect = cluster.start("connect", "--user", alice)
    connect.line()
    connect.line()
    connect.popen.stdout.close()
    cluster.say(bob, alice, "precious")
    assert connect.popen.wait(10) == 141
    assert connect.popen.stderr.read() == b""
    assert cluster.waiting(alice) == 1


def test_servers_that_are_gone_for_good_end_it_with_status_3(own_cluster: "Cluster") -> None:
    connect = own_cluster.start("connect", "--user", "alice", "--give-up", "1")
    connect.line()
    own_cluster.server.popen.kill()
    connect.popen.wait(10)
    status, _, errors = connect.end()
    assert status == 3
    assert errors == "chatsvc: Server shut down prematurely, so logging you out.\n"
