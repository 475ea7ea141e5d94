"""A follower's side of a stream: Welcome, Append, Ack, StepDown, suspicion, lease and latch."""

from __future__ import annotations

from typing import Any

from chatsvc.replication.envelopes import (
    Ack,
    Announce,
    Append,
    Envelope,
    Fenced,
    Hello,
    Payload,
    Reject,
    RejectReason,
    StepDown,
    Welcome,
)
from chatsvc.replication.events import Broken, Received, Role
from chatsvc.replication.identity import Epoch, Position
from chatsvc.replication.rules import ALL
from tests.replication.cluster import Cluster
from tests.replication.test_streams import formed, watch


def from_primary(cluster: Cluster, payload: Payload, name: str = "a") -> Received:
    return Received(Envelope(cluster[name].core.identity, "b", None, 0, payload))


def append(cluster: Cluster, **changes: Any) -> Append:
    """A heartbeat as b expects it from a."""
    core, follower = cluster["a"].core, cluster["b"].core.following
    last = core.log.last
    values: dict[str, Any] = {
        "stream": follower.stream,
        "epoch": core.epoch,
        "sent_at": core.now,
        "prev": last,
        "entries": (),
        "last_index": last.log_index,
        "commit_index": core.commit_index,
        "ack_seen": 0,
        "in_sync": False,
    }
    return Append(**{**values, **changes})


def test_an_append_of_a_lower_epoch_is_fenced() -> None:
    cluster = formed()
    fenced = watch(cluster, Fenced)
    cluster.event("b", from_primary(cluster, append(cluster, epoch=Epoch(1, 0, b"x"))))
    assert [payload.promised for _, _, payload in fenced] == [cluster["b"].core.promised]


def test_an_append_on_another_stream_is_a_sign_of_life_and_nothing_else() -> None:
    cluster = formed("ab")
    acks = watch(cluster, Ack)
    cluster.event("b", from_primary(cluster, append(cluster, stream=7, last_index=99, commit_index=99)))
    assert not acks
    assert cluster["b"].core.commit_index < 99


def test_the_commit_index_goes_no_further_than_the_own_log() -> None:
    cluster = formed("ab")
    cluster.event("b", from_primary(cluster, append(cluster, commit_index=10_000)))
    assert cluster["b"].core.commit_index == cluster["b"].core.log.last_index


def test_a_gap_is_reported() -> None:
    cluster = formed("ab")
    cluster.run(60)
    acks = watch(cluster, Ack)
    last = cluster["a"].core.log.last
    beyond = Position(last.epoch, last.log_index + 5)
    cluster.event("b", from_primary(cluster, append(cluster, prev=beyond)))
    assert [(payload.gap, payload.received_index) for _, _, payload in acks] == [(True, last.log_index)]


def test_a_step_down_is_suspected_at_once_but_only_of_the_own_reign() -> None:
    cluster = formed()
    following = cluster["b"].core.following
    assert following.stream is not None
    cluster.event("b", from_primary(cluster, StepDown(following.stream, Epoch(1, 0, b"x"))))
    assert cluster["b"].core.role is Role.BACKUP
    cluster.event("b", from_primary(cluster, StepDown(following.stream, following.epoch)))
    assert cluster["b"].core.role is Role.WAITING


def test_only_the_welcome_to_the_newest_hello_counts() -> None:
    cluster = formed("ab")
    core = cluster["b"].core
    last = core.log.last_index
    stale = Welcome(core.following.hello_number - 1, core.epoch, 1)
    cluster.event("b", from_primary(cluster, stale))
    assert core.log.last_index == last


def test_not_primary_in_answer_to_a_hello_is_as_good_as_a_step_down() -> None:
    cluster = formed()
    cluster.drop = lambda source, target, payload: isinstance(payload, Hello)
    following = cluster["b"].core.following
    assert following.stream is not None
    cluster.event("b", Broken("a", None, following.stream))
    cluster.run(70)
    assert following.stream is None
    reject = Reject(following.hello_number, RejectReason.NOT_PRIMARY, None)
    cluster.event("b", from_primary(cluster, reject))
    assert cluster["b"].core.role is Role.WAITING


def test_an_announcement_beside_an_open_stream_that_brings_nothing_opens_another() -> None:
    cluster = formed("ab")
    cluster.drop = lambda source, target, payload: isinstance(payload, Append)
    old = cluster["b"].core.following.stream
    cluster.run(400)
    hellos = watch(cluster, Hello)
    cluster.event("b", from_primary(cluster, Announce(cluster["a"].core.epoch)))
    cluster.run(10)
    assert [payload.stream != old for _, _, payload in hellos] == [True]


def test_a_lease_of_another_reign_makes_no_latch() -> None:
    for rules, latched in ((ALL, False), (ALL.without("latchown"), True)):
        cluster = formed(rules=rules, isolated=10_000)
        following = cluster["b"].core.following
        assert following.lease.runs(cluster.now)
        following.lease.epoch = Epoch(1, 0, b"old")
        following.suspect("for the test")
        assert following.latched is latched


def test_a_stall_ends_a_latch_whose_lease_has_ended() -> None:
    for rules, latched in ((ALL, False), (ALL.without("latchawake"), True)):
        cluster = formed(rules=rules, isolated=10_000)
        following = cluster["b"].core.following
        following.suspect("for the test")
        assert following.latched
        following.after_stall(lease_runs=True)
        assert following.latched
        following.after_stall(lease_runs=False)
        assert following.latched is latched


def test_a_newer_primary_that_was_not_granted_ends_the_lease_of_the_old_one() -> None:
    cluster = formed()
    following = cluster["b"].core.following
    higher = Epoch(following.epoch.counter + 1, 0, cluster["c"].dir_id)
    cluster.event("b", from_primary(cluster, Announce(higher), name="c"))
    assert following.lease.epoch is None
    assert cluster["b"].core.promised == higher


def test_a_newer_primary_that_was_granted_does_not() -> None:
    cluster = formed()
    following = cluster["b"].core.following
    higher = Epoch(following.epoch.counter + 1, 0, cluster["c"].dir_id)
    following.granted_epoch = higher
    cluster.event("b", from_primary(cluster, Announce(higher), name="c"))
    assert following.lease.runs(cluster.now)


def test_a_learner_gets_no_lease() -> None:
    for rules, leased in ((ALL, False), (ALL.without("learnerlease"), True)):
        cluster = Cluster("ab", rules=rules)
        cluster.found("a")
        cluster.run(1_000)
        cluster.start("b")
        cluster.drop = lambda source, target, payload: (
            isinstance(payload, Append) and payload.in_sync  # what it would become a backup by
        )
        cluster.run(500)
        assert cluster["b"].core.following.lease.runs(cluster.now) is leased
