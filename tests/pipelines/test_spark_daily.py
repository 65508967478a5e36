"""The whole loop with Spark: what is published is what would have been published without it, byte for byte."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from msgspec.structs import replace

import servers
import world
from spark_session import SPARK
from tastemaker.config import Config
from tastemaker.domain import Interaction
from tastemaker.errors import StorageError
from tastemaker.evaluation.evaluate import evaluate
from tastemaker.models.als import Als, AlsParams
from tastemaker.pipelines import engines
from tastemaker.pipelines.catalog import pipeline
from tastemaker.pipelines.local import run_pipeline
from tastemaker.pipelines.pipeline import Window
from tastemaker.pipelines.publishing import write_slates
from tastemaker.pipelines.republish import rewrite_slates
from tastemaker.pipelines.steps.train import split_of
from tastemaker.pipelines.training import training_set
from tastemaker.registry import live
from tastemaker.storage import Storage, connect, keys

pytestmark = pytest.mark.usefixtures("spark")

MODELS = ("popular", "item_knn", "als")


def without_spark(config: Config) -> Config:
    return replace(config, spark=replace(SPARK, master=""))


def slates(storage: Storage, version: str) -> dict[str, bytes]:
    return {key: value for prefix in keys.slates(version) for key, value in storage.kv.scan(prefix)}


def published_again(storage: Storage, config: Config) -> dict[str, bytes]:
    """All slates of the live version, composed anew under a configuration."""
    now = live.read(storage.kv)
    assert now is not None
    for prefix in keys.slates(now.version):
        storage.kv.drop(prefix)
    last = storage.tables.runs.last("daily", 1)[0]
    window = Window(last.id, last.start, last.end)
    users = write_slates(storage, config, window, lambda *_: None, now.version, now.artifact, now.fallback)
    found = slates(storage, now.version)
    assert 2 * users >= len(found) > 0
    return found


def test_a_day_on_spark_publishes_what_a_day_here_publishes(tmp_path: Path) -> None:
    config = replace(world.config_of(tmp_path / "spark", MODELS), spark=SPARK)
    with connect(config) as storage:
        world.fill(storage, users=150, items=60)
        told: list[tuple[str, int, int, str]] = []
        run = run_pipeline(storage, config, pipeline("daily"), watch=lambda *words: told.append(words))
        assert run.state == "done"
        assert {name: step["state"] for name, step in run.steps.items()} == dict.fromkeys(run.steps, "done")
        notes = {(step, note) for step, _, _, note in told}
        assert {("features", "query: Spark starts"), ("publish", "slates: Spark starts")} <= notes
        assert any(step == "train" and "MLlib: Spark starts" in note for step, note in notes)
        version = run.steps["publish"]["summary"]["version"]
        on_spark = slates(storage, version)
        assert published_again(storage, without_spark(config)) == on_spark
        cards = {card.kind: card for card in storage.tables.models.all()}
        assert cards["als"].metrics["ndcg@10"].value > 0.8 * cards["popular"].metrics["ndcg@10"].value


@pytest.mark.parametrize("model", ["item_knn", "als"])
def test_slates_of_odd_histories_are_the_same(tmp_path: Path, model: str) -> None:
    """Rewards with an age, events of the same moment and twice, someone without a rewarded event, someone erased."""
    config = world.config_of(tmp_path / "home", ("popular", model))
    config = replace(
        config, rewards=replace(config.rewards, half_life_days=2.0, history=7), publish=replace(config.publish, block=7)
    )
    with connect(config) as storage:
        world.fill(storage, users=80, items=50)
        same = [Interaction(f"x{n % 9}", world.BASE, "ü", f"i{n}", "click") for n in range(12)]
        storage.log.append([*same, Interaction("y", world.BASE, "bored", "i1", "view", 1.0)]).result()
        run_pipeline(storage, config, pipeline("daily"))
        here = published_again(storage, config)
        there = published_again(storage, replace(config, spark=replace(SPARK, steps=("publish",))))
        assert there == here
        assert any("ü" in key for key in there)


def test_executors_write_into_a_store_on_a_server(tmp_path: Path) -> None:
    config = world.config_of(tmp_path / "home")
    config = replace(config, connect=replace(config.connect, kv=servers.redis()))
    with connect(config) as storage:
        world.fill(storage, users=60, items=40)
        run_pipeline(storage, config, pipeline("daily"))
        here = published_again(storage, config)
        assert published_again(storage, replace(config, spark=replace(SPARK, steps=("publish",)))) == here


def test_an_executor_that_finds_no_model_says_so(published: tuple[Storage, Config]) -> None:
    storage, config = published
    config = replace(config, spark=replace(SPARK, steps=("publish",)))
    last = storage.tables.runs.last("daily", 1)[0]
    with pytest.raises(StorageError, match=r"publish: Spark could not do it: .*there is no model in this folder"):
        write_slates(storage, config, Window(last.id, 0, last.end), lambda *_: None, "v", "absent-1/model", "absent-1/model")


def test_a_rebuild_republishes_on_spark_too(published: tuple[Storage, Config]) -> None:
    storage, config = published
    now = live.read(storage.kv)
    assert now is not None
    assert engines.elsewhere(config, "publish") is None
    users = rewrite_slates(storage, now, lambda *_: None)
    storage.config = replace(config, spark=replace(SPARK, steps=("publish",)))
    assert rewrite_slates(storage, now, lambda *_: None) == users


@pytest.mark.data
@pytest.mark.slow
def test_a_day_over_a_million_events_is_the_same_on_spark(tmp_path: Path, data_folder: Path) -> None:
    """MovieLens 1M, everything on Spark: the slates are those of this process, and MLlib is within 2 % of our own als."""
    ratings = pq.read_table(data_folder / "ml-1m" / "ratings.parquet", columns=["user_id", "item_id", "position"]).drop_null()
    config = replace(world.config_of(tmp_path / "home", MODELS), models={"als": {"factors": 64}})
    config = replace(config, publish=replace(config.publish, block=1024), spark=SPARK)
    with connect(config) as storage:
        for batch in ratings.to_batches(max_chunksize=100_000):
            rows = zip(*(column.to_pylist() for column in batch.columns), strict=True)
            storage.log.append([Interaction(f"{u}-{p}", p, f"u{u}", f"i{i}", "click") for u, i, p in rows]).result()
        run = run_pipeline(storage, config, pipeline("daily"))
        summary = run.steps["publish"]["summary"]
        assert summary["users"] == 6040
        assert slates(storage, summary["version"]) == published_again(storage, without_spark(config))
        train = run.steps["train"]["summary"]["data"]
        here = training_set(storage, without_spark(config), train["lake"], run.end)
        split = split_of(here, config.evaluate)
        own = evaluate(Als(AlsParams(factors=64)).fit(split.train).recommend, split, (10,), resamples=100)
        card = next(card for card in storage.tables.models.all() if card.kind == "als")
        assert card.metrics["ndcg@10"].value > 0.98 * own.intervals["ndcg@10"].value
