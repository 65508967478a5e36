"""How large a platform has to be: from the load and what was measured on one core to machines, memory, disks and hours.

``plan`` is pure. Every figure carries its arithmetic as text, made of the very numbers it was calculated with, so the command
and the page print what can be checked by hand. Rates are those of ``rates.json``; margins stand in the workload.

The sections: ``sizing_online.py`` (API, workers, log, lake, stores, network), ``sizing_offline.py`` (the daily run). Here they
are put together, with what runs where and which limits of the design such a load meets.
"""

from __future__ import annotations

from dataclasses import dataclass

from tastemaker.pipelines import sizing_offline, sizing_online
from tastemaker.pipelines.arithmetic import Figure, figure, shown, whole
from tastemaker.pipelines.rates import Rates, measured
from tastemaker.pipelines.sizing_terms import Section, Terms
from tastemaker.pipelines.workload import Workload, checked

MOST_PARTITIONS = 1024
"""What ``log.partitions`` takes."""
SLOTS = 16_384
"""Hash slots of a Redis cluster."""
SLOW = 0.01
"""Seconds of scoring for one user from which the whole catalogue is too much for each event."""
LARGE_COUNTERS = 1e7
"""Bytes of one partition's counters from which writing them each second is a load of its own."""
LARGE_LOG = 1e14
"""Bytes of broker diskss from which keeping all events there is questionable."""


@dataclass(frozen=True)
class Plan:
    """Figures by section, what runs where, and the limits of the design that this load meets."""

    work: Workload
    rates: Rates
    sections: tuple[Section, ...]
    places: tuple[tuple[str, str], ...]  # part -> where and how often it runs
    limits: tuple[tuple[str, str], ...]  # what is exceeded -> what to do

    @property
    def figures(self) -> dict[str, Figure]:
        """All figures by name."""
        return {name: made for section in self.sections for name, made in section.figures.items()}


def plan(work: Workload, rates: Rates | None = None) -> Plan:
    """The plan of a load. Raises ``InputError`` for a number outside its limits.

    >>> plan(Workload(users=1e6, events_per_day=2e7)).figures["events at the peak"].formula
    '20 M events a day / 86,400 s a day x 3 peak = 694.4 /s'
    """
    rates = rates or measured()
    of = Terms(checked(work), rates)
    sections = (
        sizing_online.traffic(of),
        sizing_online.nearline(of),
        sizing_online.api(of),
        sizing_online.log(of),
        sizing_online.lake(of),
        sizing_online.store(of),
        sizing_online.network(of),
        sizing_offline.here(of),
        sizing_offline.spark(of),
        machines(of),
    )
    return Plan(work, rates, sections, places(of), limits(of))


def machines(of: Terms) -> Section:
    """All cores that the traffic needs, and the memory of one machine that does everything."""
    cores = of.of("API cores") + of.of("nearline cores") + of.of("Redis cores")
    busy = of.keep(figure("cores for the traffic", cores, "cores"))
    memory = of.of("one copy in Redis") * of.margin + of.of("training memory")
    return of.section(
        "Together", busy,
        figure("machines for the traffic", whole(busy.amount / of.cores)),
        figure("memory of one machine for all", memory, "B"),
    )  # fmt: skip


def fits_one(of: Terms) -> bool:
    """Whether one machine carries everything, the daily run beside the traffic."""
    made, work = of.made, of.work
    return (
        made["cores for the traffic"].value <= work.cores / 2
        and made["memory of one machine for all"].value <= work.memory
        and made["hours of the run"].value <= 24
    )


def places(of: Terms) -> tuple[tuple[str, str], ...]:
    """What runs where."""
    made = of.made
    if fits_one(of):
        return (("everything", "one machine with files: tastemaker up; a second one with servers, if it may not stop"),)
    masters = int(made["Redis masters"].value)
    redis = f"a cluster of {count(masters, 'master')}, {SLOTS // masters:,} hash slots each" if masters > 1 else "one master"
    workers, partitions = count(made["workers"].value, "process"), shown(made["partitions"].value)
    return (
        ("tastemaker serve", f"{count(made['API processes'].value, 'process')} of one core behind a balancer"),
        ("tastemaker stream", f"{workers} of one core over {partitions} partitions"),
        ("Kafka", f"{made['broker disks'].shown} of disks, {made['log at the peak'].shown} at the peak"),
        ("Redis", f"{redis}, {made['Redis memory'].shown} with copies"),
        ("PostgreSQL", f"{made['PostgreSQL disk'].shown} with copies"),
        ("object storage", f"{made['lake'].shown}, {made['lake a day'].shown} more each day"),
        ("the daily run", daily(of)),
    )  # fmt: skip


def daily(of: Terms) -> str:
    """Where the daily run has its place."""
    made, work = of.made, of.work
    hours = made["hours of the run"]
    if made["training memory"].value <= work.memory and hours.value <= work.window:
        return f"one machine of {shown(work.cores)} cores, {hours.shown}, {made['training memory'].shown} of memory"
    return f"{count(made['executors'].value, 'executor')} of Spark with four cores each, {shown(work.window, 'h')}"


def count(number: float, name: str) -> str:
    """
    >>> count(1, "master"), count(12, "process")
    ('1 master', '12 processes')
    """
    plural = f"{name}es" if name.endswith("s") else f"{name}s"
    return f"{shown(number)} {name if number == 1 else plural}"


def limits(of: Terms) -> tuple[tuple[str, str], ...]:
    """Where this load is beyond what the design, or one machine, takes."""
    made, work = of.made, of.work
    found: list[tuple[str, str]] = []
    if made["partitions"].value > MOST_PARTITIONS:
        found.append((
            f"{shown(made['partitions'].value)} partitions, `log.partitions` takes {MOST_PARTITIONS:,}",
            "refresh slates for some events only (`streaming.refresh_lag`), or run a platform for each region",
        ))  # fmt: skip
    if made["scoring for one"].value > SLOW:
        found.append((
            f"scoring {shown(work.items)} items takes {made['scoring for one'].shown} for each event",
            "choose candidates first: the models have no approximate search yet",
        ))  # fmt: skip
    if (each := made["counters"].value / made["partitions"].value) > LARGE_COUNTERS:
        found.append((
            f"the counters of a partition are {shown(each, 'B')}, written each second",
            "count fewer items: the counters forget nothing yet",
        ))  # fmt: skip
    if made["training memory"].value > work.memory:
        found.append((
            f"training needs {made['training memory'].shown} on one machine of {shown(work.memory, 'B')}",
            "learn from a sample of the users (a user is a history: the others lose nothing but their events), or on Spark",
        ))  # fmt: skip
    if (hours := made["hours of the run"]).value > work.window:
        found.append((
            f"the daily run takes {hours.shown} on one machine, {made['publish'].shown} of it to publish",
            "publish on Spark, or for active users only: others get a slate when they come",
        ))  # fmt: skip
    if made["broker disks"].value > LARGE_LOG:
        found.append((
            f"the brokers hold {made['broker disks'].shown}",
            "tiered storage: the log is kept for ever, and the lake has it, too",
        ))  # fmt: skip
    return tuple(found)
