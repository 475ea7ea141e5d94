"""`chatsvc status`."""

import json
import re
import signal
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.cli.conftest import Cluster, Commands


def test_json_has_the_cluster_and_its_members(cluster: "Cluster") -> None:
    result = cluster.run("status", "--json")
    assert (result.status, result.errors) == (0, "")
    (line,) = result.lines
    fields = json.loads(line)
    assert fields.keys() >= {"cluster_id", "mode", "epoch", "primary", "commit_index", "degraded", "members"}
    assert re.fullmatch("[0-9a-f]{32}", fields["cluster_id"])
    assert (fields["mode"], fields["primary"], fields["degraded"]) == ("available", cluster.address, False)
    (member,) = fields["members"]
    assert member.keys() >= {
        "name", "address", "role", "in_sync", "durable_index", "applied_index", "state_hash", "hash_index",
    }  # fmt: skip
    assert (member["address"], member["role"], member["in_sync"]) == (cluster.address, "primary", True)
    assert member["applied_index"] <= fields["commit_index"] <= member["durable_index"]


def test_a_table_for_people(cluster: "Cluster") -> None:
    result = cluster.run("status")
    assert result.status == 0
    summary, heading, row = result.lines
    assert f"primary {cluster.address}" in summary
    assert heading.split()[:3] == ["NAME", "ADDRESS", "ROLE"]
    assert row.split()[1:3] == [cluster.address, "primary"]


def test_no_server_is_status_3_with_json(commands: "Commands") -> None:
    result = commands.run("status", "--json", "--server", "127.0.0.1:1,127.0.0.1:2")
    assert result.status == 3
    fields = json.loads(result.output)
    assert fields["primary"] is None
    assert [(member["address"], member["role"]) for member in fields["members"]] == [
        ("127.0.0.1:1", "unreachable"),
        ("127.0.0.1:2", "unreachable"),
    ]
    (line,) = result.error_lines
    assert line.startswith("chatsvc: ")
    assert commands.run("status", "--server", "127.0.0.1:1").status == 3


def test_a_hung_server_is_unreachable_within_two_seconds(own_cluster: "Cluster") -> None:
    own_cluster.server.stop(signal.SIGSTOP)
    start = time.monotonic()
    result = own_cluster.run("status", "--json")
    assert time.monotonic() - start < 10  # 2.4 s on a machine that has nothing else to do
    own_cluster.server.stop(signal.SIGCONT)
    assert result.status == 3
    (member,) = json.loads(result.output)["members"]
    assert (member["address"], member["role"]) == (own_cluster.address, "unreachable")
