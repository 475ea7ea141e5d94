"""An event loop in a thread of its own, for programs that have none."""

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, ClassVar, Self, TypeVar

T = TypeVar("T")


class Background:
    """The loop that all synchronous clients of this process share: gRPC works best with one loop a process.

    It starts with the first who wants it, and its thread is gone when the last one has let go of it.
    """

    _lock: ClassVar[threading.Lock] = threading.Lock()
    _shared: ClassVar["Background | None"] = None

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._users = 0
        self._thread = threading.Thread(target=self._run, name="chatsvc client", daemon=True)
        self._thread.start()

    @classmethod
    def hold(cls) -> "Background":
        """The shared loop, running until `release` is called as often as this."""
        with cls._lock:
            if cls._shared is None:
                cls._shared = Background()
            cls._shared._users += 1
            return cls._shared

    def release(self) -> None:
        """Let go of the loop. The last one waits until its thread is gone."""
        with self._lock:
            self._users -= 1
            if self._users:
                return
            if Background._shared is self:
                Background._shared = None
        self.loop.call_soon_threadsafe(self.loop.stop)
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def run(self, work: Coroutine[Any, Any, T], timeout_s: float | None = None) -> T:
        """Run a coroutine on the loop and wait for it here. What interrupts the wait cancels it.

        Raises:
            RuntimeError: this is the loop's own thread, which can't wait for itself.
            TimeoutError: it took longer.
        """
        if threading.current_thread() is self._thread:
            work.close()
            raise RuntimeError("a callback of a client can't wait for that client: use send_nowait, or another thread")
        future: Future[T] = asyncio.run_coroutine_threadsafe(work, self.loop)
        try:
            return future.result(timeout_s)
        except BaseException:
            future.cancel()
            raise

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self.loop) as runner:
            runner.get_loop().run_forever()
            # Leaving the block cancels what is left, and waits for it.
