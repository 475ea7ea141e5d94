"""The program as people run it: real processes, pipes and terminals, against a real server."""

import fcntl
import itertools
import os
import pty
import select
import shlex
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import grpc
import pyte
import pytest

from chatsvc.v1 import chat_pb2 as pb
from chatsvc.v1.chat_pb2_grpc import ChatStub

DEADLINE_S = 30.0
LOGOUT = pb.Operation(logout=pb.Logout())
PROGRAM = (sys.executable, "-c", "import sys; from chatsvc.cli import main; sys.exit(main())")
PROGRAM_IN_TERMINAL = (
    sys.executable,
    "-c",
    "import sys, fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); from chatsvc.cli import main; sys.exit(main())",
)
COLUMNS, ROWS = 100, 30


def environment(**changes: str | None) -> dict[str, str]:
    """The environment of this process without anything of chatsvc's, with changes; None takes a variable away."""
    found = {name: value for name, value in os.environ.items() if not name.startswith("CHATSVC_")}
    found |= {"PYTHONUNBUFFERED": "", "TERM": "xterm-256color", "TZ": "UTC"}
    for name, value in changes.items():
        if value is None:
            found.pop(name, None)
        else:
            found[name] = value
    return found


class Process:
    """A command at work, with pipes to it."""

    def __init__(self, arguments: tuple[str, ...], env: dict[str, str], **settings: object) -> None:
        streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | settings
        self.popen = subprocess.Popen([*PROGRAM, *arguments], env=env, **streams)  # type: ignore[call-overload]

    @property
    def stdin(self) -> IO[bytes]:
        """Its standard input; nothing is buffered."""
        return self.popen.stdin  # type: ignore[no-any-return]

    def write(self, data: bytes) -> None:
        """Give it input."""
        self.stdin.write(data)
        self.stdin.flush()

    def line(self) -> str:
        """The next line of its output; fails at the end of it."""
        line: bytes = self.popen.stdout.readline()
        assert line, f"the output ended: {self.popen.stderr.read().decode()}"
        return line.decode().rstrip("\n")

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Send it a signal."""
        self.popen.send_signal(number)

    def end(self, data: bytes = b"", deadline_s: float = DEADLINE_S) -> tuple[int, str, str]:
        """Give it the rest of its input and wait for its end: exit status, rest of its output, its errors."""
        output, errors = self.popen.communicate(data or None, timeout=deadline_s)
        return self.popen.returncode, (output or b"").decode(), (errors or b"").decode()

    def kill(self) -> None:
        """Make sure that it is gone."""
        if self.popen.poll() is None:
            self.popen.kill()
            self.popen.wait()
        for stream in (self.popen.stdin, self.popen.stdout, self.popen.stderr):
            if stream is not None:
                try:
                    stream.close()
                except BrokenPipeError:
                    pass


class Result:
    """How a command ended."""

    def __init__(self, status: int, output: str, errors: str) -> None:
        self.status, self.output, self.errors = status, output, errors

    @property
    def lines(self) -> list[str]:
        """Lines of its output."""
        return self.output.splitlines()

    @property
    def error_lines(self) -> list[str]:
        """Lines of its stderr."""
        return self.errors.splitlines()

    def __repr__(self) -> str:
        return f"Result(status={self.status}, output={self.output!r}, errors={self.errors!r})"


class Terminal:
    """A command in a terminal of its own: keys go in, a screen comes out."""

    def __init__(self, arguments: tuple[str, ...], env: dict[str, str]) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        # Not with pexpect, which forks: with gRPC's threads in this process only a plain exec is safe.
        self.popen = subprocess.Popen(
            [*PROGRAM_IN_TERMINAL, *arguments], env=env, stdin=slave, stdout=slave, stderr=slave, start_new_session=True
        )
        os.close(slave)
        self._screen = pyte.HistoryScreen(COLUMNS, ROWS, history=100_000)
        self._screen.write_process_input = self.type
        self._stream = pyte.ByteStream(self._screen)

    @property
    def text(self) -> str:
        """What the screen shows, with what has scrolled off above it; no blanks at the ends of lines."""
        scrolled = [
            "".join(line[column].data for column in range(COLUMNS)).rstrip() for line in self._screen.history.top
        ]
        return "\n".join([*scrolled, *(line.rstrip() for line in self._screen.display)]).rstrip()

    @property
    def typed(self) -> str:
        """The line with the cursor, up to the cursor."""
        cursor = self._screen.cursor
        return str(self._screen.display[cursor.y][: cursor.x])

    def type(self, keys: str) -> None:
        """Press keys."""
        os.write(self._master, keys.encode())

    def enter(self, line: str) -> None:
        """Type a line and press Enter."""
        self.type(line + "\r")

    def wait(self, *texts: str) -> str:
        """Wait until the screen has all these texts; what it shows then."""
        return self.wait_until(lambda: all(text in self.text for text in texts), f"{texts}")

    def wait_typed(self, text: str) -> None:
        """Wait until the line with the cursor is this."""
        self.wait_until(lambda: self.typed.rstrip() == text.rstrip(), f"a cursor behind {text!r}")

    def wait_until(self, reached: Callable[[], bool], what: str) -> str:
        """Take what the command shows until something is reached."""
        while not reached():
            assert self._take_output(), f"waited for {what}, the command ended at:\n{self.text}"
        return self.text

    def end(self) -> int:
        """Wait for the end of the command; its exit status."""
        while self._take_output():
            pass
        return self.popen.wait(DEADLINE_S)

    def _take_output(self) -> bool:
        """Wait for output and show it; False at its end."""
        readable, _, _ = select.select([self._master], [], [], DEADLINE_S)
        assert readable, f"nothing happens any more at:\n{self.text}"
        try:
            data = os.read(self._master, 65_536)
        except OSError:  # how Linux says that no process has the terminal any more
            return False
        self._stream.feed(data)
        return bool(data)

    def kill(self) -> None:
        """Make sure that it is gone."""
        self.popen.kill()
        self.popen.wait()
        os.close(self._master)


class Commands:
    """Runs commands, and ends at the end of the test what is still at work."""

    def __init__(self, **env: str) -> None:
        self._env = environment(**env)
        self._started: list[Process | Terminal] = []

    def start(self, *arguments: str, env: dict[str, str] | None = None, **settings: object) -> Process:
        """Start a command with pipes to it."""
        process = Process(arguments, self._env | (env or {}), **settings)
        self._started.append(process)
        return process

    def run(
        self, *arguments: str, data: bytes = b"", env: dict[str, str] | None = None, deadline_s: float = DEADLINE_S
    ) -> Result:
        """Run a command to its end."""
        return Result(*self.start(*arguments, env=env).end(data, deadline_s))

    def shell(self, script: str) -> Result:
        """Run a bash script to its end, in which `chatsvc` is the program."""
        function = f'chatsvc() {{ {shlex.join(PROGRAM)} "$@"; }}\n'
        done = subprocess.run(
            ["bash", "-c", function + script], env=self._env, capture_output=True, timeout=DEADLINE_S, check=False
        )
        return Result(done.returncode, done.stdout.decode(), done.stderr.decode())

    def terminal(self, *arguments: str, env: dict[str, str] | None = None) -> Terminal:
        """Start a command in a terminal."""
        terminal = Terminal(arguments, self._env | (env or {}))
        self._started.append(terminal)
        return terminal

    def clean_up(self) -> None:
        """End what was started."""
        while self._started:
            self._started.pop().kill()


class Cluster(Commands):
    """A server, and commands that find it by their environment."""

    def __init__(self, address: str, server: Process, data_dir: Path) -> None:
        super().__init__(CHATSVC_SERVERS=address, CHATSVC_GIVE_UP="10")
        self.address, self.server, self.data_dir = address, server, data_dir
        self._names = itertools.count(1)
        options = (("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1))
        self._channel = grpc.insecure_channel(address, options=options)
        self._chat = ChatStub(self._channel)

    def restart(self) -> None:
        """Start the server again on its port, when it has ended."""
        self.server.kill()
        _, self.server = serve(self.data_dir, self.address)

    def name(self, stem: str) -> str:
        """A name that no other test has."""
        return f"{stem}{next(self._names)}"

    # What a test needs beside the command that it is about costs no process.

    def make(self, *users: str) -> None:
        """Make accounts that are away, with nothing waiting."""
        for user in users:
            self._session(user)

    def say(self, user: str, to: str, *texts: str) -> None:
        """Send messages; the sender becomes an account."""
        for first in range(0, len(texts), 1_000):
            self._session(
                user, *(pb.Operation(send=pb.Send(to=to, text=text)) for text in texts[first : first + 1_000])
            )

    def waiting(self, user: str) -> int:
        """How many messages wait for a user."""
        welcome = self._session(user)
        return int(welcome.last_inbox_seq - welcome.acknowledged_inbox_seq)

    def _session(self, user: str, *operations: pb.Operation) -> pb.Welcome:
        login = pb.Operation(login=pb.Login(user=user, send_only=True))
        frames = [pb.SessionRequest(operations=group) for group in ([login], operations, [LOGOUT])]
        events = [event for frame in self._chat.Session(iter(frames), timeout=DEADLINE_S) for event in frame.events]
        assert not any(event.HasField("error") for event in events), events
        assert (events[0].WhichOneof("kind"), events[-1].WhichOneof("kind")) == ("welcome", "logged_out")
        return events[0].welcome

    def texts(self, user: str, peer: str) -> list[str]:
        """The texts of a conversation."""
        texts: list[str] = []
        page = pb.GetHistoryResponse(has_older=True)
        while page.has_older:
            before = page.messages[0].conversation_seq if page.messages else 0
            page = self._chat.GetHistory(pb.GetHistoryRequest(user=user, peer=peer, limit=1_000, before=before))
            texts = [message.text for message in page.messages] + texts
        return texts

    def online(self, user: str) -> bool | None:
        """Whether a user is online; None if there is no such account."""
        page = self._chat.ListAccounts(pb.ListAccountsRequest(pattern=f"{user}*"))
        return next((account.online for account in page.accounts if account.name == user), None)

    def delete(self, user: str) -> None:
        """Delete an account."""
        self._chat.DeleteAccount(pb.DeleteAccountRequest(user=user))

    def close(self) -> None:
        """End the server and let go of it."""
        self.clean_up()
        self._channel.close()
        self.server.kill()


def serve(data_dir: Path, listen: str = "127.0.0.1:0") -> tuple[str, Process]:
    """Start a server process and wait until it serves; its address."""
    arguments = ("serve", "--primary", "--listen", listen, "--data-dir", str(data_dir))
    server = Process(arguments, environment())
    said = server.line()
    assert said.startswith("serving on "), said
    return said.removeprefix("serving on ").partition(",")[0], server


def start_cluster(data_dir: Path) -> Cluster:
    """Start a server on a free port."""
    return Cluster(*serve(data_dir), data_dir)


@pytest.fixture(scope="session")
def _shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = start_cluster(tmp_path_factory.mktemp("server"))
    yield cluster
    cluster.close()


@pytest.fixture
def cluster(_shared: Cluster) -> Iterator[Cluster]:
    """A server that all tests share: each takes names of its own."""
    yield _shared
    _shared.clean_up()


@pytest.fixture
def own_cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A server of this test's own, to be stopped by it."""
    cluster = start_cluster(tmp_path / "data")
    yield cluster
    cluster.close()


@pytest.fixture
def commands() -> Iterator[Commands]:
    """Commands that know of no server."""
    commands = Commands()
    yield commands
    commands.clean_up()
