"""Elections weighed by hand: who may become primary with which grants."""

from dataclasses import dataclass, field

import pytest

from chatsvc.replication.configs import Config, Mode
from chatsvc.replication.identity import Epoch, Member
from chatsvc.replication.permission import (
    Grant,
    closed_set,
    known_committed,
    permission,
    waiting_for,
)
from chatsvc.replication.rules import ALL, Rules

NOW = 100_000
REIGN = Epoch(1, 0, b"a")
LATER = Epoch(2, 0, b"b")


@dataclass
class Observer:
    rules: Rules = ALL
    now: int = NOW
    lease_length: int = 4_500
    suspect_after: int = 800
    isolated_after: int | None = None
    suspects: bool = True
    suspicion: int = 0
    refused: set[bytes] = field(default_factory=set)
    hanging: set[bytes] = field(default_factory=set)
    silent: dict[bytes, int] = field(default_factory=dict)

    def suspicion_age(self) -> int:
        return self.suspicion

    def refused_now(self, member: bytes) -> bool:
        return member in self.refused

    def hung(self, member: bytes) -> bool:
        return member in self.hanging

    def silence(self, member: bytes) -> int:
        return self.silent.get(member, 0)


def config(names: str, index: int = 1, epoch: Epoch = REIGN) -> Config:
    dirs = tuple(name.encode() for name in names)
    members = tuple(Member(name.encode(), name, name) for name in names)
    return Config(epoch, index, dirs, members, Mode.AVAILABLE, "", (), ())


ABC = config("abc", 3)


def grant(
    *chain: Config,
    until: int = -1,
    giver: bytes | None = b"a",
    epoch: Epoch | None = REIGN,
    latched: bool = False,
    granted: tuple[bytes, ...] = (),
    durable: int = 99,
) -> Grant:
    return Grant(NOW + until, giver, epoch, latched, chain or (ABC,), granted, durable)


def kind(observer: Observer, candidate: bytes, grants: dict[bytes, Grant]) -> str | None:
    permitted = permission(observer, candidate, grants)
    return permitted.kind if permitted else None


# ---- K


def test_k_is_the_newest_config_known_committed_anywhere() -> None:
    grants = {b"a": grant(config("ab", 1)), b"b": grant(config("abc", 5), config("ab", 7))}
    assert known_committed(grants, ALL).index == 5


def test_a_config_that_all_its_members_report_is_known_committed() -> None:
    chain = (config("abc", 3), config("ab", 5))
    grants = {b"a": grant(*chain), b"b": grant(*chain)}
    assert known_committed(grants, ALL).index == 5
    assert known_committed(grants, ALL.without("heldbyall")).index == 3
    del grants[b"b"]
    assert known_committed(grants, ALL).index == 3


def test_a_config_that_a_member_has_in_memory_only_is_not_known_committed() -> None:
    chain = (config("ab", 3), config("b", 5))
    grants = {b"a": grant(*chain), b"b": grant(*chain, durable=4)}
    assert known_committed(grants, ALL).index == 3
    assert known_committed(grants, ALL.without("helddurable")).index == 5


# ---- closed


def test_all_members_of_k_make_a_closed_election_without_any_lease() -> None:
    grants = {name: grant(epoch=None) for name in (b"a", b"b", b"c")}
    assert kind(Observer(), b"b", grants) == "closed"
    del grants[b"c"]
    assert kind(Observer(), b"b", grants) is None


def test_members_of_later_configs_are_needed_as_well() -> None:
    grown = (config("ab", 3), config("abc", 5))
    grants = {b"a": grant(config("ab", 3), epoch=None), b"b": grant(*grown, epoch=None)}
    assert closed_set(ALL, grown[0], grants) == {b"a", b"b", b"c"}
    assert kind(Observer(), b"a", grants) is None
    grants[b"c"] = grant(*grown, epoch=None)
    assert kind(Observer(), b"a", grants) == "closed"


def test_the_newest_config_alone_is_no_closed_set() -> None:
    """A CONFIG that only its dead writer's companion holds must not pass for the whole membership."""
    grants = {b"b": grant(config("abc", 3), config("b", 5), epoch=None)}
    rules = ALL.without("heldbyall")
    assert kind(Observer(rules=rules), b"b", grants) is None
    assert kind(Observer(rules=rules.without("union")), b"b", grants) == "closed"


def test_who_is_not_in_k_is_not_eligible() -> None:
    grown = (config("ab", 3), config("abc", 5))
    grants = {name: grant(*grown, until=1_000) for name in (b"b", b"c")}
    observer = Observer(refused={b"a"})
    assert kind(observer, b"c", grants) is None
    assert kind(Observer(rules=ALL.without("elig"), refused={b"a"}), b"c", grants) == "leased"
    assert kind(observer, b"b", grants) == "leased"


def test_who_is_dropped_by_its_own_log_is_not_eligible() -> None:
    grants = {
        b"a": grant(ABC, epoch=None),
        b"b": grant(ABC, config("ac", 5), epoch=None),
        b"c": grant(ABC, epoch=None),
    }
    assert kind(Observer(), b"b", grants) is None
    assert kind(Observer(rules=ALL.without("dropped")), b"b", grants) == "closed"
    assert kind(Observer(), b"a", grants) == "closed"


# ---- leased


def test_one_holder_alone_goes_on_when_all_others_are_refused() -> None:
    assert kind(Observer(refused={b"a", b"c"}), b"b", {b"b": grant(until=1)}) == "leased"


def test_a_lease_that_has_ended_permits_nothing() -> None:
    observer = Observer(refused={b"a", b"c"})
    assert kind(observer, b"b", {b"b": grant(until=0)}) is None
    assert kind(Observer(rules=ALL.without("lease"), refused={b"a", b"c"}), b"b", {b"b": grant(until=0)}) == "leased"


def test_two_holders_pass_over_their_silent_giver() -> None:
    grants = {b"b": grant(until=1), b"c": grant(until=-1)}
    assert kind(Observer(), b"b", grants) == "leased"


def test_one_holder_alone_passes_over_its_silent_giver_only_if_that_one_hangs() -> None:
    grants = {b"b": grant(until=1)}
    assert kind(Observer(refused={b"c"}), b"b", grants) is None
    assert kind(Observer(refused={b"c"}, rules=ALL.without("solo")), b"b", grants) == "leased"
    assert kind(Observer(refused={b"c"}, hanging={b"a"}), b"b", grants) == "leased"


def test_a_silent_backup_is_never_passed_over() -> None:
    observer = Observer(refused={b"a"}, silent={b"c": 60_000})
    assert kind(observer, b"b", {b"b": grant(until=1)}) is None
    observer.rules = ALL.without("bypassfast")
    assert kind(observer, b"b", {b"b": grant(until=1)}) == "leased"


def test_a_lease_counts_only_with_a_config_that_has_holder_and_candidate() -> None:
    grants = {b"b": grant(ABC, config("ac", 5), until=1), b"c": grant(until=-1, epoch=None)}
    assert kind(Observer(refused={b"a"}), b"c", grants) is None


def test_a_giver_that_was_elected_again_is_not_passed_over_by_leases_of_its_old_reign() -> None:
    for observer in (Observer(), Observer(hanging={b"a"})):
        grants = {b"b": grant(until=1), b"c": grant(until=1, granted=(b"a",))}
        assert kind(observer, b"b", grants) is None
        observer.rules = ALL.without("regiven")
        assert kind(observer, b"b", grants) == "leased"
    assert kind(Observer(refused={b"a"}), b"b", {b"b": grant(until=1, granted=(b"a",)), b"c": grant()}) == "leased"


# ---- pair


def pair_grants(**changes: Grant) -> dict[bytes, Grant]:
    grants = {b"b": grant(), b"c": grant()}
    grants.update({name.encode(): each for name, each in changes.items()})
    return grants


def test_all_but_the_giver_go_on_after_their_leases_have_ended() -> None:
    assert kind(Observer(), b"b", pair_grants()) == "leased"
    assert kind(Observer(rules=ALL.without("pair")), b"b", pair_grants()) is None


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(grant(epoch=LATER), id="leases of two reigns"),
        pytest.param(grant(epoch=None), id="never had a lease"),
        pytest.param(grant(ABC, config("abc", 5)), id="another newest CONFIG"),
        pytest.param(grant(granted=(b"x",)), id="has granted somebody outside"),
    ],
)
def test_a_pair_must_agree(other: Grant) -> None:
    assert kind(Observer(), b"b", pair_grants(c=other)) is None


def test_a_grant_among_themselves_does_no_harm() -> None:
    assert kind(Observer(), b"b", pair_grants(c=grant(granted=(b"b",)))) == "leased"


def test_two_of_four_are_no_pair() -> None:
    four = config("abcd", 3)
    grants = {b"b": grant(four), b"c": grant(four)}
    assert kind(Observer(refused={b"d"}), b"b", grants) is None
    assert kind(Observer(refused={b"d"}, rules=ALL.without("pairall")), b"b", grants) == "leased"


def test_with_isolated_promotion_a_pair_is_late_when_the_giver_may_have_gone_on() -> None:
    observer = Observer(isolated_after=10_000)
    assert kind(observer, b"b", pair_grants(b=grant(until=-5_499), c=grant(until=-5_499))) == "leased"
    assert kind(observer, b"b", pair_grants(b=grant(until=-5_500), c=grant(until=-5_500))) is None


# ---- degraded


def isolated(**changes: object) -> Observer:
    values: dict[str, object] = {
        "isolated_after": 10_000,
        "suspicion": 10_000,
        "silent": {b"a": 10_000, b"c": 10_000},
    }
    return Observer(**{**values, **changes})  # type: ignore[arg-type]


def test_a_latched_server_goes_on_alone_after_t_isolated() -> None:
    grants = {b"b": grant(latched=True)}
    assert kind(isolated(), b"b", grants) == "degraded"
    assert kind(isolated(isolated_after=None), b"b", grants) is None
    assert kind(isolated(suspicion=9_999), b"b", grants) is None
    assert kind(isolated(silent={b"a": 10_000, b"c": 9_999}), b"b", grants) is None
    assert kind(isolated(), b"b", {b"b": grant()}) is None


def test_a_latched_server_that_has_granted_somebody_outside_does_not() -> None:
    grants = {b"b": grant(latched=True, granted=(b"c",))}
    assert kind(isolated(), b"b", grants) is None
    assert kind(isolated(rules=ALL.without("degrants")), b"b", grants) == "degraded"


# ---- waiting


def test_waiting_names_the_missing_members_of_the_smallest_permission() -> None:
    assert waiting_for(Observer(), {b"b": grant(epoch=None)}) == {b"a", b"c"}
    assert waiting_for(Observer(refused={b"c"}), {b"b": grant(until=1)}) == {b"a"}
