"""Items that nobody touched yet, through a daily run: recommended by the model that can, unknown to those that cannot."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import world
from tastemaker.domain import ItemChange
from tastemaker.models.artifact import load_model
from tastemaker.pipelines.catalog import pipeline
from tastemaker.pipelines.local import run_pipeline
from tastemaker.registry import live
from tastemaker.slates.stored import decode_whole
from tastemaker.storage import connect, keys

MODELS = ("popular", "als", "content")
NEW = [
    ItemChange("n-0", world.BASE, "new-comedy", "A film that is new", ("Comedy",)),
    ItemChange("n-1", world.BASE, "new-words", "Curious penguins", text="Penguins sail to the moon"),
    ItemChange("n-2", world.BASE, "withdrawn", "Withdrawn", ("Comedy",), active=False),
]
PENGUINS = [
    ItemChange(f"p-{number}", world.BASE + 10**6, world.item(number), "Penguins on the moon", (world.category(number),))
    for number in range(0, 80, 8)  # of the category of the users 0, 4, 8, ...
]


def test_a_new_item_with_words_or_categories_is_in_the_slates_of_those_whom_it_suits(tmp_path: Path) -> None:
    config = world.config_of(tmp_path, MODELS)
    with connect(config) as storage:
        world.fill(storage)
        storage.log.append([*NEW, *PENGUINS]).result()
        storage.tables.items.put([*NEW, *PENGUINS])
        run_pipeline(storage, config, pipeline("daily"))
        run = storage.tables.runs.last("daily", 1)[0]
        trained = run.steps["train"]["summary"]
        assert trained["left_out"] == {}
        assert (trained["data"]["items"], trained["data"]["catalogue"]) == (80, 82)
        versions = {version.partition("-")[0]: version for version in trained["models"]}
        known = {
            (kind, part): set(load_model(storage.models.folder(f"{version}/{part}")).items.ids)
            for kind, version in versions.items()
            for part in ("model", "twin")
        }
        for part in ("model", "twin"):
            assert known["content", part] == known["als", part] | {"new-comedy", "new-words"}
            assert "withdrawn" not in known["content", part]
        cards = {kind: storage.tables.models.get(version) for kind, version in versions.items()}
        for card in cards.values():
            assert card is not None
            assert 0 < card.metrics["coverage@10"].value <= 1
            shown = card.metrics["coverage@10"].value * 82
            assert shown == pytest.approx(round(shown)), "a share of the whole catalogue"

        assert live.promote(storage, versions["content"], run.end).kind == "content"
        run_pipeline(storage, config, pipeline("hourly"))
        now = live.read(storage.kv)
        assert now is not None
        slates = {}
        for number in range(120):
            (whole,) = storage.kv.get([keys.whole(now.version, world.user(number))])
            assert whole is not None
            slates[number] = [offer.item for offer in decode_whole(whole).items]
    comedians, others = np.arange(1, 120, 4).tolist(), np.arange(0, 120, 4).tolist()
    assert np.mean(["new-comedy" in slates[number] for number in comedians]) > 0.9
    assert np.mean(["new-words" in slates[number] for number in others]) > 0.9
    assert not any("withdrawn" in slate for slate in slates.values())
