"""What things cost on one core and how many bytes they take: the figures that ``tastemaker plan`` reckons with.

    python -m benchmarks rates [--quick]

Everything is measured in CPU seconds of the process that does the work, so that others who use the machine change little;
figures are medians of rounds, with quartiles. Steps of the pipeline are the real ones, each done as a runner does it, over a
world of ten thousand people and twenty thousand items; requests and events go to ``tastemaker serve`` over Redis and Kafka; the
worker's function writes to Redis. What depends on the number of items is scoring: it is measured apart, at two sizes of the
catalogue beyond the processor's caches, so that a plan can say what a larger one costs.

The figures go to ``src/tastemaker/pipelines/sizing/rates.json`` and a table of the report. Those of Spark stay as they are there;
``python -m benchmarks.rates_spark`` measures them.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import click
import msgspec
import numpy as np

import servers
from benchmarks import rates_bytes
from benchmarks.rates_offline import EACH, Found, K, Offline, scoring, training
from benchmarks.rates_online import Online
from benchmarks.rates_world import FACTORS, event, settings
from benchmarks.report import machine, write_section
from benchmarks.running import CORES, QUICK, on_the_rest
from benchmarks.world import START
from tastemaker.config import Config, Connect
from tastemaker.domain import AnyEvent
from tastemaker.pipelines.sizing import rates
from tastemaker.pipelines.sizing.arithmetic import shown
from tastemaker.pipelines.sizing.rates import KNOWN, Measured, Rates
from tastemaker.storage import connect

TARGET = Path(rates.__file__).with_name(rates.FILE)
WORLD, SMALL = (10_000, 20_000, 40), (300, 500, 20)  # users, items, events of each
ROUNDS = 5
CATALOGUES = (50_000, 200_000)  # items between which scoring is measured
PEOPLE = 200_000  # of a training whose users' vectors no cache holds


def sizes(config: Config, kept: Sequence[AnyEvent], world: tuple[int, int, int], found: Found) -> None:
    """Bytes."""
    with connect(config) as storage:
        for name, value in rates_bytes.online(storage).items():
            found[name].append(value)
        found["lake_event"].append(rates_bytes.lake_bytes(storage, "interactions"))
        values = dict(storage.kv.scan(""))
    clicks = [event(n, n * 7919 % world[0], n * 104_729 % world[1], START + 1000 * n) for n in range(4_000)]
    found["log_event"].append(rates_bytes.sent_to_kafka(servers.kafka(), clicks))
    found["log_decision"].append(rates_bytes.sent_to_kafka(servers.kafka(), kept[:4_000]))
    small = {key: value for key, value in values.items() if key.startswith("mark:")}
    large = {key: value for key, value in values.items() if key.startswith(("state:", "slate:", "whole:"))}
    with servers.Redis() as own, connect(settings(Connect(config.connect.home, kv=own.url))) as storage:
        for name, value in rates_bytes.redis_factors(own.url, storage.kv, small, large).items():
            found[name].append(value)
    url = servers.postgresql()
    with connect(settings(Connect(config.connect.home, kv=url))) as storage:
        found["postgres_value"].append(rates_bytes.postgresql_factor(url, storage.kv, small | large))


def measure(home: str, world: tuple[int, int, int], rounds: int, catalogues: tuple[int, int], people: int) -> Found:
    """Every figure but those of Spark, with all of its rounds."""
    found: Found = defaultdict(list)
    on_the_rest()
    for kind in (servers.Redis, servers.Kafka, servers.PostgreSQL):
        servers.shared(kind)
    os.sched_setaffinity(0, CORES)
    warm = Offline(settings(Connect(f"{home}/warm")), SMALL, defaultdict(list, {"block_score": [0.0]}))
    timed("kernels", warm.measure)
    timed("scoring", lambda: scoring(found, catalogues, rounds))
    timed("training", lambda: training(found, people, world[1], min(rounds, 3)))
    config = settings(Connect(f"{home}/world"))
    timed("daily run", Offline(config, world, found).measure)
    online = Online(config, world, found, rounds)
    timed("worker and API", online.measure)
    timed("bytes", lambda: sizes(config, online.kept, world, found))
    return found


def timed(what: str, work: Callable[[], None]) -> None:
    began = time.perf_counter()
    work()
    click.echo(f"{what}: {time.perf_counter() - began:.0f} s", err=True)


def summary(found: Found, before: Rates) -> Rates:
    """Medians and quartiles; figures that this benchmark does not measure stay."""
    figures = {}
    for name in KNOWN:
        if name not in found:
            figures[name] = before.figures[name]
            continue
        low, middle, high = (float(f"{value:.4g}") for value in np.quantile(found[name], [0.25, 0.5, 0.75]))
        figures[name] = Measured(middle, low, high)
    date = machine().rpartition("; ")[2].rstrip(".")
    return Rates(machine().partition(";")[0], date, "python -m benchmarks rates", round(os.getloadavg()[0], 1), figures)


def table(made: Rates) -> str:
    lines = ["| figure | | middle half | a second of a core |", "|---|---:|---:|---:|"]
    for name, known in KNOWN.items():
        one = made.figures[name]
        spread = f"{shown(one.low, known.unit)}–{shown(one.high, known.unit)}" if one.low != one.high else ""
        each = f"{1 / one.value:,.0f}" if known.unit == "s" else ""
        source = f" ({one.source})" if one.source else ""
        lines.append(f"| {known.text}{source} | **{shown(one.value, known.unit)}** | {spread} | {each} |")
    return "\n".join(lines)


@click.command()
@QUICK
def main(quick: bool) -> None:
    """Measure what a plan reckons with."""
    before = rates.measured()
    with tempfile.TemporaryDirectory() as home:
        found = measure(home, SMALL, 1, (2_000, 8_000), 2_000) if quick else measure(home, WORLD, ROUNDS, CATALOGUES, PEOPLE)
    made = summary(found, before)
    text = (
        f"{table(made)}\n\n{made.machine}; {made.date}. Load at the end {made.load}. CPU seconds of the working process, medians "
        f"of {ROUNDS} rounds where a round is short; {WORLD[0]:,} users, {WORLD[1]:,} items, {WORLD[2]} events each, als with "
        f"{FACTORS} factors, slates of {K} items; its training over {PEOPLE:,} users with {EACH} events each."
    )
    print(text)
    if not quick:
        TARGET.write_bytes(msgspec.json.format(msgspec.json.encode(made), indent=2) + b"\n")
        write_section("rates", text)
        click.echo("the page on scale shows plans: `python docs/blocks.py` writes them anew", err=True)


if __name__ == "__main__":
    main()
