"""What Spark takes for an event of the feature tables and for a pair of MLlib's ALS: the two rates of a plan that are Spark's.

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
from typing import Any

import click
import msgspec
import numpy as np
import pyarrow as pa
from msgspec.structs import replace

from benchmarks.report import machine
from benchmarks.running import CORES, QUICK
from benchmarks.world import START
from tastemaker.config import Config, Spark
from tastemaker.features import catalog, table
from tastemaker.models import silent
from tastemaker.models.als import Als, AlsParams
from tastemaker.models.interactions import Histories, Interactions, Vocabulary
from tastemaker.pipelines.sizing import rates
from tastemaker.pipelines.sizing.rates import Measured
from tastemaker.pipelines.spark.als import fit_als
from tastemaker.pipelines.spark.queries import SparkQueries
from tastemaker.storage.columns import SCHEMAS
from tastemaker.storage.lake import open_lake
from tastemaker.storage.spark import session

TARGET = Path(rates.__file__).with_name(rates.FILE)
EVENTS, PAIRS = (1_000_000, 5_000_000), (1_000_000, 4_000_000)
EACH, ITEMS, FACTORS, EPOCHS = 40, 20_000, 64, 2  # events of a user
CONFIG = Config(
    spark=Spark(master="local[2]", settings={"spark.driver.memory": "8g", "spark.sql.shuffle.partitions": 8})
)  # fmt: skip


def events_of(count: int) -> pa.Table:
    """So many clicks as the lake holds them."""
    random = np.random.default_rng(0)
    users, items = random.integers(0, count // EACH, count), (ITEMS * random.random(count) ** 2).astype(int)
    names: dict[str, Any] = {"user": [f"u{user}" for user in users.tolist()], "item": [f"i{item}" for item in items.tolist()]}
    times = START + random.integers(0, 90 * 86_400_000, count)
    names = {name: pa.array(values) for name, values in names.items()}
    known = {
        "id": pa.array([f"e{n}" for n in range(count)]),
        "time": pa.array(times),
        "kind": pa.array(["click"] * count),
        **names,
    }
    known |= {"partition": pa.array(np.zeros(count, np.int32)), "offset": pa.array(np.arange(count))}
    schema = SCHEMAS["interactions"]
    columns = [known[field.name].cast(field.type) if field.name in known else pa.nulls(count, field.type) for field in schema]
    return pa.Table.from_arrays(columns, schema=schema)


def featured(folder: str, count: int) -> Callable[[], None]:
    """The step's own query over users, run by Spark and brought back."""
    lake = open_lake(f"file:///{tempfile.mkdtemp(dir=folder)}")
    lake.overwrite("interactions", events_of(count))

    def work() -> None:
        engine = SparkQueries(CONFIG)
        events = engine.scan(lake, "interactions")
        assert events is not None
        import ibis

        requests = events.select("user").distinct().mutate(at=ibis.literal(START + 90 * 86_400_000, "int64"))
        wanted = [feature for feature in catalog.FEATURES if feature.key == "user" and feature.name != "user_recent"]
        found = engine.rows(table.point_in_time(requests, events, wanted, rewards=CONFIG.rewards))
        assert len(found) > 0.9 * count / EACH

    return work


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
    return max(seconds[1] - seconds[0], 1e-9) * len(CORES) / (sizes[1] - sizes[0])


@click.command()
@QUICK
def main(quick: bool) -> None:
    """Measure what a plan reckons with for Spark."""
    share = 100 if quick else 1
    with tempfile.TemporaryDirectory() as folder:
        marginal("a first time", partial(featured, folder), (2_000, 4_000))
        per_event = marginal("features", partial(featured, folder), (EVENTS[0] // share, EVENTS[1] // share))
    marginal("a first training", trained, (2_000, 4_000))
    found = {
        "spark_featured": per_event,
        "spark_trained": marginal("als", trained, (PAIRS[0] // share, PAIRS[1] // share)) / FACTORS / EPOCHS,
    }
    date = machine().rpartition("; ")[2].rstrip(".")
    for name, value in found.items():
        print(f"{name}: {value:.4g} core seconds")
    if not quick:
        source = f"PySpark 4.3, local[2], clock times two cores, between {EVENTS[0]:,} and {EVENTS[1]:,} events; {date}"
        sources = {"spark_featured": source, "spark_trained": source.replace(f"{EVENTS[1]:,} events", f"{PAIRS[1]:,} pairs")}
        known = rates.measured()
        values = {name: float(f"{value:.4g}") for name, value in found.items()}
        figures = known.figures | {name: Measured(value, value, value, sources[name]) for name, value in values.items()}
        TARGET.write_bytes(msgspec.json.format(msgspec.json.encode(replace(known, figures=figures)), indent=2) + b"\n")
        click.echo("the page on scale shows plans: `python docs/blocks.py` writes them anew", err=True)


if __name__ == "__main__":
    main()
