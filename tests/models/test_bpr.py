"""bpr: slopes against differences of the loss, negatives, and that threads change nothing."""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt
import pytest

from tastemaker.errors import InputError
from tastemaker.models.bpr import Bpr, BprParams
from tastemaker.models.bpr_kernels import LANES, Odds, Pairs, Side, Triples, add_slopes, ask, deal
from tastemaker.models.bpr_training import Trainer, odds_of, pairs_of
from tastemaker.models.interactions import Histories, Interactions, Vocabulary, item_counts
from tastemaker.models.pairs import paired
from tastemaker.models.tables import LowRank

USERS, ITEMS, FACTORS = 40, 30, 5
Doubles = npt.NDArray[np.float64]


def interactions() -> Interactions:
    """Repeated events, some without a reward; the last item has none, the first user has all the others."""
    random = np.random.default_rng(6)
    rows = [(list(range(ITEMS - 1)), [1.0] * (ITEMS - 1), list(range(ITEMS - 1)))]
    for _ in range(USERS - 1):
        length = int(random.integers(0, 14))
        items = np.minimum(random.geometric(0.1, length) - 1, ITEMS - 2)
        rows.append((items.tolist(), random.choice([0.0, 1.0, 2.5], length).tolist(), list(range(length))))
    return Interactions(tuple(map(str, range(USERS))), Vocabulary(tuple(map(str, range(ITEMS)))), Histories.of(rows))


DATA = interactions()
ROWS = paired(DATA.histories)
COUNTS = item_counts(ROWS, ITEMS)


def doubled(norm: float) -> Pairs:
    pairs = pairs_of(ROWS, norm)
    return Pairs(pairs.indptr, pairs.items, *(values.astype(np.float64) for values in (pairs.weights, pairs.norms, pairs.worth)))


def batch(pairs: Pairs, left: Doubles, right: Doubles, candidates: int, odds: Odds) -> tuple[Triples, int]:
    """All users at once, in float64."""
    lengths = np.diff(pairs.indptr)
    users = np.flatnonzero(lengths > 1)
    count = int(lengths[users].sum())
    room = Triples(
        *(np.empty(count, np.int32) for _ in range(2)),
        *(np.empty(count) for _ in range(2)),
        *(np.empty((count, FACTORS)) for _ in range(2)),
    )
    lines = np.cumsum(lengths[users]) - lengths[users]
    ask(users, lines, pairs, left, right, odds, np.uint64(3), candidates, room)
    return room, count


def loss(left: Doubles, right: Doubles, norm: float, reg: float, negatives: npt.NDArray[np.int32]) -> float:
    """The objective as the docstring of ``bpr`` says it, with these negatives."""
    total, line, mean = 0.0, 0, float(ROWS.weights.mean())
    for user in range(USERS):
        start, stop = ROWS.indptr[user], ROWS.indptr[user + 1]
        items, weights = ROWS.items[start:stop], ROWS.weights[start:stop].astype(np.float64)
        if len(items) < 2:
            continue
        for place in range(len(items)):
            i, j = items[place], negatives[line]
            line += 1
            if j < 0:
                continue
            others = np.arange(len(items)) != place
            vector = weights[others] @ left[items[others]] / weights[others].sum() ** norm
            total += weights[place] / mean * np.logaddexp(0, -(vector @ (right[i] - right[j])))
            total += reg / 2 * float(left[i] @ left[i] + right[i] @ right[i])
    return float(total)


def slopes(left: Doubles, right: Doubles, pairs: Pairs, reg: float) -> tuple[Doubles, Doubles, npt.NDArray[np.int32]]:
    """Minus the slopes that the kernels add up, and the negatives they are for."""
    found, count = batch(pairs, left, right, 3, odds_of(np.where(COUNTS > 0, 1.0, 0.0)))
    order, bounds = np.empty(2 * count, np.int32), np.zeros(LANES + 1, np.int64)
    deal(count, found, order, bounds)
    sides = [Side(vectors, np.zeros_like(vectors), np.ones_like(vectors)) for vectors in (left, right)]
    for lane in range(LANES):
        part, touched = order[bounds[lane] : bounds[lane + 1]], np.zeros(ITEMS, np.bool_)
        used = np.empty(len(part), np.int32)
        size = add_slopes(part, found, sides[0], sides[1], np.float64(reg), touched, used)
        assert set(used[:size].tolist()) == set(np.flatnonzero(touched).tolist())
        assert (used[:size] % LANES == lane).all(), "each lane has its own items"
    return sides[0].slopes, sides[1].slopes, found.negatives


@pytest.mark.parametrize(("norm", "reg"), [(0.5, 0.0), (1.0, 0.03), (0.0, 0.1)])
def test_slopes_are_those_of_the_loss(norm: float, reg: float) -> None:
    random = np.random.default_rng(0)
    left, right = random.normal(0, 0.5, (2, ITEMS, FACTORS))
    found_left, found_right, negatives = slopes(left, right, doubled(norm), reg)
    small = 1e-5
    for table, found in ((left, found_left), (right, found_right)):
        scale = np.abs(found).max()
        assert scale > 0.1
        for place in [(int(item), int(f)) for item in random.permutation(ITEMS)[:12] for f in range(FACTORS)]:
            before, values = table[place], []
            for moved in (before + small, before - small):
                table[place] = moved
                values.append(loss(left, right, norm, reg, negatives))
            table[place] = before
            assert found[place] == pytest.approx((values[1] - values[0]) / (2 * small), rel=1e-5, abs=1e-7 * scale)


def test_negatives_are_items_that_the_user_does_not_have_and_somebody_has() -> None:
    left, right = np.random.default_rng(1).normal(0, 1, (2, ITEMS, FACTORS))
    found, count = batch(doubled(0.5), left, right, 4, odds_of(np.where(COUNTS > 0, 1.0, 0.0)))
    lengths = np.where(ROWS.lengths > 1, ROWS.lengths, 0)
    users = np.repeat(np.arange(USERS), lengths)
    assert len(users) == count
    for line in range(count):
        negative = int(found.negatives[line])
        if users[line] == 0:
            assert negative == -1, "the first user has everything"
            assert found.pulls[line] == 0
        else:
            assert negative not in ROWS.row(users[line])
            assert negative != ITEMS - 1, "nobody has it"
    assert (found.negatives >= 0).mean() > 0.7


def test_of_many_candidates_the_highest_scoring_is_the_negative() -> None:
    left, right = np.random.default_rng(1).normal(0, 1, (2, ITEMS, FACTORS))
    found, count = batch(doubled(0.5), left, right, 1000, odds_of(np.ones(ITEMS)))
    users = np.repeat(np.arange(USERS), np.where(ROWS.lengths > 1, ROWS.lengths, 0))
    for line in range(count):
        scores = right @ found.vectors[line]
        scores[ROWS.row(users[line])] = -np.inf
        if np.isfinite(scores).any():
            assert found.negatives[line] == scores.argmax()


def test_the_positive_is_left_out_of_its_history() -> None:
    left, right = np.random.default_rng(1).normal(0, 1, (2, ITEMS, FACTORS))
    pairs = doubled(0.5)
    found, _ = batch(pairs, left, right, 1, odds_of(np.ones(ITEMS)))
    user = 0
    weights, items = ROWS.weights[: ROWS.indptr[1]], ROWS.row(user)
    expected = weights[1:] @ left[items[1:]] / weights[1:].sum() ** 0.5
    np.testing.assert_allclose(found.vectors[0], expected, rtol=1e-6)


def test_walkers_table_holds_the_chances() -> None:
    weights = np.array([0.0, 5.0, 1.0, 0.0, 0.5, 40.0, 3.0])
    odds = odds_of(weights)
    chances = odds.own.astype(np.float64).copy()
    np.add.at(chances, odds.other, 1 - odds.own.astype(np.float64))
    np.testing.assert_allclose(chances / len(weights), weights / weights.sum(), atol=1e-7)


def test_any_number_of_threads_gives_the_same_bits() -> None:
    before, models = numba.get_num_threads(), []
    try:
        for threads in (1, before):
            numba.set_num_threads(threads)
            models.append(Bpr(BprParams(factors=7, epochs=3)).fit(DATA, seed=5))
    finally:
        numba.set_num_threads(before)
    for one, other in zip(models[0].tables, models[1].tables, strict=True):
        assert isinstance(one, LowRank)
        assert isinstance(other, LowRank)
        np.testing.assert_array_equal(one.left, other.left)
        np.testing.assert_array_equal(one.right, other.right)
    assert models[0].losses == models[1].losses


def test_scores_are_those_of_the_formula() -> None:
    model = Bpr(BprParams(factors=6, epochs=2, norm=0.7)).fit(DATA)
    table = model.tables[0]
    assert isinstance(table, LowRank)
    history = Histories.of([([3, 1, 3], [1.0, 2.0, 0.5], [0, 1, 2])])
    vector = (1.5 * table.left[3] + 2.0 * table.left[1]) / 3.5**0.7
    np.testing.assert_allclose(model.scores(history)[0], table.right @ vector, rtol=1e-4, atol=1e-6)
    assert not model.scores(history)[0, ITEMS - 1], "nobody has it"


def test_seeds_differ() -> None:
    one, other = (Bpr(BprParams(factors=4, epochs=1)).fit(DATA, seed=seed) for seed in (0, 1))
    assert one.losses != other.losses


def test_users_with_a_single_item_teach_nothing() -> None:
    lonely = Histories.of([([0, 0], [1.0, 1.0], [0, 1]), ([1], [1.0], [0])])
    with pytest.raises(InputError, match="two items or more"):
        Bpr().fit(Interactions(("a", "b"), Vocabulary(("x", "y")), lonely))


def test_batches_hold_whole_users_and_all_of_them() -> None:
    trainer = Trainer(BprParams(factors=2), 4, ROWS, COUNTS, np.random.default_rng(0))
    seen: list[int] = []
    for users, lines, count in trainer.batches(trainer.users):
        np.testing.assert_array_equal(np.append(lines, count), np.append(0, np.cumsum(ROWS.lengths[users])))
        assert count <= len(trainer.room.positives)
        seen.extend(users.tolist())
    assert seen == trainer.users.tolist()
