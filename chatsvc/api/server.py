"""The gRPC server of one port: both services, health, reflection."""

import asyncio
from collections.abc import Callable, Sequence

from grpc import aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from chatsvc.api import chat, replication
from chatsvc.api.chat import ChatService
from chatsvc.api.replication import ReplicationService
from chatsvc.api.session import SessionSettings
from chatsvc.engine import Engine
from chatsvc.v1 import chat_pb2, replication_pb2

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
        add_services: adds what else the port serves.

    Attributes:
        port: that is bound, after `start`.
    """

    def __init__(
        self,
        engine: Engine,
        settings: SessionSettings,
        sessions_max: int,
        add_services: Callable[[aio.Server], None] = lambda server: None,
    ) -> None:
        self.port = 0
        self._chat = ChatService(engine, settings, sessions_max)
        self._health = health.aio.HealthServicer()
        self._server = aio.server(options=OPTIONS)
        status = ReplicationService(engine, lambda: self._chat.sessions)
        self._server.add_generic_rpc_handlers((self._chat.handler(), status.handler()))
        add_services(self._server)
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
        """Open the port. Clients are turned away until `serve_clients`."""
        await self._set_health(chat_serves=False)
        await self._server.start()
        self._chat.start()

    def serve_clients(self, serving: bool) -> None:
        """The engine serves clients from now on, or does not any more: then every session ends."""
        if not serving:
            self._chat.say_goodbye("this server is not the primary any more")
        self._health_task = asyncio.ensure_future(self._set_health(serving))

    async def _set_health(self, chat_serves: bool) -> None:
        status = health_pb2.HealthCheckResponse
        await self._health.set(replication.SERVICE, status.SERVING)
        for service in ("", chat.SERVICE):
            await self._health.set(service, status.SERVING if chat_serves else status.NOT_SERVING)

    async def say_goodbye(self) -> None:
        """End all sessions, as far as their clients read. Takes at most `GOODBYE_S`."""
        await self._health.enter_graceful_shutdown()
        self._chat.say_goodbye("the server is stopping")
        try:
            async with asyncio.timeout(GOODBYE_S):
                await self._chat.all_gone()
        except TimeoutError:
            pass  # some client does not read

    async def stop(self) -> None:
        """Close the port."""
        self._chat.stop()
        await self._server.stop(grace=0.2)
