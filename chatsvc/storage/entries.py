"""Log entries, and the hash that chains each one to all before it."""

import zlib
from enum import IntEnum
from hashlib import blake2b
from struct import Struct

import msgspec

NO_CHAIN = bytes(16)
"""Chain hash before the first entry."""

EPOCH_BYTES = 22

NO_EPOCH = bytes(EPOCH_BYTES)
"""Below every real epoch."""


class EntryKind(IntEnum):
    """What an entry is about. The numbers are stored, so they never change."""

    OP = 1
    """A group of commands."""

    CONFIG = 2
    """Which servers there are."""

    FEATURE = 3
    """Switches a new format or protocol feature on."""


_IDENTITY = Struct(f">Q{EPOCH_BYTES}sB")
_HEADER = Struct(f">{EPOCH_BYTES}sB16sI")


class LogEntry(msgspec.Struct, frozen=True, gc=False):
    """One log entry. Entries of equal epoch and index are equal, and so is everything before them.

    Attributes:
        log_index: place in the log, from 1, no gaps.
        epoch: 22 bytes, ordered as bytes: counter (4), lot (2), dir_id (16), big endian.
        kind: what it is about.
        payload: opaque here.
        crc: CRC-32 of index, epoch, kind and payload.
        chain: BLAKE2b-128 of the previous entry's chain and of what the CRC covers.
    """

    log_index: int
    epoch: bytes
    kind: EntryKind
    payload: bytes
    crc: int
    chain: bytes

    @classmethod
    def make(cls, log_index: int, epoch: bytes, kind: EntryKind, payload: bytes, chain: bytes) -> "LogEntry":
        """An entry with its checksum.

        Args:
            chain: its own chain hash, see `chain_hash`.
        """
        assert len(epoch) == EPOCH_BYTES
        return cls(log_index, epoch, kind, payload, entry_crc(log_index, epoch, kind, payload), chain)


def chain_hash(previous_chain: bytes, log_index: int, epoch: bytes, kind: int, payload: bytes) -> bytes:
    """Chain hash of an entry: 16 bytes that depend on it and on everything before it."""
    return blake2b(previous_chain + _IDENTITY.pack(log_index, epoch, kind) + payload, digest_size=16).digest()


def entry_crc(log_index: int, epoch: bytes, kind: int, payload: bytes) -> int:
    """Checksum of an entry by itself."""
    return zlib.crc32(payload, zlib.crc32(_IDENTITY.pack(log_index, epoch, kind)))


def intact(entry: LogEntry) -> bool:
    """Is the entry what was written? Needs no predecessor and is cheaper than `follows`."""
    return entry_crc(entry.log_index, entry.epoch, entry.kind, entry.payload) == entry.crc


def follows(entry: LogEntry, previous_chain: bytes) -> bool:
    """Is this entry, unaltered, the successor of one with that chain hash?"""
    return chain_hash(previous_chain, entry.log_index, entry.epoch, entry.kind, entry.payload) == entry.chain


def pack(entry: LogEntry) -> bytes:
    """The entry as stored under its log index."""
    return _HEADER.pack(entry.epoch, entry.kind, entry.chain, entry.crc) + entry.payload


def unpack(log_index: int, stored: bytes) -> LogEntry:
    """The entry that was stored; not verified.

    Raises:
        struct.error: it is shorter than any entry.
        ValueError: there is no such kind.
    """
    epoch, kind, chain, crc = _HEADER.unpack_from(stored)
    return LogEntry(log_index, epoch, EntryKind(kind), stored[_HEADER.size :], crc, chain)
