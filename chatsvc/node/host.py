"""Drives the replication core: brings it events, and does what it asks.

Everything runs on the event loop; the log's thread saves, sockets are the links' and the probes' business. One
*turn* steps the core with all events that have come, then carries out what it is ready for. Turns never wait.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import Callable

from chatsvc import failpoints
from chatsvc.node.links import Links
from chatsvc.node.probes import Probes
from chatsvc.replication import Entry, HardState, Identity, LogView, Settings, Status
from chatsvc.replication.events import (
    Event,
    Leave,
    Note,
    NoteKind,
    Read,
    ReadDone,
    Ready,
    Save,
    Saved,
    SaveFailed,
    Tick,
)
from chatsvc.replication.replica import Replica
from chatsvc.storage import DiskFull, LogStore, StorageThread

FULL_DISK_RETRY_S = 0.5
"""How often a save is tried again while the disk is full."""

log = logging.getLogger(__name__)

_QUIET_NOTES = frozenset({NoteKind.SURVEYS})


def now_ms() -> int:
    """The core's clock: milliseconds, never back, running on during suspend."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


class Host:
    """One replica at work.

    Args:
        identity, hard_state, view, settings: of the replica.
        store: its log.
        log_thread: the only thread that writes the log.
        read_thread: for entries that a slow follower needs from the disk.
        on_turn: called at the end of each turn with what the replica is ready for; what concerns links, probes and
            the log is under way by then.
        on_failure: called once when the disk can't be trusted any more.
    """

    def __init__(
        self,
        identity: Identity,
        hard_state: HardState,
        view: LogView,
        settings: Settings,
        store: LogStore,
        log_thread: StorageThread,
        read_thread: StorageThread,
        on_turn: Callable[[Ready], None],
        on_failure: Callable[[Exception], None],
    ) -> None:
        self.replica = Replica(identity, hard_state, view, settings, secrets.randbelow, now_ms())
        self.links = Links(self.replica.answer_probe, self.post)
        self._probes = Probes(self.post, settings.timers.rpc)
        self._store, self._log_thread, self._read_thread = store, log_thread, read_thread
        self._on_turn, self._on_failure = on_turn, on_failure
        self._events: list[Event] = []
        self._turn_due = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0  # ms
        self._problem = ""  # that was logged
        self._said: tuple[NoteKind, str] | None = None
        self._saves: list[Save] = []  # that wait for the one under way
        self._saving: list[Save] = []  # under way, as one transaction
        self._disk_full = False
        self._closed = False

    # ---- events

    def start(self) -> None:
        """Begin; the listener is open."""
        self.post(Tick())

    def post(self, event: Event) -> None:
        """Have the core take an event soon, in the order of the calls."""
        self._events.append(event)
        if not self._turn_due:
            self._turn_due = True
            asyncio.get_running_loop().call_soon(self._turn)

    @property
    def is_saving(self) -> bool:
        """Whether something is on its way to the disk, which has room."""
        return bool(self._saving or self._saves) and not self._disk_full

    @property
    def durable_index(self) -> int:
        """Up to which entry the log is on this disk."""
        return self.replica.saving.durable_index

    def status(self) -> Status:
        """What the replica knows at this moment."""
        return self.replica.status()

    def _turn(self) -> None:
        self._turn_due = False
        if self._closed:
            return
        if failpoints.ON:
            failpoints.reach("turn")
        replica = self.replica
        events, self._events = self._events or [Tick()], []
        now = now_ms()
        try:
            for event in events:
                replica.step(event, now)
            ready = replica.take_ready()
        except Exception as error:
            # A broken rule: what this replica believes can't be trusted any more.
            self._closed = True
            log.exception("the replica failed")
            self._on_failure(error)
            return
        if failpoints.ON and ready.envelopes:
            failpoints.reach("send_before")
        self.links.send(ready.envelopes)
        if failpoints.ON and ready.envelopes:
            failpoints.reach("send_after")
        if ready.save is not None:
            self._saves.append(ready.save)
            self._save_waiting()
        if ready.probes:
            self._probes.start(ready.probes)
        for read in ready.reads:
            self._read(read)
        for note in ready.notes:
            self._log(note)
        self._on_turn(ready)
        self._wake_by(ready.wake_at)

    def _log(self, note: Note) -> None:
        if note.kind == NoteKind.PROBLEM:
            if note.text and note.text != self._problem:  # once, not at every attempt
                log.error("%s", note.text)
            self._problem = note.text
            return
        said = (note.kind, note.text)
        quiet = note.kind in _QUIET_NOTES or said == self._said  # a full disk says the same at every attempt
        self._said = said
        log.log(logging.DEBUG if quiet else logging.INFO, "%s: %s", note.kind, note.text)

    def _wake_by(self, wake_at: int) -> None:
        """Have a turn at that time; one that is already set for an earlier time will do, and sets the next one."""
        if self._timer is not None:
            if self._timer_at <= wake_at:
                return
            self._timer.cancel()
        self._timer_at = wake_at
        delay_s = max(0, wake_at - now_ms()) / 1_000
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self.post(Tick())

    # ---- disk

    def _save_waiting(self) -> None:
        """Begin the next transaction: everything that came while the last one ran."""
        if self._saving or not self._saves or self._closed:
            return
        self._saving, self._saves = self._saves, []
        operations = [operation for save in self._saving for operation in save.operations]
        self._log_thread.submit(self._store.carry_out, operations).add_done_callback(self._saved)

    def _saved(self, done: "asyncio.Future[None]") -> None:
        if failpoints.ON:
            failpoints.reach("saved")
        error = done.exception()
        if error is None:
            last = self._saving[-1]
            self._saving, self._disk_full = [], False
            self._save_waiting()
            self.post(Saved(last.save_id))
        elif isinstance(error, DiskFull):
            if not self._disk_full:
                self._disk_full = True
                log.error("%s", error)
            self.post(SaveFailed(self._saving[0].save_id, full=True))
            self._saves, self._saving = self._saving + self._saves, []
            asyncio.get_running_loop().call_later(FULL_DISK_RETRY_S, self._save_waiting)
        elif not self._closed:
            self.post(SaveFailed(self._saving[0].save_id))
            assert isinstance(error, Exception)
            self._on_failure(error)

    def _read(self, read: Read) -> None:
        future = self._read_thread.submit(self._store.read, read.first_index, read.end_index, read.bytes_max)

        def done(read_entries: "asyncio.Future[list[Entry]]") -> None:
            error = read_entries.exception()
            if error is None:
                self.post(ReadDone(read, tuple(read_entries.result())))
            elif not self._closed:
                assert isinstance(error, Exception)
                self._on_failure(error)

        future.add_done_callback(done)

    # ---- stop

    async def close(self, timeout_s: float) -> None:
        """Give up every role, tell the others, end all links. The port is closed after this."""
        self.post(Leave())
        await asyncio.sleep(0)
        await self.links.flush(timeout_s)
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        await self.links.close()
        await self._probes.close()
