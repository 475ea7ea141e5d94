from chatsvc.replication.events import Probe
from chatsvc.replication.evidence import STRANGERS_MAX, Evidence
from chatsvc.replication.rules import ALL
from chatsvc.replication.settings import Timers

TIMERS = Timers()


def evidence(*without: str) -> Evidence:
    return Evidence(TIMERS, ALL.without(*without))


def probe(it: Evidence, now: int) -> Probe:
    begun = it.probe("b:1", now, at_once=True)
    assert begun is not None
    return begun


def test_the_awake_clock_adds_at_most_two_heartbeats_a_step() -> None:
    it = evidence()
    it.pass_time(30)
    it.pass_time(60_000)
    assert it.awake == 30 + 2 * TIMERS.heartbeat


def test_a_refusal_begun_after_the_last_sign_of_life_counts() -> None:
    it = evidence()
    it.heard(b"b", 1, "b:1", 0)
    assert it.on_refused(b"b", probe(it, 10))
    assert it.refused(b"b")


def test_a_refusal_begun_before_the_last_sign_of_life_is_void() -> None:
    it = evidence()
    early = probe(it, 10)
    it.heard(b"b", 1, "b:1", 20)
    assert not it.on_refused(b"b", early)
    assert not it.refused(b"b")


def test_a_sign_of_life_ends_a_refusal() -> None:
    it = evidence()
    it.on_refused(b"b", probe(it, 10))
    it.heard(b"b", 1, "b:1", 20)
    assert not it.refused(b"b")


def test_only_a_fresh_refusal_passes_over_a_member() -> None:
    it, mutant = evidence(), evidence("fresh")
    for each in (it, mutant):
        each.on_refused(b"b", probe(each, 1_000))
        assert each.refused_now(b"b", 1_000 + TIMERS.rpc)
    assert not it.refused_now(b"b", 1_001 + TIMERS.rpc)
    assert mutant.refused_now(b"b", 1_001 + TIMERS.rpc)


def test_a_late_report_of_an_older_refusal_does_not_hide_a_newer_one() -> None:
    it = evidence()
    older, newer = probe(it, 1_000), probe(it, 1_500)
    it.on_refused(b"b", newer)
    it.on_refused(b"b", older)
    assert it.refused_at[b"b"] == 1_500


def test_another_directory_at_its_address_is_a_refusal_of_a_member() -> None:
    it = evidence()
    it.heard(b"b", 1, "b:1", 0)
    it.heard(b"x", 1, "x:1", 10)
    it.replaced(b"b", 10)
    assert not it.refused(b"x")
    it.heard(b"x", 1, "x:1", 20)
    it.replaced(b"b", 20)
    assert it.refused(b"b")


def test_a_new_boot_is_noticed_once() -> None:
    it = evidence()
    assert it.heard(b"b", 1, "b:1", 100)
    assert not it.heard(b"b", 1, "b:1", 200)
    assert it.boot_heard_at[b"b"] == 100
    assert it.heard(b"b", 2, "b:1", 300)
    assert it.boot_heard_at[b"b"] == 300


def test_probes_of_one_address_keep_a_distance() -> None:
    it = evidence()
    assert it.probe("b:1", 1_000) is not None
    assert it.probe("b:1", 1_000 + TIMERS.probe_every - 1) is None
    assert it.probe("c:1", 1_000) is not None
    assert it.probe("b:1", 1_000 + TIMERS.probe_every) is not None


def silent_primary(accepted: list[bool]) -> Evidence:
    """Probes 100 ms apart, begun from 1,000 on."""
    it = evidence()
    for place, taken in enumerate(accepted):
        begun = probe(it, 1_000 + 100 * place)
        it.remember_primary_probe(begun)
        if taken:
            it.on_accepted(begun)
    return it


def test_five_accepted_probes_over_t_stall_make_a_silent_primary_hung() -> None:
    it = silent_primary([True] * 5)
    assert it.all_accepted_none_answered(1_400 + TIMERS.fresh)


def test_a_probe_counts_only_once_it_had_time_to_be_answered() -> None:
    it = silent_primary([True] * 5)
    assert not it.all_accepted_none_answered(1_400 + TIMERS.fresh - 1)


def test_a_probe_that_was_not_accepted_breaks_the_row() -> None:
    assert not silent_primary([True, True, True, False, True, True]).all_accepted_none_answered(5_000)
    assert silent_primary([False, *[True] * 5]).all_accepted_none_answered(5_000)


def test_an_answer_forgets_the_probes() -> None:
    it = silent_primary([True] * 5)
    it.forget_primary_probes()
    assert not it.all_accepted_none_answered(5_000)


def test_memory_is_bounded_whoever_sends() -> None:
    it = evidence()
    for number in range(3 * STRANGERS_MAX):
        it.heard(b"%d" % number, 1, "x", number)
    assert len(it.boot_of) <= STRANGERS_MAX
    assert len(it.heard_event) <= STRANGERS_MAX
