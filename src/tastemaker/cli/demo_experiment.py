"""The demo's last act: an experiment that runs before the reader's eyes, and the truth that it was after.

Nobody knows what the people behind real clicks would have liked. So this act has a platform and a world of its own, whose tastes
are known: the same application answers simulated people, its experiment is judged while it runs, and then each arm is given to
everybody, which no shop can do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from msgspec.structs import replace
from rich.console import Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from tastemaker.cli.session import console

if TYPE_CHECKING:
    from tastemaker.cli.simulating.counting import Tally
    from tastemaker.cli.simulating.study import Study
    from tastemaker.config import Config
    from tastemaker.domain import Experiment

CONTROL, TREATMENT = "popular", "als"
USERS, ITEMS, WARM, DAYS = 800, 300, 8, 3


@dataclass
class Screen:
    """The table of a running experiment. ``live``: where it is shown."""

    live: Live
    sure: int = 0  # people who had asked when something could be concluded; 0: not yet

    def __call__(self, experiment: Experiment, tally: Tally) -> None:
        """Shows the sums as they are, and remembers the moment when something is sure."""
        from tastemaker.experiments.verdicts import judge

        data = tally.data(experiment)
        table = Table("arm", "people", "answers", "clicks", "clicks per answer", box=None, padding=(0, 2, 0, 3))
        for arm in experiment.arms:
            if (found := data.moments["ctr"].get(arm.name)) is not None:
                cells = (f"{found.n:,.0f}", f"{found.x:,.0f}", f"{found.y:,.0f}", f"{found.y / found.x:.3f}")
                table.add_row(escape(arm.name), *cells)
        (verdict,) = judge(experiment, data)
        if verdict.decision in ("ship", "keep") and not self.sure:
            self.sure = sum(data.units.values())
        self.live.update(Group(table, Text(f"   {verdict.decision}: {verdict.text}\n")))


def experiment_and_truth(config: Config) -> Study:
    """Act six. Takes some ten seconds."""
    from tastemaker.cli.simulating import report
    from tastemaker.cli.simulating.study import Plan, study, versus
    from tastemaker.simulation.settings import WorldSettings

    console.print(
        f"   {USERS} simulated people with known tastes, on a platform of their own: half get {CONTROL}, half {TREATMENT}."
    )
    plan = Plan(DAYS, WARM, world=WorldSettings(users=USERS, items=ITEMS), experiment=versus(CONTROL, TREATMENT))
    with Live(console=console, refresh_per_second=8) as live:
        screen = Screen(live)
        found = study(settled(config), plan, lambda *_: None, screen)
    if screen.sure:
        console.print(f"   The verdict was there after {screen.sure:,} people. Now each arm for everybody, with the same luck:")
    for line in report.compared(found):
        console.print(f"   {escape(line)}", soft_wrap=True)
    console.print(
        f"   [dim]clicks per visit if everybody had {CONTROL} {found.alone[CONTROL].clicks:.2f}, {TREATMENT} "
        f"{found.alone[TREATMENT].clicks:.2f}; chance {found.chance.clicks:.2f}; who knows all {found.best.clicks:.2f}[/]"
    )
    return found


def settled(config: Config) -> Config:
    """The demo's configuration, in a folder of its own, with the two kinds of models that are compared."""
    home = replace(config.connect, home=str(config.home / "simulation"))
    return replace(config, connect=home, train=replace(config.train, models=(CONTROL, TREATMENT)))
