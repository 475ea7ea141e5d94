"""One real server: killed in mid-traffic it comes back with everything that it had acknowledged."""

import asyncio
import json
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from chatsvc.client import AsyncCluster
from tests.cluster.processes import running
from tests.cluster.traffic import Traffic

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

SEED = 20_261


async def test_a_server_killed_in_mid_traffic_loses_nothing(tmp_path: Path) -> None:
    dice = random.Random(SEED)
    async with running(tmp_path, size=1) as cluster:
        traffic = Traffic(pairs=3)
        await traffic.start(cluster.addresses)
        for _ in range(8):
            await traffic.flows()
            await asyncio.sleep(dice.uniform(0, 0.3))
            cluster["a"].kill()
            cluster["a"].start()
        await traffic.flows()
        await traffic.settle()


async def test_a_server_that_is_told_to_stop_is_gone_within_three_seconds(tmp_path: Path) -> None:
    async with running(tmp_path, size=1) as cluster:
        traffic = Traffic(pairs=2)
        await traffic.start(cluster.addresses)
        for _ in range(2):
            await traffic.flows()
            async with asyncio.timeout(3.5):
                assert await asyncio.to_thread(cluster["a"].terminate) == 0
            cluster["a"].start()
        await traffic.flows()
        await traffic.settle()


@pytest.mark.parametrize("size", [1, 3], ids=["one server", "three servers, whose primary is killed, too"])
async def test_senders_killed_in_mid_sending_leave_no_message_twice(tmp_path: Path, size: int) -> None:
    """Numbered lines through `chatsvc send`, which is killed again and again: what it acknowledged is there once."""
    dice = random.Random(SEED)
    async with running(tmp_path, size) as cluster:
        address = ",".join(cluster.addresses)
        asking = AsyncCluster(cluster.addresses)
        command = [
            sys.executable,
            "-m",
            "chatsvc",
            "send",
            "--server",
            address,
            "--user",
            "alice",
            "--json",
            "alice",
            "-",
        ]
        acknowledged: list[str] = []
        written = 0
        for _ in range(6):
            process = subprocess.Popen(  # noqa: ASYNC220 - starting one takes a moment, and nothing else runs here
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            assert process.stdin is not None
            assert process.stdout is not None
            first = written + 1
            lines = "".join(f"{number}\n" for number in range(first, first + 400))
            written += 400
            await asyncio.to_thread(process.stdin.write, lines.encode())
            await asyncio.to_thread(process.stdin.flush)
            answered = [
                json.loads(await asyncio.to_thread(process.stdout.readline)) for _ in range(dice.randint(1, 50))
            ]
            victim = cluster[await cluster.all_in_sync()] if size > 1 else None
            if victim is not None and dice.random() < 0.5:
                victim.kill()
            process.send_signal(signal.SIGKILL)
            rest = await asyncio.to_thread(process.stdout.read)
            process.stdin.close()
            process.stdout.close()
            process.wait()
            answered += [json.loads(line) for line in rest.splitlines(keepends=True) if line.endswith(b"\n")]
            if victim is not None and not victim.is_running:
                victim.start()
            acknowledged += [f"{first + place}" for place in range(len(answered))]
        history = [message.text for message in await asking.history("alice", "alice", limit=written)]
        assert len(history) == len(set(history)), "doubled"
        assert set(acknowledged) <= set(history), "lost"
        assert history == sorted(history, key=int), "reordered"
        assert {int(text) for text in history} <= set(range(1, written + 1)), "invented"
