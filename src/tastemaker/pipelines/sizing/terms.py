"""The terms that all formulas of a plan are made of: the workload and the rates, as numbers with words."""

from __future__ import annotations

from dataclasses import dataclass

from tastemaker.pipelines.sizing.arithmetic import Amount, Figure, amount
from tastemaker.pipelines.sizing.rates import Rates
from tastemaker.pipelines.sizing.workload import Workload

DAY, HOUR = amount(86_400, "a day", "s"), amount(3600, "an hour", "s")


@dataclass(frozen=True)
class Section:
    """Figures of one part of the platform, in the order in which they are made."""

    title: str
    figures: dict[str, Figure]


class Terms:
    """What formulas ask for by name: a field of the workload, a rate, or a figure made before."""

    def __init__(self, work: Workload, rates: Rates) -> None:
        self.work, self.rates = work, rates
        self.users = amount(work.users, "users")
        self.events = amount(work.events_per_day, "events a day")
        self.items = amount(work.items, "items")
        self.active = amount(work.active, "of them come on a day", "%")
        self.factors = amount(work.factors, "factors")
        self.retention = amount(work.retention, "days")
        self.peak = amount(work.peak, "peak")
        self.margin = amount(1 + work.headroom, "headroom")
        self.cores = amount(work.cores, "cores of a machine")
        self.made: dict[str, Figure] = {}

    def rate(self, name: str) -> Amount:
        return self.rates.amount(name)

    def term(self, name: str) -> Amount:
        """A figure made before, as a term."""
        return self.made[name].amount

    def section(self, title: str, *figures: Figure) -> Section:
        """Figures that others may now ask for."""
        self.made |= {made.name: made for made in figures}
        return Section(title, {made.name: made for made in figures})

    def keep(self, made: Figure) -> Figure:
        """A figure that later ones of the same section need."""
        self.made[made.name] = made
        return made
