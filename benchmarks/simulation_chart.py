"""The pictures of ``benchmarks/simulation.py``, as SVG. matplotlib is imported only when they are drawn."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

COLOURS = ("#6b7280", "#ea580c", "#2563eb", "#9333ea", "#16a34a")


@dataclass(frozen=True)
class Estimate:
    """A lift as it is, and as an experiment says, with its interval."""

    training: str
    truth: float
    value: float
    low: float
    high: float


def draw(path: Path, lines: Mapping[str, Sequence[float]], estimates: Sequence[Estimate]) -> None:
    """Clicks by day, and estimates over the truth. The same numbers give the same bytes."""
    matplotlib = importlib.import_module("matplotlib")
    matplotlib.use("Agg")
    matplotlib.rcParams.update({"svg.hashsalt": "simulation", "svg.fonttype": "none", "axes.grid": True, "grid.alpha": 0.3})
    pyplot = importlib.import_module("matplotlib.pyplot")
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    for (name, clicks), colour in zip(lines.items(), COLOURS, strict=False):
        left.plot(range(1, len(clicks) + 1), clicks, color=colour, label=name)
    left.set(title="everybody asks: clicks of a visit", xlabel="day", ylim=(0, None))
    left.legend(fontsize=8)
    for (training, colour), aside in zip({"shared": COLOURS[1], "diverted": COLOURS[2]}.items(), (-0.04, 0.04), strict=True):
        own = [each for each in estimates if each.training == training]
        values = [100 * each.value for each in own]
        bars = [[100 * (each.value - each.low) for each in own], [100 * (each.high - each.value) for each in own]]
        right.errorbar(
            [100 * each.truth + aside for each in own], values, bars, fmt="o", ms=3, lw=1, color=colour, label=training
        )
    ends = [100 * min(each.truth for each in estimates), 100 * max(each.truth for each in estimates)]
    right.plot(ends, ends, ":", color="black", label="truth")
    right.set(title="lift of an arm that explores, by whom arms learn from", xlabel="true lift, %", ylabel="measured lift, %")
    right.legend(fontsize=8)
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, format="svg", metadata={"Date": None})
    pyplot.close(figure)
