"""The client library: finds, follows and re-finds the primary, sends and receives each message exactly once.

    with Client.connect("alice") as client:
        client.send("bob", "hello")
        for message in client.messages(timeout_s=1):
            print(message.sender, message.text)
        client.logout()

`Client` is for programs without an event loop, `AsyncClient` for those with one; they have the same methods.
`AsyncCluster`, and the functions `accounts`, `list_accounts`, `history`, `delete_account` and `status`, ask
without a session. Refusals are the `ChatError`s of `chatsvc.domain.errors`; `errors` says what else can go wrong.

Modules, from the rim inwards: `sync` and `background` (a thread that owns a loop), `aio` (the client's life, from
stream to stream), `cluster` (calls without a session), `search` (which server is the primary), `stream` (one
connection's reader, writer and watchdog), `session` (what is said, and what is made of the answers), `outbox` and
`inbox` (what is not answered, and what was received: pure), `values`, `errors`, `paging`, `addresses`, `channels`.
"""

import logging

from chatsvc.client.addresses import DEFAULT_SERVERS, default_servers, parse_servers
from chatsvc.client.aio import AsyncClient
from chatsvc.client.cluster import AsyncCluster
from chatsvc.client.errors import (
    ClientClosed,
    ConnectError,
    ConnectionLost,
    ForcedInVain,
    LoggedOut,
    ProtocolError,
    QueueFull,
    ServersGone,
    SessionEnded,
)
from chatsvc.client.search import Timing
from chatsvc.client.sync import Client, accounts, delete_account, force_promote, history, list_accounts, status
from chatsvc.client.values import (
    Account,
    AccountPage,
    ClusterStatus,
    LogoutReason,
    Member,
    Message,
    Receipt,
    State,
    op_id,
)

# A library is silent unless its program asks for its log.
logging.getLogger(__name__).addHandler(logging.NullHandler())

__all__ = [
    "DEFAULT_SERVERS",
    "Account",
    "AccountPage",
    "AsyncClient",
    "AsyncCluster",
    "Client",
    "ClientClosed",
    "ClusterStatus",
    "ConnectError",
    "ConnectionLost",
    "ForcedInVain",
    "LoggedOut",
    "LogoutReason",
    "Member",
    "Message",
    "ProtocolError",
    "QueueFull",
    "Receipt",
    "ServersGone",
    "SessionEnded",
    "State",
    "Timing",
    "accounts",
    "default_servers",
    "delete_account",
    "force_promote",
    "history",
    "list_accounts",
    "op_id",
    "parse_servers",
    "status",
]
