"""The chart of ``benchmarks/growth.py``: time and memory over interactions, on logarithmic axes, as SVG.

matplotlib is imported only when a chart is drawn.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np

COLOURS = ("#2563eb", "#ea580c", "#16a34a", "#9333ea")


def draw(path: Path, points: list[dict[str, Any]]) -> None:
    """Draws one line a model; the points are those of ``growth.Point``, as dicts. The same points give the same bytes."""
    matplotlib = importlib.import_module("matplotlib")
    matplotlib.use("Agg")
    matplotlib.rcParams.update({"svg.hashsalt": "growth", "svg.fonttype": "none", "axes.grid": True, "grid.alpha": 0.3})
    pyplot = importlib.import_module("matplotlib.pyplot")
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for model, colour in zip(dict.fromkeys(point["model"] for point in points), COLOURS, strict=False):
        own = [point for point in points if point["model"] == model]
        sizes = np.array([point["interactions"] for point in own], float)
        left.plot(sizes, [point["seconds"] for point in own], "o-", color=colour, label=model)
        left.plot(sizes, own[0]["seconds"] * sizes / sizes[0], ":", color=colour)
        resident = [(point["resident"] - point["resident_before"]) / 1e6 for point in own]
        right.plot(sizes, resident, "o-", color=colour, label=f"{model}, resident with files")
        anonymous = [max(point["own"] - point["own_before"], 1) / 1e6 for point in own]
        right.plot(sizes, anonymous, "s--", color=colour, label=f"{model}, of its own")
    left.set(title="training (dotted: in proportion)", xlabel="interactions", ylabel="seconds", xscale="log", yscale="log")
    right.set(title="peak memory", xlabel="interactions", ylabel="MB", xscale="log", yscale="log")
    left.legend()
    right.legend()
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, format="svg", metadata={"Date": None})
    pyplot.close(figure)
