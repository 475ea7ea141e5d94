"""Service Replication."""

import asyncio
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import grpc
from grpc import aio

from chatsvc.api.events import timestamp
from chatsvc.api.status import abort
from chatsvc.domain.errors import Unavailable
from chatsvc.engine import Engine, ForcedInVain, MemberStatus
from chatsvc.v1 import replication_pb2 as pb

SERVICE = "chatsvc.v1.Replication"

VERSION = version("chatsvc")

WAIT_S_MAX = 5.0
"""How long a status is held back at most."""

_UINT64_MAX = 2**64 - 1

ROLE_OF: dict[str, pb.Role] = {
    "primary": pb.ROLE_PRIMARY,
    "backup": pb.ROLE_BACKUP,
    "learner": pb.ROLE_LEARNER,
    "waiting": pb.ROLE_WAITING,
    "out": pb.ROLE_OUT,
}


class ReplicationService:
    """The rpcs of service Replication for people; those for servers belong to the engine.

    Args:
        engine: what is asked.
        sessions: counts the sessions of service Chat.
    """

    def __init__(self, engine: Engine, sessions: Callable[[], int]) -> None:
        self._engine, self._sessions = engine, sessions

    def handler(self) -> grpc.GenericRpcHandler:
        """What a gRPC server serves."""
        get_status = grpc.unary_unary_rpc_method_handler(
            self.get_status, pb.GetStatusRequest.FromString, pb.GetStatusResponse.SerializeToString
        )
        force_promote = grpc.unary_unary_rpc_method_handler(
            self.force_promote, pb.ForcePromoteRequest.FromString, pb.ForcePromoteResponse.SerializeToString
        )
        methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {"GetStatus": get_status, "ForcePromote": force_promote}
        return grpc.method_handlers_generic_handler(SERVICE, methods)

    async def force_promote(
        self, request: pb.ForcePromoteRequest, context: aio.ServicerContext[Any, Any]
    ) -> pb.ForcePromoteResponse:
        """`Replication.ForcePromote`."""
        try:
            epoch = await self._engine.force_promote()
        except ForcedInVain as refusal:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(refusal))
        except Unavailable as error:
            await abort(context, error)
        return pb.ForcePromoteResponse(epoch=epoch)

    async def get_status(
        self, request: pb.GetStatusRequest, context: aio.ServicerContext[Any, Any]
    ) -> pb.GetStatusResponse:
        """`Replication.GetStatus`."""
        if request.wait_ms:
            try:
                async with asyncio.timeout(min(request.wait_ms / 1_000, WAIT_S_MAX)):
                    await self._engine.primary_news(request.epoch)
            except TimeoutError:
                pass
        status = self._engine.status()
        return pb.GetStatusResponse(
            cluster_id=status.cluster_id,
            mode=status.mode,
            epoch=status.epoch,
            primary=status.primary,
            commit_index=status.commit_index,
            degraded=status.degraded,
            forced=status.forced,
            self=_member(status.self_member),
            members=[_member(member) for member in status.members],
            version=VERSION,
            sessions=self._sessions(),
            holes=min(status.holes, _UINT64_MAX),  # each client says how many, and a hostile one says many
            waiting_for=status.waiting_for,
            problem=status.problem,
            serving=status.serving,
            last_index=status.last_index,
            cpu_us=time.process_time_ns() // 1_000,
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
