"""Every rule of the core, taken away, is noticed by a stored schedule, or its argument is written down."""

from __future__ import annotations

import pytest

from chatsvc.replication.rules import RULES
from tests.simulation.mutants import ARGUED, noticed, stored


@pytest.mark.parametrize("rule", RULES)
def test_the_lack_of_a_rule_is_noticed(rule: str) -> None:
    if rule in ARGUED:
        pytest.skip(ARGUED[rule])
    assert any(noticed(rule, schedule) for schedule in stored().get(rule, [])), RULES[rule].without
