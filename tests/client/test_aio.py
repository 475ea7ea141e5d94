"""The asynchronous client with a real server."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chatsvc.client import (
    AsyncClient,
    LoggedOut,
    LogoutReason,
    Message,
    QueueFull,
    State,
    Timing,
    op_id,
)
from chatsvc.client.outbox import QUEUE_MAX
from chatsvc.domain.errors import InvalidName, InvalidPage, InvalidText, UnknownAccount, UnknownRecipient
from chatsvc.domain.limits import WINDOW_OPS

DEADLINE_S = 10.0
Connect = Callable[..., Awaitable[AsyncClient]]


@pytest.fixture
async def connect(server: Any) -> AsyncIterator[Connect]:
    """Connects clients to the running server; closes them at the end."""
    clients: list[AsyncClient] = []

    async def connect(user: str, **options: Any) -> AsyncClient:
        client = await AsyncClient.connect(user, [server.address], **options)
        clients.append(client)
        return client

    yield connect
    for client in clients:
        await client.close()


async def take(client: AsyncClient, count: int) -> list[Message]:
    """The next messages, all acknowledged."""
    messages = [await client.receive(DEADLINE_S) for _ in range(count)]
    client.acknowledge(messages[-1])
    return messages


async def test_a_login_says_who_is_logged_in_and_what_waits(connect: Connect, server: Any) -> None:
    bob = await connect("Bob")
    assert (bob.user, bob.created, bob.waiting, bob.state) == ("Bob", True, 0, State.CONNECTED)
    assert (bob.server, bob.servers, len(bob.cluster_id)) == (server.address, (server.address,), 16)
    assert bob.epoch >= 1
    await bob.logout()
    alice = await connect("alice", receive=False)
    for number in range(3):
        await alice.send("bob", str(number))
    again = await connect("BOB")
    assert (again.user, again.created, again.waiting) == ("Bob", False, 3)
    assert [message.text for message in await take(again, 3)] == ["0", "1", "2"]


async def test_a_send_gives_a_receipt_and_the_message_arrives(connect: Connect) -> None:
    alice, bob = await connect("alice"), await connect("bob")
    receipt = await alice.send("BOB", "hello \u0000\U0001f600")
    (message,) = await take(bob, 1)
    assert (receipt.to, receipt.op_seq, receipt.conversation_seq, receipt.recipient_online) == ("BOB", 1, 1, True)
    assert (message.sender, message.recipient, message.text) == ("alice", "bob", "hello \u0000\U0001f600")
    assert (message.inbox_seq, message.conversation_seq, message.sender_deleted) == (1, 1, False)
    assert message.op_id == receipt.op_id == op_id(alice.client_id, 1) == f"{alice.client_id.hex()}/1"
    assert message.time == receipt.time
    assert message.time.tzinfo is UTC
    assert abs(datetime.now(UTC) - message.time) < timedelta(minutes=1)
    await bob.logout()
    assert not (await alice.send("bob", "are you there?")).recipient_online


async def test_many_sends_at_once_keep_their_order(connect: Connect) -> None:
    alice, bob = await connect("alice"), await connect("bob")
    count = 3 * WINDOW_OPS
    received = asyncio.create_task(take(bob, 1))

    async def receive() -> list[str]:
        texts = [message.text for message in await received]
        async for message in bob.messages():
            texts.append(message.text)
            if len(texts) == count:
                break
        return texts

    receiving = asyncio.create_task(receive())
    receipts = await asyncio.gather(*(alice.send("bob", str(number)) for number in range(count)))
    assert [receipt.conversation_seq for receipt in receipts] == list(range(1, count + 1))
    assert await receiving == [str(number) for number in range(count)]


async def test_refusals_are_typed_and_the_session_goes_on(connect: Connect) -> None:
    alice = await connect("alice")
    with pytest.raises(UnknownRecipient, match="there is no account") as caught:
        await alice.send("nobody", "hi")
    assert caught.value.metadata == {"name": "nobody"}
    for text in ("", "x" * 1_501, "x" * 1_000_000):
        with pytest.raises(InvalidText) as refused:
            await alice.send("alice", text)
        assert refused.value.metadata == {"limit": "1500", "length": str(len(text))}
    with pytest.raises(InvalidText, match="surrogates"):
        await alice.send("alice", "\udc80")
    for name in ("no name", "x" * 1_000, "\udc80", ""):
        with pytest.raises(InvalidName):
            await alice.send(name, "hi")
    with pytest.raises(UnknownAccount):
        await alice.history("nobody")
    with pytest.raises(InvalidPage):
        await alice.list_accounts(page_size=1_001)
    with pytest.raises(ValueError, match="at least 1"):
        await alice.history("alice", 0)
    assert (await alice.send("alice", "x" * 1_500)).op_seq == 4  # what needs no server takes no number


async def test_a_refused_login_is_an_error_of_connect(connect: Connect) -> None:
    with pytest.raises(UnknownAccount):
        await connect("nobody", create=False)
    with pytest.raises(InvalidName):
        await connect("no name")
    with pytest.raises(ValueError, match="HOST:PORT"):
        await AsyncClient.connect("alice", ["nowhere"])


async def test_a_later_login_that_receives_ends_the_earlier_one(connect: Connect) -> None:
    first = await connect("alice")
    await connect("alice", receive=False)  # which does not receive, so it ends nothing
    await first.ping()
    second = await connect("alice")
    with pytest.raises(LoggedOut) as caught:
        await first.receive(DEADLINE_S)
    assert caught.value.reason is LogoutReason.REPLACED
    await second.send("alice", "to myself")
    assert [message.text for message in await take(second, 1)] == ["to myself"]


async def test_what_was_not_acknowledged_comes_again_at_the_next_login(connect: Connect) -> None:
    alice, bob = await connect("alice"), await connect("bob")
    await asyncio.gather(*(alice.send("bob", str(number)) for number in range(5)))
    async for message in bob.messages():
        if message.text == "3":
            break  # its successor was not asked for: it counts as not taken
    await bob.logout()
    again = await connect("bob")
    assert [message.text for message in await take(again, 2)] == ["3", "4"]
    await again.logout()
    assert (await connect("bob")).waiting == 0


async def test_acknowledgements_are_told_without_a_log_out(connect: Connect, fast: Timing) -> None:
    alice, bob = await connect("alice"), await connect("bob", timing=fast)
    count = 600  # more than a server pushes without an acknowledgement
    await asyncio.gather(*(alice.send("bob", str(number)) for number in range(count)))
    async for message in bob.messages(timeout_s=DEADLINE_S):
        if message.text == str(count - 1):
            break


async def test_the_iteration_ends_when_no_message_comes(connect: Connect) -> None:
    bob = await connect("bob")
    assert [message async for message in bob.messages(timeout_s=0.05)] == []
    with pytest.raises(TimeoutError):
        await bob.receive(0.05)
    await bob.send("bob", "hi")
    assert [message.text async for message in bob.messages(timeout_s=0.5)] == ["hi"]


async def test_messages_can_be_taken_by_a_callback_which_acknowledges_them(connect: Connect) -> None:
    texts: list[str] = []
    bob = await connect("bob", on_message=lambda message: texts.append(message.text))
    for number in range(3):
        await bob.send("bob", str(number))
    await bob.logout()
    assert texts == ["0", "1", "2"]
    assert (await connect("bob")).waiting == 0


async def test_history_has_any_number_of_messages_oldest_first(connect: Connect) -> None:
    alice, bob = await connect("alice"), await connect("bob")
    count = 2_345
    await asyncio.gather(*(alice.send("bob", str(number)) for number in range(count)))
    texts = [str(number) for number in range(count)]
    assert [message.text for message in await bob.history("alice", 10_000)] == texts
    assert [message.text for message in await bob.history("ALICE", 1_500)] == texts[-1_500:]
    assert [message.text for message in await bob.history("alice", 3, before=11)] == texts[7:10]
    assert len(await bob.history("alice")) == 100
    assert await bob.history("alice", before=1) == []
    assert await bob.history("bob") == []


async def test_accounts_are_listed_by_page_and_all_of_them(connect: Connect) -> None:
    for name in ("carol", "Bob", "alice"):
        await connect(name)
    await (await connect("carola", receive=False)).logout()
    alice = await connect("alice")
    page = await alice.list_accounts(page_size=2)
    assert [account.name for account in page.accounts] == ["alice", "Bob"]
    rest = await alice.list_accounts(page_size=2, page_token=page.next_page_token)
    assert [(account.name, account.online) for account in rest.accounts] == [("carol", True), ("carola", False)]
    assert rest.next_page_token == ""
    assert [account.name async for account in alice.accounts("?O?")] == ["Bob"]
    assert [account.name async for account in alice.accounts("aro")] == ["carol", "carola"]
    assert page.accounts[0].created.tzinfo is UTC


async def test_a_deleted_account_is_gone_and_its_sessions_with_it(connect: Connect) -> None:
    alice, bob, phone = await connect("alice"), await connect("bob"), await connect("alice", receive=False)
    await alice.send("bob", "last words")
    await alice.delete_account()
    assert alice.state is State.CLOSED
    assert [message async for message in alice.messages()] == []
    with pytest.raises(LoggedOut) as caught:
        await alice.send("bob", "more")
    assert caught.value.reason is LogoutReason.ACCOUNT_DELETED
    with pytest.raises(Exception, match="deleted"):
        await phone.send("bob", "from my phone")
    assert [message.text for message in await take(bob, 1)] == ["last words"]
    assert [(message.sender, message.sender_deleted) for message in await bob.history("alice")] == [("alice", True)]
    with pytest.raises(UnknownRecipient):
        await bob.send("alice", "hello?")


async def test_a_cancelled_send_is_withdrawn_while_it_waits(connect: Connect) -> None:
    bob = await connect("bob")
    answers = [bob.send_nowait("bob", str(number)) for number in range(3)]
    answers[1].cancel()
    await asyncio.wait(answers)
    assert [message.text for message in await take(bob, 2)] == ["0", "2"]
    assert (await answers[2]).op_seq == 2


async def test_too_many_sends_at_once_are_held_back(connect: Connect) -> None:
    bob = await connect("bob", receive=False)
    answers = [bob.send_nowait("bob", "x") for _ in range(QUEUE_MAX)]
    with pytest.raises(QueueFull):
        bob.send_nowait("bob", "x")
    late = asyncio.create_task(bob.send("bob", "late"))
    await bob.room()
    answers.append(bob.send_nowait("bob", "x"))
    await asyncio.gather(*answers)
    assert bob.unanswered <= 1
    await late


async def test_the_session_goes_on_through_restarts_of_the_server(start_server: Any, free_port: int) -> None:
    server = await start_server(listen=f"127.0.0.1:{free_port}")
    states: list[State] = []
    patient = Timing(refused_s=20)
    alice = await AsyncClient.connect("alice", [server.address], receive=False, timing=patient)
    bob = await AsyncClient.connect(
        "bob", [server.address], on_state=lambda state, _: states.append(state), timing=patient
    )
    count, received = 3_000, 0

    async def send() -> None:
        for first in range(0, count, 100):
            await asyncio.gather(*(alice.send("bob", str(number)) for number in range(first, first + 100)))

    sending = asyncio.create_task(send())
    async for message in bob.messages():
        assert (message.text, message.inbox_seq) == (str(received), received + 1)
        received += 1
        if received in (500, 1_500):
            await server.stop()
            await server.start()
        if received == count:
            break
    await sending
    assert states.count(State.RECONNECTING) == 2
    await bob.logout()
    assert [message.conversation_seq for message in await alice.history("bob", count)] == list(range(1, count + 1))
    await alice.logout()


async def test_nothing_is_left_running_after_the_end(connect: Connect) -> None:
    before = asyncio.all_tasks()
    alice, bob = await connect("alice"), await connect("bob")
    await alice.send("bob", "hi")
    await alice.logout()
    await bob.close()
    own = [task for task in asyncio.all_tasks() - before if "chatsvc/client" in str(task.get_coro())]
    assert own == []
