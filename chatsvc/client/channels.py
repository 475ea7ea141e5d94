"""Connections to servers."""

from grpc import aio

OPTIONS: tuple[tuple[str, int], ...] = (
    # A proxy in the environment would take loopback connections, too.
    ("grpc.enable_http_proxy", 0),
    # Connections of one address share nothing, so that a new one is not held back by the back-off of an old one.
    ("grpc.use_local_subchannel_pool", 1),
    # The smallest back-off is also how long one attempt to connect may take.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # A machine that is gone says nothing: a ping every 10 s, an answer within 5 s. The keepalive timeout has no
    # effect in gRPC Core 1.85, the ping timeout has.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.ping_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.max_receive_message_length", 16 * 1024 * 1024),
    ("grpc.max_send_message_length", 4 * 1024 * 1024),
)


def open_channel(address: str) -> aio.Channel:
    """A connection of its own to host:port; it is made when it is used first."""
    return aio.insecure_channel(address, options=OPTIONS)
