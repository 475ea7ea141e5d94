"""What each command does to the chat state."""

import copy
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from chatsvc.domain.commands import AdvanceCursors, Command, DeleteAccount, OpenSession, RetireClient, Sends
from chatsvc.domain.errors import Reason, Refusal
from chatsvc.domain.limits import OP_SEQ_MAX, WINDOW_OPS
from chatsvc.domain.outcomes import (
    AccountGone,
    Message,
    Outcome,
    SendsDone,
    SessionOpened,
    conversation_accounts,
    conversation_key,
)
from chatsvc.domain.state import ChatState

ALICE, ALICE2, BOB, EVE = (bytes([number]) * 16 for number in range(4))


class Chat:
    """A chat state with a clock, and commands with the values that tests leave alone."""

    def __init__(self) -> None:
        self.state = ChatState()
        self.time_us = 1_000

    def apply(self, *commands: Command) -> list[Outcome]:
        self.time_us += 1
        return self.state.apply(commands, self.time_us)

    def one(self, command: Command) -> Any:
        return self.apply(command)[0]

    def open(self, user: str, client_id: bytes, **fields: Any) -> Any:
        values: dict[str, Any] = {"receives": True, "create": True, "incarnation": 0, "first_unanswered_op_seq": 1}
        return self.one(OpenSession(user, client_id, **values | fields))

    def send(
        self, client_id: bytes, first_op_seq: int, *messages: tuple[str, str], answered: int = 0, **fields: Any
    ) -> Any:
        return self.one(Sends(client_id, first_op_seq, answered, fields.pop("keep", True), list(messages), **fields))

    def delete(self, client_id: bytes, op_seq: int) -> Any:
        return self.one(DeleteAccount(client_id, op_seq))

    def account(self, user: str) -> Any:
        account = self.state.find(user)
        assert account is not None
        return account


@pytest.fixture
def chat() -> Chat:
    """With alice (account 1) and bob (account 2) logged in."""
    chat = Chat()
    chat.open("alice", ALICE)
    chat.open("bob", BOB)
    return chat


def only_reason(done: SendsDone) -> Reason:
    """The reason for which all of them were refused."""
    assert set(done.refusals) == set(range(len(done.answers)))
    assert all(seq == 0 for seq, _ in done.answers)
    (reason,) = {refusal.reason for refusal in done.refusals.values()}
    return reason


def places(messages: Sequence[Message]) -> list[tuple[str, int, int]]:
    return [(message.text, message.inbox_seq, message.conversation_seq) for message in messages]


# ---- logins


def test_an_unknown_name_becomes_an_account() -> None:
    chat = Chat()
    assert chat.open("Alice", ALICE) == SessionOpened(1, "Alice", True, 1, 1, 0, 0, 0)
    assert chat.account("aLICE").created_us == chat.time_us


def test_a_known_name_in_another_case_is_the_same_account_as_first_written(chat: Chat) -> None:
    opened = chat.open("ALICE", ALICE)
    assert (opened.account_id, opened.user, opened.created) == (1, "alice", False)


def test_a_name_is_kept_composed() -> None:
    assert Chat().open("cafe\u0301", ALICE).user == "caf\u00e9"


def test_an_unknown_name_is_refused_where_no_account_is_to_be_made() -> None:
    chat = Chat()
    assert chat.open("alice", ALICE, create=False) == Refusal(Reason.UNKNOWN_ACCOUNT, 0, "alice")
    assert not chat.state.accounts
    assert not chat.state.clients


def test_a_name_that_is_none_is_refused() -> None:
    assert Chat().open("a b", ALICE).reason is Reason.INVALID_NAME


@pytest.mark.parametrize("length", [0, 15, 17])
def test_a_client_id_of_another_length_is_refused(length: int) -> None:
    assert Chat().open("alice", bytes(length)) == Refusal(Reason.INVALID_CLIENT_ID)


def test_a_client_of_one_account_is_refused_by_another(chat: Chat) -> None:
    assert chat.open("bob", ALICE).reason is Reason.INVALID_CLIENT_ID
    assert chat.open("new", ALICE).reason is Reason.INVALID_CLIENT_ID
    assert chat.state.find("new") is None


def test_another_client_takes_over_and_the_earlier_one_is_told_at_its_next_operation(chat: Chat) -> None:
    assert chat.open("alice", ALICE2).incarnation == 2
    assert only_reason(chat.send(ALICE, 1, ("bob", "late"))) is Reason.REPLACED
    assert chat.account("bob").last_inbox_seq == 0
    assert chat.send(ALICE2, 1, ("bob", "hi")).refusals == {}


def test_what_the_replaced_client_had_sent_stays_sent_and_can_be_repeated(chat: Chat) -> None:
    first = chat.send(ALICE, 1, ("bob", "hi"))
    chat.open("alice", ALICE2)
    again = chat.send(ALICE, 1, ("bob", "hi"))
    assert (again.answers, again.refusals, again.messages) == (first.answers, {}, [])


def test_the_same_client_logs_in_again_without_replacing_itself(chat: Chat) -> None:
    assert chat.open("alice", ALICE).incarnation == 1


def test_a_client_resumes_its_incarnation(chat: Chat) -> None:
    chat.send(ALICE, 1, ("bob", "hi"))
    opened = chat.open("alice", ALICE, incarnation=1)
    assert (opened.incarnation, opened.next_op_seq) == (1, 2)


def test_a_replaced_client_cannot_resume_yet_may_log_in_anew(chat: Chat) -> None:
    chat.open("alice", ALICE2)
    assert chat.open("alice", ALICE, incarnation=1) == Refusal(Reason.REPLACED)
    assert chat.account("alice").client_id == ALICE2
    assert chat.open("alice", ALICE).incarnation == 3
    assert chat.open("alice", ALICE2, incarnation=2) == Refusal(Reason.REPLACED)


def test_a_resume_never_makes_an_account() -> None:
    chat = Chat()
    before = chat.state.next_account_id
    assert chat.open("alice", ALICE, incarnation=1) == Refusal(Reason.REPLACED)
    assert chat.state.find("alice") is None
    assert chat.state.next_account_id == before
    assert not chat.state.take_changes().accounts


def test_a_login_that_only_sends_replaces_nobody_and_is_not_replaced(chat: Chat) -> None:
    assert chat.open("alice", ALICE2, receives=False).incarnation == 0
    assert chat.send(ALICE, 1, ("bob", "one")).refusals == {}
    chat.open("alice", EVE)
    assert chat.send(ALICE2, 1, ("bob", "two")).refusals == {}


# ---- op seqs


def test_a_window_takes_consecutive_op_seqs_and_places(chat: Chat) -> None:
    done = chat.send(ALICE, 1, ("bob", "a"), ("bob", "b"), ("alice", "note"))
    assert done.answers == [(1, chat.time_us), (2, chat.time_us), (1, chat.time_us)]
    assert places(done.messages) == [("a", 1, 1), ("b", 2, 2), ("note", 1, 1)]
    assert [message.op_seq for message in done.messages] == [1, 2, 3]
    assert chat.open("alice", ALICE).next_op_seq == 4


def test_a_message_says_who_wrote_it_to_whom_and_when(chat: Chat) -> None:
    (message,) = chat.send(ALICE, 1, ("BOB", "hi")).messages
    assert message == Message(conversation_key(1, 2), 1, 1, 2, 1, chat.time_us, ALICE, 1, "hi", "alice", "bob")


def test_both_sides_share_one_conversation(chat: Chat) -> None:
    (hi,) = chat.send(ALICE, 1, ("bob", "hi")).messages
    (back,) = chat.send(BOB, 1, ("alice", "back")).messages
    assert hi.conversation == back.conversation
    assert (hi.conversation_seq, back.conversation_seq) == (1, 2)
    assert conversation_accounts(hi.conversation) == (1, 2)


def test_a_message_to_oneself_is_in_ones_inbox(chat: Chat) -> None:
    (message,) = chat.send(ALICE, 1, ("alice", "note")).messages
    assert (message.author_id, message.recipient_id, message.inbox_seq) == (1, 1, 1)
    assert conversation_accounts(message.conversation) == (1, 1)


@pytest.mark.parametrize(
    ("to", "text", "reason"),
    [
        pytest.param("nobody", "hi", Reason.UNKNOWN_RECIPIENT, id="nobody has the name"),
        pytest.param("no body", "hi", Reason.INVALID_NAME, id="nobody can have the name"),
        pytest.param("bob", "", Reason.INVALID_TEXT, id="empty text"),
        pytest.param("bob", "x" * 1_501, Reason.INVALID_TEXT, id="long text"),
    ],
)
def test_a_refusal_takes_its_number_and_the_rest_goes_on(chat: Chat, to: str, text: str, reason: Reason) -> None:
    done = chat.send(ALICE, 1, ("bob", "a"), (to, text), ("bob", "b"))
    assert {offset: refusal.reason for offset, refusal in done.refusals.items()} == {1: reason}
    assert done.answers[1] == (0, chat.time_us)
    assert places(done.messages) == [("a", 1, 1), ("b", 2, 2)]
    assert chat.send(ALICE, 4, ("bob", "c")).refusals == {}


def test_a_repeated_refusal_stays_one_although_it_would_succeed_now(chat: Chat) -> None:
    first = chat.send(ALICE, 1, ("eve", "hi"))
    chat.open("eve", EVE)
    again = chat.send(ALICE, 1, ("eve", "hi"))
    assert again == first
    assert chat.account("eve").last_inbox_seq == 0


def test_a_text_left_out_of_the_log_is_refused_with_its_length(chat: Chat) -> None:
    done = chat.send(ALICE, 1, ("bob", ""), ("bob", "b"), refused={0: (Reason.INVALID_TEXT, 1_501)})
    assert done.refusals == {0: Refusal(Reason.INVALID_TEXT, 1_501)}
    assert places(done.messages) == [("b", 1, 1)]


def test_a_left_out_text_is_repeated_alike_whether_its_command_came_from_the_log_or_not(chat: Chat) -> None:
    command = Sends(ALICE, 1, 0, True, [("bob", "")], {0: (Reason.INVALID_TEXT, 1_501)})
    logged = msgspec.msgpack.decode(msgspec.msgpack.encode(command), type=Sends)
    assert chat.one(logged) == chat.one(command)


def test_a_gap_carries_out_nothing_and_takes_no_number(chat: Chat) -> None:
    chat.send(ALICE, 1, ("bob", "a"))
    chat.state.take_changes()
    assert chat.send(ALICE, 3, ("bob", "c")) == Refusal(Reason.OP_SEQ_GAP, 2)
    assert chat.delete(ALICE, 3) == Refusal(Reason.OP_SEQ_GAP, 2)
    changes = chat.state.take_changes()
    assert [changes.messages, changes.clients, changes.accounts, changes.deleted] == [[], {}, {}, []]
    assert chat.send(ALICE, 2, ("bob", "b")).refusals == {}


def test_an_unknown_client_can_do_nothing(chat: Chat) -> None:
    assert chat.send(EVE, 1, ("bob", "hi")) == Refusal(Reason.INVALID_CLIENT_ID)
    assert chat.delete(EVE, 1) == Refusal(Reason.INVALID_CLIENT_ID)


def test_a_repeated_send_has_its_first_answer_and_no_message(chat: Chat) -> None:
    first = chat.send(ALICE, 1, ("bob", "a"), ("nobody", "b"))
    again = chat.send(ALICE, 1, ("bob", "a"), ("nobody", "b"))
    assert (again.answers, again.refusals) == (first.answers, first.refusals)
    assert again.messages == []
    assert chat.account("bob").last_inbox_seq == 1


def test_a_window_may_begin_with_repeats_and_go_on_with_new_ones(chat: Chat) -> None:
    chat.send(ALICE, 1, ("bob", "a"), ("bob", "b"))
    done = chat.send(ALICE, 2, ("bob", "b"), ("bob", "c"))
    assert [seq for seq, _ in done.answers] == [2, 3]
    assert places(done.messages) == [("c", 3, 3)]


@pytest.mark.parametrize(
    ("first", "other"),
    [
        pytest.param(("bob", "a"), ("bob", "b"), id="another text"),
        pytest.param(("bob", "a"), ("alice", "a"), id="another recipient"),
        pytest.param(("bob", "by"), ("bobb", "y"), id="the same letters divided otherwise"),
    ],
)
def test_an_op_id_of_another_operation_is_a_mismatch(
    chat: Chat, first: tuple[str, str], other: tuple[str, str]
) -> None:
    chat.send(ALICE, 1, first)
    done = chat.send(ALICE, 1, other)
    assert only_reason(done) is Reason.IDEMPOTENCY_MISMATCH
    assert done.messages == []


def test_answers_that_the_client_has_received_are_forgotten(chat: Chat) -> None:
    chat.send(ALICE, 1, ("bob", "a"), ("bob", "b"), ("bob", "c"))
    done = chat.send(ALICE, 1, ("bob", "a"), ("bob", "b"), ("bob", "c"), answered=2)
    assert [refusal.reason for refusal in done.refusals.values()] == [Reason.ANSWER_FORGOTTEN] * 2
    assert set(done.refusals) == {0, 1}
    assert done.answers[2][0] == 3
    assert len(chat.state.clients[ALICE].answers) == 1


def test_a_login_tells_which_answers_were_received(chat: Chat) -> None:
    chat.send(ALICE, 1, ("bob", "a"), ("bob", "b"))
    assert chat.open("alice", ALICE, first_unanswered_op_seq=2).holes_made == 0
    assert list(chat.send(ALICE, 1, ("bob", "a"), ("bob", "b")).refusals) == [0]


def test_as_many_answers_as_the_window_are_kept(chat: Chat) -> None:
    window = [("bob", str(number)) for number in range(WINDOW_OPS)]
    first = chat.send(ALICE, 1, *window)
    assert chat.send(ALICE, 1, *window).answers == first.answers
    chat.send(ALICE, WINDOW_OPS + 1, ("bob", "more"))
    again = chat.send(ALICE, 1, *window)
    assert again.refusals == {0: Refusal(Reason.ANSWER_FORGOTTEN, 1)}
    assert again.answers[1:] == first.answers[1:]
    assert chat.account("bob").last_inbox_seq == WINDOW_OPS + 1


def test_deletions_keep_no_more_answers_than_the_window_either(chat: Chat) -> None:
    chat.open("alice", ALICE2)
    for op_seq in range(1, WINDOW_OPS + 3):
        assert chat.delete(ALICE, op_seq) == Refusal(Reason.REPLACED)
    assert len(chat.state.clients[ALICE].answers) == WINDOW_OPS


def test_a_client_that_does_not_count_itself_has_no_answers_kept(chat: Chat) -> None:
    assert chat.send(ALICE, 1, ("bob", "a"), keep=False).answers == [(1, chat.time_us)]
    assert not chat.state.clients[ALICE].answers
    assert only_reason(chat.send(ALICE, 1, ("bob", "a"))) is Reason.ANSWER_FORGOTTEN
    chat.send(ALICE, 2, ("bob", "b"))
    assert chat.send(ALICE, 2, ("bob", "b")).answers[0][0] == 2
    assert chat.send(ALICE, 3, ("bob", "c"), keep=False).answers[0][0] == 3
    assert only_reason(chat.send(ALICE, 2, ("bob", "b"))) is Reason.ANSWER_FORGOTTEN


def test_what_was_acknowledged_elsewhere_becomes_a_hole(chat: Chat) -> None:
    chat.send(ALICE, 1, ("bob", "a"))
    opened = chat.open("alice", ALICE, first_unanswered_op_seq=5)
    assert (opened.holes_made, opened.next_op_seq) == (3, 5)
    assert chat.state.clients[ALICE].holes == [(2, 5)]
    done = chat.send(ALICE, 4, ("bob", "d"), ("bob", "e"))
    assert {offset: refusal.reason for offset, refusal in done.refusals.items()} == {0: Reason.ANSWER_FORGOTTEN}
    assert places(done.messages) == [("e", 2, 2)]
    assert chat.open("alice", ALICE, first_unanswered_op_seq=5).holes_made == 0


def test_a_count_beyond_all_counting_is_refused(chat: Chat) -> None:
    assert chat.open("alice", ALICE, first_unanswered_op_seq=2**64 - 1) == Refusal(Reason.OP_SEQ_GAP, 1)
    assert chat.open("new", EVE, first_unanswered_op_seq=OP_SEQ_MAX + 1) == Refusal(Reason.OP_SEQ_GAP, 1)
    assert chat.state.find("new") is None
    opened = chat.open("alice", ALICE, first_unanswered_op_seq=OP_SEQ_MAX)
    assert opened.next_op_seq == OP_SEQ_MAX
    assert chat.send(ALICE, OP_SEQ_MAX, ("bob", "last")).refusals == {}


def test_a_retired_client_is_unknown_and_begins_anew(chat: Chat) -> None:
    chat.send(ALICE, 1, ("bob", "a"))
    assert chat.one(RetireClient(ALICE)) is None
    assert chat.send(ALICE, 2, ("bob", "b")) == Refusal(Reason.INVALID_CLIENT_ID)
    assert ALICE in chat.state.take_changes().retired
    assert chat.open("alice", ALICE).next_op_seq == 1
    changes = chat.state.take_changes()
    assert ALICE in changes.clients
    assert ALICE not in changes.retired


def test_retiring_an_unknown_client_does_nothing(chat: Chat) -> None:
    assert chat.one(RetireClient(EVE)) is None


# ---- cursors


def test_a_cursor_never_goes_back_nor_beyond_the_inbox(chat: Chat) -> None:
    chat.send(ALICE, 1, *[("bob", str(number)) for number in range(5)])
    cursors = []
    for inbox_seq in (3, 2, 0, 99):
        assert chat.one(AdvanceCursors([(2, inbox_seq), (99, 1)])) is None
        cursors.append(chat.account("bob").cursor)
    assert cursors == [3, 3, 3, 5]
    opened = chat.open("bob", BOB)
    assert (opened.cursor, opened.last_inbox_seq) == (5, 5)


# ---- deletion


def test_a_deleted_account_is_gone_and_its_name_stands_for_nobody(chat: Chat) -> None:
    assert chat.delete(BOB, 1) == AccountGone(2, "bob")
    assert chat.state.find("bob") is None
    assert only_reason(chat.send(ALICE, 1, ("bob", "hi"))) is Reason.UNKNOWN_RECIPIENT


def test_a_repeated_deletion_has_the_same_outcome_even_when_the_name_is_in_use_again(chat: Chat) -> None:
    gone = chat.delete(BOB, 1)
    assert chat.delete(BOB, 1) == gone
    chat.open("bob", EVE)
    assert chat.delete(BOB, 1) == gone
    assert chat.account("bob").account_id == 3


def test_a_name_used_again_is_another_account_with_an_empty_inbox(chat: Chat) -> None:
    chat.send(ALICE, 1, ("bob", "old"))
    chat.delete(BOB, 1)
    opened = chat.open("Bob", EVE)
    assert (opened.account_id, opened.user, opened.created) == (3, "Bob", True)
    assert (opened.cursor, opened.last_inbox_seq) == (0, 0)
    assert places(chat.send(ALICE, 2, ("bob", "new")).messages) == [("new", 1, 1)]


def test_messages_of_a_deleted_account_stay_in_the_inboxes_of_others(chat: Chat) -> None:
    chat.send(ALICE, 1, ("bob", "hi"))
    chat.delete(ALICE, 2)
    opened = chat.open("bob", BOB)
    assert (opened.cursor, opened.last_inbox_seq) == (0, 1)
    assert [message.text for message in chat.state.take_changes().messages] == ["hi"]


def test_operations_for_a_deleted_account_are_refused_and_take_their_number(chat: Chat) -> None:
    chat.open("alice", ALICE2, receives=False)
    chat.delete(ALICE, 1)
    for client_id, op_seq in ((ALICE, 2), (ALICE2, 1)):
        assert only_reason(chat.send(client_id, op_seq, ("bob", "hi"))) is Reason.ACCOUNT_DELETED
        assert chat.delete(client_id, op_seq + 1) == Refusal(Reason.ACCOUNT_DELETED)
        assert chat.state.clients[client_id].head == op_seq + 1


def test_a_client_of_a_deleted_account_cannot_log_in_for_its_successor(chat: Chat) -> None:
    chat.delete(ALICE, 1)
    assert chat.open("alice", ALICE) == Refusal(Reason.ACCOUNT_DELETED)
    assert chat.state.find("alice") is None
    chat.open("alice", ALICE2)
    assert chat.open("alice", ALICE) == Refusal(Reason.ACCOUNT_DELETED)


def test_a_replaced_client_cannot_delete_the_account(chat: Chat) -> None:
    chat.open("alice", ALICE2)
    assert chat.delete(ALICE, 1) == Refusal(Reason.REPLACED)
    assert chat.delete(ALICE, 1) == Refusal(Reason.REPLACED)
    assert chat.account("alice").account_id == 1


def test_a_deletion_under_the_op_id_of_a_send_is_a_mismatch_and_the_other_way_round(chat: Chat) -> None:
    chat.send(ALICE, 1, ("bob", "hi"))
    assert chat.delete(ALICE, 1) == Refusal(Reason.IDEMPOTENCY_MISMATCH, 1)
    chat.delete(ALICE, 2)
    assert only_reason(chat.send(ALICE, 2, ("bob", "hi"))) is Reason.IDEMPOTENCY_MISMATCH


def test_no_text_makes_a_send_pass_for_a_deletion(chat: Chat) -> None:
    chat.open("delete", EVE)
    for op_seq, words in enumerate((("delete", " account"), ("", "delete account")), start=1):
        chat.send(ALICE, op_seq, words)
        assert chat.delete(ALICE, op_seq) == Refusal(Reason.IDEMPOTENCY_MISMATCH, op_seq)
    assert chat.account("alice").account_id == 1


def test_a_forgotten_deletion_is_not_done_twice(chat: Chat) -> None:
    chat.delete(ALICE, 1)
    chat.send(ALICE, 2, ("bob", "hi"), answered=1)
    assert chat.delete(ALICE, 1) == Refusal(Reason.ANSWER_FORGOTTEN, 1)


# ---- changes and digest


def test_an_account_deleted_before_changes_are_taken_is_only_among_the_deleted(chat: Chat) -> None:
    chat.delete(ALICE, 1)
    changes = chat.state.take_changes()
    assert set(changes.accounts) == {2}
    assert [account.account_id for account in changes.deleted] == [1]
    assert not chat.state.take_changes().deleted


def run(commands: Sequence[Sequence[Command]]) -> bytes:
    chat = Chat()
    for entry in commands:
        chat.apply(*entry)
    return chat.state.digest


STORY: list[list[Command]] = [
    [OpenSession("alice", ALICE, True, True, 0, 1), OpenSession("bob", BOB, True, True, 0, 1)],
    [Sends(ALICE, 1, 0, True, [("bob", "hi"), ("bob", ""), ("eve", "x")])],
    [AdvanceCursors([(2, 1)])],
    [RetireClient(ALICE)],
    [DeleteAccount(BOB, 1)],
]


def test_the_same_entries_make_the_same_digest_also_when_read_from_a_log() -> None:
    logged = msgspec.msgpack.decode(msgspec.msgpack.encode(STORY), type=list[list[Command]])
    assert run(STORY) == run(logged)


@pytest.mark.parametrize(
    ("entry", "instead"),
    [
        pytest.param(0, [OpenSession("alice", ALICE, True, True, 0, 1)], id="a login missing"),
        pytest.param(1, [Sends(ALICE, 1, 0, True, [("bob", "ho"), ("bob", ""), ("eve", "x")])], id="another text"),
        pytest.param(2, [AdvanceCursors([(2, 0)])], id="another cursor"),
        pytest.param(3, [RetireClient(EVE)], id="another client retired"),
        pytest.param(4, [DeleteAccount(BOB, 2)], id="a deletion refused"),
        pytest.param(4, [], id="nothing"),
    ],
)
def test_another_entry_makes_another_digest(entry: int, instead: list[Command]) -> None:
    assert run([*STORY[:entry], instead, *STORY[entry + 1 :]]) != run(STORY)


def test_another_time_or_order_makes_another_digest() -> None:
    one, other = ChatState(), ChatState()
    one.apply(STORY[0], 1)
    other.apply(STORY[0], 2)
    assert one.digest != other.digest
    assert run([STORY[0], STORY[2], STORY[1]]) != run(STORY[:3])


def test_the_digest_goes_on_from_that_of_a_loaded_state() -> None:
    chat = Chat()
    chat.apply(*STORY[0])
    state = chat.state
    loaded = ChatState(
        copy.deepcopy(list(state.accounts.values())), None, copy.deepcopy(dict(state.clients)), state.next_account_id,
        state.digest,
    )  # fmt: skip
    for time_us, entry in enumerate(STORY[1:], start=9_000):
        chat.state.apply(entry, time_us)
        loaded.apply(entry, time_us)
    assert loaded.digest == chat.state.digest
