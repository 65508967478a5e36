"""A report as one page that needs nothing else: HTML with plots as inline SVG.

For each metric the interval around its change, and, where there is a history, how the interval of the metric that decides came to
where it is.
"""

from __future__ import annotations

import html
import math
import os
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from tastemaker.experiments.reporting import Change, Conclusion, Report

WIDTH, ROW, LEFT, RIGHT, HEIGHT = 760, 30, 170, 150, 220
COLOURS = {"ship": "#15803d", "keep": "#c2410c", "undecided": "#1d4ed8", "broken": "#be123c"}
PLAIN = "#7a8794"
STYLE = """body { font: 15px/1.5 system-ui, sans-serif; max-width: 62em; margin: 2em auto; padding: 0 1em; color: #1f2933; }
table { border-collapse: collapse; margin-bottom: 2em; } td, th { padding: .15em .8em; text-align: right; }
th { border-bottom: 1px solid #9aa5b1; } td:first-child, th:first-child { text-align: left; }
svg { max-width: 100%; height: auto; font: 12px system-ui, sans-serif; } .verdict { font-weight: 600; }"""


def write_page(path: Path, made: Report, history: Sequence[Report] = ()) -> None:
    """Writes the page; a reader sees the old one or the new one, never half of one. ``history``: earlier reports."""
    fresh = path.with_name(f"{path.name}.new")
    fresh.write_text(page(made, history), "utf-8")
    os.replace(fresh, path)


def page(made: Report, history: Sequence[Report] = ()) -> str:
    """The whole page."""
    title = html.escape(f"Experiment {made.experiment}, version {made.version}")
    units = ", ".join(f"{arm} {count:,}" for arm, count in made.units.items()) or "none yet"
    head = (
        f"{made.state}; events up to {stamp(made.time)} from the {made.source}. Units: {units}; in two arms: {made.twice:,}. "
        f"Intervals hold with {100 * (1 - made.alpha):g} %" + (f"; rewards of version {made.reward}." if made.reward else ".")
    )
    parts = [f'<p><span class="verdict">warning</span>: {html.escape(warning)}</p>' for warning in made.warnings]
    parts += [part for one in made.conclusions for part in section(one, made, history)]
    return (
        f'<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8"><title>{title}</title><style>{STYLE}</style></head>\n'
        f"<body>\n<h1>{title}</h1>\n<p>{html.escape(head)}</p>\n" + "\n".join(parts) + "\n</body>\n</html>\n"
    )


def section(one: Conclusion, made: Report, history: Sequence[Report]) -> Iterable[str]:
    """A treatment: its verdict, its plots, its numbers."""
    yield f"<h2>{html.escape(one.arm)}</h2>"
    yield f'<p><span class="verdict" style="color:{COLOURS[one.decision]}">{one.decision}</span>: {html.escape(one.text)}</p>'
    if one.changes:
        yield f"<figure><figcaption>Change of each metric</figcaption>{intervals(one.changes)}</figure>"
        points = curve_of(one, made, history)
        if len(points) > 1:
            name = html.escape(one.changes[0].metric)
            yield f"<figure><figcaption>{name} over time</figcaption>{curve(points)}</figure>"
        yield table(one)


def table(one: Conclusion) -> str:
    """The numbers of a treatment."""

    def row(c: Change) -> str:
        value, low, high = (shown(bound, c) for bound in bounds_of(c))
        numbers = (f"{c.control:.4g}", f"{c.treatment:.4g}", value, f"{low} to {high}", f"{c.p:.3g}")
        holm = f"{one.holm[c.metric]:.3g}" if c.metric in one.holm else ""
        return "".join(f"<td>{html.escape(text)}</td>" for text in (c.metric, *numbers, holm))

    heads = ("metric", "control", html.escape(one.arm), "change", "interval", "p", "p by Holm")
    rows = "\n".join(f"<tr>{row(c)}</tr>" for c in one.changes)
    return f"<table><thead><tr>{''.join(f'<th>{head}</th>' for head in heads)}</tr></thead>\n<tbody>\n{rows}\n</tbody></table>"


def bounds_of(change: Change) -> tuple[float, float, float]:
    """Value, low and high: of the share of the control where it has one, else of the difference."""
    if math.isfinite(change.relative):
        return change.relative, change.relative_low, change.relative_high
    return change.change, change.low, change.high


def shown(value: float, change: Change) -> str:
    """A bound in words.

    >>> shown(0.1, Change("ctr", "up", 1.0, 1.1, 0.1, 0.0, 0.2, relative=0.1)), shown(0.1, Change("ctr", "up", 0, 1, 0.1, 0, 0.2))
    ('+10.0 %', '+0.1')
    """
    return f"{100 * value:+.1f} %" if math.isfinite(change.relative) else f"{value:+.4g}"


def intervals(changes: Sequence[Change]) -> str:
    """A bar for each metric, and the line of no change."""
    finite = [abs(edge) for c in changes for edge in bounds_of(c) if math.isfinite(edge)]
    reach, middle = max(finite, default=1.0) or 1.0, LEFT + (WIDTH - LEFT - RIGHT) / 2
    scale = (WIDTH - LEFT - RIGHT) / 2 / reach
    height = ROW * len(changes) + 10
    drawn = [f'<line x1="{middle}" x2="{middle}" y1="0" y2="{height}" stroke="{PLAIN}" stroke-dasharray="3 3"/>']
    for place, c in enumerate(changes):
        value, low, high = bounds_of(c)
        y, colour = ROW * (place + 0.5) + 5, colour_of(c)
        drawn.append(f'<text x="0" y="{y + 4}">{html.escape(c.metric)}</text>')
        if all(map(math.isfinite, (value, low, high))):
            drawn.append(
                f'<line x1="{middle + scale * low:.1f}" x2="{middle + scale * high:.1f}" y1="{y}" y2="{y}" stroke="{colour}" '
                f'stroke-width="4"/><circle cx="{middle + scale * value:.1f}" cy="{y}" r="5" fill="{colour}"/>'
                f'<text x="{WIDTH - RIGHT + 12}" y="{y + 4}">{shown(value, c)}</text>'
            )
    return f'<svg viewBox="0 0 {WIDTH} {height}" width="{WIDTH}">{"".join(drawn)}</svg>'


def colour_of(change: Change) -> str:
    up = change.low > 0 if change.better == "up" else change.high < 0
    down = change.high < 0 if change.better == "up" else change.low > 0
    return COLOURS["ship"] if up else COLOURS["keep"] if down else COLOURS["undecided"]


def curve_of(one: Conclusion, made: Report, history: Sequence[Report]) -> list[tuple[int, Change]]:
    """The metric that decides, at each time of the same version; of the lake or the stream."""
    reports = {old.time: old for old in history if old.version == made.version} | {made.time: made}
    return [
        (time, found.changes[0])
        for time, old in sorted(reports.items())
        for found in old.conclusions
        if found.arm == one.arm and found.changes and all(map(math.isfinite, bounds_of(found.changes[0])))
    ]


def curve(points: Sequence[tuple[int, Change]]) -> str:
    """A band between the bounds, a line for the value, and the line of no change."""
    begin, end = points[0][0], points[-1][0]
    found = [(time, bounds_of(change)) for time, change in points]
    top, bottom = max(0.0, *(b[2] for _, b in found)), min(0.0, *(b[1] for _, b in found))

    def x(time: int) -> float:
        return LEFT + (WIDTH - LEFT - 20) * (time - begin) / max(1, end - begin)

    def y(value: float) -> float:
        return 10 + (HEIGHT - 40) * (top - value) / ((top - bottom) or 1.0)

    band = [f"{x(t):.1f},{y(b[1]):.1f}" for t, b in found] + [f"{x(t):.1f},{y(b[2]):.1f}" for t, b in reversed(found)]
    line = " ".join(f"{x(t):.1f},{y(b[0]):.1f}" for t, b in found)
    last = points[-1][1]
    labels = "".join(f'<text x="{LEFT - 70}" y="{y(v) + 4:.1f}">{shown(v, last)}</text>' for v in {top, bottom, 0.0})
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}"><polygon points="{" ".join(band)}" fill="#1d4ed8" opacity=".18"/>'
        f'<polyline points="{line}" fill="none" stroke="#1d4ed8" stroke-width="2"/>'
        f'<line x1="{LEFT}" x2="{WIDTH - 20}" y1="{y(0):.1f}" y2="{y(0):.1f}" stroke="{PLAIN}" stroke-dasharray="3 3"/>{labels}'
        f'<text x="{LEFT}" y="{HEIGHT - 8}">{stamp(begin)}</text>'
        f'<text x="{WIDTH - 20}" y="{HEIGHT - 8}" text-anchor="end">{stamp(end)}</text></svg>'
    )


def stamp(moment: int) -> str:
    return f"{datetime.fromtimestamp(moment / 1000, UTC):%Y-%m-%d %H:%M}Z"
