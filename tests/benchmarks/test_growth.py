"""Growth, tiny: directories are filled through the engine, served, asked, restarted and copied."""

from pathlib import Path
from typing import Any

import pytest

from benchmarks.growth import Size, Visitor, fill, measure, table, user_name
from chatsvc.v1 import chat_pb2 as pb
from chatsvc.v1.chat_pb2_grpc import ChatStub


def test_no_two_conversations_have_the_same_people() -> None:
    size = Size(messages=50_000, accounts=20)
    pairs = [size.conversation(number) for number in range(min(size.conversations, 20 * 9))]
    assert len({frozenset(pair) for pair in pairs}) == len(pairs)
    assert all(sender != recipient for sender, recipient in pairs)


async def test_a_filled_directory_has_what_clients_would_have_left(tmp_path: Path, start_server: Any) -> None:
    size = Size(messages=400, accounts=7)
    await fill(tmp_path / "filled", size)
    server = await start_server(data_dir=tmp_path / "filled")
    stub = ChatStub(server.channel())
    accounts = (await stub.ListAccounts(pb.ListAccountsRequest())).accounts
    assert [account.name for account in accounts] == [user_name(number) for number in range(7)]
    for number in range(size.conversations):
        user, peer = map(user_name, size.conversation(number))
        history = await stub.GetHistory(pb.GetHistoryRequest(user=user, peer=peer, limit=1_000))
        assert [message.conversation_seq for message in history.messages] == list(range(1, 101))
    welcome = await server.stream().login(user_name(1))
    assert welcome.acknowledged_inbox_seq == welcome.last_inbox_seq > 0, "what was sent was read"
    visitor, _ = await Visitor.log_in(server.address, user_name(0))
    await visitor.send(user_name(1))
    await visitor.read(user_name(1))
    visitor.leave()


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_a_size_gets_all_figures(tmp_path: Path) -> None:
    figures = await measure([Size(300, 4)], tmp_path, rounds=1, samples=2, catch_up=True)
    (figure,) = figures["sizes"]
    assert figure["login_ratio"] == figure["send_ratio"] == "1.00 (1.00 to 1.00)"
    for name in ("bytes", "rss_mib", "restart_s", "restart_killed_s", "catch_up_messages_per_s"):
        assert figure[name] > 0, name
    assert "| catch_up_s |" in table(figures["sizes"])
