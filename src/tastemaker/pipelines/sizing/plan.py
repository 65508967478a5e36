"""How large a platform has to be: from the load and what was measured on one core to machines, memory, disks and hours.

``plan`` is pure. Every figure carries its arithmetic as text, made of the very numbers it was calculated with, so the command
and the page print what can be checked by hand. Rates are those of ``rates.json``; margins stand in the workload.

The sections: ``online.py`` (API, workers, log, lake, stores, network), ``offline.py`` (the daily run). Here they
are put together, with what runs where and which limits of the design such a load meets.
"""

from __future__ import annotations

from dataclasses import dataclass

from tastemaker.pipelines.sizing import offline, online
from tastemaker.pipelines.sizing.arithmetic import Figure, figure, shown, whole
from tastemaker.pipelines.sizing.rates import Rates, measured
from tastemaker.pipelines.sizing.terms import Section, Terms
from tastemaker.pipelines.sizing.workload import Workload, checked

MOST_PARTITIONS = 1024
"""What ``log.partitions`` takes."""
HOURLY = 1.0
"""Hours between two runs of `hourly`."""
SLOTS = 16_384
"""Hash slots of a Redis cluster."""
MANY_MASTERS = 16
"""Masters of Redis beyond which it should hold less."""
SLOW = 0.01
"""Seconds of scoring for one user from which the whole catalogue is too much for each event."""
LARGE_COUNTERS = 1e7
"""Bytes of one partition's counters from which writing them each second is a load of its own."""
LARGE_LOG = 1e14
"""Bytes of broker disks from which keeping all events there is questionable."""


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
        online.traffic(of),
        online.nearline(of),
        online.api(of),
        online.log(of),
        online.lake(of),
        online.store(of),
        online.network(of),
        offline.here(of),
        offline.spark(of),
        machines(of),
    )
    return Plan(work, rates, sections, places(of), limits(of))


def machines(of: Terms) -> Section:
    """All cores that the traffic needs, and the disk of one machine that holds everything in files."""
    cores = of.term("API cores") + of.term("nearline cores") + of.term("archive cores") + of.term("Redis cores")
    cores = cores + of.term("PostgreSQL cores")
    busy = of.keep(figure("cores for the traffic", cores, "cores", "for the traffic"))
    daily = (of.term("log a day") + of.term("lake a day")) * of.retention
    files = daily + of.term("values") + of.term("training disk")
    return of.section(
        "Together", busy,
        figure("machines for the traffic", whole(busy.amount / of.cores)),
        figure("disk of one machine for all", files * of.margin, "B"),
    )  # fmt: skip


def fits_one(of: Terms) -> bool:
    """Whether one machine carries everything in files: traffic on half of its cores, the daily run within the window."""
    made, work = of.made, of.work
    return (
        made["cores for the traffic"].value <= work.cores / 2
        and made["training memory"].value <= work.memory
        and made["hours of the run"].value <= work.window
    )


def places(of: Terms) -> tuple[tuple[str, str], ...]:
    """What runs where."""
    made, work = of.made, of.work
    if fits_one(of):
        one = f"one machine of {shown(work.cores)} cores, {shown(work.memory, 'B')}: tastemaker up, or servers if it may not stop"
        return (("everything", one), ("its disk", made["disk of one machine for all"].shown))
    masters = int(made["Redis masters"].value)
    slots = SLOTS // masters  # 0: more than a cluster can have
    redis = f"a cluster of {count(masters, 'master')}, {slots:,} hash slots each" if masters > 1 else "one master"
    workers, partitions = count(made["workers"].value, "process"), shown(made["partitions"].value)
    return (
        ("tastemaker serve", f"{count(made['API processes'].value, 'process')} of one core behind a balancer"),
        ("tastemaker stream", f"{workers} of one core over {partitions} partitions"),
        ("tastemaker archive", "one process"),
        ("Kafka", f"{made['broker disks'].shown} of disks, {made['log at the peak'].shown} at the peak"),
        ("Redis", f"{redis}, {made['Redis memory'].shown} with copies"),
        ("PostgreSQL", f"{made['PostgreSQL disk'].shown} with copies, {made['PostgreSQL cores'].shown} for what changes"),
        ("object storage", f"{made['lake'].shown}, {made['lake a day'].shown} more each day"),
        ("the daily run", daily(of)),
    )  # fmt: skip


def daily(of: Terms) -> str:
    """Where the daily run has its place."""
    made, work = of.made, of.work
    hours, memory = made["hours of the run"], made["training memory"]
    if memory.value > work.memory:
        return f"{count(made['executors, als too'].value, 'executor')} of Spark, als among it"
    if hours.value <= work.window:
        return f"one machine of {shown(work.cores)} cores, {hours.shown}, {memory.shown} of memory"
    executors = count(made["executors, als here"].value, "executor")
    learning = shown(made["train als"].value / work.cores, "h")
    return f"als on one machine, {learning}, {memory.shown} of memory; all else that is heavy on {executors} of Spark"


def count(number: float, name: str) -> str:
    """A number of things.

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
            "a platform for each region; until then slates wait for requests (`streaming.refresh_lag`)",
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
    if made["Redis masters"].value > MANY_MASTERS:
        found.append((
            f"Redis holds everybody's values, {made['Redis memory'].shown}",
            f"it is a cache before PostgreSQL: with `allkeys-lru` and {made['Redis for the active'].shown} it keeps who comes",
        ))  # fmt: skip
    if (cores := made["PostgreSQL cores"]).value > work.cores:
        found.append((
            f"PostgreSQL takes {cores.shown} to write states and slates, and it is one server",
            "a platform for each region; the store on PostgreSQL cannot be spread over several servers yet",
        ))  # fmt: skip
    if (archive := made["archive cores"]).value > 1:
        found.append((
            f"archiving takes {archive.shown} at the peak, and one process does it",
            f"it is behind then, and takes {made['archive'].shown} for a day; several cannot share the work yet",
        ))  # fmt: skip
    if made["training memory"].value > work.memory:
        found.append((
            f"training needs {made['training memory'].shown} on one machine of {shown(work.memory, 'B')}",
            "a machine with more, or als on Spark (`spark.steps`); it cannot learn from a sample of the users yet",
        ))  # fmt: skip
    if (publish := made["publish"]).value > HOURLY:
        found.append((
            f"`hourly` publishes slates for everybody, {publish.shown} of a core each time",
            "run it less often (`schedule.hourly_minutes`): the worker renews the slates of all who do something",
        ))  # fmt: skip
    if (hours := made["hours of the run"]).value > work.window:
        found.append((
            f"the daily run takes {hours.shown} on one machine, {made['publish'].shown} of it to publish",
            "the heavy steps on Spark (`spark.steps`); they read the whole lake and publish for everybody each time",
        ))  # fmt: skip
    if made["broker disks"].value > LARGE_LOG:
        found.append((
            f"the brokers hold {made['broker disks'].shown}",
            "tiered storage: the log is kept for ever, and the lake has it, too",
        ))  # fmt: skip
    return tuple(found)
