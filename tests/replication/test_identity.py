from chatsvc.replication.identity import Epoch, Position, boot_id


def test_boots_of_a_directory_grow_whatever_their_nonces_are() -> None:
    assert boot_id(2, 0) > boot_id(1, 2**64 - 1)


def test_two_processes_on_copies_of_one_directory_have_different_boots() -> None:
    assert boot_id(3, 1) != boot_id(3, 2)


def test_epochs_are_ordered_by_counter_then_lot_then_directory() -> None:
    epochs = [Epoch(1, 9, b"z"), Epoch(2, 0, b"b"), Epoch(2, 1, b"a"), Epoch(2, 1, b"b")]
    assert sorted([epochs[2], epochs[0], epochs[3], epochs[1]]) == epochs


def test_the_log_with_the_newer_last_epoch_is_the_more_complete_one_even_if_shorter() -> None:
    assert Position(Epoch(2, 0, b"a"), 3) > Position(Epoch(1, 0, b"a"), 99)
