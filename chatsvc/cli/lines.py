"""Lines of standard input, each as soon as it is there."""

import os
from collections.abc import Iterator

LINE_BYTES_MAX = 64 * 1024
"""A longer line is cut, so that input without line breaks takes no memory. No message is half as long."""


def read_lines(fd: int) -> Iterator[bytes]:
    """Lines without their line breaks, until the end of the input.

    A line is yielded as soon as its line break was read; what follows the last one, at the end. This reads the
    descriptor itself, not a buffered file: a thread that waits here does not disturb the end of the program.
    """
    tail = b""
    while chunk := os.read(fd, 65_536):
        *lines, rest = chunk.split(b"\n")
        if lines:
            yield (tail + lines[0])[:LINE_BYTES_MAX]
            yield from lines[1:]
            tail = rest
        else:
            tail = (tail + rest)[:LINE_BYTES_MAX]
    if tail:
        yield tail
