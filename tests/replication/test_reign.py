"""What a new primary commits, and when."""

from __future__ import annotations

from chatsvc.replication.envelopes import Ack, Append
from chatsvc.replication.events import Role
from chatsvc.replication.rules import ALL
from tests.replication.cluster import Cluster
from tests.replication.test_streams import formed


def test_a_commit_waits_for_the_slowest_server_in_sync() -> None:
    cluster = formed()
    cluster["c"].stuck_disk = True
    index = cluster.propose("a", b"x")
    cluster.run(100)
    assert cluster["a"].core.commit_index < index
    cluster.unstick("c")
    cluster.run(10)
    assert cluster["a"].core.commit_index == index


def test_a_learner_s_ack_does_not_count() -> None:
    cluster = formed("ab")
    cluster["b"].stuck_disk = True
    cluster.servers["c"] = type(cluster["a"])(cluster, "c")
    cluster.start("c")
    cluster.run(1_000)
    index = cluster.propose("a", b"x")
    cluster.run(500)
    assert cluster["c"].core.saving.durable_index >= index - 1
    assert cluster["a"].core.commit_index < index


def taking_over(cluster: Cluster) -> Cluster:
    """a is killed with entries that it did not commit; b or c wins, but no Ack of its reign arrives."""
    cluster.drop = lambda source, target, payload: isinstance(payload, Ack)
    for _ in range(3):
        cluster.propose("a", b"x")
    cluster.run(10)
    cluster.kill("a")
    assert cluster.run(
        2_000,
        lambda: any(
            server.replica is not None and server.replica.reign is not None for server in cluster.servers.values()
        ),
    )
    return cluster


def test_nothing_is_committed_before_the_first_config_of_the_reign() -> None:
    cluster = taking_over(formed())
    primary = next(server for server in cluster.servers.values() if server.replica and server.core.reign)
    reign = primary.core.reign
    assert reign is not None
    assert not reign.serving
    before = primary.core.commit_index
    cluster.run(300)
    assert primary.core.commit_index == before
    cluster.drop = lambda source, target, payload: False
    assert cluster.run(1_000, lambda: primary.core.commit_index >= reign.first_index)
    assert reign.serving


def test_an_entry_is_released_by_nobody_before_it_is_committed() -> None:
    cluster = formed()
    cluster.cut("ba", "ca")
    index = cluster.propose("a", b"x")
    cluster.run(200)
    assert all(cluster[name].core.log.last_index >= index for name in "abc")
    assert all(cluster[name].core.released_index < index for name in "abc")


def test_a_deposed_primary_gains_no_more_commits() -> None:
    cluster = formed()
    cluster.cut_both("ab", "ac")
    assert cluster.run(4_000, lambda: cluster.primary() in (cluster["b"], cluster["c"]))
    before = cluster["a"].core.commit_index
    cluster.propose("a", b"x")
    cluster.run(8_000)
    assert cluster["a"].core.commit_index == before
    assert cluster["a"].core.role is Role.PRIMARY
    cluster.heal()
    cluster.run(500)
    assert cluster["a"].core.reign is None


def test_leases_are_given_by_a_serving_primary_only() -> None:
    said: list[bool] = []
    cluster = formed(rules=ALL)
    cluster.drop = lambda source, target, payload: isinstance(payload, Append) and bool(said.append(payload.in_sync))
    cluster.run(200)
    assert said
    assert all(said)
    said.clear()
    taking_over(cluster)
    cluster.drop = lambda source, target, payload: (
        isinstance(payload, Ack) or (isinstance(payload, Append) and bool(said.append(payload.in_sync)))
    )
    cluster.run(300)
    assert said
    assert not any(said)
