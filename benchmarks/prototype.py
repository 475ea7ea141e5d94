"""A bare chat server: the least that a durable one in Python and gRPC can do, as a yardstick for chatsvc.

It keeps the costs that no such server can drop: parse what came, write a group of messages to disk with one sync,
have every backup do the same, acknowledge, push to the recipient; whatever waits for a user goes out in one frame.
It has no accounts, no exactly-once, no queue for people who are away, no recovery, no limits. Its speed is a
ceiling; it is no example of structure.

    python -m benchmarks.prototype --data-dir DIR [--listen 127.0.0.1:0] [--backups HOST:PORT,…]
    python -m benchmarks.prototype --data-dir DIR --as-backup

Prints `ready PORT` when it serves.
"""

import argparse
import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
from grpc import aio

from benchmarks.prototype_messages import SERVICE, Down, Group, GroupSaved, Up

OPTIONS = (("grpc.so_reuseport", 0), ("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1))


class Store:
    """One table in SQLite; a transaction is on disk when `commit` returns. Used by one thread."""

    def __init__(self, directory: Path) -> None:
        self._thread = ThreadPoolExecutor(1)
        self._database = sqlite3.connect(directory / "prototype.db", isolation_level=None, check_same_thread=False)
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=FULL")
        self._database.execute(
            "CREATE TABLE IF NOT EXISTS messages"
            "(number INTEGER PRIMARY KEY, id TEXT, sender TEXT, recipient TEXT, text TEXT, time INTEGER)"
        )

    async def commit(self, rows: list[tuple[str, str, str, str, int]]) -> None:
        """Save messages: id, sender, recipient, text, time."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._commit, rows)

    def _commit(self, rows: list[tuple[str, str, str, str, int]]) -> None:
        execute = self._database.execute
        execute("BEGIN IMMEDIATE")
        self._database.executemany(
            "INSERT INTO messages(id, sender, recipient, text, time) VALUES(?, ?, ?, ?, ?)", rows
        )
        execute("COMMIT")

    def close(self) -> None:
        """Nothing may be in work."""
        self._thread.shutdown()
        self._database.close()


class Session:
    """A user's stream and what waits for it."""

    __slots__ = ("acknowledged", "context", "is_writing", "messages", "user")

    def __init__(self, context: Any, user: str) -> None:
        self.context, self.user = context, user
        self.messages: list[Any] = []
        self.acknowledged: list[int] = []
        self.is_writing = False

    async def write(self) -> None:
        """Write until nothing waits; what comes during a write goes into the next frame."""
        try:
            while self.messages or self.acknowledged:
                frame = Down(messages=self.messages, acknowledged=self.acknowledged)
                self.messages, self.acknowledged = [], []
                await self.context.write(frame)
        finally:
            self.is_writing = False


class Backup:
    """The stream to a backup."""

    def __init__(self, address: str) -> None:
        self._call: Any = aio.insecure_channel(address, options=OPTIONS).stream_stream(f"/{SERVICE}/Replicate")()
        self._waiting: dict[int, asyncio.Future[None]] = {}

    async def save(self, group: int, raw: bytes) -> None:
        """Have it save a group; returns when it has."""
        saved = self._waiting[group] = asyncio.get_running_loop().create_future()
        await self._call.write(raw)
        await saved

    async def listen(self) -> None:
        """Take its answers, for as long as it lives."""
        while (answer := await self._call.read()) is not aio.EOF:
            self._waiting.pop(GroupSaved.FromString(answer).group).set_result(None)


class Prototype:
    """The server.

    Args:
        store: of its own.
        backups: every one saves a group before it is acknowledged.

    Attributes:
        online: sessions by user.
    """

    def __init__(self, store: Store, backups: list[Backup]) -> None:
        self._store, self._backups = store, backups
        self.online: dict[str, Session] = {}
        self._waiting: list[tuple[Session, Any]] = []
        self._something_waits = asyncio.Event()
        self._writing: set[asyncio.Task[None]] = set()

    async def session(self, _requests: object, context: Any) -> None:
        """The rpc `Session`."""
        user = dict(context.invocation_metadata())["user"]
        session = self.online[user] = Session(context, user)
        session.is_writing = True
        await context.write(Down())  # says that the user is online
        await session.write()
        try:
            read, eof = context.read, aio.EOF
            while (frame := await read()) is not eof:
                if frame.messages:
                    for message in frame.messages:
                        self._waiting.append((session, message))
                    self._something_waits.set()
        finally:
            if self.online.get(user) is session:
                del self.online[user]

    async def commit(self) -> None:
        """Save what waits as one group, again and again."""
        count = 0
        while True:
            if not self._waiting:
                self._something_waits.clear()
                await self._something_waits.wait()
            group, self._waiting = self._waiting, []
            count += 1
            saving: list[Awaitable[None]] = []
            if self._backups:
                raw = Group(messages=[message for _, message in group], group=count).SerializeToString()
                saving = [asyncio.ensure_future(backup.save(count, raw)) for backup in self._backups]
            await self._store.commit(
                [(message.id, session.user, message.to, message.text, message.time) for session, message in group]
            )
            if saving:
                await asyncio.gather(*saving)
            self.answer(group)

    def answer(self, group: list[tuple[Session, Any]]) -> None:
        """A group is saved: acknowledge, deliver."""
        concerned = set()
        for session, message in group:
            session.acknowledged.append(message.number)
            concerned.add(session)
            recipient = self.online.get(message.to)
            if recipient is not None:
                recipient.messages.append(message)
                concerned.add(recipient)
        for session in concerned:
            if not session.is_writing:
                session.is_writing = True
                task = asyncio.ensure_future(session.write())
                self._writing.add(task)
                task.add_done_callback(self._writing.discard)


def _replicate(store: Store) -> Callable[[object, Any], Awaitable[None]]:
    async def replicate(_requests: object, context: Any) -> None:
        while (group := await context.read()) is not aio.EOF:
            await store.commit([(m.id, m.sender, m.to, m.text, m.time) for m in group.messages])
            await context.write(GroupSaved(group=group.group))

    return replicate


async def serve(listen: str, directory: Path, backups: list[str], as_backup: bool) -> None:
    """Serve until the process is killed."""
    store = Store(directory)
    server = aio.server(options=OPTIONS)
    if as_backup:
        methods = {
            "Replicate": grpc.stream_stream_rpc_method_handler(
                _replicate(store), Group.FromString, GroupSaved.SerializeToString
            )
        }
        tasks: list[Coroutine[Any, Any, None]] = []
    else:
        links = [Backup(address) for address in backups]
        prototype = Prototype(store, links)
        methods = {
            "Session": grpc.stream_stream_rpc_method_handler(prototype.session, Up.FromString, Down.SerializeToString)
        }
        tasks = [prototype.commit(), *(link.listen() for link in links)]
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))
    port = server.add_insecure_port(listen)
    await server.start()
    print("ready", port, flush=True)
    await asyncio.gather(server.wait_for_termination(), *tasks)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(prog="benchmarks.prototype", description="A bare chat server, as a yardstick.")
    parser.add_argument("--listen", default="127.0.0.1:0", metavar="HOST:PORT")
    parser.add_argument("--data-dir", type=Path, required=True, help="made if missing")
    parser.add_argument(
        "--backups", default="", metavar="HOST:PORT,…", help="every one saves before an acknowledgement"
    )
    parser.add_argument("--as-backup", action="store_true", help="be a backup")
    parser.add_argument("--plain-loop", action="store_true", help="asyncio's event loop even where uvloop is installed")
    options = parser.parse_args()
    options.data_dir.mkdir(parents=True, exist_ok=True)
    backups = [address for address in options.backups.split(",") if address]
    serving = serve(options.listen, options.data_dir, backups, options.as_backup)
    try:
        if options.plain_loop:
            raise ImportError
        import uvloop
    except ImportError:
        asyncio.run(serving)
    else:
        uvloop.run(serving)


if __name__ == "__main__":
    main()
