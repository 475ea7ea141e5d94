import re
from pathlib import Path

import pytest

import chatsvc.replication
from chatsvc.replication.rules import ALL, RULES, Rules


def test_every_rule_is_on_in_production_and_can_be_taken_away_by_name() -> None:
    for name in RULES:
        assert getattr(ALL, name)
        mutant = ALL.without(name)
        assert not getattr(mutant, name)
        assert all(getattr(mutant, other) for other in RULES if other != name)


def test_an_unknown_rule_cannot_be_taken_away() -> None:
    with pytest.raises(AssertionError):
        ALL.without("closd")


def test_every_rule_is_named_in_the_protocol_and_asked_for_in_the_code() -> None:
    assert chatsvc.replication.__doc__ is not None
    named = {name for names in re.findall(r"\[([a-z, ]+)\]", chatsvc.replication.__doc__) for name in names.split(", ")}
    assert set(RULES) <= named
    folder = Path(chatsvc.replication.__file__).parent
    code = "".join(path.read_text() for path in folder.glob("*.py") if path.name != "rules.py")
    assert {name for name in Rules.__struct_fields__ if f"rules.{name}" not in code} == set()
