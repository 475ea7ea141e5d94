"""The accounts that pairs keep, against a real server: what goes wrong is counted as what it is."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from chatsvc.bench.orders import Connect, Counts, Start
from chatsvc.bench.team import Team
from chatsvc.client import AsyncClient

QUIET_S = 0.5
DEADLINE_S = 10.0
SIZE = 30
BATCH = "test"

Join = Callable[..., Awaitable[Team]]


@pytest.fixture
async def join(server: Any) -> AsyncIterator[Join]:
    """Logs a team in; at the end, out."""
    teams: list[Team] = []

    async def join(pairs: int = 1, idle: int = 0) -> Team:
        team = Team()
        teams.append(team)
        await team.connect(Connect((server.address,), BATCH, 0, pairs, 0, idle, SIZE, 5.0))
        return team

    yield join
    for team in teams:
        await team.leave(delete=False)


async def send(team: Team, messages: int, window: int = 4) -> Counts:
    """Have messages sent and delivered."""
    total = team.counts().acked + messages
    team.start(Start(window, None, messages))
    await team.until(lambda: team.counts().acked == total, DEADLINE_S)
    return await halted(team)


async def halted(team: Team) -> Counts:
    await team.halt(deliveries=True, quiet_s=QUIET_S)
    return team.counts()


def text(number: int) -> str:
    """What a pair writes."""
    return f"{number:010}".ljust(SIZE, "t")


async def test_all_that_is_sent_is_acknowledged_and_delivered_once(join: Join) -> None:
    team = await join(3, idle=2)
    counts = await send(team, 100)
    assert (counts.sent, counts.acked, counts.delivered) == (100, 100, 100)
    assert (counts.lost, counts.doubled, counts.reordered, counts.foreign, counts.refused) == (0, 0, 0, 0, 0)
    taken = team.take()
    assert (taken.ack.total, taken.e2e.total, taken.late.total) == (100, 100, 0)
    assert team.take().ack.total == 0


async def test_a_rate_is_kept_and_what_has_no_room_counts_from_when_it_was_due(join: Join) -> None:
    team = await join(2)
    began_ns = team.counts().time_ns
    team.start(Start(16, 200.0, 40))
    await team.until(lambda: team.counts().acked == 40, DEADLINE_S)
    counts = await halted(team)
    assert (counts.acked_ns - began_ns) / 1e9 > 39 / 200
    assert team.take().late.total == 40
    team.start(Start(1, 1_000_000.0, 200))  # far more than a window of one can carry
    await team.until(lambda: team.counts().acked == 240, DEADLINE_S)
    await halted(team)
    first, last = team.take().ack.percentiles([0.01, 1.0])
    assert first is not None
    assert last is not None
    assert last > 10 * first  # the last one was due at the beginning


async def test_a_message_that_comes_twice_is_doubled(join: Join, server: Any) -> None:
    team = await join()
    await send(team, 5)
    async with await AsyncClient.connect(f"bench-{BATCH}-s0", [server.address], receive=False) as liar:
        await liar.send(f"bench-{BATCH}-r0", text(3))
    await team.until(lambda: team.counts().doubled > 0, DEADLINE_S)
    counts = team.counts()
    assert (counts.delivered, counts.doubled, counts.foreign) == (5, 1, 0)
    assert "message 3 again" in counts.trouble


@pytest.mark.parametrize(
    ("sender", "words"),
    [
        pytest.param("mallory", text(1), id="of somebody else"),
        pytest.param(f"bench-{BATCH}-s0", text(6), id="that was not sent yet"),
        pytest.param(f"bench-{BATCH}-s0", text(1)[:-1] + "x", id="with another end"),
        pytest.param(f"bench-{BATCH}-s0", "hello", id="without a number"),
    ],
)
async def test_a_message_that_nobody_has_sent_is_foreign(join: Join, server: Any, sender: str, words: str) -> None:
    team = await join()
    await send(team, 5)
    async with await AsyncClient.connect(sender, [server.address], receive=False) as liar:
        await liar.send(f"bench-{BATCH}-r0", words)
    await team.until(lambda: team.counts().foreign > 0, DEADLINE_S)
    counts = team.counts()
    assert (counts.delivered, counts.doubled, counts.foreign) == (5, 0, 1)


async def test_what_is_acknowledged_and_does_not_come_is_lost(join: Join, server: Any) -> None:
    team = await join()
    await send(team, 5)
    async with await AsyncClient.connect(f"bench-{BATCH}-r0", [server.address]):  # takes what is meant for another
        await team.until(lambda: team.counts().refused > 0, DEADLINE_S)
        counts = await send(team, 7)
    assert (counts.acked, counts.delivered, counts.lost) == (12, 5, 7)
    assert "logged out" in counts.trouble or "replaced" in counts.trouble


async def test_a_refused_message_is_neither_acknowledged_nor_lost(join: Join, server: Any) -> None:
    team = await join()
    await send(team, 5)
    async with await AsyncClient.connect(f"bench-{BATCH}-r0", [server.address], receive=False) as recipient:
        await recipient.delete_account()
    await team.until(lambda: team.counts().refused > 0, DEADLINE_S)
    team.start(Start(1, None, 1))
    await team.until(lambda: team.counts().refused > 1, DEADLINE_S)
    counts = await halted(team)
    assert (counts.sent, counts.acked, counts.lost, counts.unanswered) == (6, 5, 0, 0)


async def test_only_an_acknowledgement_of_a_later_reign_serves_a_sender_anew(join: Join) -> None:
    team = await join(2)
    team.expect(10**9)
    await send(team, 10)
    with pytest.raises(TimeoutError, match="2 senders were not served"):
        await team.served(0.05)
    team.expect(0)
    counts = await send(team, 10)
    served = await team.served(5)
    assert served.pause_ns > 0
    assert served.last_ns <= counts.acked_ns
