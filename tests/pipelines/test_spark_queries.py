"""The same Ibis expressions on DuckDB and on Spark: features cell by cell, training sets bit by bit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import ibis
import numpy as np
import pyarrow as pa
import pytest
from msgspec.structs import replace

from spark_session import SPARK
from tastemaker.config import Config, Reward, Rewards
from tastemaker.domain import AnyEvent, Interaction, Run, View
from tastemaker.errors import NotFound
from tastemaker.features import table
from tastemaker.features.catalog import FEATURES
from tastemaker.models.mapped import MappedHistories
from tastemaker.pipelines import engines
from tastemaker.pipelines.pipeline import Window
from tastemaker.pipelines.steps.features import features
from tastemaker.pipelines.training import training_set
from tastemaker.storage import Storage
from tastemaker.storage.archive import archive
from tastemaker.storage.erase import erase

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

DAY = 86_400_000
NOW = 40 * DAY
KINDS = {"rating": Reward(weight=2.0, at_least=3.0), "skip": Reward(weight=0.0), "hate": Reward(weight=-1.5)}
REWARDS = Rewards(kinds=KINDS, history=6, half_life_days=3.0)


def events(seed: int = 0) -> list[AnyEvent]:
    """Much that is odd: repeated, late, in the future, of the same moment, without a value, with one that is final later."""
    random = np.random.default_rng(seed)
    found: list[AnyEvent] = []
    for number in range(400):
        user, item = f"u{random.integers(12)}", f"i{random.integers(15)}" if number % 9 else "ü☃"
        time = int(random.integers(60)) * DAY if number % 3 else int(random.integers(NOW))
        if number % 5 == 0:
            found.append(View(f"v{number}", time, user, f"d{number}", item))
            continue
        value = None if number % 4 == 0 else float(random.integers(1, 6))
        later = time + DAY if number % 7 == 0 else None
        kind = ("click", "rating", "skip", "hate")[int(random.integers(4))]
        decision = f"d{number}" if number % 2 else None
        found.append(Interaction(f"e{number % 350}", time, user, item, kind, value, decision=decision, mature_at=later))
    return found


@pytest.fixture
def spark_config(home: Config, spark: SparkSession) -> Config:
    return replace(home, rewards=REWARDS, spark=SPARK)


def here(config: Config) -> Config:
    return replace(config, spark=replace(SPARK, master=""))


def archived(storage: Storage, *sent: AnyEvent) -> dict[str, int]:
    """Sends events into log and lake; the versions that a run would pin now."""
    storage.log.append(list(sent)).result()
    archive(storage.log, storage.lake)
    return {name: storage.lake.version(name) for name in ("interactions", "views") if storage.lake.version(name) >= 0}


def assert_alike(found: pa.Table, expected: pa.Table) -> None:
    """The same cells; those that were added up in another order may differ in their last digits."""
    assert found.schema.equals(expected.schema)
    for name in expected.column_names:
        one, other = found[name].to_pylist(), expected[name].to_pylist()
        if pa.types.is_floating(expected.schema.field(name).type):
            assert [value is None for value in one] == [value is None for value in other], name
            numbers = [[value for value in column if value is not None] for column in (one, other)]
            np.testing.assert_allclose(numbers[0], numbers[1], rtol=1e-12, err_msg=name)
        else:
            assert one == other, name


@pytest.mark.parametrize("key", ["user", "item", "user_category"])
def test_every_feature_has_the_same_cells(storage: Storage, spark_config: Config, key: str) -> None:
    versions = archived(storage, *events())
    labels = {"item": [f"i{n}" for n in range(15)] + ["i3"], "category": ["a", "b", "c"] * 5 + ["c"]}
    storage.lake.overwrite("labels", pa.table(labels))
    found = []
    for config in (spark_config, here(spark_config)):
        engine = engines.queries(config, "features")
        interactions, views = (engine.scan(storage.lake, name, versions[name]) for name in ("interactions", "views"))
        assert interactions is not None
        requests = interactions.select("user", "item", at="time").distinct()
        requests = requests.mutate(category=ibis.ifelse(requests.item == "i1", "b", "c"))
        wanted = [feature for feature in FEATURES if feature.key == key]
        answer = table.point_in_time(
            requests, interactions, wanted, rewards=REWARDS, views=views, categories=engine.scan(storage.lake, "labels")
        )
        found.append(engine.rows(answer.order_by("user", "item", "at", "category")))
    assert len(found[0]) > 100
    assert_alike(*found)


def test_the_step_features_writes_the_same_tables(storage: Storage, spark_config: Config) -> None:
    versions = archived(storage, *events())
    tables, told = [], list[tuple[int, int, str]]()
    for number, config in enumerate((spark_config, here(spark_config))):
        window = ingested(storage, f"daily-{number}", versions)
        outcome = features(storage, config, window, lambda *words: told.append(words))
        assert outcome.summary["rows"] == {"user_features": 12, "item_features": 16}
        written = outcome.summary["versions"]
        tables.append([storage.lake.read(name, written[name]) for name in ("user_features", "item_features")])
    assert {note for _, _, note in told} >= {"user features", "item features", "query: Spark starts"}
    for one, other in zip(*tables, strict=True):
        assert_alike(one, other)


def ingested(storage: Storage, run: str, versions: dict[str, int]) -> Window:
    """The window of a run whose step ``ingest`` is done."""
    summary = {"versions": versions, "ends": storage.log.ends()}
    steps = {"ingest": {"state": "done", "summary": summary}}
    storage.tables.runs.put(Run(run, "daily", 0, NOW, "running", NOW, steps=steps))
    return Window(run, 0, NOW)


def assert_same(storage: Storage, config: Config, versions: dict[str, int], before: int | None = None) -> int:
    found, expected = (training_set(storage, one, versions, before) for one in (config, here(config)))
    assert (found.users, found.items.ids, found.now) == (expected.users, expected.items.ids, expected.now)
    for name in ("indptr", "items", "weights", "times"):
        one, other = getattr(found.histories, name), getattr(expected.histories, name)
        assert one.dtype == other.dtype
        assert np.array_equal(one, other), name
    return len(found.histories.items)


@pytest.mark.parametrize("immature", ["mask", "impute"])
def test_what_is_not_mature_is_treated_alike(storage: Storage, spark_config: Config, immature: Literal["mask", "impute"]) -> None:
    versions = archived(storage, *events())
    kinds = KINDS | {"click": Reward(weight=0.0, mature_hours=240.0), "skip": Reward(weight=1.0, scale=2.0, cap=4.0)}
    config = replace(spark_config, rewards=replace(REWARDS, kinds=kinds, immature=immature, history=500))
    found, expected = (training_set(storage, one, versions, 30 * DAY) for one in (config, here(config)))
    assert np.array_equal(found.histories.items, expected.histories.items)
    np.testing.assert_allclose(found.histories.weights, expected.histories.weights, rtol=1e-6)
    ripe = training_set(storage, here(spark_config), versions, 30 * DAY)
    assert len(expected.histories.items) != len(ripe.histories.items)


def test_a_training_set_has_the_same_bits(storage: Storage, spark_config: Config) -> None:
    versions = archived(storage, *events())
    whole = assert_same(storage, spark_config, versions)
    assert 0 < assert_same(storage, spark_config, versions, 20 * DAY) < whole
    plain = replace(spark_config, rewards=Rewards())
    assert assert_same(storage, plain, versions) > whole


def test_a_training_set_of_an_old_version_knows_nothing_of_the_new(storage: Storage, spark_config: Config) -> None:
    sent = events()
    old, new = archived(storage, *sent[:200]), archived(storage, *sent[200:])
    assert assert_same(storage, spark_config, old) < assert_same(storage, spark_config, new)
    erase(storage, "u3", [])
    storage.lake.compact("interactions")
    erased = {name: storage.lake.version(name) for name in old}
    assert "u3" not in training_set(storage, spark_config, erased).users
    assert_same(storage, spark_config, erased)


def test_a_training_set_through_files_has_the_same_bits(storage: Storage, spark_config: Config) -> None:
    versions = archived(storage, *events())
    large = replace(spark_config, train=replace(spark_config.train, memory_mb=0))
    assert isinstance(training_set(storage, large, versions).histories, MappedHistories)
    assert_same(storage, large, versions)


def test_what_is_not_there_is_said_in_the_same_words(storage: Storage, spark_config: Config) -> None:
    with pytest.raises(NotFound, match="there are no interactions to learn from: send events"):
        training_set(storage, spark_config, {})
    versions = archived(storage, Interaction("a", 1, "u", "i", "skip"))
    with pytest.raises(NotFound, match="no interaction is worth anything"):
        training_set(storage, spark_config, versions)


def test_only_the_work_that_is_named_goes_to_spark(spark_config: Config) -> None:
    some = replace(spark_config, spark=replace(SPARK, steps=("features",)))
    assert engines.on_spark(some, "features")
    assert not engines.on_spark(some, "als")
    assert isinstance(engines.queries(some, "training_set"), engines.Here)
    assert engines.elsewhere(some, "publish") is None
    assert engines.elsewhere(spark_config, "bpr") is None
    assert engines.elsewhere(spark_config, "publish") is not None
