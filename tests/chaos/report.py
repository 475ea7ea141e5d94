"""The report of a run: `report.json`, and `report.html` with a picture of its time."""

from bisect import bisect_left
from html import escape
from itertools import pairwise
from math import inf
from pathlib import Path

import msgspec

from tests.chaos.run import Result

WIDTH, ROW, HEIGHT, MARGIN = 1_100, 14, 120, 8
SECONDS_A_ROW = 60.0
"""The picture is cut into strips of so many seconds."""

BIN_S = 0.25

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1150px; margin: 2em auto; color: #222 }
table { border-collapse: collapse; font-size: 13px; margin: 1em 0 } td, th { padding: 2px 10px; text-align: left;
border-bottom: 1px solid #ddd; vertical-align: top } .bad { color: #b00020; font-weight: 600 } .good { color: #106b21;
font-weight: 600 } svg { display: block; margin: 6px 0 } td.number { text-align: right }
"""


def write_report(result: Result, directory: Path) -> Path:
    """Write both; the path of the page."""
    directory.mkdir(parents=True, exist_ok=True)
    told = msgspec.to_builtins(result, enc_hook=str)
    del told["acknowledged_at"]
    began = result.clock
    for fault in told["faults"]:
        del fault["steady"]
        for moment in ("began", "ended", "recovered", "in_sync"):
            fault[moment] = round(fault[moment] - began, 3) if fault[moment] != inf else None
    (directory / "report.json").write_bytes(msgspec.json.format(msgspec.json.encode(told), indent=1) + b"\n")
    page = directory / "report.html"
    page.write_text(_page(result))
    return page


def summary(result: Result) -> str:
    """One line."""
    sums = result.sums
    verdict = "nothing is wrong" if not result.violations else f"{len(result.violations)} violations"
    return (
        f"seed {result.options.seed}: {verdict}; {sums['faults']} faults, {sums['failovers']} failovers, "
        f"{sums.get('kills', 0)} kills ({sums.get('double kills', 0)} double, {sums.get('full restarts', 0)} of all), "
        f"{sums['acknowledged']} acknowledged, {sums['different failpoints']} different failpoints, "
        f"{result.took_s:.0f} s, load {result.load:.0f}"
    )


def _page(result: Result) -> str:
    options, began = result.options, result.clock
    verdict = '<span class="good">nothing is wrong</span>'
    if result.violations:
        verdict = f'<span class="bad">{len(result.violations)} violations</span>'
    command = f"make chaos DURATION={options.duration_s:g} SEED={options.seed} FAULTS={','.join(options.faults)}"
    parts = [
        f"<!doctype html><meta charset=utf-8><title>chaos, seed {options.seed}</title><style>{STYLE}</style>",
        f"<h1>Chaos, seed {options.seed}: {verdict}</h1>",
        f"<p>{escape(result.began)}, {result.took_s:.0f} s, load of the machine {result.load:.1f}. "
        f"<code>{escape(command)}</code></p>",
    ]
    if result.violations:
        parts.append(
            "<ul>" + "".join(f"<li class=bad>{escape(str(text))}</li>" for text in result.violations) + "</ul>"
        )
    if result.left_out:
        texts = [f"{name}: {reason}" for name, reason in result.left_out.items()]
        parts.append("<p>Left out: " + escape("; ".join(texts)) + "</p>")
    parts.append("<h2>Sums</h2><table>")
    parts += [f"<tr><td>{escape(name)}<td class=number>{number:,}" for name, number in result.sums.items()]
    parts.append("</table><h2>Time</h2><p>Answers a second to the steady clients; red: a fault, pale until all were ")
    parts.append("in sync again; blue: a server began to serve.</p>")
    start = 0.0
    while start < result.took_s:
        parts.append(_strip(result, began, start))
        start += SECONDS_A_ROW
    parts.append("<h2>Faults</h2><table><tr><th>at<th>class<th>what<th>it acted<th>answers after<th>in sync after")
    for fault in result.faults:
        moments = [
            f"{moment - fault.ended:.1f} s" if moment != inf else "never" for moment in (fault.recovered, fault.in_sync)
        ]
        parts.append(
            f"<tr><td class=number>{fault.began - began:.1f}<td>{fault.kind}<td>{escape(fault.what)}"
            f"<td>{escape(fault.evidence) or '<span class=bad>no</span>'}"
            f"<td class=number>{'<td class=number>'.join(moments)}"
        )
    parts.append("</table><h2>Failpoints</h2><table>")
    parts += [f"<tr><td>{name}<td class=number>{times}" for name, times in sorted(result.failpoints.items())]
    parts.append("</table>")
    return "\n".join(parts)


def _strip(result: Result, began: float, start: float) -> str:
    """A minute of the run."""

    def x(moment: float) -> float:
        return MARGIN + (min(max(moment, start), start + SECONDS_A_ROW) - start) / SECONDS_A_ROW * (WIDTH - 2 * MARGIN)

    times = result.acknowledged_at
    steps = int(SECONDS_A_ROW / BIN_S)
    edges = [bisect_left(times, start + step * BIN_S) for step in range(steps + 1)]
    rates = [(after - before) / BIN_S for before, after in pairwise(edges)]
    highest = max(_highest(result), 1.0)
    base = MARGIN + HEIGHT
    shapes = []
    for fault in result.faults:
        since, until, healed = fault.began - began, fault.ended - began, fault.in_sync - began
        if since > start + SECONDS_A_ROW or min(healed, result.took_s) < start:
            continue
        title = f"<title>{escape(f'{fault.kind}: {fault.what}')}</title>"
        for left, right, opacity in ((since, until, 0.45), (until, min(healed, result.took_s), 0.15)):
            width = max(x(right) - x(left), 1)
            shapes.append(
                f'<rect x="{x(left):.1f}" y="{MARGIN}" width="{width:.1f}" height="{HEIGHT}" fill="#d33" '
                f'opacity="{opacity}">{title}</rect>'
            )
        if start <= since < start + SECONDS_A_ROW:
            place = f"translate({x(since) + 9:.1f} {MARGIN + 4}) rotate(90)"
            shapes.append(f'<text transform="{place}" font-size="10">{fault.kind}</text>')
    points = " ".join(
        f"{x(start + (step + 0.5) * BIN_S):.1f},{base - rate / highest * HEIGHT:.1f}" for step, rate in enumerate(rates)
    )
    shapes.append(f'<polyline points="{points}" fill="none" stroke="#222" stroke-width="1.2"/>')
    for when, name in result.promotions:
        if start <= when < start + SECONDS_A_ROW:
            shapes.append(
                f'<line x1="{x(when):.1f}" x2="{x(when):.1f}" y1="{MARGIN}" y2="{base}" stroke="#15c" '
                f'stroke-dasharray="3 2"/>'
                f'<text x="{x(when) + 2:.1f}" y="{base - 3}" font-size="11" fill="#15c">{name}</text>'
            )
    for second in range(0, int(SECONDS_A_ROW) + 1, 10):
        shapes.append(f'<text x="{x(start + second):.1f}" y="{base + 13}" font-size="10">{start + second:.0f} s</text>')
    shapes.append(f'<text x="{MARGIN}" y="{MARGIN + 10}" font-size="10">{highest:.0f}/s</text>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{base + ROW + 2}" font-family="sans-serif">'
        f'<rect x="{MARGIN}" y="{MARGIN}" width="{WIDTH - 2 * MARGIN}" height="{HEIGHT}" fill="#f6f6f6"/>'
        f"{''.join(shapes)}</svg>"
    )


def _highest(result: Result) -> float:
    """Most answers a second."""
    times = result.acknowledged_at
    counts: dict[int, int] = {}
    for when in times:
        place = int(when / BIN_S)
        counts[place] = counts.get(place, 0) + 1
    return max(counts.values(), default=0) / BIN_S
