"""A replay as JSON, and as one page that needs nothing else: means, differences and curves over time.

The plot is written as SVG by hand: it is a few lines in a box, and a page should not ask for a plotting library.
"""

from __future__ import annotations

import html
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from tastemaker.domain import Interval
from tastemaker.evaluation.traces import METRICS, Curve, Gain, Trace, compare

COLOURS = ("#1d4ed8", "#c2410c", "#15803d", "#7e22ce", "#0e7490", "#a16207", "#be123c", "#4b5563")
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 860, 320, 56, 150, 14, 34
STYLE = """body { font: 15px/1.5 system-ui, sans-serif; max-width: 62em; margin: 2em auto; padding: 0 1em; color: #1f2933; }
table { border-collapse: collapse; margin-bottom: 2em; } td, th { padding: .15em .8em; text-align: right; }
th { border-bottom: 1px solid #9aa5b1; } td:first-child, th:first-child { text-align: left; }
svg { max-width: 100%; height: auto; font: 12px system-ui, sans-serif; }"""


def described(traces: Sequence[Trace], reward: str, metric: str, windows: int = 30) -> dict[str, Any]:
    """All that is known of replays over the same events, as plain values. ``reward``: version of what events were worth."""
    first = traces[0]
    return {
        "reward": reward,
        "k": first.k,
        "events": len(first),
        "begin": int(first.times[0]),
        "end": int(first.times[-1]),
        "excluded": first.excluded,
        "metric": metric,
        "models": {trace.name: of_trace(trace, metric, windows) for trace in traces},
        "compared_with": first.name,
        "differences": {trace.name: plain(compare(first, trace, metric)) for trace in traces[1:]},
    }


def of_trace(trace: Trace, metric: str, windows: int) -> dict[str, Any]:
    return {
        "metrics": {name: msgspec.to_builtins(trace.mean(name)) for name in METRICS},
        "curve": plain(trace.curve(metric, windows)),
        "trained": list(trace.trained),
        "training_seconds": trace.training_seconds,
        "answer_ms": trace.answer_ms,
    }


def plain(found: Gain | Curve) -> dict[str, Any]:
    made: dict[str, Any] = msgspec.to_builtins(found)
    return made


def write_text(path: Path, text: str) -> None:
    """A reader sees the old file or the new one, never half of one."""
    fresh = path.with_name(f"{path.name}.new")
    fresh.write_text(text, "utf-8")
    os.replace(fresh, path)


def page(traces: Sequence[Trace], reward: str, metric: str) -> str:
    """The whole page."""
    first = traces[0]
    title = html.escape("Replay of " + ", ".join(trace.name for trace in traces))
    span = f"{day(int(first.times[0]))} to {day(int(first.times[-1]))}"
    left_out = "; ".join(f"{reason}: {count:,}" for reason, count in first.excluded.items())
    return (
        f'<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8"><title>{title}</title><style>{STYLE}</style></head>\n'
        f"<body>\n<h1>{title}</h1>\n<p>{len(first):,} events from {span}, each asked for before it was known, in lists of "
        f"{first.k}. Reward version {html.escape(reward)}. Left out: {html.escape(left_out)}.</p>\n"
        f"<h2>{html.escape(metric)}@{first.k} over time</h2>\n{plot(traces, metric)}\n"
        f"<h2>Means, with 95 % intervals over users</h2>\n{means(traces)}\n{differences(traces, metric)}</body>\n</html>\n"
    )


def means(traces: Sequence[Trace]) -> str:
    head = "".join(f"<th>{name}@{traces[0].k}</th>" for name in METRICS)
    rows = "\n".join(
        f"<tr><td>{html.escape(trace.name)}</td>"
        + "".join(f"<td>{shown(trace.mean(name))}</td>" for name in METRICS)
        + f"<td>{len(trace.trained)}</td><td>{trace.training_seconds:.1f}</td><td>{trace.answer_ms:.3f}</td></tr>"
        for trace in traces
    )
    more = "<th>trainings</th><th>seconds of training</th><th>ms a list</th>"
    return f"<table><thead><tr><th>model</th>{head}{more}</tr></thead>\n<tbody>\n{rows}\n</tbody></table>"


def differences(traces: Sequence[Trace], metric: str) -> str:
    if len(traces) < 2:
        return ""
    first = traces[0]
    rows = "\n".join(f"<li>{html.escape(sentence(trace, first, metric))}</li>" for trace in traces[1:])
    return f"<h2>Differences</h2>\n<ul>\n{rows}\n</ul>\n"


def sentence(trace: Trace, base: Trace, metric: str) -> str:
    """One comparison in words."""
    gain = compare(base, trace, metric)
    found = gain.difference
    sure = "" if found.low > 0 or found.high < 0 else ", which may be chance"
    return (
        f"{trace.name} against {base.name}: {found.value:+.4f} ({gain.relative:+.1%}), "
        f"interval {found.low:+.4f} to {found.high:+.4f} over {gain.users:,} users{sure}"
    )


def shown(value: Interval) -> str:
    return f"{value.value:.4f} <small>{value.low:.4f}–{value.high:.4f}</small>"


def day(time: int) -> str:
    """
    >>> day(0)
    '1970-01-01'
    """
    return datetime.fromtimestamp(time / 1000, UTC).date().isoformat()


def plot(traces: Sequence[Trace], metric: str) -> str:
    """The curves as an SVG element: time to the right, the metric upwards from 0."""
    curves = [trace.curve(metric) for trace in traces]
    begin, end = int(traces[0].times[0]), int(traces[0].times[-1])
    top = max(max(curve.means) for curve in curves) * 1.05 or 1.0

    def x(time: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (time - begin) / max(end - begin, 1)

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / top

    parts = [f'<svg role="img" aria-label="{html.escape(metric)} over time" viewBox="0 0 {WIDTH} {HEIGHT}">']
    for step in range(5):
        value = top * step / 4
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(value):.1f}" y2="{y(value):.1f}" stroke="#e4e7eb"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end" fill="#52606d">{value:.3f}</text>')
    for share, anchor in ((0.0, "start"), (0.5, "middle"), (1.0, "end")):
        time = begin + share * (end - begin)
        parts.append(f'<text x="{x(time):.1f}" y="{HEIGHT - 10}" text-anchor="{anchor}" fill="#52606d">{day(int(time))}</text>')
    for number, (trace, curve) in enumerate(zip(traces, curves, strict=True)):
        colour = COLOURS[number % len(COLOURS)]
        points = " ".join(f"{x(time):.1f},{y(mean):.1f}" for time, mean in zip(curve.times, curve.means, strict=True))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.append(
            f'<text x="{WIDTH - RIGHT + 10}" y="{TOP + 14 + 18 * number}" fill="{colour}">{html.escape(trace.name)}</text>'
        )
    return "\n".join([*parts, "</svg>"])
