"""Spark's MLlib beside our own training of ``als``: the same parameters, the same data, the same judge.

    python -m benchmarks.spark [--data ml-1m,ml-1m-time] [--factors 64] [--epochs 5] [--master local[2]]
    python -m benchmarks.spark --day       # the whole of `daily` over ml-1m, here and on Spark

Seconds are those of training alone, after a session is there. On one machine Spark cannot win: it is for data that one machine
does not hold. Measured on two cores of an EPYC, 24 GiB, Spark 4.3.0, 64 factors, 5 epochs, while little else ran; MLlib's last
digits change with the number of its blocks:

    ml-1m        here    recall@10 0.0985  ndcg@10 0.0494   0.2 s
    ml-1m        MLlib   recall@10 0.0972  ndcg@10 0.0488  19.3 s
    ml-1m-time   here    recall@10 0.0449  ndcg@10 0.2601   0.1 s
    ml-1m-time   MLlib   recall@10 0.0439  ndcg@10 0.2576  11.5 s

    daily  here     11.9 s: ingest 1.7  features  1.1  train  1.6  evaluate 0.8  gate 0.5  publish 6.2
    daily  Spark    73.8 s: ingest 1.9  features 17.3  train 40.2  evaluate 3.9  gate 2.5  publish 8.1
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from msgspec.structs import replace

from benchmarks.model_data import PROTOCOLS, available, movielens_events
from tastemaker.config import Config, Connect, Gate, Spark, Train
from tastemaker.domain import Interaction
from tastemaker.evaluation.metrics import evaluate_lists
from tastemaker.evaluation.splits import Split
from tastemaker.models.als import Als, AlsParams
from tastemaker.pipelines.catalog import pipeline
from tastemaker.pipelines.local import run_pipeline
from tastemaker.pipelines.spark.als import fit_als
from tastemaker.storage import Storage, connect
from tastemaker.storage.spark import session

K = 10


def quality(model: Als, split: Split) -> tuple[float, float]:
    """Recall and NDCG at ten."""
    found = evaluate_lists(model.recommend(split.histories, K).items, split.relevant, (K,))
    return float(np.mean(found[f"recall@{K}"])), float(np.mean(found[f"ndcg@{K}"]))


def models(config: Config, names: list[str], params: AlsParams) -> None:
    """Trains and judges ``als`` here and by MLlib."""
    spark = session(config)
    for name in names:
        if why := available(name):
            print(f"{name}: skipped: {why}", flush=True)
            continue
        split = PROTOCOLS[name].load()
        for what in ("here", "MLlib"):
            began, model = time.perf_counter(), Als(params)
            if what == "here":
                model.fit(split.train, seed=1)
            else:
                fit_als(spark, model, split.train, 1, lambda *_: None)
            seconds = time.perf_counter() - began
            recall, ndcg = quality(model, split)
            print(f"{name:11}  {what:6}  recall@{K} {recall:.4f}  ndcg@{K} {ndcg:.4f}  {seconds:.1f} s", flush=True)


def send(storage: Storage) -> None:
    """All ratings of ml-1m as clicks into the log, in blocks."""
    table, items = movielens_events()
    users, places = table["user_id"].to_pylist(), table["position"].to_pylist()
    for start in range(0, len(users), 50_000):
        rows = zip(
            users[start : start + 50_000], items[start : start + 50_000].tolist(), places[start : start + 50_000], strict=True
        )
        events = [Interaction(f"{user}-{place}", place, f"u{user}", f"i{item}", "click") for user, item, place in rows]
        storage.log.append(events).result()


def day(config: Config, factors: int, epochs: int) -> None:
    """The whole of ``daily``, here and on Spark, with the seconds of each step."""
    session(config)
    train, gate = Train(models=("popular", "item_knn", "als")), Gate(latency_ms=10_000.0)
    for what, engine in (("here", Spark()), ("Spark", config.spark)):
        with tempfile.TemporaryDirectory() as folder:
            home = Connect(home=str(Path(folder) / "home"))
            sizes = {"als": {"factors": factors, "epochs": epochs}}
            own = replace(config, connect=home, spark=engine, train=train, gate=gate, models=sizes)
            with connect(own) as storage:
                send(storage)
                run = run_pipeline(storage, own, pipeline("daily"))
            steps = {name: (step["ended"] - step["began"]) / 1000 for name, step in run.steps.items() if "ended" in step}
            told = "  ".join(f"{name} {seconds:.1f} s" for name, seconds in steps.items())
            print(f"daily  {what:6}  {sum(steps.values()):.1f} s: {told}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="ml-1m,ml-1m-time")
    parser.add_argument("--factors", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--master", default="local[2]")
    parser.add_argument("--day", action="store_true")
    options = parser.parse_args()
    settings: dict[str, str | int | float | bool] = {"spark.driver.memory": "3g", "spark.sql.shuffle.partitions": 8}
    config = Config(spark=Spark(master=options.master, settings=settings))
    if options.day:
        day(config, options.factors, options.epochs)
    else:
        models(config, options.data.split(","), AlsParams(factors=options.factors, epochs=options.epochs))


if __name__ == "__main__":
    main()
