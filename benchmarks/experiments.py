"""How long an experiment's analysis takes: from the lake's rows to the verdict, beside what the lake holds.

    python -m benchmarks.experiments [--quick] [--users N]

The lake is made once in a temporary folder: every user is exposed once and gets ten answers after that, fills three of ten
with a click, and has as much of a past before the exposure as the covariate asks for. Measured by three metrics: clicks per
answer, reward and activity per user. The peak of the process's memory is that of the analysis with the making of the lake's
parts, which are of a million rows.
"""

from __future__ import annotations

import resource
import tempfile
import time
from pathlib import Path

import click
import numpy as np
import pyarrow as pa

from benchmarks.report import machine, write_section
from benchmarks.running import QUICK
from tastemaker.config import Config, Connect
from tastemaker.domain import Arm, Experiment
from tastemaker.experiments.verdicts import judge
from tastemaker.features.rewards import DAY
from tastemaker.pipelines.experiments.measure import measured
from tastemaker.storage import Storage, connect
from tastemaker.storage.columns import SCHEMAS

BASE = 1_767_225_600_000
ANSWERS, CLICKS = 10, 3
PART = 1_000_000  # rows of an append
ASKED = Experiment("speed", (Arm("control"), Arm("other")), metrics=("ctr", "reward", "activity"), state="running", started=BASE)


def table(name: str, rows: int, columns: dict[str, pa.Array]) -> pa.Table:
    """Rows of one kind of event; what is not given is null."""
    schema = SCHEMAS[name]
    return pa.table([columns.get(field.name, pa.nulls(rows, field.type)).cast(field.type) for field in schema], schema=schema)


def part(name: str, start: int, rows: int, users: int, random: np.random.Generator) -> pa.Table:
    """Some of a table's rows, in the order of their numbers."""
    numbers = np.arange(start, start + rows)
    ids = pa.array([f"{name[:3]}-{number:012d}" for number in numbers])
    user = random.integers(0, users, rows) if name != "exposures" else numbers
    units = pa.array([f"user-{number:09d}" for number in user])
    arms = np.where(user * 2_654_435_761 % 1000 < 500, "control", "other")
    if name == "exposures":
        time_ = BASE + random.integers(0, 5 * DAY, rows)
        own = {
            "unit": units,
            "arm": pa.array(arms),
            "experiment": pa.array(["speed"] * rows),
            "reason": pa.array(["hashed"] * rows),
        }
        return table(name, rows, {"id": ids, "time": pa.array(time_), "version": pa.array(np.ones(rows, np.int64)), **own})
    found = {"id": ids, "time": pa.array(BASE - 10 * DAY + random.integers(0, 24 * DAY, rows)), "user": units}
    if name == "decisions":
        found |= {"arms": pa.array(np.char.add(np.char.add('{"speed":"', arms), '"}')), "reward": pa.array(["1"] * rows)}
    if name == "interactions":
        found |= {"item": pa.array([f"i{n}" for n in user % 1000]), "kind": pa.array(["click"] * rows), "decision": ids}
    return table(name, rows, found)


def fill(storage: Storage, users: int) -> dict[str, int]:
    """Makes the lake; returns the rows of each table."""
    random = np.random.default_rng(0)
    rows = {"exposures": users, "decisions": ANSWERS * users, "interactions": CLICKS * users}
    for name, count in rows.items():
        for start in range(0, count, PART):
            storage.lake.append(name, part(name, start, min(PART, count - start), users, random))
    return rows


@click.command()
@QUICK
@click.option("--users", default=1_000_000, show_default=True)
def main(quick: bool, users: int) -> None:
    users = 20_000 if quick else users
    with tempfile.TemporaryDirectory() as folder:
        config = Config(connect=Connect(home=str(Path(folder) / "home")))
        with connect(config) as storage:
            rows = fill(storage, users)
            began, cpu = time.perf_counter(), time.process_time()
            verdicts = judge(ASKED, measured(storage, config, ASKED, BASE + 14 * DAY))
            took, used = time.perf_counter() - began, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    told = ", ".join(f"{count:,} {name}" for name, count in rows.items())
    text = (
        f"| users | seconds | CPU seconds | peak memory |\n|---:|---:|---:|---:|\n"
        f"| {users:,} | **{took:.1f}** | {used:.1f} | {peak:.1f} GiB |\n\n"
        f"{told}; three metrics, one experiment of two arms, covariates of 14 days. {machine()}"
    )
    print(verdicts[0].decision, verdicts[0].text)
    print(text)
    if not quick:
        write_section("experiments", text)


if __name__ == "__main__":
    main()
