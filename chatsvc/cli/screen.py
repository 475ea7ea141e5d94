"""A terminal with a line being typed at the bottom and everything else above it.

What is shown comes from any thread at any moment. It never mixes with what is being typed: the line is taken away,
the text is written, and the line is drawn again below it. The terminal stays in raw mode all the while, so what
is typed in between is not echoed into the text.
"""

import asyncio
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext

from prompt_toolkit import PromptSession
from prompt_toolkit.application.run_in_terminal import in_terminal
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.formatted_text import FormattedText
from prompt_toolkit.input.vt100 import Vt100Input
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

from chatsvc.cli.render import harmless

COMMANDS = ("/send", "/list", "/history", "/delete", "/logout", "/help")


class _RawInput(Vt100Input):
    """Input that stays raw while text is written."""

    def cooked_mode(self) -> AbstractContextManager[None]:
        return nullcontext()


class Over(Exception):
    """Nothing more is read: the session ended while a line was being typed."""


class _Names(Completer):
    """Completes commands, and after `/send` and `/history` the names that have been seen."""

    def __init__(self, names: set[str], at_menu: Callable[[], bool]) -> None:
        self._names, self._at_menu = names, at_menu

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterator[Completion]:
        """What the word before the cursor may become."""
        before = document.text_before_cursor
        words = before.split(" ")
        candidates: Iterable[str]
        if not self._at_menu():
            candidates = sorted(self._names.copy()) if len(words) == 1 else ()
        elif len(words) == 1:
            candidates = COMMANDS if before.startswith("/") else ()
        elif len(words) == 2 and words[0] in ("/send", "/history"):
            candidates = sorted(self._names.copy())
        else:
            candidates = ()
        start = words[-1].casefold()
        for candidate in candidates:
            if candidate.casefold().startswith(start):
                yield Completion(candidate + " " if self._at_menu() else candidate, -len(words[-1]), candidate)


class Screen:
    """The terminal of this process.

    Args:
        prompt: stands before the line at the menu.
        status: what the bottom line says; asked each time it is drawn.
        names: that Tab completes; may be added to at any time.
    """

    def __init__(self, prompt: str, status: Callable[[], str], names: set[str]) -> None:
        self._prompt, self._status = prompt, status
        self._question = ""
        self._over = False
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[tuple[str, Callable[[], None] | None]] = deque()
        self._wake = asyncio.Event()
        self._input = _RawInput(sys.stdin)
        self._session: PromptSession[str] = PromptSession(
            input=self._input,
            key_bindings=self._key_bindings(),
            bottom_toolbar=self._toolbar,
            completer=_Names(names, lambda: not self._question),
            complete_while_typing=False,
        )

    # ---- showing, from any thread

    def show(self, text: str, shown: Callable[[], None] | None = None) -> None:
        """Write lines above the one being typed, in the order of the calls.

        Args:
            text: without the last line break.
            shown: called on the screen's thread when the terminal has it; not called if it could not be written.
        """
        self._waiting.append((text, shown))
        self._from_any_thread(self._wake.set)

    def complain(self, text: str) -> None:
        """Write one line about what was refused."""
        self.show(f"! {harmless(text)}")

    def flush(self) -> None:
        """Nothing: `open` writes what is left at its end."""

    def end(self) -> None:
        """Read nothing more: a `read` that waits, and every later one, raises `Over`."""
        self._from_any_thread(self._end)

    def _from_any_thread(self, call: Callable[[], object]) -> None:
        try:
            self._loop.call_soon_threadsafe(call)
        except RuntimeError:
            pass  # the loop is closed: there is no screen any more

    def _end(self) -> None:
        self._over = True
        app = self._session.app
        if app.is_running and not app.is_done:
            app.erase_when_done = not self._session.default_buffer.text  # what was typed stays in sight
            app.exit(exception=Over())

    # ---- the screen's own thread

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Show what there is to be shown, until the end of the block; then all that is left."""
        with self._input.raw_mode():
            writer = asyncio.create_task(self._write_forever())
            try:
                yield
            finally:
                writer.cancel()
                await asyncio.wait([writer])
                self._write_waiting()

    async def read(self, question: str) -> str:
        """A line that was typed.

        Args:
            question: stands before the line; empty: the prompt of the menu.

        Raises:
            KeyboardInterrupt: Ctrl-C with nothing on the line.
            EOFError: Ctrl-D, or the terminal is gone.
            Over: see `end`.
        """
        if self._over:
            raise Over
        self._question = question
        return await self._session.prompt_async(question or self._prompt)

    async def _write_forever(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self._waiting:
                async with in_terminal():
                    self._write_waiting()

    def _write_waiting(self) -> None:
        waiting = [self._waiting.popleft() for _ in range(len(self._waiting))]
        if not waiting:
            return
        sys.stdout.write("".join(f"{text}\n" for text, _ in waiting))
        sys.stdout.flush()
        for _, shown in waiting:
            if shown is not None:
                shown()

    def _toolbar(self) -> FormattedText:
        return FormattedText([("", f" {self._status()}")])

    @staticmethod
    def _key_bindings() -> KeyBindings:
        bindings = KeyBindings()

        @bindings.add("c-c")
        @bindings.add("<sigint>")
        def _clear_or_interrupt(event: KeyPressEvent) -> None:
            if event.current_buffer.text:
                event.current_buffer.reset()
            elif not event.app.is_done:
                event.app.exit(exception=KeyboardInterrupt(), style="class:aborting")

        return bindings
