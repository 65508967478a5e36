"""How fast the simulated world lives, and two pictures of it: a loop that locks in, and experiments beside the truth.

    python -m benchmarks.simulation [--quick] [--worlds N]

The first picture is of clicks by day where everybody asks: chance, greedy popularity, popularity with a share left to chance, a
model, and an oracle. The second is of experiments on a model that explores against one that does not, each in a world of its own,
with arms that learn from each other's lists and with arms that do not.
"""

from __future__ import annotations

import copy
import time
from dataclasses import replace

import click
import numpy as np
from msgspec.structs import replace as changed

from benchmarks.report import README, machine, write_section
from benchmarks.running import QUICK
from benchmarks.simulation_chart import Estimate, draw
from tastemaker.domain import Arm, Experiment
from tastemaker.experiments.verdicts import judge
from tastemaker.simulation.circle import turn
from tastemaker.simulation.learning import Trained
from tastemaker.simulation.policies import Chance, Oracle, Policy, Popularity
from tastemaker.simulation.settings import WorldSettings
from tastemaker.simulation.trial import tried
from tastemaker.simulation.world import World

LOOP = WorldSettings(organic=0.0)
NEWS = WorldSettings(users=1000, items=300, births=60.0, retired=0.3, organic=0.0)
ASKED = Experiment("explore", (Arm("old"), Arm("new")), metrics=("clicks",), planned=400)


def policies() -> dict[str, Policy]:
    return {
        "chance": Chance(),
        "popularity": Popularity(),
        "popularity, 30 % chance": Popularity(explore=0.3),
        "als, trained daily": Trained(factors=16),
        "oracle": Oracle(),
    }


def by_day(policy: Policy, settings: WorldSettings, days: int) -> tuple[list[float], int, float]:
    """Clicks of a visit on each day; visits in all, and seconds."""
    world, clicks, visits, began = World(settings, 1), np.zeros(days), np.zeros(days), time.perf_counter()
    for each in turn(world, policy, days):
        day = min(int(each.day - 1e-9), days - 1)
        clicks[day] += each.responses.clicked.sum()
        visits[day] += len(each.visits.users)
    return (clicks / np.maximum(visits, 1)).tolist(), int(visits.sum()), time.perf_counter() - began


def estimates(settings: WorldSettings, worlds: int) -> list[Estimate]:
    """What experiments say, and what is true."""
    found = []
    for seed in range(worlds):
        world, model = World(settings, seed), Trained(factors=16)
        for _ in turn(world, model, 6.0):
            pass
        other = copy.deepcopy(model)
        other.explore = 0.2
        for training in ("shared", "diverted"):
            trial = tried(world, changed(ASKED, training=training), {"old": model, "new": other}, 8.0)
            bounds = judge(trial.experiment, trial.data)[0].results["clicks"].relative
            found.append(Estimate(training, trial.truth("new"), float(bounds.value), float(bounds.low), float(bounds.high)))
    return found


@click.command()
@QUICK
@click.option("--worlds", default=20, show_default=True, help="Experiments of each kind in the picture.")
def main(quick: bool, worlds: int) -> None:
    settings = replace(LOOP, users=200, items=100) if quick else LOOP
    days = 2 if quick else 14
    lines, rows = {}, []
    by_day(Trained(factors=16), replace(settings, users=100), 1)  # compiles what is compiled
    for name, policy in policies().items():
        lines[name], visits, seconds = by_day(policy, settings, days)
        rows.append(f"| {name} | {visits:,} | {seconds:.2f} | **{visits / seconds:,.0f}** | {np.mean(lines[name]):.3f} |")
    title = "| lists of | visits | seconds | visits a second | clicks of a visit |\n|---|---:|---:|---:|---:|\n"
    about = f"{settings.users:,} users, {settings.items:,} items, {days} days, lists of 10, one thread."
    text = title + "\n".join(rows) + f"\n\n{about} {machine()}"
    print(text)
    if not quick:
        draw(README.parent / "report" / "simulation.svg", lines, estimates(NEWS, worlds))
        write_section("simulation", text)


if __name__ == "__main__":
    main()
