"""A picture of results: latency over throughput, and latency by percentile."""

from collections.abc import Sequence
from pathlib import Path

from chatsvc.bench.crew import BenchError
from chatsvc.bench.results import Result

MISSING = "a plot needs matplotlib: pip install 'chatsvc[bench]'"

_SHARES = (0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999, 0.9995, 0.9999)


def check_plotting() -> None:
    """Return if plots can be made.

    Raises:
        BenchError: what is missing.
    """
    try:
        import matplotlib.figure  # noqa: F401 - only whether it is there
    except ImportError:
        raise BenchError(MISSING) from None


def plot(results: Sequence[Result], path: Path) -> None:
    """Draw results into a file, whose name says in which format.

    Raises:
        BenchError: matplotlib is missing, or does not know the format.
        OSError: the file can't be written.
    """
    check_plotting()
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 5), layout="constrained")
    over_throughput, by_percentile = figure.subplots(1, 2)
    ordered = sorted(results, key=lambda result: result.acked_per_s)
    rates = [result.acked_per_s for result in ordered]
    for share, style in ((0.5, "o-"), (0.99, "^--")):
        for name in ("ack", "e2e"):
            values = [getattr(result, name).percentiles([share])[0] for result in ordered]
            if any(value is not None for value in values):
                millis = [float("nan") if value is None else value / 1e6 for value in values]
                over_throughput.plot(rates, millis, style, label=f"{name} p{share * 100:g}")
    for result in ordered:
        found = result.ack.percentiles([0.5])[0]
        if found is not None:
            over_throughput.annotate(result.load.name, (result.acked_per_s, found / 1e6))
    over_throughput.set(xlabel="acknowledged messages a second", ylabel="ms", title="latency over throughput")
    for result in ordered:
        for name, style in (("ack", "-"), ("e2e", "--")):
            values = getattr(result, name).percentiles(_SHARES)
            if values[0] is not None:
                odds = [1 / (1 - share) for share in _SHARES]
                millis = [value / 1e6 for value in values if value is not None]
                by_percentile.plot(odds, millis, style, label=f"{result.load.name} {name}")
    by_percentile.set_xscale("log")
    by_percentile.set_xticks([1 / (1 - share) for share in _SHARES], [f"{share * 100:g}" for share in _SHARES])
    by_percentile.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)
    by_percentile.set(xlabel="percentile", ylabel="ms", title="latency by percentile")
    for axes in (over_throughput, by_percentile):
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        if axes.get_legend_handles_labels()[0]:
            axes.legend()
    try:
        figure.savefig(path)
    except ValueError as error:
        raise BenchError(f"{path}: {str(error).splitlines()[0]}") from None
