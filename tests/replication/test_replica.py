"""The contract with the host: stepping, readiness, refusals, disks that fail, leaving."""

from __future__ import annotations

import pytest

from chatsvc.replication.envelopes import Ack, Append, Relinquish, StepDown
from chatsvc.replication.events import (
    ConfigFile,
    EpochSeen,
    Leave,
    Propose,
    ReadBarrier,
    Role,
    SaveFailed,
    SavePromise,
    Tick,
)
from chatsvc.replication.identity import Epoch, Position
from chatsvc.replication.rules import ALL
from tests.replication.cluster import Cluster, operations
from tests.replication.test_streams import formed, watch


def test_time_must_not_go_back() -> None:
    core = formed("ab")["a"].core
    with pytest.raises(AssertionError):
        core.step(Tick(), core.now - 1)


def test_nothing_is_asked_twice() -> None:
    core = formed("ab")["a"].core
    core.step(Propose(b"x", 1), core.now)
    assert core.take_ready().results
    again = core.take_ready()
    assert not again.results
    assert again.save is None
    assert not again.envelopes


def test_a_proposal_to_a_backup_is_refused_with_the_primary_s_address() -> None:
    cluster = formed()
    assert cluster.propose("b", b"x") == 0
    result = cluster["b"].results[-1]
    assert result.refusal == "not primary"
    assert result.primary is not None
    assert result.primary.address == "a"


def test_a_primary_that_does_not_serve_yet_says_not_ready() -> None:
    cluster = Cluster("ab")
    cluster.form()
    cluster.run(1_000)
    cluster.cut_both("ab")
    cluster.pause("a", 60_000)
    cluster["b"].stuck_disk = False
    cluster.heal()
    assert cluster.run(4_000, lambda: cluster["b"].core.reign is not None)
    if not cluster["b"].core.status().serving:
        assert cluster.propose("b", b"x") == 0
        assert cluster["b"].results[-1].refusal == "not ready"
    cluster.run(100)
    assert cluster.propose("b", b"x")


def test_committed_entries_come_in_order_each_once() -> None:
    cluster = formed()
    for number in range(30):
        cluster.propose("a", b"%d" % number)
        if number % 7 == 0:
            cluster.run(10)
    cluster.run(200)
    for name in "abc":
        assert operations(cluster[name]) == [b"%d" % number for number in range(30)]


def test_a_grant_leaves_only_when_the_promise_is_saved() -> None:
    cluster = formed()
    cluster["c"].stuck_disk = True
    cluster.kill("a")
    cluster.run(1_000)
    assert cluster.primary() is None
    promises = [
        operation
        for save in cluster["c"].stuck_saves
        for operation in save.operations
        if isinstance(operation, SavePromise)
    ]
    assert promises
    cluster.unstick("c")
    assert cluster.write(b"after")


def test_no_ack_of_a_higher_epoch_leaves_before_the_promise_is_saved() -> None:
    cluster = formed()
    cluster.cut_both("ac", "bc")
    assert cluster.write(b"without c", ms=8_000)
    cluster.kill("a")
    cluster["c"].stuck_disk = True
    assert cluster.write(b"b alone", ms=3_000), cluster.log()
    acks = watch(cluster, Ack)
    cluster.heal()
    cluster.run(500)
    assert not [payload for source, _, payload in acks if source == "c"]
    cluster.unstick("c")
    cluster.run(500)
    assert [payload for source, _, payload in acks if source == "c"]


def test_a_rolled_back_database_neither_stands_nor_grants() -> None:
    cluster = formed()
    for number in range(5):
        assert cluster.write(b"%d" % number)
    cluster.run(500)
    cluster.kill("a", "b", "c")
    disk = cluster["b"].disk
    disk.config_file = ConfigFile(Position(Epoch(99, 0, b"z"), 3), 3)
    for name in "abc":
        cluster.start(name)
    cluster.run(5_000)
    assert cluster.primary() is None
    assert "rolled back" in cluster["b"].core.status().problem
    assert cluster["a"].core.status().waiting_for == ("b (b)",)


def test_a_failed_disk_ends_every_role() -> None:
    cluster = formed()
    said = watch(cluster, StepDown)
    cluster.event("a", SaveFailed(99))
    assert cluster["a"].core.role is Role.OUT
    assert {target for _, target, _ in said} == {"b", "c"}
    assert cluster.propose("a", b"x") == 0
    cluster.kill("a")
    assert cluster.write(b"the others go on", ms=3_000)


def test_a_primary_with_a_full_disk_lets_the_others_elect() -> None:
    cluster = formed()
    cluster["a"].stuck_disk = True
    cluster.propose("a", b"does not fit")
    cluster.run(5)
    cluster.event("a", SaveFailed(cluster["a"].stuck_saves[0].save_id, full=True))
    assert cluster["a"].core.reign is None
    assert cluster.run(5_000, lambda: cluster.primary() in (cluster["b"], cluster["c"])), cluster.log()


def test_a_lone_primary_with_a_full_disk_refuses_writes_until_there_is_room() -> None:
    cluster = Cluster("a")
    cluster.found("a")
    assert cluster.write(b"x")
    cluster["a"].stuck_disk = True
    cluster.propose("a", b"does not fit")
    cluster.event("a", SaveFailed(cluster["a"].stuck_saves[0].save_id, full=True))
    assert cluster.propose("a", b"y") == 0
    assert cluster["a"].results[-1].refusal == "disk full"
    cluster.unstick("a")
    cluster.run(20)
    assert cluster.write(b"z")


def test_a_primary_that_leaves_is_replaced_at_once() -> None:
    cluster = formed()
    said = watch(cluster, StepDown)
    cluster.event("a", Leave())
    cluster.run(2)
    cluster.kill("a")
    before = cluster.now
    assert cluster.write(b"after", ms=1_000)
    assert cluster.now - before < 400
    assert said


def test_a_backup_that_leaves_gives_up_its_lease() -> None:
    cluster = formed()
    said = watch(cluster, Relinquish)
    cluster.event("b", Leave())
    assert [(source, target) for source, target, _ in said] == [("b", "a")]
    assert cluster["b"].core.role is Role.OUT
    cluster.run(20)
    assert cluster.write(b"without b", ms=500), cluster.log()


# ---- reads


def test_a_read_barrier_is_granted_at_once_where_all_have_acked_lately() -> None:
    cluster = formed()
    assert cluster.write(b"x")
    cluster.event("a", ReadBarrier(7))
    barrier = cluster["a"].barriers[-1]
    assert (barrier.token, barrier.granted) == (7, True)
    assert barrier.read_index == cluster["a"].core.commit_index


def test_a_read_barrier_waits_for_a_round_trip_where_somebody_is_silent() -> None:
    cluster = formed()
    cluster.cut_both("ab")
    cluster.run(900)
    cluster.event("a", ReadBarrier(7))
    assert not cluster["a"].barriers
    cluster.heal()
    cluster.run(200)
    assert cluster["a"].barriers[-1].granted


def test_a_backup_grants_no_read() -> None:
    cluster = formed()
    cluster.event("b", ReadBarrier(7))
    assert not cluster["b"].barriers[-1].granted


def test_a_waiting_read_is_refused_when_the_primary_steps_down() -> None:
    cluster = formed()
    cluster.cut_both("ab", "ac")
    cluster.run(900)
    cluster.event("a", ReadBarrier(7))
    cluster.run(4_000)
    cluster.heal()
    assert cluster.run(5_000, lambda: bool(cluster["a"].barriers))
    assert not cluster["a"].barriers[-1].granted


def test_a_client_that_has_seen_a_higher_epoch_suspends_releases_for_a_round_trip() -> None:
    cluster = formed()
    core = cluster["a"].core
    cluster.event("a", EpochSeen(core.epoch.counter + 1))
    cluster.cut_both("ab", "ac")
    index = cluster.propose("a", b"x")
    cluster.run(50)
    assert core.released_index < index
    cluster.heal()
    cluster.run(300)
    assert core.released_index >= index
    assert core.reign is not None


# ---- durability switches, seen directly


def test_without_fsync_an_ack_counts_what_is_in_memory() -> None:
    for rules, early in ((ALL, False), (ALL.without("fsync"), True)):
        cluster = formed(rules=rules)
        cluster["b"].stuck_disk = True
        index = cluster.propose("a", b"x")
        cluster.run(150)
        assert (cluster["a"].core.commit_index >= index) is early


def test_without_dprom_a_promise_is_not_saved() -> None:
    cluster = formed(rules=ALL.without("dprom"))
    cluster.kill("a")
    assert cluster.write(b"after")
    assert all(cluster[name].disk.promised < cluster[name].core.promised for name in "bc")


def test_status_tells_who_would_survive_now() -> None:
    cluster = formed()
    status = cluster["a"].core.status()
    assert set(status.in_sync) == {cluster[name].dir_id for name in "abc"}
    assert set(status.durable_of) == {cluster[name].dir_id for name in "bc"}
    cluster.kill("c")
    assert cluster.write(b"x")
    assert set(cluster["a"].core.status().in_sync) == {cluster[name].dir_id for name in "ab"}


def test_heartbeats_and_acks_flow_while_nothing_happens() -> None:
    cluster = formed("ab")
    appends, acks = watch(cluster, Append), watch(cluster, Ack)
    cluster.run(1_000)
    expected = 1_000 // cluster.timers.heartbeat
    assert expected - 2 <= len(appends) <= expected + 2
    assert len(acks) == pytest.approx(len(appends), abs=2)
    assert not any(payload.entries for _, _, payload in appends)


def test_a_joined_directory_remembers_its_cluster() -> None:
    cluster = formed("ab")
    assert cluster["b"].disk.cluster_id == cluster["a"].disk.cluster_id
