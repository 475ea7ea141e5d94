import msgspec
import pytest

from chatsvc.replication.settings import Timers


def test_the_defaults_and_their_multiples_are_in_order() -> None:
    for factor in (0.5, 1, 2, 10):
        Timers().scaled(factor).check(isolated=round(10_000 * factor))


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"stall": 900}, id="a stall is noticed too late"),
        pytest.param({"lease": 800}, id="a lease ends before its holder can suspect"),
        pytest.param({"lease": 4_900}, id="a fast clock drops while a slow one still leases"),
        pytest.param({"fresh": 600}, id="a restart fits between two refusals"),
        pytest.param({"rpc": 900}, id="answers come after the suspicion"),
    ],
)
def test_timers_whose_order_would_break_a_rule_are_refused(change: dict[str, int]) -> None:
    with pytest.raises(AssertionError):
        msgspec.structs.replace(Timers(), **change).check(None)


def test_isolation_must_be_longer_than_an_eviction() -> None:
    with pytest.raises(AssertionError):
        Timers().check(isolated=5_000)
