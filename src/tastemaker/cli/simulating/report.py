"""A simulation as plain values, and as one page that needs nothing else: each way of life day by day, the estimate, the truth."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tastemaker.cli.simulating.study import TOGETHER, Lived, Study
from tastemaker.experiments.verdicts import Verdict, judge, told
from tastemaker.pipelines.replay_report import COLOURS, STYLE

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 860, 320, 56, 170, 14, 34
ROW = 34  # height of a treatment in the plot of estimates


def ways(found: Study) -> dict[str, Lived]:
    """All lives by name, the one with the experiment first."""
    return ({TOGETHER: found.together} if found.together is not None else {}) | dict(found.alone)


def estimates(found: Study) -> list[Verdict]:
    """What the experiment says of each treatment."""
    return judge(found.together.experiment, found.together.data) if found.together is not None else []


def compared(found: Study) -> list[str]:
    """For each treatment a sentence of what was measured, and one of what is true."""
    lines = []
    for verdict in estimates(found):
        main = next(iter(verdict.results.values()), None)
        said = told(main) if main is not None else verdict.text
        true = found.truth(verdict.arm)
        lines.append(f"{verdict.arm}: the experiment says {said}: {verdict.decision}")
        lines.append(f"{verdict.arm}: the truth is {100 * true:+.1f} %, {where(main, true)}")
    return lines


def where(main: Any, true: float) -> str:
    if main is None:
        return "and nothing was measured"
    inside = float(main.relative.low) <= true <= float(main.relative.high)
    return "inside the interval" if inside else "outside the interval"


def described(found: Study) -> dict[str, Any]:
    """All that is known, as plain values."""
    return {
        "seed": found.plan.seed,
        "users": found.plan.world.users,
        "items": found.plan.world.items,
        "days": found.plan.days,
        "oracle": {"clicks": float(found.best.clicks), "watched": float(found.best.watched)},
        "chance": {"clicks": float(found.chance.clicks), "watched": float(found.chance.watched)},
        "ways": {name: {"clicks": one.clicks, "days": [vars(day) for day in one.days]} for name, one in ways(found).items()},
        "arms": {verdict.arm: of_arm(found, verdict) for verdict in estimates(found)},
    }


def of_arm(found: Study, verdict: Verdict) -> dict[str, Any]:
    """A treatment: the relative change that was measured, and the true one."""
    main = next(iter(verdict.results.values()), None)
    bounds = (main.relative.value, main.relative.low, main.relative.high) if main is not None else (np.nan,) * 3
    value, low, high = (float(part) if np.isfinite(part) else None for part in bounds)
    return {
        "decision": verdict.decision, "text": verdict.text, "estimate": value, "low": low, "high": high,
        "truth": found.truth(verdict.arm),
    }  # fmt: skip


def page(found: Study) -> str:
    """The whole page."""
    title = f"{found.plan.days} days of {found.plan.world.users:,} simulated users"
    lines = "\n".join(f"<li>{html.escape(line)}</li>" for line in compared(found))
    verdicts = f"<h2>The experiment, and the truth</h2>\n<ul>\n{lines}\n</ul>\n{beside(found)}\n" if lines else ""
    return (
        f'<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8"><title>{title}</title><style>{STYLE}</style></head>\n'
        f"<body>\n<h1>{title}</h1>\n<p>Seed {found.plan.seed}. Every way of life begins with the same platform, the same people "
        f"and the same luck. The oracle knows what everybody likes at each moment.</p>\n{verdicts}"
        f"<h2>Clicks per visit</h2>\n{plot(found)}\n<h2>Days</h2>\n{table(found)}\n</body>\n</html>\n"
    )


def table(found: Study) -> str:
    head = (
        "<th>life</th><th>day</th><th>visits</th><th>clicks</th><th>watched</th><th>coverage</th><th>Gini</th><th>published</th>"
    )
    rows = "\n".join(
        f"<tr><td>{html.escape(name)}</td><td>{number}</td><td>{day.visits:,}</td><td>{day.clicks:.3f}</td>"
        f"<td>{day.watched:.3f}</td><td>{day.coverage:.2f}</td><td>{day.gini:.2f}</td><td>{html.escape(day.published)}</td></tr>"
        for name, one in ways(found).items()
        for number, day in enumerate(one.days, 1)
    )
    return f"<table><thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody></table>"


def beside(found: Study) -> str:
    """For each treatment its interval, its estimate as a dot, and the truth as a ring, on one axis of relative change."""
    rows = [(verdict.arm, of_arm(found, verdict)) for verdict in estimates(found)]
    every = [value for _, row in rows for name in ("estimate", "low", "high", "truth") if (value := row[name]) is not None]
    far = 1.1 * max((abs(value) for value in every if np.isfinite(value)), default=0.0) or 0.01

    def x(value: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (value + far) / (2 * far)

    bottom = ROW * len(rows) + TOP
    parts = [f'<svg role="img" aria-label="estimates and truth" viewBox="0 0 {WIDTH} {bottom + BOTTOM}">']
    for share in (-1.0, -0.5, 0.0, 0.5, 1.0):
        at, colour = x(share * far), "#e4e7eb" if share else "#52606d"
        parts.append(f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{TOP}" y2="{bottom}" stroke="{colour}"/>')
        label = f"{100 * share * far:+.1f} %" if share else "0"
        parts.append(f'<text x="{at:.1f}" y="{bottom + 20}" text-anchor="middle" fill="#52606d">{label}</text>')
    for number, (name, row) in enumerate(rows):
        y, colour = TOP + ROW * (number + 0.5), COLOURS[number % len(COLOURS)]
        if row["low"] is not None and row["high"] is not None:
            ends = f'x1="{x(row["low"]):.1f}" x2="{x(row["high"]):.1f}"'
            parts.append(f'<line {ends} y1="{y}" y2="{y}" stroke="{colour}" stroke-width="3"/>')
        if row["estimate"] is not None:
            parts.append(f'<circle cx="{x(row["estimate"]):.1f}" cy="{y}" r="4" fill="{colour}"/>')
        if np.isfinite(row["truth"]):
            parts.append(f'<circle cx="{x(row["truth"]):.1f}" cy="{y}" r="7" fill="none" stroke="#1f2933" stroke-width="2"/>')
        parts.append(f'<text x="{WIDTH - RIGHT + 10}" y="{y + 4}" fill="{colour}">{html.escape(name)}</text>')
    legend = "<p>Clicks against the control: the line is the interval, the dot the estimate, the ring the truth.</p>"
    return "\n".join([*parts, "</svg>", legend])


def plot(found: Study) -> str:
    """Clicks per visit by day as an SVG element, from 0 upwards; level lines for oracle and chance."""
    days = found.plan.days
    curves: Mapping[str, Sequence[float]] = {"oracle": [float(found.best.clicks)] * days} | {
        name: [day.clicks for day in one.days] for name, one in ways(found).items()
    } | {"chance": [float(found.chance.clicks)] * days}  # fmt: skip
    top = 1.05 * max(max(curve) for curve in curves.values()) or 1.0

    def x(day: int) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * day / max(days - 1, 1)

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / top

    parts = [f'<svg role="img" aria-label="clicks per visit" viewBox="0 0 {WIDTH} {HEIGHT}">']
    for step in range(5):
        level = top * step / 4
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(level):.1f}" y2="{y(level):.1f}" stroke="#e4e7eb"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y(level) + 4:.1f}" text-anchor="end" fill="#52606d">{level:.2f}</text>')
    parts += [
        f'<text x="{x(day):.1f}" y="{HEIGHT - 10}" text-anchor="middle" fill="#52606d">{day + 1}</text>' for day in range(days)
    ]
    for number, (name, curve) in enumerate(curves.items()):
        colour = COLOURS[number % len(COLOURS)]
        points = " ".join(f"{x(day):.1f},{y(value):.1f}" for day, value in enumerate(curve))
        dots = "".join(
            f'<circle cx="{x(day):.1f}" cy="{y(value):.1f}" r="2.5" fill="{colour}"/>' for day, value in enumerate(curve)
        )
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>{dots}')
        parts.append(f'<text x="{WIDTH - RIGHT + 10}" y="{TOP + 14 + 18 * number}" fill="{colour}">{html.escape(name)}</text>')
    return "\n".join([*parts, "</svg>"])
