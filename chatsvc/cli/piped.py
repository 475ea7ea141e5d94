"""A chat without a terminal: lines from a pipe or file, plain lines out."""

import sys
import threading
from collections.abc import Callable
from queue import Full, Queue, SimpleQueue
from typing import TYPE_CHECKING

from chatsvc.cli.chat import Chat
from chatsvc.cli.failures import DONE, say
from chatsvc.cli.lines import read_lines
from chatsvc.cli.menu import CHOICES, LogOut, Menu
from chatsvc.cli.signals import Stopped

if TYPE_CHECKING:
    from chatsvc.cli.chat import LogIn

LINES_MAX = 1_000
"""Lines that are read ahead of what is done about them."""


def chat_through_pipes(log_in: "LogIn") -> int:
    """Do what the lines of stdin ask for, until they end or one of them ends the session.

    Returns:
        The exit status.
    """
    lines = Input()
    output = PlainOutput(lines.end)
    try:
        chat = Chat(log_in, output, patient=True)
        with chat.client:
            try:
                _converse(chat, lines)
            except (Stopped, BrokenPipeError):
                chat.leave()
                raise
    finally:
        output.flush()
    output.check()
    return DONE


def _converse(chat: Chat, lines: "Input") -> None:
    def ended(error: BaseException | None) -> None:
        if error is not None:
            lines.end(error)

    menu = Menu()
    chat.greet()
    chat.output.show(CHOICES)
    chat.receive(ended)
    while (line := lines.line()) is not None:
        try:
            action = menu.take(line.decode())
        except UnicodeDecodeError:
            chat.output.complain("a line that is not valid UTF-8 was left out")
            continue
        if action is not None and chat.perform(action):
            return
    chat.perform(LogOut())


class PlainOutput:
    """Plain lines on stdout, complaints on stderr, written in order by a thread of its own.

    Args:
        failed: called on that thread, once, when stdout takes no more.
    """

    def __init__(self, failed: Callable[[OSError], None]) -> None:
        self._failed = failed
        self._error: OSError | None = None
        self._waiting: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._thread = threading.Thread(target=self._write_forever, name="chatsvc output", daemon=True)
        self._thread.start()

    def show(self, text: str, shown: Callable[[], None] | None = None) -> None:
        """Write lines to stdout."""

        def write() -> None:
            print(text, flush=True)
            if shown is not None:
                shown()

        self._waiting.put(write)

    def complain(self, text: str) -> None:
        """Write one line to stderr."""
        self._waiting.put(lambda: say(text))

    def flush(self) -> None:
        """Wait until everything is out, or can't be."""
        out = threading.Event()
        self._waiting.put(out.set)
        while self._thread.is_alive() and not out.wait(0.1):
            pass

    def check(self) -> None:
        """Raise the error that kept anything from being written."""
        if self._error is not None:
            raise self._error

    def _write_forever(self) -> None:
        try:
            while True:
                self._waiting.get()()
        except OSError as error:
            self._error = error
            self._failed(error)


class Input:
    """Lines of stdin, read ahead by a thread of its own."""

    def __init__(self) -> None:
        self._events: Queue[bytes | BaseException | None] = Queue(LINES_MAX)
        self._over: BaseException | None = None
        threading.Thread(target=self._read, name="chatsvc input", daemon=True).start()

    def line(self) -> bytes | None:
        """The next line; None at the end of the input.

        Raises:
            what `end` was given, or what kept the input from being read.
        """
        event = self._events.get()
        if self._over is not None:
            raise self._over
        if isinstance(event, BaseException):
            raise event
        return event

    def end(self, error: BaseException) -> None:
        """From any thread, without waiting: a `line` that waits, or the next one, raises this error."""
        self._over = self._over or error
        try:
            self._events.put_nowait(None)
        except Full:
            pass  # then nobody waits for a line

    def _read(self) -> None:
        try:
            for line in read_lines(sys.stdin.fileno()):
                self._events.put(line)
            self._events.put(None)
        except BaseException as error:
            self._events.put(error)
