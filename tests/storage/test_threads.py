import asyncio
import threading

import pytest

from chatsvc.storage import StorageThread


async def test_calls_are_made_in_one_thread_in_the_order_of_submission() -> None:
    thread = StorageThread("test")
    made: list[int] = []
    names: set[str] = set()

    def call(number: int) -> int:
        made.append(number)
        names.add(threading.current_thread().name)
        return number * 2

    results = await asyncio.gather(*(thread.submit(call, number) for number in range(100)))
    assert results == [number * 2 for number in range(100)]
    assert made == list(range(100))
    assert names == {"test"}
    thread.close()


async def test_what_a_call_raises_reaches_the_one_who_waits() -> None:
    thread = StorageThread("test")

    def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await thread.run(fail)
    assert await thread.run(int, "7") == 7, "the thread goes on"
    thread.close()


async def test_closing_makes_the_calls_that_wait() -> None:
    thread = StorageThread("test")
    go = threading.Event()
    made: list[int] = []
    first = thread.submit(go.wait, 10.0)
    futures = [thread.submit(made.append, number) for number in range(3)]
    go.set()
    await asyncio.to_thread(thread.close)
    assert made == [0, 1, 2]
    assert await first
    await asyncio.gather(*futures)
    thread.close()


async def test_a_cancelled_call_is_made_all_the_same() -> None:
    thread = StorageThread("test")
    go, made = threading.Event(), threading.Event()

    def call() -> None:
        go.wait(10.0)
        made.set()

    task = asyncio.create_task(thread.run(call))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go.set()
    assert await asyncio.to_thread(made.wait, 10.0)
    assert await thread.run(int, "1") == 1
    thread.close()


def test_a_call_that_outlives_its_loop_harms_nobody() -> None:
    thread = StorageThread("test")
    go = threading.Event()

    async def leave_it() -> None:
        thread.submit(go.wait, 10.0)

    asyncio.run(leave_it())
    go.set()

    async def call() -> int:
        return await thread.run(int, "3")

    assert asyncio.run(call()) == 3
    thread.close()
