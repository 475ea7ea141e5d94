"""Lines as they arrive."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from chatsvc.cli.lines import LINE_BYTES_MAX, read_lines


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Read end, write end; the write end is closed by the test."""
    reading, writing = os.pipe()
    yield reading, writing
    os.close(reading)


def test_a_line_is_there_before_the_input_ends(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    lines = read_lines(reading)
    os.write(writing, b"one\ntw")
    assert next(lines) == b"one"
    os.write(writing, b"o\n\nthree")
    assert [next(lines), next(lines)] == [b"two", b""]
    os.close(writing)
    assert list(lines) == [b"three"]


def test_an_input_that_ends_with_a_line_break_has_no_further_line(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    os.write(writing, b"one\n")
    os.close(writing)
    assert list(read_lines(reading)) == [b"one"]


def test_a_line_without_end_takes_bounded_memory(tmp_path: Path) -> None:
    endless = tmp_path / "endless"
    endless.write_bytes(b"x" * 1_000_000 + b"\nnext\n" + b"y" * 1_000_000)
    with endless.open("rb") as file:
        lines = list(read_lines(file.fileno()))
    assert lines == [b"x" * LINE_BYTES_MAX, b"next", b"y" * LINE_BYTES_MAX]
