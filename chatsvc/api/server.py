"""The gRPC server of one port: both services, health, reflection."""

import asyncio
from collections.abc import Sequence

from grpc import aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from chatsvc.api import chat, replication
from chatsvc.api.chat import ChatService
from chatsvc.api.replication import ReplicationService
from chatsvc.api.session import SessionSettings
from chatsvc.engine import Engine
from chatsvc.v1 import chat_pb2, replication_pb2
from chatsvc.v1.replication_pb2_grpc import add_ReplicationServicer_to_server

FRAME_BYTES_MAX = 4 * 1024 * 1024
"""Of a frame from a client; a larger one ends its stream with RESOURCE_EXHAUSTED."""

OPTIONS: Sequence[tuple[str, int]] = (
    # A second server on the same port must fail, not share it.
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", FRAME_BYTES_MAX),
    ("grpc.max_send_message_length", 16 * 1024 * 1024),
    # A peer whose machine is gone is noticed: a ping every 20 s, an answer within 10 s.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.ping_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    # Clients may ping as often as once a second.
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 1_000),
    ("grpc.http2.max_ping_strikes", 0),
)

GOODBYE_S = 1.0
"""How long sessions have to take a goodbye before their streams are cut."""


class ApiServer:
    """Serves an engine on one port.

    Args:
        engine: started.
        settings: of each session.
        sessions_max: most sessions at once.

    Attributes:
        port: that is bound, after `start`.
    """

    def __init__(self, engine: Engine, settings: SessionSettings, sessions_max: int) -> None:
        self.port = 0
        self._chat = ChatService(engine, settings, sessions_max)
        self._health = health.aio.HealthServicer()
        self._server = aio.server(options=OPTIONS)
        self._server.add_generic_rpc_handlers((self._chat.handler(),))
        replication_service = ReplicationService(engine, lambda: self._chat.sessions)
        add_ReplicationServicer_to_server(replication_service, self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection(
            (
                chat_pb2.DESCRIPTOR.services_by_name["Chat"].full_name,
                replication_pb2.DESCRIPTOR.services_by_name["Replication"].full_name,
                health.SERVICE_NAME,
                reflection.SERVICE_NAME,
            ),
            self._server,
        )

    def bind(self, address: str) -> int:
        """Bind host:port; port 0 takes a free one.

        Returns:
            The port.

        Raises:
            RuntimeError: the port is taken, or the host is none of this machine.
        """
        self.port = self._server.add_insecure_port(address)
        if self.port == 0:
            raise RuntimeError(f"can't listen on {address}")
        return self.port

    async def start(self) -> None:
        """Serve; healthy from now on."""
        await self._server.start()
        for service in ("", chat.SERVICE, replication.SERVICE):
            await self._health.set(service, health_pb2.HealthCheckResponse.SERVING)

    async def stop(self) -> None:
        """Say goodbye to the sessions, then close the port. Takes little more than `GOODBYE_S`."""
        await self._health.enter_graceful_shutdown()
        try:
            async with asyncio.timeout(GOODBYE_S):
                await self._chat.leave("the server is stopping")
        except TimeoutError:
            pass  # some client does not read
        await self._server.stop(grace=0.2)
