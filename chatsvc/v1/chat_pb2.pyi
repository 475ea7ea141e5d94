import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class LogoutReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LOGOUT_REASON_UNSPECIFIED: _ClassVar[LogoutReason]
    LOGOUT_REASON_REQUESTED: _ClassVar[LogoutReason]
    LOGOUT_REASON_REPLACED: _ClassVar[LogoutReason]
    LOGOUT_REASON_ACCOUNT_DELETED: _ClassVar[LogoutReason]
    LOGOUT_REASON_SERVER_LEAVING: _ClassVar[LogoutReason]
    LOGOUT_REASON_SLOW_CONSUMER: _ClassVar[LogoutReason]

class ErrorReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ERROR_REASON_UNSPECIFIED: _ClassVar[ErrorReason]
    ERROR_REASON_INVALID_NAME: _ClassVar[ErrorReason]
    ERROR_REASON_INVALID_TEXT: _ClassVar[ErrorReason]
    ERROR_REASON_UNKNOWN_RECIPIENT: _ClassVar[ErrorReason]
    ERROR_REASON_UNKNOWN_ACCOUNT: _ClassVar[ErrorReason]
    ERROR_REASON_ACCOUNT_DELETED: _ClassVar[ErrorReason]
    ERROR_REASON_REPLACED: _ClassVar[ErrorReason]
    ERROR_REASON_NOT_LOGGED_IN: _ClassVar[ErrorReason]
    ERROR_REASON_ALREADY_LOGGED_IN: _ClassVar[ErrorReason]
    ERROR_REASON_IDEMPOTENCY_MISMATCH: _ClassVar[ErrorReason]
    ERROR_REASON_OP_SEQ_GAP: _ClassVar[ErrorReason]
    ERROR_REASON_ANSWER_FORGOTTEN: _ClassVar[ErrorReason]
    ERROR_REASON_ACKNOWLEDGED_TOO_MUCH: _ClassVar[ErrorReason]
    ERROR_REASON_FRAME_TOO_LARGE: _ClassVar[ErrorReason]
    ERROR_REASON_UNKNOWN_OPERATION: _ClassVar[ErrorReason]
    ERROR_REASON_INVALID_PAGE: _ClassVar[ErrorReason]
    ERROR_REASON_INVALID_PATTERN: _ClassVar[ErrorReason]
    ERROR_REASON_INVALID_CLIENT_ID: _ClassVar[ErrorReason]
    ERROR_REASON_TOO_MANY_SESSIONS: _ClassVar[ErrorReason]
    ERROR_REASON_NOT_PRIMARY: _ClassVar[ErrorReason]
    ERROR_REASON_NOT_READY: _ClassVar[ErrorReason]
    ERROR_REASON_LOGIN_TIMEOUT: _ClassVar[ErrorReason]
    ERROR_REASON_DISK_FULL: _ClassVar[ErrorReason]
    ERROR_REASON_OP_SEQ_MIXED: _ClassVar[ErrorReason]
    ERROR_REASON_MALFORMED_FRAME: _ClassVar[ErrorReason]
LOGOUT_REASON_UNSPECIFIED: LogoutReason
LOGOUT_REASON_REQUESTED: LogoutReason
LOGOUT_REASON_REPLACED: LogoutReason
LOGOUT_REASON_ACCOUNT_DELETED: LogoutReason
LOGOUT_REASON_SERVER_LEAVING: LogoutReason
LOGOUT_REASON_SLOW_CONSUMER: LogoutReason
ERROR_REASON_UNSPECIFIED: ErrorReason
ERROR_REASON_INVALID_NAME: ErrorReason
ERROR_REASON_INVALID_TEXT: ErrorReason
ERROR_REASON_UNKNOWN_RECIPIENT: ErrorReason
ERROR_REASON_UNKNOWN_ACCOUNT: ErrorReason
ERROR_REASON_ACCOUNT_DELETED: ErrorReason
ERROR_REASON_REPLACED: ErrorReason
ERROR_REASON_NOT_LOGGED_IN: ErrorReason
ERROR_REASON_ALREADY_LOGGED_IN: ErrorReason
ERROR_REASON_IDEMPOTENCY_MISMATCH: ErrorReason
ERROR_REASON_OP_SEQ_GAP: ErrorReason
ERROR_REASON_ANSWER_FORGOTTEN: ErrorReason
ERROR_REASON_ACKNOWLEDGED_TOO_MUCH: ErrorReason
ERROR_REASON_FRAME_TOO_LARGE: ErrorReason
ERROR_REASON_UNKNOWN_OPERATION: ErrorReason
ERROR_REASON_INVALID_PAGE: ErrorReason
ERROR_REASON_INVALID_PATTERN: ErrorReason
ERROR_REASON_INVALID_CLIENT_ID: ErrorReason
ERROR_REASON_TOO_MANY_SESSIONS: ErrorReason
ERROR_REASON_NOT_PRIMARY: ErrorReason
ERROR_REASON_NOT_READY: ErrorReason
ERROR_REASON_LOGIN_TIMEOUT: ErrorReason
ERROR_REASON_DISK_FULL: ErrorReason
ERROR_REASON_OP_SEQ_MIXED: ErrorReason
ERROR_REASON_MALFORMED_FRAME: ErrorReason

class SessionRequest(_message.Message):
    __slots__ = ("operations", "answered_op_seq")
    OPERATIONS_FIELD_NUMBER: _ClassVar[int]
    ANSWERED_OP_SEQ_FIELD_NUMBER: _ClassVar[int]
    operations: _containers.RepeatedCompositeFieldContainer[Operation]
    answered_op_seq: int
    def __init__(self, operations: _Optional[_Iterable[_Union[Operation, _Mapping]]] = ..., answered_op_seq: _Optional[int] = ...) -> None: ...

class Operation(_message.Message):
    __slots__ = ("op_seq", "tag", "login", "send", "acknowledge", "list_accounts", "history", "delete_account", "logout", "ping")
    OP_SEQ_FIELD_NUMBER: _ClassVar[int]
    TAG_FIELD_NUMBER: _ClassVar[int]
    LOGIN_FIELD_NUMBER: _ClassVar[int]
    SEND_FIELD_NUMBER: _ClassVar[int]
    ACKNOWLEDGE_FIELD_NUMBER: _ClassVar[int]
    LIST_ACCOUNTS_FIELD_NUMBER: _ClassVar[int]
    HISTORY_FIELD_NUMBER: _ClassVar[int]
    DELETE_ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    LOGOUT_FIELD_NUMBER: _ClassVar[int]
    PING_FIELD_NUMBER: _ClassVar[int]
    op_seq: int
    tag: int
    login: Login
    send: Send
    acknowledge: Acknowledge
    list_accounts: ListAccounts
    history: History
    delete_account: DeleteAccount
    logout: Logout
    ping: Ping
    def __init__(self, op_seq: _Optional[int] = ..., tag: _Optional[int] = ..., login: _Optional[_Union[Login, _Mapping]] = ..., send: _Optional[_Union[Send, _Mapping]] = ..., acknowledge: _Optional[_Union[Acknowledge, _Mapping]] = ..., list_accounts: _Optional[_Union[ListAccounts, _Mapping]] = ..., history: _Optional[_Union[History, _Mapping]] = ..., delete_account: _Optional[_Union[DeleteAccount, _Mapping]] = ..., logout: _Optional[_Union[Logout, _Mapping]] = ..., ping: _Optional[_Union[Ping, _Mapping]] = ...) -> None: ...

class Login(_message.Message):
    __slots__ = ("user", "client_id", "send_only", "existing_only", "explicit_acknowledgement", "incarnation", "first_unanswered_op_seq", "received_inbox_seq", "retire_client")
    USER_FIELD_NUMBER: _ClassVar[int]
    CLIENT_ID_FIELD_NUMBER: _ClassVar[int]
    SEND_ONLY_FIELD_NUMBER: _ClassVar[int]
    EXISTING_ONLY_FIELD_NUMBER: _ClassVar[int]
    EXPLICIT_ACKNOWLEDGEMENT_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    FIRST_UNANSWERED_OP_SEQ_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_INBOX_SEQ_FIELD_NUMBER: _ClassVar[int]
    RETIRE_CLIENT_FIELD_NUMBER: _ClassVar[int]
    user: str
    client_id: bytes
    send_only: bool
    existing_only: bool
    explicit_acknowledgement: bool
    incarnation: int
    first_unanswered_op_seq: int
    received_inbox_seq: int
    retire_client: bool
    def __init__(self, user: _Optional[str] = ..., client_id: _Optional[bytes] = ..., send_only: _Optional[bool] = ..., existing_only: _Optional[bool] = ..., explicit_acknowledgement: _Optional[bool] = ..., incarnation: _Optional[int] = ..., first_unanswered_op_seq: _Optional[int] = ..., received_inbox_seq: _Optional[int] = ..., retire_client: _Optional[bool] = ...) -> None: ...

class Send(_message.Message):
    __slots__ = ("to", "text")
    TO_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    to: str
    text: str
    def __init__(self, to: _Optional[str] = ..., text: _Optional[str] = ...) -> None: ...

class Acknowledge(_message.Message):
    __slots__ = ("inbox_seq",)
    INBOX_SEQ_FIELD_NUMBER: _ClassVar[int]
    inbox_seq: int
    def __init__(self, inbox_seq: _Optional[int] = ...) -> None: ...

class ListAccounts(_message.Message):
    __slots__ = ("pattern", "page_size", "page_token")
    PATTERN_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    pattern: str
    page_size: int
    page_token: str
    def __init__(self, pattern: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class History(_message.Message):
    __slots__ = ("peer", "limit", "before")
    PEER_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    peer: str
    limit: int
    before: int
    def __init__(self, peer: _Optional[str] = ..., limit: _Optional[int] = ..., before: _Optional[int] = ...) -> None: ...

class DeleteAccount(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Logout(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Ping(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class SessionResponse(_message.Message):
    __slots__ = ("events",)
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[Event]
    def __init__(self, events: _Optional[_Iterable[_Union[Event, _Mapping]]] = ...) -> None: ...

class Event(_message.Message):
    __slots__ = ("tag", "welcome", "message", "sent", "accounts", "conversation", "account_deleted", "logged_out", "error", "pong")
    TAG_FIELD_NUMBER: _ClassVar[int]
    WELCOME_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    SENT_FIELD_NUMBER: _ClassVar[int]
    ACCOUNTS_FIELD_NUMBER: _ClassVar[int]
    CONVERSATION_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_DELETED_FIELD_NUMBER: _ClassVar[int]
    LOGGED_OUT_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    PONG_FIELD_NUMBER: _ClassVar[int]
    tag: int
    welcome: Welcome
    message: Message
    sent: Sent
    accounts: Accounts
    conversation: Conversation
    account_deleted: AccountDeleted
    logged_out: LoggedOut
    error: Error
    pong: Pong
    def __init__(self, tag: _Optional[int] = ..., welcome: _Optional[_Union[Welcome, _Mapping]] = ..., message: _Optional[_Union[Message, _Mapping]] = ..., sent: _Optional[_Union[Sent, _Mapping]] = ..., accounts: _Optional[_Union[Accounts, _Mapping]] = ..., conversation: _Optional[_Union[Conversation, _Mapping]] = ..., account_deleted: _Optional[_Union[AccountDeleted, _Mapping]] = ..., logged_out: _Optional[_Union[LoggedOut, _Mapping]] = ..., error: _Optional[_Union[Error, _Mapping]] = ..., pong: _Optional[_Union[Pong, _Mapping]] = ...) -> None: ...

class Welcome(_message.Message):
    __slots__ = ("user", "created", "client_id", "incarnation", "next_op_seq", "acknowledged_inbox_seq", "last_inbox_seq", "epoch", "cluster_id", "servers")
    USER_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    CLIENT_ID_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    NEXT_OP_SEQ_FIELD_NUMBER: _ClassVar[int]
    ACKNOWLEDGED_INBOX_SEQ_FIELD_NUMBER: _ClassVar[int]
    LAST_INBOX_SEQ_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    CLUSTER_ID_FIELD_NUMBER: _ClassVar[int]
    SERVERS_FIELD_NUMBER: _ClassVar[int]
    user: str
    created: bool
    client_id: bytes
    incarnation: int
    next_op_seq: int
    acknowledged_inbox_seq: int
    last_inbox_seq: int
    epoch: int
    cluster_id: bytes
    servers: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, user: _Optional[str] = ..., created: _Optional[bool] = ..., client_id: _Optional[bytes] = ..., incarnation: _Optional[int] = ..., next_op_seq: _Optional[int] = ..., acknowledged_inbox_seq: _Optional[int] = ..., last_inbox_seq: _Optional[int] = ..., epoch: _Optional[int] = ..., cluster_id: _Optional[bytes] = ..., servers: _Optional[_Iterable[str]] = ...) -> None: ...

class Message(_message.Message):
    __slots__ = ("sender", "recipient", "text", "inbox_seq", "conversation_seq", "sent_time", "client_id", "op_seq", "sender_deleted")
    SENDER_FIELD_NUMBER: _ClassVar[int]
    RECIPIENT_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    INBOX_SEQ_FIELD_NUMBER: _ClassVar[int]
    CONVERSATION_SEQ_FIELD_NUMBER: _ClassVar[int]
    SENT_TIME_FIELD_NUMBER: _ClassVar[int]
    CLIENT_ID_FIELD_NUMBER: _ClassVar[int]
    OP_SEQ_FIELD_NUMBER: _ClassVar[int]
    SENDER_DELETED_FIELD_NUMBER: _ClassVar[int]
    sender: str
    recipient: str
    text: str
    inbox_seq: int
    conversation_seq: int
    sent_time: _timestamp_pb2.Timestamp
    client_id: bytes
    op_seq: int
    sender_deleted: bool
    def __init__(self, sender: _Optional[str] = ..., recipient: _Optional[str] = ..., text: _Optional[str] = ..., inbox_seq: _Optional[int] = ..., conversation_seq: _Optional[int] = ..., sent_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., client_id: _Optional[bytes] = ..., op_seq: _Optional[int] = ..., sender_deleted: _Optional[bool] = ...) -> None: ...

class Sent(_message.Message):
    __slots__ = ("op_seq", "conversation_seq", "sent_time", "recipient_online")
    OP_SEQ_FIELD_NUMBER: _ClassVar[int]
    CONVERSATION_SEQ_FIELD_NUMBER: _ClassVar[int]
    SENT_TIME_FIELD_NUMBER: _ClassVar[int]
    RECIPIENT_ONLINE_FIELD_NUMBER: _ClassVar[int]
    op_seq: int
    conversation_seq: int
    sent_time: _timestamp_pb2.Timestamp
    recipient_online: bool
    def __init__(self, op_seq: _Optional[int] = ..., conversation_seq: _Optional[int] = ..., sent_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., recipient_online: _Optional[bool] = ...) -> None: ...

class Accounts(_message.Message):
    __slots__ = ("accounts", "next_page_token")
    ACCOUNTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    accounts: _containers.RepeatedCompositeFieldContainer[Account]
    next_page_token: str
    def __init__(self, accounts: _Optional[_Iterable[_Union[Account, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class Account(_message.Message):
    __slots__ = ("name", "online", "created_time")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ONLINE_FIELD_NUMBER: _ClassVar[int]
    CREATED_TIME_FIELD_NUMBER: _ClassVar[int]
    name: str
    online: bool
    created_time: _timestamp_pb2.Timestamp
    def __init__(self, name: _Optional[str] = ..., online: _Optional[bool] = ..., created_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Conversation(_message.Message):
    __slots__ = ("peer", "messages", "has_older")
    PEER_FIELD_NUMBER: _ClassVar[int]
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    HAS_OLDER_FIELD_NUMBER: _ClassVar[int]
    peer: str
    messages: _containers.RepeatedCompositeFieldContainer[Message]
    has_older: bool
    def __init__(self, peer: _Optional[str] = ..., messages: _Optional[_Iterable[_Union[Message, _Mapping]]] = ..., has_older: _Optional[bool] = ...) -> None: ...

class AccountDeleted(_message.Message):
    __slots__ = ("user",)
    USER_FIELD_NUMBER: _ClassVar[int]
    user: str
    def __init__(self, user: _Optional[str] = ...) -> None: ...

class LoggedOut(_message.Message):
    __slots__ = ("reason", "message")
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    reason: LogoutReason
    message: str
    def __init__(self, reason: _Optional[_Union[LogoutReason, str]] = ..., message: _Optional[str] = ...) -> None: ...

class Error(_message.Message):
    __slots__ = ("reason", "message", "op_seq", "metadata")
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    OP_SEQ_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    reason: ErrorReason
    message: str
    op_seq: int
    metadata: _containers.ScalarMap[str, str]
    def __init__(self, reason: _Optional[_Union[ErrorReason, str]] = ..., message: _Optional[str] = ..., op_seq: _Optional[int] = ..., metadata: _Optional[_Mapping[str, str]] = ...) -> None: ...

class Pong(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class SendMessageRequest(_message.Message):
    __slots__ = ("user", "to", "text")
    USER_FIELD_NUMBER: _ClassVar[int]
    TO_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    user: str
    to: str
    text: str
    def __init__(self, user: _Optional[str] = ..., to: _Optional[str] = ..., text: _Optional[str] = ...) -> None: ...

class SendMessageResponse(_message.Message):
    __slots__ = ("message", "recipient_online")
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    RECIPIENT_ONLINE_FIELD_NUMBER: _ClassVar[int]
    message: Message
    recipient_online: bool
    def __init__(self, message: _Optional[_Union[Message, _Mapping]] = ..., recipient_online: _Optional[bool] = ...) -> None: ...

class ListAccountsRequest(_message.Message):
    __slots__ = ("pattern", "page_size", "page_token")
    PATTERN_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    pattern: str
    page_size: int
    page_token: str
    def __init__(self, pattern: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListAccountsResponse(_message.Message):
    __slots__ = ("accounts", "next_page_token")
    ACCOUNTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    accounts: _containers.RepeatedCompositeFieldContainer[Account]
    next_page_token: str
    def __init__(self, accounts: _Optional[_Iterable[_Union[Account, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class GetHistoryRequest(_message.Message):
    __slots__ = ("user", "peer", "limit", "before")
    USER_FIELD_NUMBER: _ClassVar[int]
    PEER_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    user: str
    peer: str
    limit: int
    before: int
    def __init__(self, user: _Optional[str] = ..., peer: _Optional[str] = ..., limit: _Optional[int] = ..., before: _Optional[int] = ...) -> None: ...

class GetHistoryResponse(_message.Message):
    __slots__ = ("peer", "messages", "has_older")
    PEER_FIELD_NUMBER: _ClassVar[int]
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    HAS_OLDER_FIELD_NUMBER: _ClassVar[int]
    peer: str
    messages: _containers.RepeatedCompositeFieldContainer[Message]
    has_older: bool
    def __init__(self, peer: _Optional[str] = ..., messages: _Optional[_Iterable[_Union[Message, _Mapping]]] = ..., has_older: _Optional[bool] = ...) -> None: ...

class DeleteAccountRequest(_message.Message):
    __slots__ = ("user",)
    USER_FIELD_NUMBER: _ClassVar[int]
    user: str
    def __init__(self, user: _Optional[str] = ...) -> None: ...

class DeleteAccountResponse(_message.Message):
    __slots__ = ("user",)
    USER_FIELD_NUMBER: _ClassVar[int]
    user: str
    def __init__(self, user: _Optional[str] = ...) -> None: ...
