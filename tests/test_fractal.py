"""The expansion of a small data set: as large as asked, of the same shape, and the same again from the same seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from benchmarks.fractal import expand, mixed, picture, shuffled, singular

from tastemaker.models.interactions import Histories, item_counts
from tastemaker.models.mapped import open_histories

ITEMS, SHAPE, WANTED = 240, (8, 4), 120_000


@pytest.fixture(scope="module")
def base() -> Histories:
    """400 users in four circles over 240 items; degrees of both fall off as powers do."""
    random = np.random.default_rng(1)
    users = 400
    activity = 1.0 / np.arange(1, users + 1) ** 0.6
    popularity = 1.0 / np.arange(1, ITEMS + 1) ** 0.8
    circles = np.where(np.arange(users)[:, None] % 4 == np.arange(ITEMS)[None, :] % 4, 3.0, 0.5)
    chances = activity[:, None] * popularity[None, :] * circles
    row, item = np.nonzero(random.random(chances.shape) < np.minimum(1, chances * 12_000 / chances.sum()))
    times = random.integers(0, 10_000, len(row))
    weights = random.integers(1, 6, len(row)).astype(np.float32)
    return Histories.grouped(row.astype(np.int64), item.astype(np.int32), weights, times, users)


@pytest.fixture(scope="module")
def large(base: Histories, tmp_path_factory: pytest.TempPathFactory) -> Histories:
    folder = tmp_path_factory.mktemp("fractal") / "set"
    assert expand(folder, base, ITEMS, SHAPE, WANTED, seed=3) == ITEMS * SHAPE[1]
    return open_histories(folder)


def quantiles(degrees: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Degrees at places from the top, in parts of the mean."""
    sorted_ = np.sort(degrees)[::-1]
    found: npt.NDArray[np.float64] = sorted_[(np.array([0.01, 0.05, 0.2, 0.5]) * len(sorted_)).astype(int)] / degrees.mean()
    return found


def tail_exponent(degrees: npt.NDArray[np.int64]) -> float:
    """The slope of log degree over log rank, over the upper third."""
    sorted_ = np.sort(degrees)[::-1][: len(degrees) // 3]
    return float(np.polyfit(np.log(np.arange(1, len(sorted_) + 1)), np.log(np.maximum(sorted_, 1)), 1)[0])


def gini(degrees: npt.NDArray[np.int64]) -> float:
    ordered = np.sort(degrees)
    rank = np.arange(1, len(ordered) + 1)
    return float(((2 * rank - len(ordered) - 1) * ordered).sum() / (len(ordered) * ordered.sum()))


def test_it_is_as_large_as_asked(base: Histories, large: Histories) -> None:
    assert abs(len(large.items) / WANTED - 1) < 0.03
    assert 0.7 * SHAPE[0] * len(base) < len(large) <= SHAPE[0] * len(base), "users without an event are left out"
    assert large.lengths.min() > 0
    assert (item_counts(large, ITEMS * SHAPE[1]) > 0).mean() > 0.8
    wanted = WANTED / (SHAPE[0] * len(base) * SHAPE[1] * ITEMS)
    density = len(large.items) / (len(large) * ITEMS * SHAPE[1])
    assert abs(density / wanted - 1) < 0.4


def test_nobody_has_an_item_twice_and_histories_are_in_order(large: Histories) -> None:
    pairs = np.repeat(np.arange(len(large)), large.lengths) * ITEMS * SHAPE[1] + large.items
    assert len(np.unique(pairs)) == len(pairs)
    inside = np.ones(len(large.items), np.bool_)
    inside[large.indptr[:-1]] = False
    assert (np.diff(large.times)[inside[1:]] >= 0).all()
    assert set(np.unique(large.weights)) == {1.0, 2.0, 3.0, 4.0, 5.0}


@pytest.mark.parametrize("side", ["users", "items"])
def test_the_tails_of_the_degrees_stay_fat(base: Histories, large: Histories, side: str) -> None:
    before = base.lengths if side == "users" else item_counts(base, ITEMS)
    after = large.lengths if side == "users" else item_counts(large, ITEMS * SHAPE[1])
    assert abs(tail_exponent(after) - tail_exponent(before)) < 0.35
    assert abs(gini(after) - gini(before)) < 0.15
    assert (np.abs(np.log(quantiles(after) / quantiles(before))) < np.log(2.2)).all()


def test_the_spectrum_decays_as_before(base: Histories, large: Histories) -> None:
    before, after = singular(base, ITEMS, 12)[0], singular(large, ITEMS * SHAPE[1], 12)[0]
    assert abs(np.log(after[11] / after[0]) - np.log(before[11] / before[0])) < 0.7
    assert after[1] / after[0] < 0.7, "one direction leads"
    assert after[4] > 1.05 * after[11], "and the others are no flat noise"


def test_the_same_seed_gives_the_same_set_whatever_is_written_at_once(base: Histories, large: Histories, tmp_path: Path) -> None:
    expand(tmp_path / "again", base, ITEMS, SHAPE, WANTED, seed=3, users=37)
    expand(tmp_path / "other", base, ITEMS, SHAPE, WANTED, seed=4)
    again, other = open_histories(tmp_path / "again"), open_histories(tmp_path / "other")
    for name in ("indptr", "items", "weights", "times"):
        assert np.array_equal(getattr(again, name), getattr(large, name))
    assert not np.array_equal(other.items[:1000], large.items[:1000])


def test_blocks_are_no_copies_of_each_other(base: Histories) -> None:
    order = np.argsort(-base.lengths, kind="stable")
    one, other = shuffled(order, np.uint64(5)), shuffled(order, np.uint64(6))
    assert sorted(one.tolist()) == list(range(len(base)))
    assert (one != other).mean() > 0.5
    rank = np.empty(len(base), np.int64)
    rank[order] = np.arange(len(base))
    assert (rank[one] // 16 == rank // 16).all(), "places change among those of similar degree"


def test_random_numbers_are_spread_evenly() -> None:
    numbers = np.array([int(mixed(np.uint64(9), place)) for place in range(4000)], np.float64) / 2**64
    assert abs(numbers.mean() - 0.5) < 0.02
    assert abs(np.corrcoef(numbers[1:], numbers[:-1])[0, 1]) < 0.05


def test_the_picture_sums_to_the_growth_and_impossible_sizes_are_refused(base: Histories) -> None:
    chances = picture(base, ITEMS, SHAPE, WANTED)
    assert chances.shape == SHAPE
    assert abs(chances.sum() * len(base.items) / WANTED - 1) < 1e-6
    assert 0 < chances.min() <= chances.max() <= 1
    everything = picture(base, ITEMS, (2, 2), 4 * len(base.items))
    assert np.allclose(everything, 1)
    with pytest.raises(ValueError, match="hold up to"):
        picture(base, ITEMS, (2, 2), 4 * len(base.items) + 1)
