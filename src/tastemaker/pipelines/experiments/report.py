"""A report in the terminal: what was decided and why, then the numbers. The page is ``page.py``."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table

from tastemaker.experiments.reporting import Conclusion, Report
from tastemaker.pipelines.experiments.page import bounds_of, shown, stamp

COLOURS = {"ship": "green", "keep": "yellow", "undecided": "blue", "broken": "red"}


def lines(made: Report) -> Iterator[RenderableType]:
    """What is printed, part by part."""
    yield (
        f"[bold]{escape(made.experiment)}[/] version {made.version}, {made.state}: events up to {stamp(made.time)} "
        f"from the {made.source}"
    )
    units = ", ".join(f"{escape(arm)} {count:,}" for arm, count in made.units.items()) or "none yet"
    planned = f" of {made.planned:,} planned in each arm" if made.planned else ""
    yield f"units: {units}{planned}" + (f"; {made.twice:,} in two arms are left out" if made.twice else "")
    yield f"intervals hold with {100 * (1 - made.alpha):g} %" + (
        f"; rewards of version {escape(made.reward)}" if made.reward else ""
    )
    for warning in made.warnings:
        yield f"[bold yellow]warning[/] {escape(warning)}"
    for one in made.conclusions:
        yield f"\n[bold {COLOURS[one.decision]}]{one.decision}[/] {escape(one.text)}"
        if one.changes:
            yield table(one)
        for guard in one.guards:
            state = "harmed" if guard.harmed else "held" if guard.held else "not yet sure"
            yield f"guardrail {escape(guard.metric)}: {state}, at worst {guard.worst:+.1%} of {-guard.margin:+.1%} borne"


def table(one: Conclusion) -> Table:
    """The metrics of a treatment."""
    made = Table("metric", "control", one.arm, "change", "interval", "p", box=None, padding=(0, 2, 0, 0))
    for c in one.changes:
        value, low, high = (shown(bound, c) for bound in bounds_of(c))
        made.add_row(escape(c.metric), f"{c.control:.4g}", f"{c.treatment:.4g}", value, f"{low} to {high}", f"{c.p:.3g}")
    return made
