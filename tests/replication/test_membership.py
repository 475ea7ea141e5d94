"""Drops, growth, lag, removal, newcomers and renewal, in whole small clusters."""

from __future__ import annotations

from itertools import pairwise

from chatsvc.replication.envelopes import Envelope, Hello, Reject, RejectReason
from chatsvc.replication.events import NoteKind, Received, Remove, Role, Save, SaveFailed, Tick
from chatsvc.replication.identity import NO_EPOCH, NO_POSITION, Epoch, Identity
from chatsvc.replication.replica import Replica
from chatsvc.replication.rules import ALL
from tests.replication.cluster import Cluster, Server


def formed(names: str = "abc", **keys: object) -> Cluster:
    cluster = Cluster(names, **keys)  # type: ignore[arg-type]
    cluster.form()
    assert cluster.write(b"first")
    cluster.run(1_000)
    return cluster


def members(cluster: Cluster) -> list[str]:
    primary = cluster.primary()
    assert primary is not None
    config = primary.core.log.newest_config
    assert config is not None
    return [cluster_member.name for cluster_member in config.members]


def in_sync(cluster: Cluster) -> set[str]:
    primary = cluster.primary()
    assert primary is not None
    config = primary.core.log.newest_config
    assert config is not None
    return {name for name, server in cluster.servers.items() if server.dir_id in config.in_sync}


def rejections(cluster: Cluster) -> list[RejectReason]:
    found: list[RejectReason] = []
    send = cluster._send

    def watch(source: object, envelope: object) -> None:
        payload = envelope.payload  # type: ignore[attr-defined]
        if isinstance(payload, Reject):
            found.append(payload.reason)
        send(source, envelope)  # type: ignore[arg-type]

    cluster._send = watch  # type: ignore[method-assign, assignment]
    return found


def test_a_refused_backup_is_dropped_at_once_and_writes_go_on() -> None:
    cluster = formed()
    cluster.kill("b")
    before = cluster.now
    assert cluster.write(b"without b")
    assert cluster.now - before < 200
    assert in_sync(cluster) == {"a", "c"}


def test_a_silent_backup_holds_up_writes_until_t_evict() -> None:
    cluster = formed()
    before = cluster.now
    cluster.cut_both("ab")
    assert cluster.write(b"without b", ms=7_000)
    assert cluster.timers.evict - 100 <= cluster.now - before <= cluster.timers.evict + 500


def test_a_server_whose_appends_are_cut_is_dropped_though_it_is_heard() -> None:
    cluster = formed()
    cluster.cut("ab")
    assert cluster.write(b"without b", ms=7_000), cluster.log()
    assert in_sync(cluster) == {"a", "c"}


def test_one_dropped_for_silence_comes_back_after_steady_acks_only() -> None:
    cluster = formed()
    cluster.cut_both("ab")
    assert cluster.write(b"without b", ms=7_000)
    cluster.heal()
    before = cluster.now
    assert cluster.run(10_000, lambda: cluster.all_in_sync("abc"))
    assert cluster.now - before >= cluster.timers.suspect


def test_a_wiped_directory_joins_as_a_new_member_and_replaces_the_old_one() -> None:
    cluster = formed()
    cluster.kill("b")
    assert cluster.write(b"without b")
    cluster["b"].wipe()
    cluster.start("b")
    assert cluster.run(10_000, lambda: cluster.all_in_sync("abc")), cluster.describe()
    assert sorted(members(cluster)) == ["a", "b", "c"]


def test_a_server_is_admitted_only_after_its_address_has_answered() -> None:
    """d can dial the others, but nobody can dial d."""
    cluster = formed("abcd"[:3])
    cluster.servers["d"] = type(cluster["a"])(cluster, "d")
    cluster._probe, probe = (
        (  # type: ignore[method-assign, assignment]
            lambda server, replica, wanted: None if wanted.address == "d" else probe(server, replica, wanted)
        ),
        cluster._probe,
    )
    cluster.start("d")
    cluster.run(5_000)
    assert cluster["d"].core.role is Role.LEARNER
    assert "d" not in members(cluster)
    del cluster._probe
    assert cluster.run(5_000, lambda: cluster.all_in_sync("abcd")), cluster.describe()


def test_a_member_that_lives_but_saves_nothing_is_frozen_then_dropped() -> None:
    cluster = formed()
    cluster["b"].stuck_disk = True
    before = cluster.now
    assert cluster.write(b"without b", ms=20_000), cluster.log()
    took = cluster.now - before
    timers = cluster.timers
    expected = timers.lag + timers.evict
    assert expected - timers.heartbeat <= took <= expected + 1_000
    assert not cluster["b"].core.following.lease.runs(cluster.now)
    cluster.unstick("b")
    assert cluster.run(10_000, lambda: cluster.all_in_sync("abc"))


def test_a_backup_with_a_full_disk_gives_up_its_lease_and_is_dropped_at_once() -> None:
    cluster = formed()
    b = cluster["b"]
    b.stuck_disk = True
    cluster.propose("a", b"does not fit")
    cluster.run(20)
    assert b.stuck_saves
    cluster.event("b", SaveFailed(b.stuck_saves[0].save_id, full=True))
    assert not b.core.following.lease.runs(cluster.now)
    before = cluster.now
    assert cluster.write(b"without b", ms=1_000), cluster.log()
    assert cluster.now - before < 300
    assert not b.core.following.lease.runs(cluster.now)
    cluster.unstick("b")
    assert cluster.run(5_000, lambda: cluster.all_in_sync("abc")), cluster.describe()


def test_a_removed_member_is_frozen_dropped_and_told_so() -> None:
    cluster = formed()
    told = rejections(cluster)
    cluster.event("a", Remove(cluster["b"].dir_id))
    assert cluster.run(10_000, lambda: "b" not in members(cluster))
    assert in_sync(cluster) == {"a", "c"}
    cluster.run(3_000)
    assert RejectReason.REMOVED in told
    assert "removed" in cluster["b"].core.status().problem


def test_a_higher_promise_of_a_learner_does_not_depose_but_renews() -> None:
    cluster = formed()
    cluster.kill("b")
    assert cluster.write(b"without b")
    old = cluster["a"].core.epoch
    cluster["b"].disk.promised = Epoch(old.counter + 5, 7, cluster["b"].dir_id)
    told = rejections(cluster)
    cluster.start("b")
    assert cluster.run(10_000, lambda: cluster.all_in_sync("abc")), cluster.log()
    assert RejectReason.RENEW in told
    primary = cluster.primary()
    assert primary is not None
    assert primary.core.epoch.counter > old.counter + 5


def test_a_second_process_of_a_directory_is_turned_away_while_the_first_one_acks() -> None:
    cluster = formed()
    told = rejections(cluster)
    cluster.servers["d"] = type(cluster["a"])(cluster, "d")
    copy = cluster["d"]
    copy.dir_id, copy.starts = cluster["b"].dir_id, 7
    copy.disk.cluster_id = cluster["b"].disk.cluster_id
    copy.disk.entries = list(cluster["b"].disk.entries)
    copy.disk.promised, copy.disk.commit_index = cluster["b"].disk.promised, cluster["b"].disk.commit_index
    cluster.start("d")
    cluster.run(3_000)
    assert cluster["b"].core.role is Role.BACKUP
    assert cluster["d"].core.role is Role.WAITING
    assert "copy of this directory" in cluster["d"].core.status().problem
    cluster["d"].core.following.hello("a", None)
    cluster.event("d", Tick())
    cluster.run(20)
    assert RejectReason.DUPLICATE in told


def test_a_restart_is_not_taken_for_a_copy() -> None:
    cluster = formed()
    cluster.kill("b")
    cluster.start("b")
    assert cluster.run(2_000, lambda: cluster.all_in_sync("abc")), cluster.log()


def test_a_disk_that_lost_what_it_had_acked_is_turned_away() -> None:
    cluster = formed()
    for place in range(5):
        assert cluster.write(b"%d" % place)
    cluster.run(200)
    told = rejections(cluster)
    cluster.kill("b")
    disk = cluster["b"].disk
    del disk.entries[-3:]
    disk.commit_index = min(disk.commit_index, len(disk.entries))
    disk.config_file = None
    cluster.start("b")
    cluster.run(cluster.timers.evict + 500)
    assert RejectReason.LOST_DATA in told
    assert in_sync(cluster) == {"a", "c"}


def test_a_changed_address_becomes_known() -> None:
    cluster = formed()
    cluster.kill("c")
    server = cluster.servers.pop("c")
    assert cluster.write(b"without c")
    server.name = "z"
    cluster.servers["z"] = server
    cluster.start("z")
    assert cluster.run(5_000, lambda: cluster.all_in_sync("abz")), cluster.describe()
    assert sorted(members(cluster)) == ["a", "b", "z"]


def test_one_learner_at_a_time_grows() -> None:
    cluster = formed("abcde")
    grown = [note.config for _, note in cluster["a"].notes if note.kind is NoteKind.CONFIG and note.config]
    sizes = [len(config.in_sync) for config in grown]
    assert all(later - earlier <= 1 for earlier, later in pairwise(sizes))
    assert sizes[-1] == 5


def test_without_isolated_promotion_two_silent_backups_block_their_primary() -> None:
    cluster = formed()
    cluster.cut_both("ab", "ac", "bc")
    assert not cluster.write(b"nobody knows", ms=30_000)
    cluster.heal()
    assert cluster.write(b"again", ms=5_000), cluster.describe()


def test_with_isolated_promotion_a_cut_off_primary_goes_on_degraded() -> None:
    cluster = formed(isolated=10_000)
    cluster.cut_both("ab", "ac", "bc")
    assert cluster.write(b"alone", ms=30_000), cluster.log()
    primary = cluster.primary()
    assert primary is not None
    config = primary.core.log.newest_config
    assert config is not None
    assert config.degraded


def test_a_hello_from_another_cluster_is_rejected() -> None:
    cluster = formed("ab")
    told = rejections(cluster)
    source = Identity(b"another", b"dir-x", 1 << 64, "b", "x")
    hello = Hello(5, NO_EPOCH, NO_POSITION, (), 0, 0)
    cluster.event("a", Received(Envelope(source, "a", None, 0, hello)))
    cluster.run(100)
    assert told == [RejectReason.WRONG_CLUSTER]


def test_rules_of_this_module_can_be_taken_away() -> None:
    cluster = formed(rules=ALL.without("dialback", "steady", "lag", "renew", "duplicate", "lostdata"))
    cluster.kill("b")
    assert cluster.write(b"without b")
    cluster.start("b")
    assert cluster.run(5_000, lambda: cluster.all_in_sync("abc"))


def test_a_learner_grows_while_writes_never_pause() -> None:
    """There is always something under way that it has not saved yet."""
    cluster = formed("ab")
    cluster.servers["c"] = type(cluster["a"])(cluster, "c")
    cluster.start("c")

    def write() -> None:
        cluster.propose("a", b"x")
        cluster.later(1, write)

    write()
    disk_delay(cluster, 20)
    assert cluster.run(5_000, lambda: cluster.all_in_sync("abc")), cluster.describe()


def disk_delay(cluster: Cluster, ms: int) -> None:
    save = cluster._save

    def slow(server: Server, replica: Replica, wanted: Save) -> None:
        cluster.later(ms, lambda: save(server, replica, wanted) if server.replica is replica else None)

    cluster._save = slow  # type: ignore[method-assign]
