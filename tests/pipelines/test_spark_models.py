"""Models that Spark trains are the project's own: item_knn to the last bit, als as good as ours and whole in all it can do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

import world
from spark_session import SPARK
from tastemaker.config import Config
from tastemaker.errors import InputError
from tastemaker.evaluation.metrics import evaluate_lists
from tastemaker.evaluation.splits import Split, leave_one_out
from tastemaker.models import Recommender, create
from tastemaker.models.als import Als, AlsParams
from tastemaker.models.artifact import load_model
from tastemaker.models.interactions import Histories, Interactions, Vocabulary, transposed
from tastemaker.models.item_knn import ItemKnn
from tastemaker.pipelines.engines import fit
from tastemaker.pipelines.spark.als import UNBROKEN

pytestmark = pytest.mark.usefixtures("spark")

CONFIG = Config(spark=SPARK)


def silent(_done: int, _all: int, _note: str) -> None:
    pass


@pytest.fixture(scope="module")
def data() -> Interactions:
    """Four tastes, some events twice, and one item that nobody touched."""
    clicks = world.interactions(300, 80, 14, 3)
    users = tuple(sorted({click.user for click in clicks}))
    items = (*sorted({click.item for click in clicks}), "zz")
    number = {name: place for place, name in enumerate(items)}
    row_of = {name: place for place, name in enumerate(users)}
    events = clicks + clicks[::11]
    weights = np.ones(len(events), np.float32)
    histories = Histories.grouped(
        np.array([row_of[click.user] for click in events], np.int64),
        np.array([number[click.item] for click in events], np.int32),
        weights,
        np.array([click.time for click in events], np.int64),
        len(users),
    )
    return Interactions(users, Vocabulary(items), histories, int(histories.times.max()))


@pytest.mark.parametrize("params", [{}, {"similarity": "bm25", "shrink": 2.0, "neighbours": 7}])
def test_the_neighbours_are_the_same_to_the_last_bit(data: Interactions, params: dict[str, object]) -> None:
    found, expected = create("item_knn", params), create("item_knn", params)
    told: list[str] = []
    assert fit(CONFIG, found, data, lambda _a, _b, note: told.append(note)) is found
    expected.fit(data)
    assert isinstance(found, ItemKnn)
    assert isinstance(expected, ItemKnn)
    one, other = found.tables[0].arrays(), expected.tables[0].arrays()
    assert one.keys() == other.keys()
    for name, array in other.items():
        assert one[name].dtype == array.dtype
        assert np.array_equal(one[name], array), name
    assert found.items is data.items
    assert told[0] == "neighbours: Spark starts"


def test_what_cannot_be_trained_is_refused_as_here(data: Interactions) -> None:
    nothing = replace_histories(data, np.zeros(len(data.histories.items), np.float32))
    for kind in ("als", "item_knn"):
        with pytest.raises(InputError, match="no event with a reward above zero"):
            fit(CONFIG, create(kind, {}), nothing, silent)


def replace_histories(data: Interactions, weights: np.ndarray[tuple[int], np.dtype[np.float32]]) -> Interactions:
    h = data.histories
    return Interactions(data.users, data.items, Histories(h.indptr, h.items, weights, h.times), data.now)


@pytest.fixture(scope="module")
def both(data: Interactions) -> tuple[Split, Als, Als]:
    """A split, and als trained on it here and by MLlib."""
    split = leave_one_out(data)
    params = AlsParams(factors=8, epochs=5, reg=0.003)
    here, there = Als(params).fit(split.train, seed=1), Als(params)
    fit(replace(CONFIG, train=replace(CONFIG.train, seed=1)), there, split.train, silent)
    return split, here, there


def ndcg(model: Als, split: Split) -> float:
    found = evaluate_lists(model.recommend(split.histories, 10).items, split.relevant, (10,))
    return float(np.mean(found["ndcg@10"]))


def test_mllib_ranks_as_well_as_our_own(both: tuple[Split, Als, Als]) -> None:
    split, here, there = both
    other = Als(here.params).fit(split.train, seed=2)
    worst, best = sorted((ndcg(here, split), ndcg(other, split)))
    assert worst > 0.25
    assert 0.95 * worst < ndcg(there, split) < 1.1 * best


def test_mllib_finds_scores_as_near_to_ours_as_another_seed_does(both: tuple[Split, Als, Als]) -> None:
    split, here, there = both
    assert there.alpha0 == here.alpha0
    assert there.people == here.people
    one, other = here.scores(split.histories), there.scores(split.histories)
    again = Als(here.params).fit(split.train, seed=2).scores(split.histories)
    near, usual = (np.corrcoef(one.ravel(), found.ravel())[0, 1] for found in (other, again))
    assert near > usual - 0.03
    assert float(other.std()) == pytest.approx(float(one.std()), rel=0.1)
    crowds = [np.linalg.eigvalsh(model.crowd).sum() for model in (here, there)]
    assert crowds[1] == pytest.approx(crowds[0], rel=0.2)


def test_of_equal_weights_and_penalties_mllib_finds_our_own_minimum() -> None:
    number, random = np.arange(40), np.random.default_rng(5)
    turned = random.permutation(40)
    items = np.concatenate([turned[(number + shift) % 40] for shift in (0, 1, 2, 7, 11)]).astype(np.int32)
    users = np.tile(number, 5).astype(np.int64)
    rows = Histories.grouped(users, items, np.full(200, 2.0, np.float32), np.zeros(200, np.int64), 40)
    ring = Interactions(tuple(f"u{n:02}" for n in number), Vocabulary(tuple(f"i{n:02}" for n in number)), rows)
    params = AlsParams(factors=6, epochs=UNBROKEN + 1, nu=0.0, reg=0.5)
    assert loss(fit(CONFIG, Als(params), ring, silent), rows) == pytest.approx(loss(Als(params).fit(ring), rows), rel=0.01)


def loss(model: Recommender, rows: Histories) -> float:
    assert isinstance(model, Als)
    ridges = model.ridge(rows, 40), model.ridge(transposed(rows, 40), 40)
    return model.loss(rows, model.fold_in(rows), model.factors, *ridges)


def test_the_artifact_is_loaded_folds_in_and_explains(both: tuple[Split, Als, Als], tmp_path: Path) -> None:
    split, _, there = both
    there.save(tmp_path / "als")
    loaded = load_model(tmp_path / "als")
    assert isinstance(loaded, Als)
    history = split.histories.take(np.array([0]))
    scores = loaded.scores(history)
    assert np.array_equal(scores, there.scores(history))
    best = int(loaded.recommend(history, 1).items[0, 0])
    assert float(loaded.explain(history, best).sum()) == pytest.approx(float(scores[0, best]), rel=1e-4)
    unknown = split.train.items.number["zz"]
    assert not loaded.factors[unknown].any()
    grown = loaded.with_items(
        ["new"], loaded.fold_in_items(Histories.of([([0, 1, 2], [1.0] * 3, [1] * 3)]), split.train.histories)
    )
    assert len(grown.items) == len(loaded.items) + 1
