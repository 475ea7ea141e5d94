"""Log entries, and the hash that chains each one to all before it."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from enum import IntEnum
from hashlib import blake2b
from struct import Struct

import msgspec

from chatsvc.replication.identity import Epoch, Position

NO_CHAIN = bytes(16)
"""Chain hash before the first entry."""

_HEADER = Struct(">QQHB16s")


class EntryKind(IntEnum):
    OP = 1  # a group of commands, opaque here
    CONFIG = 2  # membership, see configs.Config
    FEATURE = 3  # reserved: switches a format or protocol feature on for everybody


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One log entry. Entries of equal epoch and index are equal, and so is everything before them."""

    epoch: Epoch
    index: int  # from 1, no gaps
    kind: EntryKind
    payload: bytes
    chain: bytes  # BLAKE2b-128 of the previous entry's chain, this header and payload
    crc: int  # CRC-32 of header and payload, for whoever reads it back from a disk

    @property
    def position(self) -> Position:
        return Position(self.epoch, self.index)


def _header(epoch: Epoch, index: int, kind: int) -> bytes:
    return _HEADER.pack(index, epoch.counter, epoch.lot, kind, epoch.dir_id)


def make_entry(epoch: Epoch, index: int, kind: EntryKind, payload: bytes, previous_chain: bytes) -> Entry:
    """The entry that follows one whose chain hash is `previous_chain`."""
    header = _header(epoch, index, kind)
    chain = blake2b(previous_chain + header + payload, digest_size=16).digest()
    return Entry(epoch, index, kind, payload, chain, zlib.crc32(payload, zlib.crc32(header)))


def follows(entry: Entry, previous_chain: bytes) -> bool:
    """Is this entry, unaltered, the successor of one with that chain hash?"""
    header = _header(entry.epoch, entry.index, entry.kind)
    return blake2b(previous_chain + header + entry.payload, digest_size=16).digest() == entry.chain


def intact(entry: Entry) -> bool:
    """Are header and payload what was written? Cheaper than `follows`; needs no predecessor."""
    header = _header(entry.epoch, entry.index, entry.kind)
    return zlib.crc32(entry.payload, zlib.crc32(header)) == entry.crc


def payload_bytes(entries: Iterable[Entry]) -> int:
    return sum(len(entry.payload) for entry in entries)
