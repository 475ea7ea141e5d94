"""What is done about an action in a chat, and what the person is told about it."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Protocol

from chatsvc.cli.menu import Action, DeleteAccount, ListAccounts, LogOut, Say, Send, ShowHistory
from chatsvc.cli.render import account_line, counted, harmless, history_lines, message_line
from chatsvc.cli.sessions import leave, send_when_there_is_room

if TYPE_CHECKING:
    from chatsvc.client import Client, Message, Receipt, State

    LogIn = Callable[..., Client]
    """Makes a client; takes `on_state`."""


class Output(Protocol):
    """Where a chat is shown. The methods may be called from any thread, and only `flush` waits."""

    def show(self, text: str, shown: Callable[[], None] | None = None) -> None:
        """Show lines; call `shown` once they are out."""

    def complain(self, text: str) -> None:
        """Show one line about what was refused."""

    def flush(self) -> None:
        """Wait until everything is out, or can't be."""


class Chat:
    """A person's session. Logs in when it is made.

    Args:
        log_in: see there.
        output: where everything is shown.
        names: gets every name that is seen.
        patient: whether a send waits when too many others do; otherwise it is refused.

    Attributes:
        client: logged in.
        output: may be replaced by another one.
    """

    def __init__(
        self, log_in: "LogIn", output: Output, *, names: set[str] | None = None, patient: bool = False
    ) -> None:
        self.output = output
        self._names = set() if names is None else names
        self._patient = patient
        self._connected, self._leaving = True, False
        self._inbox = threading.Lock()  # held while a message is shown, and when no more shall be
        self._answered = threading.Condition()
        self._unanswered = 0
        self.client: Client = log_in(on_state=self._state_changed)

    def greet(self) -> None:
        """Say who is logged in, where, and what has waited."""
        client = self.client
        what = "a new account" if client.created else f"{counted(client.waiting, 'message')} waited for you"
        self.output.show(f"logged in as {harmless(client.user)} at {client.server}, {what}")

    def status(self) -> str:
        """Who is connected to what, and what has no answer yet."""
        user, server = harmless(self.client.user), harmless(self.client.server)
        parts = [user, f"connected to {server}" if self._connected else "reconnecting"]
        if self._unanswered:
            parts.append(f"{counted(self._unanswered, 'message')} without an answer")
        return ", ".join(parts)

    def receive(self, ended: Callable[[BaseException | None], None]) -> None:
        """Start a thread that shows each message, and acknowledges it once it is out.

        Args:
            ended: called on that thread when the session is over; with an error, unless that was wished for.
        """

        def show_all() -> None:
            try:
                for message in self.client.messages(acknowledge=False):
                    self._names.add(message.sender)
                    self._show_message(message)
            except BaseException as error:
                ended(error)
            else:
                ended(None)

        threading.Thread(target=show_all, name="chatsvc inbox", daemon=True).start()

    def perform(self, action: Action) -> bool:
        """Do what was asked for. A refusal is shown, and the chat goes on.

        Sending does not wait, unless it is patient. The others do, at most until the client gives up.

        Returns:
            Whether the session is over.

        Raises:
            SessionEnded: the session is over in another way.
        """
        from chatsvc.client import QueueFull, SessionEnded
        from chatsvc.domain.errors import ChatError

        try:
            match action:
                case Say(text):
                    self.output.show(text)
                case Send(to, text):
                    self._send(to, text)
                case ListAccounts(pattern):
                    self._list(pattern)
                case ShowHistory(peer, limit):
                    self._show_history(peer, limit)
                case DeleteAccount():
                    self.client.delete_account()
                    self.output.show(f"account {harmless(self.client.user)} is deleted")
                    return True
                case LogOut():
                    self._settle()
                    self.stop_showing()
                    self.client.logout()
                    self.output.show("logged out")
                    return True
        except SessionEnded:
            raise
        except (ChatError, QueueFull) as refusal:
            self.output.complain(str(refusal))
        return False

    def leave(self) -> None:
        """Log out as far as that can be done at once."""
        self.stop_showing()
        leave(self.client)

    # ---- receiving

    def stop_showing(self) -> None:
        """Show no more messages, and wait until those that were are acknowledged.

        One that is shown after the log out would not be acknowledged any more, and come again.
        """
        with self._inbox:
            self._leaving = True
        self.output.flush()

    def _show_message(self, message: "Message") -> None:
        with self._inbox:
            if not self._leaving:
                self.output.show(message_line(message), lambda: self.client.acknowledge(message))

    def _state_changed(self, state: "State", detail: str) -> None:
        from chatsvc.client import State

        if state is State.RECONNECTING and self._connected:
            self._connected = False
            self.output.show("connection lost, reconnecting; what you send waits meanwhile")
        elif state is State.CONNECTED and not self._connected:
            self._connected = True
            self.output.show(f"connected again, to {harmless(detail)}")

    # ---- sending

    def _send(self, to: str, text: str) -> None:
        future = send_when_there_is_room(self.client, to, text) if self._patient else self.client.send_nowait(to, text)
        with self._answered:
            self._unanswered += 1
        future.add_done_callback(lambda done: self._sent(to, done))

    def _sent(self, to: str, future: "Future[Receipt]") -> None:
        from chatsvc.client import SessionEnded

        with self._answered:
            self._unanswered -= 1
            self._answered.notify_all()
        error = future.exception()
        if isinstance(error, SessionEnded):
            self.output.complain(f"it is not known whether this was sent to {harmless(to)}")
        elif error is not None:
            self.output.complain(f"not sent: {error}")
        elif future.result().recipient_online:
            self.output.show(f"sent to {harmless(to)}")
        else:
            self.output.show(f"{harmless(to)} is offline, will be delivered")

    def _settle(self) -> None:
        """Wait until everything sent has its answer."""
        with self._answered:
            self._answered.wait_for(lambda: self._unanswered == 0)

    # ---- asking

    def _list(self, pattern: str) -> None:
        accounts = list(self.client.accounts(pattern))
        self._names.update(account.name for account in accounts)
        lines = [account_line(account.name, account.online) for account in accounts]
        self.output.show("\n".join(lines) or f"no account matches {harmless(pattern)}")

    def _show_history(self, peer: str, limit: int) -> None:
        lines = history_lines(self.client.history(peer, limit))
        self.output.show("\n".join(lines) or f"no messages with {harmless(peer)} yet")
