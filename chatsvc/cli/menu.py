"""What a line typed into a chat means: numbers with questions, and slash commands, side by side.

`Menu` knows nothing of terminals and servers: lines go in, actions come out.
"""

from collections.abc import Callable
from dataclasses import dataclass

CHOICES = "1 send, 2 list accounts, 3 delete account, 4 log out (or /help)"

HELP = """\
1  send a message           /send NAME TEXT
2  list accounts            /list [PATTERN]       part of a name, or with * and ? a whole one
3  delete this account      /delete
4  log out                  /logout               Ctrl-D does the same
   read a conversation      /history NAME [N]     its newest N messages, 20 if N is left out
   this help                /help
Ctrl-C clears the line, or goes back to the menu; twice in a row ends the program."""

HISTORY_MESSAGES = 20


@dataclass(frozen=True, slots=True)
class Send:
    """Send a message."""

    to: str
    text: str


@dataclass(frozen=True, slots=True)
class ListAccounts:
    """Show the accounts whose names match; an empty pattern means all."""

    pattern: str


@dataclass(frozen=True, slots=True)
class ShowHistory:
    """Show the newest messages of a conversation."""

    peer: str
    limit: int


@dataclass(frozen=True, slots=True)
class DeleteAccount:
    """Delete the account; it was confirmed."""


@dataclass(frozen=True, slots=True)
class LogOut:
    """End the session."""


@dataclass(frozen=True, slots=True)
class Say:
    """Nothing to do but to tell the person something."""

    text: str


Action = Send | ListAccounts | ShowHistory | DeleteAccount | LogOut | Say

_Answered = Callable[[str], Action | None]


class Menu:
    """The state of the dialogue: at the menu, or in the middle of a question.

    Attributes:
        question: what is asked now; empty at the menu.
    """

    def __init__(self) -> None:
        self.question = ""
        self._answered: _Answered = self._choose

    def take(self, line: str) -> Action | None:
        """What a line asks for; None if it led to a question."""
        answered = self._answered
        self.back()
        return answered(line)

    def back(self) -> None:
        """Leave the question, if there is one, for the menu."""
        self.question, self._answered = "", self._choose

    def _ask(self, question: str, answered: _Answered) -> Action | None:
        self.question, self._answered = question, answered
        return None

    # ---- the menu

    def _choose(self, line: str) -> Action | None:
        line = line.strip()
        if line.startswith("/"):
            return self._command(line)
        match line:
            case "1":
                return self._ask_recipient()
            case "2":
                return self._ask("Names that contain (Enter for all): ", self._list)
            case "3":
                return self._ask_deletion()
            case "4":
                return LogOut()
            case _:
                return Say(CHOICES)

    def _ask_recipient(self) -> Action | None:
        return self._ask("To: ", self._recipient)

    def _recipient(self, line: str) -> Action | None:
        to = line.strip()
        if to.startswith("/"):  # no name starts like that: somebody changed their mind
            return self._command(to)
        if not to:
            return Say("nothing sent")
        return self._ask_text(to)

    def _ask_text(self, to: str) -> Action | None:
        return self._ask("Text: ", lambda text: Send(to, text) if text else Say("nothing sent: the text is empty"))

    def _list(self, line: str) -> Action:
        return ListAccounts(line.strip())

    def _ask_deletion(self) -> Action | None:
        return self._ask("Delete this account and the messages that wait for it? (yes/no): ", self._delete)

    def _delete(self, line: str) -> Action:
        return DeleteAccount() if line.strip().casefold() in ("yes", "y") else Say("not deleted")

    # ---- slash commands

    def _command(self, line: str) -> Action | None:
        name, _, rest = line.partition(" ")
        rest = rest.strip()
        match name:
            case "/send":
                return self._send_command(rest)
            case "/list":
                return ListAccounts(rest)
            case "/history":
                return self._history_command(rest.split())
            case "/delete":
                return self._ask_deletion()
            case "/logout":
                return LogOut()
            case "/help":
                return Say(HELP)
            case _:
                return Say(f"there is no command {name}: /help lists them all")

    def _send_command(self, rest: str) -> Action | None:
        to, _, text = rest.partition(" ")
        if not to:
            return self._ask_recipient()
        if not text:
            return self._ask_text(to)
        return Send(to, text.strip())

    @staticmethod
    def _history_command(words: list[str]) -> Action:
        match words:
            case [peer]:
                return ShowHistory(peer, HISTORY_MESSAGES)
            case [peer, limit] if limit.isascii() and limit.isdigit() and int(limit[:9]) > 0:
                return ShowHistory(peer, int(limit[:9]))
            case _:
                return Say("/history NAME [N]: whose conversation with you, and how many messages of it")
