"""Who takes over, in whole small clusters; each rule with a schedule that needs it is in the simulation."""

from __future__ import annotations

from chatsvc.replication.envelopes import Append, Survey, Vote, VoteReply
from chatsvc.replication.events import ForcePromote, NoteKind, Role
from tests.replication.cluster import Cluster, operations

WORKLOAD = [b"one", b"two", b"three"]


def formed(names: str = "abc", **keys: object) -> Cluster:
    cluster = Cluster(names, **keys)  # type: ignore[arg-type]
    cluster.form()
    for payload in WORKLOAD:
        assert cluster.write(payload)
    return cluster


def test_a_new_cluster_of_one_serves_at_once() -> None:
    cluster = Cluster("a")
    cluster.found("a")
    assert cluster.write(b"first", ms=300)


def test_the_last_of_three_serves_after_the_others_were_killed_one_after_the_other() -> None:
    cluster = formed()
    for _ in range(2):
        primary = cluster.primary()
        assert primary is not None
        cluster.kill(primary.name)
        before = cluster.now
        assert cluster.write(b"after", ms=1_000), cluster.log()
        assert cluster.now - before < 400
    assert len(operations(next(s for s in cluster.servers.values() if s.replica))) == 5


def test_two_killed_at_once_leave_the_third_serving() -> None:
    for victims in ("ab", "bc", "ac"):
        cluster = formed()
        cluster.kill(*victims)
        assert cluster.write(b"after", ms=1_000), cluster.log()


def test_a_backup_alone_does_not_pass_over_a_silent_primary() -> None:
    cluster = formed()
    cluster.kill("c")
    assert cluster.write(b"without c")
    cluster.run(1_000)
    cluster.cut_both("ab")
    cluster.run(20_000)
    assert cluster["b"].core.role is Role.WAITING
    assert cluster["b"].core.status().waiting_for == ("a (a)",)
    assert cluster.write(b"a goes on")


def test_a_backup_alone_passes_over_a_hung_primary() -> None:
    cluster = formed("ab")
    cluster.run(1_000)
    cluster.pause("a", 60_000)
    assert cluster.run(2_500, lambda: cluster["b"].core.role is Role.PRIMARY), cluster.log()
    assert cluster.write(b"b serves")


def test_two_backups_pass_over_a_primary_that_is_cut_off() -> None:
    cluster = formed()
    cluster.cut_both("ab", "ac")
    assert cluster.run(3_000, lambda: cluster.primary() is not cluster["a"])
    assert cluster.write(b"two of three")
    assert cluster["a"].core.commit_index < len(cluster.committed)
    cluster.heal()
    assert cluster.run(10_000, lambda: cluster.all_in_sync("abc")), cluster.describe()


def test_nobody_waits_for_the_answer_of_a_silent_primary_who_can_go_on_without_it() -> None:
    cluster = formed()
    cluster.run(1_000)
    cluster.pause("a", 60_000)
    suspect, rpc = cluster["b"].core.timers.suspect, cluster["b"].core.timers.rpc
    backups = cluster["b"].core, cluster["c"].core
    assert cluster.run(suspect + rpc // 2, lambda: any(each.role is Role.PRIMARY for each in backups)), cluster.log()


def test_a_survey_does_not_wait_for_the_distance_between_two_probes() -> None:
    cluster = formed()
    cluster.run(1_000)
    cluster.kill("a")
    assert cluster.run(cluster["b"].core.timers.probe_every // 2, lambda: cluster.primary() is not None), cluster.log()


def test_who_has_granted_does_not_stand_in_its_way_because_the_old_primary_is_refused() -> None:
    """Else it may depose the one it has elected, who has a CONFIG then that nobody else has: no two leases agree."""
    cluster = formed()
    cluster.run(1_000)
    cluster.kill("a")
    backups = cluster["b"], cluster["c"]
    assert cluster.run(100, lambda: any(each.core.granted_at > 0 for each in backups))
    (voter,) = (each.core for each in backups if each.core.granted_at > 0)
    cluster.cut_both("bc")
    assert not cluster.run(voter.timers.rpc - 10, lambda: voter.election is not None), cluster.log()
    assert cluster.run(100, lambda: voter.election is not None)


def test_a_full_restart_waits_for_the_last_in_sync_and_names_it() -> None:
    cluster = formed()
    cluster.kill("c")
    assert cluster.write(b"without c")
    cluster.kill("a", "b")
    cluster.start("c")
    cluster.start("a")
    cluster.run(5_000)
    assert cluster.primary() is None
    assert cluster["a"].core.status().waiting_for == ("b (b)",)
    cluster.start("b")
    assert cluster.write(b"again", ms=3_000), cluster.describe()
    assert operations(cluster["b"])[:4] == [*WORKLOAD, b"without c"]


def test_a_server_that_has_just_started_neither_grants_nor_stands() -> None:
    cluster = formed()
    cluster.kill("a", "b", "c")
    started = cluster.now
    for name in "abc":
        cluster.start(name)
    assert cluster.run(5_000, lambda: cluster.primary() is not None)
    wins = [
        at
        for server in cluster.servers.values()
        for at, note in server.notes
        if note.kind is NoteKind.GRANTS and at > started
    ]
    assert wins
    assert min(wins) - started >= cluster.timers.start


def test_a_stalled_primary_steps_down_when_it_may_have_been_replaced() -> None:
    cluster = formed()
    epoch = cluster["a"].core.epoch
    cluster.pause("a", 3_000)
    cluster.run(2_000)
    primary = cluster.primary()
    assert primary is not None
    assert primary.core.epoch > epoch
    cluster.run(1_100)
    assert cluster["a"].core.reign is None
    assert cluster.run(5_000, lambda: cluster.all_in_sync("abc"))


def test_a_primary_that_stalls_shortly_goes_on() -> None:
    cluster = formed()
    epoch = cluster["a"].core.epoch
    cluster.run(100)
    cluster.pause("a", 500)
    cluster.run(600)
    assert cluster["a"].core.role is Role.PRIMARY
    assert cluster["a"].core.epoch == epoch


def test_votes_that_were_lost_are_asked_again() -> None:
    cluster = formed()
    lost = []

    def drop(source: str, target: str, payload: object) -> bool:
        if isinstance(payload, Vote | VoteReply) and len(lost) < 2:
            lost.append(payload)
            return True
        return False

    cluster.drop = drop
    cluster.cut_both("ab", "ac")
    assert cluster.run(4_000, lambda: cluster.primary() in (cluster["b"], cluster["c"])), cluster.log()
    assert len(lost) == 2


def test_a_restarted_primary_with_the_longest_log_is_elected_like_anybody() -> None:
    cluster = formed()
    cluster.drop = lambda source, target, payload: isinstance(payload, Append) and source == "a"
    cluster.propose("a", b"appended here only")
    cluster.run(20)
    cluster.kill("a")
    cluster.drop = lambda source, target, payload: False
    cluster.start("a")
    assert cluster.write(b"after", ms=5_000), cluster.log()
    assert cluster.run(5_000, lambda: cluster.all_in_sync("abc"))


def test_an_uncommitted_tail_is_kept_as_orphans() -> None:
    cluster = formed()
    cluster.cut_both("ab", "ac")
    index = cluster.propose("a", b"lost tail")
    assert index
    assert cluster.run(5_000, lambda: cluster.primary() in (cluster["b"], cluster["c"]))
    assert cluster.write(b"the new line")
    cluster.heal()
    assert cluster.run(10_000, lambda: cluster.all_in_sync("abc"))
    assert [entry.payload for entry in cluster["a"].disk.orphans if entry.payload == b"lost tail"]
    cluster.run(200)
    assert operations(cluster["a"]) == operations(cluster["b"])


def test_who_is_asked_about_a_dead_primary_probes_it_before_answering() -> None:
    """c has seen a refusal, b has heard nothing yet: b does not send c back to the dead primary."""
    cluster = formed()
    asked: list[int] = []
    cluster.drop = lambda source, target, payload: bool(
        isinstance(payload, Survey) and target == "b" and asked.append(cluster.now)
    )
    cluster.kill("a")
    assert cluster.write(b"after", ms=500), cluster.log()


def test_four_of_five_may_go_one_by_one() -> None:
    cluster = formed("abcde")
    for _ in range(4):
        primary = cluster.primary()
        assert primary is not None
        cluster.kill(primary.name)
        assert cluster.write(b"after", ms=3_000), cluster.log()
        cluster.run(300)


# ---- an operator's override


def lost_for_good() -> Cluster:
    """a and b went on without c and are lost; c alone may not serve."""
    cluster = formed()
    cluster.kill("c")
    for _ in range(5):
        assert cluster.write(b"without c")
        cluster.run(60)
    cluster.kill("a", "b")
    cluster.start("c")
    cluster.run(3_000)
    assert cluster["c"].core.role is Role.WAITING
    del cluster.committed[len(cluster["c"].applied) :]  # what comes may differ from what the others had
    return cluster


def test_an_operator_can_force_a_server_to_serve_and_the_configs_say_so_for_ever() -> None:
    cluster = lost_for_good()
    before = cluster["c"].core.promised
    cluster.event("c", ForcePromote(1))
    cluster.run(20)
    (result,) = cluster["c"].forced
    assert result.epoch is not None
    assert result.epoch > before
    config = cluster["c"].core.log.newest_config
    assert config is not None
    assert config.forced
    assert config.degraded
    assert config.in_sync == (cluster["c"].dir_id,)
    assert cluster.write(b"c alone")
    cluster["b"].wipe()
    cluster.start("b")
    assert cluster.run(5_000, lambda: cluster.all_in_sync("bc"))
    newest = cluster["b"].core.log.newest_config
    assert newest is not None
    assert newest.forced


def test_one_that_has_committed_more_than_a_forced_primary_waits_for_its_snapshot() -> None:
    cluster = lost_for_good()
    for _ in range(2):
        cluster.event("c", ForcePromote(1))
        cluster.run(20)
    assert cluster.write(b"c alone")
    cluster.start("b")
    cluster.run(3_000)
    assert "empty its data directory" in cluster["b"].core.status().problem
    assert cluster["b"].core.reign is None


def test_a_forced_promotion_is_refused_where_a_primary_lives() -> None:
    cluster = formed()
    for name, part in (("a", "is primary"), ("b", "there is a primary at a")):
        cluster.event(name, ForcePromote(1))
        (result,) = cluster[name].forced
        assert result.epoch is None
        assert part in result.refusal


def test_a_forced_promotion_is_refused_where_there_is_nothing_to_serve() -> None:
    cluster = Cluster("a")
    cluster.start("a")
    cluster.event("a", ForcePromote(1))
    assert cluster["a"].forced[0].refusal == "this server has nothing to serve"
