"""Waking many who wait."""

import asyncio
import itertools

import pytest

from chatsvc.node.bell import WAKES_MAX, Bell


async def waiting(bell: Bell, count: int) -> list[asyncio.Task[bool]]:
    tasks = [asyncio.create_task(bell.wait()) for _ in range(count)]
    await asyncio.sleep(0)
    return tasks


async def test_all_who_wait_are_woken_a_few_in_each_iteration_of_the_loop() -> None:
    bell = Bell(1_000)
    tasks = await waiting(bell, 3 * WAKES_MAX)
    assert bell
    bell.ring()
    assert not bell
    woken = [0]
    while woken[-1] < len(tasks):
        await asyncio.sleep(0)
        woken.append(sum(task.done() for task in tasks))
    assert max(after - before for before, after in itertools.pairwise(woken)) == WAKES_MAX
    assert all(task.result() for task in tasks)


async def test_a_ring_while_others_are_still_being_woken_wakes_all_as_well() -> None:
    bell = Bell(1_000)
    first = await waiting(bell, WAKES_MAX + 1)
    bell.ring()
    second = await waiting(bell, WAKES_MAX + 1)
    bell.ring()
    async with asyncio.timeout(5):
        await asyncio.gather(*first, *second)


async def test_who_gives_up_is_not_woken_and_leaves_its_place() -> None:
    bell = Bell(1)
    (task,) = await waiting(bell, 1)
    assert not await bell.wait(), "one too many"
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not bell
    bell.ring()
    (task,) = await waiting(bell, 1)
    bell.ring()
    assert await task
