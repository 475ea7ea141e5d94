"""`chatsvc history`."""

import json
import re
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Cluster


@pytest.fixture
def conversation(cluster: "Cluster") -> tuple[str, str]:
    """Two users with 2,500 messages between them."""
    alice, bob = cluster.name("alice"), cluster.name("bob")
    cluster.make(bob)
    cluster.say(alice, bob, *(f"text {number}" for number in range(1, 2_501)))
    return alice, bob


def test_the_newest_come_oldest_first_in_any_number(cluster: "Cluster", conversation: tuple[str, str]) -> None:
    alice, bob = conversation

    def places(*options: str) -> list[int]:
        result = cluster.run("history", "--user", alice, "--with", bob, "--json", *options)
        assert (result.status, result.errors) == (0, "")
        return [json.loads(line)["conversation_seq"] for line in result.lines]

    assert places() == list(range(2_481, 2_501))
    assert places("--limit", "5000") == list(range(1, 2_501))
    assert places("--limit", "3", "--before", "3") == [1, 2]
    assert places("--before", "1") == []


def test_a_line_has_place_time_author_and_text(cluster: "Cluster", conversation: tuple[str, str]) -> None:
    alice, bob = conversation
    cluster.say(bob, alice, "a\nb")
    result = cluster.run("history", "--user", bob, "--with", alice, "--limit", "2")
    first, second = result.lines
    assert re.fullmatch(rf"2500  \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d  {alice}: text 2500", first)
    assert second.endswith(rf"{bob}: a\nb")


def test_json_has_the_same_as_the_receipt(cluster: "Cluster") -> None:
    alice = cluster.name("alice")
    receipt = json.loads(cluster.run("send", "--user", alice, alice, "note", "--json").output)
    fields = json.loads(cluster.run("history", "--user", alice, "--with", alice, "--json").output)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", fields.pop("time"))
    assert fields == {
        "from": alice,
        "to": alice,
        "text": "note",
        "conversation_seq": 1,
        "op_id": receipt["op_id"],
        "from_deleted": False,
    }


def test_a_deleted_author_is_shown_as_such(cluster: "Cluster") -> None:
    alice, bob = cluster.name("alice"), cluster.name("bob")
    cluster.make(bob)
    cluster.say(alice, bob, "farewell")
    cluster.delete(alice)
    result = cluster.run("history", "--user", bob, "--with", alice)
    assert result.output.endswith(f"{alice} (deleted): farewell\n")
    assert json.loads(cluster.run("history", "--user", bob, "--with", alice, "--json").output)["from_deleted"] is True


def test_an_unknown_user_is_refused_and_not_made(cluster: "Cluster") -> None:
    nobody = cluster.name("nobody")
    result = cluster.run("history", "--user", nobody, "--with", nobody)
    assert (result.status, result.output) == (1, "")
    (line,) = result.error_lines
    assert nobody in line
    assert cluster.online(nobody) is None
