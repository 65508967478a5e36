"""Quality and cost of the models on Gowalla and MovieLens-1M.

    python -m benchmarks.models [--sets gowalla,ml-1m] [--models als,item_knn]

Protocols: Gowalla, the LightGCN split as given, Recall@20 and NDCG@20 over all users with test items. ML-1M, leave-one-out
(``split_loo``): input is all of a user's history but the last item, which is to be found; HR@10 and NDCG@10. Both rank the
full catalogue without the items of the user's history. Settings are fixed, the same on both sets; nothing is tuned here.

Each model runs in a process of its own, so that its peak memory is its own; kernels are compiled before the clock starts.
A run of all models on all sets replaces the table in ``benchmarks/README.md``.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypedDict

import numba
import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc
import pyarrow.parquet as pq
import scipy

from benchmarks.report import machine, write_section
from tastemaker.evaluation.metrics import evaluate_lists
from tastemaker.models import create
from tastemaker.models.interactions import Histories, Interactions, Rows, Vocabulary

SEEDS = (0, 1, 2)
COLUMNS = ("Recall / HR", "NDCG", "fit s", "fit CPU s", "users/s", "peak MB")

MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "popular": ("popular", {}),
    "als": ("als", {}),
    "als 128": ("als", {"factors": 128}),
    "als 256": ("als", {"factors": 256}),
    "item_knn": ("item_knn", {}),
}


class Result(TypedDict):
    """One line of the table."""

    recall: float
    ndcg: float
    fit: float
    fit_cpu: float
    users_per_second: float
    peak_mb: float


def data_folder() -> Path:
    """Where the data sets lie: ``$TASTEMAKER_DATA``, else beside the checkout."""
    folder = Path(os.environ.get("TASTEMAKER_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        raise SystemExit(f"{folder}: no such folder; set TASTEMAKER_DATA to the folder that holds gowalla/ and ml-1m/")
    return folder


def histories(users: npt.NDArray[Any], items: npt.NDArray[Any], order: npt.NDArray[Any], count: int) -> Histories:
    ones = np.ones(len(users), np.float32)
    return Histories.grouped(users.astype(np.int64), items.astype(np.int32), ones, order.astype(np.int64), count)


def training_set(rows: Histories, items: int) -> Interactions:
    return Interactions(tuple(map(str, range(len(rows)))), Vocabulary(tuple(map(str, range(items)))), rows)


def gowalla() -> tuple[Interactions, Rows]:
    """29,858 users, 40,981 items, 810,128 events to learn from and 217,242 to find; no times."""
    parts = []
    for name in ("train", "test"):
        table = pq.read_table(data_folder() / "gowalla" / f"{name}.parquet")
        users, items = table["user_id"].to_numpy(), table["item_id"].to_numpy()
        parts.append(histories(users, items, np.zeros(len(users)), 29_858))
    return training_set(parts[0], 40_981), parts[1]


def movielens() -> tuple[Interactions, Rows]:
    """6,040 users, 3,416 items; the last event of each user is to be found, all 993,571 before it are given."""
    table = pq.read_table(data_folder() / "ml-1m" / "ratings.parquet")
    table = table.filter(pc.not_equal(table["split_loo"], "excluded"))
    last = pc.equal(table["split_loo"], "test").to_numpy()
    numbers, items = np.unique(table["item_id"].to_numpy(), return_inverse=True)
    users, order = table["user_id"].to_numpy() - 1, table["position"].to_numpy()
    rows = histories(users[~last], items[~last], order[~last], 6_040)
    return training_set(rows, len(numbers)), histories(users[last], items[last], order[last], 6_040)


SETS = {"gowalla": (gowalla, 20), "ml-1m": (movielens, 10)}


def measure(dataset: str, name: str) -> Result:
    """Trains and asks one model with every seed, in this process."""
    load, k = SETS[dataset]
    kind, params = MODELS[name]
    compile_kernels(kind)
    data, wanted = load()
    asked = np.flatnonzero(wanted.lengths > 0)
    rows, relevant = data.histories.take(asked), nonempty(wanted)
    runs = [measure_seed(kind, params, data, rows, relevant, k, seed) for seed in SEEDS]
    return Result(
        recall=float(np.mean([run["recall"] for run in runs])),
        ndcg=float(np.mean([run["ndcg"] for run in runs])),
        fit=min(run["fit"] for run in runs),
        fit_cpu=min(run["fit_cpu"] for run in runs),
        users_per_second=max(run["users_per_second"] for run in runs),
        peak_mb=runs[-1]["peak_mb"],
    )


def measure_seed(
    kind: str, params: dict[str, Any], data: Interactions, rows: Histories, relevant: Rows, k: int, seed: int
) -> Result:
    model = create(kind, params)
    wall, cpu = time.perf_counter(), time.process_time()
    model.fit(data, seed=seed)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    start = time.perf_counter()
    found = model.recommend(rows, 20)
    speed = len(rows) / (time.perf_counter() - start)
    metrics = evaluate_lists(found.items, relevant, [k])
    return Result(
        recall=float(metrics[f"recall@{k}"].mean()),
        ndcg=float(metrics[f"ndcg@{k}"].mean()),
        fit=wall,
        fit_cpu=cpu,
        users_per_second=speed,
        peak_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    )


def nonempty(rows: Rows) -> Rows:
    """The rows that have entries, in their order."""
    used = rows.lengths > 0
    return Rows(np.concatenate([rows.indptr[:1], rows.indptr[1:][used]]), rows.items)


def compile_kernels(kind: str) -> None:
    """Runs the model once on a few random events."""
    random = np.random.default_rng(0)
    rows = histories(np.repeat(np.arange(30), 5), random.integers(0, 40, 150), np.zeros(150), 30)
    create(kind).fit(training_set(rows, 40)).recommend(rows, 5)


def measured_alone(dataset: str, name: str) -> Result:
    """The same in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.models", "--one", dataset, name]
    answer = subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path(__file__).parents[1]).stdout
    result: Result = json.loads(answer.splitlines()[-1])
    return result


def table(results: dict[tuple[str, str], Result]) -> str:
    """The results as Markdown."""
    load = os.getloadavg()[0]
    versions = f"scipy {scipy.__version__}, numba {numba.__version__}"
    lines = [
        f"{machine()} {versions}. Quality is the mean over seeds {SEEDS}, times are the best of them.",
        f"Load of the machine at the end: {load:.1f}; with other work on its cores, times are upper bounds.",
        "",
        "| data | model | " + " | ".join(COLUMNS) + " |",
        "| --- | --- |" + " ---: |" * len(COLUMNS),
    ]
    for (dataset, name), found in results.items():
        at = SETS[dataset][1]
        lines.append(
            f"| {dataset} @{at} | {name} | {found['recall']:.4f} | {found['ndcg']:.4f} | {found['fit']:.2f} "
            f"| {found['fit_cpu']:.2f} | {found['users_per_second']:,.0f} | {found['peak_mb']:.0f} |"
        )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Quality and cost of the models.")
    parser.add_argument("--sets", default=",".join(SETS), help="data sets, separated by commas")
    parser.add_argument("--models", default=",".join(MODELS), help="models, separated by commas")
    parser.add_argument("--one", nargs=2, metavar=("SET", "MODEL"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.one:
        print(json.dumps(measure(*options.one)))
        return
    results: dict[tuple[str, str], Result] = {}
    for dataset in options.sets.split(","):
        for name in options.models.split(","):
            results[dataset, name] = measured_alone(dataset, name)
            print(f"{dataset} {name}: {results[dataset, name]}", file=sys.stderr)
    text = table(results)
    print(text)
    if set(results) == {(dataset, name) for dataset in SETS for name in MODELS}:
        write_section("models", text)


if __name__ == "__main__":
    main()
