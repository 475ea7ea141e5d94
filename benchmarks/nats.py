"""NATS JetStream as a peer: its text protocol on a raw socket, its servers, and the stream that keeps the messages."""

import asyncio
import json
import shutil
import socket
import sysconfig
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

STREAM = "CHAT"
CALL_S = 10.0


class NatsStream(asyncio.Protocol):
    """A connection to a NATS server.

    Args:
        on_frames: called with one frame for each read of the socket that completed something: whole protocol messages.
        on_end: called once, with what is known of the reason, when the connection has ended.
    """

    def __init__(self, on_frames: Callable[[list[bytes]], None], on_end: Callable[[str], None]) -> None:
        self._on_frames, self._on_end = on_frames, on_end
        self._transport: asyncio.Transport
        self._received = b""  # the start of what is not complete yet
        self._unsent: list[bytes] = []
        self._ended = False

    def send(self, message: bytes) -> None:
        """Queue; `flush` writes it."""
        self._unsent.append(message)

    def flush(self) -> None:
        """Write what is queued."""
        if self._unsent:
            self._transport.write(b"".join(self._unsent))
            self._unsent.clear()

    def close(self) -> None:
        """Cut the connection when what was written has gone; `on_end` is not called."""
        self._ended = True
        self._transport.close()

    # ---- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Nothing is due: the login comes from the user."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """The server has closed the connection, or this side has."""
        if not self._ended:
            self._ended = True
            self._on_end(f"the connection was lost: {exc or 'closed by the server'}")

    def data_received(self, data: bytes) -> None:
        """Hand on what is complete; answer pings."""
        if self._received:
            data = self._received + data
        end = start = 0
        while (line_end := data.find(b"\r\n", start)) >= 0:
            word = data[start : start + 4]
            if word == b"MSG ":
                size = int(data[data.rindex(b" ", start, line_end) + 1 : line_end])
                start = line_end + 2 + size + 2
                if start > len(data):
                    break
            else:
                start = line_end + 2
                if word == b"PING":
                    self._unsent.append(b"PONG\r\n")
            end = start
        self._received = data[end:]
        if end:
            self._on_frames([data[:end]])
        self.flush()


# ---- servers


def executable() -> str | None:
    """The server's program: of this environment (the extra `peers`), else of the system; None if there is none."""
    own = Path(sysconfig.get_path("scripts")) / "nats-server"
    return str(own) if own.exists() else shutil.which("nats-server")


def server_config(place: int, directory: Path, ports: Sequence[int], routes: Sequence[int], sync_always: bool) -> str:
    """What the server at that place of a cluster is started with.

    Args:
        place: from 0.
        directory: for its data.
        ports, routes: of all servers; for clients, for each other.
        sync_always: whether each write is on disk before it is answered. By default a server syncs every two minutes,
            so that what it has acknowledged survives the death of processes, and that of a machine only elsewhere.
    """
    lines = [
        f"server_name: n{place}",
        f'listen: "127.0.0.1:{ports[place]}"',
        f'jetstream {{ store_dir: "{directory}"',
        *(["sync_interval: always"] if sync_always else []),
        "}",
    ]
    if len(ports) > 1:
        urls = ", ".join(f'"nats://127.0.0.1:{port}"' for port in routes)
        lines.append(f'cluster {{ name: benchmark\nlisten: "127.0.0.1:{routes[place]}"\nroutes: [{urls}] }}')
    return "\n".join(lines) + "\n"


def consumer_config(user: str) -> dict[str, Any]:
    """A durable consumer for a user's messages, replicated as the stream is; one acknowledgement is for all before."""
    return {
        "stream_name": STREAM,
        "config": {
            "durable_name": user,
            "filter_subject": f"chat.{user}",
            "deliver_subject": f"to.{user}",
            "ack_policy": "all",
            "ack_wait": 30_000_000_000,
            "max_ack_pending": 5_000,
            "deliver_policy": "all",
            "replay_policy": "instant",
        },
    }


def make_stream(port: int, replicas: int, deadline_s: float) -> str:
    """Make the stream that keeps all messages in files; tries until the servers have found each other.

    Args:
        port: of any server.
        replicas: how many servers have it.
        deadline_s: of CLOCK_MONOTONIC.

    Returns:
        Name of the server that leads it.

    Raises:
        TimeoutError: they did not in time.
    """
    config = {"name": STREAM, "subjects": ["chat.>"], "num_replicas": replicas, "storage": "file"}
    config |= {"retention": "limits", "discard": "old", "max_consumers": -1, "max_msgs": -1, "max_bytes": -1}
    said: Any = "no answer"
    while time.monotonic() < deadline_s:
        try:
            said = _call(port, f"$JS.API.STREAM.CREATE.{STREAM}", config)
            if "error" not in said:
                info = _call(port, f"$JS.API.STREAM.INFO.{STREAM}", {})
                cluster = info.get("cluster")
                if replicas == 1:
                    return "n0"
                if cluster and cluster.get("leader") and all(peer["current"] for peer in cluster["replicas"]):
                    return str(cluster["leader"])
        except OSError:
            pass
        time.sleep(0.2)
    raise TimeoutError(f"no stream with {replicas} replicas: {said}")


def _call(port: int, subject: str, request: dict[str, Any]) -> dict[str, Any]:
    """Ask JetStream for something.

    Raises:
        OSError: no answer came.
    """
    body = json.dumps(request).encode()
    with socket.create_connection(("127.0.0.1", port), CALL_S) as connection:
        connection.settimeout(CALL_S)
        connection.sendall(b'CONNECT {"verbose":false,"pedantic":false}\r\nSUB answer 1\r\n')
        connection.sendall(b"PUB %b answer %d\r\n%b\r\n" % (subject.encode(), len(body), body))
        with connection.makefile("rb") as lines:
            for line in lines:
                if line.startswith(b"MSG "):
                    answer: dict[str, Any] = json.loads(lines.read(int(line.split()[-1])))
                    return answer
    raise OSError("closed by the server")
