"""`chatsvc tail`."""

import json
import re
import signal
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Cluster


@pytest.fixture
def alice(cluster: "Cluster") -> str:
    """A sender."""
    return cluster.name("alice")


@pytest.fixture
def bob(cluster: "Cluster") -> str:
    """An account with nothing waiting."""
    bob = cluster.name("bob")
    cluster.make(bob)
    return bob


def test_what_has_waited_comes_first_and_once(cluster: "Cluster", alice: str, bob: str) -> None:
    cluster.say(alice, bob, "one", "two")
    result = cluster.run("tail", "--user", bob, "--count", "2")
    assert (result.status, result.errors) == (0, "")
    assert [line.partition(" ")[2] for line in result.lines] == [f"{alice}: one", f"{alice}: two"]
    assert re.match(r"\d\d:\d\d:\d\d ", result.lines[0])
    assert cluster.waiting(bob) == 0


def test_count_takes_no_more_than_that(cluster: "Cluster", alice: str, bob: str) -> None:
    sent = [f"text {number}" for number in range(700)]
    cluster.say(alice, bob, *sent)
    received = []
    for count in (1, 699):
        result = cluster.run("tail", "--user", bob, "--count", str(count), "--json")
        assert len(result.lines) == count
        received += [json.loads(line)["text"] for line in result.lines]
    assert received == sent


def test_json_has_all_there_is_to_know(cluster: "Cluster", alice: str, bob: str) -> None:
    cluster.say(alice, bob, "first")
    receipt = json.loads(cluster.run("send", "--user", alice, bob, "tab\tünïcode", "--json").output)
    result = cluster.run("tail", "--user", bob, "--count", "2", "--json")
    fields = json.loads(result.lines[1])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", fields.pop("time"))
    assert fields == {
        "from": alice,
        "to": bob,
        "text": "tab\tünïcode",
        "inbox_seq": 2,
        "conversation_seq": 2,
        "op_id": receipt["op_id"],
    }


def test_it_ends_when_nothing_comes_for_so_long(cluster: "Cluster", alice: str, bob: str) -> None:
    tail = cluster.start("tail", "--user", bob, "--timeout", "3")
    cluster.say(alice, bob, "one")
    assert tail.line().endswith("one")
    assert tail.end() == (0, "", "")


def test_text_is_harmless_for_the_terminal(cluster: "Cluster", alice: str, bob: str) -> None:
    cluster.say(alice, bob, "\x1b]0;owned\x07\nroot: fake\u202e")
    (line,) = cluster.run("tail", "--user", bob, "--count", "1").lines
    assert line.endswith(rf"{alice}: \x1b]0;owned\x07\nroot: fake\u202e")


def test_a_deleted_author_is_shown_as_such(cluster: "Cluster", alice: str, bob: str) -> None:
    cluster.say(alice, bob, "farewell")
    cluster.delete(alice)
    (line,) = cluster.run("tail", "--user", bob, "--count", "1").lines
    assert line.endswith(f"{alice} (deleted): farewell")


def test_another_login_ends_it_with_the_reason(cluster: "Cluster", alice: str, bob: str) -> None:
    first = cluster.start("tail", "--user", bob)
    cluster.say(alice, bob, "one")
    assert first.line().endswith("one")
    second = cluster.start("tail", "--user", bob)
    status, output, errors = first.end()
    assert (status, output) == (1, "")
    (line,) = errors.splitlines()
    assert line.startswith("chatsvc: logged out: ")
    cluster.say(alice, bob, "two")
    assert second.line().endswith("two")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_logs_out_and_what_was_shown_does_not_come_again(
    cluster: "Cluster", alice: str, bob: str, number: int
) -> None:
    tail = cluster.start("tail", "--user", bob)
    cluster.say(alice, bob, "one")
    tail.line()
    tail.stop(number)
    assert tail.end() == (128 + number, "", "")
    cluster.say(alice, bob, "two")
    assert cluster.waiting(bob) == 1


def test_a_reader_that_leaves_ends_it_though_nothing_comes(cluster: "Cluster", alice: str, bob: str) -> None:
    tail = cluster.start("tail", "--user", bob)
    cluster.say(alice, bob, "one")
    tail.line()
    tail.popen.stdout.close()
    assert tail.popen.wait(10) == 141
    assert tail.popen.stderr.read() == b""


def test_what_could_not_be_written_comes_again(cluster: "Cluster", alice: str, bob: str) -> None:
    cluster.say(alice, bob, "precious")
    result = cluster.shell(f"chatsvc tail --user {bob} > /dev/full")
    assert result.status == 1
    assert result.errors == "chatsvc: No space left on device\n"
    assert cluster.waiting(bob) == 1


def test_a_reader_that_waits_does_not_keep_it_from_ending(cluster: "Cluster", alice: str, bob: str) -> None:
    cluster.say(alice, bob, *["x" * 1_500] * 500)
    tail = cluster.start("tail", "--user", bob)
    tail.line()  # and no more: the pipe fills, and the command waits
    tail.stop(signal.SIGTERM)
    assert tail.popen.wait(10) == 143
