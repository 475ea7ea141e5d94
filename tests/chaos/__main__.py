"""Do bad things to a cluster of real servers, and judge what its clients saw.

Exit status 0: nothing is wrong. 1: the history breaks a rule, or proves nothing; the report says which.
"""

import argparse
import asyncio
import logging
import os
import shutil
import sys
import tempfile
from pathlib import Path

import msgspec

from tests.chaos.faults import CLASSES
from tests.chaos.network import enter
from tests.chaos.report import summary, write_report
from tests.chaos.run import Options, run


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--duration", type=float, default=60.0, metavar="S", help="no fault begins after that")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--faults", default="short", help="classes with commas between, `short` or `all`; list: help")
    parser.add_argument("--report", type=Path, metavar="DIR", help="where the report goes; default: a new directory")
    parser.add_argument("--pairs", type=int, default=3, help="senders with the client library")
    parser.add_argument("--window", type=int, default=16, help="most sends of each without an answer")
    parser.add_argument("--pace", type=float, default=0.01, metavar="S", help="time between two sends of each")
    parser.add_argument(
        "--pause", type=float, metavar="S", help="longest pause or cut; default: by the duration, 4 to 30"
    )
    parser.add_argument("--slack", type=float, default=5.0, metavar="S", help="added to the bound of every fault")
    parser.add_argument("--keep", action="store_true", help="keep data and logs of the servers although all is well")
    given = parser.parse_args()
    if given.faults == "help":
        for name, kind in CLASSES.items():
            notes = ["short"] * kind.short + ["not promised"] * (not kind.promised) + [kind.needs]
            print(f"{name:20} {', '.join(filter(None, notes))}")
        return 0
    names = {
        "all": [name for name, kind in CLASSES.items() if kind.promised],
        "short": [name for name, kind in CLASSES.items() if kind.short],
    }
    faults = tuple(names.get(given.faults) or given.faults.split(","))
    for name in faults:
        if name not in CLASSES:
            parser.error(f"{name} is no class of faults: {', '.join(CLASSES)}")
    enter()
    logging.basicConfig(level=logging.WARNING)
    directory = Path(tempfile.mkdtemp(prefix="chaos-"))
    options = Options(
        duration_s=given.duration,
        seed=given.seed,
        faults=faults,
        directory=directory,
        pairs=given.pairs,
        window=given.window,
        pace_s=given.pace,
        pause_s=given.pause or min(30.0, max(4.0, given.duration / 30)),
        slack_s=given.slack,
    )
    result, history = asyncio.run(run(options))
    report = given.report or directory / "report"
    page = write_report(result, report)
    for text in result.violations:
        print(text)
    for name, reason in result.left_out.items():
        print(f"left out: {name}, {reason}")
    print(f"{summary(result)}; {page}")
    if result.violations or given.keep:
        for log in [*directory.glob("*.log"), *directory.glob("disk-*/*.log")]:
            shutil.copy(log, report / log.name)
        (report / "history.msgpack").write_bytes(msgspec.msgpack.encode(history))
    if given.report is not None and not given.keep:
        shutil.rmtree(directory, ignore_errors=True)
    return 1 if result.violations else 0


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    os._exit(status)  # whatever waits still: the servers are gone, and the kernel takes the rest
