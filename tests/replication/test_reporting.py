from chatsvc.replication.events import NoteKind
from tests.replication.test_streams import formed


def test_members_go_by_their_names_and_strangers_by_their_id() -> None:
    cluster = formed("ab")
    names = cluster["a"].core.reporting.names
    assert names([cluster["b"].dir_id, cluster["a"].dir_id]) == "a,b"
    assert names([b"\x01\x02\x03\x04\x05"]) == "01020304"


def test_a_problem_is_noted_once_and_shown_for_a_while() -> None:
    cluster = formed("ab")
    core = cluster["a"].core
    for _ in range(3):
        core.report("something is wrong", 1_000)
    notes = [note for note in core.take_ready().notes if note.kind is NoteKind.PROBLEM]
    assert len(notes) == 1
    assert core.status().problem == "something is wrong"
    cluster.run(1_100)
    assert core.status().problem == ""


def test_notes_can_be_switched_off() -> None:
    core = formed("ab")["a"].core
    core.reporting.enabled = False
    core.report("something is wrong")
    assert not core.take_ready().notes


def test_a_primary_tells_how_long_each_member_has_been_silent() -> None:
    cluster = formed()
    cluster.cut_both("ab")
    cluster.run(700)
    silent = cluster["a"].core.status().silent_of
    assert silent[cluster["b"].dir_id] >= 600
    assert silent[cluster["c"].dir_id] <= 2 * cluster.timers.heartbeat
