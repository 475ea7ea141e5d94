"""Judges a history. Each rule has a number; a rule that finds nothing wrong is silent.

H1  whatever was acknowledged is in the conversation and was shown to its recipient, who was reading
H2  nothing is there twice: in a conversation, or shown to a recipient
H3  a conversation has the order in which each client sent, and in which sends followed each other in time
H4  nothing is there that nobody sent
H5  what was refused is nowhere
H6  a retry gets the first answer; an answer names the place where the message is
H7  what is read never changes and never goes back: it has all that was acknowledged or read before
H8  the account operations on each name have an order that explains every answer
H9  a deleted account never shows again
H10 a session that was replaced gets nothing acknowledged any more
H11 nobody is without answers for longer than each fault allows, and everybody is in sync afterwards
H12 all servers end in the same state
H13 there was traffic enough before and after each fault to prove something
H14 every fault acted
"""

from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from itertools import pairwise
from math import inf

import msgspec

from tests.chaos.history import (
    AccountKind,
    AccountOp,
    Conversation,
    History,
    Outcome,
    Reading,
    Send,
    Shown,
    conversation,
)

TOLD_MAX = 5
"""Findings of one rule that are told; of the others only their number."""

RULES = tuple(f"H{number}" for number in range(1, 15))


class Violation(msgspec.Struct, frozen=True):
    """A rule that the history breaks, and where."""

    rule: str
    text: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.text}"


def check(history: History) -> list[Violation]:
    """All that is wrong with a history; empty: nothing."""
    return _Checker(history).check()


class _Checker:
    def __init__(self, history: History) -> None:
        self._history = history
        self._found: dict[str, list[str]] = {rule: [] for rule in RULES}
        self._sends = {send.text: send for send in history.sends}
        assert len(self._sends) == len(history.sends), "every text is sent once"
        self._final: dict[Conversation, dict[int, Shown]] = {
            reading.between: {shown.seq: shown for shown in reading.messages} for reading in history.final
        }

    def _say(self, rule: str, text: str) -> None:
        self._found[rule].append(text)

    def check(self) -> list[Violation]:
        self._messages()
        self._deliveries()
        self._order()
        self._readings()
        self._accounts()
        self._deletions()
        self._replaced()
        self._availability()
        self._states()
        violations = []
        for rule, texts in self._found.items():
            violations += [Violation(rule, text) for text in texts[:TOLD_MAX]]
            if len(texts) > TOLD_MAX:
                violations.append(Violation(rule, f"and {len(texts) - TOLD_MAX} more like these"))
        return violations

    # ---- messages

    def _messages(self) -> None:
        """H1, H2, H4, H5, H6 in the conversations."""
        places: defaultdict[str, list[int]] = defaultdict(list)
        for reading in self._history.final:
            for place, shown in enumerate(reading.messages, 1):
                if shown.seq != place:
                    self._say("H7", f"{reading.between}: place {place} of the conversation has number {shown.seq}")
                    break
            for shown in reading.messages:
                places[shown.text].append(shown.seq)
                self._known(reading.between, shown.sender, shown.text, "in the conversation")
        for text, seqs in places.items():
            if len(seqs) > 1:
                self._say("H2", f"{text!r} is {len(seqs)} times in its conversation, at {seqs}")
        for send in self._history.sends:
            between = conversation(send.sender, send.recipient)
            if between not in self._final:
                continue  # nobody could read it at the end, such as after a deletion
            if send.outcome is Outcome.OK and send.text not in places:
                self._say("H1", f"{_name(send)} was acknowledged and is not in the conversation")
            if send.outcome is Outcome.FAILED and send.text in places:
                self._say("H5", f"{_name(send)} was refused and is in the conversation")
            if len(set(send.replies)) > 1:
                self._say("H6", f"{_name(send)} had different answers: {sorted(set(send.replies))}")
            if send.replies and send.text in places and send.replies[0][0] not in places[send.text]:
                self._say("H6", f"{_name(send)} was told place {send.replies[0][0]}, and is at {places[send.text]}")

    def _known(self, between: Conversation, sender: str, text: str, where: str) -> None:
        send = self._sends.get(text)
        if send is None or send.sender != sender or conversation(send.sender, send.recipient) != between:
            self._say("H4", f"{text!r} of {sender} {where} {between} was sent by nobody")

    def _deliveries(self) -> None:
        """H1, H2, H4, H5 at the recipients."""
        shown: defaultdict[str, Counter[str]] = defaultdict(Counter)
        last: dict[str, int] = {}
        order: dict[Conversation, tuple[int, str]] = {}
        for delivery in self._history.deliveries:
            recipient = delivery.recipient
            shown[recipient][delivery.text] += 1
            self._known(conversation(delivery.sender, recipient), delivery.sender, delivery.text, f"to {recipient} in")
            expected = last.get(recipient, 0) + 1
            if delivery.inbox_seq > expected:
                self._say("H1", f"{recipient} was shown inbox place {delivery.inbox_seq} instead of {expected}")
            elif delivery.inbox_seq < expected:
                self._say("H2", f"{recipient} was shown inbox place {delivery.inbox_seq} again")
            last[recipient] = max(last.get(recipient, 0), delivery.inbox_seq)
            send = self._sends.get(delivery.text)
            if send is not None and send.op_id and delivery.op_id and send.op_id != delivery.op_id:
                self._say("H6", f"{_name(send)} was acknowledged as {send.op_id} and shown as {delivery.op_id}")
            between = conversation(delivery.sender, recipient)
            final = self._final.get(between, {}).get(delivery.seq)
            if between in self._final and (final is None or final.text != delivery.text):
                self._say("H7", f"{recipient} was shown {delivery.text!r} at {delivery.seq}, where {final} is")
            before = order.get(between)
            if before is not None and delivery.seq <= before[0] and delivery.text != before[1]:
                self._say("H3", f"{recipient} was shown {delivery.text!r} ({delivery.seq}) after {before}")
            order[between] = (delivery.seq, delivery.text)
        for recipient, texts in shown.items():
            for text, times in texts.items():
                if times > 1:
                    self._say("H2", f"{recipient} was shown {text!r} {times} times")
        for send in self._history.sends:
            if send.recipient not in shown or conversation(send.sender, send.recipient) not in self._final:
                continue  # nobody watched for that user, or the run ended before all could be shown
            if send.outcome is Outcome.OK and send.text not in shown[send.recipient]:
                self._say("H1", f"{_name(send)} was acknowledged and never shown to {send.recipient}")
            if send.outcome is Outcome.FAILED and send.text in shown[send.recipient]:
                self._say("H5", f"{_name(send)} was refused and was shown to {send.recipient}")

    def _order(self) -> None:
        """H3."""
        for between, messages in self._final.items():
            inside = [self._sends[shown.text] for shown in messages.values() if shown.text in self._sends]
            numbers: dict[str, int] = {}
            for send in inside:
                if send.number < numbers.get(send.client, 0):
                    self._say("H3", f"{between}: {_name(send)} is after number {numbers[send.client]} of {send.client}")
                numbers[send.client] = send.number
            earliest, first = inf, None  # completion of whatever comes later in the conversation
            for send in reversed(inside):
                if earliest < send.invoked:
                    assert first is not None
                    self._say(
                        "H3", f"{between}: {_name(send)} was sent after {_name(first)} had its answer, and is before"
                    )
                if send.outcome is Outcome.OK and send.completed < earliest:
                    earliest, first = send.completed, send

    def _readings(self) -> None:
        """H7: what is read is what is there at the end, without gaps, and not older than what was known before."""
        acknowledged: defaultdict[Conversation, list[tuple[float, int]]] = defaultdict(list)
        for send in self._history.sends:
            if send.outcome is Outcome.OK and send.replies:
                acknowledged[conversation(send.sender, send.recipient)].append((send.completed, send.replies[0][0]))
        readings: defaultdict[Conversation, list[Reading]] = defaultdict(list)
        for reading in [*self._history.readings, *self._history.final]:
            readings[reading.between].append(reading)
            if reading.messages:
                acknowledged[reading.between].append((reading.ended, reading.messages[-1].seq))
        for between, those in readings.items():
            known = sorted(acknowledged[between])
            times = [when for when, _ in known]
            highest = 0
            newest = [highest := max(highest, seq) for _, seq in known]
            final = self._final.get(between)
            for reading in those:
                before = bisect_left(times, reading.begun)
                least = newest[before - 1] if before else 0
                last = reading.messages[-1].seq if reading.messages else 0
                if last < least:
                    self._say("H7", f"{between}: a read ended at {last}, although {least} was known before it began")
                if any(later.seq != earlier.seq + 1 for earlier, later in pairwise(reading.messages)):
                    self._say("H7", f"{between}: a read has a gap: {[shown.seq for shown in reading.messages]}")
                if final is not None:
                    for shown in reading.messages:
                        if final.get(shown.seq) != shown:
                            self._say("H7", f"{between}: {shown} was read, {final.get(shown.seq)} is there at the end")
                            break

    # ---- accounts and sessions

    def _accounts(self) -> None:
        """H8."""
        names: defaultdict[str, list[AccountOp]] = defaultdict(list)
        for op in self._history.accounts:
            names[op.name].append(op)
        for name, ops in names.items():
            if not _explained(ops):
                told = ", ".join(f"{op.kind}={op.result}" for op in sorted(ops, key=lambda op: op.invoked))
                self._say("H8", f"no order explains what was heard of {name!r}: {told}")

    def _deletions(self) -> None:
        """H9."""
        seen: defaultdict[str, dict[int, float]] = defaultdict(dict)  # name: account: when it was deleted at the latest
        ops = sorted(self._history.accounts, key=lambda op: op.invoked)
        for op in ops:
            if op.kind is AccountKind.DELETE and op.result:
                for created_us, deleted in seen[op.name].items():
                    if any(
                        look.created_us == created_us and look.completed < op.invoked
                        for look in ops
                        if look.name == op.name and look.kind is AccountKind.LOOK
                    ):
                        seen[op.name][created_us] = min(deleted, op.completed)
            elif (
                op.kind is AccountKind.LOOK and op.result and seen[op.name].setdefault(op.created_us, inf) < op.invoked
            ):
                self._say("H9", f"the account {op.name!r} of {op.created_us} µs was deleted and showed again")

    def _replaced(self) -> None:
        """H10."""
        opened: defaultdict[str, list[tuple[int, float]]] = defaultdict(list)
        own: dict[tuple[str, str], int] = {}
        for session in self._history.sessions:
            opened[session.user].append((session.incarnation, session.opened))
            place = (session.user, session.client)
            own[place] = max(own.get(place, 0), session.incarnation)
        for send in self._history.sends:
            incarnation = own.get((send.sender, send.client))
            if incarnation is None or send.outcome is not Outcome.OK:
                continue
            over = min((when for number, when in opened[send.sender] if number > incarnation), default=inf)
            if send.invoked > over:
                self._say("H10", f"{_name(send)} was acknowledged although its session had been replaced")

    # ---- faults

    def _availability(self) -> None:
        """H11, H13, H14."""
        history = self._history
        answers: dict[str, list[float]] = {client: [] for client in history.steady}
        for send in history.sends:
            if send.client in answers and send.outcome is Outcome.OK:
                answers[send.client].append(send.completed)
        for times in answers.values():
            times.sort()
        everybody = sorted(when for times in answers.values() for when in times)
        begins = [*(fault.began for fault in history.faults), history.ended]
        for fault, until in zip(history.faults, begins[1:], strict=True):
            # What the machine withholds from everybody is no fault of the servers.
            allowed_s = fault.bound_s + sum(
                seconds for when, seconds in history.starved if fault.began <= when <= until
            )
            for client, times in answers.items():
                gap_s = longest_gap(times, fault.began, until)
                if gap_s > allowed_s:
                    self._say(
                        "H11",
                        f"{fault.kind} ({fault.what}): {client} had no answer for {gap_s:.1f} s, "
                        f"{allowed_s:.1f} s are allowed",
                    )
            if fault.in_sync == inf:
                self._say("H11", f"{fault.kind} ({fault.what}): not all servers were in sync again")
            for since, to in fault.steady:
                rate = (bisect_right(everybody, to) - bisect_left(everybody, since)) / max(to - since, 1e-9)
                if rate < history.rate_min:
                    self._say("H13", f"{fault.kind} ({fault.what}): only {rate:.0f} answers a second beside it")
            if not fault.evidence:
                self._say("H14", f"{fault.kind} ({fault.what}): nothing shows that it acted")
        if history.rate_min and not history.faults:
            self._say("H14", "there was no fault at all")
        if history.rate_min and not everybody:
            self._say("H13", "there was no traffic at all")

    def _states(self) -> None:
        """H12."""
        states = {(state.hash_index, state.state_hash) for state in self._history.states}
        if len(states) > 1:
            self._say("H12", f"the servers end in different states: {self._history.states}")


def longest_gap(times: list[float], since: float, until: float) -> float:
    """Longest time without an answer within [since, until]; times are sorted."""
    inside = times[bisect_left(times, since) : bisect_right(times, until)]
    return max(later - earlier for earlier, later in pairwise([since, *inside, until]))


def _name(send: Send) -> str:
    return f"number {send.number} of {send.client} ({send.text!r})"


def _explained(ops: list[AccountOp]) -> bool:
    """Whether some order of the operations on one name, each at a moment while it ran, explains all results.

    Depth first over the sets of operations done so far, in the manner of Wing, Gong and Lowe. An operation without an
    answer may be left out.
    """
    ops = sorted(
        (op for op in ops if op.kind is not AccountKind.LOOK or op.result is not None), key=lambda op: op.invoked
    )
    must = frozenset(number for number, op in enumerate(ops) if op.result is not None)
    seen: set[tuple[frozenset[int], bool]] = set()
    todo = [(frozenset[int](), False)]
    while todo:
        done, exists = todo.pop()
        if must <= done:
            return True
        if (done, exists) in seen:
            continue
        seen.add((done, exists))
        left = [number for number in range(len(ops)) if number not in done]
        horizon = min(ops[number].completed for number in left)
        for number in left:
            op = ops[number]
            if op.invoked > horizon:
                break
            match op.kind:
                case AccountKind.CREATE:
                    fits, after = op.result in (None, not exists), True
                case AccountKind.DELETE:
                    fits, after = op.result in (None, exists), False
                case AccountKind.LOOK:
                    fits, after = op.result == exists, exists
            if fits:
                todo.append((done | {number}, after))
    return False
