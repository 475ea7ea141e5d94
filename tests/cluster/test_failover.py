"""Three real servers with messages flowing: whatever dies, nothing acknowledged is lost, doubled or reordered."""

import asyncio
import itertools
import random
import signal

import pytest

from chatsvc.v1 import replication_pb2 as pb
from chatsvc.v1.replication_pb2_grpc import ReplicationStub
from tests.cluster.processes import Cluster
from tests.cluster.traffic import Traffic

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

SEED = 20_260


def backups(cluster: Cluster, primary: str) -> list[str]:
    return [name for name in cluster.servers if name != primary]


async def test_the_primary_dies_again_and_again(cluster: Cluster, traffic: Traffic) -> None:
    for _ in range(6):
        primary = await cluster.all_in_sync()
        cluster[primary].kill()
        await traffic.flows()
        assert await cluster.primary() != primary
        cluster[primary].start()
    await cluster.all_in_sync()
    await cluster.same_state()


async def test_whoever_waits_for_news_hears_of_the_new_primary_at_once(cluster: Cluster) -> None:
    primary = await cluster.all_in_sync()
    before = await cluster.status(primary)
    assert before is not None
    request = pb.GetStatusRequest(wait_ms=5_000, epoch=before.epoch)
    questions = [
        asyncio.ensure_future(ReplicationStub(cluster.channel(name)).GetStatus(request))
        for name in backups(cluster, primary)
    ]
    _, held = await asyncio.wait(questions, timeout=0.3)
    assert len(held) == 2
    cluster[primary].kill()
    async with asyncio.timeout(4.0):
        answers = await asyncio.gather(*questions)
    assert {answer.primary for answer in answers} == {cluster[await cluster.primary()].address}
    assert all(answer.epoch > before.epoch for answer in answers)
    assert any(answer.serving for answer in answers)


async def test_two_servers_die_at_once(cluster: Cluster, traffic: Traffic) -> None:
    for victims in itertools.combinations("abc", 2):
        await cluster.all_in_sync()
        for name in victims:
            cluster[name].kill()
        await traffic.flows()
        for name in victims:
            cluster[name].start()
    await cluster.all_in_sync()
    await cluster.same_state()


@pytest.mark.parametrize("order", ["primary first", "backup first"])
async def test_two_servers_die_one_after_the_other_at_any_distance(
    cluster: Cluster, traffic: Traffic, order: str
) -> None:
    dice = random.Random(SEED)
    for distance_s in (0.0, 0.02, 0.08, 0.2, 0.6):
        primary = await cluster.all_in_sync()
        victims = [primary, dice.choice(backups(cluster, primary))]
        if order == "backup first":
            victims.reverse()
        cluster[victims[0]].kill()
        await asyncio.sleep(distance_s)
        cluster[victims[1]].kill()
        await traffic.flows()
        for name in victims:
            cluster[name].start()
    await cluster.all_in_sync()


async def test_the_new_primary_dies_right_after_its_promotion(cluster: Cluster, traffic: Traffic) -> None:
    for _ in range(3):
        primary = await cluster.all_in_sync()
        cluster[primary].kill()
        successor = await cluster.primary()
        assert successor != primary
        cluster[successor].kill()
        await traffic.flows()
        cluster[primary].start()
        cluster[successor].start()
    await cluster.all_in_sync()


async def test_a_server_dies_while_it_joins(cluster: Cluster, traffic: Traffic) -> None:
    dice = random.Random(SEED)
    primary = await cluster.all_in_sync()
    joiner = backups(cluster, primary)[0]
    for _ in range(4):
        cluster[joiner].kill()
        cluster[joiner].start()
        await asyncio.sleep(dice.uniform(0.3, 1.5))
    cluster[primary].kill()
    await traffic.flows()
    cluster[primary].start()
    await cluster.all_in_sync()


@pytest.mark.parametrize("order", list(itertools.permutations("abc")), ids="".join)
async def test_all_die_and_restart_in_any_order(cluster: Cluster, traffic: Traffic, order: tuple[str, ...]) -> None:
    for name in "abc":
        cluster[name].kill()
    for name in order:
        cluster[name].start()
    await traffic.flows()
    await cluster.all_in_sync()
    await cluster.same_state()


async def test_a_hung_primary_is_replaced_and_steps_down_when_it_wakes(cluster: Cluster, traffic: Traffic) -> None:
    for _ in range(2):
        primary = await cluster.all_in_sync()
        cluster[primary].signal(signal.SIGSTOP)
        await traffic.flows()
        cluster[primary].signal(signal.SIGCONT)
        await cluster.all_in_sync()
    await cluster.same_state()


async def test_a_hung_backup_holds_writes_up_only_until_it_is_dropped(cluster: Cluster, traffic: Traffic) -> None:
    primary = await cluster.all_in_sync()
    backup = backups(cluster, primary)[0]
    cluster[backup].signal(signal.SIGSTOP)
    await traffic.flows()
    assert await cluster.primary() == primary
    cluster[backup].signal(signal.SIGCONT)
    await cluster.all_in_sync()


async def test_an_emptied_server_comes_back_as_a_new_member(cluster: Cluster, traffic: Traffic) -> None:
    primary = await cluster.all_in_sync()
    victim = backups(cluster, primary)[0]
    cluster[victim].kill()
    for file in cluster[victim].data_dir.iterdir():
        file.unlink()
    cluster[victim].start()
    await cluster.all_in_sync()
    cluster[primary].kill()
    await traffic.flows()
    cluster[primary].start()
    await cluster.all_in_sync()
    await cluster.same_state()
