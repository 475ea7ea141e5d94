"""Any number of rows, page by page."""

from collections.abc import AsyncIterator, Awaitable, Callable

from chatsvc.client.values import Account, AccountPage, Message, to_message
from chatsvc.v1 import chat_pb2 as pb

PAGE_MAX = 1_000
"""Most rows that a server gives at once."""

HISTORY_DEFAULT = 100


async def every_account(page: Callable[[int, str], Awaitable[AccountPage]]) -> AsyncIterator[Account]:
    """All accounts.

    Args:
        page: gives the page for a size and a token.
    """
    token = ""
    while True:
        part = await page(PAGE_MAX, token)
        for account in part.accounts:
            yield account
        token = part.next_page_token
        if not token:
            return


async def newest_messages(
    page: Callable[[int, int], Awaitable[pb.Conversation | pb.GetHistoryResponse]], limit: int, before: int
) -> list[Message]:
    """The newest messages, oldest first.

    Args:
        page: gives the page for a limit and an upper end.
        limit: most messages to return.
        before: upper end, not included; 0: none.

    Raises:
        ValueError: `limit` or `before` is negative, or `limit` is 0.
    """
    if limit < 1 or before < 0:
        raise ValueError(f"limit is {limit}, before is {before}: at least 1 and at least 0 are expected")
    parts: list[list[Message]] = []
    while limit > 0:
        part = await page(min(limit, PAGE_MAX), before)
        messages = [to_message(message) for message in part.messages]
        if messages:
            parts.append(messages)
            limit -= len(messages)
            before = messages[0].conversation_seq
        if not part.has_older or not messages or before <= 1:
            break
    return [message for messages in reversed(parts) for message in messages]
