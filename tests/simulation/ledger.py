"""What was run, in a file that later runs continue.

The ledger belongs to one state of the sources: `fingerprint` names it. Under it, for each class: the ranges
of seeds that were run (half open), the sums of their figures, and every seed that failed. Seeds in the ledger
are not run again.
"""

from __future__ import annotations

import ast
import json
import os
from collections import Counter
from hashlib import blake2b
from pathlib import Path
from typing import Any

from tests.simulation.run import Outcome

ROOT = Path(__file__).resolve().parents[2]
SUMMED = (
    "acknowledged",
    "promotions",
    "kills",
    "double kills",
    "full crashes",
    "pauses",
    "disk hangs",
    "cuts",
    "machines off",
    "wipes",
    "client crashes",
    "truncations",
    "unsynced lost",
    "written but not told",
    "left out of the core",
    "entries doubled",
    "replaced",
    "aimed at CONFIG",
    "aimed at candidacy",
    "aimed at vote",
    "aimed at promotion",
    "stood in vain",
    "reads granted",
    "forged epochs",
    "stops",
    "note grows",
    "note drops",
    "note steps down",
    "note stalled",
    "note freezes",
    "note relinquishes",
    "promoted: closed",
    "promoted: leased",
    "promoted: degraded",
    "full disks",
    "failed syncs",
    "members removed",
)

# At least so much per seed, on the average of a class; a batch with less judges nothing and fails.
FLOOR: dict[str, dict[str, float]] = {
    "crash": {"acknowledged": 50, "promotions": 2, "kills": 3, "double kills": 0.2, "client crashes": 0.1},
    "pause": {"acknowledged": 50, "promotions": 2, "kills": 2, "pauses": 1, "disk hangs": 0.2},
    "cut": {"acknowledged": 50, "promotions": 2, "kills": 2, "pauses": 0.7, "cuts": 1},
    "join": {"acknowledged": 30, "promotions": 1.5, "kills": 2, "cuts": 0.7, "wipes": 0.05, "note grows": 1},
    "isolated": {"acknowledged": 50, "promotions": 2, "kills": 2, "pauses": 0.7, "cuts": 1},
}
NOT_IN_THE_FINGERPRINT = ("ledger.py", "__main__.py", "mutants.py")
BATCH_MIN = 15  # fewer seeds than this are not judged by the floor


def fingerprint() -> str:
    """Of what the core and the simulator do, whatever their comments say: what makes a seed mean the same again."""
    digest = blake2b(digest_size=6)
    for folder in ("chatsvc/replication", "tests/simulation"):
        for path in sorted((ROOT / folder).glob("*.py")):
            if path.name not in NOT_IN_THE_FINGERPRINT and not path.name.startswith("test_"):
                digest.update(path.name.encode() + _meaning(path.read_text()).encode())
    return digest.hexdigest()


def _meaning(source: str) -> str:
    """The program without comments, docstrings and layout."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            node.value.value = ""
    return ast.dump(tree)


class Totals:
    """Figures of many seeds of one class."""

    def __init__(self, content: dict[str, Any] | None = None):
        content = content or {}
        self.ranges: list[list[int]] = content.get("ranges", [])
        self.seeds: int = content.get("seeds", 0)
        self.steps: int = content.get("steps", 0)
        self.simulated_s: float = content.get("simulated_s", 0.0)
        self.worst_gap_s: float = content.get("worst_gap_s", 0.0)
        self.worst_recovery_s: float = content.get("worst_recovery_s", 0.0)
        self.blocked: list[int] = content.get("blocked", [])
        self.sums: Counter[str] = Counter(content.get("sums", {}))
        self.failures: list[tuple[int, str]] = [(seed, text) for seed, text in content.get("failures", [])]

    def add(self, outcome: Outcome) -> None:
        self.seeds += 1
        self.steps += outcome.steps
        self.simulated_s += outcome.simulated_s
        self.worst_gap_s = max(self.worst_gap_s, outcome.gap_s)
        self.worst_recovery_s = max(self.worst_recovery_s, outcome.recovery_s)
        if outcome.blocked:
            self.blocked.append(outcome.seed)
        for name in SUMMED:
            if outcome.stats[name]:
                self.sums[name] += outcome.stats[name]
        if outcome.violation:
            self.failures.append((outcome.seed, outcome.violation[:300]))

    def merge(self, other: Totals) -> None:
        self.seeds += other.seeds
        self.steps += other.steps
        self.simulated_s += other.simulated_s
        self.worst_gap_s = max(self.worst_gap_s, other.worst_gap_s)
        self.worst_recovery_s = max(self.worst_recovery_s, other.worst_recovery_s)
        self.blocked = sorted(self.blocked + other.blocked)
        self.sums.update(other.sums)
        self.failures = sorted(self.failures + other.failures)

    def covers(self, seed: int) -> bool:
        return any(first <= seed < end for first, end in self.ranges)

    def cover(self, first: int, end: int) -> None:
        merged: list[list[int]] = []
        for start, stop in sorted([*self.ranges, [first, end]]):
            if merged and start <= merged[-1][1]:
                merged[-1][1] = max(stop, merged[-1][1])
            else:
                merged.append([start, stop])
        self.ranges = merged

    def void(self, kind: str) -> list[str]:
        """Which figures are too low for the batch to mean anything; empty if none."""
        if self.seeds < BATCH_MIN:
            return []
        return [
            f"{name}: {self.sums[name] / self.seeds:.2f} a seed, at least {floor} wanted"
            for name, floor in FLOOR.get(kind, {"acknowledged": 1, "kills": 1}).items()
            if self.sums[name] < floor * self.seeds
        ]

    def content(self) -> dict[str, Any]:
        return {
            "ranges": self.ranges,
            "seeds": self.seeds,
            "steps": self.steps,
            "simulated_s": round(self.simulated_s, 1),
            "worst_gap_s": round(self.worst_gap_s, 3),
            "worst_recovery_s": round(self.worst_recovery_s, 3),
            "blocked": self.blocked,
            "sums": dict(sorted(self.sums.items())),
            "failures": self.failures,
        }


class Ledger:
    """The file; `path` None keeps nothing."""

    def __init__(self, path: Path | None):
        self.path = path
        self.fingerprint = fingerprint()
        self.all: dict[str, Any] = json.loads(path.read_text()) if path and path.exists() else {}
        mine = self.all.get(self.fingerprint, {})
        self.classes = {kind: Totals(content) for kind, content in mine.items()}

    def totals(self, kind: str) -> Totals:
        return self.classes.setdefault(kind, Totals())

    def save(self) -> None:
        if self.path is None:
            return
        self.all[self.fingerprint] = {kind: totals.content() for kind, totals in sorted(self.classes.items())}
        temporary = self.path.with_suffix(".new")
        temporary.write_text(json.dumps(self.all, indent=1) + "\n")
        os.replace(temporary, self.path)
