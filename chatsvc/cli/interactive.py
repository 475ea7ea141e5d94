"""A chat in a terminal."""

import asyncio
import signal
import threading
from collections.abc import Callable
from enum import Enum, auto
from functools import partial
from typing import TYPE_CHECKING

from chatsvc.cli.chat import Chat
from chatsvc.cli.failures import DONE, INTERRUPTED
from chatsvc.cli.menu import CHOICES, Action, DeleteAccount, ListAccounts, LogOut, Menu, ShowHistory
from chatsvc.cli.piped import PlainOutput
from chatsvc.cli.render import harmless
from chatsvc.cli.screen import Over, Screen
from chatsvc.cli.signals import Stopped, stop_on_signals

if TYPE_CHECKING:
    from chatsvc.cli.chat import LogIn


def chat_on_screen(log_in: "LogIn") -> int:
    """Chat with the person at this terminal.

    Returns:
        The exit status.
    """
    names: set[str] = set()
    plain = PlainOutput(lambda error: None)
    plain.show("connecting …")
    chat = Chat(log_in, plain, names=names)
    plain.flush()
    with chat.client:
        try:
            try:
                ending = asyncio.run(_converse(chat, names))
            finally:
                chat.output = plain
                stop_on_signals()
            if ending is not Ending.DELETED:
                # The screen is closed by now, so Ctrl-C ends the program however long the answer takes.
                chat.perform(LogOut())
        except Stopped:
            chat.leave()
            raise
        finally:
            plain.flush()
    return INTERRUPTED if ending is Ending.INTERRUPTED else DONE


class Ending(Enum):
    """How a conversation came to its end."""

    LOG_OUT = auto()
    """The person wants to log out."""
    INTERRUPTED = auto()
    """The same, by Ctrl-C."""
    DELETED = auto()
    """The account is gone, and the session with it."""


async def _converse(chat: Chat, names: set[str]) -> Ending:
    """Talk until the person wants to leave.

    Raises:
        SessionEnded: the session ended by itself.
        Stopped: on a signal.
    """
    screen = Screen(f"{harmless(chat.client.user)}> ", chat.status, names)
    ends: list[BaseException] = []

    def end(error: BaseException | None) -> None:
        if error is not None:
            ends.append(error)
            screen.end()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, partial(end, Stopped(number)))
    async with screen.open():
        chat.output = screen
        chat.greet()
        screen.show(CHOICES)
        chat.receive(end)
        try:
            return await _dialogue(chat, screen)
        except Over:
            if not ends:
                return Ending.DELETED
            raise ends[0] from None


async def _dialogue(chat: Chat, screen: Screen) -> Ending:
    menu = Menu()
    interrupted = False
    while True:
        try:
            line = await screen.read(menu.question)
        except EOFError:
            return Ending.LOG_OUT
        except KeyboardInterrupt:
            if menu.question:
                menu.back()
            elif interrupted:
                return Ending.INTERRUPTED
            else:
                interrupted = True
                screen.show("Ctrl-C once more ends the program")
            continue
        interrupted = False
        action = menu.take(line)
        match action:
            case None:
                pass
            case LogOut():
                return Ending.LOG_OUT
            case ListAccounts() | ShowHistory() | DeleteAccount():
                arguments = (chat, action, screen.end)
                threading.Thread(target=_perform, args=arguments, name="chatsvc question", daemon=True).start()
            case _:
                chat.perform(action)


def _perform(chat: Chat, action: Action, over: Callable[[], None]) -> None:
    """Do what takes until there is an answer, while the person goes on typing."""
    from chatsvc.client import SessionEnded

    try:
        if chat.perform(action):
            over()
    except SessionEnded:
        pass  # the inbox tells the person
