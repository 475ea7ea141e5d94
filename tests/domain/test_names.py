"""Which names and texts are allowed, and when two names are the same."""

import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatsvc.domain.errors import Reason, Refusal
from chatsvc.domain.names import cached_name_key, check_name, check_text, name_key

# No surrogates: text that comes over the wire is UTF-8, which has none.
anything = st.text(st.characters(codec="utf-8"), max_size=40)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param("alice", "ALICE", id="case"),
        pytest.param("caf\u00e9", "cafe\u0301", id="composed and decomposed"),
        pytest.param("STRASSE", "stra\u00dfe", id="sharp s folds to two letters"),
        pytest.param("\u03c3\u03b1\u03c2", "\u03a3\u0391\u03a3", id="final sigma"),
        pytest.param("\u212a", "k", id="kelvin sign"),
        pytest.param("J\u030c", "\u01f0", id="folding leaves NFC"),
    ],
)
def test_two_spellings_are_the_same_name(one: str, other: str) -> None:
    assert name_key(one) == name_key(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param("alice", "alic", id="prefix"),
        pytest.param("a", "\u0430", id="latin and cyrillic"),
        pytest.param("e", "\u00e9", id="accent"),
        pytest.param("a.b", "a-b", id="punctuation"),
    ],
)
def test_two_names_that_only_look_alike_differ(one: str, other: str) -> None:
    assert name_key(one) != name_key(other)


@given(anything)
def test_the_key_of_a_key_is_itself(name: str) -> None:
    assert name_key(name_key(name)) == name_key(name)


def test_every_character_has_a_key_that_stays() -> None:
    folding = filter(lambda character: name_key(character) != character, map(chr, range(sys.maxunicode + 1)))
    for key in map(name_key, folding):
        assert name_key(key) == key


@given(anything)
def test_the_remembered_key_is_the_key(name: str) -> None:
    for text in (name, name * 10):
        assert cached_name_key(text) == name_key(text)


@given(anything)
def test_a_name_is_allowed_in_whichever_form_it_is_written(name: str) -> None:
    composed, decomposed = unicodedata.normalize("NFC", name), unicodedata.normalize("NFD", name)
    assert (check_name(composed) is None) == (check_name(decomposed) is None)
    assert name_key(composed) == name_key(decomposed)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("a", id="one letter"),
        pytest.param("a" * 32, id="32 letters"),
        pytest.param("\U00010400" * 32, id="32 letters beyond the basic plane"),
        pytest.param("e\u0301" * 32, id="32 letters after composition"),
        pytest.param("\u1f82" * 32, id="32 letters composed of four each"),
        pytest.param(unicodedata.normalize("NFD", "\u1f82" * 32), id="128 code points that make 32 letters"),
        pytest.param("Bob_the-2.nd", id="digits and punctuation"),
        pytest.param("\u0661\u0662", id="arabic digits"),
        pytest.param("\u092e\u0947\u0930\u093e", id="spacing marks"),
    ],
)
def test_a_name_of_letters_marks_digits_and_three_signs_is_allowed(name: str) -> None:
    assert check_name(name) is None


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("\u3164", id="a letter that shows nothing"),
        pytest.param("alice\ufe0f", id="a variation selector"),
        pytest.param("\u0301a", id="a mark before any letter"),
        pytest.param("", id="empty"),
        pytest.param("a" * 33, id="33 letters"),
        pytest.param("a" * 100_000, id="100,000 letters"),
        pytest.param("e\u0301" * 33, id="33 letters after composition"),
        pytest.param("a b", id="space"),
        pytest.param("a\u00a0b", id="no-break space"),
        pytest.param("a\nb", id="line feed"),
        pytest.param("a\x00", id="NUL"),
        pytest.param("a\x1b[31m", id="escape sequence"),
        pytest.param("a\u200db", id="zero width joiner"),
        pytest.param("a\u202eb", id="right to left override"),
        pytest.param("a@b", id="at sign"),
        pytest.param("a/b", id="slash"),
        pytest.param("\u2167", id="letter number"),
        pytest.param("\u00bd", id="fraction"),
        pytest.param("\U0001f600", id="emoji"),
        pytest.param("\ue000", id="private use"),
        pytest.param("\u0378", id="unassigned"),
    ],
)
def test_a_name_with_anything_else_or_of_another_length_is_refused(name: str) -> None:
    refusal = check_name(name)
    assert refusal is not None
    assert refusal.reason is Reason.INVALID_NAME
    assert len(refusal.subject) <= 40


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("x", id="one"),
        pytest.param("x" * 1_500, id="1,500"),
        pytest.param("\U0001f600" * 1_500, id="1,500 beyond the basic plane"),
        pytest.param("e\u0301" * 750, id="1,500 before composition"),
        pytest.param("\n", id="a line feed"),
    ],
)
def test_a_text_of_up_to_1500_code_points_is_allowed(text: str) -> None:
    assert check_text(text) is None


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("x" * 1_501, id="1,501"),
        pytest.param("\U0001f600" * 1_501, id="1,501 beyond the basic plane"),
        pytest.param("e\u0301" * 751, id="1,502 that would compose to 751"),
    ],
)
def test_an_empty_text_or_one_above_1500_code_points_is_refused(text: str) -> None:
    assert check_text(text) == Refusal(Reason.INVALID_TEXT, len(text))
