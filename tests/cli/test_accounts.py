"""`chatsvc accounts`."""

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.cli.conftest import Cluster


def test_accounts_are_found_by_part_of_the_name_or_by_pattern(cluster: "Cluster") -> None:
    stem = cluster.name("team")
    names = [f"{stem}-{letter}{end}" for letter in "abc" for end in ("", "x")]
    cluster.make(*names)

    def found(pattern: str) -> list[str]:
        result = cluster.run("accounts", pattern, "--json")
        assert (result.status, result.errors) == (0, "")
        return [json.loads(line)["name"] for line in result.lines]

    assert found(stem) == names
    assert found(stem.upper()) == names
    assert found(f"{stem}-?") == names[::2]
    assert found(f"*{stem[1:]}*x") == names[1::2]


def test_it_says_who_is_online(cluster: "Cluster") -> None:
    stem = cluster.name("who")
    cluster.make(f"{stem}-a")
    cluster.say(f"{stem}-b", f"{stem}-b", "hi")
    tail = cluster.start("tail", "--user", f"{stem}-b")
    tail.line()
    assert [line.split() for line in cluster.run("accounts", stem).lines] == [
        ["-", f"{stem}-a"],
        ["online", f"{stem}-b"],
    ]
    assert [json.loads(line) for line in cluster.run("accounts", stem, "--json").lines] == [
        {"name": f"{stem}-a", "online": False},
        {"name": f"{stem}-b", "online": True},
    ]


def test_nobody_is_said_on_stderr(cluster: "Cluster") -> None:
    result = cluster.run("accounts", "no*such")
    assert (result.status, result.output) == (0, "")
    assert result.errors == "no account matches no*such\n"
    result = cluster.run("accounts", "no*such", "--json")
    assert (result.status, result.output, result.errors) == (0, "", "")


def test_a_pattern_that_is_too_long_is_refused(cluster: "Cluster") -> None:
    result = cluster.run("accounts", "x" * 65)
    assert (result.status, result.output) == (1, "")
    assert len(result.error_lines) == 1
