"""What the host itself asks or reports: saves, proposals, reads, leaving, an operator's orders."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from chatsvc.replication.candidacy import force
from chatsvc.replication.events import (
    BarrierResult,
    EpochSeen,
    Event,
    ForcePromote,
    ForceResult,
    Leave,
    ProposalResult,
    Propose,
    ReadBarrier,
    ReadDone,
    Remove,
    Saved,
    SaveFailed,
    Tick,
)
from chatsvc.replication.following import READ_MATCH
from chatsvc.replication.releasing import READ_RELEASE

if TYPE_CHECKING:
    from chatsvc.replication.replica import Replica

PROBLEM_DISK = "the disk cannot be trusted any more"


class Hosting:
    """The host's side of one replica."""

    def __init__(self, replica: Replica) -> None:
        self.replica = replica

    def handlers(self) -> dict[type, Callable[[Any], None]]:
        return {
            Tick: self._on_tick,
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

    def refuse(self, event: Event) -> None:
        """A replica that is out answers proposals, reads and operators with no, and nothing else."""
        ready = self.replica.ready
        if isinstance(event, Propose):
            ready.results.append(ProposalResult(event.token, 0, "not primary", None))
        elif isinstance(event, ReadBarrier):
            ready.barriers.append(BarrierResult(event.token, False, 0))
        elif isinstance(event, ForcePromote):
            ready.forced.append(ForceResult(event.token, None, "this server has given up every role"))

    def _on_tick(self, event: Tick) -> None:
        """Time is looked at in every step."""

    # ---- the disk

    def _on_saved(self, event: Saved) -> None:
        replica = self.replica
        replica.saving.saved(event.save_id, replica.ready.envelopes)
        if replica.election is not None:
            replica.election.look_at = replica.now
        if replica.disk_full:
            replica.disk_full = False
            replica.following.end_relinquishing()
        if replica.reign is not None:
            replica.reign.on_saved()
        else:
            replica.following.on_saved()

    def _on_save_failed(self, event: SaveFailed) -> None:
        """A full disk: others go on without this replica. Any other failure: it takes part in nothing."""
        replica = self.replica
        if not event.full:
            replica.go_out(PROBLEM_DISK)
            return
        replica.disk_full = True
        reign = replica.reign
        if reign is None:
            replica.following.relinquish()
        elif reign.others:
            replica.step_down()

    def _on_read_done(self, event: ReadDone) -> None:
        replica, purpose = self.replica, event.read.purpose
        if purpose == READ_RELEASE:
            replica.releasing.on_read(event)
        elif purpose == READ_MATCH:
            replica.following.on_match_read(event)
        elif replica.reign is not None:
            replica.reign.on_read(event)

    # ---- clients

    def _on_propose(self, event: Propose) -> None:
        replica = self.replica
        if replica.reign is not None:
            result = replica.reign.propose(event)
        else:
            result = ProposalResult(event.token, 0, "not primary", replica.weighing.primary_hint())
        replica.ready.results.append(result)

    def _on_barrier(self, event: ReadBarrier) -> None:
        replica = self.replica
        if replica.reign is not None:
            replica.reign.on_barrier(event)
        else:
            replica.ready.barriers.append(BarrierResult(event.token, False, 0))

    def _on_epoch_seen(self, event: EpochSeen) -> None:
        if self.replica.reign is not None:
            self.replica.reign.on_epoch_seen(event.counter)

    # ---- operators

    def _on_leave(self, event: Leave) -> None:
        self.replica.go_out("")

    def _on_force_promote(self, event: ForcePromote) -> None:
        """Stand outside the rules, unless there is a primary."""
        replica = self.replica
        refusal = ""
        if replica.reign is not None:
            refusal = "this server is primary"
        elif replica.following.hears():
            refusal = f"there is a primary at {replica.following.address}"
        elif replica.log.newest_config is None:
            refusal = "this server has nothing to serve"
        if refusal:
            replica.ready.forced.append(ForceResult(event.token, None, refusal))
        else:
            force(replica, event.token)

    def _on_remove(self, event: Remove) -> None:
        if self.replica.reign is not None:
            self.replica.reign.membership.remove(event.dir_id)
