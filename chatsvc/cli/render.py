"""How things are shown: text of other people made harmless, times, JSON."""

import json
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chatsvc.client import Message

_UNSAFE = re.compile(
    "["
    "\x00-\x1f\x7f-\x9f"  # what moves the cursor, starts escape sequences or breaks the line
    "\u2028\u2029"  # separators that some programs take for line breaks
    "\u202a-\u202e\u2066-\u2069"  # what reverses the order of the text around it
    "\ud800-\udfff"  # bytes of an argument that were no text; they can't be encoded
    "]"
)


def _escape(match: re.Match[str]) -> str:
    return repr(match[0])[1:-1]


def harmless(text: str) -> str:
    r"""The text on one line, without anything that a terminal would obey: an escape character becomes `\x1b`."""
    return _UNSAFE.sub(_escape, text)


def json_line(fields: Mapping[str, object]) -> str:
    """One JSON object without a line break, in ASCII: controls and all other unusual characters are escaped."""
    return json.dumps(fields)


def utc(time: datetime) -> str:
    """RFC 3339 in UTC, with microseconds."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def clock(time: datetime, now: datetime | None = None) -> str:
    """Local time of day; with the date if that is not today's."""
    local = time.astimezone()
    if local.date() == (now or datetime.now(UTC)).astimezone().date():
        return local.strftime("%H:%M:%S")
    return local.strftime("%Y-%m-%d %H:%M:%S")


def author(message: "Message") -> str:
    """Who wrote a message."""
    name = harmless(message.sender)
    return f"{name} (deleted)" if message.sender_deleted else name


def message_line(message: "Message") -> str:
    """A message that has just arrived."""
    return f"{clock(message.time)} {author(message)}: {harmless(message.text)}"


def history_line(message: "Message", seq_width: int = 1) -> str:
    """A message of a conversation, with its place in it."""
    time = message.time.astimezone().strftime("%Y-%m-%d %H:%M:%S")
    return f"{message.conversation_seq:>{seq_width}}  {time}  {author(message)}: {harmless(message.text)}"


def history_lines(messages: Iterable["Message"]) -> list[str]:
    """Messages of a conversation, their places aligned."""
    messages = list(messages)
    width = len(str(messages[-1].conversation_seq)) if messages else 1
    return [history_line(message, width) for message in messages]


def account_line(name: str, online: bool) -> str:
    """An account of a list."""
    return f"{'online' if online else '-':<6}  {harmless(name)}"


def counted(number: int, thing: str) -> str:
    """`1 message`, `2,000 messages`."""
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"


def table(rows: list[list[str]]) -> str:
    """Rows as lines with their columns aligned; the first row is the heading."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
