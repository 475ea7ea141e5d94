"""Taking what comes in: whose envelopes count, signs of life, refusals, copies of a directory.

Protocol 1 and 4. What is observed is kept in `evidence`; here it is judged and its consequences begin.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from chatsvc.replication.configs import Config
from chatsvc.replication.election import SurveyRound
from chatsvc.replication.envelopes import (
    Hello,
    Payload,
    Reject,
    RejectReason,
    Survey,
    SurveyReply,
    Welcome,
)
from chatsvc.replication.events import Broken, Probe, ProbeAccepted, ProbeAnswered, ProbeRefused, Received
from chatsvc.replication.identity import NO_CLUSTER, DirId, Identity
from chatsvc.replication.lease import LONG_AGO

if TYPE_CHECKING:
    from chatsvc.replication.replica import Replica

PROBLEM_SELF = "an address of this cluster leads back to this server"
PROBLEM_COPY = "another process runs on a copy of this directory"

Handlers = Mapping[type, Callable[[Identity, Any, int], None]]


class Contest:
    """Two processes of one directory, at two addresses."""

    __slots__ = ("known_is_dead", "looked_at", "since")

    def __init__(self, since: int) -> None:
        self.since = self.looked_at = since  # awake clock: when it began, and was looked at last
        self.known_is_dead = False  # the one known first was refused at its address


class Hearing:
    """The ears of one replica."""

    def __init__(self, replica: Replica, handlers: Handlers) -> None:
        self.replica = replica
        self.evidence = replica.evidence
        self._handlers = handlers
        self._dirs_at: dict[str, tuple[DirId, ...]] = {}
        self._dirs_at_config: Config | None = None
        self._lone_source: dict[DirId, Identity] = {}  # members alone at their address, as heard last
        self._contests: dict[DirId, Contest] = {}
        self._broken_at = LONG_AGO

    def on_received(self, event: Received) -> None:
        replica, envelope = self.replica, event.envelope
        if envelope.dir_id is not None and envelope.dir_id != replica.dir_id:
            return  # for another directory, whose address this was
        source, payload = envelope.source, envelope.payload
        if source.cluster_id != replica.identity.cluster_id and not self._from_outside(source, payload, event.link):
            return
        member, evidence = source.dir_id, self.evidence
        known_boot = evidence.boot_of.get(member)
        if known_boot == source.boot and self._lone_source.get(member) is source:
            # The usual case: the same process at the same address, which nobody shares with it.
            evidence.events += 1
            evidence.heard_event[member] = evidence.events
            evidence.heard_awake[member] = evidence.awake
            if replica.reign is not None:
                replica.reign.behind.on_heard(member)
            elif replica.following.primary == member:
                evidence.forget_primary_probes()
        else:
            if known_boot != source.boot:
                if member == replica.dir_id:
                    self._met_itself(source)
                    return
                if known_boot is not None and self._is_void(source, known_boot):
                    self._turn_away(source, payload, event.link)
                    return
            self._heard(source)
        self._handlers[type(payload)](source, payload, event.link)

    # ---- whose envelopes count

    def _from_outside(self, source: Identity, payload: Payload, link: int) -> bool:
        """May an envelope between a cluster and a directory that belongs to none be taken?

        Everything else of another cluster is void; its Hello is answered, so that it can say so.
        """
        replica = self.replica
        if source.cluster_id == NO_CLUSTER:
            return isinstance(payload, Hello | Survey) and replica.identity.cluster_id != NO_CLUSTER
        if replica.identity.cluster_id == NO_CLUSTER:
            return isinstance(payload, SurveyReply | Welcome | Reject)
        if isinstance(payload, Hello):
            reject = Reject(payload.stream, RejectReason.WRONG_CLUSTER, None)
            replica.send(source.address, reject, source.dir_id, link)
        elif isinstance(payload, Reject) and payload.reason is RejectReason.WRONG_CLUSTER:
            replica.report(f"{source.address} belongs to another cluster")
        return False

    def _met_itself(self, source: Identity) -> None:
        """An answer from the own directory: joined itself, or a copied directory."""
        replica = self.replica
        problem = PROBLEM_SELF if source.boot == replica.identity.boot else PROBLEM_COPY
        replica.report(f"{source.address}: {problem}", replica.timers.lag)

    def _is_void(self, source: Identity, known_boot: int) -> bool:
        """Of two processes of one directory, is this one not to be heard?

        At one address there is one process at a time, so the newer boot follows the older one; while that one
        acked to this primary until a moment ago, an answer from the address has to prove it (rule `duplicate`).
        At two addresses it is a copy, or a directory that was moved: the one known first stays, until it is
        found dead at its address, or a newer one appears while it is silent for T_suspect.
        """
        replica, evidence, member = self.replica, self.evidence, source.dir_id
        newer = source.boot > known_boot
        known_address = evidence.address_of[member]
        if not replica.rules.duplicate:
            return not newer
        if source.address == known_address:
            if newer and self._acks(member):
                self.probe(known_address)
                return True
            return not newer
        contest = self._contests.get(member)
        if contest is None or evidence.awake - contest.looked_at > 2 * replica.timers.suspect:
            contest = self._contests[member] = Contest(evidence.awake)
        contest.looked_at = evidence.awake
        silent = evidence.silence(member, contest.since) >= replica.timers.suspect
        if contest.known_is_dead or (newer and (silent or evidence.refused(member))):
            del self._contests[member]
            return False
        self.probe(known_address)
        return True

    def _turn_away(self, source: Identity, payload: Payload, link: int) -> None:
        if isinstance(payload, Hello) and source.boot > self.evidence.boot_of[source.dir_id]:
            reject = Reject(payload.stream, RejectReason.DUPLICATE, None)
            self.replica.send(source.address, reject, source.dir_id, link)

    def _acks(self, member: DirId) -> bool:
        """Has its process acked to this primary until a moment ago?"""
        reign = self.replica.reign
        return (
            reign is not None
            and not self.evidence.refused(member)
            and member in reign.streams.by_member
            and reign.unacked(member) < self.replica.timers.suspect
        )

    # ---- signs of life

    def _heard(self, source: Identity) -> None:
        """Any envelope is a sign of life of that directory and that boot."""
        replica, evidence, member = self.replica, self.evidence, source.dir_id
        restarted = member in evidence.boot_of and evidence.boot_of[member] != source.boot
        evidence.heard(member, source.boot, source.address, replica.now)
        at_its_address = self.members_at(source.address)
        for other in at_its_address:
            if other != member:
                evidence.replaced(other, replica.now)
        if at_its_address == (member,):
            self._lone_source[member] = source
        reign, following = replica.reign, replica.following
        if reign is not None:
            reign.behind.on_heard(member)
            if restarted:
                reign.streams.close(member)
        elif following.primary == member:
            evidence.forget_primary_probes()
            if restarted and following.active:
                following.suspect("it has restarted")

    def config_changed(self) -> None:
        """The newest CONFIG may be another one than before: addresses may belong to others now."""
        self._lone_source.clear()

    def members_at(self, address: str) -> tuple[DirId, ...]:
        """Known members with that address; usually the one that is heard."""
        config = self.replica.log.newest_config
        if config is not self._dirs_at_config:
            self._dirs_at_config = config
            self._lone_source.clear()
            dirs: dict[str, tuple[DirId, ...]] = {}
            for member in config.members if config is not None else ():
                dirs[member.address] = (*dirs.get(member.address, ()), member.dir_id)
            self._dirs_at = dirs
        return self._dirs_at.get(address, ())

    # ---- probes

    def probe(self, address: str, at_once: bool = False) -> None:
        """Dial that address anew, unless that was done a moment ago."""
        replica = self.replica
        probe = self.evidence.probe(address, replica.now, at_once)
        if probe is not None:
            replica.ready.probes.append(probe)
            if address == replica.following.address and replica.reign is None:
                self.evidence.remember_primary_probe(probe)

    def probe_member(self, member: DirId) -> None:
        config = self.replica.log.newest_config
        address = config.address_of(member) if config is not None else None
        if address is not None:
            self.probe(address)

    def probe_silent_primary(self) -> None:
        """Dial a silent primary anew, again and again, until it is heard."""
        replica = self.replica
        following, timers = replica.following, replica.timers
        if following.primary is None:
            return
        silence = following.silence()
        broken = replica.now - self._broken_at < timers.suspect and silence >= timers.heartbeat
        if following.suspects or silence >= timers.probe_after or broken:
            self.probe(following.address)
            replica.wake_by(replica.now + timers.probe_every)

    def on_probe_refused(self, event: ProbeRefused) -> None:
        replica, probe = self.replica, event.probe
        refused = [
            member
            for member in self.members_at(probe.address)
            if member != replica.dir_id and self.evidence.on_refused(member, probe)
        ]
        following = replica.following
        primary = following.primary
        if (
            following.active
            and primary is not None
            and following.address == probe.address
            and primary not in self.members_at(probe.address)
            and self.evidence.on_refused(primary, probe)
        ):
            refused.append(primary)  # a learner may not know the CONFIG yet that names its primary
        for member in refused:
            self._member_refused(member, probe)
        for member, contest in self._contests.items():
            if self.evidence.address_of.get(member) == probe.address:
                # Of that process only: the member may be the other one.
                contest.known_is_dead |= probe.number > self.evidence.heard_event[member]
        if replica.election is not None:
            replica.election.look_at = replica.now
            if isinstance(replica.election, SurveyRound):
                replica.election.on_refused(probe)
        replica.answering.progress()

    def _member_refused(self, member: DirId, probe: Probe) -> None:
        replica = self.replica
        reign, following = replica.reign, replica.following
        if reign is not None:
            reign.behind.on_refused(member, probe.begun_at)
            if member in reign.others:
                reign.membership.change()
        elif replica.is_follower and following.primary == member:
            if not following.suspects:
                following.suspect("refused")
            elif replica.now - replica.granted_at > replica.timers.rpc:  # else the one who was granted has its time
                replica.survey_within(replica.timers.survey_wait)

    def on_probe_accepted(self, event: ProbeAccepted) -> None:
        self.evidence.on_accepted(event.probe)

    def on_probe_answered(self, event: ProbeAnswered) -> None:
        replica, identity, address = self.replica, event.identity, event.probe.address
        if identity.dir_id == replica.dir_id:
            if address != replica.identity.address or identity.boot != replica.identity.boot:
                self._met_itself(identity)
            return
        known_boot = self.evidence.boot_of.get(identity.dir_id)
        if known_boot is not None and known_boot != identity.boot:
            at_known_address = address == self.evidence.address_of[identity.dir_id]
            if at_known_address and identity.boot < known_boot:
                return
            if not at_known_address and self._is_void(identity, known_boot):
                return
        self._heard(identity)
        for other in self.members_at(address):
            if other != identity.dir_id:
                self.evidence.replaced(other, replica.now)
        if replica.reign is not None:
            replica.reign.membership.on_answered(identity, address)
        replica.answering.progress(identity.dir_id == replica.following.primary)

    def on_broken(self, event: Broken) -> None:
        """No evidence; it starts probing."""
        replica = self.replica
        if replica.reign is not None:
            replica.reign.on_broken(event)
        elif event.dir_id is None and event.stream:
            replica.following.on_broken(event.stream)
        self.probe(event.address)
        if replica.following.address == event.address:
            self._broken_at = replica.now
        replica.wake_by(replica.now + replica.timers.probe_every)
