"""Which names and texts are allowed, and when two names are the same."""

import unicodedata
from functools import lru_cache

from chatsvc.domain.errors import Reason, Refusal
from chatsvc.domain.limits import NAME_CODE_POINTS_MAX, TEXT_CODE_POINTS_MAX


def name_key(name: str) -> str:
    """What two spellings of the same name have in common: NFC, case folded.

    Folding can leave NFC, so it is composed once more. Any text has a key, also one that is no allowed name.
    """
    folded = unicodedata.normalize("NFC", name).casefold()
    return unicodedata.normalize("NFC", folded)


@lru_cache(maxsize=65_536)
def _cached_key(name: str) -> str:
    return name_key(name)


def cached_name_key(name: str) -> str:
    """`name_key`, remembered for names short enough to be one."""
    return _cached_key(name) if len(name) <= NAME_CODE_POINTS_MAX * 4 else name_key(name)


_INVISIBLE = frozenset(
    map(
        chr,
        (
            *(0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x3164, 0xFFA0),  # joiners and fillers that show nothing
            *range(0x180B, 0x1810),  # variation selectors
            *range(0xFE00, 0xFE10),
            *range(0xE0100, 0xE01F0),
        ),
    )
)
"""Letters and marks that a reader can't see: two names must not differ by them alone."""


def _is_name_character(character: str) -> bool:
    if character in _INVISIBLE:
        return False
    return character in "_.-" or unicodedata.category(character)[0] in "LM" or unicodedata.category(character) == "Nd"


def check_name(name: str) -> Refusal | None:
    """Refusal of a name that no account may have; None if it is allowed.

    Length and characters are those of the NFC form, which is what is stored.
    """
    composed = unicodedata.normalize("NFC", name) if len(name) <= NAME_CODE_POINTS_MAX * 4 else name
    fits = 1 <= len(composed) <= NAME_CODE_POINTS_MAX and all(map(_is_name_character, composed))
    if fits and not unicodedata.category(composed[0]).startswith("M"):  # a mark belongs to a letter before it
        return None
    return Refusal(Reason.INVALID_NAME, len(composed), name[: NAME_CODE_POINTS_MAX + 8])


def check_text(text: str) -> Refusal | None:
    """Refusal of a text that no message may have; None if it is allowed."""
    if 1 <= len(text) <= TEXT_CODE_POINTS_MAX:
        return None
    return Refusal(Reason.INVALID_TEXT, len(text))
