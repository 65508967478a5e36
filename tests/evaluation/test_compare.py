"""Bootstrap intervals against scipy, and against the truth: 95 % must mean 95 %."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from tastemaker.errors import InputError
from tastemaker.evaluation import compare
from tastemaker.evaluation.compare import interval, intervals, paired_difference


def skewed(rng: np.random.Generator, users: int) -> np.ndarray:
    """Values as metrics have them: mostly 0, mean 0.1."""
    return np.where(rng.random(users) < 0.25, rng.beta(2, 3, users), 0.0)


def test_the_interval_is_that_of_scipy() -> None:
    values = skewed(np.random.default_rng(0), 400)
    theirs = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=20_000, rng=np.random.default_rng(1))
    ours = interval(values, resamples=20_000, seed=2)
    width = theirs.confidence_interval.high - theirs.confidence_interval.low
    assert ours.value == values.mean()
    assert ours.low == pytest.approx(theirs.confidence_interval.low, abs=0.03 * width)
    assert ours.high == pytest.approx(theirs.confidence_interval.high, abs=0.03 * width)


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    rng, covered, trials, truth = np.random.default_rng(3), 0, 600, 0.25 * 2 / 5
    for trial in range(trials):
        found = interval(skewed(rng, 150), resamples=400, seed=trial)
        covered += found.low <= truth <= found.high
    assert 0.92 <= covered / trials <= 0.97  # four standard errors around 94.5 %


def test_pairing_sees_a_difference_that_two_intervals_would_hide() -> None:
    rng = np.random.default_rng(4)
    worse = skewed(rng, 2000)
    better = np.clip(worse + rng.normal(0.004, 0.02, 2000), 0, None)
    found = paired_difference(better, worse)
    assert found.low > 0
    assert interval(better).low < interval(worse).high


def test_blocks_of_draws_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    values = skewed(np.random.default_rng(5), 100)
    whole = interval(values, seed=7)
    monkeypatch.setattr(compare, "BLOCK", 1_700)
    assert interval(values, seed=7) == whole


def test_many_metrics_share_their_draws_and_agree_with_one_by_one() -> None:
    rng = np.random.default_rng(6)
    table = {"a": skewed(rng, 80), "b": skewed(rng, 80)}
    together = intervals(table, seed=1)
    for name, values in table.items():
        alone = interval(values, seed=1)
        assert (together[name].low, together[name].high) == pytest.approx((alone.low, alone.high), abs=1e-12)


def test_no_users_give_nan_and_other_users_are_refused() -> None:
    assert np.isnan(interval(np.zeros(0)).value)
    assert intervals({"a": np.zeros(0)})["a"].n == 0
    with pytest.raises(InputError, match="same users"):
        paired_difference(np.zeros(3), np.zeros(2))
