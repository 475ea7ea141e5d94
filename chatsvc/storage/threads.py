"""Threads in which blocking calls are made, one after the other."""

import asyncio
from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

Result = TypeVar("Result")

_Job = tuple[Callable[..., Any], tuple[Any, ...], "asyncio.Future[Any]", asyncio.AbstractEventLoop]


class StorageThread:
    """One thread that makes calls in the order in which they were asked for.

    Args:
        name: of the thread, for debuggers.
    """

    def __init__(self, name: str) -> None:
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._thread = Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    async def run(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Make a call in the thread and wait for it.

        Cancelling is safe: the call is made, or goes on, all the same, and its result is dropped.
        """
        return await self.submit(function, *arguments)

    def submit(self, function: Callable[..., Result], *arguments: Any) -> "asyncio.Future[Result]":
        """Have a call made in the thread; on the event loop. The order of submission is the order of the calls."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Result] = loop.create_future()
        self._jobs.put((function, arguments, future, loop))
        return future

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            function, arguments, future, loop = job
            try:
                result = function(*arguments)
            except BaseException as error:  # whoever awaits the future is the owner, and gets it
                self._answer(loop, _set_exception, future, error)
            else:
                self._answer(loop, _set_result, future, result)
            del job, function, arguments, future  # nothing is kept alive while waiting for the next one

    @staticmethod
    def _answer(
        loop: asyncio.AbstractEventLoop,
        setter: Callable[["asyncio.Future[Any]", Any], None],
        future: "asyncio.Future[Any]",
        value: Any,
    ) -> None:
        try:
            loop.call_soon_threadsafe(setter, future, value)
        except RuntimeError:
            pass  # the loop is closed; nobody waits any more

    def close(self) -> None:
        """Make the calls that were asked for, then end the thread. Blocks. May be called twice."""
        self._jobs.put(None)
        self._thread.join()


def _set_result(future: "asyncio.Future[Any]", result: Any) -> None:
    if not future.done():
        future.set_result(result)


def _set_exception(future: "asyncio.Future[Any]", error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
