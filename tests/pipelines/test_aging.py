"""The age of events counts the same in training, in publishing and in a request."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

import world
from tastemaker.config import Config
from tastemaker.domain import History, Interaction
from tastemaker.features import states
from tastemaker.features.rewards import DAY
from tastemaker.models.artifact import load_model
from tastemaker.models.interactions import Vocabulary
from tastemaker.pipelines.catalog import pipeline
from tastemaker.pipelines.local import run_pipeline
from tastemaker.pipelines.training import training_set
from tastemaker.registry import live
from tastemaker.slates.catalogue import Catalogue
from tastemaker.slates.sources import Shelf, Taste, Wish, numbered, personal
from tastemaker.slates.stored import decode_whole
from tastemaker.storage import Storage, connect, keys
from tastemaker.storage.archive import archive
from tastemaker.streaming.worker import Worker


def aging(config: Config, days: float) -> Config:
    return replace(config, rewards=replace(config.rewards, half_life_days=days))


def test_events_count_half_for_each_half_life_before_the_newest_one_of_their_user(storage: Storage, home: Config) -> None:
    times, items = (1 * DAY, 4 * DAY, 7 * DAY), ("a", "b", "a")
    events = [Interaction(f"e{n}", time, "u", item, "click") for n, (time, item) in enumerate(zip(times, items, strict=True))]
    storage.log.append([*events, Interaction("f", 100 * DAY, "v", "b", "click")]).result()
    archive(storage.log, storage.lake)
    versions = {"interactions": storage.lake.version("interactions")}
    data = training_set(storage, aging(home, 3.0), versions)
    np.testing.assert_allclose(data.histories.weights, [0.25, 0.5, 1.0, 1.0])
    np.testing.assert_array_equal(training_set(storage, home, versions).histories.weights, 1)
    asked = numbered(History(items, (1.0, 1.0, 1.0), times), Vocabulary(("a", "b")), 3.0)
    np.testing.assert_allclose(asked.weights, data.histories.weights[:3], rtol=1e-6)


def test_a_request_counts_from_the_newest_event_even_if_the_model_does_not_know_its_item() -> None:
    asked = numbered(History(("a", "new"), (1.0, 1.0), (0, DAY)), Vocabulary(("a",)), 1.0)
    np.testing.assert_allclose(asked.weights, [0.5])


@pytest.mark.parametrize("days", [0.0, 5.0])
def test_a_published_slate_is_what_a_request_would_compose(tmp_path: Path, days: float) -> None:
    config = aging(world.config_of(tmp_path / "home"), days)
    with connect(config) as storage:
        world.fill(storage)
        run_pipeline(storage, config, pipeline("daily"))
        worker = Worker(storage, config)
        worker.drain()
        shelf = worker.applier.shelf()
        worker.stop()
        now = live.read(storage.kv)
        assert now is not None
        assert shelf.half_life_days == days
        assert now.kind == "als"
        different = 0
        for number in range(40):
            user = world.user(number)
            packed, slate = storage.kv.get([keys.state(user), keys.whole(now.version, user)])
            assert packed is not None
            assert slate is not None
            taste = Taste(states.unpack(packed).history)
            wish = Wish(30, exclude=frozenset(taste.history.items))
            composed = [offer.item for offer in personal(shelf, taste, wish)]
            assert [offer.item for offer in decode_whole(slate).items] == composed
            ageless = Shelf(Catalogue.of(storage.tables.items.all(), 1), load_model(storage.models.folder(now.artifact)))
            different += composed != [offer.item for offer in personal(ageless, taste, wish)]
    assert (different > 20) == (days > 0)
