"""Streams of `Chat.Session` against a real server."""

import asyncio
from typing import Any

import grpc
import pytest
from grpc import aio

from chatsvc.v1 import chat_pb2 as pb


def login(user: str, **fields: Any) -> pb.Operation:
    return pb.Operation(login=pb.Login(user=user, **fields))


def send(to: str, text: str, op_seq: int = 0) -> pb.Operation:
    return pb.Operation(op_seq=op_seq, send=pb.Send(to=to, text=text))


async def test_a_message_reaches_a_logged_in_user_and_its_sender_is_told(server: Any) -> None:
    alice, bob = server.stream(), server.stream()
    assert (await alice.login("alice")).created
    await bob.login("bob")
    await alice.say("bob", "hello")
    sent = await alice.expect("sent")
    message = await bob.expect("message")
    assert (message.sender, message.recipient, message.text) == ("alice", "bob", "hello")
    assert (message.inbox_seq, message.conversation_seq, sent.conversation_seq) == (1, 1, 1)
    assert sent.recipient_online
    assert sent.sent_time == message.sent_time


async def test_messages_wait_for_a_user_who_is_away_and_come_in_order_once(server: Any) -> None:
    alice, bob = server.stream(), server.stream()
    await bob.login("bob")
    await bob.send(pb.Operation(logout=pb.Logout()))
    assert (await bob.expect("logged_out")).reason == pb.LOGOUT_REASON_REQUESTED
    await bob.expect_end()
    await alice.login("alice")
    texts = [f"message {number}" for number in range(700)]
    for start in range(0, 700, 100):
        await alice.say("bob", *texts[start : start + 100])
    for _ in texts:
        assert not (await alice.expect("sent")).recipient_online
    again = server.stream()
    welcome = await again.login("bob")
    assert (welcome.acknowledged_inbox_seq, welcome.last_inbox_seq) == (0, 700)
    assert [(await again.expect("message")).text for _ in texts] == texts
    await again.send(pb.Operation(logout=pb.Logout()))
    await again.expect("logged_out")
    third = server.stream()
    welcome = await third.login("bob")
    assert (welcome.acknowledged_inbox_seq, welcome.last_inbox_seq) == (700, 700)
    await third.send(pb.Operation(ping=pb.Ping()))
    await third.expect("pong")


async def test_without_credit_messages_wait_and_go_on_after_an_acknowledgement(server: Any) -> None:
    alice, bob = server.stream(), server.stream()
    await alice.login("alice")
    await bob.login("bob", explicit_acknowledgement=True)
    await alice.say("bob", *[str(number) for number in range(1_000)])
    seen = [await bob.expect("message") for _ in range(256)]
    await bob.send(pb.Operation(ping=pb.Ping()))
    await bob.expect("pong")
    while len(seen) < 1_000:
        await bob.send(pb.Operation(acknowledge=pb.Acknowledge(inbox_seq=len(seen))))
        seen += [await bob.expect("message") for _ in range(min(256, 1_000 - len(seen)))]
    assert [message.text for message in seen] == [str(number) for number in range(1_000)]
    assert [message.inbox_seq for message in seen] == list(range(1, 1_001))


async def test_a_second_login_logs_the_first_one_out_with_the_reason(server: Any) -> None:
    first, second, other = server.stream(), server.stream(), server.stream()
    await first.login("alice")
    await other.login("bob")
    await first.say("bob", "still sent")
    await first.expect("sent")
    await second.login("ALICE")
    goodbye = await first.expect("logged_out")
    assert goodbye.reason == pb.LOGOUT_REASON_REPLACED
    assert "another login" in goodbye.message
    await first.expect_end()
    assert (await other.expect("message")).text == "still sent"
    await other.say("alice", "who is there?")
    assert (await second.expect("message")).text == "who is there?"


async def test_a_send_only_login_neither_receives_nor_replaces(server: Any) -> None:
    reader, sender = server.stream(), server.stream()
    await reader.login("alice")
    assert (await sender.login("alice", send_only=True)).incarnation == 0
    await sender.say("alice", "note to myself")
    await sender.expect("sent")
    assert (await reader.expect("message")).text == "note to myself"
    await sender.send(pb.Operation(ping=pb.Ping()))
    await sender.expect("pong")


async def test_the_same_client_resumes_on_a_new_stream(server: Any) -> None:
    client_id = bytes(range(16))
    first, second, other = server.stream(), server.stream(), server.stream()
    await other.login("bob")
    welcome = await first.login("alice", client_id=client_id, explicit_acknowledgement=True)
    await first.say("bob", "one", "two", op_seq=1)
    assert [(await first.expect("sent")).op_seq for _ in range(2)] == [1, 2]
    await other.say("alice", "shown", "not shown")
    for _ in range(2):
        await first.expect("message")
    resumed = await second.login(
        "alice",
        client_id=client_id,
        explicit_acknowledgement=True,
        incarnation=welcome.incarnation,
        first_unanswered_op_seq=2,
        received_inbox_seq=1,
    )
    assert (resumed.incarnation, resumed.next_op_seq) == (welcome.incarnation, 3)
    assert (await second.expect("message")).text == "not shown"
    await second.say("bob", "two", "three", op_seq=2)
    assert [(await second.expect("sent")).op_seq for _ in range(2)] == [2, 3]
    assert (await first.expect("logged_out")).reason == pb.LOGOUT_REASON_REPLACED
    events = [await other.event() for _ in range(5)]
    texts = [event.message.text for event in events if event.WhichOneof("kind") == "message"]
    assert texts == ["one", "two", "three"]


async def test_a_replaced_session_can_not_be_resumed(server: Any) -> None:
    first, second, third = server.stream(), server.stream(), server.stream()
    welcome = await first.login("alice", client_id=bytes(16))
    await second.login("alice")
    await third.send(login("alice", client_id=bytes(16), incarnation=welcome.incarnation))
    assert (await third.expect("error")).reason == pb.ERROR_REASON_REPLACED


async def test_a_deleted_account_is_gone_and_its_messages_arrive(server: Any) -> None:
    alice, bob = server.stream(), server.stream()
    await bob.login("bob")
    await bob.send(pb.Operation(logout=pb.Logout()))
    await bob.expect("logged_out")
    await alice.login("alice")
    await alice.say("bob", "goodbye")
    await alice.expect("sent")
    await alice.send(pb.Operation(tag=7, delete_account=pb.DeleteAccount()))
    deleted = await alice.event()
    assert (deleted.tag, deleted.account_deleted.user) == (7, "alice")
    assert (await alice.expect("logged_out")).reason == pb.LOGOUT_REASON_ACCOUNT_DELETED
    await alice.expect_end()
    again = server.stream()
    await again.login("bob")
    message = await again.expect("message")
    assert (message.text, message.sender, message.sender_deleted) == ("goodbye", "alice", True)
    await again.say("alice", "are you there?")
    error = await again.expect("error")
    assert (error.reason, error.message) == (pb.ERROR_REASON_UNKNOWN_RECIPIENT, "there is no account 'alice'")


async def test_deleting_an_account_elsewhere_ends_its_session(server: Any) -> None:
    alice = server.stream()
    await alice.login("alice")
    assert (await server.stub().DeleteAccount(pb.DeleteAccountRequest(user="Alice"))).user == "alice"
    assert (await alice.expect("logged_out")).reason == pb.LOGOUT_REASON_ACCOUNT_DELETED
    await alice.expect_end()


async def test_accounts_are_listed_by_part_or_pattern_with_who_is_online(server: Any) -> None:
    streams = []
    for name in ("Anna", "annabel", "bob", "hannah", "a-x"):
        streams.append(server.stream())
        await streams[-1].login(name)
    await streams[0].send(pb.Operation(logout=pb.Logout()))
    await streams[0].expect("logged_out")
    asking = streams[2]
    await asking.send(pb.Operation(tag=1, list_accounts=pb.ListAccounts(pattern="ANN")))
    page = await asking.expect("accounts")
    assert [(account.name, account.online) for account in page.accounts] == [
        ("Anna", False),
        ("annabel", True),
        ("hannah", True),
    ]
    await asking.send(pb.Operation(list_accounts=pb.ListAccounts(pattern="ann*", page_size=1)))
    first = await asking.expect("accounts")
    assert [account.name for account in first.accounts] == ["Anna"]
    again = pb.ListAccounts(pattern="ann*", page_size=1, page_token=first.next_page_token)
    await asking.send(pb.Operation(list_accounts=again))
    second = await asking.expect("accounts")
    assert ([account.name for account in second.accounts], second.next_page_token) == (["annabel"], "")


async def test_history_is_paged_back_from_the_newest(server: Any) -> None:
    alice, bob = server.stream(), server.stream()
    await alice.login("alice")
    await bob.login("bob")
    await alice.say("bob", *[str(number) for number in range(1, 6)])
    for _ in range(5):
        await alice.expect("sent")
    await alice.send(pb.Operation(history=pb.History(peer="bob", limit=2)))
    page = await alice.expect("conversation")
    assert ([message.text for message in page.messages], page.has_older, page.peer) == (["4", "5"], True, "bob")
    await alice.send(pb.Operation(history=pb.History(peer="bob", limit=10, before=4)))
    page = await alice.expect("conversation")
    assert ([message.text for message in page.messages], page.has_older) == (["1", "2", "3"], False)


REFUSED = [
    pytest.param(send("nobody", "hi"), "UNKNOWN_RECIPIENT", "there is no account 'nobody'", id="unknown recipient"),
    pytest.param(send("bob", "x" * 1_501), "INVALID_TEXT", "1,501 characters", id="too long"),
    pytest.param(send("bob", ""), "INVALID_TEXT", "the text is empty", id="empty"),
    pytest.param(send("no such name!", "hi"), "INVALID_NAME", "is no user name", id="bad recipient"),
    pytest.param(send("x" * 100_000, "hi"), "INVALID_NAME", "is no user name", id="giant recipient"),
    pytest.param(login("alice"), "ALREADY_LOGGED_IN", "logged in as alice", id="second login"),
    pytest.param(send("bob", "hi", op_seq=5), "OP_SEQ_GAP", "op seq 1 is the next one", id="gap"),
    pytest.param(
        pb.Operation(acknowledge=pb.Acknowledge(inbox_seq=1)), "ACKNOWLEDGED_TOO_MUCH", "last one pushed is 0", id="ack"
    ),
    pytest.param(pb.Operation(), "UNKNOWN_OPERATION", "without a kind", id="no kind"),
    pytest.param(
        pb.Operation(history=pb.History(peer="nobody")), "UNKNOWN_ACCOUNT", "no account 'nobody'", id="no such peer"
    ),
    pytest.param(pb.Operation(history=pb.History(peer="bob", limit=1_001)), "INVALID_PAGE", "1,000", id="limit"),
    pytest.param(pb.Operation(list_accounts=pb.ListAccounts(page_token="?")), "INVALID_PAGE", "page token", id="token"),
    pytest.param(pb.Operation(list_accounts=pb.ListAccounts(pattern="x" * 65)), "INVALID_PATTERN", "64", id="pattern"),
]


@pytest.mark.parametrize(("operation", "reason", "words"), REFUSED)
async def test_a_refused_operation_leaves_the_session_usable(
    server: Any, operation: pb.Operation, reason: str, words: str
) -> None:
    alice, bob = server.stream(), server.stream()
    await bob.login("bob")
    await alice.login("alice")
    await alice.send(operation)
    error = await alice.expect("error")
    assert pb.ErrorReason.Name(error.reason) == f"ERROR_REASON_{reason}"
    assert words in error.message
    assert "\n" not in error.message
    counts = operation.op_seq > 0
    await alice.say("bob", "hello", op_seq=1 if counts else 0)
    await alice.expect("sent")
    assert (await bob.expect("message")).text == "hello"


@pytest.mark.parametrize("user", ["", "x" * 33, "a b", "tab\t", "\x1b[31m", "x" * 1_000], ids=repr)
async def test_a_bad_name_is_refused_and_another_login_may_follow(server: Any, user: str) -> None:
    alice = server.stream()
    await alice.send(login(user))
    assert (await alice.expect("error")).reason == pb.ERROR_REASON_INVALID_NAME
    await alice.login("alice")


async def test_operations_before_the_login_are_refused(server: Any) -> None:
    alice = server.stream()
    await alice.send(send("bob", "hi"), pb.Operation(tag=3, ping=pb.Ping()))
    for _ in range(2):
        assert (await alice.expect("error")).reason == pb.ERROR_REASON_NOT_LOGGED_IN
    await alice.login("alice")


async def test_refusals_inside_a_window_take_their_numbers_and_stall_nothing(server: Any) -> None:
    alice, bob = server.stream(), server.stream()
    await bob.login("bob")
    await alice.login("alice", client_id=bytes(16))
    operations = [send("bob", "one", 1), send("nobody", "two", 2), send("bob", "", 3), send("bob", "four", 4)]
    await alice.send(*operations)
    kinds = [(await alice.event()).WhichOneof("kind") for _ in operations]
    assert kinds == ["sent", "error", "error", "sent"]
    await alice.send(*operations)
    again = [await alice.event() for _ in operations]
    assert [event.WhichOneof("kind") for event in again] == kinds
    assert again[3].sent.conversation_seq == 2
    await alice.send(send("bob", "another text", 4))
    assert (await alice.expect("error")).reason == pb.ERROR_REASON_IDEMPOTENCY_MISMATCH
    assert [(await bob.expect("message")).text for _ in range(2)] == ["one", "four"]


async def test_a_frame_with_too_many_operations_is_refused_as_a_whole(server: Any) -> None:
    alice = server.stream()
    await alice.login("alice")
    await alice.say("alice", *["x"] * 10_000)
    assert (await alice.expect("error")).reason == pb.ERROR_REASON_FRAME_TOO_LARGE
    await alice.say("alice", "fine")
    assert {(await alice.event()).WhichOneof("kind") for _ in range(2)} == {"sent", "message"}


async def test_a_frame_that_is_not_utf8_is_refused_and_the_session_goes_on(server: Any) -> None:
    call = server.channel().stream_stream("/chatsvc.v1.Chat/Session")()
    await call.write(pb.SessionRequest(operations=[login("alice")]).SerializeToString())
    await call.read()
    good = pb.SessionRequest(operations=[send("alice", "XYZ")]).SerializeToString()
    await call.write(good.replace(b"XYZ", b"\xff\xfe\xfd"))
    (event,) = pb.SessionResponse.FromString(await call.read()).events
    assert event.error.reason == pb.ERROR_REASON_MALFORMED_FRAME
    await call.write(good)
    assert pb.SessionResponse.FromString(await call.read()).events
    call.cancel()


async def test_half_closing_ends_the_session_after_the_last_answer(server: Any) -> None:
    alice = server.stream()
    await alice.send(login("alice"), send("alice", "note"))
    await alice.call.done_writing()
    kinds = [(await alice.event()).WhichOneof("kind") for _ in range(4)]
    assert sorted(kinds) == ["logged_out", "message", "sent", "welcome"]
    assert kinds[-1] == "logged_out"
    await alice.expect_end()


async def test_a_stream_without_a_login_is_ended_after_a_while(start_server: Any) -> None:
    server = await start_server(login_timeout_s=0.05)
    stream = server.stream()
    with pytest.raises(aio.AioRpcError) as failure:
        await stream.event()
    assert failure.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED


async def test_one_session_too_many_is_refused_clearly(start_server: Any) -> None:
    server = await start_server(sessions_max=1)
    await server.stream().login("alice")
    second = server.stream()
    with pytest.raises(aio.AioRpcError) as failure:
        await second.event()
    assert failure.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "as many sessions as it may (1)" in (failure.value.details() or "")


async def test_a_client_that_does_not_read_holds_up_nobody_and_loses_its_stream(start_server: Any) -> None:
    server = await start_server(slow_consumer_s=0.5)
    lazy, alice = server.stream(), server.stream()
    await lazy.login("lazy")
    await alice.login("alice", send_only=True)
    for _ in range(30):
        await alice.say("lazy", *["x" * 1_500] * 256)
        for _ in range(256):
            await alice.expect("sent")
    async with asyncio.timeout(10):
        while True:
            await alice.send(pb.Operation(list_accounts=pb.ListAccounts(pattern="lazy")))
            if not (await alice.expect("accounts")).accounts[0].online:
                break
    read: list[int] = []

    async def read_on() -> None:
        while True:
            read.append((await lazy.expect("message")).inbox_seq)

    with pytest.raises(aio.AioRpcError) as failure:
        await read_on()
    assert read == list(range(1, len(read) + 1))
    assert failure.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    again = server.stream()
    welcome = await again.login("lazy")
    assert welcome.last_inbox_seq == 30 * 256
    assert (await again.expect("message")).inbox_seq == welcome.acknowledged_inbox_seq + 1 <= len(read) + 1


async def test_a_stopping_server_says_goodbye(server: Any) -> None:
    alice = server.stream()
    await alice.login("alice")
    stopping = asyncio.ensure_future(server.stop())
    assert (await alice.expect("logged_out")).reason == pb.LOGOUT_REASON_SERVER_LEAVING
    await alice.expect_end()
    await stopping
