"""`chatsvc bench`: real servers, short loads."""

import csv
import io
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Cluster, Commands

pytestmark = pytest.mark.timeout(180)

DEADLINE_S = 150.0
"""On a machine that has nothing else to do, the longest takes 15 s."""

SHORT = ("--pairs", "3", "--duration", "0.3", "--warm-up", "0.1")


def last_object(output: str) -> dict[str, Any]:
    """The object that the output ends with."""
    return json.loads(output.splitlines()[-1])  # type: ignore[no-any-return]


def all_came(fields: dict[str, Any]) -> bool:
    """Whether everything that was sent was acknowledged and delivered, once and in order."""
    wrong = ("lost", "doubled", "reordered", "foreign", "refused", "unanswered")
    assert not any(fields[name] for name in wrong), fields
    return bool(fields["sent"] == fields["acked"] == fields["delivered"] > 0)


def test_scripts_get_what_they_were_promised(commands: "Commands", tmp_path: Path) -> None:
    arguments = ("bench", "--local", "3", "--pairs", "5", "--window", "16", "--duration", "0.5", "--json")
    result = commands.run(*arguments, env={"TMPDIR": str(tmp_path)}, deadline_s=DEADLINE_S)
    assert (result.status, result.errors) == (0, "")
    fields = last_object(result.output)
    assert fields["acked_per_s"] > 0
    assert fields["delivered_per_s"] > 0
    for name in ("ack_ms", "e2e_ms"):
        assert 0 < fields[name]["p50"] <= fields[name]["p99"] <= fields[name]["max"]
    assert fields["cpu"]["servers"].keys() == {"a", "b", "c"}
    assert all(cores > 0 for cores in [*fields["cpu"]["servers"].values(), *fields["cpu"]["generator"]])
    assert len(fields["cpu"]["generator"]) >= 2
    assert fields["generator_bound"] in (True, False)
    assert all_came(fields)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize(("fault", "runs"), [("kill", 2), ("stop", 1), ("term", 1)])
def test_failovers_are_timed_and_nothing_is_lost_by_them(commands: "Commands", fault: str, runs: int) -> None:
    result = commands.run(
        "bench", "--local", "3", *SHORT, "--failover", fault, "--runs", f"{runs}", "--json", deadline_s=DEADLINE_S
    )
    assert (result.status, result.errors) == (0, "")
    fields = last_object(result.output)
    figures = fields["failover_ms"]
    assert (figures["fault"], len(figures["runs"])) == (fault, runs)
    assert 0 < figures["p50"] <= figures["p99"] <= figures["max"] == max(figures["runs"])
    assert fields["acked_per_s"] > 0
    assert all_came(fields)


def test_a_cluster_that_runs_already_is_measured_and_left_as_it_was(cluster: "Cluster") -> None:
    name = cluster.name("bystander")
    cluster.make(name)
    before = cluster.run("accounts").output
    result = cluster.run("bench", *SHORT, "--rate", "50,100", "--connections", "4", "--json", deadline_s=DEADLINE_S)
    assert (result.status, result.errors) == (0, "")
    first, second = map(json.loads, result.lines)
    assert (first["load"], second["load"]) == ("50/s", "100/s")
    assert (first["rate"], first["sessions"]) == (50.0, 10)
    assert first["late_ms"]["p50"] is not None
    assert list(first["cpu"]["servers"]) == [cluster.address]
    assert all_came(second)
    assert cluster.run("accounts").output == before


def test_people_who_are_away_get_everything_when_they_come_back(cluster: "Cluster") -> None:
    result = cluster.run("bench", "--pairs", "3", "--offline", "--messages", "900", "--json", deadline_s=DEADLINE_S)
    assert (result.status, result.errors) == (0, "")
    fields = last_object(result.output)
    assert fields["sent"] == 900
    assert all_came(fields)
    assert fields["acked_per_s"] > 0
    assert fields["delivered_per_s"] > 0
    assert fields["e2e_ms"]["p50"] is None
    assert fields["drain_cpu"]["servers"][cluster.address] > 0


def test_a_number_of_messages_of_a_size_and_a_table_for_spreadsheets(cluster: "Cluster") -> None:
    result = cluster.run(
        "bench", "--pairs", "3", "--messages", "100", "--size", "10", "--window", "1,4", "--csv", deadline_s=DEADLINE_S
    )
    assert (result.status, result.errors) == (0, "")
    rows = list(csv.DictReader(io.StringIO(result.output)))
    assert [(row["load"], row["size"], row["acked"], row["lost"]) for row in rows] == [
        ("W=1", "10", "100", "0"),
        ("W=4", "10", "200", "0"),
    ]
    assert all(float(row["acked_per_s"]) > 0 < float(row["e2e_ms.p99"]) for row in rows)


def test_a_table_for_people_and_a_picture(cluster: "Cluster", tmp_path: Path) -> None:
    picture = tmp_path / "curve.png"
    result = cluster.run("bench", *SHORT, "--window", "1,4", "--plot", str(picture), deadline_s=DEADLINE_S)
    assert (result.status, result.errors) == (0, "")
    people, heading, one, four, *counted = result.lines
    assert people.startswith("3 pairs, messages of 105 characters; 6 sessions")
    assert heading.split()[:3] == ["LOAD", "ACKED/S", "DELIVERED/S"]
    assert (one.split()[0], four.split()[0]) == ("W=1", "W=4")
    assert "0 lost, 0 doubled" in counted[0]
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(["--failover", "kill"], "--failover kill needs --local", id="servers of somebody else"),
        pytest.param(["--local", "1", "--failover", "kill"], "two servers", id="nobody to take over"),
        pytest.param(["--local", "3", "--server", "127.0.0.1:1"], "Either --local or --server", id="two clusters"),
        pytest.param(["--json", "--csv"], "Either --json or --csv", id="two kinds of output"),
        pytest.param(["--messages", "5", "--duration", "5"], "Either --messages or --duration", id="two ends"),
        pytest.param(["--window", "1,2", "--rate", "5"], "not both", id="windows and rates"),
        pytest.param(["--window", "1,many"], "many", id="no number"),
        pytest.param(["--local", "3", "--failover", "kill", "--offline"], "one load", id="failover offline"),
    ],
)
def test_what_does_not_go_together_is_wrong_usage(commands: "Commands", arguments: list[str], said: str) -> None:
    result = commands.run("bench", *arguments, deadline_s=DEADLINE_S)
    assert (result.status, result.output) == (2, "")
    (line,) = result.error_lines
    assert said in line


def test_a_plot_without_matplotlib_is_refused_before_anything_is_measured(commands: "Commands", tmp_path: Path) -> None:
    (tmp_path / "matplotlib.py").write_text("raise ImportError('not here')\n")
    env = {"PYTHONPATH": str(tmp_path)}
    result = commands.run(
        "bench", "--server", "127.0.0.1:1", "--plot", str(tmp_path / "x.png"), env=env, deadline_s=DEADLINE_S
    )
    assert (result.status, result.output) == (1, "")
    assert result.error_lines == ["chatsvc: a plot needs matplotlib: pip install 'chatsvc[bench]'"]


def test_a_plot_of_a_format_that_does_not_exist_is_refused_at_once(commands: "Commands") -> None:
    result = commands.run("bench", "--server", "127.0.0.1:1", "--plot", "curve.xyz", deadline_s=DEADLINE_S)
    assert (result.status, result.output) == (1, "")
    (line,) = result.error_lines
    assert line.startswith("chatsvc: curve.xyz: the name has to end with one of ")
    assert ".png" in line


@pytest.mark.skipif(sys.platform != "linux", reason="looks at processes as Linux shows them")
def test_ctrl_c_leaves_no_server_and_no_directory(commands: "Commands", tmp_path: Path) -> None:
    arguments = ("bench", "--local", "3", "--pairs", "3", "--duration", "600")
    terminal = commands.terminal(*arguments, env={"TMPDIR": str(tmp_path)})
    terminal.wait("W=16: measuring")  # on the progress bar
    started = psutil.Process(terminal.popen.pid).children(recursive=True)
    assert len(started) >= 5  # three servers, two processes of the generator
    assert len(list(tmp_path.iterdir())) == 1
    terminal.type("\x03")
    assert terminal.end() == 130
    assert list(tmp_path.iterdir()) == []
    assert not any(process.is_running() for process in started)
