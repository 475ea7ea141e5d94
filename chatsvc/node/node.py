"""The built-in engine."""

import asyncio
import logging
import time
from collections.abc import Callable
from struct import pack

import msgspec

from chatsvc.domain.commands import AdvanceCursors, Command
from chatsvc.domain.errors import DiskFull, NotReady, Unavailable
from chatsvc.domain.outcomes import Message, Outcome
from chatsvc.engine import AccountInfo, ConversationPage, Done, EngineStatus, MemberStatus, Subscriber
from chatsvc.node.codec import decode_commands, encode_commands
from chatsvc.node.machine import Machine
from chatsvc.storage import DataDirectory, EntryKind, LogEntry, StorageThread, chain_hash
from chatsvc.storage import DiskFull as StorageFull

ENTRY_COMMANDS_MAX = 4_096
"""Most commands in one log entry."""

QUEUE_COMMANDS_MAX = 16_384
"""So many commands in the queue make `Node.room` wait."""

ACKNOWLEDGE_EVERY_S = 0.2
"""How long acknowledgements are gathered before they go into the log."""

log = logging.getLogger(__name__)


class Node:
    """One server as an `Engine`: a cluster of one, which is always its primary.

    Args:
        directory: open, and closed by the caller after `close`.
        on_failure: called once when the server can't go on, such as after a failed write.
    """

    def __init__(self, directory: DataDirectory, on_failure: Callable[[Exception], None]) -> None:
        self._directory, self._on_failure = directory, on_failure
        self._name = self._address = ""
        self._log_thread = StorageThread("log")
        self._state_thread = StorageThread("state")
        self._read_thread = StorageThread("read")
        self._queue: list[tuple[Command, Done]] = []
        self._something_queued = asyncio.Event()
        self._queue_has_room = asyncio.Event()
        self._acknowledged: dict[int, int] = {}
        self._flush_due: asyncio.TimerHandle | None = None
        self._failure: Exception | None = None
        self._closing = False
        self._committing: asyncio.Task[None] | None = None
        self._started_us = time.time_ns() // 1_000
        self._commit_index = 0
        self._last_time_us = 0
        self._last_chain = bytes(16)
        self._epoch_counter = 0
        self._epoch = b""

    # ---- start and stop

    async def start(self, name: str, address: str) -> None:
        """Read the log, bring the chat state up to it, and begin a reign.

        Args:
            name: label for people.
            address: host:port for clients and servers.

        Raises:
            StorageError: the directory can't be used; the text says why and what to do.
        """
        self._name, self._address = name, address
        stored = await self._log_thread.run(self._directory.log.load)
        self._machine = Machine(self._directory.state, self._state_thread, self._read_thread)
        self._commit_index, self._last_chain = stored.last_index, stored.last_chain
        first = self._machine.applied_index + 1
        while first <= stored.last_index:
            entries = await self._log_thread.run(self._directory.log.read, first, stored.last_index + 1, 1 << 22)
            for entry in entries:
                self._replay(entry)
            first = entries[-1].log_index + 1
            await self._machine.room()
        self._epoch_counter = int.from_bytes(stored.last_epoch[:4], "big") + 1
        self._epoch = pack(">IH", self._epoch_counter, 0) + self._directory.dir_id
        config = {"in_sync": [self._directory.dir_id.hex()], "members": [[self._name, self._address]]}
        await self._save(EntryKind.CONFIG, msgspec.msgpack.encode(config))
        self._machine.skip(self._commit_index)
        self._last_time_us = self._machine.time_us
        self._committing = asyncio.ensure_future(self._commit_queue())

    def _replay(self, entry: LogEntry) -> None:
        if entry.kind == EntryKind.OP:
            self._machine.apply(entry.log_index, *decode_commands(entry.payload))
        else:
            self._machine.skip(entry.log_index)

    async def close(self) -> None:
        """Carry out what is queued, bring everything to disk, end the threads."""
        if self._flush_due is not None:
            self._flush_due.cancel()
        if self._failure is None and self._committing is not None:
            self._queue_acknowledgements(None)
        self._closing = True
        self._something_queued.set()
        try:
            if self._committing is not None:
                await self._committing
            if self._failure is None and self._committing is not None:
                await self._machine.close()
        finally:
            for thread in (self._log_thread, self._state_thread, self._read_thread):
                await asyncio.to_thread(thread.close)

    def _fail(self, error: Exception) -> None:
        """Acknowledge nothing any more."""
        if self._failure is None:
            self._failure = error
            log.error("this server stops: %s", error)
            for _, done in self._take_queue(len(self._queue)):
                done(NotReady("this server has failed and stops"))
            self._queue_has_room.set()
            self._on_failure(error)

    # ---- commands

    def submit(self, command: Command, done: Done) -> None:
        """See `Engine.submit`."""
        if self._failure is not None or self._closing:
            asyncio.get_running_loop().call_soon(done, NotReady("this server is stopping"))
            return
        self._queue.append((command, done))
        self._something_queued.set()

    async def execute(self, *commands: Command) -> list[Outcome]:
        """See `Engine.execute`."""
        loop = asyncio.get_running_loop()
        futures: list[asyncio.Future[Outcome]] = []
        for command in commands:
            future: asyncio.Future[Outcome] = loop.create_future()
            futures.append(future)
            self.submit(command, _resolver(future))
        await asyncio.wait(futures)
        return [future.result() for future in futures]

    async def room(self) -> None:
        """See `Engine.room`."""
        while len(self._queue) > QUEUE_COMMANDS_MAX and self._failure is None:
            self._queue_has_room.clear()
            await self._queue_has_room.wait()
        if self._machine.is_behind:
            await self._machine.room()

    def _take_queue(self, count: int) -> list[tuple[Command, Done]]:
        taken, self._queue = self._queue[:count], self._queue[count:]
        return taken

    async def _commit_queue(self) -> None:
        """Save what is queued as one entry, again and again; an entry is applied while the next one is being saved."""
        saved: _Group | None = None
        while True:
            if self._queue:
                group = self._next_group()
                saving = asyncio.ensure_future(self._save(EntryKind.OP, group.payload))
            elif saved is not None:
                group, saving = saved, None
            elif self._closing:
                return
            else:
                self._something_queued.clear()
                await self._something_queued.wait()
                continue
            try:
                if saved is not None:
                    committed, saved = saved, None
                    self._apply(committed)
                if saving is not None:
                    saved, group.log_index = group, await saving
            except StorageFull as error:
                group.answer(DiskFull(str(error)))
            except Exception as error:
                # A failed write or a broken rule: this server must not go on, and no client may wait for it.
                if saving is not None:
                    group.answer(NotReady("this server has failed and stops"))
                    await asyncio.wait((saving,))
                self._fail(error)
                return

    def _next_group(self) -> "_Group":
        taken = self._take_queue(ENTRY_COMMANDS_MAX)
        self._queue_has_room.set()
        self._last_time_us = max(time.time_ns() // 1_000, self._last_time_us + 1)
        return _Group(self._last_time_us, [command for command, _ in taken], [done for _, done in taken])

    def _apply(self, group: "_Group") -> None:
        machine = self._machine
        outcomes = machine.apply(group.log_index, group.time_us, group.commands)
        for done, outcome in zip(group.waiting, outcomes, strict=True):
            machine.announce(outcome)
            done(outcome)

    async def _save(self, kind: EntryKind, payload: bytes) -> int:
        """Put one entry at the end of the log; it is committed when it is on disk. Returns its log index."""
        log_index = self._commit_index + 1
        chain = chain_hash(self._last_chain, log_index, self._epoch, kind, payload)
        entry = LogEntry.make(log_index, self._epoch, kind, payload, chain)
        await self._log_thread.run(self._directory.log.append, [entry], log_index)
        self._commit_index, self._last_chain = log_index, chain
        return log_index

    # ---- acknowledgements

    def acknowledge(self, account_id: int, inbox_seq: int) -> None:
        """See `Engine.acknowledge`."""
        if inbox_seq > self._acknowledged.get(account_id, 0):
            self._acknowledged[account_id] = inbox_seq
        if self._flush_due is None:
            loop = asyncio.get_running_loop()
            self._flush_due = loop.call_later(ACKNOWLEDGE_EVERY_S, self._queue_acknowledgements, None)

    def _queue_acknowledgements(self, then: Done | None) -> None:
        if self._flush_due is not None:
            self._flush_due.cancel()
            self._flush_due = None
        acknowledged, self._acknowledged = self._acknowledged, {}

        def done(outcome: Outcome | Unavailable) -> None:
            if isinstance(outcome, Unavailable):
                for account_id, inbox_seq in acknowledged.items():
                    if self._failure is None and not self._closing:
                        self.acknowledge(account_id, inbox_seq)
            if then is not None:
                then(outcome)

        if acknowledged or then is not None:
            self.submit(AdvanceCursors(list(acknowledged.items())), done)

    async def flush_acknowledgements(self) -> None:
        """See `Engine.flush_acknowledgements`."""
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._queue_acknowledgements(_resolver(future))
        await future

    # ---- the rest of an engine

    def subscribe(self, subscriber: Subscriber) -> int:
        """See `Engine.subscribe`."""
        return self._machine.subscribe(subscriber)

    def unsubscribe(self, subscriber: Subscriber) -> None:
        """See `Engine.unsubscribe`."""
        self._machine.unsubscribe(subscriber)

    def is_online(self, account_id: int) -> bool:
        """See `Engine.is_online`."""
        return self._machine.is_online(account_id)

    def account_id(self, user: str) -> int | None:
        """See `Engine.account_id`."""
        account = self._machine.state.find(user)
        return None if account is None else account.account_id

    async def read_inbox(self, account_id: int, after_inbox_seq: int, limit: int) -> list[Message]:
        """See `Engine.read_inbox`."""
        return await self._machine.read_inbox(account_id, after_inbox_seq, limit)

    async def read_conversation(self, user: str, peer: str, limit: int, before: int) -> ConversationPage:
        """See `Engine.read_conversation`."""
        return await self._machine.read_conversation(user, peer, limit, before)

    async def list_accounts(self, pattern: str, limit: int, after_key: str) -> list[AccountInfo]:
        """See `Engine.list_accounts`."""
        return await self._machine.list_accounts(pattern, limit, after_key)

    def status(self) -> EngineStatus:
        """See `Engine.status`."""
        machine = self._machine
        member = MemberStatus(
            name=self._name,
            address=self._address,
            role="primary",
            in_sync=True,
            durable_index=self._commit_index,
            applied_index=machine.applied_index,
            state_hash=machine.state.digest,
            hash_index=machine.applied_index,
            role_since_us=self._started_us,
        )
        return EngineStatus(
            cluster_id=self._directory.cluster_id,
            mode="available",
            epoch=self._epoch_counter,
            primary=self._address,
            commit_index=self._commit_index,
            degraded=False,
            holes=machine.holes,
            self_member=member,
            members=[member],
        )


class _Group:
    """Commands that become one log entry, and those who wait for their outcomes."""

    __slots__ = ("commands", "log_index", "payload", "time_us", "waiting")

    def __init__(self, time_us: int, commands: list[Command], waiting: list[Done]) -> None:
        self.time_us, self.commands, self.waiting = time_us, commands, waiting
        self.payload = encode_commands(time_us, commands)
        self.log_index = 0  # not saved yet

    def answer(self, error: Unavailable) -> None:
        """It was not saved."""
        for done in self.waiting:
            done(error)


def _resolver(future: "asyncio.Future[Outcome]") -> Done:
    """A `Done` that settles a future which its owner may have cancelled."""

    def done(outcome: Outcome | Unavailable) -> None:
        if future.done():
            return
        if isinstance(outcome, Unavailable):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)

    return done
