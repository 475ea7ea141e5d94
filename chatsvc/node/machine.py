"""The chat state of one server: follows the committed log, answers reads, tells subscribers.

The state in memory is always at the applied index. The stored tables follow it in larger steps (*materialising*):
soon after a change, at once when somebody wants to read, and in any case before too much waits. After a crash the
log brings them up to date, so they need no sync of their own on the way of an operation.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence

from chatsvc.domain import errors
from chatsvc.domain.commands import Command
from chatsvc.domain.errors import Reason, Refusal
from chatsvc.domain.names import name_key
from chatsvc.domain.outcomes import AccountGone, Message, Outcome, SendsDone, SessionOpened, conversation_key
from chatsvc.domain.state import ChatState
from chatsvc.engine import AccountInfo, ConversationPage, Subscriber
from chatsvc.storage import DiskFull, StateStore, StorageThread

MATERIALISE_AFTER_S = 2.0
"""How long a change may wait until the stored tables have it, if nobody asks."""

MATERIALISE_MESSAGES = 50_000
"""So many messages without a place in the stored tables start materialising at once."""

UNMATERIALISED_MESSAGES_MAX = 200_000
"""So many hold up new operations: memory stays bounded."""

FULL_DISK_RETRY_S = 0.5
"""How often the tables are tried again while the disk is full."""

log = logging.getLogger(__name__)


class Machine:
    """See the module.

    Args:
        store: stored tables.
        state_thread: the only thread that writes them.
        read_thread: the one that reads pages from them.
        on_failure: called once when they can't be written any more.

    Attributes:
        state: at `applied_index`.
        time_us: of the newest entry applied; microseconds since the epoch.
    """

    def __init__(
        self,
        store: StateStore,
        state_thread: StorageThread,
        read_thread: StorageThread,
        on_failure: Callable[[Exception], None],
    ) -> None:
        loaded = store.load()
        self.state = ChatState(
            loaded.accounts, store.conversations, store.clients, loaded.next_account_id, loaded.digest
        )
        self.applied_index = self._materialised_index = loaded.applied_index
        self.time_us = loaded.last_time_us
        self.holes = 0
        self._store, self._state_thread, self._read_thread = store, state_thread, read_thread
        self._on_failure = on_failure
        self._subscribers: dict[int, Subscriber] = {}
        self._materialising: asyncio.Task[None] | None = None
        self._due: asyncio.TimerHandle | None = None
        self._materialised = asyncio.Condition()
        self._failure: Exception | None = None
        self._disk_full = False
        self._unmaterialised_messages = 0

    # ---- applying

    def apply(self, log_index: int, time_us: int, commands: Sequence[Command]) -> list[Outcome]:
        """Carry out the commands of a committed entry; subscribers are told by `announce`."""
        assert log_index > self.applied_index, "entries are applied in order, once"
        assert time_us > self.time_us, "time goes on along the log"
        outcomes = self.state.apply(commands, time_us)
        self.applied_index, self.time_us = log_index, time_us
        self._note_changes()
        return outcomes

    def skip(self, log_index: int) -> None:
        """A committed entry that is no business of the chat state."""
        assert log_index > self.applied_index, "entries are applied in order, once"
        self.applied_index = log_index

    def announce(self, outcome: Outcome) -> None:
        """Tell subscribers what an outcome means for them."""
        if isinstance(outcome, SendsDone):
            subscribers = self._subscribers
            for message in outcome.messages:
                subscriber = subscribers.get(message.recipient_id)
                if subscriber is not None:
                    subscriber.deliver(message)
        elif isinstance(outcome, SessionOpened):
            if outcome.holes_made:
                self.holes += outcome.holes_made
                log.error(
                    "%s operations of %r were acknowledged once and are not in this log: something was lost",
                    outcome.holes_made,
                    outcome.user,
                )
            earlier = self._subscribers.get(outcome.account_id)
            if earlier is not None and outcome.incarnation > earlier.incarnation:
                del self._subscribers[outcome.account_id]
                earlier.replaced()
        elif isinstance(outcome, AccountGone):
            gone = self._subscribers.pop(outcome.account_id, None)
            if gone is not None:
                gone.account_deleted()

    # ---- subscribers

    def subscribe(self, subscriber: Subscriber) -> int:
        """See `Engine.subscribe`."""
        earlier = self._subscribers.get(subscriber.account_id)
        self._subscribers[subscriber.account_id] = subscriber
        if earlier is not None:
            earlier.replaced()
        return self.state.accounts[subscriber.account_id].last_inbox_seq

    def unsubscribe(self, subscriber: Subscriber) -> None:
        """See `Engine.unsubscribe`."""
        if self._subscribers.get(subscriber.account_id) is subscriber:
            del self._subscribers[subscriber.account_id]

    def is_online(self, account_id: int) -> bool:
        """See `Engine.is_online`."""
        return account_id in self._subscribers

    # ---- materialising

    @property
    def is_behind(self) -> bool:
        """Whether so much is not in the stored tables yet that no more should be applied."""
        return self._unmaterialised_messages >= UNMATERIALISED_MESSAGES_MAX

    def _note_changes(self) -> None:
        waiting = len(self.state.changes.messages)
        self._unmaterialised_messages += waiting - self._noted_messages
        self._noted_messages = waiting
        if self._materialising is None:
            if waiting >= MATERIALISE_MESSAGES:
                self._start_materialising()
            elif self._due is None:
                loop = asyncio.get_running_loop()
                self._due = loop.call_later(MATERIALISE_AFTER_S, self._start_materialising)

    _noted_messages = 0

    def _start_materialising(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None
        if self._materialising is None and self._failure is None:
            self._materialising = asyncio.ensure_future(self._materialise())

    async def _materialise(self) -> None:
        """Bring the stored tables up to the applied index."""
        try:
            state = self.state
            changes = state.take_changes()
            self._noted_messages = 0
            messages, index = len(changes.messages), self.applied_index
            flush = self._store.begin_flush(changes, index, state.digest, state.next_account_id, self.time_us)
            while True:
                try:
                    await self._state_thread.run(self._store.flush, flush)
                    break
                except DiskFull:
                    self._disk_full = True
                    async with self._materialised:
                        self._materialised.notify_all()
                    await asyncio.sleep(FULL_DISK_RETRY_S)
            self._disk_full = False
            self._store.finish_flush(flush)
            self._materialised_index = index
            self._unmaterialised_messages -= messages
        except Exception as error:
            self._failure = error
            self._on_failure(error)
        finally:
            self._materialising = None
            async with self._materialised:
                self._materialised.notify_all()

    async def materialised(self, log_index: int, *, patient: bool = False) -> None:
        """Wait until the stored tables have everything up to `log_index`, which is applied.

        Args:
            log_index: see there.
            patient: whether to wait for room on a full disk too.

        Raises:
            errors.DiskFull: there is no room on the disk.
            StorageError: they could not be written.
        """
        while self._materialised_index < log_index:
            if self._failure is not None:
                raise self._failure
            if self._disk_full and not patient:
                raise errors.DiskFull("the server's disk is full; what is new can't be read until there is room")
            self._start_materialising()
            async with self._materialised:
                await self._materialised.wait()

    async def room(self) -> None:
        """Wait until not too much waits to be materialised."""
        while self.is_behind and self._failure is None:
            async with self._materialised:
                await self._materialised.wait()

    async def close(self) -> None:
        """Materialise what is left, if there is room for it; the log has it too."""
        if self._due is not None:
            self._due.cancel()
        try:
            if self._failure is None:
                await self.materialised(self.applied_index)
        except errors.DiskFull:
            pass
        finally:
            if self._materialising is not None:
                self._materialising.cancel()
                await asyncio.wait((self._materialising,))

    # ---- reads

    async def read_inbox(self, account_id: int, after_inbox_seq: int, limit: int) -> list[Message]:
        """See `Engine.read_inbox`."""
        await self.materialised(self.applied_index, patient=True)
        return await self._read_thread.run(self._store.read_inbox, account_id, after_inbox_seq, limit)

    async def read_conversation(self, user: str, peer: str, limit: int, before: int) -> ConversationPage:
        """See `Engine.read_conversation`."""
        await self.materialised(self.applied_index)
        account = self.state.find(user)
        if account is None:
            raise Refusal(Reason.UNKNOWN_ACCOUNT, subject=user).error()
        found = await self._read_thread.run(self._store.find_account, name_key(peer))
        if found is None:
            raise Refusal(Reason.UNKNOWN_ACCOUNT, subject=peer).error()
        conversation = conversation_key(account.account_id, found.account_id)
        messages, has_older = await self._read_thread.run(self._store.read_conversation, conversation, before, limit)
        return ConversationPage(found.user, messages, has_older)

    async def list_accounts(self, pattern: str, limit: int, after_key: str) -> list[AccountInfo]:
        """See `Engine.list_accounts`."""
        await self.materialised(self.applied_index)
        whole = "*" in pattern or "?" in pattern
        rows = await self._read_thread.run(self._store.list_accounts, name_key(pattern), whole, after_key, limit)
        return [AccountInfo(row.user, row.key, row.created_us, self.is_online(row.account_id)) for row in rows]
