"""Who is who: directories, process starts, reigns, members."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

DirId = bytes
"""Random 128-bit identity of a data directory: the only name the protocol knows a server by."""

ClusterId = bytes
"""Random 128-bit identity of a cluster; empty while a directory belongs to none yet."""

NO_CLUSTER: ClusterId = b""

NONCE_BITS = 64


def boot_id(start_number: int, nonce: int) -> int:
    """Name of one process start of a directory.

    It grows with every start, so whatever an earlier process sent is known to be old; the nonce tells two
    processes apart that run on copies of one directory.

    Args:
        start_number: 1, 2, 3, …; counted in the directory and on its disk before the process takes part.
        nonce: random, 64 bits.
    """
    assert start_number > 0
    assert 0 <= nonce < 1 << NONCE_BITS
    return start_number << NONCE_BITS | nonce


class Epoch(NamedTuple):
    """Number of one reign; epochs are ordered and only `dir_id` may use this one, once.

    The lot decides between candidates that stood at the same moment with the same counter.
    """

    counter: int
    lot: int  # random, 16 bits
    dir_id: DirId  # of the candidate

    def __str__(self) -> str:
        return f"{self.counter}.{self.lot}"


NO_EPOCH = Epoch(0, 0, b"")


class Position(NamedTuple):
    """A place in a log; of two logs the one whose end is greater is the more complete one."""

    epoch: Epoch
    log_index: int


NO_POSITION = Position(NO_EPOCH, 0)


class Identity(msgspec.Struct, frozen=True, gc=False):
    """The process that sends an envelope: what it is, and the labels people know it by."""

    cluster_id: ClusterId
    dir_id: DirId
    boot: int  # see boot_id
    address: str  # advertised, host:port
    name: str  # for people only


class Member(msgspec.Struct, frozen=True, order=True, gc=False):
    """A server that a CONFIG knows, in sync or learner."""

    dir_id: DirId
    address: str
    name: str
