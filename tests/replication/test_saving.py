from chatsvc.replication.entries import NO_CHAIN, EntryKind, make_entry
from chatsvc.replication.envelopes import Announce, Envelope
from chatsvc.replication.events import AppendEntries, SaveCommit, SavePromise, TruncateTo
from chatsvc.replication.identity import NO_EPOCH, Epoch, Identity
from chatsvc.replication.saving import Saving

EPOCH = Epoch(3, 0, b"a")
ENTRY = make_entry(EPOCH, 1, EntryKind.OP, b"x", NO_CHAIN)
ENVELOPE = Envelope(Identity(b"c", b"a", 1, "a", "a"), "b", None, 0, Announce(EPOCH))


def saving() -> Saving:
    return Saving(last_index=0, promised=NO_EPOCH, commit_index=0, wait_for_promise=True)


def test_operations_keep_their_order_and_entries_are_gathered() -> None:
    it = saving()
    it.truncate(0)
    it.append(ENTRY)
    it.append(ENTRY)
    it.promise(EPOCH)
    save = it.collect(2, 0, [])
    assert save is not None
    assert save.operations == (TruncateTo(0), AppendEntries((ENTRY, ENTRY)), SavePromise(EPOCH))


def test_the_commit_index_goes_along_with_entries_but_not_alone() -> None:
    it = saving()
    assert it.collect(0, 0, []) is None
    it.append(ENTRY)
    save = it.collect(1, 1, [])
    assert save is not None
    assert save.operations[-1] == SaveCommit(1)
    assert it.collect(1, 1, []) is None


def test_an_index_is_durable_only_once_its_save_has_ended() -> None:
    it = saving()
    it.append(ENTRY)
    save = it.collect(1, 0, [])
    assert save is not None
    assert it.durable_index == 0
    it.saved(save.save_id, [])
    assert it.durable_index == 1


def test_what_was_durable_before_a_truncation_does_not_count_until_that_has_ended() -> None:
    it = Saving(last_index=9, promised=NO_EPOCH, commit_index=0, wait_for_promise=True)
    assert it.durable_index == 9
    it.truncate(5)
    assert it.durable_index == 0
    save = it.collect(5, 0, [])
    assert save is not None
    it.saved(save.save_id, [])
    assert it.durable_index == 5


def test_a_held_envelope_leaves_when_its_save_has_ended() -> None:
    it = saving()
    out: list[Envelope] = []
    it.promise(EPOCH)
    it.hold(ENVELOPE)
    save = it.collect(0, 0, out)
    assert save is not None
    assert out == []
    assert it.promised == NO_EPOCH
    it.saved(save.save_id, out)
    assert out == [ENVELOPE]
    assert it.promised == EPOCH


def test_an_envelope_that_rests_on_an_earlier_save_waits_for_that_one() -> None:
    it = saving()
    out: list[Envelope] = []
    it.promise(EPOCH)
    save = it.collect(0, 0, out)
    assert save is not None
    it.hold(ENVELOPE)
    assert it.collect(0, 0, out) is None
    assert out == []
    it.saved(save.save_id, out)
    assert out == [ENVELOPE]


def test_an_envelope_that_waits_for_nothing_leaves_at_once() -> None:
    it = saving()
    out: list[Envelope] = []
    it.hold(ENVELOPE)
    assert it.collect(0, 0, out) is None
    assert out == [ENVELOPE]


def test_the_end_of_a_later_save_ends_all_before_it() -> None:
    it = saving()
    for _ in range(3):
        it.append(ENTRY)
        it.collect(1, 0, [])
    it.saved(2, [])
    assert [outstanding.save_id for outstanding in it.outstanding] == [3]
