"""The checker finds nothing in good histories, and in bad ones exactly what is wrong with them."""

import random
from collections.abc import Callable
from math import inf

import msgspec
import pytest

from tests.chaos.checker import RULES, check
from tests.chaos.history import (
    AccountKind,
    AccountOp,
    Delivery,
    Fault,
    FinalState,
    History,
    Outcome,
    Reading,
    Send,
    Session,
    Shown,
    conversation,
)

PAIRS = (("anna", "bert"), ("carl", "dora"), ("bert", "anna"))
SPAN_S = 40.0


def good_history(seed: int) -> History:
    """What clients see of a cluster that keeps its promises: clients send, some get no answer, people read."""
    dice = random.Random(seed)
    history = History(steady={f"{sender}-client" for sender, _ in PAIRS}, rate_min=5.0, ended=SPAN_S)
    stored: dict[tuple[str, str], list[Shown]] = {conversation(*pair): [] for pair in PAIRS}
    inboxes: dict[str, int] = {}
    now = 0.0
    for number in range(1, 400):
        for sender, recipient in PAIRS:
            now += dice.uniform(0.01, SPAN_S / 399 / len(PAIRS))
            send = Send(f"{sender}-client", sender, recipient, number, f"{sender}/{number}", now)
            history.sends.append(send)
            place = stored[conversation(sender, recipient)]
            chance = dice.random()
            if chance < 0.02:
                send.outcome = Outcome.FAILED
                continue
            if chance < 0.04:
                continue  # neither answered nor carried out
            seq, op_id = len(place) + 1, f"{sender}-op/{number}"
            place.append(Shown(seq, sender, send.text))
            inboxes[recipient] = inboxes.get(recipient, 0) + 1
            history.deliveries.append(Delivery(recipient, sender, send.text, inboxes[recipient], seq, op_id))
            if chance > 0.06:
                for _ in range(dice.choice((1, 1, 1, 2))):
                    send.answer(seq, number, op_id, now + 0.005)
            if dice.random() < 0.1:
                begun = now + 0.006
                history.readings.append(
                    Reading(conversation(sender, recipient), begun, begun + 0.001, tuple(place[-9:]))
                )
    history.ended = now
    for between, messages in stored.items():
        history.final.append(Reading(between, now + 1, now + 2, tuple(messages)))
    history.sessions = [Session("anna", "anna-client", 0.0, 1), Session("bert", "bert-client", 0.0, 1)]
    history.states = [FinalState(server, 900, "5a5a") for server in "abc"]
    for began in (8.0, 20.0):
        history.faults.append(
            Fault("kill", "a", 3.0, began, began + 1, began + 1.5, began + 2, "it was gone", ((began - 1, began),))
        )
    history.accounts = account_history(dice)
    return history


def account_history(dice: random.Random) -> list[AccountOp]:
    """Two at work on the same names at once; each operation takes effect at a random moment while it runs."""
    ops: list[AccountOp] = []
    for name in ("x1", "x2", "x3"):
        moments = sorted(dice.uniform(0, 30) for _ in range(12))
        created_us = 0
        for count, moment in enumerate(moments):
            begun, ended = moment - dice.uniform(0, 2), moment + dice.uniform(0, 2)
            kind = dice.choice(list(AccountKind))
            result: bool | None
            match kind:
                case AccountKind.CREATE:
                    result, created_us = not created_us, created_us or count + 1
                case AccountKind.DELETE:
                    result, created_us = bool(created_us), 0
                case AccountKind.LOOK:
                    result = bool(created_us)
            if kind is not AccountKind.LOOK and dice.random() < 0.2:
                result, ended = None, inf
            ops.append(AccountOp(name, kind, begun, ended, result, created_us if kind is AccountKind.LOOK else 0))
    return ops


def acknowledged(history: History) -> list[Send]:
    return [send for send in history.sends if send.outcome is Outcome.OK]


def replace_final(history: History, change: Callable[[list[Shown]], list[Shown]]) -> None:
    final = history.final[0]
    history.final[0] = msgspec.structs.replace(final, messages=tuple(change(list(final.messages))))
    history.readings = [reading for reading in history.readings if reading.between != final.between]
    history.deliveries = [
        delivery
        for delivery in history.deliveries
        if conversation(delivery.sender, delivery.recipient) != final.between
    ]


def renumbered(messages: list[Shown]) -> list[Shown]:
    return [msgspec.structs.replace(shown, seq=seq) for seq, shown in enumerate(messages, 1)]


def forget_places(history: History) -> None:
    """Make answers consistent with whatever was done to the conversations, so that only the order is wrong."""
    places = {shown.text: shown.seq for reading in history.final for shown in reading.messages}
    for send in history.sends:
        if send.replies and send.text in places:
            send.replies = ((places[send.text], send.replies[0][1]),)


# Each breaks a history in one way, with dice; its name begins with the rule that must notice.


def h1_acknowledged_and_not_in_the_conversation(history: History, dice: random.Random) -> None:
    victim = dice.choice(
        [
            send
            for send in acknowledged(history)
            if conversation(send.sender, send.recipient) == history.final[0].between
        ]
    )
    replace_final(history, lambda messages: renumbered([shown for shown in messages if shown.text != victim.text]))
    forget_places(history)


def h1_the_end_of_a_conversation_is_missing(history: History, dice: random.Random) -> None:
    replace_final(history, lambda messages: messages[: -dice.randint(10, 30)])


def h1_never_shown_to_its_recipient(history: History, dice: random.Random) -> None:
    texts = {send.text for send in acknowledged(history)}
    shown = [number for number, delivery in enumerate(history.deliveries) if delivery.text in texts]
    del history.deliveries[dice.choice(shown)]


def h2_twice_in_the_conversation(history: History, dice: random.Random) -> None:
    def double(messages: list[Shown]) -> list[Shown]:
        return renumbered([*messages, dice.choice(messages)])

    replace_final(history, double)


def h2_shown_twice(history: History, dice: random.Random) -> None:
    place = dice.randrange(len(history.deliveries))
    history.deliveries.insert(place + 1, history.deliveries[place])


def h2_shown_twice_at_another_place(history: History, dice: random.Random) -> None:
    """As after a failover that gave a message a second number."""
    delivery = dice.choice(history.deliveries)
    last = max(other.inbox_seq for other in history.deliveries if other.recipient == delivery.recipient)
    history.deliveries.append(msgspec.structs.replace(delivery, inbox_seq=last + 1))


def h3_two_messages_of_a_client_in_the_wrong_order(history: History, dice: random.Random) -> None:
    def swap(messages: list[Shown]) -> list[Shown]:
        place = dice.randrange(len(messages) - 2)
        other = next(p for p in range(place + 1, len(messages)) if messages[p].sender == messages[place].sender)
        messages[place], messages[other] = messages[other], messages[place]
        return renumbered(messages)

    replace_final(history, swap)
    forget_places(history)


def h3_an_answered_message_is_behind_a_later_one_of_another_client(history: History, dice: random.Random) -> None:
    texts = {send.text for send in acknowledged(history)}

    def swap(messages: list[Shown]) -> list[Shown]:
        place = dice.choice(
            [
                place
                for place in range(len(messages) - 1)
                if messages[place].sender != messages[place + 1].sender
                and {messages[place].text, messages[place + 1].text} <= texts
            ]
        )
        messages[place], messages[place + 1] = messages[place + 1], messages[place]
        return renumbered(messages)

    replace_final(history, swap)
    forget_places(history)


def h4_in_the_conversation_and_sent_by_nobody(history: History, dice: random.Random) -> None:
    def invent(messages: list[Shown]) -> list[Shown]:
        messages.insert(dice.randrange(len(messages)), Shown(1, messages[0].sender, "boo"))
        return renumbered(messages)

    replace_final(history, invent)
    forget_places(history)


def h4_shown_with_another_text(history: History, dice: random.Random) -> None:
    place = dice.randrange(len(history.deliveries))
    history.deliveries[place] = msgspec.structs.replace(history.deliveries[place], text="anna/1x")


def h4_of_another_sender(history: History, dice: random.Random) -> None:
    def forge(messages: list[Shown]) -> list[Shown]:
        place = dice.randrange(len(messages))
        sender = "anna" if messages[place].sender == "bert" else "bert"
        messages[place] = msgspec.structs.replace(messages[place], sender=sender)
        return messages

    replace_final(history, forge)


def h5_refused_and_carried_out(history: History, dice: random.Random) -> None:
    victim = dice.choice(acknowledged(history))
    victim.outcome, victim.replies, victim.completed = Outcome.FAILED, (), inf


def h6_a_retry_gets_another_answer(history: History, dice: random.Random) -> None:
    victim = dice.choice(acknowledged(history))
    victim.replies = (victim.replies[0], (victim.replies[0][0] + 1, victim.replies[0][1]))


def h6_the_answer_names_another_place(history: History, dice: random.Random) -> None:
    victim = dice.choice(acknowledged(history)[:-5])
    victim.replies = ((victim.replies[0][0] - 1, victim.replies[0][1]),)


def h7_a_read_is_stale(history: History, dice: random.Random) -> None:
    place = dice.randrange(len(history.readings) // 2, len(history.readings))
    reading = history.readings[place]
    history.readings[place] = msgspec.structs.replace(reading, messages=reading.messages[:-3])


def h7_a_read_has_a_gap(history: History, dice: random.Random) -> None:
    place = dice.randrange(len(history.readings) // 2, len(history.readings))
    reading = history.readings[place]
    history.readings[place] = msgspec.structs.replace(reading, messages=(*reading.messages[:-2], reading.messages[-1]))


def h7_what_was_read_changes(history: History, dice: random.Random) -> None:
    """As when a message was shown that a failover then lost, and its number was given to another."""
    place = dice.randrange(len(history.readings) // 2, len(history.readings))
    reading = history.readings[place]
    other = msgspec.structs.replace(reading.messages[-1], text=reading.messages[0].text)
    history.readings[place] = msgspec.structs.replace(reading, messages=(*reading.messages[:-1], other))


def h8_made_twice(history: History, dice: random.Random) -> None:
    for moment in (100.0, 102.0):
        history.accounts.append(AccountOp("twice", AccountKind.CREATE, moment, moment + dice.random(), True))


def h8_not_listed_after_it_was_made(history: History, dice: random.Random) -> None:
    history.accounts.append(AccountOp("gone", AccountKind.CREATE, 100, 101, True))
    history.accounts.append(AccountOp("gone", AccountKind.LOOK, 101 + dice.random(), 103, False))


def h9_a_deleted_account_comes_back(history: History, dice: random.Random) -> None:
    """As when a new primary does not know of the deletion; a login that got no answer would explain the account."""
    history.accounts += [
        AccountOp("back", AccountKind.CREATE, 100, 101, True),
        AccountOp("back", AccountKind.LOOK, 101.5, 101.7, True, 7),
        AccountOp("back", AccountKind.DELETE, 102, 103, True),
        AccountOp("back", AccountKind.CREATE, 103.5, inf, None),
        AccountOp("back", AccountKind.LOOK, 104 + dice.random(), 106, True, 7),
    ]


def h10_a_replaced_session_gets_an_answer(history: History, dice: random.Random) -> None:
    early = dice.choice([send for send in acknowledged(history) if send.client == "anna-client"][:-9])
    history.sessions.append(Session("anna", "other-client", early.completed, 2))


def h11_longer_without_an_answer_than_the_fault_allows(history: History, dice: random.Random) -> None:
    fault = dice.choice(history.faults)
    since = fault.began + dice.uniform(0, 0.5)
    for send in acknowledged(history):
        if send.client == "carl-client" and since < send.completed < since + 3.5:
            send.completed = since + 3.5


def h11_not_in_sync_again(history: History, dice: random.Random) -> None:
    dice.choice(history.faults).in_sync = inf


def h12_a_server_ends_in_another_state(history: History, dice: random.Random) -> None:
    place = dice.randrange(3)
    history.states[place] = msgspec.structs.replace(history.states[place], state_hash="5b5a")


def h13_too_little_traffic(history: History, dice: random.Random) -> None:
    fault = dice.choice(history.faults)
    fault.steady = ((history.ended + 1, history.ended + 2),)


def h14_a_fault_that_did_not_act(history: History, dice: random.Random) -> None:
    dice.choice(history.faults).evidence = ""


def h14_no_fault_at_all(history: History, dice: random.Random) -> None:
    history.faults.clear()


BAD = [value for name, value in sorted(globals().items()) if name[0] == "h" and name[1].isdigit()]


@pytest.mark.parametrize("seed", range(20))
def test_a_good_history_is_found_good(seed: int) -> None:
    assert check(good_history(seed)) == []


@pytest.mark.parametrize("break_it", BAD, ids=lambda function: function.__name__)
def test_what_is_wrong_with_a_history_is_found(break_it: Callable[[History, random.Random], None]) -> None:
    rule = break_it.__name__.split("_")[0].upper()
    for seed in range(10):
        history = good_history(seed)
        break_it(history, random.Random(seed))
        found = {violation.rule for violation in check(history)}
        assert rule in found, (seed, found)


def test_every_rule_has_a_history_that_breaks_it() -> None:
    assert {break_it.__name__.split("_")[0].upper() for break_it in BAD} == set(RULES)


def test_time_that_the_machine_withheld_from_everybody_is_not_counted_as_unavailability() -> None:
    history = good_history(4)
    h11_longer_without_an_answer_than_the_fault_allows(history, random.Random(4))
    history.starved.append((history.faults[0].began - 1.0, 9.0))  # long over
    for fault in history.faults:
        history.starved.append((fault.began + 0.1, 0.3))
    assert {violation.rule for violation in check(history)} == {"H11"}
    for fault in history.faults:
        history.starved.append((fault.began + 0.2, 1.5))
    assert check(history) == []


def test_only_the_rule_in_question_fails_where_nothing_else_is_wrong() -> None:
    alone = [
        h1_never_shown_to_its_recipient,
        h6_a_retry_gets_another_answer,
        h7_a_read_is_stale,
        h8_made_twice,
        h9_a_deleted_account_comes_back,
        h10_a_replaced_session_gets_an_answer,
        h11_not_in_sync_again,
        h12_a_server_ends_in_another_state,
        h14_a_fault_that_did_not_act,
    ]
    for break_it in alone:
        history = good_history(3)
        break_it(history, random.Random(3))
        assert {violation.rule for violation in check(history)} == {break_it.__name__.split("_")[0].upper()}
