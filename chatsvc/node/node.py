"""The built-in engine: one server of a cluster."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable

import msgspec

from chatsvc import failpoints
from chatsvc.domain.commands import AdvanceCursors, Command, OpenSession
from chatsvc.domain.errors import DiskFull, NotPrimary, NotReady, Unavailable
from chatsvc.domain.outcomes import Message, Outcome
from chatsvc.engine import AccountInfo, ConversationPage, Done, EngineStatus, ForcedInVain, Subscriber
from chatsvc.node.bell import Bell
from chatsvc.node.codec import decode_commands, encode_commands
from chatsvc.node.host import Host
from chatsvc.node.links import Links
from chatsvc.node.machine import Machine
from chatsvc.node.opening import NodeSettings, open_replica
from chatsvc.node.report import report
from chatsvc.replication import Entry, EntryKind, Epoch, Role
from chatsvc.replication.events import (
    BarrierResult,
    ForcePromote,
    ForceResult,
    ProposalResult,
    Propose,
    ReadBarrier,
    Ready,
)
from chatsvc.replication.identity import NO_CLUSTER
from chatsvc.storage import DataDirectory, StorageThread

ENTRY_COMMANDS_MAX = 4_096
"""Most commands in one log entry."""

ENTRY_BYTES_MAX = 4 * 1024 * 1024
"""Of a log entry with more than one command. One command comes from one frame, which is not larger either."""

QUEUE_COMMANDS_MAX = 16_384
"""So many commands in the queue make `Node.room` wait."""

ACKNOWLEDGE_EVERY_S = 0.2
"""How long acknowledgements are gathered before they go into the log."""

REPLAY_BYTES = 4 << 20
"""How much of the log is read at once at the start."""

NEWS_WAITING_MAX = 20_000
"""Most who wait for news of a primary."""

log = logging.getLogger(__name__)


class Node:
    """One server of a cluster as an `Engine`.

    Args:
        directory: open, and closed by the caller after `close`.
        settings: see there.
        on_failure: called once when the server can't go on, such as after a failed write.
    """

    def __init__(
        self, directory: DataDirectory, settings: NodeSettings, on_failure: Callable[[Exception], None]
    ) -> None:
        self._directory, self._settings, self._on_failure = directory, settings, on_failure
        self._log_thread = StorageThread("log")
        self._state_thread = StorageThread("state")
        self._read_thread = StorageThread("read")
        self._machine: Machine
        self._host: Host
        self._on_serving: Callable[[bool], None] = lambda serving: None
        self._on_condition: Callable[[str], None] = lambda condition: None
        self._condition = ""
        self._failure: Exception | None = None
        self._closing = False
        self._committed: deque[Entry] = deque()  # not on this disk yet, so not applied
        # As primary.
        self._serving = False
        self._serves = asyncio.Event()
        self._reign: Epoch | None = None
        self._last_time_us = 0
        self._queue: list[tuple[Command, Done]] = []
        self._queue_has_room = asyncio.Event()
        self._proposed: _Group | None = None  # not in the log yet
        self._held_back = False  # too much in the log is not committed
        self._groups: dict[int, _Group] = {}  # by log index, not committed yet
        self._propose_due = False
        self._tokens = 0
        self._barriers: dict[int, asyncio.Future[int]] = {}
        self._forcing: dict[int, asyncio.Future[int]] = {}
        self._acknowledged: dict[int, int] = {}
        self._flush_due: asyncio.TimerHandle | None = None
        # For those who look for the primary.
        self._followed_epoch = 0  # of the primary that is heard; 0: none was when it was looked at last
        self._news = Bell(NEWS_WAITING_MAX)
        # For status.
        self._role, self._role_since_us = Role.WAITING, time.time_ns() // 1_000

    # ---- start and stop

    async def start(self) -> None:
        """Read the log and bring the chat state up to it. The port is not served yet.

        Raises:
            StorageError: the directory can't be used; the text says why and what to do.
        """
        directory, settings = self._directory, self._settings
        opened = await open_replica(directory, settings, self._log_thread)
        self._machine = machine = Machine(directory.state, self._state_thread, self._read_thread, self._fail)
        # Only what is known to be committed is applied; the rest is the replica's to find out.
        if failpoints.ON:
            failpoints.reach("replay")
        known = max(opened.hard_state.commit_index, machine.applied_index)
        while machine.applied_index < known:
            first = machine.applied_index + 1
            for entry in await self._read_thread.run(directory.log.read, first, known + 1, REPLAY_BYTES):
                self._apply(entry)
            await machine.room()
        self._host = Host(
            opened.identity,
            msgspec.structs.replace(opened.hard_state, commit_index=known),
            opened.view,
            settings.replication,
            directory.log,
            self._log_thread,
            self._read_thread,
            self._on_turn,
            self._fail,
        )

    @property
    def links(self) -> Links:
        """What the port has to serve for the other servers, after `start`."""
        return self._host.links

    def begin(self, on_serving: Callable[[bool], None], on_condition: Callable[[str], None]) -> None:
        """Take part in the cluster; the port is served.

        Args:
            on_serving: called with whether clients are served here, each time that changes.
            on_condition: called with what this server is doing, in a few words, each time that changes.
        """
        self._on_serving, self._on_condition = on_serving, on_condition
        self._host.start()

    async def close(self, timeout_s: float) -> None:
        """Bring acknowledgements into the log, give up every role, bring the tables up to date, end the threads.

        Takes little more than one and a half of `timeout_s`, unless the disk hangs.
        """
        if self._flush_due is not None:
            self._flush_due.cancel()
        try:
            if hasattr(self, "_host"):
                if self._acknowledged and self._serving and self._failure is None:
                    try:
                        async with asyncio.timeout(timeout_s / 2):
                            await self.flush_acknowledgements()
                    except (TimeoutError, Unavailable):
                        pass
                self._closing = True
                self._news.ring()
                for future in self._forcing.values():
                    if not future.done():
                        future.set_exception(self._unavailable())
                await self._host.close(timeout_s / 2)
                self._end_reign()
                if self._failure is None:
                    try:
                        async with asyncio.timeout(timeout_s / 2):
                            await self._machine.close()
                    except TimeoutError:
                        log.warning("not everything is in the tables; the log has it all")
        finally:
            for thread in (self._log_thread, self._state_thread, self._read_thread):
                await asyncio.to_thread(thread.close)

    def _fail(self, error: Exception) -> None:
        """Acknowledge nothing any more."""
        if self._failure is None:
            self._failure = error
            log.error("this server stops: %s", error)
            self._end_reign()
            self._on_failure(error)

    # ---- turns of the host

    def _on_turn(self, ready: Ready) -> None:
        try:
            for result in ready.results:
                self._on_result(result)
            if ready.committed:
                self._held_back = False
            self._committed += ready.committed
            self._apply_durable()
            for barrier in ready.barriers:
                self._on_barrier(barrier)
            for forced in ready.forced:
                self._on_forced(forced)
            self._follow_role()
            self._propose()
        except Exception as error:
            # A broken rule or a table that can't be read: this server must not go on.
            self._fail(error)

    def _apply_durable(self) -> None:
        """Apply what is committed and on this disk.

        A follower can learn of a commit before its own sync has ended. The stored tables must not get ahead of the
        log below them: a crash would leave them with entries that this log does not have.
        """
        durable_index = self._host.durable_index
        while self._committed and self._committed[0].index <= durable_index:
            self._apply(self._committed.popleft())

    def _apply(self, entry: Entry) -> None:
        machine = self._machine
        if failpoints.ON:
            failpoints.reach("apply_before")
        if entry.kind != EntryKind.OP:
            machine.skip(entry.index)
            return
        group = self._groups.pop(entry.index, None)
        if group is not None and entry.epoch == self._reign:
            outcomes = machine.apply(entry.index, group.time_us, group.commands)
            if failpoints.ON:
                failpoints.reach("reply_before")
            for done, outcome in zip(group.waiting, outcomes, strict=True):
                machine.announce(outcome)
                done(outcome)
            if failpoints.ON:
                failpoints.reach("reply_after")
        else:
            machine.apply(entry.index, *decode_commands(entry.payload))

    def _follow_role(self) -> None:
        """Notice that this server has become or is no longer the one that serves clients."""
        replica = self._host.replica
        role = replica.role
        if role != self._role:
            self._role, self._role_since_us = role, time.time_ns() // 1_000
        reign = replica.reign
        serving = reign is not None and reign.serving and self._failure is None
        epoch = reign.epoch if reign is not None and serving else None
        if epoch == self._reign:
            if role not in (Role.PRIMARY, Role.CANDIDATE):
                self._tell_condition()
                if self._news:
                    self._look_for_news()
            return
        if self._serving:
            self._end_reign()
        if serving:
            self._reign, self._serving = epoch, True
            self._last_time_us = self._machine.time_us
            self._serves.set()
            log.info("serving clients, epoch %s", epoch)
            if failpoints.ON:
                failpoints.reach("serving_before")
            self._on_serving(True)
            if failpoints.ON:
                failpoints.reach("serving_after")
            self._news.ring()
            self._tell_condition()

    def _tell_condition(self) -> None:
        status = self._host.status()
        if status.problem:
            condition = f"problem: {status.problem}"
        elif self._serving:
            condition = "primary, serving clients"
        elif status.role in (Role.BACKUP, Role.LEARNER) and status.primary is not None:
            role = "backup" if status.role == Role.BACKUP else "catching up"
            condition = f"{role}, following {status.primary.address}"
        elif status.waiting_for:
            condition = f"waiting for {', '.join(status.waiting_for)}"
        elif self._host.replica.identity.cluster_id == NO_CLUSTER:
            condition = f"waiting for an answer from {', '.join(self._settings.replication.join)}"
        else:
            return  # an election is under way, or about to be
        if condition != self._condition:
            self._condition = condition
            self._on_condition(condition)

    def _end_reign(self) -> None:
        """Clients are not served here any more; what became of their operations is not known here."""
        if not self._serving:
            return
        self._serving, self._reign, self._held_back = False, None, False
        self._serves.clear()
        error = self._unavailable()
        groups, self._groups = list(self._groups.values()), {}
        if self._proposed is not None:
            groups.append(self._proposed)
            self._proposed = None
        queue, self._queue = self._queue, []
        for group in groups:
            group.answer(error)
        for _, done in queue:
            done(error)
        for barrier in self._barriers.values():
            if not barrier.done():
                barrier.set_exception(error)
        self._barriers.clear()
        self._acknowledged.clear()
        self._queue_has_room.set()
        self._on_serving(False)

    def _unavailable(self) -> Unavailable:
        """Why clients are not served here."""
        if self._failure is not None or self._closing:
            return NotReady("this server is stopping")
        status = self._host.status()
        if status.role == Role.PRIMARY:
            return NotReady("this server is becoming the primary")
        if status.primary is None:
            missing = ", ".join(status.waiting_for)
            waiting = f": waiting for {missing}" if missing else ""
            return NotReady(f"this server knows no primary{waiting}")
        return NotPrimary(f"the primary is {status.primary.address}", primary=status.primary.address)

    def _look_for_news(self) -> None:
        """Wake those who wait for it, if another primary is heard than before."""
        hint = self._host.replica.following.hint()
        epoch = 0 if hint is None else hint.epoch.counter
        if epoch != self._followed_epoch:
            self._followed_epoch = epoch
            self._news.ring()

    async def primary_news(self, epoch: int) -> None:
        """See `Engine.primary_news`."""
        while not self._closing:
            self._look_for_news()
            if self._followed_epoch > epoch or (self._reign is not None and self._reign.counter >= epoch):
                return
            if not await self._news.wait():
                return

    async def serving(self) -> None:
        """Wait until clients are served here."""
        await self._serves.wait()

    def check_serving(self) -> None:
        """See `Engine.check_serving`."""
        if not self._serving or self._closing:
            raise self._unavailable()

    # ---- commands

    def submit(self, command: Command, done: Done) -> None:
        """See `Engine.submit`."""
        if not self._serving or self._closing:
            asyncio.get_running_loop().call_soon(done, self._unavailable())
            return
        if type(command) is OpenSession and self._acknowledged:
            # A session finds the cursor where the session before it has left it.
            self._submit_acknowledgements(None)
        self._queue.append((command, done))
        if not self._propose_due and self._proposed is None and not self._host.is_saving:
            # Not at once: all that this iteration of the loop reads goes into the same entry.
            self._propose_due = True
            asyncio.get_running_loop().call_soon(self._on_turn, Ready())

    async def execute(self, *commands: Command) -> list[Outcome]:
        """See `Engine.execute`."""
        loop = asyncio.get_running_loop()
        futures: list[asyncio.Future[Outcome]] = []
        for command in commands:
            future: asyncio.Future[Outcome] = loop.create_future()
            futures.append(future)
            self.submit(command, _resolver(future))
        results = await asyncio.gather(*futures, return_exceptions=True)
        outcomes: list[Outcome] = []
        for result in results:
            if isinstance(result, BaseException):
                raise result
            outcomes.append(result)
        return outcomes

    async def room(self) -> None:
        """See `Engine.room`."""
        while len(self._queue) > QUEUE_COMMANDS_MAX and self._serving:
            self._queue_has_room.clear()
            await self._queue_has_room.wait()
        if self._machine.is_behind:
            await self._machine.room()

    def _propose(self) -> None:
        """Make one log entry of what waits, unless one is on its way to the disk: then more will come together."""
        self._propose_due = False
        if not self._queue or self._proposed is not None or self._host.is_saving or not self._serving:
            return
        if self._held_back:
            return
        if failpoints.ON:
            failpoints.reach("propose_before")
        count = min(len(self._queue), ENTRY_COMMANDS_MAX)
        time_us = max(time.time_ns() // 1_000, self._last_time_us + 1)
        while True:
            commands = [command for command, _ in self._queue[:count]]
            payload = encode_commands(time_us, commands)
            if len(payload) <= ENTRY_BYTES_MAX or count == 1:
                break
            count = (count + 1) // 2  # rare: very long texts from very many at once
        waiting = [done for _, done in self._queue[:count]]
        del self._queue[:count]
        self._queue_has_room.set()
        self._last_time_us = time_us
        self._tokens += 1
        self._proposed = _Group(time_us, commands, waiting, self._tokens)
        self._host.post(Propose(payload, self._tokens))

    def _on_result(self, result: ProposalResult) -> None:
        group = self._proposed
        if group is None or group.token != result.token:
            return  # of a reign that has ended
        self._proposed = None
        if result.index:
            self._groups[result.index] = group
        elif result.refusal == "disk full":
            group.answer(DiskFull("the server's disk is full; nothing can be written until there is room"))
        elif result.refusal == "too much in flight":
            # The backups can't keep up; what was taken goes first when they have.
            self._queue[:0] = list(zip(group.commands, group.waiting, strict=True))
            self._held_back = True
        else:
            group.answer(self._unavailable())

    # ---- acknowledgements

    def acknowledge(self, account_id: int, inbox_seq: int) -> None:
        """See `Engine.acknowledge`."""
        if not self._serving:
            return
        if inbox_seq > self._acknowledged.get(account_id, 0):
            self._acknowledged[account_id] = inbox_seq
        if self._flush_due is None:
            loop = asyncio.get_running_loop()
            self._flush_due = loop.call_later(ACKNOWLEDGE_EVERY_S, self._submit_acknowledgements, None)

    def _submit_acknowledgements(self, then: Done | None) -> None:
        if self._flush_due is not None:
            self._flush_due.cancel()
            self._flush_due = None
        if failpoints.ON:
            failpoints.reach("acknowledgements_before")
        acknowledged, self._acknowledged = self._acknowledged, {}

        def done(outcome: Outcome | Unavailable) -> None:
            if isinstance(outcome, Unavailable):
                for account_id, inbox_seq in acknowledged.items():
                    self.acknowledge(account_id, inbox_seq)
            if then is not None:
                then(outcome)

        if acknowledged or then is not None:
            self.submit(AdvanceCursors(list(acknowledged.items())), done)

    async def flush_acknowledgements(self) -> None:
        """See `Engine.flush_acknowledgements`."""
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._submit_acknowledgements(_resolver(future))
        await future

    # ---- subscribers

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

    # ---- reads

    async def _read_barrier(self) -> None:
        """Wait until it is certain that this server is still the primary and shows all that was acknowledged.

        Raises:
            Unavailable: it is not.
        """
        self.check_serving()
        self._tokens += 1
        token = self._tokens
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._barriers[token] = future
        self._host.post(ReadBarrier(token))
        try:
            await future
        finally:
            self._barriers.pop(token, None)

    def _on_barrier(self, result: BarrierResult) -> None:
        future = self._barriers.pop(result.token, None)
        if future is None or future.done():
            return
        if result.granted:
            assert result.read_index <= self._machine.applied_index, "a turn applies what it releases"
            future.set_result(result.read_index)
        else:
            future.set_exception(self._unavailable())

    async def read_inbox(self, account_id: int, after_inbox_seq: int, limit: int) -> list[Message]:
        """See `Engine.read_inbox`."""
        return await self._machine.read_inbox(account_id, after_inbox_seq, limit)

    async def read_conversation(self, user: str, peer: str, limit: int, before: int) -> ConversationPage:
        """See `Engine.read_conversation`."""
        await self._read_barrier()
        return await self._machine.read_conversation(user, peer, limit, before)

    async def list_accounts(self, pattern: str, limit: int, after_key: str) -> list[AccountInfo]:
        """See `Engine.list_accounts`."""
        await self._read_barrier()
        return await self._machine.list_accounts(pattern, limit, after_key)

    # ---- for operators

    async def force_promote(self) -> int:
        """See `Engine.force_promote`."""
        self._tokens += 1
        token = self._tokens
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._forcing[token] = future
        self._host.post(ForcePromote(token))
        try:
            return await future
        finally:
            self._forcing.pop(token, None)

    def _on_forced(self, result: ForceResult) -> None:
        future = self._forcing.pop(result.token, None)
        if future is None or future.done():
            return
        if result.epoch is None:
            future.set_exception(ForcedInVain(result.refusal))
        else:
            log.warning("promoted by an operator against the rules, epoch %s", result.epoch)
            future.set_result(result.epoch.counter)

    def status(self) -> EngineStatus:
        """See `Engine.status`."""
        return report(
            self._host.status(),
            self._host.replica.identity,
            self._settings.replication.mode,
            self._machine,
            serving=self._serving,
            role_since_us=self._role_since_us,
        )


class _Group:
    """Commands that become one log entry, and those who wait for their outcomes."""

    __slots__ = ("commands", "time_us", "token", "waiting")

    def __init__(self, time_us: int, commands: list[Command], waiting: list[Done], token: int) -> None:
        self.time_us, self.commands, self.waiting = time_us, commands, waiting
        self.token = token  # of its proposal

    def answer(self, error: Unavailable) -> None:
        """What became of them is not known here."""
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
