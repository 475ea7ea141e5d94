"""Random stories against a model that remembers everything.

The model has no watermarks and no windows: it keeps every op id with its outcome for ever, and says of each only
whether the answer must still be known. It shares no code with the state except the types of commands and outcomes.
"""

from dataclasses import dataclass, field
from typing import Any

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from chatsvc.domain.commands import AdvanceCursors, Command, DeleteAccount, OpenSession, RetireClient, Sends
from chatsvc.domain.errors import Reason, Refusal
from chatsvc.domain.outcomes import AccountGone, SendsDone, SessionOpened
from chatsvc.domain.state import ChatState

WINDOW = 1_024
USERS = ("ann", "Bob", "cy")
RECIPIENTS = (*USERS, "ANN", "nobody", "no body", "")
TEXTS = ("a", "b", "", "x" * 1_501)
CLIENTS = tuple(bytes([number]) * 16 for number in range(5))


@dataclass
class ModelAccount:
    number: int
    user: str
    logins: list[bytes] = field(default_factory=list)
    inbox: list[tuple[int, str, bytes, int]] = field(default_factory=list)  # author, text, op id
    acknowledged: int = 0
    gone: bool = False


@dataclass
class ModelClient:
    account: ModelAccount
    incarnation: int = 0
    done: dict[int, tuple[object, Any]] = field(default_factory=dict)  # op seq: (operation, outcome)
    count: int = 0
    forgotten: set[int] = field(default_factory=set)

    def forget(self, op_seqs: range) -> None:
        self.forgotten.update(op_seqs)


class Model:
    """Everything that ever happened."""

    def __init__(self) -> None:
        self.accounts: list[ModelAccount] = []
        self.clients: dict[bytes, ModelClient] = {}
        self.conversations: dict[frozenset[int], list[tuple[int, str]]] = {}

    def find(self, user: str) -> ModelAccount | None:
        living = [account for account in self.accounts if account.user.lower() == user.lower() and not account.gone]
        assert len(living) <= 1
        return living[0] if living else None

    def may_act(self, client: ModelClient) -> Reason | None:
        if client.account.gone:
            return Reason.ACCOUNT_DELETED
        if client.incarnation and client.incarnation != len(client.account.logins):
            return Reason.REPLACED
        return None

    def open(self, command: OpenSession) -> tuple[Any, ...]:
        client, account = self.clients.get(command.client_id), self.find(command.user)
        if client is not None and client.account is not account:
            return ("refused", Reason.ACCOUNT_DELETED if client.account.gone else Reason.INVALID_CLIENT_ID)
        if account is None and not command.create:
            return ("refused", Reason.UNKNOWN_ACCOUNT)
        if command.receives and command.incarnation:
            newest = account.logins[-1:] if account is not None else []
            if newest != [command.client_id] or account is None or len(account.logins) != command.incarnation:
                return ("refused", Reason.REPLACED)
        created = account is None
        if account is None:
            account = ModelAccount(len(self.accounts) + 1, command.user)
            self.accounts.append(account)
        if command.receives and account.logins[-1:] != [command.client_id]:
            account.logins.append(command.client_id)
        if client is None:
            client = self.clients[command.client_id] = ModelClient(account)
        client.incarnation = len(account.logins) if command.receives else 0
        holes = max(0, command.first_unanswered_op_seq - 1 - client.count)
        client.count += holes
        client.forget(range(1, client.count + 1 if holes else min(client.count + 1, command.first_unanswered_op_seq)))
        return (
            "opened", account.number, account.user, created, client.incarnation, client.count + 1,
            account.acknowledged, len(account.inbox), holes,
        )  # fmt: skip

    def repeated(self, client: ModelClient, op_seq: int, operation: object) -> Any:
        if op_seq in client.forgotten:
            return Reason.ANSWER_FORGOTTEN
        first, outcome = client.done[op_seq]
        return outcome if first == operation else Reason.IDEMPOTENCY_MISMATCH

    def do(self, client: ModelClient, operation: object, outcome: Any) -> None:
        client.count += 1
        assert client.count not in client.done, "carried out twice"
        client.done[client.count] = (operation, outcome)

    def sends(self, command: Sends, time_us: int) -> tuple[Any, ...]:
        client = self.clients.get(command.client_id)
        if client is None:
            return ("refused", Reason.INVALID_CLIENT_ID)
        if command.first_op_seq > client.count + 1:
            return ("refused", Reason.OP_SEQ_GAP)
        client.forget(range(1, min(command.answered_op_seq, client.count) + 1))
        if not command.keep_answers:
            client.forget(range(1, client.count + 1))
        answers: list[Any] = []
        accepted = []
        for op_seq, (offset, (to, text)) in enumerate(enumerate(command.messages), start=command.first_op_seq):
            left_out = command.refused.get(offset)
            operation = (to, text, left_out)
            if op_seq <= client.count:
                answers.append(self.repeated(client, op_seq, operation))
                continue
            recipient = self.find(to)
            outcome: Any = self.may_act(client)
            if outcome is None and left_out:
                outcome = Reason.INVALID_TEXT
            if outcome is None and recipient is None:
                outcome = Reason.UNKNOWN_RECIPIENT if to == "nobody" or to.lower() in ["ann", "bob", "cy"] else (
                    Reason.INVALID_NAME
                )  # fmt: skip
            if outcome is None and not 1 <= len(text) <= 1_500:
                outcome = Reason.INVALID_TEXT
            if outcome is None:
                assert recipient is not None
                author = client.account
                recipient.inbox.append((author.number, text, command.client_id, op_seq))
                conversation = self.conversations.setdefault(frozenset({author.number, recipient.number}), [])
                conversation.append((author.number, text))
                outcome = (len(conversation), time_us)
                accepted.append((recipient.number, len(recipient.inbox), len(conversation), text, op_seq))
            self.do(client, operation, outcome)
            answers.append(outcome)
            if not command.keep_answers:
                client.forget(range(op_seq, op_seq + 1))
        client.forget(range(1, client.count - WINDOW + 1))
        return ("done", answers, accepted)

    def delete(self, command: DeleteAccount) -> tuple[Any, ...]:
        client = self.clients.get(command.client_id)
        if client is None:
            return ("refused", Reason.INVALID_CLIENT_ID)
        if command.op_seq > client.count + 1:
            return ("refused", Reason.OP_SEQ_GAP)
        if command.op_seq <= client.count:
            outcome = self.repeated(client, command.op_seq, "delete")
            return outcome if isinstance(outcome, tuple) else ("refused", outcome)
        reason = self.may_act(client)
        result = ("gone", client.account.number, client.account.user) if reason is None else ("refused", reason)
        client.account.gone = True if reason is None else client.account.gone
        self.do(client, "delete", result)
        return result

    def advance(self, command: AdvanceCursors) -> None:
        for number, inbox_seq in command.cursors:
            for account in self.accounts:
                if account.number == number and not account.gone:
                    account.acknowledged = max(account.acknowledged, min(inbox_seq, len(account.inbox)))


def plain(outcome: Any) -> Any:
    """An outcome of the state in the form in which the model has it."""
    match outcome:
        case Refusal():
            return ("refused", outcome.reason)
        case SessionOpened():
            return ("opened", *(getattr(outcome, name) for name in outcome.__struct_fields__))
        case AccountGone():
            return ("gone", outcome.account_id, outcome.user)
        case SendsDone():
            answers = [
                outcome.refusals[offset].reason if offset in outcome.refusals else answer
                for offset, answer in enumerate(outcome.answers)
            ]
            accepted = [
                (message.recipient_id, message.inbox_seq, message.conversation_seq, message.text, message.op_seq)
                for message in outcome.messages
            ]
            return ("done", answers, accepted)
    return outcome


class Tables:
    """Stored tables as simple as can be, brought up to date by changes alone."""

    def __init__(self) -> None:
        self.accounts: dict[int, Any] = {}
        self.clients: dict[bytes, Any] = {}
        self.messages: list[Any] = []

    def update(self, state: ChatState) -> None:
        changes = state.take_changes()
        self.messages += changes.messages
        for account in changes.accounts.values():
            self.accounts[account.account_id] = _account_row(account)
        for account in changes.deleted:
            self.accounts.pop(account.account_id, None)
        for client_id, client in changes.clients.items():
            self.clients[client_id] = _client_row(client)
        for client_id in changes.retired:
            self.clients.pop(client_id, None)


def _account_row(account: Any) -> tuple[Any, ...]:
    return tuple(getattr(account, name) for name in account.__struct_fields__)


def _client_row(client: Any) -> tuple[Any, ...]:
    return (client.account_id, client.incarnation, client.head, list(client.answers), list(client.holes))


windows = st.lists(st.tuples(st.sampled_from(RECIPIENTS), st.sampled_from(TEXTS)), min_size=1, max_size=6)
clients = st.sampled_from(CLIENTS)
users = st.sampled_from(USERS)


class Story(RuleBasedStateMachine):
    """The state, a second one and the model hear the same commands; now and then tables follow by the changes."""

    sent = Bundle("sent")

    def __init__(self) -> None:
        super().__init__()
        self.state, self.replica = ChatState(), ChatState()
        self.model, self.tables = Model(), Tables()
        self.time_us = 0

    def apply(self, command: Command) -> Any:
        self.time_us += 1
        (outcome,) = self.state.apply([command], self.time_us)
        self.replica.apply([command], self.time_us)
        expected: Any = None
        match command:
            case OpenSession():
                expected = self.model.open(command)
            case Sends():
                expected = self.model.sends(command, self.time_us)
            case DeleteAccount():
                expected = self.model.delete(command)
            case AdvanceCursors():
                self.model.advance(command)
            case RetireClient():
                self.model.clients.pop(command.client_id, None)
        assert plain(outcome) == expected
        return expected

    def count(self, client_id: bytes) -> int:
        client = self.model.clients.get(client_id)
        return client.count if client else 0

    @rule(user=users, client_id=clients, receives=st.booleans(), create=st.booleans(), claimed=st.integers(-3, 2))
    def log_in(self, user: str, client_id: bytes, receives: bool, create: bool, claimed: int) -> None:
        first_unanswered = max(1, self.count(client_id) + claimed)
        self.apply(OpenSession(user, client_id, receives, create, 0, first_unanswered))

    @rule(client_id=clients)
    def return_after_a_crash(self, client_id: bytes) -> None:
        client = self.model.clients.get(client_id)
        if client is not None:
            receives = client.incarnation > 0
            self.apply(OpenSession(client.account.user, client_id, receives, True, client.incarnation, 1))

    @rule(user=users, client_id=clients, incarnation=st.integers(1, 4))
    def resume_whatever(self, user: str, client_id: bytes, incarnation: int) -> None:
        self.apply(OpenSession(user, client_id, True, True, incarnation, 1))

    @rule(target=sent, client_id=clients, messages=windows, ahead=st.sampled_from((0, 0, 0, 0, -2, 1)),
          answered=st.integers(0, 8), keep=st.sampled_from((True, True, True, False)),
          leave_out=st.booleans())  # fmt: skip
    def send(
        self, client_id: bytes, messages: list[tuple[str, str]], ahead: int, answered: int, keep: bool, leave_out: bool
    ) -> Any:
        head = self.count(client_id)
        refused: dict[int, tuple[int, int]] = {}
        if leave_out:
            refused = {
                offset: (Reason.INVALID_TEXT, len(text))
                for offset, (_, text) in enumerate(messages)
                if not 1 <= len(text) <= 1_500
            }
            messages = [(to, "" if offset in refused else text) for offset, (to, text) in enumerate(messages)]
        first_op_seq = max(1, head + 1 + ahead)
        command = Sends(client_id, first_op_seq, max(0, head - answered), keep, messages, refused)
        self.apply(command)
        return command

    @rule(client_id=clients, number=st.sampled_from((300, 1_023, 1_024, 1_100)))
    def send_very_many(self, client_id: bytes, number: int) -> None:
        self.apply(Sends(client_id, self.count(client_id) + 1, 0, True, [("ann", "a")] * number))

    @rule(command=sent)
    def retry_any_earlier_window(self, command: Sends) -> None:
        self.apply(Sends(command.client_id, command.first_op_seq, 0, True, command.messages, command.refused))

    @rule(target=sent, command=consumes(sent), text=st.sampled_from(TEXTS))
    def retry_with_another_text(self, command: Sends, text: str) -> Any:
        changed = [*command.messages[:-1], (command.messages[-1][0], text)]
        self.apply(Sends(command.client_id, command.first_op_seq, 0, True, changed))
        return multiple(command)

    @rule(number=st.integers(1, 8), inbox_seq=st.integers(0, 12))
    def acknowledge(self, number: int, inbox_seq: int) -> None:
        self.apply(AdvanceCursors([(number, inbox_seq)]))

    @rule(client_id=clients, ahead=st.sampled_from((0, 0, -1, -2, 1)))
    def delete(self, client_id: bytes, ahead: int) -> None:
        self.apply(DeleteAccount(client_id, max(1, self.count(client_id) + 1 + ahead)))

    @rule(client_id=clients)
    def retire(self, client_id: bytes) -> None:
        self.apply(RetireClient(client_id))

    @rule()
    def store(self) -> None:
        self.tables.update(self.state)
        assert self.tables.accounts == {
            number: _account_row(account) for number, account in self.state.accounts.items()
        }
        assert self.tables.clients == {key: _client_row(client) for key, client in self.state.clients.items()}
        by_inbox: dict[int, list[int]] = {}
        by_conversation: dict[int, list[int]] = {}
        for message in self.tables.messages:
            by_inbox.setdefault(message.recipient_id, []).append(message.inbox_seq)
            by_conversation.setdefault(message.conversation, []).append(message.conversation_seq)
        for seqs in (*by_inbox.values(), *by_conversation.values()):
            assert seqs == list(range(1, len(seqs) + 1)), "a place is missing or taken twice"
        assert {key: len(seqs) for key, seqs in by_conversation.items()} == dict(self.state.conversations)
        stored = [(m.author_id, m.recipient_id, m.text, m.client_id, m.op_seq) for m in self.tables.messages]
        for account in self.model.accounts:
            expected = [
                (author, account.number, text, client_id, op_seq) for author, text, client_id, op_seq in account.inbox
            ]
            assert [row for row in stored if row[1] == account.number] == expected

    @invariant()
    def contents_are_equal(self) -> None:
        state, model = self.state, self.model
        assert state.digest == self.replica.digest
        living = {account.number: account for account in model.accounts if not account.gone}
        assert {
            number: (account.user, account.last_inbox_seq, account.cursor, account.incarnation, account.client_id)
            for number, account in state.accounts.items()
        } == {
            number: (
                account.user, len(account.inbox), account.acknowledged, len(account.logins),
                account.logins[-1] if account.logins else b"",
            )
            for number, account in living.items()
        }  # fmt: skip
        assert {user: found.account_id for user in USERS if (found := state.find(user))} == {
            user: account.number for user in USERS if (account := model.find(user))
        }
        assert state.next_account_id == len(model.accounts) + 1
        assert {key: (client.account_id, client.incarnation, client.head) for key, client in state.clients.items()} == {
            key: (client.account.number, client.incarnation, client.count) for key, client in model.clients.items()
        }
        for client in state.clients.values():
            assert len(client.answers) <= WINDOW

    def teardown(self) -> None:
        self.store()


TestStory = Story.TestCase
TestStory.settings = settings(
    max_examples=100, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
