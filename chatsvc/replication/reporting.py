"""What a replica tells people: notes, problems, its status."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from chatsvc.replication.events import Note, NoteKind, Role, Status
from chatsvc.replication.identity import NO_EPOCH, DirId, Member

if TYPE_CHECKING:
    from chatsvc.replication.replica import Replica


class Reporting:
    """Words for a log and for `status`; no decision rests on them."""

    def __init__(self, replica: Replica, problem: str) -> None:
        self.replica = replica
        self.enabled = True  # False: no notes
        self.waiting_for: tuple[Member, ...] = ()
        self._problem = problem
        self._problem_until: int | None = None  # None: until another one

    def note(self, kind: NoteKind, text: str, *values: object) -> None:
        if self.enabled:
            self.replica.ready.notes.append(Note(kind, text.format(*values) if values else text))

    def report(self, problem: str, ms: int | None = None) -> None:
        """What an operator must know; for so long, else until something else is to be known. "": nothing."""
        if problem and problem != self.problem:
            self.note(NoteKind.PROBLEM, "{}", problem)
        self._problem = problem
        self._problem_until = None if ms is None else self.replica.now + ms

    @property
    def problem(self) -> str:
        until = self._problem_until
        return self._problem if until is None or self.replica.now < until else ""

    def names(self, dirs: Iterable[DirId]) -> str:
        """For people; who is not a member goes by the beginning of its directory's id."""
        config = self.replica.log.newest_config
        known = {member.dir_id: member.name for member in config.members} if config is not None else {}
        return ",".join(sorted(known.get(dir_id, dir_id[:4].hex()) for dir_id in dirs))

    def role(self) -> Role:
        replica = self.replica
        if replica.reign is not None:
            return Role.PRIMARY
        if replica.is_out:
            return Role.OUT
        if not replica.is_follower:
            return Role.CANDIDATE
        if not replica.following.active:
            return Role.WAITING
        config = replica.log.newest_config
        return Role.BACKUP if config is not None and replica.dir_id in config.in_sync else Role.LEARNER

    def status(self) -> Status:
        """A snapshot; costs a few microseconds."""
        replica = self.replica
        reign, config = replica.reign, replica.log.newest_config
        in_sync: tuple[DirId, ...] = config.in_sync if config is not None else ()
        durable_of: dict[DirId, int] = {}
        silent_of: dict[DirId, int] = {}
        if reign is not None:
            streams = reign.streams.by_member
            durable_of = {member: stream.durable for member, stream in streams.items()}
            silent_of = {
                member.dir_id: replica.evidence.silence(member.dir_id, reign.won_awake)
                for member in (config.members if config is not None else ())
                if member.dir_id != replica.dir_id
            }
            leased = (member for member in reign.lease_holders if member in streams and streams[member].leased)
            in_sync = (replica.dir_id, *leased)
        follows = replica.following.active or reign is not None
        return Status(
            self.role(),
            replica.epoch if follows else NO_EPOCH,
            replica.promised,
            replica.weighing.primary_hint(),
            reign is not None and reign.serving,
            replica.log.last_index,
            replica.saving.durable_index,
            replica.commit_index,
            config,
            in_sync,
            durable_of,
            silent_of,
            tuple(f"{member.name} ({member.address})" for member in self.waiting_for),
            self.problem,
        )
