"""chatsvc beside the bare prototype, by turns on the same machine, driven by the same driver.

    python -m benchmarks.compare --rounds 5 --windows 1,16 --rates 500,2000 --seconds 4 --json figures.json

Every round starts one server of each kind, with --backups as many backups each, on empty directories and has the two
take turns at every load; which one begins alternates. Single figures of a machine move by 10 to 25 %, more if it is
shared: only ratios within a round are compared, and their median is given with their spread. A run that lost, doubled
or reordered a message, or had one refused, ends the comparison.
"""

import argparse
import json
import os
import platform
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.driver import Load, Result, Target, add_load_options, common_load, run

ROOT = Path(__file__).resolve().parent.parent
START_S = 20.0
"""Most that starting a server may take."""

MEASURES: dict[str, tuple[Callable[[Result], float | None], tuple[str, ...]]] = {
    # Name: where it is in a result, and in which modes it means something.
    "acked/s": (lambda result: result.acked_per_s, ("saturate", "offline")),
    "delivered/s": (lambda result: result.delivered_per_s, ("saturate",)),
    "drained/s": (lambda result: result.delivered_per_s, ("offline",)),
    "server CPU, µs a message": (lambda result: server_cpu_us(result), ("saturate", "rate")),
    "ack p50 ms": (lambda result: result.ack_ms.p50, ("saturate", "rate")),
    "ack p99 ms": (lambda result: result.ack_ms.p99, ("saturate", "rate")),
    "e2e p50 ms": (lambda result: result.e2e_ms.p50, ("saturate", "rate")),
    "e2e p99 ms": (lambda result: result.e2e_ms.p99, ("saturate", "rate")),
}


@dataclass(frozen=True)
class Summary:
    """One measure under one load, over all rounds.

    Attributes:
        load, measure: what was measured.
        medians: of each contender's figures; None where it has none.
        ratio, lowest, highest: median and extremes of chatsvc's figure divided by the prototype's of the same round.
    """

    load: str
    measure: str
    medians: dict[str, float | None]
    ratio: float | None
    lowest: float | None
    highest: float | None


def server_cpu_us(result: Result) -> float | None:
    """CPU time of the servers for each acknowledged message: the figure that a busy machine disturbs least."""
    return sum(result.cpu["servers"]) / result.acked_per_s * 1e6 if result.acked_per_s else None


# ---- servers


# Run from the root, this takes the code beside this file, whatever the environment has installed.
CHATSVC = (sys.executable, "-c", "import sys; from chatsvc.cli import main; sys.exit(main())")


@contextmanager
def chatsvc_servers(directory: Path, backups: int) -> Iterator[Target]:
    """Servers as `chatsvc serve` starts them, all in sync; the first one is the primary."""
    ports = _free_ports(backups + 1)
    addresses = [f"127.0.0.1:{port}" for port in ports]
    with ExitStack() as stack:
        processes = []
        for place, address in enumerate(addresses):
            role = ["--primary"] if place == 0 else ["--backup", "--join", addresses[0]]
            own = directory / f"{place}"
            command = [*CHATSVC, "serve", *role, "--listen", address, "--data-dir", str(own)]
            processes.append(stack.enter_context(_process(command, own)))
            _wait_for_port(processes[-1], ports[place], own)
        _wait_for_sync(addresses)
        yield Target("127.0.0.1", ports[0], "chatsvc", tuple(process.pid for process in processes))


@contextmanager
def prototype_servers(directory: Path, backups: int) -> Iterator[Target]:
    """The bare prototype, with as many backups."""
    ports = _free_ports(backups + 1)
    with ExitStack() as stack:
        processes = []
        for place, port in enumerate(reversed(ports)):  # the backups first
            own = directory / f"{place}"
            command = [
                sys.executable,
                "-m",
                "benchmarks.prototype",
                "--listen",
                f"127.0.0.1:{port}",
                "--data-dir",
                str(own),
            ]
            if place < backups:
                command.append("--as-backup")
            elif backups:
                command += ["--backups", ",".join(f"127.0.0.1:{backup}" for backup in ports[1:])]
            processes.append(stack.enter_context(_process(command, own)))
            _wait_for_port(processes[-1], port, own)
        yield Target("127.0.0.1", ports[0], "prototype", tuple(process.pid for process in processes))


def _wait_for_sync(addresses: Sequence[str]) -> None:
    """Until the first server serves and says that all would survive it."""
    deadline_s = time.monotonic() + START_S
    while time.monotonic() < deadline_s:
        status = subprocess.run(
            [*CHATSVC, "status", "--json", "--server", addresses[0]], cwd=ROOT, capture_output=True, check=False
        )
        if status.returncode == 0:
            in_sync = {member["address"] for member in json.loads(status.stdout)["members"] if member["in_sync"]}
            if in_sync >= set(addresses):
                return
        time.sleep(0.1)
    raise RuntimeError(f"not all in sync after {START_S:g} s")


CONTENDERS = {"prototype": prototype_servers, "chatsvc": chatsvc_servers}


@contextmanager
def _process(command: Sequence[str | Path], directory: Path) -> Iterator[subprocess.Popen[bytes]]:
    directory.parent.mkdir(parents=True, exist_ok=True)
    with _log_path(directory).open("wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=ROOT)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _log_path(directory: Path) -> Path:
    return directory.with_suffix(".log")


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for free in sockets:
            free.bind(("127.0.0.1", 0))
        return [int(free.getsockname()[1]) for free in sockets]


def _wait_for_port(process: subprocess.Popen[bytes], port: int, directory: Path) -> None:
    deadline_s = time.monotonic() + START_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline_s:
                said = _log_path(directory).read_text(errors="replace")
                raise RuntimeError(f"{' '.join(map(str, process.args))} does not serve:\n{said}") from None  # type: ignore[arg-type]
            time.sleep(0.05)


# ---- rounds


def compare(loads: Sequence[Load], rounds: int, directory: Path, backups: int) -> list[dict[str, dict[str, Result]]]:
    """All rounds: for each, by name of the load and name of the contender, a result.

    Raises:
        RuntimeError: a server did not start, or a run was not sound.
    """
    figures = []
    for number in range(rounds):
        names = list(CONTENDERS) if number % 2 == 0 else list(CONTENDERS)[::-1]
        figures.append(_round(names, loads, directory / f"round{number}", backups))
    return figures


def _round(names: Sequence[str], loads: Sequence[Load], directory: Path, backups: int) -> dict[str, dict[str, Result]]:
    directory.mkdir()  # this holds the servers' directories and logs
    results: dict[str, dict[str, Result]] = {}
    with ExitStack() as stack:
        targets = {name: stack.enter_context(CONTENDERS[name](directory / name, backups)) for name in names}
        for load in loads:
            for name in names:
                result = run(targets[name], load)
                results.setdefault(load.name, {})[name] = result
                print(_line(name, result), file=sys.stderr, flush=True)
                if not result.is_sound:
                    raise RuntimeError(f"{name} is not sound: {json.dumps(asdict(result))}")
    shutil.rmtree(directory)
    return results


def _line(name: str, result: Result) -> str:
    text = f"{name:10} {result.name:9} {result.acked_per_s:>9,.0f} acked/s {result.delivered_per_s:>9,.0f} delivered/s"
    if result.e2e_ms.p50 is not None:
        text += f"  e2e {result.e2e_ms.p50:8.2f} / {result.e2e_ms.p99:8.2f} ms"
    text += f"  cpu {result.cpu['servers']} {result.cpu['senders']} {result.cpu['recipients']}"
    return text + ("  GENERATOR BOUND" if result.generator_bound else "")


def summarise(loads: Sequence[Load], figures: Sequence[dict[str, dict[str, Result]]]) -> list[Summary]:
    """Medians and ratios."""
    summaries = []
    for load in loads:
        for measure, (read, modes) in MEASURES.items():
            if load.mode not in modes:
                continue
            columns: dict[str, list[float]] = {}
            for name in CONTENDERS:
                values = [read(results[load.name][name]) for results in figures]
                columns[name] = [value for value in values if value]
            pairs = list(zip(columns["chatsvc"], columns["prototype"], strict=False))
            ratios = [ours / theirs for ours, theirs in pairs]
            medians = {name: statistics.median(values) if values else None for name, values in columns.items()}
            summaries.append(
                Summary(
                    load.name,
                    measure,
                    medians,
                    statistics.median(ratios) if ratios else None,
                    min(ratios, default=None),
                    max(ratios, default=None),
                )
            )
    return summaries


def table(summaries: Sequence[Summary]) -> str:
    """For people, in Markdown."""
    lines = [
        f"| load | measure | {' | '.join(CONTENDERS)} | ratio | lowest to highest |",
        "| --- | --- |" + " ---: |" * (len(CONTENDERS) + 2),
    ]
    for row in summaries:
        digits = 0 if row.measure.endswith("/s") else 2
        medians = [_number(row.medians[name], digits) for name in CONTENDERS]
        spread = f"{_number(row.lowest, 2)} to {_number(row.highest, 2)}" if row.ratio is not None else ""
        lines.append(f"| {row.load} | {row.measure} | {' | '.join(medians)} | {_number(row.ratio, 2)} | {spread} |")
    return "\n".join(lines)


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:,.{digits}f}"


def machine() -> dict[str, Any]:
    """Where and with what."""
    packages = ("chatsvc", "grpcio", "protobuf", "apsw", "uvloop")
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in _read("/proc/cpuinfo").splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{os.cpu_count()} × {model}",
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {package: version(package) for package in packages},
    }


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(prog="benchmarks.compare", description="chatsvc beside the bare prototype.")
    parser.add_argument("--rounds", type=int, default=5, help="default: %(default)s")
    parser.add_argument(
        "--windows", default="1,16", metavar="W,…", help="un-acknowledged a sender (default: %(default)s)"
    )
    parser.add_argument("--rates", default="500,2000", metavar="R,…", help="messages/s (default: %(default)s)")
    parser.add_argument("--backups", type=int, default=0, help="of each contender (default: %(default)s)")
    parser.add_argument("--no-offline", action="store_true", help="without queueing for people who are away")
    parser.add_argument("--json", type=Path, metavar="FILE", help="all figures")
    parser.add_argument("--directory", type=Path, help="for the servers' data (default: a temporary one)")
    add_load_options(parser)
    options = parser.parse_args()
    common = common_load(options)
    loads = [replace(common, mode="saturate", window=int(window)) for window in options.windows.split(",") if window]
    loads += [replace(common, mode="rate", rate=float(rate)) for rate in options.rates.split(",") if rate]
    if not options.no_offline:
        loads.append(replace(common, mode="offline"))
    with tempfile.TemporaryDirectory(prefix="chatsvc-benchmark", dir=options.directory) as directory:
        try:
            figures = compare(loads, options.rounds, Path(directory), options.backups)
        except (RuntimeError, OSError) as error:
            sys.exit(f"benchmarks.compare: {error}")
    summaries = summarise(loads, figures)
    print(f"{options.rounds} rounds, {options.backups} backups, {options.pairs} pairs, {options.seconds:g} s a run\n")
    print(table(summaries))
    if options.json:
        rounds = [{load: {n: asdict(r) for n, r in by.items()} for load, by in results.items()} for results in figures]
        document = {**machine(), "summaries": [asdict(row) for row in summaries], "rounds": rounds}
        options.json.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
