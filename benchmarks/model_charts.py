"""Charts of the models' page, as SVG that takes its colours for text and lines from the page, so that it reads in light and dark.

Text stays text: it is found by a search, scales, and needs no font. matplotlib is imported only when a chart is drawn.
"""

from __future__ import annotations

import importlib
import io
import re
from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np

from benchmarks.model_results import Result

INK = "#010203"  # stands for the page's own colour of text until the chart is finished
STYLE = {
    "svg.fonttype": "none", "svg.hashsalt": "tastemaker", "font.size": 10, "axes.spines.top": False, "axes.spines.right": False,
    "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": INK, "xtick.color": INK, "ytick.color": INK,
    "axes.facecolor": "none", "figure.facecolor": "none", "savefig.facecolor": "none", "grid.alpha": 0.25, "grid.color": INK,
    "grid.linewidth": 0.6,
}  # fmt: skip
FAMILIES = {"tastemaker": ("#2f7fd6", "o"), "implicit": ("#d9782b", "s"), "irspack": ("#2a9d6f", "^")}  # colour, marker
WIDTH = 8.6  # inches
GRID = f"fill: none; stroke: {INK}; stroke-opacity: 0.25; stroke-width: 0.6; stroke-linecap: square"
UNNEEDED = (
    r"<metadata>.*?</metadata>", r"<!--.*?-->", r"<style.*?</style>", r' clip-path="[^"]*"', r"<clipPath.*?</clipPath>",
    r"font-size: 10px; ", r"font-family: [^;\"]+; ", r' transform="rotate\(-0 [^"]*"', rf"; fill: {INK}(?=[^>]*>[^<]*</text>)",
)  # fmt: skip


def quality(results: Sequence[Result], dataset: str) -> str:
    """NDCG of each model with its 95 % interval, best on top."""
    ordered = sorted(results, key=lambda result: result.ndcg.value)
    figure, (axes,) = drawing(0.21 * len(ordered) + 0.9, 1)
    for place, result in enumerate(ordered):
        colour, marker = FAMILIES[result.by]
        axes.plot([result.ndcg.low, result.ndcg.high], [place, place], color=colour, linewidth=2.2, alpha=0.55)
        axes.plot([result.ndcg.value], [place], marker, color=colour, markersize=5)
    named(axes, ordered)
    axes.set_xlabel("NDCG, mean over users with its 95 % interval")
    axes.grid(axis="x")
    return svg(figure, f"{dataset}-quality", f"NDCG of {len(ordered)} models; the table below has the figures")


def trade(results: Sequence[Result], dataset: str) -> str:
    """NDCG against the time of training; names stand at the models that no quicker one beats."""
    figure, (axes,) = drawing(3.6, 1)
    best = frontier(results)
    for number, result in enumerate(results):
        colour, marker = FAMILIES[result.by]
        axes.plot([seconds(result)], [result.ndcg.value], marker, color=colour, markersize=7, gid=f"point-{number}")
        if result in best:
            axes.annotate(
                result.name, (seconds(result), result.ndcg.value), (-5, 4), textcoords="offset points", fontsize=8.5, ha="right"
            )
    axes.plot([seconds(one) for one in best], [one.ndcg.value for one in best], color=INK, alpha=0.35, linewidth=1, zorder=0)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()
    axes.margins(0.14, 0.1)
    axes.set_xlabel("seconds of training, wall clock, logarithmic")
    axes.set_ylabel("NDCG")
    axes.grid(visible=True)
    drawn = svg(figure, f"{dataset}-trade", "NDCG against seconds of training; the table below has the figures")
    for number, result in enumerate(results):
        start = f'<g id="{dataset}-trade-point-{number}">'
        told = f"{result.name}: NDCG {result.ndcg.value:.4f}, {seconds(result):.2f} s"
        drawn = drawn.replace(start, f"{start}<title>{escape(told)}</title>")
    return drawn


def cost(results: Sequence[Result], dataset: str) -> str:
    """Users a second, and memory above what data and libraries hold."""
    ordered = sorted(results, key=lambda result: result.users_per_second)
    figure, (speed, memory) = drawing(0.21 * len(ordered) + 0.9, 2)
    colours = [FAMILIES[result.by][0] for result in ordered]
    places = np.arange(len(ordered))
    for place, result in enumerate(ordered):
        speed.plot([result.users_per_second], [place], FAMILIES[result.by][1], color=colours[place], markersize=6)
    speed.set_xscale("log")
    speed.xaxis.set_major_formatter("{x:,.0f}")
    speed.minorticks_off()
    speed.set_xlabel("users/s, lists of 20, logarithmic")
    memory.barh(places, [result.peak_mb for result in ordered], color=colours, height=0.62, alpha=0.45)
    memory.barh(places, [result.peak_mb - result.start_mb for result in ordered], color=colours, height=0.62)
    memory.set_xlabel("peak MiB; full colour: above the start")
    for axes in (speed, memory):
        axes.grid(axis="x")
    named(speed, ordered)
    return svg(figure, f"{dataset}-cost", "users per second and peak memory; the table below has the figures")


def frontier(results: Sequence[Result]) -> list[Result]:
    """The models that no quicker one equals, by time."""
    found: list[Result] = []
    for result in sorted(results, key=lambda one: (seconds(one), -one.ndcg.value)):
        if not found or result.ndcg.value > found[-1].ndcg.value:
            found.append(result)
    return found


def seconds(result: Result) -> float:
    """The best training; a logarithm needs more than nothing."""
    return max(min(result.fit), 0.001)


def drawing(height: float, columns: int) -> tuple[Any, Any]:
    """A figure and its axes, side by side with common rows."""
    matplotlib = importlib.import_module("matplotlib")
    matplotlib.use("Agg")
    matplotlib.rcParams.update(STYLE)
    pyplot = importlib.import_module("matplotlib.pyplot")
    figure, axes = pyplot.subplots(1, columns, figsize=(WIDTH, height), sharey=True, layout="constrained", squeeze=False)
    figure.patch.set_visible(False)
    for one in axes[0]:
        one.patch.set_visible(False)
        one.tick_params(length=0)
    return figure, axes[0]


def named(axes: Any, ordered: Sequence[Result]) -> None:
    """The models' names as the places of the rows."""
    axes.set_yticks(range(len(ordered)), [result.name for result in ordered])
    axes.set_ylim(-0.7, len(ordered) - 0.3)
    axes.spines["left"].set_visible(False)


def svg(figure: Any, name: str, told: str) -> str:
    """The figure as an element of a page: no fixed size, the page's colours and font, ids of its own."""
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    importlib.import_module("matplotlib.pyplot").close(figure)
    text = file.getvalue()
    text = text[text.index("<svg") :]
    box = re.search(r'viewBox="([^"]+)"', text)
    assert box is not None
    head = f'<svg xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="{box[1]}" role="img" aria-label="{escape(told)}">'
    text = slim(text[text.index(">") + 1 :]).replace(INK, "currentColor")
    return head + re.sub(r'(id="|href="#)', rf"\g<1>{name}-", text)


def slim(text: str) -> str:
    """The same drawing in a third of the bytes: without what the page says once for all, and what nobody refers to."""
    text = re.sub("|".join(UNNEEDED), "", text, flags=re.S).replace(GRID, "stroke: var(--line)")
    text = re.sub(r'<g id="(?!point-)[^"]*"', "<g", text)
    text = re.sub(r"<[^>]*>", lambda tag: re.sub(r"(\d+\.\d)\d+", r"\1", tag[0]), text)  # not what is written in the drawing
    text = re.sub(r'(?<= )d="[^"]*"', lambda path: re.sub(r"\s*([LMCz])\s*", r"\1", path[0]), text)
    text = re.sub(r"<defs>\s*</defs>", "", text)
    while (flatter := re.sub(r"<g/>|<g>((?:(?!</?g\b).)*)</g>", r"\1", text, flags=re.S)) != text:
        text = flatter
    return re.sub(r"\s*\n\s*", "\n", text)
