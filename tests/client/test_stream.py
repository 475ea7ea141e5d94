"""Streams that break, servers that hang or leave, refusals that pass: all with scripted servers."""

import asyncio
from collections.abc import Callable
from typing import Any

import grpc
import pytest

from chatsvc.client import (
    AsyncClient,
    ClientClosed,
    ConnectionLost,
    LoggedOut,
    LogoutReason,
    ProtocolError,
    ServersGone,
    State,
    Timing,
)
from chatsvc.domain.errors import DiskFull, IdempotencyMismatch, Reason, UnknownAccount, UnknownRecipient
from chatsvc.v1 import chat_pb2 as pb
from chatsvc.v1 import replication_pb2 as rpb

DEADLINE_S = 10.0


async def connect(*servers: Any, timing: Timing, **options: Any) -> AsyncClient:
    return await AsyncClient.connect("alice", [server.address for server in servers], timing=timing, **options)


def cut(stream: Any) -> Any:
    """End a stream as a crash does."""
    return stream.context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")


# ---- what is sent again


async def test_what_has_no_answer_is_sent_again_with_the_same_numbers(scripted: Any, fast: Timing) -> None:
    async def first(stream: Any) -> None:
        login = await stream.welcome()
        assert (login.incarnation, login.first_unanswered_op_seq, login.retire_client) == (0, 0, True)
        operations = [await stream.operation("send") for _ in range(4)]
        await stream.answer(operations[0])
        await stream.answer(operations[2])  # and the second is lost with the stream
        await cut(stream)

    async def second(stream: Any) -> None:
        login = await stream.welcome(next_op_seq=4)  # it had carried out three of them
        assert (login.incarnation, login.first_unanswered_op_seq) == (1, 2)
        assert login.existing_only
        again = [await stream.operation("send") for _ in range(2)]
        assert [(operation.op_seq, operation.send.text) for operation in again] == [(2, "1"), (4, "3")]
        assert stream.frames[-1].answered_op_seq == 1
        for operation in again:
            await stream.answer(operation)
        await stream.serve()

    server = await scripted(first, second)
    async with await connect(server, timing=fast) as client:
        answers = [client.send_nowait("bob", str(number)) for number in range(4)]
        receipts = await asyncio.gather(*answers)
        assert [receipt.op_seq for receipt in receipts] == [1, 2, 3, 4]
        assert [receipt.op_id for receipt in receipts] == [f"{client.client_id.hex()}/{n}" for n in (1, 2, 3, 4)]
        await client.logout()
    assert server.streams == 2


async def test_reading_calls_are_asked_again(scripted: Any, fast: Timing) -> None:
    async def first(stream: Any) -> None:
        await stream.welcome()
        await stream.operation("history")
        await cut(stream)

    async def second(stream: Any) -> None:
        await stream.welcome()
        operation = await stream.operation("history")
        messages = [pb.Message(conversation_seq=1, text="hi")]
        await stream.write(pb.Event(tag=operation.tag, conversation=pb.Conversation(messages=messages)))
        await stream.serve()

    server = await scripted(first, second)
    async with await connect(server, timing=fast) as client:
        assert [message.text for message in await client.history("bob")] == ["hi"]


async def test_messages_that_come_again_are_dropped_and_acknowledged_once_they_have(
    scripted: Any, fast: Timing
) -> None:
    acknowledged: list[int] = []

    async def first(stream: Any) -> None:
        await stream.welcome()
        await stream.push(1, 2, 3)
        acknowledged.append((await stream.operation("acknowledge")).acknowledge.inbox_seq)
        await cut(stream)

    async def second(stream: Any) -> None:
        login = await stream.welcome(acknowledged_inbox_seq=0, last_inbox_seq=4)
        assert login.received_inbox_seq == 1
        await stream.push(2, 3, 4)
        while acknowledged[-1] < 4:
            acknowledged.append((await stream.operation("acknowledge")).acknowledge.inbox_seq)
        await stream.serve()

    server = await scripted(first, second)
    async with await connect(server, timing=fast) as client:
        texts = []
        async for message in client.messages(acknowledge=False):
            texts.append(message.text)
            if message.inbox_seq in (1, 4):
                client.acknowledge(message)
            if message.inbox_seq == 4:
                break
        assert texts == ["m1", "m2", "m3", "m4"]
        await client.logout()
    assert acknowledged[0] == 1
    assert acknowledged[-1] == 4


async def test_a_gap_is_filled_from_where_the_server_expects_it(scripted: Any, fast: Timing) -> None:
    async def script(stream: Any) -> None:
        await stream.welcome()
        first, second, third = [await stream.operation("send") for _ in range(3)]
        await stream.answer(first)
        for operation in (second, third):
            await stream.refuse(operation, Reason.OP_SEQ_GAP, expected="2")
        again = [await stream.operation("send") for _ in range(2)]
        assert [operation.op_seq for operation in again] == [2, 3]
        for operation in again:
            await stream.answer(operation)
        await stream.serve()

    server = await scripted(script)
    async with await connect(server, timing=fast) as client:
        await asyncio.gather(*(client.send_nowait("bob", "hi") for _ in range(3)))
        await client.logout()
    assert server.streams == 1


async def test_a_server_that_expects_what_was_answered_is_left(scripted: Any, fast: Timing) -> None:
    async def forgetful(stream: Any) -> None:
        await stream.welcome()
        await stream.answer(await stream.operation("send"))
        await stream.refuse(await stream.operation("send"), Reason.OP_SEQ_GAP, expected="1")
        await stream.hang()

    async def good(stream: Any) -> None:
        assert (await stream.welcome()).first_unanswered_op_seq == 2
        await stream.serve()

    server = await scripted(forgetful, good)
    async with await connect(server, timing=fast) as client:
        await client.send("bob", "one")
        assert (await client.send("bob", "two")).op_seq == 2


async def test_what_is_refused_for_now_is_sent_again_in_order(scripted: Any, fast: Timing) -> None:
    async def script(stream: Any) -> None:
        await stream.welcome()
        first, second = [await stream.operation("send") for _ in range(2)]
        await stream.refuse(first, Reason.NOT_READY)
        await stream.refuse(second, Reason.OP_SEQ_GAP, expected="1")
        assert [(await stream.operation("send")).op_seq for _ in range(2)] == [1, 2]
        await stream.answer(first)
        await stream.answer(second)
        asked = await stream.operation("list_accounts")
        await stream.refuse(asked, Reason.NOT_READY)
        asked = await stream.operation("list_accounts")
        await stream.write(pb.Event(tag=asked.tag, accounts=pb.Accounts(accounts=[pb.Account(name="bob")])))
        await stream.serve()

    server = await scripted(script)
    async with await connect(server, timing=fast) as client:
        answers = [client.send_nowait("bob", "hi") for _ in range(2)]
        await asyncio.gather(*answers)
        assert [account.name for account in (await client.list_accounts()).accounts] == ["bob"]
        await client.logout()


async def test_a_disk_that_stays_full_is_told_after_a_while(scripted: Any, fast: Timing) -> None:
    async def script(stream: Any) -> None:
        await stream.welcome()
        while True:
            operation = await stream.operation()
            if operation.HasField("send"):
                await stream.refuse(operation, Reason.DISK_FULL, "the disk is full")
            else:
                await stream.answer(operation)

    server = await scripted(script)
    async with await connect(server, timing=fast, give_up_s=0.3) as client:
        with pytest.raises(DiskFull, match="the disk is full"):
            await client.send("bob", "hi")
        with pytest.raises(DiskFull):
            await client.send("bob", "hi")


async def test_refusals_go_to_the_calls_they_belong_to(scripted: Any, fast: Timing) -> None:
    async def script(stream: Any) -> None:
        await stream.welcome()
        first, second, third = [await stream.operation("send") for _ in range(3)]
        await stream.refuse(second, Reason.UNKNOWN_RECIPIENT, "nobody")
        await stream.answer(first)
        await stream.refuse(third, Reason.IDEMPOTENCY_MISMATCH)
        await stream.refuse(await stream.operation("history"), Reason.UNKNOWN_ACCOUNT)
        await stream.refuse(pb.Operation(), Reason.ACKNOWLEDGED_TOO_MUCH)
        await stream.refuse(pb.Operation(op_seq=77, tag=77), Reason.UNKNOWN_RECIPIENT)
        await stream.write(pb.Event(), pb.Event(tag=99, pong=pb.Pong()), pb.Event(sent=pb.Sent(op_seq=1)))
        await stream.serve()

    server = await scripted(script)
    async with await connect(server, timing=fast) as client:
        answers = [client.send_nowait("bob", "hi") for _ in range(3)]
        assert (await answers[0]).op_seq == 1
        with pytest.raises(UnknownRecipient, match="nobody"):
            await answers[1]
        with pytest.raises(IdempotencyMismatch):
            await answers[2]
        with pytest.raises(UnknownAccount):
            await client.history("bob")
        await client.logout()


# ---- servers that leave, hang, or are replaced


@pytest.mark.parametrize("reason", [pb.LOGOUT_REASON_SERVER_LEAVING, pb.LOGOUT_REASON_SLOW_CONSUMER, 99])
async def test_a_goodbye_that_is_not_for_good_is_followed_by_another_login(
    scripted: Any, fast: Timing, reason: int
) -> None:
    async def leaving(stream: Any) -> None:
        await stream.welcome()
        await stream.operation("send")
        await stream.log_out(reason, "I leave")

    async def staying(stream: Any) -> None:
        await stream.welcome()
        await stream.serve()

    states: list[tuple[State, str]] = []
    server = await scripted(leaving, staying)
    async with await connect(server, timing=fast, on_state=lambda *state: states.append(state)) as client:
        await client.send("bob", "hi")
        await client.logout()
    assert states == [
        (State.CONNECTING, ""),
        (State.CONNECTED, server.address),
        (State.RECONNECTING, "I leave"),
        (State.CONNECTED, server.address),
        (State.CLOSED, "logged out"),
    ]


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (pb.LOGOUT_REASON_REPLACED, LogoutReason.REPLACED),
        (pb.LOGOUT_REASON_ACCOUNT_DELETED, LogoutReason.ACCOUNT_DELETED),
    ],
)
async def test_a_goodbye_for_good_is_told_to_everybody_who_waits(
    scripted: Any, fast: Timing, sent: int, reason: LogoutReason
) -> None:
    async def script(stream: Any) -> None:
        await stream.welcome()
        kinds = [(await stream.operation()).WhichOneof("kind") for _ in range(2)]
        assert sorted(kinds) == ["history", "send"]
        await stream.log_out(sent, "over")

    server = await scripted(script)
    async with await connect(server, timing=fast) as client:

        async def iterate() -> None:
            async for _ in client.messages():
                pass

        waits = [iterate(), client.receive(), client.send("bob", "hi"), client.history("bob")]
        results = await asyncio.gather(*waits, return_exceptions=True)
        assert [(type(result), str(result), getattr(result, "reason", None)) for result in results] == [
            (LoggedOut, "over", reason)
        ] * 4
        with pytest.raises(LoggedOut, match="over"):
            client.send_nowait("bob", "hi")
        with pytest.raises(LoggedOut, match="over"):
            await client.logout()
        assert client.state is State.CLOSED
    assert server.streams == 1


@pytest.mark.parametrize(
    ("refusal", "reason"),
    [
        (Reason.REPLACED, LogoutReason.REPLACED),
        (Reason.ACCOUNT_DELETED, LogoutReason.ACCOUNT_DELETED),
        (Reason.UNKNOWN_ACCOUNT, LogoutReason.ACCOUNT_DELETED),
    ],
)
async def test_a_session_that_may_not_go_on_does_not_log_in_anew(
    scripted: Any, fast: Timing, refusal: Reason, reason: LogoutReason
) -> None:
    async def first(stream: Any) -> None:
        await stream.welcome()
        await stream.operation("send")
        await cut(stream)

    async def second(stream: Any) -> None:
        await stream.refuse(await stream.operation("login"), refusal)

    server = await scripted(first, second)
    async with await connect(server, timing=fast) as client:
        with pytest.raises(LoggedOut) as caught:
            await client.send("bob", "hi")
        assert caught.value.reason is reason
    assert server.streams == 2


async def test_a_hung_server_is_left_when_another_one_answers_as_the_primary(scripted: Any, fast: Timing) -> None:
    async def hangs(stream: Any) -> None:
        await stream.welcome()
        await stream.hang()

    old, new = await scripted(hangs), await scripted(role=rpb.ROLE_BACKUP)
    async with await connect(old, new, timing=fast) as client:
        assert client.server == old.address
        sending = asyncio.create_task(client.send("bob", "hi"))
        await new.was_asked(2)
        old.hangs, new.role, new.epoch = True, rpb.ROLE_PRIMARY, 2
        assert (await sending).op_seq == 1
        assert client.server == new.address


async def test_a_server_that_answers_pings_but_brings_nothing_to_an_end_is_left_too(
    scripted: Any, fast: Timing
) -> None:
    async def stuck(stream: Any) -> None:
        await stream.welcome()
        while True:
            operation = await stream.operation()
            if operation.HasField("ping"):
                await stream.answer(operation)

    old, new = await scripted(stuck), await scripted(role=rpb.ROLE_BACKUP)
    async with await connect(old, new, timing=fast) as client:
        sending = asyncio.create_task(client.send("bob", "hi"))
        await new.was_asked(2)
        new.role, new.epoch = rpb.ROLE_PRIMARY, 2
        await sending
        assert client.server == new.address


async def test_an_idle_session_that_receives_notices_a_hung_server(scripted: Any, fast: Timing) -> None:
    async def hangs(stream: Any) -> None:
        await stream.welcome()
        await stream.operation("ping")
        await stream.hang()

    async def speaks(stream: Any) -> None:
        await stream.welcome(epoch=2)
        await stream.push(1)
        await stream.serve()

    old, new = await scripted(hangs), await scripted(speaks, role=rpb.ROLE_BACKUP)
    async with await connect(old, new, timing=fast) as client:
        receiving = asyncio.create_task(client.receive())
        await new.was_asked(2)
        new.role, new.epoch = rpb.ROLE_PRIMARY, 2
        assert (await receiving).text == "m1"


async def test_a_slow_server_without_another_primary_is_waited_for(scripted: Any, fast: Timing) -> None:
    server: Any = None

    async def slow(stream: Any) -> None:
        await stream.welcome()
        operation = await stream.operation("send")
        await server.was_asked(4)  # the client has looked for another one, again and again
        await stream.answer(operation)
        await stream.serve()

    server = await scripted(slow)
    async with await connect(server, timing=fast) as client:
        await client.send("bob", "hi")
    assert server.streams == 1


async def test_a_server_that_says_nothing_at_all_is_given_up(scripted: Any, fast: Timing) -> None:
    async def hangs(stream: Any) -> None:
        await stream.welcome()
        await stream.hang()

    server = await scripted(hangs)
    async with await connect(server, timing=fast, give_up_s=0.5) as client:
        with pytest.raises(ServersGone) as caught:
            await client.send("bob", "hi")
        assert "has not answered" in caught.value.metadata["why"]


async def test_when_all_servers_are_gone_everybody_is_told(scripted: Any, fast: Timing) -> None:
    async def hangs(stream: Any) -> None:
        await stream.welcome()
        await stream.hang()

    server = await scripted(hangs)
    async with await connect(server, timing=fast) as client:
        waits = asyncio.gather(client.send("bob", "hi"), client.receive(), client.logout(), return_exceptions=True)
        await asyncio.sleep(0)
        await server.stop()
        for error in await waits:
            assert isinstance(error, ServersGone)
            assert str(error) == "Server shut down prematurely, so logging you out."


async def test_a_server_that_comes_back_on_its_port_is_found_again(scripted: Any, fast: Timing) -> None:
    server = await scripted()
    fast = Timing(connect_s=0.5, ping_s=0.1)
    async with await connect(server, timing=fast) as client:
        await client.send("bob", "one")
        await server.stop()
        sending = asyncio.create_task(client.send("bob", "two"))
        await server.start()
        assert (await sending).op_seq == 2


async def test_servers_of_another_cluster_are_not_gone_on_with(scripted: Any, fast: Timing) -> None:
    async def leaves(stream: Any) -> None:
        await stream.welcome()
        await stream.log_out(pb.LOGOUT_REASON_SERVER_LEAVING)

    other = await scripted(role=rpb.ROLE_BACKUP, cluster_id=b"x" * 16)
    server = await scripted(leaves, cluster_id=b"c" * 16)
    other_at_first = other.streams
    async with await connect(server, other, timing=fast, give_up_s=0.4) as client:
        server.role, other.role, other.epoch = rpb.ROLE_BACKUP, rpb.ROLE_PRIMARY, 9
        with pytest.raises(ServersGone) as caught:
            await client.receive()
        assert "another cluster" in caught.value.metadata["why"]
    assert other.streams == other_at_first


async def test_a_primary_that_drops_every_session_is_given_up(scripted: Any, fast: Timing) -> None:
    async def drops(stream: Any) -> None:
        await stream.welcome()
        await cut(stream)

    server = await scripted(drops)
    async with await connect(server, timing=fast, give_up_s=0.5) as client:
        with pytest.raises(ServersGone):
            await client.send("bob", "hi")
    assert server.streams > 2


async def test_without_reconnect_the_first_loss_is_the_end(scripted: Any, fast: Timing) -> None:
    async def first(stream: Any) -> None:
        await stream.welcome()
        await stream.operation("send")
        await cut(stream)

    server = await scripted(first)
    async with await connect(server, timing=fast, reconnect=False) as client:
        with pytest.raises(ConnectionLost, match="; the outcome of 1 operations is not known") as caught:
            await client.send("bob", "hi")
        assert caught.value.metadata == {"address": server.address, "unanswered": "1"}
    assert server.streams == 1


# ---- the end


async def test_the_log_out_waits_for_answers_and_carries_acknowledgements(scripted: Any, fast: Timing) -> None:
    async def script(stream: Any) -> None:
        await stream.welcome()
        send = await stream.operation("send")
        await stream.push(1)
        await stream.answer(send)
        kinds = []
        while "logout" not in kinds:
            kinds.append((await stream.operation()).WhichOneof("kind"))
        assert kinds == ["acknowledge", "logout"]
        await stream.log_out(pb.LOGOUT_REASON_REQUESTED)

    server = await scripted(script)
    async with await connect(server, timing=Timing(acknowledge_s=60)) as client:
        answer = client.send_nowait("bob", "hi")
        client.acknowledge(await client.receive())
        await client.logout()
        assert answer.done()
        await client.logout()  # nothing more happens
        assert [message async for message in client.messages()] == []


async def test_a_log_out_without_an_answer_is_asked_for_again_and_counts_no_answers(
    scripted: Any, fast: Timing
) -> None:
    async def first(stream: Any) -> None:
        await stream.welcome()
        await stream.answer(await stream.operation("send"))
        await stream.operation("logout")
        await cut(stream)

    async def second(stream: Any) -> None:
        login = await stream.welcome(next_op_seq=1)  # the client id was retired
        assert login.first_unanswered_op_seq == 0
        await stream.operation("logout")
        await stream.log_out(pb.LOGOUT_REASON_REQUESTED)

    server = await scripted(first, second)
    async with await connect(server, timing=fast) as client:
        await client.send("bob", "hi")
        leaving = asyncio.create_task(client.logout())
        await asyncio.sleep(0)
        with pytest.raises(ClientClosed):
            client.send_nowait("bob", "too late")
        await leaving


@pytest.mark.parametrize("refusal", [Reason.ACCOUNT_DELETED, Reason.UNKNOWN_ACCOUNT])
async def test_a_deletion_without_an_answer_has_happened_if_the_account_is_gone(
    scripted: Any, fast: Timing, refusal: Reason
) -> None:
    async def first(stream: Any) -> None:
        await stream.welcome()
        assert (await stream.operation("delete_account")).op_seq == 1
        await cut(stream)

    async def second(stream: Any) -> None:
        await stream.refuse(await stream.operation("login"), refusal)

    server = await scripted(first, second)
    async with await connect(server, timing=fast) as client:
        await asyncio.gather(client.delete_account(), client.delete_account())
        assert [message async for message in client.messages()] == []


async def test_a_deletion_that_is_refused_can_be_tried_again(scripted: Any, fast: Timing) -> None:
    async def script(stream: Any) -> None:
        await stream.welcome()
        await stream.refuse(await stream.operation("delete_account"), Reason.REPLACED)
        again = await stream.operation("delete_account")
        assert again.op_seq == 2
        await stream.write(pb.Event(tag=again.tag, account_deleted=pb.AccountDeleted(user="alice")))
        await stream.log_out(pb.LOGOUT_REASON_ACCOUNT_DELETED)

    server = await scripted(script)
    async with await connect(server, timing=fast) as client:
        with pytest.raises(Exception, match="no"):
            await client.delete_account()
        await client.delete_account()


async def test_closing_tells_everybody_who_waits_and_may_be_repeated(scripted: Any, fast: Timing) -> None:
    async def hangs(stream: Any) -> None:
        await stream.welcome()
        await stream.hang()

    server = await scripted(hangs)
    client = await connect(server, timing=fast)
    waits = asyncio.gather(client.send("bob", "hi"), client.ping(), client.receive(), return_exceptions=True)
    await asyncio.sleep(0)
    await client.close()
    await client.close()
    assert [type(error) for error in await waits] == [ClientClosed] * 3
    assert [message async for message in client.messages()] == []
    with pytest.raises(ClientClosed):
        await client.ping()


# ---- servers that break the protocol


@pytest.mark.parametrize(
    ("say", "text"),
    [
        pytest.param(lambda stream: stream.push(1, 3), "message 2 was left out", id="gap"),
        pytest.param(
            lambda stream: stream.refuse(pb.Operation(), Reason.FRAME_TOO_LARGE), "can't take a frame", id="frame"
        ),
        pytest.param(
            lambda stream: stream.write(pb.Event(welcome=pb.Welcome())), "accepted the login twice", id="welcome"
        ),
    ],
)
async def test_a_server_that_breaks_the_protocol_ends_the_session_aloud(
    scripted: Any, fast: Timing, say: Callable[[Any], Any], text: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def script(stream: Any) -> None:
        await stream.welcome()
        await say(stream)
        await stream.hang()

    server = await scripted(script)
    async with await connect(server, timing=fast) as client:
        with pytest.raises(ProtocolError, match=text):
            await client.ping()
    assert "the session of alice ends" in caplog.text


@pytest.mark.parametrize("next_op_seq", [1, 4])
async def test_a_server_that_counts_in_another_way_is_not_gone_on_with(
    scripted: Any, fast: Timing, next_op_seq: int
) -> None:
    async def first(stream: Any) -> None:
        await stream.welcome()
        await stream.answer(await stream.operation("send"))
        await stream.operation("send")
        await cut(stream)

    async def second(stream: Any) -> None:
        await stream.welcome(next_op_seq=next_op_seq)
        await stream.hang()

    server = await scripted(first, second)
    async with await connect(server, timing=fast) as client:
        await client.send("bob", "one")
        with pytest.raises(ProtocolError, match=f"expects operation {next_op_seq}, this client is between 2 and 3"):
            await client.send("bob", "two")


async def test_a_callback_that_fails_ends_the_session_with_its_error(scripted: Any, fast: Timing) -> None:
    async def script(stream: Any) -> None:
        await stream.welcome()
        await stream.push(1)
        await stream.hang()

    def fail(_: object) -> None:
        raise ZeroDivisionError("by the application")

    server = await scripted(script)
    async with await connect(server, timing=fast, on_message=fail) as client:
        with pytest.raises(ZeroDivisionError, match="by the application"):
            await client.ping()


async def test_a_state_callback_that_fails_changes_nothing(scripted: Any, fast: Timing) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    server = await scripted()
    async with await connect(server, timing=fast, on_state=fail) as client:
        await client.send("bob", "hi")
