"""The synchronous client, with a real server in another process."""

import os
import signal
import threading
import time
from concurrent.futures import CancelledError
from typing import Any

import pytest

import chatsvc.client
from chatsvc.client import (
    Client,
    ClientClosed,
    ConnectError,
    LoggedOut,
    LogoutReason,
    Message,
    QueueFull,
    State,
    Timing,
)
from chatsvc.client.background import Background
from chatsvc.client.outbox import QUEUE_MAX
from chatsvc.domain.errors import InvalidText, UnknownRecipient

DEADLINE_S = 10.0


def own_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "chatsvc client"]


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Any:
    yield
    assert own_threads() == []


def test_a_program_without_a_loop_sends_and_receives(server_process: Any) -> None:
    servers = [server_process.address]
    with Client.connect("alice", servers, receive=False) as alice, Client.connect("bob", servers) as bob:
        assert len(own_threads()) == 1
        assert (bob.user, bob.created, bob.waiting, bob.state) == ("bob", True, 0, State.CONNECTED)
        assert (bob.server, bob.servers, len(bob.client_id)) == (server_process.address, tuple(servers), 16)
        receipt = alice.send("bob", "hello", timeout_s=DEADLINE_S)
        assert receipt.op_id == f"{alice.client_id.hex()}/1"
        with pytest.raises(UnknownRecipient):
            alice.send("nobody", "hello")
        answers = [alice.send_nowait("bob", str(number)) for number in range(3_000)]
        refused = alice.send_nowait("bob", "")
        texts = []
        for message in bob.messages(timeout_s=DEADLINE_S):
            texts.append(message.text)
            if message.text == "2999":
                break
        assert texts == ["hello", *map(str, range(3_000))]
        assert [answer.result().op_seq for answer in answers] == list(range(3, 3_003))
        with pytest.raises(InvalidText):
            refused.result(DEADLINE_S)
        assert alice.unanswered == 0
        assert alice.ping() < DEADLINE_S
        assert [message.text for message in bob.history("alice", 2, before=4)] == ["0", "1"]
        assert [account.name for account in bob.accounts()] == ["alice", "bob"]
        assert [account.online for account in bob.list_accounts("o").accounts] == [True]
        bob.acknowledge(message)
        bob.logout()
        assert list(bob.messages()) == []
        bob.logout()
    with Client.connect("bob", servers) as bob:
        assert bob.waiting == 0
        bob.delete_account()
        with pytest.raises(LoggedOut) as caught:
            bob.send("alice", "hi")
        assert caught.value.reason is LogoutReason.ACCOUNT_DELETED
    bob.close()
    with pytest.raises(LoggedOut):
        bob.ping()


def test_calls_without_a_session(server_process: Any) -> None:
    servers = [server_process.address]
    with Client.connect("alice", servers) as alice:
        alice.send("alice", "to myself")
        assert [message.text for message in chatsvc.client.history("alice", "alice", servers=servers)] == ["to myself"]
        assert [account.name for account in chatsvc.client.accounts(servers=servers)] == ["alice"]
        assert len(chatsvc.client.list_accounts("b", servers=servers).accounts) == 0
        assert chatsvc.client.status(servers).primary == server_process.address
        chatsvc.client.delete_account("alice", servers=servers)
        with pytest.raises(LoggedOut):
            list(alice.messages())


def test_callbacks_come_on_the_background_thread_and_may_send(server_process: Any) -> None:
    done = threading.Event()
    seen: list[tuple[str, str]] = []

    def on_message(message: Message) -> None:
        seen.append((message.text, threading.current_thread().name))
        if message.text == "ping":
            client.send_nowait("bob", "pong")
            with pytest.raises(RuntimeError, match="can't wait"):
                client.ping()
        else:
            done.set()

    with Client.connect("bob", [server_process.address], on_message=on_message) as client:
        client.send("bob", "ping")
        assert done.wait(DEADLINE_S)
        assert seen == [("ping", "chatsvc client"), ("pong", "chatsvc client")]
        client.logout()


def test_kill_9_of_the_server_in_mid_stream_loses_and_doubles_nothing(server_process: Any) -> None:
    servers, count = [server_process.address], 4_000
    timing = Timing(refused_s=30)
    with (
        Client.connect("alice", servers, receive=False, timing=timing) as alice,
        Client.connect("bob", servers, timing=timing) as bob,
    ):
        answers = []
        for number in range(count):
            if alice.unanswered >= 500:
                answers[-500].result(DEADLINE_S * 3)
            answers.append(alice.send_nowait("bob", str(number)))
            if number in (1_000, 2_500):
                server_process.kill()
                server_process.start()
        assert [answer.result(DEADLINE_S * 3).op_seq for answer in answers] == list(range(1, count + 1))
        alice.logout()
        texts = []
        for message in bob.messages(timeout_s=DEADLINE_S):
            texts.append(message.text)
            if len(texts) == count:
                break
        assert texts == [str(number) for number in range(count)]
        assert list(bob.messages(timeout_s=0.2)) == []


def test_a_server_that_is_gone_for_good_is_told_to_everybody(server_process: Any) -> None:
    states: list[tuple[State, str]] = []
    client = Client.connect(
        "bob", [server_process.address], timing=Timing(refused_s=0.2), on_state=lambda *state: states.append(state)
    )
    with client:
        server_process.kill()
        with pytest.raises(chatsvc.client.ServersGone, match="Server shut down prematurely, so logging you out"):
            next(client.messages())
        with pytest.raises(chatsvc.client.ServersGone):
            client.send("bob", "hi")
    assert [state for state, _ in states][-2:] == [State.RECONNECTING, State.CLOSED]
    server_process.start()


def test_no_server_is_an_error_and_leaves_no_thread(free_port: int) -> None:
    with pytest.raises(ConnectError, match=f"Error connecting to 127.0.0.1:{free_port}: connection refused"):
        Client.connect("bob", [f"127.0.0.1:{free_port}"], timing=Timing(refused_s=0.1))


def test_a_send_that_takes_too_long_goes_on(server_process: Any) -> None:
    with Client.connect("bob", [server_process.address], timing=Timing(refused_s=30)) as client:
        server_process.kill()
        with pytest.raises(TimeoutError):
            client.send("bob", "hi", timeout_s=0.1)
        withdrawn = client.send_nowait("bob", "never mind")
        withdrawn.cancel()
        server_process.start()
        assert client.send("bob", "later", timeout_s=DEADLINE_S).op_seq == 2
        with pytest.raises(CancelledError):
            withdrawn.result()


def test_closing_frees_whoever_waits_in_another_thread(server_process: Any) -> None:
    client = Client.connect("bob", [server_process.address])
    results: list[object] = []
    waiting = threading.Thread(target=lambda: results.append(list(client.messages())))
    waiting.start()
    client.close()
    waiting.join(DEADLINE_S)
    assert results == [[]]
    for call in (client.ping, lambda: client.send("bob", "hi"), client.logout):
        with pytest.raises(ClientClosed):
            call()


def test_ctrl_c_interrupts_whoever_waits_and_the_client_can_be_closed(server_process: Any) -> None:
    with Client.connect("bob", [server_process.address]) as client:
        timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        began = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            next(client.messages(timeout_s=DEADLINE_S))
        assert time.monotonic() - began < DEADLINE_S
        timer.join()
        assert client.send("bob", "still here").op_seq == 1


def test_only_received_messages_can_be_acknowledged(server_process: Any) -> None:
    with (
        Client.connect("bob", [server_process.address]) as client,
        pytest.raises(ValueError, match="was not received"),
    ):
        client.acknowledge(Message("a", "b", "text", 1, 1, 0, b"", 1))


def test_the_background_loop_lives_as_long_as_somebody_holds_it() -> None:
    async def answer() -> int:
        return 42

    first = Background.hold()
    second = Background.hold()
    assert first is second
    first.release()
    assert second.run(answer()) == 42
    second.release()
    with Background.hold() as third:
        assert third is not first
        assert third.run(answer(), timeout_s=DEADLINE_S) == 42


def test_a_thread_that_sends_as_fast_as_it_can_is_held_back_and_loses_nothing(server_process: Any) -> None:
    count = 3 * QUEUE_MAX
    with Client.connect("bob", [server_process.address], receive=False) as client:
        answers = []
        for number in range(count):
            try:
                answers.append(client.send_nowait("bob", str(number)))
            except QueueFull:
                client.room()
                answers.append(client.send_nowait("bob", str(number)))
        assert [answer.result(3 * DEADLINE_S).op_seq for answer in answers] == list(range(1, count + 1))
