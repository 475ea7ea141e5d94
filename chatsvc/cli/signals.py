"""A clean end on SIGINT, SIGTERM and SIGHUP: never between showing a message and acknowledging it."""

import errno
import os
import select
import signal
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Self

WATCH_MS = 100
"""How often the watch of a reader looks whether it is still needed."""

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_NUDGE = signal.SIGURG
_NUDGE_AFTER_S = (0.05, 0.2, 1.0)
_nudges: int | None = None
"""Pipe to the thread that nudges; None before there is one."""


class Stopped(BaseException):
    """The process was told to stop by a signal.

    Attributes:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def _stop(number: int, frame: FrameType | None) -> None:
    raise Stopped(number)


def stop_on_signals() -> None:
    """From now on, SIGINT, SIGTERM and SIGHUP raise `Stopped` in the main thread, also while it waits for a lock.

    To be called again after an asyncio loop has run in the main thread: such a loop takes signals for itself and does
    not give them back. A signal that is ignored stays ignored: `nohup` and background jobs mean it.
    """
    global _nudges
    for number in STOPPING:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _stop)
    signal.signal(_NUDGE, lambda number, frame: None)
    if _nudges is None:
        reading, _nudges = os.pipe()
        os.set_blocking(_nudges, False)
        arguments = (reading, threading.get_ident())
        threading.Thread(target=_nudge_forever, args=arguments, name="chatsvc signals", daemon=True).start()
    signal.set_wakeup_fd(_nudges, warn_on_full_buffer=False)


def _nudge_forever(reading: int, main_thread: int) -> None:
    """Interrupt the main thread's wait after a signal.

    Python notes a signal at once, but handles it in the main thread only when that next looks. If the signal came
    after the last look and before the wait for a lock began, that is never. Another signal ends the wait.
    """
    while True:
        if any(number in STOPPING for number in os.read(reading, 64)):
            for delay_s in _NUDGE_AFTER_S:
                time.sleep(delay_s)
                signal.pthread_kill(main_thread, _NUDGE)


@contextmanager
def postponed(output_fd: int | None) -> Iterator[None]:
    """The first stopping signal takes effect at the end of the block; a second one at once.

    Args:
        output_fd: to which the block writes. When the block waits for a reader there, the first signal takes effect
            at once, too: what waits may wait for ever.
    """
    pending: list[int] = []

    def later(number: int, frame: FrameType | None) -> None:
        if pending or not _writable(output_fd):
            _stop(number, frame)
        pending.append(number)

    previous = {
        number: signal.signal(number, later) for number in STOPPING if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    if pending:
        signal.raise_signal(pending[0])


def _writable(output_fd: int | None) -> bool:
    if output_fd is None:
        return True
    poll = select.poll()
    poll.register(output_fd, select.POLLOUT)
    return bool(poll.poll(0))


class ReaderWatch:
    """Notices that nobody reads the output any more, while there is nothing to write.

    Only pipes and sockets can tell. As a context manager it watches for the length of the block.

    Args:
        output_fd: where the output goes.
    """

    def __init__(self, output_fd: int) -> None:
        self._output_fd = output_fd
        self._main_thread = threading.get_ident()
        self._over = threading.Event()
        self._waiting = self._gone = False
        self._watcher = threading.Thread(target=self._watch, name="chatsvc output watch", daemon=True)
        self._previous: Any = None

    def __enter__(self) -> Self:
        self._previous = signal.signal(signal.SIGPIPE, self._reader_left)
        mode = os.fstat(self._output_fd).st_mode
        if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode):
            self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._watcher.ident is not None:
            self._watcher.join()
        signal.signal(signal.SIGPIPE, self._previous)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """In the block, BrokenPipeError is raised as soon as the reader has left."""
        self._waiting = True
        try:
            if self._gone:
                raise _broken_pipe()
            yield
        finally:
            self._waiting = False

    def _reader_left(self, number: int, frame: FrameType | None) -> None:
        self._gone = True
        if self._waiting:
            raise _broken_pipe()

    def _watch(self) -> None:
        poll = select.poll()
        poll.register(self._output_fd, 0)
        while not self._over.is_set():
            if poll.poll(WATCH_MS):
                signal.pthread_kill(self._main_thread, signal.SIGPIPE)
                return


def _broken_pipe() -> BrokenPipeError:
    return BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
