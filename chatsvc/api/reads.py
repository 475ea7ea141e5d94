"""Reading calls, as they are asked for in a session and by unary rpcs alike."""

import base64
import binascii

from chatsvc.api.events import to_accounts, to_messages
from chatsvc.domain.errors import InvalidPage, Reason, Refusal
from chatsvc.domain.limits import PATTERN_CODE_POINTS_MAX
from chatsvc.domain.names import check_name
from chatsvc.engine import Engine
from chatsvc.v1 import chat_pb2 as pb

PAGE_SIZE_MAX = 1_000
PAGE_SIZE_DEFAULT = 100
PAGE_BYTES_MAX = 2 * 1024 * 1024
"""Of texts in a page of history, so that a frame stays below gRPC's default limit of 4 MiB."""


def _page_size(asked: int) -> int:
    if asked > PAGE_SIZE_MAX:
        raise InvalidPage(f"a page has at most {PAGE_SIZE_MAX:,} rows, {asked:,} were asked for", limit=PAGE_SIZE_MAX)
    return asked or PAGE_SIZE_DEFAULT


async def accounts(engine: Engine, pattern: str, page_size: int, page_token: str) -> pb.Accounts:
    """A page of accounts.

    Raises:
        InvalidPage, InvalidPattern: the request is out of range.
    """
    limit = _page_size(page_size)
    if len(pattern) > PATTERN_CODE_POINTS_MAX:
        raise Refusal(Reason.INVALID_PATTERN).error()
    try:
        after_key = base64.b64decode(page_token, altchars=b"-_", validate=True).decode()
    except (UnicodeError, binascii.Error, ValueError):
        raise InvalidPage("the page token is none that this service gave out") from None
    found = await engine.list_accounts(pattern, limit + 1, after_key)
    page, token = found[:limit], ""
    if len(found) > limit:
        token = base64.urlsafe_b64encode(page[-1].key.encode()).decode("ascii")
    return pb.Accounts(accounts=to_accounts(page), next_page_token=token)


async def conversation(engine: Engine, user: str, peer: str, limit: int, before: int) -> pb.Conversation:
    """The newest messages between two users, oldest first; as many as were asked for and fit into a frame.

    Raises:
        InvalidPage, InvalidName, UnknownAccount: the request is refused.
    """
    limit = _page_size(limit)
    for name in (user, peer):
        if refusal := check_name(name):
            raise refusal.error()
    page = await engine.read_conversation(user, peer, limit, before)
    room, first = PAGE_BYTES_MAX, len(page.messages)
    while first and room > 0:
        first -= 1
        room -= len(page.messages[first].text.encode())
    messages = to_messages(page.messages[first:])
    return pb.Conversation(peer=page.peer, messages=messages, has_older=page.has_older or first > 0)
