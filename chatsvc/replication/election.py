"""Survey and choice: who could be primary with those who answer?

Protocol 7.1 to 7.4. Standing and voting are in `candidacy`, what permits a promotion in `permission`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from chatsvc.replication.candidacy import stand
from chatsvc.replication.configs import Config
from chatsvc.replication.envelopes import Electorate, Nominate, PrimaryHint, Standing, Survey, SurveyReply
from chatsvc.replication.events import NoteKind, Probe
from chatsvc.replication.identity import DirId, Epoch, Identity, Member, Position
from chatsvc.replication.permission import Grant, Grants, known_committed, left_out, permission, waiting_for

if TYPE_CHECKING:
    from chatsvc.replication.replica import Replica

ADDRESSES_LEARNED_MAX = 32
DEFERRED_MAX = 32


class Answer(NamedTuple):
    """One replica's answer to a survey."""

    address: str
    promised: Epoch
    last: Position
    primary: PrimaryHint | None
    standing: Standing
    can_vote: bool


class SurveyRound:
    """An own survey and the answers so far."""

    def __init__(self, replica: Replica) -> None:
        self.replica = replica
        self.survey_id = replica.draw(1 << 62)
        self.started_at = replica.now
        self.look_at = replica.now  # when progress is to be called next; at once where there is news
        self.answers: dict[DirId, Answer] = {}
        self.asked: dict[str, None] = {}
        self.refused: set[str] = set()  # addresses asked where nobody listens
        timers = replica.timers
        replica.next_election = replica.now + timers.rpc + timers.rpc // 3 + replica.draw(timers.rpc)
        replica.note(NoteKind.SURVEYS, "")
        following = replica.following
        survey = Survey(self.survey_id, following.primary if following.suspects else None)
        for address in replica.peer_addresses():
            self.asked[address] = None
            replica.send(address, survey)
            replica.probe(address, at_once=True)

    def on_reply(self, source: Identity, reply: SurveyReply) -> None:
        if reply.survey_id != self.survey_id:
            return
        self.look_at = self.replica.now
        self.answers[source.dir_id] = Answer(
            source.address, reply.promised, reply.last, reply.primary, reply.standing, reply.can_vote
        )
        replica = self.replica
        for config in reply.standing.chain:
            replica.learn_addresses(member.address for member in config.members)
        if reply.primary is not None:
            replica.learn_addresses([reply.primary.address])

    def on_refused(self, probe: Probe) -> None:
        if probe.begun_at >= self.started_at:
            self.refused.add(probe.address)

    def progress(self) -> None:
        """End the survey as soon as it can be decided, at the latest after an RPC."""
        replica = self.replica
        age = replica.now - self.started_at
        timers = replica.timers
        hints = [answer.primary for answer in self.answers.values() if answer.primary is not None]
        if hints:
            replica.election = None
            self._dial(max(hints, key=lambda hint: hint.epoch))
            return
        timeout = age >= timers.rpc
        answers = {replica.dir_id: own_answer(replica), **self.answers}
        grants = {
            member: Grant.of(answer.standing, replica.now if member == replica.dir_id else self.started_at)
            for member, answer in answers.items()
        }
        if not any(grant.chain for grant in grants.values()):
            if timeout:
                replica.election = None
            self._wake(age)
            return
        committed = known_committed(grants, replica.rules)
        voters = {
            member
            for grant in grants.values()
            for config in grant.chain
            if config.position >= committed.position
            for member in config.in_sync
        }
        missing = {member for member in voters if member not in answers and not self._refused_meanwhile(member)}
        silent = self._silent_primary()
        decided = missing <= {silent}
        if decided and age < timers.survey_wait:
            # The others (learners, join list) get a moment: one of them may know of a primary.
            answered = {answer.address for answer in self.answers.values()}
            if silent is not None:
                answered.add(replica.following.address)
            decided = answered | self.refused >= self.asked.keys()
        if timeout or decided:
            self._choose(committed, voters, answers, grants, last_look=timeout or not missing)
        if replica.election is self:
            self._wake(age)

    def _silent_primary(self) -> DirId | None:
        """The suspected primary, if nothing at all was heard of it for T_suspect.

        Nobody waits for its answer who is permitted to go on without it. If it lives, the others know.
        """
        replica = self.replica
        primary = replica.following.primary
        if primary is None or not replica.following.suspects:
            return None
        return primary if replica.evidence.silence(primary) >= replica.timers.suspect else None

    def _wake(self, age: int) -> None:
        """Dial those again who have not answered, so that a refusal is a fresh one."""
        replica, timers = self.replica, self.replica.timers
        answered = {answer.address for answer in self.answers.values()}
        for address in self.asked:
            if address not in answered:
                replica.probe(address)
        wait = timers.survey_wait if age < timers.survey_wait else timers.rpc
        self.look_at = min(self.started_at + wait, replica.now + timers.probe_every)
        replica.wake_by(self.look_at)

    def _refused_meanwhile(self, member: DirId) -> bool:
        evidence = self.replica.evidence
        return evidence.refused(member) and evidence.refused_at[member] >= self.started_at

    def _dial(self, hint: PrimaryHint) -> None:
        """Somebody hears a primary: dial it, even if more was promised here than its epoch."""
        replica = self.replica
        following, timers = replica.following, replica.timers
        replica.next_election = replica.now + timers.rpc + replica.draw(timers.rpc)  # time to be welcomed
        news = following.primary != hint.dir_id or following.epoch != hint.epoch or following.suspects
        if hint.dir_id != replica.dir_id and news:
            replica.reporting.waiting_for = ()
            following.hello(hint.address, hint.dir_id)

    def _choose(
        self, committed: Config, voters: set[DirId], answers: dict[DirId, Answer], grants: Grants, last_look: bool
    ) -> None:
        """Pick a candidate, and stand or nominate it. That ends the survey; finding none does at the last look.

        Eligible is who would be permitted with those who answered, and whose log is not behind that of any
        member of K among them that its own newest CONFIG does not leave out (rule `dropped`): a longer
        uncommitted log of others must not stand in the way. Of these the most complete log is picked, and of
        equal ones any.
        """
        replica = self.replica
        eligible = []
        not_yet = False
        for member in sorted(member for member in answers if member in voters):
            permitted = permission(replica.weighing, member, grants)
            if permitted is None:
                continue
            counted = [other for other in sorted(permitted.members) if other in answers]
            not_behind = [
                other for other in counted if other in committed.in_sync and not left_out(replica.rules, other, grants)
            ]
            if not all(answers[member].last >= answers[other].last for other in not_behind):
                continue
            if all(answers[other].can_vote for other in counted):
                eligible.append(member)
            else:
                not_yet = True
        if not eligible:
            if last_look:
                replica.election = None
                replica.reporting.waiting_for = () if not_yet else self._missing(grants)
            return
        replica.election = None
        replica.reporting.waiting_for = ()
        best = max(answers[member].last for member in eligible)
        picks = [member for member in eligible if answers[member].last == best]
        pick = picks[replica.draw(len(picks))]
        counter = max(answer.promised for answer in answers.values()).counter + 1
        addresses: dict[DirId, Member] = {}
        newest = [grant.chain[-1] for grant in grants.values() if grant.chain]
        for config in sorted(newest, key=lambda config: config.position):
            addresses.update((member.dir_id, member) for member in config.members)
        known = tuple(addresses[member] for member in sorted(voters) if member in addresses)
        electorate = Electorate(committed, known)
        if pick == replica.dir_id:
            stand(replica, counter, electorate)
        else:
            replica.send(answers[pick].address, Nominate(counter, electorate), pick)

    def _missing(self, grants: Grants) -> tuple[Member, ...]:
        """Whose return would permit an election, with their last known addresses."""
        known = {
            member.dir_id: member for grant in grants.values() for config in grant.chain for member in config.members
        }
        missing = waiting_for(self.replica.weighing, grants)
        return tuple(known[member] for member in sorted(missing) if member in known)


# ---- answering


def own_answer(replica: Replica) -> Answer:
    return Answer(
        replica.identity.address,
        replica.promised,
        replica.log.last,
        replica.weighing.primary_hint(),
        replica.weighing.standing(),
        replica.weighing.can_vote(),
    )


class Answering:
    """Answers to the surveys of others.

    Those about a primary that is still followed here wait until it was probed.
    """

    def __init__(self, replica: Replica) -> None:
        self.replica = replica
        self._deferred: list[tuple[int, Identity, Survey, int]] = []  # (until, source, survey, link)

    def on_survey(self, source: Identity, survey: Survey, link: int) -> None:
        replica = self.replica
        following = replica.following
        if survey.suspected is not None and survey.suspected == following.primary and following.hears():
            replica.probe(following.address, at_once=True)
            if len(self._deferred) < DEFERRED_MAX:
                until = replica.now + 2 * replica.timers.heartbeat
                self._deferred.append((until, source, survey, link))
                replica.wake_by(until)
                return
        self._answer(source, survey, link)

    def _answer(self, source: Identity, survey: Survey, link: int) -> None:
        replica = self.replica
        answer = own_answer(replica)
        if replica.weighing.is_mute() and answer.primary is None:
            return
        replica.send(
            source.address,
            SurveyReply(
                survey.survey_id, answer.promised, answer.last, answer.primary, answer.standing, answer.can_vote
            ),
            source.dir_id,
            link,
        )

    def progress(self, settled: bool = False) -> None:
        """Answer those whose time is up; all, once the primary has answered or is not followed any more."""
        if not self._deferred:
            return
        replica = self.replica
        settled = settled or not replica.following.hears()
        waiting, self._deferred = self._deferred, []
        for until, source, survey, link in waiting:
            if settled or replica.now >= until:
                self._answer(source, survey, link)
            else:
                self._deferred.append((until, source, survey, link))
                replica.wake_by(until)
