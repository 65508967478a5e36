"""What every model promises, over every model in ``MODELS``. A new model is one line in ``PARAMS``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tastemaker.errors import ConfigError, InputError, StorageError
from tastemaker.models import IMPERSONAL, MODELS, Recommendations, Recommender, create
from tastemaker.models.artifact import load_model
from tastemaker.models.interactions import Histories, Interactions, Rows, Vocabulary

PARAMS: dict[str, dict[str, Any]] = {
    "popular": {"half_life_days": 30.0},
    "trending": {"short_days": 3.0},
    "als": {"factors": 12, "epochs": 6},
    "item_knn": {"neighbours": 30},
    "nmf": {"factors": 4, "epochs": 60},
    "content": {"half_life": 20.0},
    "ridge": {"neighbours": 30},
    "graph_filter": {"rank": 8},
    "blend": {"parts": [{"kind": "ridge", "weight": 2.0}, {"kind": "als", "params": {"factors": 12}}]},
    "ease": {"reg": 1.0},
    "bpr": {"factors": 12, "candidates": 4},
    "rp3beta": {"neighbours": 30},
    "next_item": {"window": 8},
    "transitions": {"neighbours": 40},
    "session_knn": {"neighbours": 50},
}
WRONG = {
    "popular": "half_life_days",
    "trending": "short_days",
    "als": "factors",
    "item_knn": "neighbours",
    "nmf": "epochs",
    "content": "half_life",
    "ease": "reg",
    "bpr": "factors",
    "rp3beta": "neighbours",
    "next_item": "window",
    "transitions": "neighbours",
    "session_knn": "neighbours",
    "ridge": "neighbours",
    "graph_filter": "rank",
    "blend": "parts",
}
STOCHASTIC = {"bpr"}
"""Trained by random steps, after which a loss may be a little above the one before: what is promised is that it falls in all."""
IGNORES_HISTORY = IMPERSONAL

USERS, ITEMS, CLUSTERS = 160, 60, 4
WORDS = ("herbs", "stars", "trains", "violins")
DAY = 86_400_000


def cluster_of(numbers: np.typing.NDArray[np.integer]) -> np.typing.NDArray[np.integer]:
    return numbers % CLUSTERS


def world() -> Interactions:
    """Users who like one cluster of items: nine of ten events lie in it. One more item has no event at all."""
    random = np.random.default_rng(7)
    rows = []
    for user in range(USERS):
        own = random.random(10) < 0.9
        items = np.where(
            own, user % CLUSTERS + CLUSTERS * random.integers(0, ITEMS // CLUSTERS, 10), random.integers(0, ITEMS, 10)
        )
        rows.append((items.tolist(), random.choice([1.0, 2.0], 10).tolist(), np.sort(random.integers(0, 90, 10) * DAY).tolist()))
    numbers = np.arange(ITEMS + 1)
    return Interactions(
        tuple(f"u{user}" for user in range(USERS)),
        Vocabulary(tuple(f"i{item}·é" for item in numbers)),
        Histories.of(rows),
        now=90 * DAY,
        categories=Rows(np.arange(ITEMS + 2, dtype=np.int64), cluster_of(numbers).astype(np.int32)),
        category_names=tuple(f"c{number}" for number in range(CLUSTERS)),
        texts=tuple(f"Item {item}: {WORDS[item % CLUSTERS]} and {WORDS[item % 3]}" for item in numbers.tolist()),
    )


DATA = world()


def trained(kind: str, seed: int = 3) -> Recommender:
    return create(kind, PARAMS[kind]).fit(DATA, seed=seed)


@pytest.fixture(scope="module", params=MODELS)
def model(request: pytest.FixtureRequest) -> Recommender:
    return trained(request.param)


def assert_same(one: Recommendations, other: Recommendations) -> None:
    np.testing.assert_array_equal(one.items, other.items)
    np.testing.assert_array_equal(one.scores, other.scores)


def test_every_model_is_under_contract() -> None:
    assert set(PARAMS) == set(MODELS) == set(WRONG)


def test_lists_have_their_shape_are_sorted_and_are_padded(model: Recommender) -> None:
    found = model.recommend(DATA.histories, ITEMS + 40)
    assert found.items.shape == found.scores.shape == (USERS, ITEMS + 40)
    assert found.items.dtype == np.int32
    assert found.scores.dtype == np.float32
    for items, scores in zip(found.items, found.scores, strict=True):
        used = int((items >= 0).sum())
        assert 0 < used <= ITEMS + 1
        assert (items[:used] >= 0).all()
        assert (items[used:] == -1).all()
        assert np.isfinite(scores[:used]).all()
        assert (scores[used:] == -np.inf).all()
        assert len(set(items[:used].tolist())) == used
        keys = list(zip((-scores[:used]).tolist(), items[:used].tolist(), strict=True))
        assert keys == sorted(keys), "best first, ties by the smaller number"


def test_the_own_history_is_left_out_unless_told_otherwise(model: Recommender) -> None:
    found = model.recommend(DATA.histories, 20)
    for row in range(USERS):
        assert not set(found.items[row].tolist()) & set(DATA.histories.row(row).tolist())
    nothing = Rows(np.zeros(USERS + 1, np.int64), np.zeros(0, np.int32))
    free = model.recommend(DATA.histories, 20, exclude=nothing)
    assert any(set(free.items[row].tolist()) & set(DATA.histories.row(row).tolist()) for row in range(USERS))


def test_excluded_and_forbidden_items_are_never_given(model: Recommender) -> None:
    barred = np.arange(0, 20, dtype=np.int32)
    exclude = Rows(np.arange(USERS + 1, dtype=np.int64) * 20, np.tile(barred, USERS))
    allowed = np.ones(ITEMS + 1, np.bool_)
    allowed[20:30] = False
    found = model.recommend(DATA.histories, ITEMS, exclude=exclude, allowed=allowed)
    assert (found.items >= 30).any()
    assert not ((found.items >= 0) & (found.items < 30)).any()


def test_dense_scores_are_those_of_the_lists(model: Recommender) -> None:
    histories = DATA.histories.take(np.arange(40))
    scores = model.scores(histories)
    assert scores.shape == (40, ITEMS + 1)
    assert scores.dtype == np.float32
    found = model.recommend(histories, 10)
    for row in range(40):
        used = found.items[row] >= 0
        np.testing.assert_allclose(scores[row, found.items[row, used]], found.scores[row, used], rtol=1e-4, atol=1e-6)
    if model.kind not in IGNORES_HISTORY:
        assert not model.scores(Histories.empty(2)).any()


def test_the_same_seed_gives_the_same_model_bit_for_bit(model: Recommender) -> None:
    assert_same(model.recommend(DATA.histories, 20), trained(model.kind).recommend(DATA.histories, 20))


def test_a_saved_model_answers_as_before(model: Recommender, tmp_path: Path) -> None:
    model.save(tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    assert loaded.kind == model.kind
    assert loaded.params == model.params
    assert loaded.items == model.items
    assert loaded.losses == model.losses
    assert_same(loaded.recommend(DATA.histories, 20), model.recommend(DATA.histories, 20))
    some = np.array([0, 5], np.int32)
    assert_same(loaded.similar(some, 5), model.similar(some, 5))
    one = DATA.histories.take(np.array([4]))
    np.testing.assert_array_equal(loaded.contributions(one, some), model.contributions(one, some))
    assert [path.name for path in tmp_path.iterdir()] == ["model"], "no draft is left behind"


def test_a_damaged_or_foreign_artifact_is_refused(model: Recommender, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    model.save(folder)
    with pytest.raises(StorageError, match="not empty"):
        model.save(folder)
    content = bytearray((folder / "arrays.npz").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "arrays.npz").write_bytes(content)
    with pytest.raises(StorageError, match="damaged"):
        load_model(folder)
    described = (folder / "model.json").read_text()
    (folder / "model.json").write_text(described.replace(f'"kind": "{model.kind}"', '"kind": "other"'))
    with pytest.raises(StorageError, match="other"):
        type(model).load(folder)
    with pytest.raises(StorageError, match="unknown"):
        load_model(folder)
    (folder / "model.json").write_text(described[:40])
    with pytest.raises(StorageError, match="cannot be read"):
        load_model(folder)
    with pytest.raises(StorageError, match="no model"):
        load_model(tmp_path)


def test_an_empty_history_gets_nothing_but_from_popular(model: Recommender) -> None:
    mixed = Histories.of([([], [], []), ([1, 5], [1.0, 1.0], [0, 0]), ([2], [-1.0], [0])])
    found = model.recommend(mixed, 5)
    knows = (found.items >= 0).any(axis=1).tolist()
    assert knows == ([True, True, True] if model.kind in IGNORES_HISTORY else [False, True, False])
    assert model.recommend(Histories.empty(0), 5).items.shape == (0, 5)


def test_unknown_items_are_refused(model: Recommender) -> None:
    with pytest.raises(InputError, match="histories.items = 61"):  # noqa: RUF043 (a dot matches a dot)
        model.recommend(Histories.of([([61], [1.0], [0])]), 5)


def test_one_row_is_answered_as_it_is_in_a_batch(model: Recommender) -> None:
    batch = model.recommend(DATA.histories, 10)
    for row in (0, 7, 159):
        alone = model.recommend(DATA.histories.take(np.array([row])), 10)
        np.testing.assert_allclose(alone.scores[0], batch.scores[row], rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(alone.items[0], batch.items[row])


def test_similar_items_are_of_the_same_cluster_and_leave_themselves_out(model: Recommender) -> None:
    asked = np.arange(ITEMS, dtype=np.int32)
    found = model.similar(asked, 5)
    assert found.items.shape == (ITEMS, 5)
    assert not (found.items == asked[:, None]).any()
    if model.kind in IGNORES_HISTORY:
        assert (found.items == -1).all()
    else:
        assert (cluster_of(found.items) == cluster_of(asked)[:, None]).mean() > 0.8
    assert model.similar(asked[:1], ITEMS + 40).items.shape == (1, ITEMS + 40)


def test_an_explanation_adds_up_to_the_score(model: Recommender) -> None:
    for row in (0, 3, 50):
        history = DATA.histories.take(np.array([row]))
        found = model.recommend(history, 5)
        parts = model.contributions(history, found.items[0])
        assert parts.shape == (5, len(history.items))
        if model.kind in IGNORES_HISTORY:
            assert not parts.any()
            continue
        np.testing.assert_allclose(parts.sum(axis=1), found.scores[0], rtol=1e-4)
        np.testing.assert_allclose(model.explain(history, int(found.items[0, 2])), parts[2], rtol=1e-5, atol=1e-7)
    with pytest.raises(InputError, match="single row"):
        model.explain(DATA.histories, 0)


def test_wrong_hyper_parameters_are_refused_by_name(model: Recommender) -> None:
    name = WRONG[model.kind]
    with pytest.raises(ConfigError, match=f"models.{model.kind}.{name}x"):
        create(model.kind, {f"{name}x": 1})
    with pytest.raises(ConfigError, match=f"models.{model.kind}.{name} = -1"):
        create(model.kind, {name: -1})
    with pytest.raises(ConfigError, match=f"models.{model.kind}.{name} = 'many'"):
        create(model.kind, {name: "many"})


def test_training_without_events_is_refused(model: Recommender) -> None:
    empty = Interactions(("u",), Vocabulary(("i",)), Histories.empty(1))
    with pytest.raises(InputError, match="interactions"):
        create(model.kind).fit(empty)


def test_progress_is_reported_to_the_end(model: Recommender) -> None:
    calls: list[tuple[int, int]] = []
    create(model.kind, PARAMS[model.kind]).fit(DATA, progress=lambda done, total, _: calls.append((done, total)))
    assert calls[-1][0] == calls[-1][1]
    assert [done for done, _ in calls] == sorted(done for done, _ in calls)


def test_losses_never_rise(model: Recommender) -> None:
    if model.kind in STOCHASTIC:
        assert len(model.losses) > 1
        assert model.losses[-1] < model.losses[0]
        return
    assert all(after <= before * (1 + 1e-6) for before, after in zip(model.losses, model.losses[1:], strict=False))


def test_planted_tastes_are_found_and_popularity_is_left_far_behind(model: Recommender) -> None:
    wanted = np.arange(USERS)[:, None] % CLUSTERS
    found = model.recommend(DATA.histories, 5).items
    share = float((cluster_of(found) == wanted).mean())
    if model.kind in IGNORES_HISTORY:
        assert share < 0.4
    else:
        assert share > 0.85
