"""The judge is judged: every rule of the core, switched off, must be noticed by a schedule that is stored
here.

    python -m tests.simulation.mutants                   the table: rule, what notices its absence
    python -m tests.simulation.mutants --search RULE ... look for seeds that notice (see --class, --seeds)

A schedule is a seed of a class of runs, or a story. With all rules it passes (the other tests see to that);
without the rule the seed must fail (a violation, an assertion of the core, a blocked survivor), the story
must go differently. `mutants.json` holds them; a rule that only an argument supports says so in `ARGUED`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from chatsvc.replication import ALL
from chatsvc.replication.rules import RULES
from tests.simulation.run import ALL_KINDS, run

STORE = Path(__file__).with_name("mutants.json")

# Rules without a schedule, and why they stay.
ARGUED: dict[str, str] = {
    "cover": "follows from the order of the log and `ownconfig`: what is durable everywhere below a CONFIG that is not "
    "was committed before it, or falls under `ownconfig`; kept as an assertion",
    "regrant": "an epoch learned from Fenced belongs to a candidate that was granted by somebody else, whose log and "
    "CONFIG were compared; the rule spares every other argument that assumption",
    "latchown": "a lease outlives its reign only with a holder that has granted the new primary, and `degrants` then "
    "wants that one among the granters",
}


def stored() -> dict[str, list[list[object]]]:
    """Rule -> schedules: ["seed", class, seed] or ["story", name]."""
    return json.loads(STORE.read_text()) if STORE.exists() else {}


def noticed(rule: str, schedule: list[object]) -> str:
    """What the schedule sees without the rule; empty if nothing."""
    rules = ALL.without(rule)
    if schedule[0] == "story":
        from tests.replication.stories.runner import FOLDER, rewritten

        text = (FOLDER / f"{schedule[1]}.txt").read_text()
        now = rewritten(text, rules)
        if now == text:
            return ""
        broken = [line for line in now.split("\n") if line.startswith(("VIOLATION", "ASSERTION"))]
        return broken[0] if broken else "the story goes differently"
    _, kind, seed = schedule
    outcome = run(str(kind), int(str(seed)), rules)
    return outcome.violation or ("blocked" if outcome.blocked else "")


def search(rule: str, kinds: list[str], first: int, end: int, seconds: float) -> list[object] | None:
    """The first seed that fails without the rule and passes with it."""
    began = time.monotonic()
    rules = ALL.without(rule)
    for seed in range(first, end):
        for kind in kinds:
            if time.monotonic() - began > seconds:
                return None
            if run(kind, seed, rules).violation and not run(kind, seed).violation:
                return ["seed", kind, seed]
    return None


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.simulation.mutants",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--search", nargs="*", metavar="RULE", help="none given: all without a schedule")
    parser.add_argument("--class", dest="kinds", action="append", choices=ALL_KINDS)
    parser.add_argument("--seeds", default="0:300")
    parser.add_argument("--seconds", type=float, default=60, help="for each rule")
    options = parser.parse_args(arguments)
    known = stored()
    if options.search is not None:
        first, _, end = options.seeds.partition(":")
        for rule in options.search or [rule for rule in RULES if rule not in known]:
            found = search(rule, options.kinds or ["cut", "join", "pause"], int(first), int(end), options.seconds)
            print(f"{rule:14} {found or 'not noticed'}", flush=True)
            if found:
                known = stored()
                known.setdefault(rule, []).append(found)
                STORE.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
        return 0
    missing = 0
    for rule, said in RULES.items():
        found = ""
        for schedule in known.get(rule, []):
            found = noticed(rule, schedule)
            if found:
                print(f"{rule:14} noticed by {' '.join(map(str, schedule)):32} {found[:100]}", flush=True)
                break
        if not found and rule in ARGUED:
            print(f"{rule:14} argued: {ARGUED[rule]}")
        elif not found:
            missing += 1
            print(f"{rule:14} NOT NOTICED. {said.without}", flush=True)
    print(f"{len(RULES)} rules, {len(RULES) - missing - len(ARGUED)} noticed, {len(ARGUED)} argued, {missing} missing")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
