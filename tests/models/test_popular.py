"""popular: sums by hand, segments by brute force, and the default as it always was."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tastemaker.errors import InputError
from tastemaker.models import everybody
from tastemaker.models.artifact import load_model
from tastemaker.models.everybody import DAY
from tastemaker.models.interactions import Histories, Interactions, Rows, Vocabulary
from tastemaker.models.popular import Popular, PopularParams

ITEMS, CATEGORIES = 7, 3
LISTS = [[0], [1], [0, 1], [2], [], [1, 2], [0]]
Event = tuple[int, float, int]  # item, reward, days before the end
rows_ = st.lists(
    st.lists(st.tuples(st.integers(0, ITEMS - 1), st.sampled_from([1.0, 2.0, 0.0, -1.0]), st.integers(0, 40)), max_size=8),
    min_size=1,
    max_size=9,
)


def data_of(rows: list[list[Event]]) -> Interactions:
    histories = Histories.of([([e[0] for e in row], [e[1] for e in row], [100 * DAY - e[2] * DAY for e in row]) for row in rows])
    indptr = np.append(0, np.cumsum([len(row) for row in LISTS])).astype(np.int64)
    return Interactions(
        tuple(map(str, range(len(rows)))),
        Vocabulary(tuple(map(str, range(ITEMS)))),
        histories,
        100 * DAY,
        Rows(indptr, np.array([entry for row in LISTS for entry in row], np.int32)),
        ("a", "b", "c"),
    )


def sums(rows: list[list[Event]], half_life: float | None) -> npt.NDArray[np.float64]:
    found = np.zeros(ITEMS)
    for row in rows:
        for item, reward, days in row:
            found[item] += max(reward, 0) * (1 if half_life is None else 2 ** (-days / half_life))
    return found


def favourite(row: list[Event]) -> int:
    shares = np.zeros(CATEGORIES)
    for item, reward, _ in row:
        for category in LISTS[item]:
            shares[category] += max(reward, 0) / len(LISTS[item])
    return int(shares.argmax()) if shares.any() else -1


@settings(deadline=None, max_examples=60)
@given(rows=rows_, half_life=st.sampled_from([None, 3.0, 30.0]), strength=st.sampled_from([0.5, 20.0]), block=st.integers(1, 3))
def test_counts_are_sums_of_rewards_and_segments_those_of_the_like_minded(
    rows: list[list[Event]], half_life: float | None, strength: float, block: int
) -> None:
    rows = [*rows, [(0, 1.0, 0)], []]
    data, overall = data_of(rows), sums(rows, half_life)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(everybody, "BLOCK", block)
        plain = Popular(PopularParams(half_life_days=half_life)).fit(data)
        parted = Popular(PopularParams(half_life_days=half_life, segments="categories", strength=strength)).fit(data)
    np.testing.assert_allclose(plain.counts, overall, rtol=1e-6)
    for row, found in zip(rows, parted.scores(data.histories), strict=True):
        own = favourite(row)
        if own < 0:
            np.testing.assert_array_equal(found, plain.counts)
            continue
        segment = sums([other for other in rows if favourite(other) == own], half_life)
        shrunk = (segment + strength * overall / overall.sum()) / (segment.sum() + strength)
        np.testing.assert_allclose(found, shrunk * overall.sum(), rtol=1e-4, atol=1e-6)


def crowds() -> Interactions:
    """Thirty who take items of category a, with 0 first; three who take those of b, with 5 first. Item 4 leads overall."""
    many: list[list[Event]] = [[(0, 2.0, 1), (6, 1.0, 1), (4, 4.0, 1)] for _ in range(30)]
    few: list[list[Event]] = [[(1, 1.0, 1), (5, 2.0, 1), (4, 4.0, 1)] for _ in range(3)]
    return data_of([*many, *few])


def test_a_history_chooses_its_segment_and_an_empty_one_gets_what_is_popular_with_all() -> None:
    data = crowds()
    model = Popular(PopularParams(segments="categories", strength=1.0)).fit(data)
    histories = Histories.of([([2], [1.0], [0]), ([1], [1.0], [0]), ([], [], []), ([1], [-1.0], [0]), ([4], [1.0], [0])])
    nothing = Rows(np.zeros(6, np.int64), np.zeros(0, np.int32))
    found = model.recommend(histories, 3, exclude=nothing).items
    assert found.tolist() == [[4, 0, 6], [4, 5, 1], [4, 0, 6], [4, 0, 6], [4, 0, 6]]
    assert model.recommend(histories, 2, allowed=np.arange(ITEMS) != 4).items[1].tolist() == [5, 0], "the own history is left out"
    assert not model.contributions(histories.take(np.array([1])), np.arange(3, dtype=np.int32)).any()
    timid = Popular(PopularParams(segments="categories", strength=10_000.0)).fit(data)
    assert timid.recommend(histories, 3, exclude=nothing).items[1].tolist() == [4, 0, 6], "three people are few"


def test_many_rows_are_answered_as_one_by_one(tmp_path: Path) -> None:
    data, random = crowds(), np.random.default_rng(0)
    model = Popular(PopularParams(segments="categories", half_life_days=5.0)).fit(data)
    rows = data.histories.take(random.integers(0, 33, 300))
    whole = model.recommend(rows, 4)
    model.save(tmp_path / "model")
    again = load_model(tmp_path / "model")
    for row in (0, 127, 128, 299):
        one = again.recommend(rows.take(np.array([row])), 4)
        np.testing.assert_array_equal(one.items[0], whole.items[row])
        np.testing.assert_array_equal(one.scores[0], whole.scores[row])
    assert model.recommend(Histories.empty(0), 4).items.shape == (0, 4)
    with pytest.raises(InputError, match="exclude"):
        model.recommend(rows, 4, exclude=Rows(np.zeros(2, np.int64), np.zeros(0, np.int32)))


def test_an_item_that_only_others_took_is_still_recommended() -> None:
    found = Popular(PopularParams(segments="categories", strength=1e-300)).fit(crowds()).scores(Histories.of([([1], [1.0], [0])]))
    assert (found[0] > 0).tolist() == [True, True, False, False, True, True, True]


def test_segments_without_categories_are_refused() -> None:
    with pytest.raises(InputError, match=r"models\.popular\.segments = 'categories': no item has a category"):
        Popular(PopularParams(segments="categories")).fit(replace(crowds(), categories=None, category_names=()))
