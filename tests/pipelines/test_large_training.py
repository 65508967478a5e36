"""A training set through files: the same set, the same models, the same slates, and nothing left on the disk."""

from __future__ import annotations

import fcntl
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

import world
from tastemaker.config import Config, Reward, Rewards
from tastemaker.domain import Interaction
from tastemaker.errors import NotFound
from tastemaker.models import create
from tastemaker.models.interactions import Interactions
from tastemaker.models.mapped import MappedHistories
from tastemaker.pipelines import large_training
from tastemaker.pipelines.catalog import pipeline
from tastemaker.pipelines.large_training import workspace
from tastemaker.pipelines.local import run_pipeline
from tastemaker.pipelines.training import PLACE, training_set
from tastemaker.registry import live
from tastemaker.storage import Storage, connect
from tastemaker.storage.archive import archive

LONG_AGO = 1_000  # milliseconds: before all events of the world


def archived(storage: Storage, *events: Interaction) -> dict[str, int]:
    storage.log.append(events).result()
    archive(storage.log, storage.lake)
    return {"interactions": storage.lake.version("interactions")}


def through_files(config: Config) -> Config:
    return replace(config, train=replace(config.train, memory_mb=0))


def assert_same(found: Interactions, expected: Interactions) -> None:
    assert isinstance(found.histories, MappedHistories)
    assert not isinstance(expected.histories, MappedHistories)
    assert (found.users, found.items.ids, found.now) == (expected.users, expected.items.ids, expected.now)
    for name in ("indptr", "items", "weights", "times"):
        one, other = getattr(found.histories, name), getattr(expected.histories, name)
        assert one.dtype == other.dtype
        assert np.array_equal(one, other)
    assert found.category_names == expected.category_names
    assert np.array_equal(found.preferences, expected.preferences, equal_nan=True)


def left(config: Config) -> list[str]:
    """What lies where training sets are made."""
    return sorted(path.name for path in (config.home / PLACE).iterdir())


@pytest.mark.parametrize("batch", [7, 1 << 17])
def test_a_set_through_files_is_the_set_in_memory(
    storage: Storage, home: Config, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(large_training, "BATCH", batch)  # users that several batches share
    world.fill(storage, users=60, items=40, per_user=12)
    extra = [
        Interaction(f"x{n}", LONG_AGO + n // 2, user, f"ü{n % 3}", "click") for n, user in enumerate(("ü", "z", "ü", "A", "ü"))
    ]
    versions = archived(storage, *extra)
    assert_same(training_set(storage, through_files(home), versions), training_set(storage, home, versions))
    assert left(home) == ["lock"]


def test_rewards_and_the_cut_of_histories_hold_through_files(storage: Storage, home: Config) -> None:
    rewards = Rewards(kinds={"skip": Reward(weight=-1.0), "view": Reward(weight=0.0)}, history=3)
    config = replace(home, rewards=rewards)
    kinds = ("click", "skip", "view")
    versions = archived(
        storage, *[Interaction(f"e{n}", n % 7, f"u{n % 4}", f"i{n % 5}", kinds[n % 3]) for n in range(60)]
    )  # fmt: skip
    found, expected = training_set(storage, through_files(config), versions), training_set(storage, config, versions)
    assert_same(found, expected)
    assert found.histories.lengths.max() == 3
    assert found.histories.weights.min() == -1


@pytest.mark.parametrize("kind", ["popular", "als", "item_knn", "nmf"])
def test_a_model_trained_through_files_has_the_same_bits(storage: Storage, home: Config, kind: str, tmp_path: Path) -> None:
    world.fill(storage, users=60, items=40, per_user=12)
    versions = archived(storage)
    for name, config in (("files", through_files(home)), ("memory", home)):
        create(kind).fit(training_set(storage, config, versions), seed=1).save(tmp_path / name)
    for file in ("arrays.npz", "model.json"):
        assert (tmp_path / "files" / file).read_bytes() == (tmp_path / "memory" / file).read_bytes()


def test_a_whole_day_through_files_publishes_the_same_slates(tmp_path: Path) -> None:
    stores = []
    for name in ("memory", "files"):
        config = world.config_of(tmp_path / name, ("popular", "als"))
        config = through_files(config) if name == "files" else config
        with connect(config) as storage:
            world.fill(storage, users=60, items=40, per_user=12)
            run_pipeline(storage, config, pipeline("daily"), now=1_800_000_000_000)
            now = live.read(storage.kv)
            assert now is not None
            stores.append(dict(storage.kv.scan(f"slate:{now.version}:")))
            if name == "files":
                assert left(config) == ["lock"], "the run has removed its files"
    assert stores[0] == stores[1]
    assert len(stores[0]) == 60


def test_nothing_worth_anything_is_a_clear_error_through_files(storage: Storage, home: Config) -> None:
    versions = archived(storage, Interaction("e", 1, "u", "a", "skip"))
    nothing = replace(through_files(home), rewards=Rewards(kinds={"skip": Reward(weight=0.0)}))
    with pytest.raises(NotFound, match="no interaction is worth anything"):
        training_set(storage, nothing, versions)
    assert left(home) == ["lock"]


def test_what_a_killed_process_left_is_swept_and_what_another_writes_is_not(tmp_path: Path) -> None:
    dead, alive = tmp_path / "dead", tmp_path / "alive"
    for folder in (dead, alive):
        folder.mkdir()
        (folder / "items.npy").write_bytes(b"half")
    with (alive / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with workspace(tmp_path) as folder:
            assert folder.is_dir()
            assert not dead.exists()
            assert (alive / "items.npy").exists()
    assert not folder.exists()
