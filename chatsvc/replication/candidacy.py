"""Standing as a candidate, and voting.

Protocol 7.5 to 7.7.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatsvc.replication.envelopes import Electorate, Nominate, Vote, VoteReply
from chatsvc.replication.events import ForceResult, NoteKind
from chatsvc.replication.identity import DirId, Epoch, Identity, Member
from chatsvc.replication.permission import Grant, permission

if TYPE_CHECKING:
    from chatsvc.replication.replica import Replica

ROUNDS = 4
LOTS = 1 << 16


def on_nominate(replica: Replica, nominate: Nominate) -> None:
    """Stand, unless there is a primary, an own survey or candidacy, or a grant younger than an RPC."""
    if (
        not replica.weighing.in_service()
        and replica.election is None
        and replica.dir_id in nominate.electorate.committed.in_sync
        and replica.now - replica.granted_at > replica.timers.rpc
    ):
        stand(replica, nominate.counter, nominate.electorate)


def stand(replica: Replica, counter: int, electorate: Electorate) -> None:
    """Become candidate with a fresh epoch; Votes leave when the promise is on disk.

    Not if the epoch is not above `promised`, if the own log knows a newer committed CONFIG than K, or just
    after the start.
    """
    epoch = Epoch(counter, replica.draw(LOTS), replica.dir_id)
    committed, chain = electorate.committed, replica.chain()
    if epoch <= replica.promised or (chain and chain[0].position > committed.position):
        return
    if not replica.weighing.can_vote():
        return
    if any(own.position == committed.position for own in chain):
        replica.advance_commit(committed.index)  # others know it to be committed
    replica.promise(epoch)
    replica.become_candidate(Candidacy(replica, epoch, electorate))
    replica.note(NoteKind.STANDS, "epoch {}, voters {}", epoch, len(electorate.voters))


class Candidacy:
    """An own candidacy and the grants so far."""

    def __init__(self, replica: Replica, epoch: Epoch, electorate: Electorate) -> None:
        self.replica, self.epoch, self.electorate = replica, epoch, electorate
        self.started_at = replica.now
        self._ask = {member.dir_id: member.address for member in electorate.voters if member.dir_id != replica.dir_id}
        self._answers: dict[DirId, bool] = {}  # voter -> did it grant?
        self._grants: dict[DirId, Grant] = {}
        self._rounds = 0
        self._promised = False
        self.look_at = replica.now  # when progress is to be called next; at once where there is news

    def progress(self) -> None:
        """Ask again, win, or give up."""
        replica = self.replica
        if replica.promised != self.epoch:
            self._give_up()
            return
        now, rpc = replica.now, replica.timers.rpc
        if now >= self.started_at + ROUNDS * rpc:
            self._give_up()
            return
        if not self._promised:
            if replica.saving.promised < self.epoch:
                self._look_within(replica.timers.probe_every)
                return
            self._promised = True
        self._tally()
        if replica.election is not self:
            return
        if now >= self.started_at + self._rounds * rpc:
            self._rounds = (now - self.started_at) // rpc + 1
            vote = Vote(self.epoch, replica.log.last, self.electorate.committed, now)
            for member, address in self._ask.items():
                if member not in self._answers:
                    replica.send(address, vote, member)
        for member in self._ask:
            if member not in self._grants:
                replica.hearing.probe_member(member)
        self._look_within(min(self.started_at + self._rounds * rpc - now, replica.timers.probe_every))

    def _look_within(self, wait: int) -> None:
        self.look_at = self.replica.now + wait
        self.replica.wake_by(self.look_at)

    def _give_up(self) -> None:
        """Lease, suspicion and latch stay."""
        replica = self.replica
        timers = replica.timers
        replica.end_candidacy()
        replica.next_election = replica.now + timers.rpc // 2 + replica.draw(2 * timers.rpc)

    def _tally(self) -> None:
        """Win if the grants permit it. Give up if a member of K denied."""
        replica = self.replica
        if any(self._answers.get(member) is False for member in self.electorate.committed.in_sync):
            self._give_up()
            return
        grants = {**self._grants, replica.dir_id: Grant.of(replica.weighing.standing(), replica.now)}
        permitted = permission(replica.weighing, replica.dir_id, grants)
        if permitted is None:
            return
        in_sync = permitted.members & grants.keys()
        members: dict[DirId, Member] = {}
        removed: dict[DirId, None] = {}
        chains = [grant.chain for grant in grants.values() if grant.chain]
        for chain in sorted(chains, key=lambda chain: chain[-1].position):
            members.update((member.dir_id, member) for member in chain[-1].members)
            removed.update(dict.fromkeys(chain[-1].removed))
        for dir_id in removed:
            if dir_id not in in_sync:
                members.pop(dir_id, None)
        bypassed: set[DirId] = {dir_id for chain in chains for dir_id in chain[-1].bypassed}
        if permitted.kind == "degraded":
            bypassed |= {
                member
                for member in permitted.members
                if member not in grants and not replica.weighing.refused_now(member)
            }
        bypassed -= in_sync
        bypassed &= members.keys()
        replica.note(
            NoteKind.WINS, "epoch {} {} with {} of {}", self.epoch, permitted.kind, len(grants), len(permitted.members)
        )
        replica.begin_reign(
            self.epoch,
            in_sync,
            tuple(sorted(members.values())),
            f"elected, {permitted.kind}",
            tuple(sorted(bypassed)),
            tuple(removed),
            forced=any(chain[-1].forced for chain in chains),
        )

    def on_reply(self, source: Identity, reply: VoteReply) -> None:
        """The lease that a grant reports is counted from when the Vote was sent, so never too long."""
        if reply.epoch != self.epoch:
            return
        self.look_at = self.replica.now
        self._answers[source.dir_id] = reply.granted
        if reply.granted:
            self._grants[source.dir_id] = Grant.of(reply.standing, reply.vote_sent_at)
        else:
            self._grants.pop(source.dir_id, None)


# ---- an operator's override


def force(replica: Replica, token: int) -> None:
    """Become primary alone, above every epoch heard of; no rule is asked.

    For when the last servers in sync are lost for good. What they acknowledged and this one does not have is
    gone; the CONFIG says so for ever.
    """
    replica.step_down()
    epoch = Epoch(max(replica.highest_counter, replica.promised.counter) + 1, replica.draw(LOTS), replica.dir_id)
    replica.promise(epoch)
    replica.become_candidate(Forced(replica, epoch, token))
    replica.note(NoteKind.STANDS, "epoch {}, forced by an operator", epoch)


class Forced:
    """A candidacy that nobody is asked about; it waits for its promise to be on disk only."""

    def __init__(self, replica: Replica, epoch: Epoch, token: int) -> None:
        self.replica, self.epoch, self.token = replica, epoch, token
        self.look_at = replica.now

    def progress(self) -> None:
        replica = self.replica
        if replica.promised != self.epoch:
            replica.end_candidacy()
            return
        if replica.saving.promised < self.epoch:
            self.look_at = replica.now + replica.timers.probe_every
            replica.wake_by(self.look_at)
            return
        config = replica.log.newest_config
        assert config is not None
        others = tuple(member for member in config.in_sync if member != replica.dir_id)
        members = {member.dir_id: member for member in config.members}
        own = replica.identity
        members[own.dir_id] = Member(own.dir_id, own.address, own.name)
        replica.note(NoteKind.WINS, "epoch {} forced by an operator", self.epoch)
        replica.begin_reign(
            self.epoch,
            {own.dir_id},
            tuple(sorted(members.values())),
            "forced by an operator",
            tuple(sorted({*config.bypassed, *others} & members.keys() - {own.dir_id})),
            tuple(dir_id for dir_id in config.removed if dir_id != own.dir_id),
            forced=True,
        )
        replica.ready.forced.append(ForceResult(self.token, self.epoch, ""))


# ---- voting


def on_vote(replica: Replica, source: Identity, vote: Vote, link: int) -> None:
    """Grant, if all of this holds:

    - the epoch is higher than `promised`,
    - this replica neither is nor hears a primary, has not just started, and can trust its disk,
    - its own log knows no newer committed CONFIG than K,
    - if it is a member of K, and the newest CONFIG of its own log does not leave it out (rule `dropped`): the
      candidate's log is not behind its own.

    A grant makes an end of an own candidacy and puts the next own one off for an RPC; suspicion, lease and
    latch stay. The answer leaves when the promise is on disk. A repeated Vote of the epoch that was granted
    is answered alike (rule `regrant`).
    """
    if replica.weighing.is_mute():
        return
    chain = replica.chain()
    following = replica.following
    replica.highest_counter = max(replica.highest_counter, vote.epoch.counter)
    if (
        vote.epoch > replica.promised
        and not replica.weighing.in_service()
        and replica.weighing.can_vote()
        and (not chain or chain[0].position <= vote.committed.position)
        and (
            vote.last >= replica.log.last or replica.dir_id not in vote.committed.in_sync or replica.weighing.left_out()
        )
    ):
        replica.step_down(vote.epoch)
        replica.end_candidacy()
        replica.granted_at = replica.now
        following.granted_epoch = vote.epoch
        following.lease.granted_to.add(source.dir_id)
        replica.next_election = max(replica.next_election, replica.now + replica.timers.rpc)
        replica.hold(source.address, _granted(replica, vote), source.dir_id, link)
        replica.note(NoteKind.GRANTS, "epoch {} to {}", vote.epoch, source.address)
    elif (
        vote.epoch == replica.promised
        and (vote.epoch == following.granted_epoch or not replica.rules.regrant)
        and replica.is_follower
        and not replica.weighing.in_service()
    ):
        replica.hold(source.address, _granted(replica, vote), source.dir_id, link)
    else:
        replica.send(
            source.address,
            VoteReply(vote.epoch, False, replica.promised, replica.weighing.standing(), vote.sent_at),
            source.dir_id,
            link,
        )


def _granted(replica: Replica, vote: Vote) -> VoteReply:
    standing = replica.weighing.standing(when_durable=True)
    return VoteReply(vote.epoch, True, replica.promised, standing, vote.sent_at)
