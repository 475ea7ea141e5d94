"""Channels to other servers, and where their rpcs are."""

import re

from grpc import aio

from chatsvc.node.peer_codec import DOWN_BYTES_MAX

SERVICE = "chatsvc.v1.Replication"

OPTIONS: tuple[tuple[str, int], ...] = (
    # A proxy for the web has no business between servers.
    ("grpc.enable_http_proxy", 0),
    # Every channel has its own connection and knows nothing of the failures of others.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
    # Only a second line: heartbeats notice a silent peer long before. Without ping_timeout, keepalive has no effect.
    ("grpc.keepalive_time_ms", 2_000),
    ("grpc.keepalive_timeout_ms", 2_000),
    ("grpc.http2.ping_timeout_ms", 2_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.max_receive_message_length", DOWN_BYTES_MAX),
    ("grpc.max_send_message_length", -1),
)


_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})", re.ASCII)


def split_address(address: str) -> tuple[str, int] | None:
    """Host and port of `host:port` or `[ipv6]:port`; None: it is neither.

    Addresses come from peers. What gRPC can't make a target of must not get there: it makes a channel of it whose state
    can't be watched, and the process hangs in its shutdown.
    """
    match = _ADDRESS.fullmatch(address)
    if match is None or not 0 < int(match[2]) < 1 << 16:
        return None
    return match[1].removeprefix("[").removesuffix("]"), int(match[2])


def fresh_channel(address: str) -> aio.Channel:
    """A channel with a connection of its own, not dialled yet. The caller closes it.

    Args:
        address: one that `split_address` takes.
    """
    assert split_address(address) is not None
    return aio.insecure_channel(address, options=OPTIONS)


def path(method: str) -> str:
    """Of a method of service Replication."""
    return f"/{SERVICE}/{method}"
