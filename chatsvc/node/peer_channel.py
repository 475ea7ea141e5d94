"""Channels to other servers, and where their rpcs are."""

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


def fresh_channel(address: str) -> aio.Channel:
    """A channel with a connection of its own, not dialled yet. The caller closes it."""
    return aio.insecure_channel(address, options=OPTIONS)


def path(method: str) -> str:
    """Of a method of service Replication."""
    return f"/{SERVICE}/{method}"
