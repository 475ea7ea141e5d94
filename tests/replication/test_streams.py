"""Entries on their way to followers: pipelining, loss, lagging backups, bounds."""

from __future__ import annotations

from random import Random
from typing import Any

from chatsvc.replication.entries import EntryKind, make_entry
from chatsvc.replication.envelopes import Ack, Append
from chatsvc.replication.events import Broken, Propose, Read, ReadDone
from tests.replication.cluster import Cluster, Server, operations


def formed(names: str = "abc", **keys: Any) -> Cluster:
    cluster = Cluster(names, **keys)
    cluster.form()
    cluster.run(1_000)
    return cluster


def watch(cluster: Cluster, kind: type) -> list[tuple[str, str, Any]]:
    """All payloads of that kind from now on, with source and target."""
    seen: list[tuple[str, str, Any]] = []
    drop = cluster.drop

    def look(source: str, target: str, payload: Any) -> bool:
        if isinstance(payload, kind):
            seen.append((source, target, payload))
        return drop(source, target, payload)

    cluster.drop = look
    return seen


def propose_many(cluster: Cluster, count: int, size: int = 10) -> None:
    for number in range(count):
        assert cluster.propose("a", b"%d" % number + b"." * size)


def caught_up(cluster: Cluster, *names: str) -> bool:
    last = cluster["a"].core.log.last_index
    return all(cluster[name].core.released_index == last for name in names)


def test_entries_leave_before_the_own_save_has_ended() -> None:
    cluster = formed()
    appends = watch(cluster, Append)
    cluster["a"].stuck_disk = True
    index = cluster.propose("a", b"early")
    cluster.run(20)
    assert cluster["b"].core.log.last_index == index
    assert cluster["a"].core.commit_index < index
    assert [payload for _, _, payload in appends if payload.entries]
    cluster.unstick("a")
    cluster.run(20)
    assert cluster["a"].core.commit_index == index


def test_several_groups_are_under_way_at_once() -> None:
    cluster = formed()
    cluster["b"].stuck_disk = True
    propose_many(cluster, 20)
    cluster.run(20)
    assert cluster["b"].core.log.last_index == cluster["a"].core.log.last_index
    cluster.unstick("b")
    cluster.run(30)
    assert cluster["a"].core.commit_index == cluster["a"].core.log.last_index


def test_events_stepped_together_share_one_append_and_one_save() -> None:
    cluster = formed("ab")
    core = cluster["a"].core
    for number in range(10):
        core.step(Propose(b"x", number), cluster.now)
    ready = core.take_ready()
    appends = [envelope.payload for envelope in ready.envelopes if isinstance(envelope.payload, Append)]
    assert len(appends) == 1
    assert isinstance(appends[0], Append)
    assert len(appends[0].entries) == 10
    assert ready.save is not None
    assert len(ready.results) == 10


def test_a_follower_acks_a_group_once_when_it_is_saved() -> None:
    cluster = formed("ab")
    cluster.run(60)
    acks = watch(cluster, Ack)
    index = cluster.propose("a", b"x")
    cluster.run(5)
    assert [payload.durable_index for _, _, payload in acks if payload.durable_index == index] == [index]


def test_lost_appends_are_sent_again() -> None:
    cluster = formed()
    random = Random(3)
    cluster.drop = lambda source, target, payload: isinstance(payload, Append | Ack) and random.random() < 0.3
    for _ in range(100):
        cluster.propose("a", b"x")
        cluster.run(3)
    cluster.drop = lambda source, target, payload: False
    assert cluster.run(5_000, lambda: caught_up(cluster, "a", "b", "c")), cluster.describe()


def test_one_lost_append_is_filled_without_sending_again_what_followed() -> None:
    cluster = formed("ab")
    lost: list[Append] = []

    def drop(source: str, target: str, payload: Any) -> bool:
        if isinstance(payload, Append) and payload.entries and not lost:
            lost.append(payload)
            return True
        return False

    cluster.drop = drop
    appends = watch(cluster, Append)
    for _ in range(10):
        cluster.propose("a", b"x")
        cluster.run(1)
    assert cluster.run(1_000, lambda: caught_up(cluster, "a", "b"))
    assert sum(len(payload.entries) for _, _, payload in appends) < 20
    assert len(lost) == 1


def test_a_backup_far_behind_is_served_from_disk_in_bounded_batches() -> None:
    cluster = formed(tail_entries_max=16, append_entries_max=32)
    reads: list[Read] = []
    read = cluster._read

    def look(server: Server, replica: Any, wanted: Read) -> None:
        reads.append(wanted)
        read(server, replica, wanted)

    cluster._read = look  # type: ignore[method-assign]
    cluster.kill("c")
    assert cluster.write(b"without c")
    for _ in range(40):
        propose_many(cluster, 10)
        cluster.run(20)
    assert len(cluster["a"].core.log.tail) < 60
    cluster.start("c")
    assert cluster.run(5_000, lambda: cluster.all_in_sync("abc")), cluster.describe()
    assert reads
    assert all(wanted.end_index - wanted.first_index <= 32 for wanted in reads)
    assert cluster.run(1_000, lambda: caught_up(cluster, "c"))
    assert operations(cluster["c"]) == operations(cluster["a"])


def test_a_restarted_server_releases_what_is_committed_from_disk() -> None:
    cluster = formed("ab", tail_entries_max=8)
    propose_many(cluster, 50)
    cluster.run(200)
    cluster.kill("b")
    cluster["b"].disk.commit_index = 1
    cluster.start("b")
    server = cluster["b"]
    core = server.core
    core.log.trim(core.log.last_index, 4, 1 << 20)
    assert cluster.run(2_000, lambda: caught_up(cluster, "b"))
    assert operations(server) == operations(cluster["a"])


def test_a_match_point_that_is_not_in_memory_is_read_before_the_log_is_cut_there() -> None:
    cluster = formed()
    cluster.tail_at_start = 1
    cluster.cut_both("ab", "ac")
    propose_many(cluster, 5)
    cluster.run(20)
    cluster.kill("a")
    assert cluster.write(b"without a", ms=3_000)
    cluster.heal()
    cluster.start("a")
    assert cluster.run(5_000, lambda: cluster.all_in_sync("abc")), cluster.describe()
    assert len(cluster["a"].disk.orphans) >= 5
    cluster.run(200)
    assert operations(cluster["a"]) == operations(cluster["b"])


def test_what_is_under_way_to_a_slow_backup_is_bounded() -> None:
    cluster = formed(window_entries=8, append_entries_max=4)
    cluster["b"].stuck_disk = True
    propose_many(cluster, 50)
    cluster.run(100)
    backlog = (
        cluster["b"].core.log.last_index
        - cluster["a"]
        .core.reign.streams.by_member[  # type: ignore[union-attr]
            cluster["b"].dir_id
        ]
        .durable
    )
    assert backlog <= 8 + 4
    cluster.unstick("b")
    assert cluster.run(2_000, lambda: caught_up(cluster, "a"))


def test_proposals_beyond_the_bound_are_refused_and_taken_again_later() -> None:
    cluster = formed(uncommitted_entries_max=5)
    cluster["b"].stuck_disk = True
    for _ in range(5):
        assert cluster.propose("a", b"x")
    assert cluster.propose("a", b"x") == 0
    assert cluster["a"].results[-1].refusal == "too much in flight"
    cluster.unstick("b")
    cluster.run(20)
    assert cluster.propose("a", b"x")


def test_a_broken_stream_is_opened_anew() -> None:
    cluster = formed()
    follower = cluster["b"].core.following
    old = follower.stream
    assert old is not None
    cluster.event("b", Broken("a", None, old))
    cluster.event("a", Broken("b", cluster["b"].dir_id, old))
    assert cluster.write(b"x")
    assert cluster["b"].core.following.stream not in (None, old)
    assert cluster["b"].core.epoch == cluster["a"].core.epoch


def test_an_entry_that_does_not_follow_is_not_taken() -> None:
    cluster = formed("ab")

    def corrupt(source: str, target: str, payload: Any) -> bool:
        return False

    cluster.drop = corrupt
    core = cluster["b"].core
    core.log.last_chain = b"?" * 16
    cluster.propose("a", b"x")
    cluster.run(10)
    assert "does not follow" in core.status().problem
    assert core.log.last_index < cluster["a"].core.log.last_index


def test_what_has_arrived_while_it_is_read_from_disk_is_not_sent_again() -> None:
    cluster = formed(tail_entries_max=4)
    propose_many(cluster, 40)
    cluster.run(200)
    core = cluster["a"].core
    assert core.reign is not None
    streams = core.reign.streams
    stream = streams.by_member[cluster["b"].dir_id]
    last, durable = core.log.last_index, stream.durable
    assert durable == last
    stream.durable = last - 20
    streams._rewind(stream, last - 20)  # b has lost it, as it seems
    assert core.log.get(last - 19) is None
    streams.send_append(stream, False, {})
    assert stream.reading == last - 19
    late = Ack(stream.number, core.epoch, 10_000, last - 5, last - 5, core.now, last, False, last - 5, True)
    streams.on_ack(stream, late)
    streams.on_read(
        stream, ReadDone(core.ready.reads[-1], (make_entry(core.epoch, last - 19, EntryKind.OP, b"", b""),))
    )
    assert stream.next_index == last - 4
    assert not stream.in_flight
