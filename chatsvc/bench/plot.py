"""A picture of results: latency over throughput, and latency by percentile."""

import math
from collections.abc import Sequence
from pathlib import Path

from chatsvc.bench.crew import BenchError
from chatsvc.bench.histogram import Histogram
from chatsvc.bench.results import Result

MISSING = "a plot needs matplotlib: pip install 'chatsvc[bench]'"

_WORDS = {"ack": "acknowledgement", "e2e": "delivery"}
_SHARES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995, 0.9998, 0.9999)
_TICKS = (0.5, 0.9, 0.99, 0.999, 0.9999)


def check_plotting(path: Path) -> None:
    """Return if a plot can be made there.

    Raises:
        BenchError: matplotlib is missing, or does not know the format.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise BenchError(MISSING) from None
    formats = Figure().canvas.get_supported_filetypes()
    if path.suffix.removeprefix(".") not in formats:
        raise BenchError(f"{path}: the name has to end with one of {', '.join(f'.{known}' for known in formats)}")


def plot(results: Sequence[Result], path: Path) -> None:
    """Draw results into a file that `check_plotting` found well.

    Raises:
        OSError: it can't be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 5), layout="constrained")
    over_throughput, by_percentile = figure.subplots(1, 2)
    rates = [result.acked_per_s for result in results]
    for share, style in ((0.5, "o-"), (0.99, "^--")):
        for name, colour in (("ack", "C0"), ("e2e", "C1")):
            values = [_millis(getattr(result, name), [share])[0] for result in results]
            over_throughput.plot(rates, values, style, color=colour, label=f"{_WORDS[name]}, p{share * 100:g}")
    for result in results:
        place = (result.acked_per_s, _millis(result.ack, [0.5])[0])
        over_throughput.annotate(result.load.name, place, (4, -12), textcoords="offset points")
    over_throughput.set(xlabel="acknowledged messages a second", ylabel="ms", title="Latency over throughput")
    # The distance from 100 % on a scale of powers of ten: each nine takes as much room as the one before.
    odds = [1 / (1 - share) for share in _SHARES]
    for number, result in enumerate(results):
        colour = f"C{number}"
        by_percentile.plot(odds, _millis(result.ack, _SHARES), "-", color=colour, label=result.load.name)
        by_percentile.plot(odds, _millis(result.e2e, _SHARES), "--", color=colour)
    by_percentile.set_xscale("log")
    by_percentile.set_xticks([1 / (1 - share) for share in _TICKS], [f"{share * 100:g}" for share in _TICKS])
    by_percentile.tick_params(axis="x", which="minor", bottom=False)
    title = f"Latency by percentile: {_WORDS['ack']} (dashed: {_WORDS['e2e']})"
    by_percentile.set(xlabel="percentile", ylabel="ms", title=title)
    for axes in (over_throughput, by_percentile):
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(path)


def _millis(histogram: Histogram, shares: Sequence[float]) -> list[float]:
    """What is not known is a gap in a line."""
    return [math.nan if value is None else value / 1e6 for value in histogram.percentiles(shares)]
