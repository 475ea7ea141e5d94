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
ROLE_UNSPECIFIED: Role
ROLE_PRIMARY: Role
ROLE_BACKUP: Role
ROLE_LEARNER: Role
ROLE_WAITING: Role

class GetStatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetStatusResponse(_message.Message):
    __slots__ = ("cluster_id", "mode", "epoch", "primary", "commit_index", "degraded", "self", "members", "version", "sessions", "holes")
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
    def __init__(self_, cluster_id: _Optional[bytes] = ..., mode: _Optional[str] = ..., epoch: _Optional[int] = ..., primary: _Optional[str] = ..., commit_index: _Optional[int] = ..., degraded: _Optional[bool] = ..., self: _Optional[_Union[Member, _Mapping]] = ..., members: _Optional[_Iterable[_Union[Member, _Mapping]]] = ..., version: _Optional[str] = ..., sessions: _Optional[int] = ..., holes: _Optional[int] = ...) -> None: ...

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
