"""What Spark takes for an event of feature tables and training sets, and for a pair of MLlib's ALS: the rates that are Spark's.

    python -m benchmarks.rates_spark [--quick]

Clock times two cores on ``local[2]``: nobody can say which process of Spark worked for whom. Each piece of work is done at two
sizes, and a rate is the difference of their times by that of their sizes, so that starting jobs is no part of it. The figures
go to ``pipelines/sizing/rates.json``, where the others stay as they are. A cluster also sends its shuffles over a network.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import click
import ibis.expr.types as ir
import msgspec
import numpy as np
import pyarrow as pa
import pyspark
from msgspec.structs import replace

from benchmarks.report import machine
from benchmarks.running import CORES, QUICK
from benchmarks.world import START
from tastemaker.config import Config, Spark
from tastemaker.features import table
from tastemaker.models import silent
from tastemaker.models.als import Als, AlsParams
from tastemaker.models.interactions import Histories, Interactions, Vocabulary
from tastemaker.pipelines.sizing import rates
from tastemaker.pipelines.sizing.rates import Measured
from tastemaker.pipelines.spark.als import fit_als
from tastemaker.pipelines.spark.queries import SparkQueries
from tastemaker.pipelines.steps.features import KEYS, features_of
from tastemaker.storage.columns import SCHEMAS
from tastemaker.storage.lake import open_lake
from tastemaker.storage.spark import session

TARGET = Path(rates.__file__).with_name(rates.FILE)
EVENTS, PAIRS = (1_000_000, 5_000_000), (1_000_000, 4_000_000)
EACH, ITEMS, FACTORS, EPOCHS = 40, 20_000, 64, 2  # events of a user
SPAN = 90 * 86_400_000  # milliseconds in which they lie
END = START + SPAN
Ask = Callable[[ir.Table], list[ir.Table]]
CONFIG = Config(
    spark=Spark(master="local[2]", settings={"spark.driver.memory": "8g", "spark.sql.shuffle.partitions": 8})
)  # fmt: skip


def events_of(count: int) -> pa.Table:
    """So many clicks as the lake holds them."""
    random = np.random.default_rng(0)
    users, items = random.integers(0, count // EACH, count), (ITEMS * random.random(count) ** 2).astype(int)
    known = {
        "id": pa.array([f"e{n}" for n in range(count)]),
        "time": pa.array(START + random.integers(0, SPAN, count)),
        "user": pa.array([f"u{user}" for user in users.tolist()]),
        "item": pa.array([f"i{item}" for item in items.tolist()]),
        "kind": pa.array(["click"] * count),
        "partition": pa.array(np.zeros(count, np.int32)),
        "offset": pa.array(np.arange(count)),
    }
    schema = SCHEMAS["interactions"]
    columns = [known[field.name].cast(field.type) if field.name in known else pa.nulls(count, field.type) for field in schema]
    return pa.Table.from_arrays(columns, schema=schema)


def queried(folder: str, ask: Ask, count: int) -> Callable[[], None]:
    """Queries over so many events in a lake, run by Spark and brought back."""
    lake = open_lake(f"file:///{tempfile.mkdtemp(dir=folder)}")
    lake.overwrite("interactions", events_of(count))

    def work() -> None:
        engine = SparkQueries(CONFIG)
        events = engine.scan(lake, "interactions")
        if events is None:
            raise click.ClickException("the lake lost its events")
        for query in ask(events):
            engine.rows(query)

    return work


def features(events: ir.Table) -> list[ir.Table]:
    return [features_of(key, events, None, CONFIG.rewards, END) for key in KEYS]


def training_set(events: ir.Table) -> list[ir.Table]:
    return [table.histories(events, CONFIG.rewards, length=CONFIG.rewards.history, aging=True)]


def trained(count: int) -> Callable[[], None]:
    """MLlib's ALS over so many pairs."""
    random, users = np.random.default_rng(0), count // EACH
    items = (ITEMS * random.random(count) ** 2).astype(np.int32)
    rows = Histories.grouped(
        np.sort(random.integers(0, users, count)), items, np.ones(count, np.float32), np.arange(count), users
    )
    data = Interactions(tuple(map(str, range(users))), Vocabulary(tuple(map(str, range(ITEMS)))), rows)

    def work() -> None:
        fit_als(session(CONFIG), Als(AlsParams(factors=FACTORS, epochs=EPOCHS)), data, 0, silent)

    return work


def marginal(what: str, make: Callable[[int], Callable[[], None]], sizes: tuple[int, int]) -> float:
    """Core seconds of one more, between two sizes."""
    seconds = []
    for size in sizes:
        work = make(size)
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
        click.echo(f"{what} of {size:,}: {seconds[-1]:.1f} s", err=True)
    more = seconds[1] - seconds[0]
    return more * len(CORES) / (sizes[1] - sizes[0])


@click.command()
@QUICK
def main(quick: bool) -> None:
    """Measure what a plan reckons with for Spark."""
    share = 100 if quick else 1
    sizes = (EVENTS[0] // share, EVENTS[1] // share)
    with tempfile.TemporaryDirectory() as folder:
        marginal("a first time", partial(queried, folder, features), (2_000, 4_000))
        asked = {"spark_featured": features, "spark_prepared": training_set}
        found = {name: marginal(ask.__name__, partial(queried, folder, ask), sizes) for name, ask in asked.items()}
    marginal("a first training", trained, (2_000, 4_000))
    sizes = (PAIRS[0] // share, PAIRS[1] // share)
    found["spark_trained"] = marginal("als", trained, sizes) / FACTORS / EPOCHS
    date = machine().rpartition("; ")[2].rstrip(".")
    for name, value in found.items():
        print(f"{name}: {value:.4g} core seconds")
        if value <= 0:
            raise click.ClickException(f"{name}: the larger size took no longer than the smaller one: something else was at work")
    if not quick:
        source = f"PySpark {pyspark.__version__}, local[2], clock times two cores; {date}"
        known = rates.measured()
        values = {name: float(f"{value:.4g}") for name, value in found.items()}
        figures = known.figures | {name: Measured(value, value, value, source) for name, value in values.items()}
        TARGET.write_bytes(msgspec.json.format(msgspec.json.encode(replace(known, figures=figures)), indent=2) + b"\n")
        click.echo("the page on scale shows plans: `python docs/blocks.py` writes them anew", err=True)


if __name__ == "__main__":
    main()
