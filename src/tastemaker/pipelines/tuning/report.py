"""A search as one page that needs nothing else: HTML with plots as inline SVG.

One plot is the history of the best value, then there is one for each hyper-parameter: where are the good values, and is the
best one at the edge of its range? Then the range is too narrow.
"""

from __future__ import annotations

import html
import io
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tastemaker.models.space import Among, Range
from tastemaker.pipelines.tuning.search import Found
from tastemaker.pipelines.tuning.study import Tried
from tastemaker.pipelines.tuning.task import Task

PLAIN, BEST, BEFORE = "#7a8794", "#c2410c", "#1d4ed8"
STYLE = """body { font: 15px/1.5 system-ui, sans-serif; max-width: 62em; margin: 2em auto; padding: 0 1em; color: #1f2933; }
figure { display: inline-block; margin: 0 1em 1.5em 0; } figcaption { font-weight: 600; }
table { border-collapse: collapse; margin-bottom: 2em; } td, th { padding: .15em .8em; text-align: right; }
th { border-bottom: 1px solid #9aa5b1; } td:last-child { text-align: left; } svg { max-width: 100%; height: auto; }
.best { color: #c2410c; font-weight: 600; } .before { color: #1d4ed8; }"""


def write_report(path: Path, task: Task, found: Found) -> None:
    """Writes the page; a reader sees the old one or the new one, never half of one."""
    fresh = path.with_name(f"{path.name}.new")
    fresh.write_text(page(task, found), "utf-8")
    os.replace(fresh, path)


def page(task: Task, found: Found) -> str:
    """The whole page."""
    title = html.escape(f"Search for {task.kind}")
    metric = task.config.evaluate.metric
    plots = [("The best value so far", history(found, metric))]
    plots += [(named(name, found), by_parameter(name, each, found, metric)) for name, each in task.space.items()]
    figures = "\n".join(f"<figure><figcaption>{html.escape(text)}</figcaption>{svg}</figure>" for text, svg in plots)
    legend = '<span class="best">orange</span>: the best trial. <span class="before">Blue</span>: what was configured before.'
    return (
        f'<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{STYLE}</style></head>\n<body>\n<h1>{title}</h1>\n"
        f"<p>{html.escape(summary(task, found))}</p>\n<p>In the plots, {legend}</p>\n{figures}\n"
        f"<h2>Trials</h2>\n{table(task, found)}\n</body>\n</html>\n"
    )


def named(name: str, found: Found) -> str:
    share = found.importance.get(name)
    return name if share is None else f"{name} (importance {share:.0%})"


def summary(task: Task, found: Found) -> str:
    settings = task.config.evaluate
    parts = [
        f"{len(found.tried)} trials, {settings.metric} on {len(task.split)} users of the validation part ({settings.split})."
    ]
    parts.append(f"Best: {found.mean.value:.4f} in trial {found.best.number + 1}.")
    if found.before is not None and found.gain is not None:
        parts.append(
            f"Configured before: {found.before.value:.4f}. Difference, user by user: {found.gain.value:+.4f}, "
            f"{settings.confidence:.0%} interval {found.gain.low:+.4f} to {found.gain.high:+.4f}."
        )
    return " ".join(parts)


def table(task: Task, found: Found) -> str:
    names = list(task.space)
    head = "".join(f"<th>{html.escape(text)}</th>" for text in ("trial", *names, task.config.evaluate.metric, "seconds", ""))
    rows = "\n".join(f"<tr>{''.join(cells(trial, names, found))}</tr>" for trial in found.tried)
    return f"<table><thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody></table>"


def cells(trial: Tried, names: Iterable[str], found: Found) -> Iterator[str]:
    yield f"<td>{trial.number + 1}</td>"
    for name in names:
        yield f"<td>{html.escape(shown(trial.params.get(name)))}</td>"
    yield f"<td>{'–' if trial.value is None else f'{trial.value:.4f}'}</td><td>{trial.seconds:.1f}</td>"
    words = [trial.reason] if trial.value is None else []
    words += ["configured before"] if trial.number == 0 else []
    words += ["best"] if trial.number == found.best.number else []
    yield f"<td>{html.escape(', '.join(words))}</td>"


def shown(value: object) -> str:
    """A hyper-parameter in words; None stands for the model's own choice.

    >>> shown(0.00012345678), shown(None), shown(64)
    ('0.0001235', 'unset', '64')
    """
    return "unset" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def history(found: Found, metric: str) -> str:
    """Every trial's value, and the best until then."""
    figure, axes = canvas(7.2, metric)
    judged = [(trial.number + 1, trial.value) for trial in found.tried if trial.value is not None]
    axes.scatter([number for number, _ in judged], [value for _, value in judged], s=16, color=PLAIN, gid="trials")
    best = [(number, max(value for place, value in judged if place <= number)) for number, _ in judged]
    axes.step([number for number, _ in best], [value for _, value in best], where="post", color=BEST, gid="best")
    axes.set_xlabel("trial")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return drawn(figure, "history")


def by_parameter(name: str, each: Range, found: Found, metric: str) -> str:
    """Value by one hyper-parameter. A trial in which it was unset has no place here."""
    figure, axes = canvas(3.5, metric)
    if isinstance(each, Among):
        choices = list(each.choices)
        axes.set_xticks(range(len(choices)), [shown(choice) for choice in choices])
    elif each.log:
        axes.set_xscale("log")
    for trial in found.tried:
        place = place_of(each, trial.params.get(name))
        if trial.value is not None and place is not None:
            is_best, is_before = trial.number == found.best.number, trial.number == 0
            color = BEST if is_best else BEFORE if is_before else PLAIN
            axes.scatter([place], [trial.value], s=40 if is_best or is_before else 16, color=color, zorder=3 if is_best else 2)
    axes.set_xlabel(name)
    return drawn(figure, name)


def place_of(each: Range, value: Any) -> float | None:
    """Where a value stands on its axis; None where it has no place."""
    if isinstance(each, Among):
        return float(each.choices.index(value)) if value in each.choices else None
    return None if value is None or (each.log and not value > 0) else float(value)


def canvas(width: float, metric: str) -> tuple[Figure, Axes]:
    """A figure without pyplot: no window system, nothing global."""
    figure = Figure(figsize=(width, 2.8), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_ylabel(metric)
    axes.grid(alpha=0.25)
    return figure, axes


def drawn(figure: Figure, name: str) -> str:
    """The figure as an SVG element. The same search gives the same text; ids of several plots do not meet."""
    text = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name, "font.size": 9}):
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    _, _, inner = text.getvalue().partition("<svg")
    return f'<svg role="img" aria-label="{html.escape(name)}"{inner}'
