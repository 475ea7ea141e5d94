import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Role(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ROLE_UNSPECIFIED: _ClassVar[Role]
    ROLE_PRIMARY: _ClassVar[Role]
    ROLE_BACKUP: _ClassVar[Role]
    ROLE_LEARNER: _ClassVar[Role]
    ROLE_WAITING: _ClassVar[Role]
    ROLE_OUT: _ClassVar[Role]

class Mode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MODE_UNSPECIFIED: _ClassVar[Mode]
    MODE_AVAILABLE: _ClassVar[Mode]
    MODE_MAJORITY: _ClassVar[Mode]

class EntryKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ENTRY_KIND_UNSPECIFIED: _ClassVar[EntryKind]
    ENTRY_KIND_OP: _ClassVar[EntryKind]
    ENTRY_KIND_CONFIG: _ClassVar[EntryKind]
    ENTRY_KIND_FEATURE: _ClassVar[EntryKind]
ROLE_UNSPECIFIED: Role
ROLE_PRIMARY: Role
ROLE_BACKUP: Role
ROLE_LEARNER: Role
ROLE_WAITING: Role
ROLE_OUT: Role
MODE_UNSPECIFIED: Mode
MODE_AVAILABLE: Mode
MODE_MAJORITY: Mode
ENTRY_KIND_UNSPECIFIED: EntryKind
ENTRY_KIND_OP: EntryKind
ENTRY_KIND_CONFIG: EntryKind
ENTRY_KIND_FEATURE: EntryKind

class GetStatusRequest(_message.Message):
    __slots__ = ("wait_ms", "epoch")
    WAIT_MS_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    wait_ms: int
    epoch: int
    def __init__(self, wait_ms: _Optional[int] = ..., epoch: _Optional[int] = ...) -> None: ...

class ForcePromoteRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ForcePromoteResponse(_message.Message):
    __slots__ = ("epoch",)
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    def __init__(self, epoch: _Optional[int] = ...) -> None: ...

class GetStatusResponse(_message.Message):
    __slots__ = ("cluster_id", "mode", "epoch", "primary", "commit_index", "degraded", "self", "members", "version", "sessions", "holes", "waiting_for", "problem", "serving", "last_index", "forced", "cpu_us")
    CLUSTER_ID_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    PRIMARY_FIELD_NUMBER: _ClassVar[int]
    COMMIT_INDEX_FIELD_NUMBER: _ClassVar[int]
    DEGRADED_FIELD_NUMBER: _ClassVar[int]
    SELF_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    SESSIONS_FIELD_NUMBER: _ClassVar[int]
    HOLES_FIELD_NUMBER: _ClassVar[int]
    WAITING_FOR_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    SERVING_FIELD_NUMBER: _ClassVar[int]
    LAST_INDEX_FIELD_NUMBER: _ClassVar[int]
    FORCED_FIELD_NUMBER: _ClassVar[int]
    CPU_US_FIELD_NUMBER: _ClassVar[int]
    cluster_id: bytes
    mode: str
    epoch: int
    primary: str
    commit_index: int
    degraded: bool
    self: Member
    members: _containers.RepeatedCompositeFieldContainer[Member]
    version: str
    sessions: int
    holes: int
    waiting_for: _containers.RepeatedScalarFieldContainer[str]
    problem: str
    serving: bool
    last_index: int
    forced: bool
    cpu_us: int
    def __init__(self_, cluster_id: _Optional[bytes] = ..., mode: _Optional[str] = ..., epoch: _Optional[int] = ..., primary: _Optional[str] = ..., commit_index: _Optional[int] = ..., degraded: _Optional[bool] = ..., self: _Optional[_Union[Member, _Mapping]] = ..., members: _Optional[_Iterable[_Union[Member, _Mapping]]] = ..., version: _Optional[str] = ..., sessions: _Optional[int] = ..., holes: _Optional[int] = ..., waiting_for: _Optional[_Iterable[str]] = ..., problem: _Optional[str] = ..., serving: _Optional[bool] = ..., last_index: _Optional[int] = ..., forced: _Optional[bool] = ..., cpu_us: _Optional[int] = ...) -> None: ...

class Member(_message.Message):
    __slots__ = ("name", "address", "role", "in_sync", "durable_index", "applied_index", "state_hash", "hash_index", "role_time")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    IN_SYNC_FIELD_NUMBER: _ClassVar[int]
    DURABLE_INDEX_FIELD_NUMBER: _ClassVar[int]
    APPLIED_INDEX_FIELD_NUMBER: _ClassVar[int]
    STATE_HASH_FIELD_NUMBER: _ClassVar[int]
    HASH_INDEX_FIELD_NUMBER: _ClassVar[int]
    ROLE_TIME_FIELD_NUMBER: _ClassVar[int]
    name: str
    address: str
    role: Role
    in_sync: bool
    durable_index: int
    applied_index: int
    state_hash: bytes
    hash_index: int
    role_time: _timestamp_pb2.Timestamp
    def __init__(self, name: _Optional[str] = ..., address: _Optional[str] = ..., role: _Optional[_Union[Role, str]] = ..., in_sync: _Optional[bool] = ..., durable_index: _Optional[int] = ..., applied_index: _Optional[int] = ..., state_hash: _Optional[bytes] = ..., hash_index: _Optional[int] = ..., role_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Epoch(_message.Message):
    __slots__ = ("counter", "lot", "dir_id")
    COUNTER_FIELD_NUMBER: _ClassVar[int]
    LOT_FIELD_NUMBER: _ClassVar[int]
    DIR_ID_FIELD_NUMBER: _ClassVar[int]
    counter: int
    lot: int
    dir_id: bytes
    def __init__(self, counter: _Optional[int] = ..., lot: _Optional[int] = ..., dir_id: _Optional[bytes] = ...) -> None: ...

class Position(_message.Message):
    __slots__ = ("epoch", "log_index")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    LOG_INDEX_FIELD_NUMBER: _ClassVar[int]
    epoch: Epoch
    log_index: int
    def __init__(self, epoch: _Optional[_Union[Epoch, _Mapping]] = ..., log_index: _Optional[int] = ...) -> None: ...

class Source(_message.Message):
    __slots__ = ("cluster_id", "dir_id", "start_number", "start_nonce", "address", "name")
    CLUSTER_ID_FIELD_NUMBER: _ClassVar[int]
    DIR_ID_FIELD_NUMBER: _ClassVar[int]
    START_NUMBER_FIELD_NUMBER: _ClassVar[int]
    START_NONCE_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    cluster_id: bytes
    dir_id: bytes
    start_number: int
    start_nonce: int
    address: str
    name: str
    def __init__(self, cluster_id: _Optional[bytes] = ..., dir_id: _Optional[bytes] = ..., start_number: _Optional[int] = ..., start_nonce: _Optional[int] = ..., address: _Optional[str] = ..., name: _Optional[str] = ...) -> None: ...

class Header(_message.Message):
    __slots__ = ("source", "address", "dir_id")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    DIR_ID_FIELD_NUMBER: _ClassVar[int]
    source: Source
    address: str
    dir_id: bytes
    def __init__(self, source: _Optional[_Union[Source, _Mapping]] = ..., address: _Optional[str] = ..., dir_id: _Optional[bytes] = ...) -> None: ...

class ConfigMember(_message.Message):
    __slots__ = ("dir_id", "address", "name")
    DIR_ID_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    dir_id: bytes
    address: str
    name: str
    def __init__(self, dir_id: _Optional[bytes] = ..., address: _Optional[str] = ..., name: _Optional[str] = ...) -> None: ...

class Config(_message.Message):
    __slots__ = ("epoch", "log_index", "in_sync", "members", "mode", "reason", "bypassed", "removed", "forced")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    LOG_INDEX_FIELD_NUMBER: _ClassVar[int]
    IN_SYNC_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    BYPASSED_FIELD_NUMBER: _ClassVar[int]
    REMOVED_FIELD_NUMBER: _ClassVar[int]
    FORCED_FIELD_NUMBER: _ClassVar[int]
    epoch: Epoch
    log_index: int
    in_sync: _containers.RepeatedScalarFieldContainer[bytes]
    members: _containers.RepeatedCompositeFieldContainer[ConfigMember]
    mode: Mode
    reason: str
    bypassed: _containers.RepeatedScalarFieldContainer[bytes]
    removed: _containers.RepeatedScalarFieldContainer[bytes]
    forced: bool
    def __init__(self, epoch: _Optional[_Union[Epoch, _Mapping]] = ..., log_index: _Optional[int] = ..., in_sync: _Optional[_Iterable[bytes]] = ..., members: _Optional[_Iterable[_Union[ConfigMember, _Mapping]]] = ..., mode: _Optional[_Union[Mode, str]] = ..., reason: _Optional[str] = ..., bypassed: _Optional[_Iterable[bytes]] = ..., removed: _Optional[_Iterable[bytes]] = ..., forced: _Optional[bool] = ...) -> None: ...

class PrimaryHint(_message.Message):
    __slots__ = ("epoch", "dir_id", "address")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    DIR_ID_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    epoch: Epoch
    dir_id: bytes
    address: str
    def __init__(self, epoch: _Optional[_Union[Epoch, _Mapping]] = ..., dir_id: _Optional[bytes] = ..., address: _Optional[str] = ...) -> None: ...

class Standing(_message.Message):
    __slots__ = ("lease_left_ms", "lease_giver", "lease_epoch", "latched", "chain", "granted_to", "durable_index")
    LEASE_LEFT_MS_FIELD_NUMBER: _ClassVar[int]
    LEASE_GIVER_FIELD_NUMBER: _ClassVar[int]
    LEASE_EPOCH_FIELD_NUMBER: _ClassVar[int]
    LATCHED_FIELD_NUMBER: _ClassVar[int]
    CHAIN_FIELD_NUMBER: _ClassVar[int]
    GRANTED_TO_FIELD_NUMBER: _ClassVar[int]
    DURABLE_INDEX_FIELD_NUMBER: _ClassVar[int]
    lease_left_ms: int
    lease_giver: bytes
    lease_epoch: Epoch
    latched: bool
    chain: _containers.RepeatedCompositeFieldContainer[Config]
    granted_to: _containers.RepeatedScalarFieldContainer[bytes]
    durable_index: int
    def __init__(self, lease_left_ms: _Optional[int] = ..., lease_giver: _Optional[bytes] = ..., lease_epoch: _Optional[_Union[Epoch, _Mapping]] = ..., latched: _Optional[bool] = ..., chain: _Optional[_Iterable[_Union[Config, _Mapping]]] = ..., granted_to: _Optional[_Iterable[bytes]] = ..., durable_index: _Optional[int] = ...) -> None: ...

class Entry(_message.Message):
    __slots__ = ("epoch", "kind", "payload", "chain", "crc")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    CHAIN_FIELD_NUMBER: _ClassVar[int]
    CRC_FIELD_NUMBER: _ClassVar[int]
    epoch: Epoch
    kind: EntryKind
    payload: bytes
    chain: bytes
    crc: int
    def __init__(self, epoch: _Optional[_Union[Epoch, _Mapping]] = ..., kind: _Optional[_Union[EntryKind, str]] = ..., payload: _Optional[bytes] = ..., chain: _Optional[bytes] = ..., crc: _Optional[int] = ...) -> None: ...

class Fenced(_message.Message):
    __slots__ = ("promised",)
    PROMISED_FIELD_NUMBER: _ClassVar[int]
    promised: Epoch
    def __init__(self, promised: _Optional[_Union[Epoch, _Mapping]] = ...) -> None: ...

class ReplicateRequest(_message.Message):
    __slots__ = ("envelopes",)
    class EpochStart(_message.Message):
        __slots__ = ("epoch", "first_index")
        EPOCH_FIELD_NUMBER: _ClassVar[int]
        FIRST_INDEX_FIELD_NUMBER: _ClassVar[int]
        epoch: Epoch
        first_index: int
        def __init__(self, epoch: _Optional[_Union[Epoch, _Mapping]] = ..., first_index: _Optional[int] = ...) -> None: ...
    class Hello(_message.Message):
        __slots__ = ("stream", "promised", "last", "epochs", "log_start", "commit_index")
        STREAM_FIELD_NUMBER: _ClassVar[int]
        PROMISED_FIELD_NUMBER: _ClassVar[int]
        LAST_FIELD_NUMBER: _ClassVar[int]
        EPOCHS_FIELD_NUMBER: _ClassVar[int]
        LOG_START_FIELD_NUMBER: _ClassVar[int]
        COMMIT_INDEX_FIELD_NUMBER: _ClassVar[int]
        stream: int
        promised: Epoch
        last: Position
        epochs: _containers.RepeatedCompositeFieldContainer[ReplicateRequest.EpochStart]
        log_start: int
        commit_index: int
        def __init__(self, stream: _Optional[int] = ..., promised: _Optional[_Union[Epoch, _Mapping]] = ..., last: _Optional[_Union[Position, _Mapping]] = ..., epochs: _Optional[_Iterable[_Union[ReplicateRequest.EpochStart, _Mapping]]] = ..., log_start: _Optional[int] = ..., commit_index: _Optional[int] = ...) -> None: ...
    class Ack(_message.Message):
        __slots__ = ("stream", "epoch", "number", "durable_index", "received_index", "append_sent_at_ms", "append_last_index", "gap", "released_index", "leased")
        STREAM_FIELD_NUMBER: _ClassVar[int]
        EPOCH_FIELD_NUMBER: _ClassVar[int]
        NUMBER_FIELD_NUMBER: _ClassVar[int]
        DURABLE_INDEX_FIELD_NUMBER: _ClassVar[int]
        RECEIVED_INDEX_FIELD_NUMBER: _ClassVar[int]
        APPEND_SENT_AT_MS_FIELD_NUMBER: _ClassVar[int]
        APPEND_LAST_INDEX_FIELD_NUMBER: _ClassVar[int]
        GAP_FIELD_NUMBER: _ClassVar[int]
        RELEASED_INDEX_FIELD_NUMBER: _ClassVar[int]
        LEASED_FIELD_NUMBER: _ClassVar[int]
        stream: int
        epoch: Epoch
        number: int
        durable_index: int
        received_index: int
        append_sent_at_ms: int
        append_last_index: int
        gap: bool
        released_index: int
        leased: bool
        def __init__(self, stream: _Optional[int] = ..., epoch: _Optional[_Union[Epoch, _Mapping]] = ..., number: _Optional[int] = ..., durable_index: _Optional[int] = ..., received_index: _Optional[int] = ..., append_sent_at_ms: _Optional[int] = ..., append_last_index: _Optional[int] = ..., gap: _Optional[bool] = ..., released_index: _Optional[int] = ..., leased: _Optional[bool] = ...) -> None: ...
    class Relinquish(_message.Message):
        __slots__ = ("stream", "epoch")
        STREAM_FIELD_NUMBER: _ClassVar[int]
        EPOCH_FIELD_NUMBER: _ClassVar[int]
        stream: int
        epoch: Epoch
        def __init__(self, stream: _Optional[int] = ..., epoch: _Optional[_Union[Epoch, _Mapping]] = ...) -> None: ...
    class Envelope(_message.Message):
        __slots__ = ("header", "hello", "ack", "relinquish", "fenced")
        HEADER_FIELD_NUMBER: _ClassVar[int]
        HELLO_FIELD_NUMBER: _ClassVar[int]
        ACK_FIELD_NUMBER: _ClassVar[int]
        RELINQUISH_FIELD_NUMBER: _ClassVar[int]
        FENCED_FIELD_NUMBER: _ClassVar[int]
        header: Header
        hello: ReplicateRequest.Hello
        ack: ReplicateRequest.Ack
        relinquish: ReplicateRequest.Relinquish
        fenced: Fenced
        def __init__(self, header: _Optional[_Union[Header, _Mapping]] = ..., hello: _Optional[_Union[ReplicateRequest.Hello, _Mapping]] = ..., ack: _Optional[_Union[ReplicateRequest.Ack, _Mapping]] = ..., relinquish: _Optional[_Union[ReplicateRequest.Relinquish, _Mapping]] = ..., fenced: _Optional[_Union[Fenced, _Mapping]] = ...) -> None: ...
    ENVELOPES_FIELD_NUMBER: _ClassVar[int]
    envelopes: _containers.RepeatedCompositeFieldContainer[ReplicateRequest.Envelope]
    def __init__(self, envelopes: _Optional[_Iterable[_Union[ReplicateRequest.Envelope, _Mapping]]] = ...) -> None: ...

class ReplicateResponse(_message.Message):
    __slots__ = ("envelopes",)
    class RejectReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        REJECT_REASON_UNSPECIFIED: _ClassVar[ReplicateResponse.RejectReason]
        REJECT_REASON_NOT_PRIMARY: _ClassVar[ReplicateResponse.RejectReason]
        REJECT_REASON_WRONG_CLUSTER: _ClassVar[ReplicateResponse.RejectReason]
        REJECT_REASON_DUPLICATE: _ClassVar[ReplicateResponse.RejectReason]
        REJECT_REASON_REMOVED: _ClassVar[ReplicateResponse.RejectReason]
        REJECT_REASON_RENEW: _ClassVar[ReplicateResponse.RejectReason]
        REJECT_REASON_LOST_DATA: _ClassVar[ReplicateResponse.RejectReason]
        REJECT_REASON_SNAPSHOT: _ClassVar[ReplicateResponse.RejectReason]
        REJECT_REASON_MODE: _ClassVar[ReplicateResponse.RejectReason]
    REJECT_REASON_UNSPECIFIED: ReplicateResponse.RejectReason
    REJECT_REASON_NOT_PRIMARY: ReplicateResponse.RejectReason
    REJECT_REASON_WRONG_CLUSTER: ReplicateResponse.RejectReason
    REJECT_REASON_DUPLICATE: ReplicateResponse.RejectReason
    REJECT_REASON_REMOVED: ReplicateResponse.RejectReason
    REJECT_REASON_RENEW: ReplicateResponse.RejectReason
    REJECT_REASON_LOST_DATA: ReplicateResponse.RejectReason
    REJECT_REASON_SNAPSHOT: ReplicateResponse.RejectReason
    REJECT_REASON_MODE: ReplicateResponse.RejectReason
    class Welcome(_message.Message):
        __slots__ = ("stream", "epoch", "match_index", "forced")
        STREAM_FIELD_NUMBER: _ClassVar[int]
        EPOCH_FIELD_NUMBER: _ClassVar[int]
        MATCH_INDEX_FIELD_NUMBER: _ClassVar[int]
        FORCED_FIELD_NUMBER: _ClassVar[int]
        stream: int
        epoch: Epoch
        match_index: int
        forced: bool
        def __init__(self, stream: _Optional[int] = ..., epoch: _Optional[_Union[Epoch, _Mapping]] = ..., match_index: _Optional[int] = ..., forced: _Optional[bool] = ...) -> None: ...
    class Reject(_message.Message):
        __slots__ = ("stream", "reason", "primary")
        STREAM_FIELD_NUMBER: _ClassVar[int]
        REASON_FIELD_NUMBER: _ClassVar[int]
        PRIMARY_FIELD_NUMBER: _ClassVar[int]
        stream: int
        reason: ReplicateResponse.RejectReason
        primary: PrimaryHint
        def __init__(self, stream: _Optional[int] = ..., reason: _Optional[_Union[ReplicateResponse.RejectReason, str]] = ..., primary: _Optional[_Union[PrimaryHint, _Mapping]] = ...) -> None: ...
    class Append(_message.Message):
        __slots__ = ("stream", "epoch", "sent_at_ms", "prev", "entries", "last_index", "commit_index", "ack_seen", "in_sync")
        STREAM_FIELD_NUMBER: _ClassVar[int]
        EPOCH_FIELD_NUMBER: _ClassVar[int]
        SENT_AT_MS_FIELD_NUMBER: _ClassVar[int]
        PREV_FIELD_NUMBER: _ClassVar[int]
        ENTRIES_FIELD_NUMBER: _ClassVar[int]
        LAST_INDEX_FIELD_NUMBER: _ClassVar[int]
        COMMIT_INDEX_FIELD_NUMBER: _ClassVar[int]
        ACK_SEEN_FIELD_NUMBER: _ClassVar[int]
        IN_SYNC_FIELD_NUMBER: _ClassVar[int]
        stream: int
        epoch: Epoch
        sent_at_ms: int
        prev: Position
        entries: _containers.RepeatedCompositeFieldContainer[Entry]
        last_index: int
        commit_index: int
        ack_seen: int
        in_sync: bool
        def __init__(self, stream: _Optional[int] = ..., epoch: _Optional[_Union[Epoch, _Mapping]] = ..., sent_at_ms: _Optional[int] = ..., prev: _Optional[_Union[Position, _Mapping]] = ..., entries: _Optional[_Iterable[_Union[Entry, _Mapping]]] = ..., last_index: _Optional[int] = ..., commit_index: _Optional[int] = ..., ack_seen: _Optional[int] = ..., in_sync: _Optional[bool] = ...) -> None: ...
    class StepDown(_message.Message):
        __slots__ = ("stream", "epoch")
        STREAM_FIELD_NUMBER: _ClassVar[int]
        EPOCH_FIELD_NUMBER: _ClassVar[int]
        stream: int
        epoch: Epoch
        def __init__(self, stream: _Optional[int] = ..., epoch: _Optional[_Union[Epoch, _Mapping]] = ...) -> None: ...
    class Envelope(_message.Message):
        __slots__ = ("header", "welcome", "reject", "append", "step_down")
        HEADER_FIELD_NUMBER: _ClassVar[int]
        WELCOME_FIELD_NUMBER: _ClassVar[int]
        REJECT_FIELD_NUMBER: _ClassVar[int]
        APPEND_FIELD_NUMBER: _ClassVar[int]
        STEP_DOWN_FIELD_NUMBER: _ClassVar[int]
        header: Header
        welcome: ReplicateResponse.Welcome
        reject: ReplicateResponse.Reject
        append: ReplicateResponse.Append
        step_down: ReplicateResponse.StepDown
        def __init__(self, header: _Optional[_Union[Header, _Mapping]] = ..., welcome: _Optional[_Union[ReplicateResponse.Welcome, _Mapping]] = ..., reject: _Optional[_Union[ReplicateResponse.Reject, _Mapping]] = ..., append: _Optional[_Union[ReplicateResponse.Append, _Mapping]] = ..., step_down: _Optional[_Union[ReplicateResponse.StepDown, _Mapping]] = ...) -> None: ...
    ENVELOPES_FIELD_NUMBER: _ClassVar[int]
    envelopes: _containers.RepeatedCompositeFieldContainer[ReplicateResponse.Envelope]
    def __init__(self, envelopes: _Optional[_Iterable[_Union[ReplicateResponse.Envelope, _Mapping]]] = ...) -> None: ...

class SurveyRequest(_message.Message):
    __slots__ = ("header", "survey_id", "suspected")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    SURVEY_ID_FIELD_NUMBER: _ClassVar[int]
    SUSPECTED_FIELD_NUMBER: _ClassVar[int]
    header: Header
    survey_id: int
    suspected: bytes
    def __init__(self, header: _Optional[_Union[Header, _Mapping]] = ..., survey_id: _Optional[int] = ..., suspected: _Optional[bytes] = ...) -> None: ...

class SurveyResponse(_message.Message):
    __slots__ = ("header", "answer", "fenced")
    class Answer(_message.Message):
        __slots__ = ("survey_id", "promised", "last", "primary", "standing", "can_vote")
        SURVEY_ID_FIELD_NUMBER: _ClassVar[int]
        PROMISED_FIELD_NUMBER: _ClassVar[int]
        LAST_FIELD_NUMBER: _ClassVar[int]
        PRIMARY_FIELD_NUMBER: _ClassVar[int]
        STANDING_FIELD_NUMBER: _ClassVar[int]
        CAN_VOTE_FIELD_NUMBER: _ClassVar[int]
        survey_id: int
        promised: Epoch
        last: Position
        primary: PrimaryHint
        standing: Standing
        can_vote: bool
        def __init__(self, survey_id: _Optional[int] = ..., promised: _Optional[_Union[Epoch, _Mapping]] = ..., last: _Optional[_Union[Position, _Mapping]] = ..., primary: _Optional[_Union[PrimaryHint, _Mapping]] = ..., standing: _Optional[_Union[Standing, _Mapping]] = ..., can_vote: _Optional[bool] = ...) -> None: ...
    HEADER_FIELD_NUMBER: _ClassVar[int]
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    FENCED_FIELD_NUMBER: _ClassVar[int]
    header: Header
    answer: SurveyResponse.Answer
    fenced: Fenced
    def __init__(self, header: _Optional[_Union[Header, _Mapping]] = ..., answer: _Optional[_Union[SurveyResponse.Answer, _Mapping]] = ..., fenced: _Optional[_Union[Fenced, _Mapping]] = ...) -> None: ...

class NominateRequest(_message.Message):
    __slots__ = ("header", "counter", "committed", "voters")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    COUNTER_FIELD_NUMBER: _ClassVar[int]
    COMMITTED_FIELD_NUMBER: _ClassVar[int]
    VOTERS_FIELD_NUMBER: _ClassVar[int]
    header: Header
    counter: int
    committed: Config
    voters: _containers.RepeatedCompositeFieldContainer[ConfigMember]
    def __init__(self, header: _Optional[_Union[Header, _Mapping]] = ..., counter: _Optional[int] = ..., committed: _Optional[_Union[Config, _Mapping]] = ..., voters: _Optional[_Iterable[_Union[ConfigMember, _Mapping]]] = ...) -> None: ...

class NominateResponse(_message.Message):
    __slots__ = ("header", "fenced")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    FENCED_FIELD_NUMBER: _ClassVar[int]
    header: Header
    fenced: Fenced
    def __init__(self, header: _Optional[_Union[Header, _Mapping]] = ..., fenced: _Optional[_Union[Fenced, _Mapping]] = ...) -> None: ...

class VoteRequest(_message.Message):
    __slots__ = ("header", "epoch", "last", "committed", "sent_at_ms")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    COMMITTED_FIELD_NUMBER: _ClassVar[int]
    SENT_AT_MS_FIELD_NUMBER: _ClassVar[int]
    header: Header
    epoch: Epoch
    last: Position
    committed: Config
    sent_at_ms: int
    def __init__(self, header: _Optional[_Union[Header, _Mapping]] = ..., epoch: _Optional[_Union[Epoch, _Mapping]] = ..., last: _Optional[_Union[Position, _Mapping]] = ..., committed: _Optional[_Union[Config, _Mapping]] = ..., sent_at_ms: _Optional[int] = ...) -> None: ...

class VoteResponse(_message.Message):
    __slots__ = ("header", "answer", "fenced")
    class Answer(_message.Message):
        __slots__ = ("epoch", "granted", "promised", "standing", "vote_sent_at_ms")
        EPOCH_FIELD_NUMBER: _ClassVar[int]
        GRANTED_FIELD_NUMBER: _ClassVar[int]
        PROMISED_FIELD_NUMBER: _ClassVar[int]
        STANDING_FIELD_NUMBER: _ClassVar[int]
        VOTE_SENT_AT_MS_FIELD_NUMBER: _ClassVar[int]
        epoch: Epoch
        granted: bool
        promised: Epoch
        standing: Standing
        vote_sent_at_ms: int
        def __init__(self, epoch: _Optional[_Union[Epoch, _Mapping]] = ..., granted: _Optional[bool] = ..., promised: _Optional[_Union[Epoch, _Mapping]] = ..., standing: _Optional[_Union[Standing, _Mapping]] = ..., vote_sent_at_ms: _Optional[int] = ...) -> None: ...
    HEADER_FIELD_NUMBER: _ClassVar[int]
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    FENCED_FIELD_NUMBER: _ClassVar[int]
    header: Header
    answer: VoteResponse.Answer
    fenced: Fenced
    def __init__(self, header: _Optional[_Union[Header, _Mapping]] = ..., answer: _Optional[_Union[VoteResponse.Answer, _Mapping]] = ..., fenced: _Optional[_Union[Fenced, _Mapping]] = ...) -> None: ...

class AnnounceRequest(_message.Message):
    __slots__ = ("header", "epoch")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    header: Header
    epoch: Epoch
    def __init__(self, header: _Optional[_Union[Header, _Mapping]] = ..., epoch: _Optional[_Union[Epoch, _Mapping]] = ...) -> None: ...

class AnnounceResponse(_message.Message):
    __slots__ = ("header", "fenced")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    FENCED_FIELD_NUMBER: _ClassVar[int]
    header: Header
    fenced: Fenced
    def __init__(self, header: _Optional[_Union[Header, _Mapping]] = ..., fenced: _Optional[_Union[Fenced, _Mapping]] = ...) -> None: ...

class IdentifyRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class IdentifyResponse(_message.Message):
    __slots__ = ("source",)
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    source: Source
    def __init__(self, source: _Optional[_Union[Source, _Mapping]] = ...) -> None: ...
