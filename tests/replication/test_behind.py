"""What a primary may do while others are silent, refused, or back again."""

from __future__ import annotations

from typing import cast

from chatsvc.replication.behind import BehindItsBack
from chatsvc.replication.configs import Config, Mode
from chatsvc.replication.evidence import Evidence
from chatsvc.replication.identity import Epoch, Member
from chatsvc.replication.reign import Reign
from chatsvc.replication.rules import ALL, Rules
from chatsvc.replication.settings import Settings, Timers

TIMERS = Timers()
NOW = 100_000
OLD = NOW - TIMERS.suspect
REIGN = Epoch(1, 0, b"a")


def config(names: str, index: int) -> Config:
    members = tuple(Member(name.encode(), name, name) for name in names)
    return Config(REIGN, index, tuple(m.dir_id for m in members), members, Mode.AVAILABLE, "", (), ())


class FakeLog:
    def __init__(self, later: list[Config]) -> None:
        self.later = later

    def configs_after(self, index: int) -> list[Config]:
        return self.later


class FakeReign:
    """Primary a; the others of the newest committed CONFIG hold leases."""

    def __init__(
        self, holders: str = "bc", later: tuple[str, ...] = (), rules: Rules = ALL, isolated: int | None = None
    ) -> None:
        self.replica = self
        self.timers, self.rules, self.now, self.dir_id, self.commit_index = TIMERS, rules, NOW, b"a", 0
        self.settings = Settings(isolated_promotion=isolated)
        self.evidence = Evidence(TIMERS, rules)
        self.lease_holders = tuple(name.encode() for name in holders)
        self.log = FakeLog([config(names, 10 + place) for place, names in enumerate(later)])
        self.bypassed: set[bytes] = set()
        self.behind = BehindItsBack(cast(Reign, self))
        for member in self.lease_holders:
            self.evidence.boot_heard_at[member] = 0

    def never_dropped(self) -> list[bytes]:
        return [m for m in self.lease_holders if all(m in each.in_sync for each in self.log.later)]

    def unacked(self, member: bytes) -> int:
        return NOW - self.behind.acked_append_at[member]

    def passed_over(self, members: list[bytes]) -> None:
        self.bypassed.update(members)

    def acked(self, **ages: int) -> FakeReign:
        for name, age in ages.items():
            self.behind.acked_append_at[name.encode()] = NOW - age
        return self

    def refused(self, name: str, first: int, last: int, every: int = 100) -> FakeReign:
        """Refused by attempts begun from `first` to `last` ms ago."""
        for age in range(first, last - 1, -every):
            self.behind.on_refused(name.encode(), NOW - age)
        return self


def may(reign: FakeReign, *servers: str) -> bool:
    return reign.behind.may_go_on_with({b"a", *(name.encode() for name in servers)})


def test_nobody_is_suspected_while_all_ack() -> None:
    assert may(FakeReign().acked(b=100, c=100))


def test_one_silent_backup_has_no_companion_and_may_be_dropped() -> None:
    assert may(FakeReign().acked(b=5_000, c=100), "c")


def test_two_silent_backups_may_have_elected_one_of_them() -> None:
    reign = FakeReign().acked(b=900, c=900)
    assert not may(reign)
    assert may(FakeReign(rules=ALL.without("alone")).acked(b=900, c=900))


def test_a_clock_that_runs_fast_suspects_earlier() -> None:
    assert not may(FakeReign().acked(b=770, c=770))
    assert may(FakeReign().acked(b=750, c=770))


def test_a_backup_refused_before_it_could_suspect_is_no_leader() -> None:
    reign = FakeReign().acked(b=900, c=900).refused("b", 800, 0).refused("c", 800, 0)
    assert reign.behind.rivals() == []


def test_a_backup_refused_after_it_could_suspect_is_a_leader_still() -> None:
    reign = FakeReign().acked(b=2_000, c=2_000).refused("b", 100, 0).refused("c", 100, 0)
    assert set(reign.behind.rivals()) == {b"b", b"c"}


def test_a_dead_companion_left_unobserved_may_have_been_up_again() -> None:
    """c died in time; b is silent and may lead. The probes of c left a gap in which c could take part."""
    watched = FakeReign().acked(b=3_000, c=3_000).refused("c", 2_900, 0)
    assert watched.behind.rivals() == []
    unwatched = FakeReign().acked(b=3_000, c=3_000).refused("c", 2_900, 2_000)
    assert unwatched.behind.rivals() == [b"b"]
    with_a_gap = FakeReign().acked(b=3_000, c=3_000).refused("c", 2_900, 2_000).refused("c", 1_000, 0)
    assert with_a_gap.behind.rivals() == [b"b"]


def test_one_heard_again_is_not_dead() -> None:
    reign = FakeReign().acked(b=900, c=900).refused("b", 800, 0).refused("c", 800, 0)
    reign.behind.on_heard(b"b")
    reign.behind.on_heard(b"c")
    assert set(reign.behind.rivals()) == {b"b", b"c"}


def test_a_server_of_a_growth_not_yet_committed_is_a_possible_companion() -> None:
    grown = FakeReign("b", ("abd",)).acked(b=900)
    assert grown.behind.rivals() == [b"b"]
    assert not may(grown)
    assert may(FakeReign("b", ("abd",), rules=ALL.without("comp")).acked(b=900))


def test_an_anchor_lets_the_primary_go_on() -> None:
    reign = FakeReign("bcd").acked(b=900, c=900, d=50)
    assert may(reign, "d")
    assert not may(reign)


def test_a_silent_member_that_stays_is_an_anchor_since_nothing_commits_without_its_ack() -> None:
    assert may(FakeReign().acked(b=900, c=900), "b")


def test_an_ack_that_was_long_under_way_is_no_leave_to_commit() -> None:
    for rules, leave in ((ALL, False), (ALL.without("anchorfresh"), True)):
        reign = FakeReign(rules=rules).acked(b=900, c=900)
        assert reign.behind.may_go_on_with({b"a", b"b", b"c"}, commit=True) is leave


def test_a_newcomer_is_no_anchor() -> None:
    reign = FakeReign("bc", ("abcn",)).acked(b=900, c=900, n=50)
    reign.evidence.boot_heard_at[b"n"] = 0
    assert not may(reign, "n")
    assert may(FakeReign("bc", ("abcn",), rules=ALL.without("anchor")).acked(b=900, c=900), "n")


def test_who_was_dropped_and_added_again_is_no_anchor() -> None:
    assert not may(FakeReign("bcd", ("abc", "abcd")).acked(b=900, c=900, d=50), "d")


def test_one_that_was_restarted_meanwhile_is_no_anchor() -> None:
    reign = FakeReign("bcd").acked(b=900, c=900, d=50)
    reign.evidence.boot_heard_at[b"d"] = NOW - 300
    assert not may(reign, "d")
    mutant = FakeReign("bcd", rules=ALL.without("anchorboot")).acked(b=900, c=900, d=50)
    mutant.evidence.boot_heard_at[b"d"] = NOW - 300
    assert may(mutant, "d")


def test_with_isolated_promotion_long_silence_is_enough_and_marks_the_silent() -> None:
    assert not may(FakeReign(isolated=10_000).acked(b=9_999, c=10_000))
    reign = FakeReign(isolated=10_000).acked(b=10_000, c=10_000)
    assert may(reign)
    assert reign.bypassed == {b"b", b"c"}
    assert not may(FakeReign().acked(b=60_000, c=60_000))


def test_a_refused_leader_is_not_merely_silent() -> None:
    reign = FakeReign(isolated=10_000).acked(b=10_000, c=10_000)
    reign.evidence.refused_event[b"b"] = 5
    assert not may(reign)


def test_after_a_stall_a_primary_that_nobody_can_have_suspected_goes_on() -> None:
    assert not FakeReign().acked(b=100, c=700).behind.may_be_suspected()
    assert FakeReign().acked(b=100, c=900).behind.may_be_suspected()
    assert not FakeReign().acked(b=100, c=900).refused("c", 800, 0).behind.may_be_suspected()
