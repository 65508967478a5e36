"""Spark's MLlib beside our own training of ``als``: the same parameters, the same data, the same judge.

    python -m benchmarks.spark [--data ml-1m,ml-1m-time] [--factors 64] [--epochs 5] [--master local[2]]

Seconds are those of training alone, after a session is there. On one machine Spark cannot win: it is for data that one machine
does not hold.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from benchmarks.model_data import PROTOCOLS
from tastemaker.config import Config, Spark
from tastemaker.evaluation.metrics import evaluate_lists
from tastemaker.evaluation.splits import Split
from tastemaker.models.als import Als, AlsParams
from tastemaker.pipelines.spark_als import fit_als
from tastemaker.storage.spark import session

K = 10


def quality(model: Als, split: Split) -> tuple[float, float]:
    """Recall and NDCG at ten."""
    found = evaluate_lists(model.recommend(split.histories, K).items, split.relevant, (K,))
    return float(np.mean(found[f"recall@{K}"])), float(np.mean(found[f"ndcg@{K}"]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="ml-1m,ml-1m-time")
    parser.add_argument("--factors", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--master", default="local[2]")
    options = parser.parse_args()
    config = Config(spark=Spark(master=options.master, settings={"spark.driver.memory": "2g", "spark.sql.shuffle.partitions": 8}))
    params = AlsParams(factors=options.factors, epochs=options.epochs)
    spark = session(config)
    for name in options.data.split(","):
        split = PROTOCOLS[name].load()
        for what in ("here", "MLlib"):
            began, model = time.perf_counter(), Als(params)
            if what == "here":
                model.fit(split.train, seed=1)
            else:
                fit_als(spark, model, split.train, 1, lambda *_: None)
            seconds = time.perf_counter() - began
            recall, ndcg = quality(model, split)
            print(f"{name}  {what:6}  recall@{K} {recall:.4f}  ndcg@{K} {ndcg:.4f}  {seconds:.1f} s", flush=True)


if __name__ == "__main__":
    main()
