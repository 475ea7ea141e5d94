"""Composition root: builds a server out of its parts, starts it and stops it."""

import asyncio
import gc
import ipaddress
import logging
import resource
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from chatsvc import failpoints
from chatsvc.api.server import ApiServer
from chatsvc.api.session import SessionSettings
from chatsvc.node.node import Node
from chatsvc.node.opening import NodeSettings
from chatsvc.replication import Settings, Timers
from chatsvc.storage import DataDirectory

log = logging.getLogger(__name__)

STOP_S = 3.0
"""A server that was told to stop is gone after so long, whatever its clients and its disk do."""


LEAVE_S = 1.0
"""How long a stopping server takes at most to tell the others."""


class StartError(Exception):
    """The server can't start; the text says why and what to do."""


class ServerSettings(msgspec.Struct, frozen=True):
    """What a server is started with.

    Attributes:
        data_dir: directory of its log and state; made if missing.
        listen: host:port; port 0 takes a free one.
        advertise: host:port that clients and servers are told; None: the one it listens on.
        name: label for people; None: the advertised address.
        insecure: whether it may listen beyond loopback although nothing is encrypted and nobody proves who they are.
        found: whether an empty directory founds a new cluster.
        join: addresses of servers of the cluster, host:port, besides those that the directory knows.
        isolated_promotion_s: silence after which a server acts alone; None: never.
        timers: of replication; the same on all servers of a cluster.
        sessions_max: most sessions at once.
        login_timeout_s: how long a stream may stay without a login.
        slow_consumer_s: how long a client may leave its events unread.
    """

    data_dir: Path
    listen: str = "127.0.0.1:50051"
    advertise: str | None = None
    name: str | None = None
    insecure: bool = False
    found: bool = True
    join: tuple[str, ...] = ()
    isolated_promotion_s: float | None = None
    timers: Timers = Timers()
    sessions_max: int = 10_000
    login_timeout_s: float = 60.0
    slow_consumer_s: float = 30.0


def split_address(address: str) -> tuple[str, int]:
    """Host and port of `host:port` or `[ipv6]:port`.

    Raises:
        StartError: it is neither.
    """
    host, colon, port = address.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not colon or not bare or (":" in host and bare == host) or not port.isascii() or not port.isdigit():
        raise StartError(f"{address!r} is no address: HOST:PORT, for example 127.0.0.1:50051")
    if int(port) > 65_535:
        raise StartError(f"{port} is no port: 1 to 65535, or 0 for a free one")
    return bare, int(port)


def is_loopback(host: str) -> bool:
    """Whether only programs of this machine can reach that host."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def free_port(host: str, port: int) -> int:
    """That port of the host, or for 0 any, if it is free at this moment.

    Raises:
        StartError: it is not, or the host is none of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
            found: int = probe.getsockname()[1]
            return found
    except OSError:
        raise StartError(
            f"can't listen on {host}:{port}: another program has the port, or the host is not this machine's"
        ) from None


class Server:
    """One server process's parts: data directory, node, port.

    Args:
        settings: see there.
        on_failure: called once when the server can't go on and must be stopped.
        on_condition: called with what the server is doing, in a few words, each time that changes.

    Attributes:
        address: host:port that it advertises, after `start`.
        node: its engine, from `start` to `stop`.
    """

    def __init__(
        self,
        settings: ServerSettings,
        on_failure: Callable[[Exception], None],
        on_condition: Callable[[str], None] = lambda condition: None,
    ) -> None:
        self.settings, self.address = settings, ""
        self.node: Node | None = None
        self._on_failure, self._on_condition = on_failure, on_condition
        self._directory: DataDirectory | None = None
        self._api: ApiServer | None = None

    async def start(self) -> None:
        """Open the directory, take the port, serve.

        Raises:
            StartError, StorageError: it can't; the text says why and what to do.
        """
        settings = self.settings
        host, port = split_address(settings.listen)
        if not is_loopback(host) and not settings.insecure:
            raise StartError(
                f"{host} can be reached from other machines, and nothing is encrypted: "
                "listen on 127.0.0.1, or say --insecure"
            )
        if settings.advertise is not None:
            split_address(settings.advertise)
        least_s = settings.timers.evict / 1_000
        if settings.isolated_promotion_s is not None and settings.isolated_promotion_s <= least_s:
            raise StartError(
                f"isolated promotion after {settings.isolated_promotion_s:g} s is too soon: "
                f"more than {least_s:g} s, so that a server that was dropped has noticed it"
            )
        self._directory = DataDirectory.open(settings.data_dir)
        try:
            await self._start(host, port)
        except BaseException:
            await self.stop()
            raise

    async def _start(self, host: str, port: int) -> None:
        assert self._directory is not None
        settings = self.settings
        written_host = f"[{host}]" if ":" in host else host
        port = free_port(host, port)  # before anything is written to the directory
        self.address = settings.advertise or f"{written_host}:{port}"
        if settings.join and set(settings.join) == {self.address}:
            raise StartError(f"{self.address} is this server itself: say where another one of the cluster is")
        replication = Settings(
            timers=settings.timers,
            join=settings.join,
            isolated_promotion=None
            if settings.isolated_promotion_s is None
            else int(settings.isolated_promotion_s * 1_000),
        )
        node_settings = NodeSettings(
            settings.name or self.address, self.address, found=settings.found, replication=replication
        )
        node = Node(self._directory, node_settings, self._on_failure)
        self.node = node
        await node.start()
        sessions = SessionSettings(settings.login_timeout_s, settings.slow_consumer_s)
        self._api = api = ApiServer(node, sessions, settings.sessions_max, node.links.add_to_server)
        try:
            api.bind(f"{written_host}:{port}")
        except RuntimeError:
            raise StartError(
                f"can't listen on {settings.listen}: another program has the port, or the host is not this machine's"
            ) from None
        await api.start()
        if failpoints.ON:
            failpoints.reach("listening")
        node.begin(api.serve_clients, self._on_condition)
        log.info("listening on %s, data in %s", self.address, settings.data_dir)

    async def stop(self) -> None:
        """Say goodbye, give up every role, bring everything to disk, let go of port and directory."""
        try:
            if self._api is not None:
                await self._api.say_goodbye()
            if self.node is not None:
                # The port stays open until the node has given up its roles: it is this server's sign of life.
                await self.node.close(LEAVE_S)
                self.node = None
        finally:
            if self._api is not None:
                await self._api.stop()
                self._api = None
        if self._directory is not None:
            self._directory.close()
            self._directory = None


DESCRIPTORS_BESIDE_SESSIONS = 256
"""Files, other servers, and clients that only ask for something."""


def raise_descriptor_limit(sessions: int) -> None:
    """Let this process open a file for each session, as far as the system allows it; says so where it does not."""
    wanted = sessions + DESCRIPTORS_BESIDE_SESSIONS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed < wanted:
        log.warning(
            "only %s files may be open at once (ulimit -Hn): enough for about %s sessions, not %s; raise the limit, "
            "or say --max-sessions",
            f"{allowed:,}",
            f"{max(0, allowed - DESCRIPTORS_BESIDE_SESSIONS):,}",
            f"{sessions:,}",
        )


async def serve(settings: ServerSettings, on_condition: Callable[[Server, str], None]) -> None:
    """Run a server until SIGTERM or SIGINT, or until it fails.

    Args:
        settings: see there.
        on_condition: called with what the server is doing, in a few words, each time that changes: first when it
            serves clients, follows a primary, or waits for others.

    Raises:
        StartError, StorageError: it can't start, or it had to stop; the text says why and what to do.
    """
    loop = asyncio.get_running_loop()
    stopping: asyncio.Future[Exception | None] = loop.create_future()

    def stop(error: Exception | None = None) -> None:
        if not stopping.done():
            stopping.set_result(error)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    server = Server(settings, stop, lambda condition: on_condition(server, condition))
    await server.start()
    error = await stopping
    try:
        async with asyncio.timeout(STOP_S):
            await server.stop()
    except TimeoutError:
        log.warning("not everything was written within %g s; the log has it all", STOP_S)
    if error is not None:
        raise error


def run(settings: ServerSettings, on_condition: Callable[[Server, str], None]) -> None:
    """`serve` on an event loop of its own, the faster one where it is installed."""
    raise_descriptor_limit(settings.sessions_max)
    # A full collection looks at everything that lives, and all sessions wait for it: what was imported is left out,
    # and collections are rare. The hot path makes no cycles.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    # The threads that write to the disk hold the interpreter for moments between their calls; the event loop must
    # get it back in less than the default of 5 ms.
    sys.setswitchinterval(0.0005)
    try:
        import uvloop
    except ImportError:
        asyncio.run(serve(settings, on_condition))
    else:
        uvloop.run(serve(settings, on_condition))
