"""`chatsvc serve`."""

import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from chatsvc.cli.serve import default_data_dir

if TYPE_CHECKING:
    from tests.cli.conftest import Cluster, Commands


def test_it_says_how_to_connect(commands: "Commands", tmp_path: Path) -> None:
    server = commands.start("serve", "--primary", "--listen", "127.0.0.1:0", "--data-dir", str(tmp_path / "data"))
    first = server.line()
    assert first.startswith("serving on 127.0.0.1:")
    address = first.removeprefix("serving on ").partition(",")[0]
    said = [server.line() for _ in range(3)]
    assert said[0].startswith("primary")
    assert said[1].endswith(f"chatsvc connect --user alice --server {address}")
    assert said[2] == "stop with Ctrl-C"
    server.stop(signal.SIGTERM)
    assert server.end() == (0, "", "")


def test_ctrl_c_ends_it_and_what_was_sent_is_there_again(commands: "Commands", tmp_path: Path) -> None:
    env = {"CHATSVC_PRIMARY": "1", "CHATSVC_LISTEN": "127.0.0.1:0", "CHATSVC_DATA_DIR": str(tmp_path / "data")}
    for text in ("one", "two"):
        server = commands.start("serve", env=env)
        address = server.line().removeprefix("serving on ").partition(",")[0]
        assert commands.run("send", "--user", "alice", "alice", text, "--server", address).status == 0
        texts = commands.run("history", "--user", "alice", "--with", "alice", "--server", address).lines
        server.stop(signal.SIGINT)
        assert server.end()[0] == 0
    assert [line.rpartition(" ")[2] for line in texts] == ["one", "two"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(["--listen", "0.0.0.0:0"], "--insecure", id="beyond this machine"),
        pytest.param(["--listen", "192.0.2.1:0", "--insecure"], "192.0.2.1", id="another machine's address"),
        pytest.param(["--data-dir", "/dev/null"], "/dev/null", id="no directory"),
    ],
)
def test_what_it_can_not_do_is_one_line_and_status_1(
    commands: "Commands", tmp_path: Path, arguments: list[str], said: str
) -> None:
    defaults = ["--listen", "127.0.0.1:0", "--data-dir", str(tmp_path / "data")]
    result = commands.run("serve", "--primary", *defaults, *arguments)
    assert (result.status, result.output) == (1, "")
    (line,) = result.error_lines
    assert line.startswith("chatsvc: ")
    assert said in line


def test_a_port_or_a_directory_in_use_is_said(own_cluster: "Cluster", tmp_path: Path) -> None:
    for arguments in (
        ["--listen", own_cluster.address, "--data-dir", str(tmp_path / "other")],
        ["--listen", "127.0.0.1:0", "--data-dir", str(tmp_path / "data")],
    ):
        result = own_cluster.run("serve", "--primary", *arguments)
        assert (result.status, result.output) == (1, "")
        assert len(result.error_lines) == 1


def test_the_session_too_many_is_refused_in_one_line(commands: "Commands", tmp_path: Path) -> None:
    arguments = ["--listen", "127.0.0.1:0", "--data-dir", str(tmp_path / "data"), "--max-sessions", "1"]
    server = commands.start("serve", "--primary", *arguments)
    address = server.line().removeprefix("serving on ").partition(",")[0]
    chat = commands.start("connect", "--user", "alice", "--server", address)
    chat.line()
    result = commands.run("tail", "--user", "bob", "--server", address, "--give-up", "2")
    assert (result.status, result.output) == (1, "")
    assert len(result.error_lines) == 1
    assert "session" in result.errors


def test_data_is_kept_where_a_users_data_belongs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    assert default_data_dir(50051) == Path("/home/somebody/.local/share/chatsvc/50051")
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert default_data_dir(50052) == Path("/data/chatsvc/50052")
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    assert default_data_dir(50052) == Path("/home/somebody/.local/share/chatsvc/50052")


LIMITED = """
import logging, resource, sys
from chatsvc.server import raise_descriptor_limit

logging.basicConfig(stream=sys.stdout, format="%(message)s")
resource.setrlimit(resource.RLIMIT_NOFILE, (100, 1_000))
for sessions in (500, 5_000):
    raise_descriptor_limit(sessions)
    print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


def test_a_server_opens_as_many_files_as_it_may_and_says_when_that_is_too_few() -> None:
    said = subprocess.run([sys.executable, "-c", LIMITED], capture_output=True, text=True, check=True).stdout
    enough, warning, too_few = said.splitlines()
    assert enough == "756"
    assert "only 1,000 files may be open" in warning
    assert "about 744 sessions, not 5,000" in warning
    assert too_few == "1000"
