"""Text made harmless, times, JSON."""

import json
import unicodedata
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatsvc.cli.render import account_line, clock, counted, harmless, json_line, table, utc


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param("hello, wörld 👋🏽", "hello, wörld 👋🏽", id="ordinary text is left alone"),
        pytest.param("שלום עולם", "שלום עולם", id="right-to-left text is left alone"),
        pytest.param("\x1b[2Jgone", r"\x1b[2Jgone", id="escape sequence"),
        pytest.param("\x9b31mred", r"\x9b31mred", id="8-bit escape sequence"),
        pytest.param("a\nbob: forged", r"a\nbob: forged", id="line break"),
        pytest.param("a\r\n", r"a\r\n", id="carriage return"),
        pytest.param("a\u2028b\u2029c", r"a\u2028b\u2029c", id="unicode line breaks"),
        pytest.param("a\x85b", r"a\x85b", id="next line"),
        pytest.param("\x07\x08\x00\x7f\t", r"\x07\x08\x00\x7f\t", id="controls"),
        pytest.param("\u202egpj.exe", r"\u202egpj.exe", id="bidi override"),
        pytest.param("\u2066a\u2069", r"\u2066a\u2069", id="bidi isolates"),
        pytest.param("\udcff", r"\udcff", id="byte that is no text"),
    ],
)
def test_text_of_others_is_made_harmless(text: str, shown: str) -> None:
    assert harmless(text) == shown


@given(st.text())
def test_harmless_text_has_no_controls_and_is_one_line(text: str) -> None:
    shown = harmless(text)
    assert not any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in shown)
    assert len(shown.splitlines()) <= 1
    assert harmless(shown) == shown


@given(st.text())
def test_a_json_line_is_one_ascii_line_and_keeps_the_text(text: str) -> None:
    line = json_line({"text": text})
    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line) == {"text": text}


def test_times_are_rfc_3339_in_utc_with_microseconds() -> None:
    time = datetime(2026, 1, 2, 5, 4, 5, 6, tzinfo=timezone(timedelta(hours=2)))
    assert utc(time) == "2026-01-02T03:04:05.000006Z"


def test_the_clock_shows_the_date_only_of_another_day() -> None:
    now = datetime(2026, 1, 2, 12, 0, 0, tzinfo=UTC).astimezone()
    assert clock(now, now) == now.strftime("%H:%M:%S")
    assert clock(now - timedelta(days=3), now).startswith("2025-12-3")


def test_accounts_say_who_is_online() -> None:
    assert account_line("alice", True).split() == ["online", "alice"]
    assert account_line("bob", False).split() == ["-", "bob"]


def test_numbers_agree_with_their_nouns() -> None:
    assert [counted(n, "message") for n in (0, 1, 2_000)] == ["0 messages", "1 message", "2,000 messages"]


def test_a_table_aligns_its_columns() -> None:
    assert table([["A", "B"], ["long", "x"]]) == "A     B\nlong  x"
