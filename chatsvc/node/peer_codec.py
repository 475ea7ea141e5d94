"""Envelopes of the replication core as the protos of service Replication, and back.

Total and strict: whatever bytes come in, the outcome is an envelope that has all that the core takes for granted, or
`BadEnvelope`. What goes out comes from the own core; an envelope that has no place on its way is a bug there.

On a stream the header (who sends, to whom) is left out where it is that of the envelope before; so both directions
have an object that remembers it.

Append and Ack are most of the traffic. Their bytes are put together here from parts, which the wire format allows: the
fields of a message may come in any order and from anywhere. That way an entry's payload is copied once, into the
frame, and the bytes of an epoch or of a batch of entries are made once for all followers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from functools import lru_cache
from typing import Any, NoReturn, TypeVar, cast

from google.protobuf.message import DecodeError, Message

from chatsvc.replication.configs import REMOVED_MAX, Chain, Config, Mode
from chatsvc.replication.entries import Entry, EntryKind
from chatsvc.replication.envelopes import (
    Ack,
    Announce,
    Append,
    Electorate,
    Envelope,
    EpochStart,
    Fenced,
    Hello,
    Nominate,
    Payload,
    PrimaryHint,
    Reject,
    RejectReason,
    Relinquish,
    Standing,
    StepDown,
    Survey,
    SurveyReply,
    Vote,
    VoteReply,
    Welcome,
)
from chatsvc.replication.identity import (
    NO_EPOCH,
    NONCE_BITS,
    DirId,
    Epoch,
    Identity,
    Member,
    Position,
)
from chatsvc.v1 import replication_pb2 as pb

ID_BYTES = 16
"""Of a cluster id and of a directory id."""

CHAIN_BYTES = 16
LABEL_MAX = 300
"""Characters of an address or a name."""

LOT_MAX = (1 << 16) - 1
NONCE_MASK = (1 << NONCE_BITS) - 1

DOWN_BYTES_MAX = 16 << 20
"""Of a frame from a primary, and of a response."""

UP_BYTES_MAX = 4 << 20
"""Of a frame from a follower, and of a request."""


class BadEnvelope(ValueError):
    """Bytes from a peer that are no envelope; the text says why."""


class Rpc(Enum):
    """The unary rpcs that carry envelopes; the value is the method's name."""

    SURVEY = "Survey"
    NOMINATE = "Nominate"
    VOTE = "Vote"
    ANNOUNCE = "Announce"


RPC_OF: dict[type[Payload], Rpc] = {
    Survey: Rpc.SURVEY,
    Nominate: Rpc.NOMINATE,
    Vote: Rpc.VOTE,
    Announce: Rpc.ANNOUNCE,
}

_MODES: list[tuple[Mode, pb.Mode]] = [
    (Mode.AVAILABLE, pb.MODE_AVAILABLE),
    (Mode.MAJORITY, pb.MODE_MAJORITY),
]
_MODE_OUT = dict(_MODES)
_MODE_IN: dict[int, Mode] = {number: mode for mode, number in _MODES}

_REASON_OUT: dict[RejectReason, pb.ReplicateResponse.RejectReason] = {
    reason: cast(
        pb.ReplicateResponse.RejectReason, pb.ReplicateResponse.RejectReason.Value(f"REJECT_REASON_{reason.name}")
    )
    for reason in RejectReason
}
_REASON_IN: dict[int, RejectReason] = {number: reason for reason, number in _REASON_OUT.items()}

_KIND_OUT: dict[EntryKind, int] = {kind: pb.EntryKind.Value(f"ENTRY_KIND_{kind.name}") for kind in EntryKind}
_KIND_IN: dict[int, EntryKind] = {number: kind for kind, number in _KIND_OUT.items()}


def _bad(why: str) -> NoReturn:
    raise BadEnvelope(why)


# ---- wire format


def _varint(value: int) -> bytes:
    if value < 0x80:
        return bytes((value,))
    parts = bytearray()
    while value >= 0x80:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)


_VARINT, _BYTES, _FIXED32 = 0, 2, 5


def _tag(message: type[Message], field: str, wire_type: int) -> bytes:
    return _varint(message.DESCRIPTOR.fields_by_name[field].number << 3 | wire_type)


_UP, _DOWN = pb.ReplicateRequest, pb.ReplicateResponse

_UP_ENVELOPE = _tag(_UP, "envelopes", _BYTES)
_DOWN_ENVELOPE = _tag(_DOWN, "envelopes", _BYTES)
_UP_HEADER = _tag(_UP.Envelope, "header", _BYTES)
_DOWN_HEADER = _tag(_DOWN.Envelope, "header", _BYTES)
assert _UP_HEADER == _DOWN_HEADER
_ACK = _tag(_UP.Envelope, "ack", _BYTES)
_ACK_EPOCH = _tag(_UP.Ack, "epoch", _BYTES)
_APPEND = _tag(_DOWN.Envelope, "append", _BYTES)
_APPEND_EPOCH = _tag(_DOWN.Append, "epoch", _BYTES)
_APPEND_PREV = _tag(_DOWN.Append, "prev", _BYTES)
_APPEND_ENTRY = _tag(_DOWN.Append, "entries", _BYTES)
_POSITION_EPOCH = _tag(pb.Position, "epoch", _BYTES)
_POSITION_INDEX = _tag(pb.Position, "log_index", _VARINT)
_ENTRY_EPOCH = _tag(pb.Entry, "epoch", _BYTES)
_ENTRY_PAYLOAD = _tag(pb.Entry, "payload", _BYTES)
_ENTRY_CRC = _tag(pb.Entry, "crc", _FIXED32)
_ENTRY_CHAIN = _tag(pb.Entry, "chain", _BYTES) + _varint(CHAIN_BYTES)
_ENTRY_KIND: dict[EntryKind, bytes] = {
    kind: _tag(pb.Entry, "kind", _VARINT) + _varint(number) for kind, number in _KIND_OUT.items()
}


@lru_cache(maxsize=64)
def _epoch_field(tag: bytes, epoch: Epoch) -> bytes:
    body = _epoch_out(epoch).SerializeToString()
    return tag + _varint(len(body)) + body


# ---- parts, out


def _epoch_out(epoch: Epoch) -> pb.Epoch:
    return pb.Epoch(counter=epoch.counter, lot=epoch.lot, dir_id=epoch.dir_id)


def _position_out(position: Position) -> pb.Position:
    return pb.Position(epoch=_epoch_out(position.epoch), log_index=position.log_index)


def _source_out(identity: Identity) -> pb.Source:
    return pb.Source(
        cluster_id=identity.cluster_id,
        dir_id=identity.dir_id,
        start_number=identity.boot >> NONCE_BITS,
        start_nonce=identity.boot & NONCE_MASK,
        address=identity.address,
        name=identity.name,
    )


def _header_out(envelope: Envelope) -> pb.Header:
    return pb.Header(source=_source_out(envelope.source), address=envelope.address, dir_id=envelope.dir_id or b"")


def _members_out(members: Iterable[Member]) -> list[pb.ConfigMember]:
    return [pb.ConfigMember(dir_id=member.dir_id, address=member.address, name=member.name) for member in members]


def _config_out(config: Config) -> pb.Config:
    return pb.Config(
        epoch=_epoch_out(config.epoch),
        log_index=config.index,
        in_sync=config.in_sync,
        members=_members_out(config.members),
        mode=_MODE_OUT[config.mode],
        reason=config.reason,
        bypassed=config.bypassed,
        forced=config.forced,
        removed=config.removed,
    )


def _hint_out(hint: PrimaryHint | None) -> pb.PrimaryHint | None:
    if hint is None:
        return None
    return pb.PrimaryHint(epoch=_epoch_out(hint.epoch), dir_id=hint.dir_id, address=hint.address)


def _standing_out(standing: Standing) -> pb.Standing:
    return pb.Standing(
        lease_left_ms=standing.lease_left,
        lease_giver=standing.lease_giver or b"",
        lease_epoch=None if standing.lease_epoch is None else _epoch_out(standing.lease_epoch),
        latched=standing.latched,
        chain=[_config_out(config) for config in standing.chain],
        granted_to=standing.granted_to,
        durable_index=standing.durable_index,
    )


def _fenced_out(fenced: Fenced) -> pb.Fenced:
    return pb.Fenced(promised=_epoch_out(fenced.promised))


# ---- parts, in


def _epoch_in(epoch: pb.Epoch) -> Epoch:
    dir_id, lot = epoch.dir_id, epoch.lot
    if len(dir_id) != ID_BYTES:
        if dir_id or lot or epoch.counter:
            _bad("an epoch without a directory id of 16 bytes")
        return NO_EPOCH
    if lot > LOT_MAX:
        _bad("an epoch's lot beyond 16 bits")
    return Epoch(epoch.counter, lot, dir_id)


def _reign_in(epoch: pb.Epoch) -> Epoch:
    """An epoch that must not be the one before all reigns."""
    known = _epoch_in(epoch)
    if known is NO_EPOCH:
        _bad("no epoch where a reign is meant")
    return known


def _position_in(position: pb.Position) -> Position:
    return Position(_epoch_in(position.epoch), position.log_index)


def _dir_in(dir_id: bytes) -> DirId:
    if len(dir_id) != ID_BYTES:
        _bad("a directory id that does not have 16 bytes")
    return dir_id


def _dir_or_none_in(dir_id: bytes) -> DirId | None:
    return _dir_in(dir_id) if dir_id else None


def _dirs_in(dir_ids: Sequence[bytes]) -> tuple[DirId, ...]:
    return tuple([_dir_in(dir_id) for dir_id in dir_ids])


def _address_in(address: str) -> str:
    if not 0 < len(address) <= LABEL_MAX:
        _bad("an address that is empty or too long")
    return address


def _name_in(name: str) -> str:
    if len(name) > LABEL_MAX:
        _bad("a name that is too long")
    return name


def _source_in(source: pb.Source) -> Identity:
    cluster_id = source.cluster_id
    if len(cluster_id) not in (0, ID_BYTES):
        _bad("a cluster id that does not have 16 bytes")
    boot = source.start_number << NONCE_BITS | source.start_nonce
    return Identity(cluster_id, _dir_in(source.dir_id), boot, _address_in(source.address), _name_in(source.name))


def _header_in(header: pb.Header) -> tuple[Identity, str, DirId | None]:
    return _source_in(header.source), _address_in(header.address), _dir_or_none_in(header.dir_id)


def _members_in(members: Iterable[pb.ConfigMember]) -> tuple[Member, ...]:
    return tuple(
        [Member(_dir_in(member.dir_id), _address_in(member.address), _name_in(member.name)) for member in members]
    )


def _config_in(config: pb.Config) -> Config:
    in_sync, members = _dirs_in(config.in_sync), _members_in(config.members)
    if not in_sync or not {member.dir_id for member in members}.issuperset(in_sync):
        _bad("a CONFIG in which nobody is in sync, or somebody who is no member")
    mode = _MODE_IN.get(config.mode)
    if mode is None:
        _bad("an unknown mode")
    if len(config.removed) > REMOVED_MAX:
        _bad("a CONFIG with too many removed directories")
    if not config.log_index:
        _bad("a CONFIG without a log index")
    return Config(
        _reign_in(config.epoch),
        config.log_index,
        in_sync,
        members,
        mode,
        config.reason,
        _dirs_in(config.bypassed),
        _dirs_in(config.removed),
        config.forced,
    )


def _chain_in(chain: Iterable[pb.Config]) -> Chain:
    return tuple([_config_in(config) for config in chain])


def _hint_in(hint: pb.PrimaryHint) -> PrimaryHint:
    return PrimaryHint(_reign_in(hint.epoch), _dir_in(hint.dir_id), _address_in(hint.address))


def _standing_in(message: Message, standing: pb.Standing) -> Standing:
    if not message.HasField("standing"):
        _bad("an answer without a standing")
    return Standing(
        standing.lease_left_ms,
        _dir_or_none_in(standing.lease_giver),
        _epoch_in(standing.lease_epoch) if standing.HasField("lease_epoch") else None,
        standing.latched,
        _chain_in(standing.chain),
        _dirs_in(standing.granted_to),
        standing.durable_index,
    )


def _fenced_in(fenced: pb.Fenced) -> Fenced:
    return Fenced(_epoch_in(fenced.promised))


_M = TypeVar("_M", bound=Message)


def _parse(message: type[_M], data: bytes, bytes_max: int) -> _M:
    if len(data) > bytes_max:
        _bad(f"{len(data)} bytes, more than {bytes_max}")
    try:
        return message.FromString(data)
    except DecodeError:
        raise BadEnvelope(f"no {message.DESCRIPTOR.full_name}") from None


# ---- stream


class EntryBytes:
    """Batches of entries as the bytes they have in every Append; remembers the newest ones.

    One batch goes to several followers, and to all of them soon one after the other.
    """

    BATCHES_MAX = 8

    def __init__(self) -> None:
        self._batches: dict[tuple[int, Epoch], tuple[tuple[Entry, ...], list[bytes], int]] = {}

    def of(self, entries: tuple[Entry, ...], epoch: Epoch) -> tuple[list[bytes], int]:
        """Parts, not to be changed, and how many bytes they are, in an Append of that epoch."""
        key = id(entries), epoch  # the batch is kept beside its bytes, so its id is not used again
        known = self._batches.get(key)
        if known is None:
            parts: list[bytes] = []
            for entry in entries:
                parts += _entry_parts(entry, epoch)
            known = entries, parts, sum(map(len, parts))
            if len(self._batches) >= self.BATCHES_MAX:
                del self._batches[next(iter(self._batches))]
            self._batches[key] = known
        return known[1], known[2]

    def forget(self) -> None:
        """Let go of all batches."""
        self._batches.clear()


def _entry_parts(entry: Entry, epoch: Epoch) -> tuple[bytes, bytes]:
    payload = entry.payload
    head = b"".join(
        (
            b"" if entry.epoch == epoch else _epoch_field(_ENTRY_EPOCH, entry.epoch),
            _ENTRY_KIND[entry.kind],
            _ENTRY_CHAIN,
            entry.chain,
            _ENTRY_CRC,
            entry.crc.to_bytes(4, "little"),
            _ENTRY_PAYLOAD,
            _varint(len(payload)),
        )
    )
    return _APPEND_ENTRY + _varint(len(head) + len(payload)) + head, payload


class _Encoder:
    """What both directions of a stream have in common."""

    _envelope_tag: bytes

    def __init__(self) -> None:
        self._source: Identity | None = None
        self._address = ""
        self._dir_id: DirId | None = None

    def _header(self, envelope: Envelope) -> bytes:
        source = envelope.source
        if (
            (source is self._source or source == self._source)
            and envelope.address == self._address
            and envelope.dir_id == self._dir_id
        ):
            return b""
        self._source, self._address, self._dir_id = source, envelope.address, envelope.dir_id
        body = _header_out(envelope).SerializeToString()
        return _UP_HEADER + _varint(len(body)) + body

    def _wrap(self, header: bytes, body: bytes, parts_size: int = 0) -> bytes:
        """The beginning of an envelope of which `parts_size` bytes follow."""
        return self._envelope_tag + _varint(len(header) + len(body) + parts_size) + header + body


class UpEncoder(_Encoder):
    """What one follower sends on one stream."""

    _envelope_tag = _UP_ENVELOPE

    def __init__(self) -> None:
        super().__init__()
        self._ack = _UP.Ack()

    def encode(self, envelope: Envelope) -> list[bytes]:
        """Parts of the frame that has this envelope next."""
        header, payload = self._header(envelope), envelope.payload
        if type(payload) is Ack:
            ack = self._ack  # every field but the epoch is set each time
            ack.stream, ack.number = payload.stream, payload.number
            ack.durable_index, ack.received_index = payload.durable_index, payload.received_index
            ack.append_sent_at_ms, ack.append_last_index = payload.append_sent_at, payload.append_last_index
            ack.gap, ack.released_index, ack.leased = payload.gap, payload.released_index, payload.leased
            body = ack.SerializeToString() + _epoch_field(_ACK_EPOCH, payload.epoch)
            return [self._wrap(header, _ACK + _varint(len(body)) + body)]
        return [self._wrap(header, _up_payload_out(payload).SerializeToString())]


def _up_payload_out(payload: Payload) -> pb.ReplicateRequest.Envelope:
    match payload:
        case Hello():
            return _UP.Envelope(
                hello=_UP.Hello(
                    stream=payload.stream,
                    promised=_epoch_out(payload.promised),
                    last=_position_out(payload.last),
                    epochs=[
                        _UP.EpochStart(epoch=_epoch_out(start.epoch), first_index=start.first_index)
                        for start in payload.epochs
                    ],
                    log_start=payload.log_start,
                    commit_index=payload.commit_index,
                )
            )
        case Relinquish():
            return _UP.Envelope(relinquish=_UP.Relinquish(stream=payload.stream, epoch=_epoch_out(payload.epoch)))
        case Fenced():
            return _UP.Envelope(fenced=_fenced_out(payload))
    raise AssertionError(f"{type(payload).__name__} on a stream to a primary")


class DownEncoder(_Encoder):
    """What a primary sends on one stream.

    Args:
        entry_bytes: shared by all streams.
    """

    _envelope_tag = _DOWN_ENVELOPE

    def __init__(self, entry_bytes: EntryBytes) -> None:
        super().__init__()
        self._entry_bytes = entry_bytes
        self._append = _DOWN.Append()

    def encode(self, envelope: Envelope) -> list[bytes]:
        """Parts of the frame that has this envelope next."""
        header, payload = self._header(envelope), envelope.payload
        if type(payload) is Append:
            return self._encode_append(header, payload)
        return [self._wrap(header, _down_payload_out(payload).SerializeToString())]

    def _encode_append(self, header: bytes, payload: Append) -> list[bytes]:
        append = self._append  # every field but epoch, prev and entries is set each time
        append.stream, append.sent_at_ms = payload.stream, payload.sent_at
        append.last_index, append.commit_index = payload.last_index, payload.commit_index
        append.ack_seen, append.in_sync = payload.ack_seen, payload.in_sync
        epoch, prev, entries = payload.epoch, payload.prev, payload.entries
        position = _epoch_field(_POSITION_EPOCH, prev.epoch) + _POSITION_INDEX + _varint(prev.log_index)
        body = b"".join(
            (
                append.SerializeToString(),
                _epoch_field(_APPEND_EPOCH, epoch),
                _APPEND_PREV,
                _varint(len(position)),
                position,
            )
        )
        if not entries:
            return [self._wrap(header, _APPEND + _varint(len(body)) + body)]
        assert entries[0].index == prev.log_index + 1, "entries that do not follow prev"
        assert entries[-1].index == prev.log_index + len(entries), "entries with a gap"
        parts, size = self._entry_bytes.of(entries, epoch)
        return [self._wrap(header, _APPEND + _varint(len(body) + size) + body, size), *parts]


def _down_payload_out(payload: Payload) -> pb.ReplicateResponse.Envelope:
    match payload:
        case Welcome():
            return _DOWN.Envelope(
                welcome=_DOWN.Welcome(
                    stream=payload.stream,
                    epoch=_epoch_out(payload.epoch),
                    match_index=payload.match_index,
                    forced=payload.forced,
                )
            )
        case Reject():
            return _DOWN.Envelope(
                reject=_DOWN.Reject(
                    stream=payload.stream, reason=_REASON_OUT[payload.reason], primary=_hint_out(payload.primary)
                )
            )
        case StepDown():
            return _DOWN.Envelope(step_down=_DOWN.StepDown(stream=payload.stream, epoch=_epoch_out(payload.epoch)))
    raise AssertionError(f"{type(payload).__name__} on a stream to a follower")


class _Decoder:
    """What both directions of a stream have in common."""

    def __init__(self) -> None:
        self._header: tuple[Identity, str, DirId | None] | None = None

    def _envelope(
        self, message: pb.ReplicateRequest.Envelope | pb.ReplicateResponse.Envelope, payload: Payload
    ) -> Envelope:
        header = self._header
        if message.HasField("header"):
            old, header = header, _header_in(message.header)
            if old is not None and (old[0].dir_id != header[0].dir_id or old[0].boot != header[0].boot):
                _bad("another sender on the same stream")
            self._header = header
        elif header is None:
            _bad("no header on the first envelope of a stream")
        return Envelope(*header, 0, payload)


class UpDecoder(_Decoder):
    """What one follower says on one stream."""

    def __init__(self) -> None:
        super().__init__()
        self._opened = False

    def decode(self, frame: bytes) -> list[Envelope]:
        """Its envelopes, at least one; their link is 0.

        Raises:
            BadEnvelope: the frame is malformed, or is not what has to come now. The stream can't go on.
        """
        found = [
            self._envelope(envelope, self._payload(envelope)) for envelope in _parse(_UP, frame, UP_BYTES_MAX).envelopes
        ]
        if not found:
            _bad("a frame without envelopes")
        return found

    def _payload(self, message: pb.ReplicateRequest.Envelope) -> Payload:
        which = message.WhichOneof("payload")
        if (which == "hello") is self._opened:
            _bad("a second Hello" if self._opened else "a stream that does not begin with a Hello")
        self._opened = True
        if which == "ack":
            ack = message.ack
            return Ack(
                ack.stream,
                _reign_in(ack.epoch),
                ack.number,
                ack.durable_index,
                ack.received_index,
                ack.append_sent_at_ms,
                ack.append_last_index,
                ack.gap,
                ack.released_index,
                ack.leased,
            )
        if which == "hello":
            hello = message.hello
            return Hello(
                hello.stream,
                _epoch_in(hello.promised),
                _position_in(hello.last),
                tuple([EpochStart(_reign_in(start.epoch), start.first_index) for start in hello.epochs]),
                hello.log_start,
                hello.commit_index,
            )
        if which == "relinquish":
            return Relinquish(message.relinquish.stream, _reign_in(message.relinquish.epoch))
        if which == "fenced":
            return _fenced_in(message.fenced)
        _bad("an envelope without a payload")


class DownDecoder(_Decoder):
    """What the primary says on one stream."""

    def decode(self, frame: bytes) -> list[Envelope]:
        """Its envelopes, at least one; their link is 0.

        Raises:
            BadEnvelope: the frame is malformed. The stream can't go on.
        """
        found = [
            self._envelope(envelope, _down_payload_in(envelope))
            for envelope in _parse(_DOWN, frame, DOWN_BYTES_MAX).envelopes
        ]
        if not found:
            _bad("a frame without envelopes")
        return found


def _down_payload_in(message: pb.ReplicateResponse.Envelope) -> Payload:
    which = message.WhichOneof("payload")
    if which == "append":
        append = message.append
        epoch, prev = _reign_in(append.epoch), _position_in(append.prev)
        return Append(
            append.stream,
            epoch,
            append.sent_at_ms,
            prev,
            _entries_in(append.entries, epoch, prev.log_index),
            append.last_index,
            append.commit_index,
            append.ack_seen,
            append.in_sync,
        )
    if which == "welcome":
        welcome = message.welcome
        return Welcome(welcome.stream, _reign_in(welcome.epoch), welcome.match_index, welcome.forced)
    if which == "reject":
        reject = message.reject
        reason = _REASON_IN.get(reject.reason)
        if reason is None:
            _bad("an unknown reason")
        return Reject(reject.stream, reason, _hint_in(reject.primary) if reject.HasField("primary") else None)
    if which == "step_down":
        return StepDown(message.step_down.stream, _reign_in(message.step_down.epoch))
    _bad("an envelope without a payload")


def _entries_in(messages: Sequence[pb.Entry], epoch: Epoch, index: int) -> tuple[Entry, ...]:
    entries = []
    for message in messages:
        index += 1
        kind, chain = _KIND_IN.get(message.kind), message.chain
        if kind is None:
            _bad("an entry of an unknown kind")
        if len(chain) != CHAIN_BYTES:
            _bad("a chain hash that does not have 16 bytes")
        own_epoch = _reign_in(message.epoch) if message.HasField("epoch") else epoch
        entries.append(Entry(own_epoch, index, kind, message.payload, chain, message.crc))
    return tuple(entries)


# ---- unary calls


def encode_request(envelope: Envelope) -> tuple[Rpc, bytes]:
    """The rpc that carries this envelope, and its request."""
    header, payload = _header_out(envelope), envelope.payload
    request: Message
    match payload:
        case Survey():
            request = pb.SurveyRequest(header=header, survey_id=payload.survey_id, suspected=payload.suspected or b"")
        case Nominate():
            request = pb.NominateRequest(
                header=header,
                counter=payload.counter,
                committed=_config_out(payload.electorate.committed),
                voters=_members_out(payload.electorate.voters),
            )
        case Vote():
            request = pb.VoteRequest(
                header=header,
                epoch=_epoch_out(payload.epoch),
                last=_position_out(payload.last),
                committed=_config_out(payload.committed),
                sent_at_ms=payload.sent_at,
            )
        case Announce():
            request = pb.AnnounceRequest(header=header, epoch=_epoch_out(payload.epoch))
        case _:
            raise AssertionError(f"{type(payload).__name__} as a request")
    return RPC_OF[type(payload)], request.SerializeToString()


def _survey_in(data: bytes) -> tuple[pb.Header, Payload]:
    request = _parse(pb.SurveyRequest, data, UP_BYTES_MAX)
    return request.header, Survey(request.survey_id, _dir_or_none_in(request.suspected))


def _nominate_in(data: bytes) -> tuple[pb.Header, Payload]:
    request = _parse(pb.NominateRequest, data, UP_BYTES_MAX)
    electorate = Electorate(_config_in(request.committed), _members_in(request.voters))
    return request.header, Nominate(request.counter, electorate)


def _vote_in(data: bytes) -> tuple[pb.Header, Payload]:
    request = _parse(pb.VoteRequest, data, UP_BYTES_MAX)
    return request.header, Vote(
        _reign_in(request.epoch), _position_in(request.last), _config_in(request.committed), request.sent_at_ms
    )


def _announce_in(data: bytes) -> tuple[pb.Header, Payload]:
    request = _parse(pb.AnnounceRequest, data, UP_BYTES_MAX)
    return request.header, Announce(_reign_in(request.epoch))


_REQUEST_IN: dict[Rpc, Callable[[bytes], tuple[pb.Header, Payload]]] = {
    Rpc.SURVEY: _survey_in,
    Rpc.NOMINATE: _nominate_in,
    Rpc.VOTE: _vote_in,
    Rpc.ANNOUNCE: _announce_in,
}


def decode_request(rpc: Rpc, data: bytes) -> Envelope:
    """What somebody asks; its link is 0.

    Raises:
        BadEnvelope: the bytes are no such request.
    """
    header, payload = _REQUEST_IN[rpc](data)
    return Envelope(*_header_in(header), 0, payload)


_RESPONSE: dict[Rpc, type[Message]] = {
    Rpc.SURVEY: pb.SurveyResponse,
    Rpc.NOMINATE: pb.NominateResponse,
    Rpc.VOTE: pb.VoteResponse,
    Rpc.ANNOUNCE: pb.AnnounceResponse,
}


def encode_response(rpc: Rpc, envelope: Envelope) -> bytes:
    """The response of that rpc which carries this envelope. A response without one is empty: b""."""
    header, payload = _header_out(envelope), envelope.payload
    if isinstance(payload, Fenced):
        response = cast(Any, _RESPONSE[rpc])(header=header, fenced=_fenced_out(payload))
        return cast(bytes, response.SerializeToString())
    if rpc is Rpc.SURVEY and isinstance(payload, SurveyReply):
        return pb.SurveyResponse(
            header=header,
            answer=pb.SurveyResponse.Answer(
                survey_id=payload.survey_id,
                promised=_epoch_out(payload.promised),
                last=_position_out(payload.last),
                primary=_hint_out(payload.primary),
                standing=_standing_out(payload.standing),
                can_vote=payload.can_vote,
            ),
        ).SerializeToString()
    if rpc is Rpc.VOTE and isinstance(payload, VoteReply):
        return pb.VoteResponse(
            header=header,
            answer=pb.VoteResponse.Answer(
                epoch=_epoch_out(payload.epoch),
                granted=payload.granted,
                promised=_epoch_out(payload.promised),
                standing=_standing_out(payload.standing),
                vote_sent_at_ms=payload.vote_sent_at,
            ),
        ).SerializeToString()
    raise AssertionError(f"{type(payload).__name__} in answer to {rpc.value}")


def decode_response(rpc: Rpc, data: bytes) -> Envelope | None:
    """What somebody answers, its link is 0; None: nothing.

    Raises:
        BadEnvelope: the bytes are no such response.
    """
    response = cast(Any, _parse(_RESPONSE[rpc], data, DOWN_BYTES_MAX))
    which = response.WhichOneof("payload")
    if which is None:
        return None
    payload: Payload
    if which == "fenced":
        payload = _fenced_in(response.fenced)
    elif rpc is Rpc.SURVEY:
        payload = _survey_answer_in(response.answer)
    else:
        payload = _vote_answer_in(response.answer)
    return Envelope(*_header_in(response.header), 0, payload)


def _survey_answer_in(answer: pb.SurveyResponse.Answer) -> SurveyReply:
    return SurveyReply(
        answer.survey_id,
        _epoch_in(answer.promised),
        _position_in(answer.last),
        _hint_in(answer.primary) if answer.HasField("primary") else None,
        _standing_in(answer, answer.standing),
        answer.can_vote,
    )


def _vote_answer_in(answer: pb.VoteResponse.Answer) -> VoteReply:
    return VoteReply(
        _reign_in(answer.epoch),
        answer.granted,
        _epoch_in(answer.promised),
        _standing_in(answer, answer.standing),
        answer.vote_sent_at_ms,
    )


def encode_identity(identity: Identity) -> bytes:
    """The response of Identify."""
    return pb.IdentifyResponse(source=_source_out(identity)).SerializeToString()


def decode_identity(data: bytes) -> Identity:
    """Who answered Identify.

    Raises:
        BadEnvelope: the bytes are no such response.
    """
    return _source_in(_parse(pb.IdentifyResponse, data, UP_BYTES_MAX).source)
