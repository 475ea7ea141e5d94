"""A bounded number of seeds of every class; many more are run by `make sim`."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.simulation.ledger import ROOT, Totals
from tests.simulation.run import ALL_KINDS, run

SEEDS_FAULTS = 25
SEEDS_AVAILABILITY = 15


def test_no_class_of_runs_is_missing() -> None:
    assert len(ALL_KINDS) == 12


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_no_seed_breaks_a_guarantee(kind: str) -> None:
    totals = Totals()
    for seed in range(SEEDS_AVAILABILITY if kind.startswith("avail") else SEEDS_FAULTS):
        totals.add(run(kind, seed))
    assert totals.failures == []
    assert totals.void(kind) == []


def test_a_seed_repeats_exactly_in_another_process() -> None:
    """Also where the hashes of bytes and text differ, so nothing depends on the order of a set."""
    script = (
        "from tests.simulation.run import run\n"
        "print([run(kind, 3).digest for kind in ('crash', 'cut', 'join', 'avail-kill')])"
    )
    seen = {
        subprocess.run(
            [sys.executable, "-c", script],
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)},
        ).stdout
        for hash_seed in ("0", "1", "2")
    }
    assert len(seen) == 1
