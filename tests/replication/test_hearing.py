"""Whose envelopes count, and what a refusal, an answer or another process at an address means."""

from __future__ import annotations

import msgspec

from chatsvc.replication.envelopes import Announce, Envelope, Payload, Survey, SurveyReply
from chatsvc.replication.events import Probe, ProbeAnswered, ProbeRefused, Received, Role
from chatsvc.replication.identity import NO_CLUSTER, Epoch, Identity, boot_id
from chatsvc.replication.rules import ALL
from tests.replication.cluster import CLUSTER, Cluster
from tests.replication.test_streams import formed, watch


def envelope(source: Identity, payload: Payload, to: str = "a", dir_id: bytes | None = None) -> Received:
    return Received(Envelope(source, to, dir_id, 0, payload))


def identity(cluster: Cluster, name: str) -> Identity:
    return cluster[name].core.identity


def late_probe(cluster: Cluster, name: str, address: str) -> Probe:
    core = cluster[name].core
    core.evidence.events += 1
    return Probe(address, core.evidence.events, core.now)


def test_a_survey_of_a_directory_that_belongs_to_no_cluster_is_answered() -> None:
    cluster = formed("ab")
    replies = watch(cluster, SurveyReply)
    stranger = Identity(NO_CLUSTER, b"dir-x", boot_id(1, 5), "x", "x")
    cluster.event("a", envelope(stranger, Survey(1, None)))
    assert [(target, payload.primary.address) for _, target, payload in replies] == [("x", "a")]


def test_another_cluster_is_not_heard() -> None:
    cluster = formed("ab")
    replies = watch(cluster, SurveyReply)
    stranger = Identity(b"another", b"dir-x", boot_id(1, 5), "x", "x")
    cluster.event("a", envelope(stranger, Survey(1, None)))
    cluster.event("a", envelope(stranger, Announce(Epoch(99, 0, b"dir-x"))))
    assert not replies
    assert cluster["a"].core.role is Role.PRIMARY


def test_what_an_earlier_process_had_sent_is_void() -> None:
    cluster = formed("ab")
    old = identity(cluster, "b")
    cluster.kill("b")
    cluster.start("b")
    cluster.run(1_500)
    replies = watch(cluster, SurveyReply)
    cluster.event("a", envelope(old, Survey(1, None)))
    assert not replies
    assert cluster["a"].core.evidence.boot_of[cluster["b"].dir_id] > old.boot


def test_mail_for_another_directory_at_this_address_is_void() -> None:
    cluster = formed("ab")
    replies = watch(cluster, SurveyReply)
    cluster.event("a", envelope(identity(cluster, "b"), Survey(1, None), dir_id=b"the one before"))
    assert not replies


def test_a_server_that_is_led_back_to_itself_says_so() -> None:
    cluster = formed("ab")
    own = identity(cluster, "a")
    elsewhere = msgspec.structs.replace(own, address="localhost:1")
    cluster.event("a", ProbeAnswered(late_probe(cluster, "a", "localhost:1"), elsewhere))
    assert "leads back to this server" in cluster["a"].core.status().problem
    cluster.run(11_000)
    assert cluster["a"].core.status().problem == ""


def test_a_refusal_drops_a_member_but_not_one_that_was_heard_since_the_probe_began() -> None:
    cluster = formed()
    early = late_probe(cluster, "a", "b")
    cluster.run(100)
    cluster.event("a", ProbeRefused(early))
    assert cluster["b"].dir_id in cluster["a"].core.reign.others  # type: ignore[union-attr]
    cluster.event("a", ProbeRefused(late_probe(cluster, "a", "b")))
    assert cluster["b"].dir_id not in cluster["a"].core.reign.others  # type: ignore[union-attr]


def test_another_directory_at_a_member_s_address_is_a_refusal_of_it() -> None:
    cluster = formed()
    newcomer = Identity(CLUSTER, b"dir-new", boot_id(1, 1), "b", "b")
    cluster.event("a", ProbeAnswered(late_probe(cluster, "a", "b"), newcomer))
    assert cluster["a"].core.evidence.refused(cluster["b"].dir_id)


def test_a_primary_refused_is_suspected_at_once() -> None:
    cluster = formed()
    cluster.event("b", ProbeRefused(late_probe(cluster, "b", "a")))
    assert cluster["b"].core.role is Role.WAITING


def test_a_primary_that_was_restarted_is_suspected_at_once() -> None:
    cluster = formed()
    newer = msgspec.structs.replace(identity(cluster, "a"), boot=boot_id(99, 1))
    cluster.event("b", envelope(newer, Survey(1, None), to="b"))
    assert cluster["b"].core.role is Role.WAITING


def test_a_copy_elsewhere_does_not_replace_the_process_that_acks() -> None:
    for rules, replaced in ((ALL, False), (ALL.without("duplicate"), True)):
        cluster = formed(rules=rules)
        copy = msgspec.structs.replace(identity(cluster, "b"), boot=boot_id(99, 1), address="d")
        cluster.event("a", ProbeAnswered(late_probe(cluster, "a", "d"), copy))
        known = cluster["a"].core.evidence.boot_of[cluster["b"].dir_id]
        assert (known == copy.boot) is replaced


def test_a_restarted_process_replaces_the_one_before_when_it_answers_at_its_address() -> None:
    cluster = formed()
    newer = msgspec.structs.replace(identity(cluster, "b"), boot=boot_id(99, 1))
    cluster.event("a", ProbeAnswered(late_probe(cluster, "a", "b"), newer))
    assert cluster["a"].core.evidence.boot_of[cluster["b"].dir_id] == newer.boot
