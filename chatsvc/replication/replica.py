"""One replica: takes events, keeps its parts in step, and gathers what the host is to do.

The contract with the host is in the package's docstring.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from enum import Enum
from typing import Any

from chatsvc.replication import candidacy as voting
from chatsvc.replication.candidacy import Candidacy, Forced
from chatsvc.replication.configs import Chain, ConfigContent, Mode, encode_config
from chatsvc.replication.election import ADDRESSES_LEARNED_MAX, Answering, SurveyRound
from chatsvc.replication.entries import EntryKind
from chatsvc.replication.envelopes import (
    Ack,
    Announce,
    Append,
    Electorate,
    Envelope,
    Fenced,
    Hello,
    Nominate,
    Payload,
    Reject,
    RejectReason,
    Relinquish,
    StepDown,
    Survey,
    SurveyReply,
    Vote,
    VoteReply,
    Welcome,
)
from chatsvc.replication.events import (
    Broken,
    ConfigFile,
    Event,
    ForceResult,
    HardState,
    LogView,
    Note,
    NoteKind,
    ProbeAccepted,
    ProbeAnswered,
    ProbeRefused,
    Read,
    Ready,
    Received,
    Role,
    SaveCluster,
    SaveConfigFile,
    Status,
)
from chatsvc.replication.evidence import Evidence
from chatsvc.replication.following import Following
from chatsvc.replication.hearing import Hearing
from chatsvc.replication.hosting import Hosting
from chatsvc.replication.identity import (
    NO_EPOCH,
    ClusterId,
    DirId,
    Epoch,
    Identity,
    Member,
)
from chatsvc.replication.lease import LONG_AGO, Lease
from chatsvc.replication.log import Log
from chatsvc.replication.reign import Reign
from chatsvc.replication.releasing import Releasing
from chatsvc.replication.reporting import Reporting
from chatsvc.replication.rules import ALL, Rules
from chatsvc.replication.saving import Saving
from chatsvc.replication.settings import Settings
from chatsvc.replication.weighing import Weighing

PROBLEM_ROLLED_BACK = "the database is older than the file beside it: rolled back"


class Part(Enum):
    """What a replica plays."""

    FOLLOWER = 1  # of somebody, or of nobody yet
    CANDIDATE = 2
    PRIMARY = 3
    OUT = 4  # of no account any more


class Replica:
    """The protocol core of one server process; made once at its start.

    Args:
        identity: of this process. An empty cluster id stands for a directory that belongs to none yet.
        hard_state: what the disk remembers.
        log: what the disk has.
        draw: draw(n) is a random integer, 0 <= result < n.
        now: ms; of a clock that never goes back and counts suspend.
    """

    def __init__(
        self,
        identity: Identity,
        hard_state: HardState,
        log: LogView,
        settings: Settings,
        draw: Callable[[int], int],
        now: int,
        rules: Rules = ALL,
    ) -> None:
        settings.timers.check(settings.isolated_promotion)
        assert settings.mode is Mode.AVAILABLE, "the other mode does not exist yet"
        self.identity, self.dir_id = identity, identity.dir_id
        self.settings, self.timers, self.rules, self.draw = settings, settings.timers, rules, draw
        self.now = self.started_at = now
        self.ready = Ready()

        # log, promise
        self.log = Log(log)
        assert hard_state.commit_index <= self.log.last_index, "committed beyond the end of the log"
        self.commit_index = hard_state.commit_index
        self.promised = hard_state.promised
        self.saving = Saving(self.log.last_index, self.promised, self.commit_index, rules.dprom)
        self.disk_full = False
        self.disk_suspect = _rolled_back(hard_state.config_file, self.log)
        self.log.forget_configs_before(self.commit_index)

        # parts
        self.part = Part.FOLLOWER
        self.reign: Reign | None = None
        self.election: SurveyRound | Candidacy | Forced | None = None
        self.evidence = Evidence(self.timers, rules)
        self.following = Following(self)
        self.answering = Answering(self)
        self.weighing = Weighing(self)
        self.releasing = Releasing(self, self.commit_index)
        self.reporting = Reporting(self, PROBLEM_ROLLED_BACK if self.disk_suspect else "")
        self.granted_at = LONG_AGO
        self.highest_counter = self.promised.counter  # of all epochs heard of
        self._learned: dict[str, None] = {}
        self.next_election = now + draw(self.timers.survey_wait + 1)
        self._wake_at = now
        self.hosting = Hosting(self)
        self.hearing = Hearing(self, self._payload_handlers())
        hearing = self.hearing
        self._handlers: dict[type, Callable[[Any], None]] = {
            Received: hearing.on_received,
            ProbeRefused: hearing.on_probe_refused,
            ProbeAccepted: hearing.on_probe_accepted,
            ProbeAnswered: hearing.on_probe_answered,
            Broken: hearing.on_broken,
            **self.hosting.handlers(),
        }

    def _payload_handlers(self) -> dict[type, Callable[[Identity, Any, int], None]]:
        following, answering = self.following, self.answering
        return {
            Append: following.on_append,
            Ack: self._on_ack,
            Hello: self._on_hello,
            Welcome: following.on_welcome,
            Reject: following.on_reject,
            StepDown: following.on_step_down,
            Relinquish: self._on_relinquish,
            Announce: following.on_announce,
            Fenced: self._on_fenced,
            Survey: answering.on_survey,
            SurveyReply: self._on_survey_reply,
            Nominate: self._on_nominate,
            Vote: self._on_vote,
            VoteReply: self._on_vote_reply,
        }

    # ---- one step

    def step(self, event: Event, now: int) -> None:
        """Take one event at that time, ms. See take_ready for what comes of it."""
        gap = now - self.now
        if gap:
            assert gap > 0, "time went back"
            self.now = now
            self.evidence.pass_time(gap)
            if gap >= self.timers.stall:
                self._after_stall(gap)
        if self.part is Part.OUT:
            self.hosting.refuse(event)
            return
        following = self.following
        if (
            self.reign is None
            and following.primary is not None
            and not following.suspects
            and self.evidence.awake - following.contact >= self.timers.suspect
            and self.part is Part.FOLLOWER
        ):
            following.suspect("silent")
        self._handlers[type(event)](event)
        if now >= self._wake_at:
            self._on_time()
        election = self.election
        if election is not None and now >= election.look_at:
            election.progress()

    def take_ready(self) -> Ready:
        """All that came of the steps since the last call; now it is the host's to do."""
        ready = self.ready
        if self.reign is not None:
            self.reign.streams.flush()
        else:
            self.following.send_ack_if_due()
        if self.releasing.index < self.commit_index:
            self.releasing.release()
        ready.save = self.saving.collect(self.log.last_index, self.commit_index, ready.envelopes)
        ready.wake_at = self._wake_at if self.part is not Part.OUT else self.now + self.timers.evict
        self.ready = Ready()
        return ready

    def _on_time(self) -> None:
        """What time alone brings about; sets the next wake."""
        now = self.now
        self._wake_at = now + self.timers.heartbeat
        if self.reign is not None:
            self.reign.on_time()
            return
        following = self.following
        following.hello_if_due()
        self.hearing.probe_silent_primary()
        self.answering.progress()
        if self.election is None and (following.primary is None or following.suspects):
            if now >= self.next_election:
                self.election = SurveyRound(self)
            else:
                self.wake_by(self.next_election)

    def wake_by(self, at: int) -> None:
        if at < self._wake_at:
            self._wake_at = at

    def _after_stall(self, gap: int) -> None:
        """The own process stood still: what was true before may not be so any more.

        A candidate gives up; a primary that some lease holder may have suspected meanwhile steps down (rule
        `stall`). All silence counts anew, that of the primary only if this replica is not latched.
        """
        self.note(NoteKind.STALLED, "{} ms", gap)
        reign = self.reign
        if self.rules.stall and (
            self.part is Part.CANDIDATE or (reign is not None and reign.behind.may_be_suspected())
        ):
            self.step_down()
        self.evidence.forgive_silence()
        if self.reign is not None:
            self.reign.after_stall()
        self.following.after_stall(self.following.lease.runs(self.now))

    # ---- asking the host

    def send(self, address: str, payload: Payload, dir_id: DirId | None = None, link: int = 0) -> None:
        self.ready.envelopes.append(Envelope(self.identity, address, dir_id, link, payload))

    def hold(self, address: str, payload: Payload, dir_id: DirId | None, link: int) -> None:
        """Send it when all that was to be saved so far is durable."""
        self.saving.hold(Envelope(self.identity, address, dir_id, link, payload))

    def read(self, read: Read) -> None:
        self.ready.reads.append(read)

    def probe(self, address: str, at_once: bool = False) -> None:
        """Dial that address anew, unless that was done a moment ago."""
        self.hearing.probe(address, at_once)

    def note(self, kind: NoteKind, text: str, *values: object) -> None:
        self.reporting.note(kind, text, *values)

    def report(self, problem: str, ms: int | None = None) -> None:
        self.reporting.report(problem, ms)

    # ---- log, promise, commit

    def promise(self, epoch: Epoch) -> None:
        """Take part in nothing of a lower epoch any more."""
        assert epoch > self.promised
        self.promised = epoch
        self.saving.promise(epoch)

    def advance_commit(self, commit_index: int) -> None:
        """Learn what is committed; saved at once when it passes a CONFIG. Else a restart only knows less."""
        if commit_index <= self.commit_index:
            return
        assert commit_index <= self.log.last_index
        passed = self.log.configs_after(self.commit_index)
        self.commit_index = commit_index
        if passed and passed[0].index <= commit_index:
            newest = self.log.chain(commit_index)[0]
            self.saving.commit(commit_index)
            self.saving.add(SaveConfigFile(newest.position, commit_index))
            self.log.forget_configs_before(commit_index)

    def append_config(
        self,
        in_sync: Collection[DirId],
        members: tuple[Member, ...],
        reason: str,
        bypassed: tuple[DirId, ...],
        removed: tuple[DirId, ...],
        forced: bool = False,
    ) -> None:
        """As primary: put a CONFIG at the end of the log, where it is in effect at once."""
        assert self.reign is not None
        newest = self.log.newest_config
        forced = forced or (newest is not None and newest.forced)
        content = ConfigContent(tuple(sorted(in_sync)), members, Mode.AVAILABLE, reason, bypassed, removed, forced)
        entry = self.log.make(self.reign.epoch, EntryKind.CONFIG, encode_config(content))
        self.saving.append(entry)
        config = self.log.configs[-1]
        self.hearing.config_changed()
        self.reign.config_appended(config)
        self.reign.streams.new_entries = True
        if self.reporting.enabled:
            self.ready.notes.append(Note(NoteKind.CONFIG, f"{entry.index} {reason}", config))

    def chain(self) -> Chain:
        return self.log.chain(self.commit_index)

    def join_cluster(self, cluster_id: ClusterId) -> None:
        own = self.identity
        self.identity = Identity(cluster_id, own.dir_id, own.boot, own.address, own.name)
        self.saving.add(SaveCluster(cluster_id))

    # ---- parts

    @property
    def is_follower(self) -> bool:
        return self.part is Part.FOLLOWER

    @property
    def is_out(self) -> bool:
        return self.part is Part.OUT

    @property
    def released_index(self) -> int:
        return self.releasing.index

    @property
    def split_possible(self) -> bool:
        """Has the operator allowed what may split the cluster?"""
        return self.settings.isolated_promotion is not None

    @property
    def epoch(self) -> Epoch:
        """Of the own reign, or of the primary followed last."""
        return self.following.epoch

    @property
    def lease(self) -> Lease:
        return self.following.lease

    def step_down(self, epoch: Epoch = NO_EPOCH) -> None:
        """Promise that epoch if it is higher, and be neither primary nor candidate any more."""
        if epoch > self.promised:
            self.promise(epoch)
        if self.part not in (Part.PRIMARY, Part.CANDIDATE):
            return
        self.note(NoteKind.STEPS_DOWN, "from {}", self.part.name)
        self.end_election()
        if self.reign is not None:
            self.reign.end()
            self.reign = None
            self.following.forget()
        self.part = Part.FOLLOWER
        self.next_election = self.now + self.timers.rpc // 2 + self.draw(self.timers.rpc)
        self.wake_by(self.next_election)

    def renew(self, above: Epoch) -> None:
        """End the own reign and stand for another one above that epoch (rule `renew`)."""
        chain = self.chain()
        voters = sorted({member for config in chain for member in config.in_sync})
        known = {member.dir_id: member for config in chain for member in config.members}
        electorate = Electorate(chain[0], tuple(known[member] for member in voters))
        self.step_down(above)
        voting.stand(self, above.counter + 1, electorate)
        self.wake_by(self.now)

    def become_candidate(self, candidacy: Candidacy | Forced) -> None:
        self.part, self.election = Part.CANDIDATE, candidacy
        self.following.close_stream()

    def end_election(self) -> None:
        """Drop the own survey or candidacy; an operator who has forced one is told."""
        if isinstance(self.election, Forced):
            refusal = "another server has a higher epoch"
            self.ready.forced.append(ForceResult(self.election.token, None, refusal))
        self.election = None

    def end_candidacy(self) -> None:
        self.end_election()
        if self.part is Part.CANDIDATE:
            self.part = Part.FOLLOWER

    def begin_reign(
        self,
        epoch: Epoch,
        in_sync: Collection[DirId],
        members: tuple[Member, ...],
        reason: str,
        bypassed: tuple[DirId, ...],
        removed: tuple[DirId, ...],
        forced: bool = False,
    ) -> None:
        """Be primary; the first entry is a CONFIG, and nothing is acknowledged before it is committed."""
        assert epoch == self.promised
        assert epoch.dir_id == self.dir_id
        following = self.following
        self.part, self.election = Part.PRIMARY, None
        following.close_stream()
        following.primary, following.epoch = self.dir_id, epoch
        following.address = self.identity.address
        following.suspects = following.latched = False
        self.reporting.waiting_for = ()
        self.report("")
        self.saving.generation += 1
        self.reign = Reign(self, epoch)
        self.append_config(in_sync, members, reason, bypassed, removed, forced)
        self._wake_at = self.now

    def go_out(self, problem: str) -> None:
        """Give up every role for good; nothing is sent any more that waits for a save."""
        if problem:
            self.report(problem)
        if self.reign is None:
            self.following.relinquish()
        self.step_down()
        self.following.forget()
        self.end_election()
        self.part = Part.OUT
        self.saving.held.clear()
        for outstanding in self.saving.outstanding:
            outstanding.held.clear()

    def survey_within(self, wait: int) -> None:
        """Have the next survey soon, after a random wait."""
        soon = self.now + self.draw(wait + 1)
        self.next_election = min(max(self.next_election, self.now), soon)
        self.wake_by(self.next_election)

    def peer_addresses(self) -> list[str]:
        """Members, the join list, and what answers told; without the own address."""
        config = self.log.newest_config
        known: dict[str, None] = {}
        if config is not None:
            known.update((member.address, None) for member in config.members)
        known.update(dict.fromkeys(self.settings.join))
        known.update(self._learned)
        known.pop(self.identity.address, None)
        return list(known)

    def learn_addresses(self, addresses: Iterable[str]) -> None:
        for address in addresses:
            if len(self._learned) < ADDRESSES_LEARNED_MAX:
                self._learned[address] = None

    # ---- envelopes that concern more than one part

    def _on_hello(self, source: Identity, hello: Hello, link: int) -> None:
        if self.reign is not None:
            self.reign.on_hello(source, hello, link)
        else:
            reject = Reject(hello.stream, RejectReason.NOT_PRIMARY, self.weighing.primary_hint())
            self.send(source.address, reject, source.dir_id, link)

    def _on_ack(self, source: Identity, ack: Ack, link: int) -> None:
        if self.reign is not None:
            self.reign.on_ack(source, ack, link)

    def _on_relinquish(self, source: Identity, payload: Relinquish, link: int) -> None:
        if self.reign is not None:
            self.reign.on_relinquish(source, payload, link)

    def _on_fenced(self, source: Identity, fenced: Fenced, link: int) -> None:
        """Somebody has promised a higher epoch. To learn that is not a grant.

        A healthy primary is not deposed by one whom no commit waits for; it renews its reign (rule `renew`).
        """
        self.highest_counter = max(self.highest_counter, fenced.promised.counter)
        if fenced.promised <= self.promised:
            return
        reign = self.reign
        if reign is not None and self.rules.renew and not reign.counts_on(source.dir_id):
            reign.membership.renew_above(fenced.promised)
            return
        self.step_down(fenced.promised)

    def _on_survey_reply(self, source: Identity, reply: SurveyReply, link: int) -> None:
        self.highest_counter = max(self.highest_counter, reply.promised.counter)
        if isinstance(self.election, SurveyRound):
            self.election.on_reply(source, reply)

    def _on_nominate(self, source: Identity, nominate: Nominate, link: int) -> None:
        voting.on_nominate(self, nominate)

    def _on_vote(self, source: Identity, vote: Vote, link: int) -> None:
        voting.on_vote(self, source, vote, link)

    def _on_vote_reply(self, source: Identity, reply: VoteReply, link: int) -> None:
        self.highest_counter = max(self.highest_counter, reply.promised.counter)
        if isinstance(self.election, Candidacy):
            self.election.on_reply(source, reply)

    # ---- for people

    def answer_probe(self) -> Identity:
        """What the process says to whoever probes it; needs no step."""
        return self.identity

    @property
    def role(self) -> Role:
        return self.reporting.role()

    def status(self) -> Status:
        return self.reporting.status()


def _rolled_back(config_file: ConfigFile | None, log: Log) -> bool:
    """Is the log older than the small file beside it says?"""
    if config_file is None:
        return False
    if log.last_index < config_file.commit_index:
        return True
    return log.epoch_at(config_file.config.log_index) != config_file.config.epoch
