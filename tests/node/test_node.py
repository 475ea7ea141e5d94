"""The built-in engine, as a cluster of one on a real disk."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from chatsvc.domain.commands import AdvanceCursors, OpenSession, Sends
from chatsvc.domain.errors import NotReady, UnknownAccount
from chatsvc.domain.outcomes import Message, Outcome, SendsDone, SessionOpened
from chatsvc.node import node as node_module
from chatsvc.node.node import Node
from chatsvc.node.opening import NodeSettings
from chatsvc.replication import Settings, Timers
from chatsvc.storage import DataDirectory, StorageFailed

ALICE, BOB = b"a" * 16, b"b" * 16


class Subscriber:
    """Collects what it is told."""

    def __init__(self, account_id: int, incarnation: int) -> None:
        self.account_id, self.incarnation = account_id, incarnation
        self.messages: list[Message] = []
        self.events: list[str] = []

    def deliver(self, message: Message) -> None:
        self.messages.append(message)

    def replaced(self) -> None:
        self.events.append("replaced")

    def account_deleted(self) -> None:
        self.events.append("deleted")


class Running:
    """A node at work."""

    def __init__(self, path: Path) -> None:
        self.directory = DataDirectory.open(path)
        self.failures: list[Exception] = []
        settings = NodeSettings("a", "127.0.0.1:1", found=True, replication=Settings(timers=Timers().scaled(0.1)))
        self.node = Node(self.directory, settings, self.failures.append)

    async def start(self) -> None:
        await self.node.start()
        self.node.begin(lambda serving: None, lambda condition: None)
        async with asyncio.timeout(10):
            await self.node.serving()

    async def stop(self) -> None:
        await self.node.close(1.0)
        self.directory.close()


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    running = Running(tmp_path / "data")
    await running.start()
    yield running
    await running.stop()


def open_session(user: str, client_id: bytes, receives: bool = False) -> OpenSession:
    return OpenSession(user, client_id, receives, True, 0, 1)


def sends(client_id: bytes, op_seq: int, *texts: str, to: str = "bob") -> Sends:
    return Sends(client_id, op_seq, 0, True, [(to, text) for text in texts])


async def test_commands_are_carried_out_in_the_order_of_their_submission(running: Running) -> None:
    node = running.node
    await node.execute(open_session("alice", ALICE), open_session("bob", BOB))
    order: list[int] = []
    done = asyncio.Event()

    def note(number: int) -> None:
        order.append(number)
        if number == 499:
            done.set()

    for number in range(500):
        node.submit(sends(ALICE, number + 1, "x"), lambda outcome, number=number: note(number))
    async with asyncio.timeout(10):
        await done.wait()
    assert order == list(range(500))


async def test_a_subscriber_hears_every_message_from_its_subscription_on(running: Running) -> None:
    node = running.node
    opened, _ = await node.execute(open_session("bob", BOB, receives=True), open_session("alice", ALICE))
    assert isinstance(opened, SessionOpened)
    await node.execute(sends(ALICE, 1, "before"))
    subscriber = Subscriber(opened.account_id, opened.incarnation)
    assert node.subscribe(subscriber) == 1
    await node.execute(sends(ALICE, 2, "one", "two"))
    assert [(message.inbox_seq, message.text) for message in subscriber.messages] == [(2, "one"), (3, "two")]
    assert [message.text for message in await node.read_inbox(opened.account_id, 0, 10)] == ["before", "one", "two"]
    later = Subscriber(opened.account_id, opened.incarnation)
    node.subscribe(later)
    assert subscriber.events == ["replaced"]
    assert node.is_online(opened.account_id)
    node.unsubscribe(subscriber)
    assert node.is_online(opened.account_id), "a subscriber that was replaced takes nobody's place away"
    node.unsubscribe(later)
    assert not node.is_online(opened.account_id)


async def test_acknowledgements_are_gathered_and_can_be_waited_for(running: Running) -> None:
    node = running.node
    opened, _ = await node.execute(open_session("bob", BOB, receives=True), open_session("alice", ALICE))
    assert isinstance(opened, SessionOpened)
    await node.execute(sends(ALICE, 1, *"abcdef"))
    before = node.status().commit_index
    for inbox_seq in range(1, 5):
        node.acknowledge(opened.account_id, inbox_seq)
    await node.flush_acknowledgements()
    assert node.status().commit_index == before + 1
    assert [message.inbox_seq for message in await node.read_inbox(opened.account_id, 0, 10)] == [5, 6]


async def test_only_a_later_reign_is_news_to_who_knows_this_one(running: Running) -> None:
    node = running.node
    epoch = node.status().epoch
    async with asyncio.timeout(5):
        await node.primary_news(epoch)
    waiting = asyncio.create_task(node.primary_news(epoch + 1))
    await node.execute(open_session("alice", ALICE))
    assert not waiting.done()
    await node.close(1.0)
    async with asyncio.timeout(5):
        await waiting


async def test_large_groups_become_entries_of_bounded_size(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_module, "ENTRY_BYTES_MAX", 20_000)
    node = running.node
    await node.execute(open_session("alice", ALICE), open_session("bob", BOB))
    first = node.status().commit_index + 1
    outcomes = await node.execute(*(sends(ALICE, number + 1, "x" * 1_000) for number in range(100)))
    assert all(isinstance(outcome, SendsDone) for outcome in outcomes)
    end = node.status().commit_index + 1
    entries = running.directory.log.read(first, end, 1 << 30)
    assert max(len(entry.payload) for entry in entries) <= 20_000
    assert len(entries) >= 5


async def test_a_disk_that_fails_stops_the_server_and_leaves_nobody_waiting(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = running.node
    await node.execute(open_session("alice", ALICE))

    def fail(operations: object) -> None:
        raise StorageFailed("the disk failed")

    monkeypatch.setattr(running.directory.log, "carry_out", fail)
    with pytest.raises(NotReady):
        await node.execute(sends(ALICE, 1, "x", to="alice"))
    with pytest.raises(NotReady):
        await node.execute(AdvanceCursors([]))
    assert [str(error) for error in running.failures] == ["the disk failed"]
    with pytest.raises(NotReady):
        node.check_serving()


async def test_reading_the_history_of_nobody_is_refused(running: Running) -> None:
    with pytest.raises(UnknownAccount):
        await running.node.read_conversation("alice", "bob", 10, 0)


async def test_the_state_after_a_restart_is_the_state_before(tmp_path: Path) -> None:
    running = Running(tmp_path / "data")
    await running.start()
    await running.node.execute(open_session("alice", ALICE), open_session("bob", BOB))
    outcomes: list[Outcome] = await running.node.execute(sends(ALICE, 1, "one", "two"))
    digest = running.node.status().self_member.state_hash
    await running.stop()
    again = Running(tmp_path / "data")
    await again.start()
    assert again.node.status().self_member.state_hash == digest
    repeated = await again.node.execute(sends(ALICE, 1, "one", "two"))
    assert isinstance(outcomes[0], SendsDone)
    assert isinstance(repeated[0], SendsDone)
    assert repeated[0].answers == outcomes[0].answers
    assert not repeated[0].messages
    await again.stop()
