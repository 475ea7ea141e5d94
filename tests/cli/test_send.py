"""`chatsvc send`."""

import json
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
    """An account that is away."""
    bob = cluster.name("bob")
    cluster.make(bob)
    return bob


def test_a_message_is_sent_and_the_sender_made_an_account(cluster: "Cluster", alice: str, bob: str) -> None:
    result = cluster.run("send", "--user", alice, bob, "hello  there")
    assert (result.status, result.errors) == (0, "")
    assert result.lines == [f"{bob} is offline, will be delivered"]
    assert cluster.texts(alice, bob) == ["hello  there"]


def test_a_recipient_who_is_online_has_it(cluster: "Cluster", alice: str, bob: str) -> None:
    cluster.say(alice, bob, "are you there?")
    tail = cluster.start("tail", "--user", bob)
    tail.line()
    result = cluster.run("send", "--user", alice, bob, "hello")
    assert result.lines == [f"sent to {bob}"]
    assert tail.line().endswith(f"{alice}: hello")


def test_json_has_the_op_id_the_recipient_and_the_place(cluster: "Cluster", alice: str, bob: str) -> None:
    for place in (1, 2):
        result = cluster.run("send", "--user", alice, bob, "hello", "--json")
        fields = json.loads(result.output)
        assert fields.keys() == {"op_id", "to", "conversation_seq"}
        assert (fields["to"], fields["conversation_seq"]) == (bob, place)
        assert fields["op_id"].endswith("/1")


def test_to_oneself_is_one_message(cluster: "Cluster", alice: str) -> None:
    assert cluster.run("send", "--user", alice, alice, "note").status == 0
    assert cluster.texts(alice, alice) == ["note"]


@pytest.mark.parametrize(
    ("to", "text", "said"),
    [
        pytest.param("nobody-at-all", "hi", "there is no account", id="unknown recipient"),
        pytest.param(None, "", "empty", id="empty text"),
        pytest.param(None, "x" * 1_501, "1,501", id="text too long"),
        pytest.param("a b", "hi", "a b", id="bad name"),
        pytest.param("", "hi", "", id="empty name"),
    ],
)
def test_a_refusal_is_one_line_and_status_1(
    cluster: "Cluster", alice: str, bob: str, to: str | None, text: str, said: str
) -> None:
    result = cluster.run("send", "--user", alice, bob if to is None else to, text)
    assert (result.status, result.output) == (1, "")
    (line,) = result.error_lines
    assert line.startswith("chatsvc: ")
    assert said in line


def test_1500_characters_of_any_kind_are_sent(cluster: "Cluster", alice: str, bob: str) -> None:
    text = "👋" * 1_500
    assert cluster.run("send", "--user", alice, bob, text).status == 0
    assert cluster.texts(alice, bob) == [text]


@pytest.mark.parametrize("user", ["x" * 33, "a\nb", "", "a b"])
def test_a_bad_user_name_is_refused_in_one_line(cluster: "Cluster", user: str) -> None:
    result = cluster.run("send", "--user", user, "bob", "hi")
    assert result.status == 1
    assert len(result.error_lines) == 1


def test_a_line_is_sent_as_it_is_read(cluster: "Cluster", alice: str, bob: str) -> None:
    send = cluster.start("send", "--user", alice, bob, "-", "--json")
    for place, text in enumerate((b"one", b"two", b"three"), 1):
        send.write(text + b"\n")
        assert json.loads(send.line())["conversation_seq"] == place
    assert send.end() == (0, "", "")
    assert cluster.texts(alice, bob) == ["one", "two", "three"]


def test_a_refused_line_is_said_and_the_others_are_sent(cluster: "Cluster", alice: str, bob: str) -> None:
    lines = [b"one", b"", b"caf\xe9", b"x" * 1_501, b"y" * 200_000, b"two"]
    result = cluster.run("send", "--user", alice, bob, "-", "--json", data=b"\n".join(lines))
    assert result.status == 1
    assert [json.loads(line)["conversation_seq"] for line in result.lines] == [1, 2]
    assert [line.split(": ")[1] for line in result.error_lines] == ["line 2", "line 3", "line 4", "line 5"]
    assert "UTF-8" in result.error_lines[1]
    assert cluster.texts(alice, bob) == ["one", "two"]


def test_many_lines_are_sent_in_order(cluster: "Cluster", alice: str, bob: str) -> None:
    sent = [f"line {number}" for number in range(10_000)]
    result = cluster.run("send", "--user", alice, bob, "-", "--json", data="\n".join(sent).encode())
    assert (result.status, result.errors) == (0, "")
    assert [json.loads(line)["conversation_seq"] for line in result.lines] == list(range(1, 10_001))
    assert cluster.texts(alice, bob) == sent


def test_no_input_sends_nothing(cluster: "Cluster", alice: str, bob: str) -> None:
    assert cluster.start("send", "--user", alice, bob, "-").end() == (0, "", "")


def test_sending_logs_nobody_out(cluster: "Cluster", alice: str, bob: str) -> None:
    cluster.say(alice, bob, "are you there?")
    tail = cluster.start("tail", "--user", bob)
    tail.line()
    assert cluster.run("send", "--user", bob, bob, "from another place").status == 0
    assert tail.line().endswith("from another place")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_though_the_input_goes_on(cluster: "Cluster", alice: str, bob: str, number: int) -> None:
    send = cluster.start("send", "--user", alice, bob, "-", "--json")
    send.write(b"one\n")
    send.line()
    send.stop(number)
    send.popen.wait(10)
    assert send.end() == (128 + number, "", "")


def test_nobody_reads_what_was_acknowledged(cluster: "Cluster", alice: str, bob: str) -> None:
    result = cluster.shell(
        f"yes hello | head -20000 | chatsvc send --user {alice} {bob} - --json | head -1; echo ${{PIPESTATUS[2]}}"
    )
    assert result.errors == ""
    assert result.lines[-1] == "141"


def test_a_server_that_dies_ends_it_with_status_3(own_cluster: "Cluster") -> None:
    send = own_cluster.start("send", "--user", "alice", "alice", "-", "--json", "--give-up", "1")
    send.write(b"one\n")
    send.line()
    own_cluster.server.popen.kill()
    send.write(b"two\n")
    status, output, errors = send.end()
    assert (status, output) == (3, "")
    assert errors == "chatsvc: Server shut down prematurely, so logging you out.\n"
