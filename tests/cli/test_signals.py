"""A clean end on signals."""

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from chatsvc.cli import signals
from chatsvc.cli.signals import STOPPING, ReaderWatch, Stopped, postponed, stop_on_signals


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    handlers = {number: signal.getsignal(number) for number in STOPPING}
    stop_on_signals()
    yield
    signal.set_wakeup_fd(-1)
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Read end, write end."""
    ends = os.pipe()
    yield ends
    for end in ends:
        try:
            os.close(end)
        except OSError:
            pass  # closed by the test


@pytest.mark.parametrize("number", STOPPING)
def test_a_signal_stops_what_waits(number: signal.Signals) -> None:
    never = threading.Event()
    threading.Timer(0.05, signal.pthread_kill, (threading.get_ident(), number)).start()
    with pytest.raises(Stopped) as stopped:
        never.wait(10)
    assert stopped.value.number == number


def test_a_signal_that_is_noted_before_a_wait_ends_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    nudged = threading.Event()
    signal.signal(signals._NUDGE, lambda number, frame: nudged.set())
    signal.signal(signal.SIGHUP, lambda number, frame: None)  # noted, but nobody raises
    signal.raise_signal(signal.SIGHUP)
    assert nudged.wait(10)


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    stop_on_signals()
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def raise_in_postponement(output_fd: int, *numbers: signal.Signals) -> list[str]:
    """Raise signals in a postponement; whether what follows them in it was reached."""
    reached: list[str] = []

    def run() -> None:
        with postponed(output_fd):
            for number in numbers:
                signal.raise_signal(number)
            reached.append("shown and acknowledged")

    with pytest.raises(Stopped):
        run()
    return reached


def test_a_signal_takes_effect_after_what_must_not_be_torn(pipe: tuple[int, int]) -> None:
    assert raise_in_postponement(pipe[1], signal.SIGTERM)


def test_a_second_signal_takes_effect_at_once(pipe: tuple[int, int]) -> None:
    assert not raise_in_postponement(pipe[1], signal.SIGTERM, signal.SIGINT)


def test_a_signal_takes_effect_at_once_while_the_reader_is_waited_for(pipe: tuple[int, int]) -> None:
    os.set_blocking(pipe[1], False)
    full = bytes(1 << 20)
    while os.write(pipe[1], full) == len(full):
        pass
    assert not raise_in_postponement(pipe[1], signal.SIGTERM)


def test_handlers_are_as_before_after_a_postponement(pipe: tuple[int, int]) -> None:
    before = [signal.getsignal(number) for number in STOPPING]
    with postponed(pipe[1]):
        pass
    assert [signal.getsignal(number) for number in STOPPING] == before


def test_a_reader_that_leaves_is_noticed_while_waiting(pipe: tuple[int, int]) -> None:
    never = threading.Event()
    with ReaderWatch(pipe[1]) as watch:
        threading.Timer(0.05, os.close, (pipe[0],)).start()
        with pytest.raises(BrokenPipeError), watch.waiting():
            never.wait(10)


def test_a_reader_that_leaves_does_not_interrupt_anything_else(pipe: tuple[int, int]) -> None:
    gone = threading.Event()
    with ReaderWatch(pipe[1]) as watch:
        os.close(pipe[0])
        gone.wait(0.3)  # nothing is raised here ...
        with pytest.raises(BrokenPipeError), watch.waiting():
            pass  # ... but at the next wait


def test_a_file_has_no_reader_to_watch(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("out") / "file"
    with path.open("wb") as file, ReaderWatch(file.fileno()) as watch, watch.waiting():
        pass
