"""Service Replication."""

from collections.abc import Callable
from importlib.metadata import version
from typing import Any

from grpc import aio

from chatsvc.api.events import timestamp
from chatsvc.engine import Engine, MemberStatus
from chatsvc.v1 import replication_pb2 as pb
from chatsvc.v1.replication_pb2_grpc import ReplicationServicer

SERVICE = "chatsvc.v1.Replication"

ROLE_OF: dict[str, pb.Role] = {
    "primary": pb.ROLE_PRIMARY,
    "backup": pb.ROLE_BACKUP,
    "learner": pb.ROLE_LEARNER,
    "waiting": pb.ROLE_WAITING,
}


class ReplicationService(ReplicationServicer):
    """The rpcs of service Replication over an engine.

    Args:
        engine: what is asked.
        sessions: counts the sessions of service Chat.
    """

    def __init__(self, engine: Engine, sessions: Callable[[], int]) -> None:
        self._engine, self._sessions = engine, sessions

    async def GetStatus(
        self, request: pb.GetStatusRequest, context: aio.ServicerContext[Any, Any]
    ) -> pb.GetStatusResponse:
        """`Replication.GetStatus`."""
        status = self._engine.status()
        return pb.GetStatusResponse(
            cluster_id=status.cluster_id,
            mode=status.mode,
            epoch=status.epoch,
            primary=status.primary,
            commit_index=status.commit_index,
            degraded=status.degraded,
            self=_member(status.self_member),
            members=[_member(member) for member in status.members],
            version=version("chatsvc"),
            sessions=self._sessions(),
            holes=status.holes,
        )


def _member(status: MemberStatus) -> pb.Member:
    return pb.Member(
        name=status.name,
        address=status.address,
        role=ROLE_OF[status.role],
        in_sync=status.in_sync,
        durable_index=status.durable_index,
        applied_index=status.applied_index,
        state_hash=status.state_hash,
        hash_index=status.hash_index,
        role_time=timestamp(status.role_since_us),
    )
