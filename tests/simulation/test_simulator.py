"""The simulation itself: time, network, disk, and a judge that sees what is wrong."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

import pytest

from tests.simulation.agenda import MS, SECOND, Agenda
from tests.simulation.checkers import Judge, Violation
from tests.simulation.disk import Disk
from tests.simulation.machine import REPLACED, Machine, encode
from tests.simulation.network import Network
from tests.simulation.parameters import Parameters


class Host:
    """A process that only notes what arrives."""

    def __init__(self, address: str):
        self.address, self.alive, self.paused, self.waiting = address, True, False, 0
        self.got: list[tuple[str, Any]] = []

    def arrive(self, kind: str, first: Any, second: Any) -> None:
        self.got.append((kind, first))


def network(**changes: Any) -> tuple[Agenda, Network, Host, Host]:
    agenda = Agenda()
    net = Network(agenda, Random(1), Parameters(**changes), Counter())
    a, b = Host("a"), Host("b")
    net.listen(a)
    net.listen(b)
    return agenda, net, a, b


def test_time_jumps_from_act_to_act_in_order() -> None:
    agenda, seen = Agenda(), []
    agenda.after(5, seen.append, "late")
    agenda.after(2, seen.append, "early")
    agenda.after(2, seen.append, "early, planned later")
    agenda.run(10)
    assert seen == ["early", "early, planned later", "late"]
    assert agenda.now == 10


def test_a_link_keeps_the_order_of_what_is_sent() -> None:
    agenda, net, a, b = network(latency_min=MS, latency_max=50 * MS, late=0.3)
    link = net.dial(a, "b")
    assert link is not None
    for number in range(50):
        net.send(a, link, number)
    agenda.run(SECOND)
    assert b.got == [("envelope", number) for number in range(50)]


def test_a_short_cut_delays_what_is_on_a_link_and_a_long_one_breaks_it() -> None:
    for lasts, arrives in ((SECOND, "envelope"), (9 * SECOND, "broken")):
        agenda, net, a, b = network()
        link = net.dial(a, "b")
        assert link is not None
        net.cut("a", "b", lasts)
        net.send(a, link, "hello")
        agenda.run(20 * SECOND)
        assert [kind for kind, _ in b.got] == [arrives]
        assert [kind for kind, _ in a.got] == ["broken"] * (arrives == "broken")


def test_calls_are_lost_and_doubled_by_chance_and_cut_off_by_a_cut() -> None:
    agenda, net, a, b = network(loss=0.2, duplicates=0.2)
    for number in range(500):
        net.call(a, "b", number)
    agenda.run(SECOND)
    counts = Counter(number for _, number in b.got)
    assert 350 < len(counts) < 450
    assert 50 < sum(count == 2 for count in counts.values()) < 150
    net.cut("a", "b", 10 * SECOND)
    before = len(b.got)
    net.call(a, "b", 999)
    agenda.run(2 * SECOND)
    assert len(b.got) == before


def test_the_kernel_refuses_for_the_dead_accepts_for_the_paused_and_is_silent_behind_a_cut() -> None:
    agenda, net, a, b = network()
    b.paused = True
    net.probe(a, "b", "first")
    agenda.run(SECOND)
    assert a.got == [("accepted", "first")]
    net.hang_up(b, [])
    net.probe(a, "b", "second")
    agenda.run(2 * SECOND)
    assert a.got[1:] == [("refused", "second")]
    net.cut("b", "a", 10 * SECOND)
    net.probe(a, "b", "third")
    net.machines_down.add("b")
    net.probe(a, "b", "fourth")
    agenda.run(5 * SECOND)
    assert len(a.got) == 2


def test_a_paused_process_buffers_only_so_many_calls() -> None:
    agenda, net, a, b = network(buffer=3)
    b.paused, b.waiting = True, 3
    net.call(a, "b", "one too many")
    agenda.run(SECOND)
    assert b.got == []


def test_the_end_of_a_process_breaks_its_links() -> None:
    agenda, net, a, b = network()
    link = net.dial(a, "b")
    assert link is not None
    net.hang_up(b, [link])
    agenda.run(SECOND)
    assert a.got == [("broken", link)]
    assert net.dial(a, "b") is None


def disk(seed: int, **changes: Any) -> tuple[Agenda, Disk, list[Any], list[Any]]:
    agenda = Agenda()
    durable: list[Any] = []
    told: list[Any] = []
    return (
        agenda,
        Disk(
            agenda,
            Random(seed),
            Parameters(**changes),
            Counter(),
            durable.append,
            lambda outcome, save: told.append((outcome, save)),
        ),
        durable,
        told,
    )


def test_a_write_is_durable_before_anybody_is_told() -> None:
    agenda, one, durable, told = disk(1)
    one.submit("x")
    assert durable == []
    agenda.run(SECOND)
    assert durable == ["x"]
    assert told == [("saved", "x")]


def test_a_crash_loses_what_was_not_synced_and_keeps_a_group_whole() -> None:
    outcomes = set()
    for seed in range(20):
        agenda, one, durable, told = disk(seed)
        one.submit("first")
        one.submit("second")
        one.submit("third")
        agenda.run(MS // 2)
        one.crash()
        agenda.run(SECOND)
        assert told == []
        outcomes.add(tuple(durable))
    assert outcomes == {(), ("first",)}


def test_a_hung_disk_ends_its_write_later() -> None:
    agenda, one, durable, _ = disk(1)
    one.hangs_until = 3 * SECOND
    one.submit("x")
    agenda.run(2 * SECOND)
    assert durable == []
    agenda.run(4 * SECOND)
    assert durable == ["x"]


def test_a_full_disk_refuses_until_there_is_room_and_a_failed_sync_ends_everything() -> None:
    agenda, one, durable, told = disk(1)
    one.full_until = SECOND
    one.submit("x")
    agenda.run(SECOND // 2)
    assert durable == []
    assert told[0] == ("full", "x")
    agenda.run(2 * SECOND)
    assert durable == ["x"]
    assert told[-1] == ("saved", "x")
    one.fails_next = True
    one.submit("y")
    one.submit("z")
    agenda.run(3 * SECOND)
    assert told[-1] == ("failed", "y")
    assert "z" not in durable


def test_the_machine_applies_an_operation_once_and_repeats_its_result() -> None:
    machine = Machine()
    machine.apply(1, encode(1, [("open", 7, 1)]))
    first = machine.apply(2, encode(2, [("send", 7, 1, 1, 1)]))
    again = machine.apply(3, encode(3, [("send", 7, 1, 1, 1)]))
    assert first[0][1] == again[0][1] == 1
    machine.apply(4, encode(4, [("open", 7, 2)]))
    assert machine.apply(5, encode(5, [("send", 7, 1, 2, 1)]))[0][1] == REPLACED


def judge() -> Judge:
    """One that has seen client 1 send two operations, committed at log index 1 and 2."""
    one = Judge(Counter())
    one.invoked(1, 2)
    one.released("a", 1, b"one", [(("send", 7, 1, 1, 1), 11)], 100)
    one.released("a", 2, b"two", [(("send", 7, 1, 2, 1), 12)], 200)
    return one


class _Entry:
    def __init__(self, index: int, chain: bytes):
        self.index, self.chain = index, chain


BAD_HISTORIES = {
    "lost": lambda one: one.resumed(1, 2, 2, "b"),
    "acknowledged but never committed": lambda one: one.answered(1, 3, 13),
    "another answer on retry": lambda one: one.answered(1, 1, 99),
    "another entry at a committed index": lambda one: one.released("b", 2, b"other", [], 200),
    "another state": lambda one: one.released("b", 2, b"two", [], 201),
    "gap in what is committed": lambda one: one.released("b", 4, b"four", [], 1),
    "reordered": lambda one: (one.invoked(1, 4), one.released("a", 3, b"three", [(("send", 7, 1, 4, 1), 1)], 1)),
    "invented": lambda one: one.released("a", 3, b"three", [(("send", 7, 1, 3, 1), 1)], 1),
    "applied twice with another result": lambda one: one.released("a", 3, b"3", [(("send", 7, 1, 2, 1), 1)], 1),
    "stale read": lambda one: (one.answered(1, 2, 12), one.read("a", 1, one.answered_index)),
    "two primaries of one epoch": lambda one: (
        one.promoted("a", 1, 5, [_Entry(1, b"one"), _Entry(2, b"two")]),
        one.promoted("b", 1, 5, [_Entry(1, b"one"), _Entry(2, b"two")]),
    ),
    "winner without a committed entry": lambda one: one.promoted("b", 1, 5, [_Entry(1, b"one")]),
    "winner with another entry": lambda one: one.promoted("b", 1, 5, [_Entry(1, b"one"), _Entry(2, b"no")]),
    "commit after a higher epoch": lambda one: (one.commits("a", 5), one.commits("b", 4)),
    "committed entry truncated": lambda one: one.truncated("b", [_Entry(2, b"two")], 0),
    "own committed entry truncated": lambda one: one.truncated("b", [_Entry(3, b"x")], 3),
    "one epoch and index, two entries": lambda one: (one.wrote("a", 5, 9, b"x"), one.wrote("b", 5, 9, b"y")),
}


@pytest.mark.parametrize("history", BAD_HISTORIES.values(), ids=list(BAD_HISTORIES))
def test_the_judge_sees_a_bad_history(history: Any) -> None:
    with pytest.raises(Violation):
        history(judge())


def test_the_judge_accepts_a_good_history() -> None:
    one = judge()
    one.answered(1, 1, 11)
    one.answered(1, 1, 11)
    one.resumed(1, 3, 2, "b")
    one.released("b", 1, b"one", [], 100)
    one.truncated("b", [_Entry(2, b"uncommitted")], 1)
    one.promoted("b", 1, 5, [_Entry(1, b"one"), _Entry(2, b"two"), _Entry(3, b"more")])
    one.commits("b", 5)
