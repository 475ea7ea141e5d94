import subprocess
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from chatsvc.domain.commands import AdvanceCursors, Command, DeleteAccount, OpenSession, RetireClient, Sends
from chatsvc.domain.outcomes import conversation_key
from chatsvc.domain.state import ChatState
from chatsvc.storage import DataDirectory, DiskFull, StateStore, StorageFailed

Open = Callable[..., DataDirectory]

ALICE, BOB, CAROL = (bytes([number]) * 16 for number in (1, 2, 3))
ALICE_ID, BOB_ID, CAROL_ID = 1, 2, 3


class Chat:
    """A chat state over tables, with three accounts."""

    def __init__(self, store: StateStore) -> None:
        self.store = store
        loaded = store.load()
        self.state = ChatState(
            loaded.accounts, store.conversations, store.clients, loaded.next_account_id, loaded.digest
        )
        self.time_us = loaded.last_time_us
        self.op_seqs = {ALICE: 1, BOB: 1, CAROL: 1}
        if not loaded.accounts:
            self.apply(*(OpenSession(user, client, True, True, 0, 1)
                         for user, client in (("alice", ALICE), ("Bob", BOB), ("carol", CAROL))))  # fmt: skip

    def apply(self, *commands: Command) -> None:
        """Carry out commands."""
        self.time_us += 1
        self.state.apply(commands, self.time_us)

    def send(self, client_id: bytes, to: str, *texts: str) -> None:
        """Send messages."""
        first = self.op_seqs[client_id]
        self.op_seqs[client_id] += len(texts)
        self.apply(Sends(client_id, first, first - 1, True, [(to, text) for text in texts]))

    def flush(self) -> None:
        """Bring the tables up to the state."""
        state = self.state
        changes = state.take_changes()
        snapshot = self.store.begin_flush(changes, self.time_us, state.digest, state.next_account_id, self.time_us)
        self.store.flush(snapshot)
        self.store.finish_flush(snapshot)


@pytest.fixture
def chat(directory: DataDirectory) -> Chat:
    """A new chat."""
    return Chat(directory.state)


def inbox(chat: Chat, account_id: int, after: int = 0, limit: int = 100) -> list[tuple[int, str]]:
    return [(message.inbox_seq, message.text) for message in chat.store.read_inbox(account_id, after, limit)]


@pytest.mark.parametrize(
    "text",
    ["\0", "a\0b\0", "😀" * 1_500, "\uffff\ufffe\u2028\x7f\x80", "\"\\\b\f\n\r\t\x1b'", "é" + "e\u0301", "[1, {}]"],
    ids=["NUL", "NULs", "longest", "odd", "escapes", "not normalised", "JSON"],
)
def test_a_text_comes_back_as_it_was_sent(chat: Chat, text: str) -> None:
    chat.send(ALICE, "bob", text)
    chat.flush()
    assert inbox(chat, BOB_ID) == [(1, text)]


def test_every_code_point_comes_back(chat: Chat) -> None:
    points = [chr(number) for number in range(0x110000) if not 0xD800 <= number < 0xE000]
    texts = ["".join(points[start : start + 1_500]) for start in range(0, len(points), 1_500)]
    chat.send(ALICE, "bob", *texts)
    chat.flush()
    assert [text for _, text in inbox(chat, BOB_ID, limit=10_000)] == texts


def test_a_message_is_read_with_all_that_belongs_to_it(chat: Chat) -> None:
    chat.send(ALICE, "bob", "hello")
    sent = chat.state.changes.messages[0]
    chat.flush()
    assert chat.store.read_inbox(BOB_ID, 0, 10) == [sent]
    sent.inbox_seq = 0
    assert chat.store.read_conversation(sent.conversation, 0, 10) == ([sent], False)


def test_an_inbox_is_read_in_pages(chat: Chat) -> None:
    chat.send(ALICE, "bob", *"abcde")
    chat.send(CAROL, "bob", *"fg")
    chat.flush()
    assert inbox(chat, BOB_ID, 0, 3) == [(1, "a"), (2, "b"), (3, "c")]
    assert inbox(chat, BOB_ID, 3, 3) == [(4, "d"), (5, "e"), (6, "f")]
    assert inbox(chat, BOB_ID, 6, 3) == [(7, "g")]
    assert inbox(chat, BOB_ID, 7, 3) == inbox(chat, ALICE_ID) == inbox(chat, 99) == []


def test_what_is_acknowledged_leaves_the_inbox_and_stays_in_the_conversation(chat: Chat) -> None:
    chat.send(ALICE, "bob", *"abc")
    chat.flush()
    chat.send(ALICE, "bob", *"de")
    chat.apply(AdvanceCursors([(BOB_ID, 4)]))
    chat.flush()
    assert inbox(chat, BOB_ID) == [(5, "e")]
    messages, _ = chat.store.read_conversation(conversation_key(ALICE_ID, BOB_ID), 0, 10)
    assert [message.text for message in messages] == list("abcde")


def test_what_was_acknowledged_before_the_flush_never_touches_the_inbox_table(chat: Chat) -> None:
    chat.send(ALICE, "bob", *"abc")
    chat.apply(AdvanceCursors([(BOB_ID, 3)]))
    chat.flush()
    other = apsw.Connection(str(chat.store.path))
    assert other.execute("SELECT count(*) FROM inbox").get == 0
    other.close()


def test_a_conversation_is_read_from_its_end_in_pages(chat: Chat) -> None:
    chat.send(ALICE, "bob", *"abc")
    chat.send(BOB, "alice", *"de")
    chat.flush()

    def page(before: int, limit: int) -> tuple[str, bool]:
        messages, has_older = chat.store.read_conversation(conversation_key(ALICE_ID, BOB_ID), before, limit)
        return "".join(f"{message.text}{message.conversation_seq}" for message in messages), has_older

    assert page(0, 2) == ("d4e5", True)
    assert page(4, 2) == ("b2c3", True)
    assert page(2, 2) == ("a1", False)
    assert page(0, 5) == ("a1b2c3d4e5", False)
    assert page(1, 5) == ("", False)


def test_notes_to_oneself_are_a_conversation(chat: Chat) -> None:
    chat.send(ALICE, "alice", "note")
    chat.flush()
    (message,), _ = chat.store.read_conversation(conversation_key(ALICE_ID, ALICE_ID), 0, 10)
    assert (message.author, message.recipient, message.recipient_id) == ("alice", "alice", ALICE_ID)
    chat.apply(DeleteAccount(ALICE, chat.op_seqs[ALICE]))
    chat.flush()
    assert chat.store.read_conversation(conversation_key(ALICE_ID, ALICE_ID), 0, 10) == ([], False)


def test_a_deleted_account_leaves_its_messages_to_the_living_and_no_inbox(chat: Chat) -> None:
    chat.send(ALICE, "bob", "from alice")
    chat.send(BOB, "alice", "to alice")
    chat.flush()
    chat.apply(DeleteAccount(ALICE, chat.op_seqs[ALICE]))
    chat.flush()
    assert inbox(chat, ALICE_ID) == []
    (message,) = chat.store.read_inbox(BOB_ID, 0, 10)
    assert (message.author, message.author_deleted) == ("alice", True)
    messages, _ = chat.store.read_conversation(conversation_key(ALICE_ID, BOB_ID), 0, 10)
    assert [(m.text, m.author_deleted, m.recipient) for m in messages] == [
        ("from alice", True, "Bob"),
        ("to alice", False, "alice"),
    ]
    chat.apply(DeleteAccount(BOB, chat.op_seqs[BOB]))
    chat.flush()
    assert chat.store.read_conversation(conversation_key(ALICE_ID, BOB_ID), 0, 10) == ([], False)


def test_a_name_used_again_is_another_account(chat: Chat) -> None:
    chat.send(BOB, "alice", "for the first")
    chat.apply(DeleteAccount(ALICE, 1), OpenSession("ALICE", b"n" * 16, True, True, 0, 1))
    chat.send(BOB, "alice", "for the second")
    chat.flush()
    found = chat.store.find_account("alice")
    assert found is not None
    assert (found.account_id, found.user, found.deleted) == (4, "ALICE", False)
    assert inbox(chat, 4) == [(1, "for the second")]
    assert inbox(chat, ALICE_ID) == []
    chat.apply(DeleteAccount(b"n" * 16, 1))
    chat.flush()
    gone = chat.store.find_account("alice")
    assert gone is not None
    assert (gone.account_id, gone.user, gone.deleted) == (4, "ALICE", True), "the one deleted last"
    assert chat.store.find_account("nobody") is None


def test_an_account_made_and_deleted_between_two_flushes_is_known_as_deleted(chat: Chat) -> None:
    chat.apply(OpenSession("brief", b"b" * 16, True, True, 0, 1), Sends(b"b" * 16, 1, 0, True, [("bob", "hi")]))
    chat.apply(DeleteAccount(b"b" * 16, 2))
    chat.flush()
    (message,) = chat.store.read_inbox(BOB_ID, 0, 10)
    assert (message.author, message.author_deleted) == ("brief", True)
    assert "brief" not in [row.user for row in chat.store.list_accounts("", False, "", 100)]


@pytest.mark.parametrize(
    ("pattern", "whole", "expected"),
    [
        pytest.param("", False, ["a.b", "alice", "bob", "carol", "x_y"], id="all"),
        pytest.param("o", False, ["bob", "carol"], id="a part"),
        pytest.param("[ao]", False, [], id="brackets mean nothing in a part"),
        pytest.param("*o*", True, ["bob", "carol"], id="stars"),
        pytest.param("?o?", True, ["bob"], id="question marks"),
        pytest.param("[a-z]ob*", True, [], id="brackets mean nothing in a whole"),
        pytest.param("o*", True, [], id="the whole name"),
        pytest.param("a.b*", True, ["a.b"], id="dot"),
        pytest.param("x_y?", True, [], id="underscore is itself"),
        pytest.param("%", False, [], id="percent is itself"),
    ],
)
def test_accounts_are_found_by_pattern(chat: Chat, pattern: str, whole: bool, expected: list[str]) -> None:
    for number, name in enumerate(("A.b", "X_y", "gone"), 10):
        chat.apply(OpenSession(name, bytes([number]) * 16, False, True, 0, 1))
    chat.apply(DeleteAccount(bytes([12]) * 16, 1))
    chat.flush()
    assert [row.key for row in chat.store.list_accounts(pattern, whole, "", 100)] == expected


def test_accounts_are_listed_in_pages(chat: Chat) -> None:
    chat.flush()
    first = chat.store.list_accounts("", False, "", 2)
    assert [(row.account_id, row.user, row.key, row.created_us) for row in first] == [
        (ALICE_ID, "alice", "alice", 1),
        (BOB_ID, "Bob", "bob", 1),
    ]
    assert [row.key for row in chat.store.list_accounts("", False, "bob", 2)] == ["carol"]


def test_a_retired_client_is_forgotten_and_others_come_back_as_they_were(chat: Chat) -> None:
    chat.send(ALICE, "bob", *["hello"] * 5)
    chat.send(ALICE, "nobody", "refused")
    chat.apply(OpenSession("bob", BOB, True, False, 0, 7))
    chat.apply(RetireClient(CAROL))
    chat.flush()
    expected = {ALICE: chat.state.clients[ALICE], BOB: chat.state.clients[BOB]}
    assert expected[BOB].holes == [(1, 7)]
    chat.store.close()
    store = StateStore(chat.store.path, dir_id_of(chat.store.path))
    assert dict(store.clients) == expected
    store.close()


def dir_id_of(path: Path) -> bytes:
    connection = apsw.Connection(str(path))
    dir_id: bytes = connection.execute("SELECT dir_id FROM meta").get
    connection.close()
    return dir_id


def test_a_flush_that_finds_no_room_can_be_made_again(mount: Callable[..., Path], open_directory: Open) -> None:
    small = mount("size=2m")
    chat = Chat(open_directory(small / "data").state)
    chat.flush()
    state = chat.state
    chat.send(ALICE, "bob", *[f"{number} " * 250 for number in range(1_500)])
    snapshot = chat.store.begin_flush(state.take_changes(), 7, state.digest, state.next_account_id, 7)
    for _ in range(2):
        with pytest.raises(DiskFull, match="free some space"):
            chat.store.flush(snapshot)
    assert chat.store.load().applied_index == 1, "all or nothing"
    assert chat.state.conversations[conversation_key(ALICE_ID, BOB_ID)] == 1_500
    remount(small, "size=16m")
    chat.store.flush(snapshot)
    chat.store.finish_flush(snapshot)
    assert chat.store.load().applied_index == 7
    assert len(inbox(chat, BOB_ID, limit=2_000)) == 1_500


def remount(path: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(path)], check=True)


def test_tables_that_are_broken_at_work_stop_the_store(chat: Chat) -> None:
    chat.send(ALICE, "bob", *[f"{number} " * 250 for number in range(300)])
    chat.flush()
    other = apsw.Connection(str(chat.store.path))
    assert other.execute("PRAGMA wal_checkpoint(TRUNCATE)").get == (0, 0, 0)
    other.close()
    size = chat.store.path.stat().st_size
    with chat.store.path.open("r+b") as file:
        file.seek(8 * 4_096)
        file.write(b"\xff" * (size - 8 * 4_096))
    with pytest.raises(StorageFailed, match=r"state.db is damaged"):
        chat.store.read_conversation(conversation_key(ALICE_ID, BOB_ID), 0, 1_000)
