"""CONFIG: the log entry that says who is a member and who is in sync, and the chain of such entries."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from chatsvc.replication.entries import Entry, EntryKind
from chatsvc.replication.identity import DirId, Epoch, Member, Position

REMOVED_MAX = 64


class Mode(StrEnum):
    AVAILABLE = "available"
    MAJORITY = "majority"


class Config(msgspec.Struct, frozen=True, gc=False):
    """Membership as one log entry says it; in effect from the moment it is in a log, committed or not.

    CONFIGs are ordered by (epoch, index).
    """

    epoch: Epoch
    index: int
    in_sync: tuple[DirId, ...]  # whom a commit waits for; sorted, never empty
    members: tuple[Member, ...]  # sorted; the servers in sync and the learners
    mode: Mode
    reason: str  # why it was written, for people
    bypassed: tuple[DirId, ...]  # passed over on silence alone and not back yet
    removed: tuple[DirId, ...]  # directories that were sent away, newest last, REMOVED_MAX at most
    forced: bool = False  # an operator has overridden the rules once: acknowledged entries may be missing

    @property
    def position(self) -> Position:
        return Position(self.epoch, self.index)

    @property
    def degraded(self) -> bool:
        """Were members passed over that may have gone on by themselves?"""
        return bool(self.bypassed)

    def address_of(self, dir_id: DirId) -> str | None:
        for member in self.members:
            if member.dir_id == dir_id:
                return member.address
        return None

    def member(self, dir_id: DirId) -> Member | None:
        for member in self.members:
            if member.dir_id == dir_id:
                return member
        return None


class ConfigContent(msgspec.Struct, frozen=True, array_like=True):
    """Payload of a CONFIG entry."""

    in_sync: tuple[DirId, ...]
    members: tuple[Member, ...]
    mode: Mode
    reason: str
    bypassed: tuple[DirId, ...] = ()
    removed: tuple[DirId, ...] = ()
    forced: bool = False


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(ConfigContent)


def encode_config(content: ConfigContent) -> bytes:
    """Payload of a CONFIG entry; the members in sync must be members."""
    assert content.in_sync, "a CONFIG without anybody in sync"
    assert set(content.in_sync) <= {member.dir_id for member in content.members}
    return _encoder.encode(content)


def decode_config(entry: Entry) -> Config:
    assert entry.kind == EntryKind.CONFIG
    content = _decoder.decode(entry.payload)
    return Config(
        entry.epoch,
        entry.index,
        content.in_sync,
        content.members,
        content.mode,
        content.reason,
        content.bypassed,
        content.removed,
        content.forced,
    )


Chain = tuple[Config, ...]
"""Of one log: the newest CONFIG known committed and every later one; all CONFIGs while none is known
committed (the first entry of every log is its founder's CONFIG)."""
