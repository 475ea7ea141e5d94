"""`chatsvc connect` in a real terminal."""

import re
import signal
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Cluster, Terminal


@pytest.fixture
def alice(cluster: "Cluster") -> str:
    """A name without an account."""
    return cluster.name("alice")


@pytest.fixture
def bob(cluster: "Cluster") -> str:
    """An account that is away, with nothing waiting."""
    bob = cluster.name("bob")
    cluster.make(bob)
    return bob


def chat(cluster: "Cluster", user: str, *options: str) -> "Terminal":
    """A chat that is at its menu."""
    terminal = cluster.terminal("connect", "--user", user, *options)
    terminal.wait(f"logged in as {user}", "1 send, 2 list accounts, 3 delete account, 4 log out")
    terminal.wait_typed(f"{user}> ")
    return terminal


def refusals(terminal: "Terminal") -> list[str]:
    """What the chat has said about what it can't do."""
    return [line for line in terminal.text.splitlines() if line.startswith("! ")]


def test_login_makes_the_account_and_says_how_many_messages_waited(cluster: "Cluster", alice: str, bob: str) -> None:
    terminal = chat(cluster, alice)
    assert "a new account" in terminal.text
    terminal.enter("4")
    assert terminal.end() == 0
    cluster.say(bob, alice, "one", "two", "three")
    terminal = chat(cluster, alice)
    terminal.wait("3 messages waited for you", f"{bob}: one", f"{bob}: two", f"{bob}: three")
    terminal.enter("/logout")
    assert terminal.end() == 0
    terminal = chat(cluster, alice)
    terminal.wait("0 messages waited for you")


def test_numbers_ask_for_what_they_need(cluster: "Cluster", alice: str, bob: str) -> None:
    terminal = chat(cluster, alice)
    terminal.enter("1")
    terminal.wait_typed("To: ")
    terminal.enter(bob)
    terminal.wait_typed("Text: ")
    terminal.enter("hello there")
    terminal.wait(f"{bob} is offline, will be delivered")
    terminal.enter("2")
    terminal.wait_typed("Names that contain (Enter for all): ")
    terminal.enter(bob[1:])
    terminal.wait(f"-       {bob}\n")
    terminal.enter("5")
    terminal.wait_until(lambda: terminal.text.count("1 send, 2 list") == 2, "the menu again")
    terminal.enter("4")
    assert terminal.end() == 0
    assert "logged out" in terminal.text
    assert cluster.texts(bob, alice) == ["hello there"]


def test_slash_commands_do_the_same(cluster: "Cluster", alice: str, bob: str) -> None:
    terminal = chat(cluster, alice)
    terminal.enter(f"/send {bob} hi  you")
    terminal.wait(f"{bob} is offline, will be delivered")
    terminal.enter(f"/list {alice}")
    terminal.wait(f"online  {alice}")
    terminal.enter(f"/history {bob}")
    terminal.wait(f"  {alice}: hi  you")
    terminal.enter("/help")
    terminal.wait("/send NAME TEXT", "/history NAME [N]", "/delete", "/logout")
    terminal.enter("/logout")
    assert terminal.end() == 0


def test_a_message_does_not_disturb_the_line_being_typed(cluster: "Cluster", alice: str, bob: str) -> None:
    terminal = chat(cluster, alice)
    typed = f"/send {bob} a line that is only ha"
    terminal.type(typed)
    terminal.wait_typed(f"{alice}> {typed}")
    cluster.say(bob, alice, *(f"message {number}" for number in range(200)))
    terminal.wait("message 199")
    terminal.wait_typed(f"{alice}> {typed}")
    terminal.enter("lf typed")
    terminal.wait(f"{bob} is offline, will be delivered")
    shown = re.findall(r"^\d\d:\d\d:\d\d \S+: message (\d+)$", terminal.text, re.MULTILINE)
    assert [int(number) for number in shown] == list(range(200))
    terminal.enter("4")
    assert terminal.end() == 0
    assert cluster.texts(bob, alice)[-1] == "a line that is only half typed"


def test_typing_while_messages_come_loses_no_key_and_garbles_nothing(cluster: "Cluster", alice: str, bob: str) -> None:
    terminal = chat(cluster, alice)
    typed = f"/send {alice} the quick brown fox jumps over the lazy dog"
    for number, key in enumerate(typed):
        terminal.type(key)
        cluster.say(bob, alice, f"message {number}")
    last = len(typed) - 1
    terminal.wait(f"message {last}\n")
    terminal.wait_typed(f"{alice}> {typed}")
    terminal.enter("")
    terminal.wait(f"{alice}: the quick brown fox jumps over the lazy dog\n")
    lines = terminal.text.splitlines()
    assert [line[9:] for line in lines if "message" in line and "waited" not in line] == [
        f"{bob}: message {number}" for number in range(last + 1)
    ]


def test_refusals_leave_the_chat_usable(cluster: "Cluster", alice: str, bob: str) -> None:
    terminal = chat(cluster, alice)
    for line, said in (
        ("/send nobody-at-all hi", "nobody-at-all"),
        (f"/send {bob} " + "x" * 1_501, "1,501"),
        ("/send a+b hi", "a+b"),
        ("/history nobody-at-all", "nobody-at-all"),
        ("/list " + "x" * 65, "64"),
    ):
        already = refusals(terminal)
        terminal.enter(line)
        terminal.wait_until(lambda already=already: len(refusals(terminal)) > len(already), said)  # type: ignore[misc]
        assert said in refusals(terminal)[-1]
        terminal.wait_typed(f"{alice}> ")
    terminal.enter("/nonsense")
    terminal.wait("there is no command /nonsense")
    terminal.enter(f"/send {bob} still here")
    terminal.wait(f"{bob} is offline, will be delivered")


def test_another_login_ends_it_with_the_reason(cluster: "Cluster", alice: str) -> None:
    first = chat(cluster, alice)
    first.type("half ty")
    second = chat(cluster, alice)
    assert first.end() == 1
    assert "chatsvc: logged out: " in first.text
    second.enter("4")
    assert second.end() == 0


def test_deleting_asks_and_ends_with_status_0(cluster: "Cluster", alice: str) -> None:
    terminal = chat(cluster, alice)
    terminal.enter("3")
    terminal.wait("Delete this account")
    terminal.enter("no")
    terminal.wait("not deleted")
    terminal.enter("/delete")
    terminal.wait_until(lambda: terminal.text.count("Delete this account") == 2, "the question again")
    terminal.enter("yes")
    assert terminal.end() == 0
    assert f"account {alice} is deleted" in terminal.text
    assert cluster.online(alice) is None


def test_ctrl_d_logs_out(cluster: "Cluster", alice: str) -> None:
    terminal = chat(cluster, alice)
    terminal.type("\x04")
    assert terminal.end() == 0
    assert "logged out" in terminal.text


def test_ctrl_c_clears_the_line_then_leaves_the_question_then_ends(cluster: "Cluster", alice: str) -> None:
    terminal = chat(cluster, alice)
    terminal.enter("1")
    terminal.wait_typed("To: ")
    terminal.type("bo\x03")
    terminal.wait_typed("To: ")
    terminal.type("\x03")
    terminal.wait_typed(f"{alice}> ")
    terminal.type("\x03")
    terminal.wait("Ctrl-C once more ends the program")
    terminal.enter("/help")  # anything else in between starts the count again
    terminal.wait("/send NAME TEXT")
    terminal.type("\x03")
    terminal.wait_until(lambda: terminal.text.count("Ctrl-C once more") == 2, "the warning again")
    terminal.wait_typed(f"{alice}> ")
    terminal.type("\x03")
    assert terminal.end() == 130
    assert "Traceback" not in terminal.text


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_logs_out(cluster: "Cluster", alice: str, bob: str, number: int) -> None:
    terminal = chat(cluster, alice)
    terminal.type("half typed")
    terminal.popen.send_signal(number)
    assert terminal.end() == 128 + number
    assert "Traceback" not in terminal.text
    assert cluster.online(alice) is False


def test_text_of_others_is_harmless(cluster: "Cluster", alice: str, bob: str) -> None:
    terminal = chat(cluster, alice)
    cluster.say(bob, alice, "\x1b[2J\x1b[Hroot# \u202etxt.exe\nmallory: forged")
    terminal.wait(rf"{bob}: \x1b[2J\x1b[Hroot# \u202etxt.exe\nmallory: forged")
    assert f"logged in as {alice}" in terminal.text


def test_tab_completes_commands_and_names(cluster: "Cluster", alice: str, bob: str) -> None:
    terminal = chat(cluster, alice)
    cluster.say(bob, alice, "hi")
    terminal.wait(f"{bob}: hi")
    terminal.type("/se\t")
    terminal.wait_typed(f"{alice}> /send")
    terminal.type("bo\t")
    terminal.wait_typed(f"{alice}> /send {bob}")
    terminal.enter("hello")
    terminal.wait(f"{bob} is offline, will be delivered")


def test_the_bottom_line_shows_the_connection_and_a_restart_is_announced(own_cluster: "Cluster") -> None:
    server, alice = own_cluster, "alice"
    terminal = chat(server, alice)
    terminal.wait(f" alice, connected to {server.address}")
    server.server.popen.kill()
    terminal.wait("connection lost", " alice, reconnecting")
    terminal.enter("/send alice while it was away")
    terminal.wait("1 message without an answer")
    server.restart()
    terminal.wait("connected again", f"{alice}: while it was away", "sent to alice", f"connected to {server.address}")
    terminal.wait_until(lambda: "without an answer" not in terminal.text, "all answered")
    terminal.enter("4")
    assert terminal.end() == 0


def test_servers_that_are_gone_for_good_end_it_with_status_3(own_cluster: "Cluster") -> None:
    terminal = chat(own_cluster, "alice", "--give-up", "1")
    terminal.type("half ty")
    own_cluster.server.popen.kill()
    assert terminal.end() == 3
    assert "chatsvc: Server shut down prematurely, so logging you out." in terminal.text
    assert "Traceback" not in terminal.text


def test_without_reconnecting_the_first_loss_ends_it(own_cluster: "Cluster") -> None:
    terminal = chat(own_cluster, "alice", "--no-reconnect")
    own_cluster.server.popen.kill()
    assert terminal.end() == 3
    assert "connection to" in terminal.text


def test_no_server_is_said_without_a_screen(cluster: "Cluster") -> None:
    terminal = cluster.terminal("connect", "--user", "alice", "--server", "127.0.0.1:1")
    assert terminal.end() == 3
    assert "chatsvc: Error connecting to 127.0.0.1:1: connection refused" in terminal.text
