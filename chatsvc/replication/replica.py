"""One replica: takes events, keeps its parts in step, and gathers what the host is to do.

The contract with the host is in the package's docstring.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from enum import Enum
from typing import Any

from chatsvc.replication import candidacy as voting
from chatsvc.replication.candidacy import Candidacy, Forced
from chatsvc.replication.configs import Chain, Config, ConfigContent, Mode, encode_config
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
    PrimaryHint,
    Reject,
    RejectReason,
    Relinquish,
    Standing,
    StepDown,
    Survey,
    SurveyReply,
    Vote,
    VoteReply,
    Welcome,
)
from chatsvc.replication.events import (
    BarrierResult,
    Broken,
    ConfigFile,
    EpochSeen,
    Event,
    ForcePromote,
    ForceResult,
    HardState,
    Leave,
    LogView,
    Note,
    NoteKind,
    Probe,
    ProbeAccepted,
    ProbeAnswered,
    ProbeRefused,
    ProposalResult,
    Propose,
    Read,
    ReadBarrier,
    ReadDone,
    Ready,
    Received,
    Remove,
    Role,
    SaveCluster,
    SaveConfigFile,
    Saved,
    SaveFailed,
    Status,
    Tick,
)
from chatsvc.replication.evidence import Evidence
from chatsvc.replication.following import READ_MATCH, Following
from chatsvc.replication.identity import (
    NO_CLUSTER,
    NO_EPOCH,
    ClusterId,
    DirId,
    Epoch,
    Identity,
    Member,
)
from chatsvc.replication.lease import LONG_AGO
from chatsvc.replication.log import Log
from chatsvc.replication.reign import Reign
from chatsvc.replication.rules import ALL, Rules
from chatsvc.replication.saving import Saving
from chatsvc.replication.settings import Settings

READ_RELEASE = -1
"""Purpose of a Read for entries that are committed and not in memory any more."""

RELEASE_ENTRIES_MAX = 4_096
PROBLEM_SELF = "an address of this cluster leads back to this server"
PROBLEM_COPY = "another process runs on a copy of this directory"
PROBLEM_ROLLED_BACK = "the database is older than the file beside it: rolled back"
PROBLEM_DISK = "the disk cannot be trusted any more"


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
        self.now = self.started_at = self._ended_turn_at = now
        self.ready = Ready()
        self.trace = True  # False: no notes

        # log, promise
        self.log = Log(log)
        assert hard_state.commit_index <= self.log.last_index, "committed beyond the end of the log"
        self.commit_index = self.released_index = hard_state.commit_index
        self.promised = hard_state.promised
        self.saving = Saving(self.log.last_index, self.promised, self.commit_index, rules.dprom)
        self.disk_full = False
        self.disk_suspect = _rolled_back(hard_state.config_file, self.log)
        self._problem = PROBLEM_ROLLED_BACK if self.disk_suspect else ""
        self._problem_until: int | None = None  # None: until another one
        self._release_read = 0  # first index of the Read under way
        self.log.forget_configs_before(self.commit_index)

        # parts
        self.part = Part.FOLLOWER
        self.reign: Reign | None = None
        self.election: SurveyRound | Candidacy | Forced | None = None
        self.evidence = Evidence(self.timers, rules)
        self.following = Following(self)
        self.answering = Answering(self)
        self.granted_at = LONG_AGO
        self.highest_counter = self.promised.counter  # of all epochs heard of
        self.waiting_for: tuple[Member, ...] = ()
        self._learned: dict[str, None] = {}
        self._dirs_at: dict[str, tuple[DirId, ...]] = {}
        self._dirs_at_config: Config | None = None
        self._lone_source: dict[DirId, Identity] = {}

        self.next_election = now + draw(self.timers.survey_wait + 1)
        self._wake_at = now
        self._broken_at = LONG_AGO
        self._handlers: dict[type, Callable[[Any], None]] = {
            Tick: self._on_tick,
            Received: self._on_received,
            ProbeRefused: self._on_probe_refused,
            ProbeAccepted: self._on_probe_accepted,
            ProbeAnswered: self._on_probe_answered,
            Broken: self._on_broken,
            Saved: self._on_saved,
            SaveFailed: self._on_save_failed,
            Propose: self._on_propose,
            ReadDone: self._on_read_done,
            ReadBarrier: self._on_barrier,
            EpochSeen: self._on_epoch_seen,
            Leave: self._on_leave,
            ForcePromote: self._on_force_promote,
            Remove: self._on_remove,
        }
        following, answering = self.following, self.answering
        self._payload_handlers: dict[type, Callable[[Identity, Any, int], None]] = {
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
            self._step_out(event)
            return
        following = self.following
        if (
            self.reign is None and following.primary is not None and not following.suspects
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
        if self.released_index < self.commit_index:
            self._release()
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
        self._probe_silent_primary()
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

    def _step_out(self, event: Event) -> None:
        """Nothing but proposals and reads is answered any more, and those with no."""
        if isinstance(event, Propose):
            self.ready.results.append(ProposalResult(event.token, 0, "not primary", None))
        elif isinstance(event, ReadBarrier):
            self.ready.barriers.append(BarrierResult(event.token, False, 0))
        elif isinstance(event, ForcePromote):
            self.ready.forced.append(ForceResult(event.token, None, "this server has given up every role"))

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
        probe = self.evidence.probe(address, self.now, at_once)
        if probe is not None:
            self.ready.probes.append(probe)
            if address == self.following.address and self.reign is None:
                self.evidence.remember_primary_probe(probe)

    def probe_member(self, member: DirId) -> None:
        config = self.log.newest_config
        address = config.address_of(member) if config is not None else None
        if address is not None:
            self.probe(address)

    def note(self, kind: NoteKind, text: str, *values: object) -> None:
        if self.trace:
            self.ready.notes.append(Note(kind, text.format(*values) if values else text))

    def report(self, problem: str, ms: int | None = None) -> None:
        """What an operator must know; for so long, else until something else is to be known. "": nothing."""
        if problem and problem != self.problem:
            self.note(NoteKind.PROBLEM, "{}", problem)
        self._problem = problem
        self._problem_until = None if ms is None else self.now + ms

    @property
    def problem(self) -> str:
        until = self._problem_until
        return self._problem if until is None or self.now < until else ""

    def names(self, dirs: Iterable[DirId]) -> str:
        """For people; who is not a member goes by the beginning of its directory's id."""
        config = self.log.newest_config
        known = {member.dir_id: member.name for member in config.members} if config is not None else {}
        return ",".join(sorted(known.get(dir_id, dir_id[:4].hex()) for dir_id in dirs))

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
        content = ConfigContent(
            tuple(sorted(in_sync)), members, Mode.AVAILABLE, reason, bypassed, removed, forced
        )
        entry = self.log.make(self.reign.epoch, EntryKind.CONFIG, encode_config(content))
        self.saving.append(entry)
        config = self.log.configs[-1]
        self._lone_source.clear()
        self.reign.config_appended(config)
        self.reign.streams.new_entries = True
        if self.trace:
            self.ready.notes.append(Note(NoteKind.CONFIG, f"{entry.index} {reason}", config))

    def chain(self) -> Chain:
        return self.log.chain(self.commit_index)

    def left_out(self) -> bool:
        """Does the newest CONFIG of the own log leave this replica out (rule `dropped`)?

        What follows that CONFIG in this log needs no ack of this replica, so it proves nothing and holds up
        nobody.
        """
        config = self.log.newest_config
        return self.rules.dropped and config is not None and self.dir_id not in config.in_sync

    def config_taken(self) -> None:
        """The newest CONFIG may be another one than before: addresses may belong to others now."""
        self._lone_source.clear()

    def join_cluster(self, cluster_id: ClusterId) -> None:
        own = self.identity
        self.identity = Identity(cluster_id, own.dir_id, own.boot, own.address, own.name)
        self.saving.add(SaveCluster(cluster_id))

    def _release(self) -> None:
        """Hand committed entries to the host, in order; those not in memory any more are read first."""
        reign = self.reign
        if reign is not None and not reign.may_release():
            return
        log, ready = self.log, self.ready
        while self.released_index < self.commit_index:
            count = min(self.commit_index - self.released_index, RELEASE_ENTRIES_MAX)
            first_index = self.released_index + 1
            entries = log.in_memory(first_index, count, self.settings.tail_bytes_max)
            if entries is None:
                if self._release_read != first_index:
                    self._release_read = first_index
                    end_index = min(self.commit_index + 1, log.first_in_memory, first_index + count)
                    self.read(Read(first_index, end_index, self.settings.append_bytes_max, READ_RELEASE))
                return
            self.released_index = entries[-1].index
            ready.committed.extend(entries)
            if reign is not None:
                reign.released(sum([len(entry.payload) for entry in entries]))
        settings = self.settings
        if len(log.tail) > settings.tail_entries_max or log.tail_bytes > settings.tail_bytes_max:
            log.trim(
                min(self.released_index, self.saving.durable_index),
                settings.tail_entries_max, settings.tail_bytes_max,
            )

    def _on_read_done(self, event: ReadDone) -> None:
        purpose = event.read.purpose
        if purpose == READ_RELEASE:
            self._release_read = 0
            for entry in event.entries:
                if entry.index == self.released_index + 1 and entry.index <= self.commit_index:
                    self.ready.committed.append(entry)
                    self.released_index = entry.index
        elif purpose == READ_MATCH:
            self.following.on_match_read(event)
        elif self.reign is not None:
            self.reign.on_read(event)

    # ---- evidence

    def _on_tick(self, event: Tick) -> None:
        pass

    def _on_received(self, event: Received) -> None:
        envelope = event.envelope
        source = envelope.source
        payload = envelope.payload
        own = self.identity
        if envelope.dir_id is not None and envelope.dir_id != self.dir_id:
            return  # for another directory, whose address this was
        if source.cluster_id != own.cluster_id and not self._from_outside(source, payload, event.link):
            return
        member, evidence = source.dir_id, self.evidence
        known_boot = evidence.boot_of.get(member)
        if known_boot == source.boot and self._lone_source.get(member) is source:
            # The usual case: the same process at the same address, which nobody shares with it.
            evidence.events += 1
            evidence.heard_event[member] = evidence.events
            evidence.heard_awake[member] = evidence.awake
            if self.reign is not None:
                self.reign.behind.on_heard(member)
            elif self.following.primary == member:
                evidence.forget_primary_probes()
        else:
            if known_boot != source.boot:
                if member == own.dir_id:
                    self._met_itself(source)
                    return
                if known_boot is not None and source.boot < known_boot:
                    return  # what an earlier process had sent is void
                if known_boot is not None and self._is_duplicate(source, payload, event.link):
                    return
            self._heard(source)
        self._payload_handlers[type(payload)](source, payload, event.link)

    def _from_outside(self, source: Identity, payload: Payload, link: int) -> bool:
        """May an envelope between a cluster and a directory that belongs to none be taken?

        Everything else of another cluster is void; its Hello is answered, so that it can say so.
        """
        if source.cluster_id == NO_CLUSTER:
            return isinstance(payload, Hello | Survey) and self.identity.cluster_id != NO_CLUSTER
        if self.identity.cluster_id == NO_CLUSTER:
            return isinstance(payload, SurveyReply | Welcome | Reject)
        if isinstance(payload, Hello):
            self.send(
                source.address, Reject(payload.stream, RejectReason.WRONG_CLUSTER, None), source.dir_id, link
            )
        elif isinstance(payload, Reject) and payload.reason is RejectReason.WRONG_CLUSTER:
            self.report(f"{source.address} belongs to another cluster")
        return False

    def _met_itself(self, source: Identity) -> None:
        """An answer from the own directory: joined itself, or a copied directory."""
        problem = PROBLEM_SELF if source.boot == self.identity.boot else PROBLEM_COPY
        self.report(f"{source.address}: {problem}", self.timers.lag)

    def _is_duplicate(self, source: Identity, payload: Payload, link: int) -> bool:
        """Is the process known so far still acking (rule `duplicate`)? Then the new one has to wait.

        It may have been restarted a moment ago: whoever answers at its address tells.
        """
        member = source.dir_id
        address = self._acking_from(member)
        if address is None:
            return False
        self.probe(address)
        if isinstance(payload, Hello):
            self.send(source.address, Reject(payload.stream, RejectReason.DUPLICATE, None), member, link)
        return True

    def _acking_from(self, member: DirId) -> str | None:
        """Where the process of that directory lives whose Acks came until a moment ago; None: there is none."""
        reign = self.reign
        if reign is None or not self.rules.duplicate or self.evidence.refused(member):
            return None
        stream = reign.streams.by_member.get(member)
        if stream is None or reign.unacked(member) >= self.timers.suspect:
            return None
        return stream.source.address

    def _heard(self, source: Identity) -> None:
        """Any envelope is a sign of life of that directory and that boot."""
        evidence, member = self.evidence, source.dir_id
        restarted = member in evidence.boot_of and evidence.boot_of[member] != source.boot
        evidence.heard(member, source.boot, self.now)
        at_its_address = self._members_at(source.address)
        for other in at_its_address:
            if other != member:
                evidence.replaced(other, self.now)
        if at_its_address == (member,):
            self._lone_source[member] = source
        reign, following = self.reign, self.following
        if reign is not None:
            reign.behind.on_heard(member)
            if restarted:
                reign.streams.close(member)
        elif following.primary == member:
            evidence.forget_primary_probes()
            if restarted and following.active:
                following.suspect("it has restarted")

    def _members_at(self, address: str) -> tuple[DirId, ...]:
        """Known members with that address; usually the one that is heard."""
        config = self.log.newest_config
        if config is not self._dirs_at_config:
            self._dirs_at_config = config
            self._lone_source.clear()
            dirs: dict[str, tuple[DirId, ...]] = {}
            for member in config.members if config is not None else ():
                dirs[member.address] = (*dirs.get(member.address, ()), member.dir_id)
            self._dirs_at = dirs
        return self._dirs_at.get(address, ())

    def _on_probe_refused(self, event: ProbeRefused) -> None:
        probe = event.probe
        for member in self._members_at(probe.address):
            if member != self.dir_id and self.evidence.on_refused(member, probe):
                self._member_refused(member, probe)
        following = self.following
        if (
            following.active and following.primary is not None and following.address == probe.address
            and following.primary not in self._members_at(probe.address)
            and self.evidence.on_refused(following.primary, probe)
        ):
            self._member_refused(following.primary, probe)
        if self.election is not None:
            self.election.look_at = self.now
            if isinstance(self.election, SurveyRound):
                self.election.on_refused(probe)
        self.answering.progress()

    def _member_refused(self, member: DirId, probe: Probe) -> None:
        if self.reign is not None:
            self.reign.behind.on_refused(member, probe.begun_at)
            if member in self.reign.others:
                self.reign.membership.change()
        following = self.following
        if self.part is Part.FOLLOWER and following.primary == member:
            if not following.suspects:
                following.suspect("refused")
            else:
                self.survey_within(self.timers.survey_wait)

    def _on_probe_accepted(self, event: ProbeAccepted) -> None:
        self.evidence.on_accepted(event.probe)

    def _on_probe_answered(self, event: ProbeAnswered) -> None:
        identity, address = event.identity, event.probe.address
        if identity.dir_id == self.dir_id:
            if address != self.identity.address or identity.boot != self.identity.boot:
                self._met_itself(identity)
            return
        known_boot = self.evidence.boot_of.get(identity.dir_id)
        if known_boot is not None and known_boot != identity.boot:
            if identity.boot < known_boot:
                return
            if self._acking_from(identity.dir_id) not in (None, address):
                return  # a copied directory somewhere else
        self._heard(identity)
        for other in self._members_at(address):
            if other != identity.dir_id:
                self.evidence.replaced(other, self.now)
        if self.reign is not None:
            self.reign.membership.on_answered(identity, address)
        self.answering.progress(identity.dir_id == self.following.primary)

    def _on_broken(self, event: Broken) -> None:
        """No evidence; it starts probing."""
        if self.reign is not None:
            self.reign.on_broken(event)
        elif event.dir_id is None and event.stream:
            self.following.on_broken(event.stream)
        self.probe(event.address)
        if self.following.address == event.address:
            self._broken_at = self.now
        self.wake_by(self.now + self.timers.probe_every)

    def _probe_silent_primary(self) -> None:
        """Dial a silent primary anew, again and again, until it is heard."""
        following, timers = self.following, self.timers
        if following.primary is None:
            return
        silence = following.silence()
        broken = self.now - self._broken_at < timers.suspect and silence >= timers.heartbeat
        if following.suspects or silence >= timers.probe_after or broken:
            self.probe(following.address)
            self.wake_by(self.now + timers.probe_every)

    # ---- what an election wants to know: see permission.Observer

    @property
    def lease_length(self) -> int:
        return self.timers.lease

    @property
    def suspect_after(self) -> int:
        return self.timers.suspect

    @property
    def isolated_after(self) -> int | None:
        return self.settings.isolated_promotion

    @property
    def split_possible(self) -> bool:
        """Has the operator allowed what may split the cluster?"""
        return self.settings.isolated_promotion is not None

    @property
    def suspects(self) -> bool:
        return self.following.suspects

    def suspicion_age(self) -> int:
        return self.evidence.awake - self.following.suspected_awake

    def refused_now(self, member: DirId) -> bool:
        return self.evidence.refused_now(member, self.now)

    def silence(self, member: DirId) -> int:
        """Counted from the own suspicion at the earliest: backups do not talk to each other before."""
        return self.evidence.silence(member, self.following.suspected_awake)

    def hung(self, member: DirId) -> bool:
        """Is the suspected primary hung (rule `hung`)? Its kernel accepts probes, its process answers none.

        A cut accepts nothing; and once a hung primary wakes it steps down.
        """
        following = self.following
        return (
            self.rules.hung
            and member == following.primary
            and following.suspects
            and following.silence() >= self.timers.suspect
            and self.evidence.all_accepted_none_answered(self.now)
        )

    # ---- parts

    @property
    def is_follower(self) -> bool:
        return self.part is Part.FOLLOWER

    @property
    def epoch(self) -> Epoch:
        """Of the own reign, or of the primary followed last."""
        return self.following.epoch

    @property
    def lease(self) -> Any:
        return self.following.lease

    def in_service(self) -> bool:
        """Is this replica primary, or does it hear one?"""
        return self.reign is not None or self.following.hears()

    def just_started(self) -> bool:
        """For T_start a process neither grants, nor stands, nor takes a lease.

        So a member that is refused again and again at shorter intervals can have taken part in nothing
        between. A server that has no peers has nobody who could look.
        """
        if self.now - self.started_at >= self.timers.start:
            return False
        configs = self.log.configs
        return not configs or any(
            member.dir_id != self.dir_id for config in configs for member in config.members
        )

    def can_vote(self) -> bool:
        return not self.just_started() and not self.disk_suspect

    def standing(self, when_durable: bool = False) -> Standing:
        """What an election may know of this replica.

        Args:
            when_durable: it is not sent before all that was to be saved so far is on disk.
        """
        following, lease = self.following, self.following.lease
        return Standing(
            lease.until - self.now, lease.giver, lease.epoch, following.latched, self.chain(),
            tuple(sorted(lease.granted_to)),
            self.log.last_index if when_durable else self.saving.durable_index,
        )

    def primary_hint(self) -> PrimaryHint | None:
        """Who is primary, as far as this replica can tell right now."""
        if self.reign is not None:
            return PrimaryHint(self.reign.epoch, self.dir_id, self.identity.address)
        return self.following.hint()

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
        self.waiting_for = ()
        self.report("")
        self.saving.generation += 1
        self.reign = Reign(self, epoch)
        self.append_config(in_sync, members, reason, bypassed, removed, forced)
        self._wake_at = self.now

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
            reject = Reject(hello.stream, RejectReason.NOT_PRIMARY, self.primary_hint())
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

    # ---- the host's own events

    def _on_saved(self, event: Saved) -> None:
        self.saving.saved(event.save_id, self.ready.envelopes)
        if self.election is not None:
            self.election.look_at = self.now
        if self.disk_full:
            self.disk_full = False
            self.following.end_relinquishing()
        if self.reign is not None:
            self.reign.on_saved()
        else:
            self.following.on_saved()

    def _on_save_failed(self, event: SaveFailed) -> None:
        """A full disk: others go on without this replica. Any other failure: it takes part in nothing."""
        if not event.full:
            self._go_out(PROBLEM_DISK)
            return
        self.disk_full = True
        reign = self.reign
        if reign is None:
            self.following.relinquish()
        elif reign.others:
            self.step_down()

    def _go_out(self, problem: str) -> None:
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

    def _on_leave(self, event: Leave) -> None:
        self._go_out("")

    def _on_propose(self, event: Propose) -> None:
        if self.reign is not None:
            self.ready.results.append(self.reign.propose(event))
        else:
            result = ProposalResult(event.token, 0, "not primary", self.primary_hint())
            self.ready.results.append(result)

    def _on_barrier(self, event: ReadBarrier) -> None:
        if self.reign is not None:
            self.reign.on_barrier(event)
        else:
            self.ready.barriers.append(BarrierResult(event.token, False, 0))

    def _on_epoch_seen(self, event: EpochSeen) -> None:
        if self.reign is not None:
            self.reign.on_epoch_seen(event.counter)

    def _on_force_promote(self, event: ForcePromote) -> None:
        """Stand outside the rules, unless there is a primary."""
        refusal = ""
        if self.reign is not None:
            refusal = "this server is primary"
        elif self.following.hears():
            refusal = f"there is a primary at {self.following.address}"
        elif self.log.newest_config is None:
            refusal = "this server has nothing to serve"
        if refusal:
            self.ready.forced.append(ForceResult(event.token, None, refusal))
        else:
            voting.force(self, event.token)

    def _on_remove(self, event: Remove) -> None:
        if self.reign is not None:
            self.reign.membership.remove(event.dir_id)

    # ---- for people

    def answer_probe(self) -> Identity:
        """What the process says to whoever probes it; needs no step."""
        return self.identity

    @property
    def role(self) -> Role:
        part = self.part
        if part is Part.PRIMARY:
            return Role.PRIMARY
        if part is Part.CANDIDATE:
            return Role.CANDIDATE
        if part is Part.OUT:
            return Role.OUT
        if not self.following.active:
            return Role.WAITING
        config = self.log.newest_config
        return Role.BACKUP if config is not None and self.dir_id in config.in_sync else Role.LEARNER

    def status(self) -> Status:
        """A snapshot; costs a few microseconds."""
        reign, config = self.reign, self.log.newest_config
        in_sync: tuple[DirId, ...] = config.in_sync if config is not None else ()
        durable_of: dict[DirId, int] = {}
        silent_of: dict[DirId, int] = {}
        if reign is not None:
            silent_of = {
                member.dir_id: self.evidence.silence(member.dir_id, reign.won_awake)
                for member in (config.members if config is not None else ()) if member.dir_id != self.dir_id
            }
            streams = reign.streams.by_member
            durable_of = {member: stream.durable for member, stream in streams.items()}
            in_sync = (
                self.dir_id,
                *(member for member in reign.lease_holders if member in streams and streams[member].leased),
            )
        following = self.following.active or reign is not None
        return Status(
            self.role, self.following.epoch if following else NO_EPOCH, self.promised, self.primary_hint(),
            reign is not None and reign.serving, self.log.last_index, self.saving.durable_index,
            self.commit_index, config, in_sync, durable_of, silent_of,
            tuple(f"{member.name} ({member.address})" for member in self.waiting_for), self.problem,
        )


def _rolled_back(config_file: ConfigFile | None, log: Log) -> bool:
    """Is the log older than the small file beside it says?"""
    if config_file is None:
        return False
    if log.last_index < config_file.commit_index:
        return True
    return log.epoch_at(config_file.config.log_index) != config_file.config.epoch
