"""`chatsvc bench`: how much a cluster carries, how fast, and how long a failover takes."""

import asyncio
import csv
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from chatsvc.bench import SIZE_MIN
from chatsvc.cli.failures import DONE, REFUSED, say
from chatsvc.cli.local import NAMES
from chatsvc.cli.measurement import SIGNALS, Measurement
from chatsvc.cli.options import json_option, option, server_options
from chatsvc.cli.render import counted, harmless, json_line, table
from chatsvc.cli.signals import STOPPING, Stopped
from chatsvc.domain.limits import TEXT_CODE_POINTS_MAX, WINDOW_OPS

if TYPE_CHECKING:
    from chatsvc.bench.results import Millis, Result

T = TypeVar("T")


class Numbers(click.ParamType[tuple[Any, ...]]):
    """One number or several with commas between them."""

    name = "numbers"

    def __init__(self, each: click.ParamType[Any]) -> None:
        self._each = each

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[Any, ...]:
        """The numbers, at least one."""
        if isinstance(value, tuple):
            return value
        return tuple(self._each.convert(part.strip(), param, ctx) for part in str(value).split(","))


def _option(*names: str, **settings: Any) -> Callable[[Any], Any]:
    variable = "CHATSVC_BENCH_" + names[0].removeprefix("--").upper().replace("-", "_")
    return option(*names, env=variable, **settings)


@click.command(short_help="Measure how much a cluster carries.")
@_option(
    "--local",
    metavar="N",
    type=click.IntRange(1, len(NAMES)),
    help="Start a cluster of N servers for this, in a temporary directory.",
)
@_option(
    "--pairs",
    metavar="N",
    type=click.IntRange(1, 100_000),
    default=50,
    show_default=True,
    help="Senders, with a recipient each.",
)
@_option(
    "--window",
    "windows",
    metavar="W[,…]",
    type=Numbers(click.IntRange(1, WINDOW_OPS)),
    default="16",
    show_default=True,
    help="Un-acknowledged messages a sender; several are measured one after the other.",
)
@_option(
    "--rate",
    "rates",
    metavar="R[,…]",
    type=Numbers(click.FloatRange(min=0, min_open=True)),
    help="Messages a second over all senders, whatever the servers do.  [default: as many as the window permits]",
)
@_option(
    "--size",
    metavar="N",
    type=click.IntRange(SIZE_MIN, TEXT_CODE_POINTS_MAX),
    default=105,
    show_default=True,
    help="Characters of a message.",
)
@_option("--messages", metavar="N", type=click.IntRange(min=1), help="Send so many in all, instead of --duration.")
@_option(
    "--duration",
    "duration_s",
    metavar="S",
    type=click.FloatRange(min=0, min_open=True),
    default=5.0,
    show_default=True,
    help="Seconds that are measured.",
)
@_option(
    "--warm-up",
    "warm_up_s",
    metavar="S",
    type=click.FloatRange(min=0),
    default=1.0,
    show_default=True,
    help="Seconds under load before that.",
)
@_option(
    "--connections",
    metavar="N",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="So many more people are logged in and quiet.",
)
@_option("--offline", is_flag=True, help="Recipients are away while messages are sent, then come back all at once.")
@_option(
    "--failover",
    "fault",
    type=click.Choice(list(SIGNALS)),
    help="Afterwards, do this to the primary again and again, and measure how long senders wait: kill -9, SIGSTOP "
    "or SIGTERM; needs --local.",
)
@_option("--runs", metavar="N", type=click.IntRange(min=1), default=10, show_default=True, help="So many times.")
@_option(
    "--processes",
    metavar="N",
    type=click.IntRange(min=1),
    help="Of the load generator.  [default: one for every two cores, at least 2]",
)
@json_option
@_option("--csv", "as_csv", is_flag=True, help="Print a table for spreadsheets.")
@_option(
    "--plot",
    "plot_path",
    metavar="FILE",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="Draw latency over throughput; needs matplotlib.",
)
@server_options
@click.pass_context
def bench(
    context: click.Context,
    local: int | None,
    pairs: int,
    windows: tuple[int, ...],
    rates: tuple[float, ...] | None,
    size: int,
    messages: int | None,
    duration_s: float,
    warm_up_s: float,
    connections: int,
    offline: bool,
    fault: str | None,
    runs: int,
    processes: int | None,
    as_json: bool,
    as_csv: bool,
    plot_path: Path | None,
    servers: tuple[str, ...] | None,
    give_up_s: float,
) -> int:
    """Measure how many messages a cluster carries, how long they take, and how long people wait after a failover.

    Pairs of people chat through the client library, in processes of their own. An acknowledgement counts when the
    server's answer has come, a delivery when the recipient has the message that was sent; at the end it is counted
    what was lost or doubled, and the exit status is 1 if anything was. The accounts are deleted afterwards.

    \b
    Example:
      chatsvc bench --local 3
      chatsvc bench --local 3 --pairs 50 --window 1,4,16,64 --duration 5 --plot curve.png
      chatsvc bench --server 10.0.0.1:50051 --rate 500 --json
      chatsvc bench --local 3 --failover kill --runs 20
    """
    if local is not None and _given(context, "servers"):
        raise click.UsageError("Either --local or --server.")
    if fault in SIGNALS and local is None:
        raise click.UsageError(
            f"--failover {fault} needs --local: it is done to servers that this command has started."
        )
    if fault is not None and local == 1:
        raise click.UsageError("A failover takes two servers or more.")
    if fault is not None and (offline or messages is not None or len(windows) > 1 or len(rates or ()) > 1):
        raise click.UsageError("--failover goes with one load, and not with --offline or --messages.")
    if messages is not None and _given(context, "duration_s"):
        raise click.UsageError("Either --messages or --duration.")
    if as_json and as_csv:
        raise click.UsageError("Either --json or --csv.")
    if rates is not None and len(windows) > 1:
        raise click.UsageError("Several windows or several rates, not both.")
    from chatsvc.bench.crew import BenchError
    from chatsvc.bench.plot import check_plotting, plot
    from chatsvc.bench.results import Load

    steps: list[tuple[int, float | None]] = [(window, rate) for window in windows for rate in rates or (None,)]
    loads = [Load(window, rate, size, messages, duration_s, warm_up_s, offline) for window, rate in steps]
    processes = min(pairs, processes or max(2, (os.cpu_count() or 1) // 2))
    progress = _Progress()
    run = Measurement(local, servers, pairs, connections, processes, size, give_up_s, progress.tell)
    try:
        if plot_path is not None:
            check_plotting(plot_path)
        results = _until_stopped(run.measure(loads, fault, runs))
    except BenchError as error:
        raise click.ClickException(str(error)) from None
    finally:
        progress.end()
    if as_json:
        for result in results:
            print(json_line(result.fields()))
    elif as_csv:
        _print_csv(results)
    else:
        print(_as_text(results, run))
    sys.stdout.flush()
    if plot_path is not None:
        plot(results, plot_path)
    wrong = [f"{result.load.name}: {what}" for result in results for what in result.wrong]
    if wrong:
        troubles = [result.counts.trouble for result in results if result.counts is not None and result.counts.trouble]
        say("; ".join(wrong) + (f" ({troubles[0]})" if troubles else ""))
        return REFUSED
    return DONE


def _given(context: click.Context, name: str) -> bool:
    return context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE


def _until_stopped(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end, or to the end of cleaning up after a signal.

    Raises:
        Stopped: there was one.
    """
    stopped: list[int] = []

    async def watched() -> T:
        loop = asyncio.get_running_loop()
        task = asyncio.ensure_future(work)

        def stop(number: int) -> None:
            if not stopped:  # a second one would break off the cleaning up, which does not take long
                task.cancel()
            stopped.append(number)

        for number in STOPPING:
            if signal.getsignal(number) is not signal.SIG_IGN:
                loop.add_signal_handler(number, stop, number)
        return await task

    try:
        return asyncio.run(watched())
    except asyncio.CancelledError:
        raise Stopped(stopped[0]) from None


class _Progress:
    """A bar on stderr, where that is a terminal."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._what = ""
        self._done = 0

    def tell(self, what: str, share: float) -> None:
        """See `chatsvc.bench.steady.Tell`."""
        if not sys.stderr.isatty():
            return
        if what != self._what:
            self.end()
            self._what, self._done = what, 0
            self._bar = click.progressbar(length=1_000, label=f"{what:<32}", file=sys.stderr, show_percent=False)
            self._bar.render_progress()
        done = round(min(1.0, max(0.0, share)) * 1_000)
        if done > self._done:
            self._bar.update(done - self._done)
            self._done = done

    def end(self) -> None:
        """What was told last is done."""
        if self._bar is not None:
            self._bar.update(1_000 - self._done)
            self._bar.render_finish()
            self._bar = None


# ---- what is printed


def _print_csv(results: Sequence["Result"]) -> None:
    from chatsvc.bench.results import COLUMNS, row

    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(row(result.fields()) for result in results)


def _as_text(results: Sequence["Result"], run: Measurement) -> str:
    from chatsvc.bench.results import Millis

    rows = [["LOAD", "ACKED/S", "DELIVERED/S", "ACK MS", "P99", "END TO END MS", "P99", "CORES: SERVERS", "GENERATOR"]]
    for result in results:
        ack, e2e = Millis.of(result.ack), Millis.of(result.e2e)
        servers = " ".join(f"{harmless(name)} {cores:.2f}" for name, cores in result.cpu.servers.items())
        generator = " ".join(f"{cores:.2f}" for cores in result.cpu.generator)
        rates = [f"{result.acked_per_s:,.0f}", f"{result.delivered_per_s:,.0f}"]
        rows.append([result.load.name, *rates, *_p50_p99(ack), *_p50_p99(e2e), servers or "-", generator])
    sessions = results[0].sessions
    lines = [
        f"{counted(run.pairs, 'pair')}, messages of {run.size} characters; "
        f"{sessions.open:,} sessions, {sessions.logins_per_s:,.0f} logins/s",
        table(rows),
    ]
    for result in results:
        if result.failover is not None:
            summary = result.failover.summary()
            lines.append(
                f"{result.failover.fault}, {counted(len(result.failover.ms), 'time')}: the worst sender waited "
                f"{summary['p50']:,.0f} ms (median), {summary['p99']:,.0f} ms (p99), {summary['max']:,.0f} ms (max)"
            )
        assert result.counts is not None
        lines.append(
            f"{result.load.name}: {result.counts.acked:,} acknowledged and {result.counts.delivered:,} delivered since "
            f"the start, {result.counts.lost:,} lost, {result.counts.doubled:,} doubled"
        )
        if result.generator_bound:
            lines.append(f"{result.load.name}: the generator was the limit, not the servers; more --processes may help")
    cores, used = os.cpu_count() or 1, max(sum(r.cpu.servers.values()) + sum(r.cpu.generator) for r in results)
    if run.local is not None and used >= 0.9 * cores:
        lines.append(f"servers and generator together used {used:.1f} of this machine's {cores} cores: they share them")
    return "\n".join(lines)


def _p50_p99(millis: "Millis") -> list[str]:
    return ["-" if value is None else f"{value:,.2f}" for value in (millis.p50, millis.p99)]
