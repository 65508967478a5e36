"""The live pointer: promoting, rolling back, and what readers see meanwhile."""

from __future__ import annotations

import shutil
import threading
import time

import numpy as np
import pytest
from msgspec.structs import replace

from tastemaker.config import Config
from tastemaker.domain import ModelCard
from tastemaker.errors import Conflict, NotFound, StorageError
from tastemaker.models.interactions import Histories, Interactions, Vocabulary
from tastemaker.models.popular import Popular
from tastemaker.registry import live
from tastemaker.registry.live import Bundle, promote, restore, rollback, settle
from tastemaker.storage import Storage, keys


def put(storage: Storage, version: str, *items: str, state: str = "candidate", kind: str = "popular") -> ModelCard:
    """A version with an artifact: a popular model over some items."""
    ids = tuple(sorted(items or ("a", "b")))
    rows = Histories.of([(list(range(len(ids))), [1.0] * len(ids), [0] * len(ids))])
    Popular().fit(Interactions(("u",), Vocabulary(ids), rows)).save(storage.config.model_folder / version / "model")
    made = len(storage.tables.models.all())
    card = ModelCard(version, kind, state, made, {}, {}, "1", "1", "0", artifact=f"{version}/model")
    storage.tables.models.put(card)
    return card


def states(storage: Storage) -> dict[str, str]:
    return {card.version: card.state for card in storage.tables.models.all()}


def test_nothing_is_live_in_the_beginning(storage: Storage, home: Config) -> None:
    assert live.read(storage.kv) is None
    assert live.load(storage.models, None) == Bundle()
    assert Bundle().version == ""
    with pytest.raises(NotFound, match="nothing is live, so there is nothing to roll back; run `tastemaker run daily` first"):
        rollback(storage, 1)


def test_promoting_flips_the_pointer_and_the_states_follow(storage: Storage) -> None:
    put(storage, "m-1")
    put(storage, "m-2")
    first = promote(storage, "m-1", 100, "m-1/model")
    assert (first.version, first.previous, first.since, first.fallback) == ("m-1", None, 100, "m-1/model")
    second = promote(storage, "m-2", 200)
    assert (second.version, second.previous, second.fallback) == ("m-2", "m-1", "m-1/model"), "the fallback in use is kept"
    assert live.read(storage.kv) == second
    assert states(storage) == {"m-1": "retired", "m-2": "live"}


def test_promoting_the_live_version_again_changes_nothing_but_a_new_fallback(storage: Storage) -> None:
    put(storage, "m-1")
    put(storage, "m-2")
    promote(storage, "m-1", 100)
    promote(storage, "m-2", 200)
    pointer = storage.kv.get([keys.LIVE])
    assert promote(storage, "m-2", 300).since == 200
    assert storage.kv.get([keys.LIVE]) == pointer
    again = promote(storage, "m-2", 400, "m-2/model")
    assert (again.fallback, again.previous) == ("m-2/model", "m-1"), "one can still roll back"


def test_rolling_back_goes_to_the_version_before_and_back_again(storage: Storage) -> None:
    put(storage, "m-1")
    put(storage, "m-2")
    promote(storage, "m-1", 1)
    with pytest.raises(Conflict, match="m-1 is the first version that went live: there is none before it"):
        rollback(storage, 2)
    promote(storage, "m-2", 3)
    back = rollback(storage, 4)
    assert (back.version, back.previous, back.since) == ("m-1", "m-2", 4)
    assert states(storage) == {"m-1": "live", "m-2": "retired"}
    assert rollback(storage, 5).version == "m-2"


def test_an_unknown_version_gets_a_hint_and_nothing_changes(storage: Storage) -> None:
    put(storage, "als-20260131")
    promote(storage, "als-20260131", 1)
    pointer = storage.kv.get([keys.LIVE])
    with pytest.raises(NotFound, match=r"'als-2026013': no such version; did you mean \"als-20260131\"\?"):
        promote(storage, "als-2026013", 2)
    assert storage.kv.get([keys.LIVE]) == pointer


def test_a_version_whose_artifact_is_gone_cannot_go_live(storage: Storage, home: Config) -> None:
    put(storage, "m-1")
    put(storage, "m-2")
    promote(storage, "m-1", 1)
    shutil.rmtree(home.model_folder / "m-2")
    with pytest.raises(Conflict, match=r"'m-2': its artifact 'm-2/model' is gone; train again or choose another version"):
        promote(storage, "m-2", 2)
    found = live.read(storage.kv)
    assert found is not None
    assert found.version == "m-1"
    assert states(storage) == {"m-1": "live", "m-2": "candidate"}


def test_the_first_version_promoted_by_hand_takes_the_newest_popular_model_for_strangers(storage: Storage, home: Config) -> None:
    put(storage, "popular-1")
    put(storage, "popular-2")
    put(storage, "popular-3")
    shutil.rmtree(home.model_folder / "popular-3")
    put(storage, "als-1", kind="als")
    assert promote(storage, "als-1", 1).fallback == "popular-2/model"


def test_without_any_popular_model_a_version_is_its_own_fallback(storage: Storage, home: Config) -> None:
    put(storage, "als-1", kind="als")
    found = promote(storage, "als-1", 1)
    assert found.fallback == "als-1/model"
    bundle = live.load(storage.models, storage.kv.get([keys.LIVE])[0])
    assert bundle.model is not None
    assert bundle.fallback is bundle.model, "loaded once"


def test_settling_repairs_states_that_a_crash_left_behind(storage: Storage) -> None:
    for version in ("m-1", "m-2", "m-3"):
        put(storage, version)
    promote(storage, "m-1", 1)
    now = promote(storage, "m-2", 2)
    for version in ("m-1", "m-3"):  # as if the process had died between the pointer and the cards
        card = storage.tables.models.get(version)
        assert card is not None
        storage.tables.models.put(replace(card, state="live"))
    settle(storage, now)
    assert states(storage) == {"m-1": "retired", "m-2": "live", "m-3": "retired"}
    settle(storage, replace(now, version="gone"))
    assert "live" not in states(storage).values(), "a card that is missing is no reason to fail"


def test_a_damaged_artifact_is_refused_when_it_is_loaded(storage: Storage, home: Config) -> None:
    put(storage, "m-1")
    promote(storage, "m-1", 1)
    path = home.model_folder / "m-1" / "model" / "arrays.npz"
    path.write_bytes(path.read_bytes()[:-7] + b"damaged")
    with pytest.raises(StorageError, match="damaged"):
        live.load(storage.models, storage.kv.get([keys.LIVE])[0])


def test_concurrent_readers_see_one_version_or_the_other_never_a_mixture(storage: Storage, home: Config) -> None:
    versions = {"m-1": ("a", "b"), "m-2": ("x", "y")}
    for version, items in versions.items():
        put(storage, version, *items)
    promote(storage, "m-1", 0, "m-1/model")
    ended = threading.Event()
    seen: list[str] = []
    wrong: list[tuple[str, tuple[str, ...]]] = []

    def read() -> None:
        while not ended.is_set():
            bundle = live.load(storage.models, storage.kv.get([keys.LIVE])[0])
            assert bundle.live is not None
            assert bundle.model is not None
            assert bundle.fallback is not None
            found = bundle.model.recommend(Histories.empty(), 2).items[0]
            names = tuple(np.array(bundle.model.items.ids)[found].tolist())
            if names != versions[bundle.version] or bundle.fallback.items.ids != versions[bundle.version]:
                wrong.append((bundle.version, names))
            seen.append(bundle.version)

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    end = time.monotonic() + 1.0
    flips = 0
    while time.monotonic() < end or len(set(seen)) < 2:
        version = f"m-{1 + flips % 2}"
        promote(storage, version, flips, f"{version}/model")
        flips += 1
    ended.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert set(seen) == set(versions)
    assert flips > 10


def test_a_lost_pointer_is_restored_from_the_live_card(published: tuple[Storage, Config]) -> None:
    storage, config = published
    now = live.read(storage.kv)
    assert now is not None
    assert restore(storage, 1) == now
    storage.kv.delete([keys.LIVE])
    found = restore(storage, 7)
    assert found is not None
    assert (found.version, found.artifact, found.fallback, found.since) == (now.version, now.artifact, now.fallback, 7)
    storage.kv.delete([keys.LIVE])
    shutil.rmtree(config.model_folder / now.artifact)
    assert restore(storage, 8) is None
