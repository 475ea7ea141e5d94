"""Run seeds: `python -m tests.simulation --seeds A:B [--class NAME ...] [--jobs N] [--ledger FILE]`.

Exit status 0: no violation, nothing stuck, no batch void. `--trace` prints what happened in every run (use it
with one seed); `--without RULE` switches a rule of the core off.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from multiprocessing import Pool
from pathlib import Path
from threading import Semaphore

from chatsvc.replication import ALL
from chatsvc.replication.rules import RULES
from tests.simulation.ledger import Ledger, Totals
from tests.simulation.run import ALL_KINDS, run

CHUNK = 20

Job = tuple[str, int, int, tuple[str, ...], bool, int | None]


def work(job: Job) -> tuple[str, int, int, Totals]:
    kind, first, end, without, trace, servers = job
    totals = Totals()
    for seed in range(first, end):
        outcome = run(kind, seed, ALL.without(*without), trace, servers)
        totals.add(outcome)
        if trace:
            for when, who, what in outcome.lines:
                print(f"{when:9.3f} {who:8} {what}")
            print(f"digest {outcome.digest:08x} steps {outcome.steps} {dict(sorted(outcome.stats.items()))}")
    return kind, first, end, totals


def jobs_for(
    ledger: Ledger, kinds: list[str], first: int, end: int, without: tuple[str, ...], trace: bool, servers: int | None
) -> Iterator[Job]:
    """Chunks of seeds that are not in the ledger, the classes in turn."""
    for start in range(first, end, CHUNK):
        for kind in kinds:
            covered = ledger.totals(kind)
            todo = [seed for seed in range(start, min(start + CHUNK, end)) if not covered.covers(seed)]
            while todo:
                last = todo[0]
                while last + 1 in todo:
                    last += 1
                yield kind, todo[0], last + 1, without, trace, servers
                todo = [seed for seed in todo if seed > last]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.simulation", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", default="0:20", help="A:B, half open; a single number is one seed")
    parser.add_argument(
        "--class",
        dest="kinds",
        action="append",
        choices=(*ALL_KINDS, "all", "faults", "avail"),
        help="may be given more than once; default all",
    )
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--ledger", type=Path, help="JSON file to continue; without it nothing is kept")
    parser.add_argument("--servers", type=int, help="instead of what the seed says")
    parser.add_argument("--without", action="append", default=[], choices=sorted(RULES), metavar="RULE")
    parser.add_argument("--trace", action="store_true")
    parser.add_argument("--stop", type=int, default=0, help="end after so many failures")
    parser.add_argument("--seconds", type=float, help="begin no new chunk after that time")
    options = parser.parse_args(arguments)
    first, _, end = options.seeds.partition(":")
    kinds = [
        kind
        for kind in ALL_KINDS
        if not options.kinds
        or kind in options.kinds
        or "all" in options.kinds
        or ("avail" in options.kinds and kind.startswith("avail"))
        or ("faults" in options.kinds and not kind.startswith("avail"))
    ]
    ledger = Ledger(options.ledger)
    began, steps, failures = time.monotonic(), 0, 0
    jobs = jobs_for(
        ledger,
        kinds,
        int(first),
        int(end) if end else int(first) + 1,
        tuple(options.without),
        options.trace,
        options.servers,
    )

    ahead = Semaphore(2 * options.jobs)  # the pool would take all jobs at once

    def in_time() -> Iterator[Job]:
        for job in jobs:
            ahead.acquire()
            if options.seconds and time.monotonic() - began > options.seconds:
                return
            yield job

    def record(kind: str, start: int, stop: int, totals: Totals) -> bool:
        nonlocal steps, failures
        ahead.release()
        steps += totals.steps
        for seed, text in totals.failures:
            failures += 1
            print(f"FAILED {kind} {seed}: {text}", flush=True)
        ledger.totals(kind).merge(totals)
        ledger.totals(kind).cover(start, stop)
        ledger.save()
        return bool(options.stop and failures >= options.stop)

    if options.jobs > 1:
        with Pool(options.jobs) as pool:
            for result in pool.imap_unordered(work, in_time()):
                if record(*result):
                    pool.terminate()
                    break
    else:
        for job in in_time():
            if record(*work(job)):
                break
    return report(ledger, kinds, steps, time.monotonic() - began)


def report(ledger: Ledger, kinds: list[str], steps: int, seconds: float) -> int:
    """Print the figures of the ledger; exit status."""
    total, bad = Totals(), 0
    for kind in kinds:
        totals = ledger.totals(kind)
        if not totals.seeds:
            continue
        total.merge(totals)
        void = totals.void(kind)
        bad += len(totals.failures) + len(void)
        sums = totals.sums
        print(
            f"{kind:18} {totals.seeds:6} seeds {totals.steps:10} steps {sums['acknowledged']:8} acked "
            f"{sums['promotions']:7} promotions {sums['kills']:6} kills ({sums['double kills']} double) "
            f"{sums['pauses']:6} pauses {sums['cuts']:6} cuts  worst gap {totals.worst_gap_s:.1f} s, recovery "
            f"{totals.worst_recovery_s:.1f} s  blocked {len(totals.blocked)}  failed {len(totals.failures)}"
        )
        for text in void:
            print(f"VOID {kind}: {text}")
    print(
        f"{total.seeds} seeds, {total.steps} steps, {total.simulated_s / 3600:.1f} simulated hours, "
        f"{total.sums['acknowledged']} acknowledged, {total.sums['promotions']} promotions, "
        f"{total.sums['double kills']} double kills, {len(total.blocked)} blocked, {len(total.failures)} failed; "
        f"this run: {steps} steps, {steps / max(seconds, 0.001):.0f} steps/s"
    )
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
