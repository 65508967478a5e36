"""What intervals promise, counted over thousands of experiments in which the truth is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tastemaker.errors import InputError
from tastemaker.experiments.counts import broken, log_evidence
from tastemaker.experiments.effects import alone, difference, lift
from tastemaker.experiments.intervals import EARLY, LATE, anytime, anytime_p, fixed, holm, hybrid, one_sided, stretch
from tastemaker.experiments.moments import Moments
from tastemaker.experiments.planning import sample_size, smallest_effect

Doubles = npt.NDArray[np.float64]


def people(random: np.random.Generator, shape: tuple[int, ...], change: float = 0.0) -> tuple[Doubles, Doubles]:
    """Clicks and impressions: people differ in how much they look, and in how much they click."""
    shown = random.poisson(random.gamma(1.5, 6.0, shape)) + 1
    rate = np.minimum(random.beta(2.0, 18.0, shape) * (1 + change), 1.0)
    return random.binomial(shown, rate).astype(float), shown.astype(float)


def sums_at(looks: npt.NDArray[np.int64], clicks: Doubles, shown: Doubles) -> Moments:
    """Moments after so many units each, (tests, looks)."""
    pairs = {"y": clicks, "yy": clicks**2, "x": shown, "xx": shown**2, "xy": clicks * shown}
    columns: dict[str, Any] = {name: value.cumsum(-1)[:, looks - 1] for name, value in pairs.items()}
    return Moments(n=np.broadcast_to(looks.astype(float), columns["y"].shape), **columns)


def test_equal_arms_differ_as_often_as_promised_where_counting_impressions_does_not_keep_the_promise() -> None:
    random, tests = np.random.default_rng(1), 2000
    a, b = people(random, (tests, 1000)), people(random, (tests, 1000))
    assert 0.036 < fixed(difference(Moments.of(*a), Moments.of(*b))).beyond.mean() < 0.066
    (clicks_a, shown_a), (clicks_b, shown_b) = ([column.sum(-1) for column in arm] for arm in (a, b))
    rate = (clicks_a + clicks_b) / (shown_a + shown_b)
    z = (clicks_b / shown_b - clicks_a / shown_a) / np.sqrt(rate * (1 - rate) * (1 / shown_a + 1 / shown_b))
    assert (np.abs(z) > 1.96).mean() > 0.12


def peeked(tests: int, seed: int, change: float = 0.0, most: int = 5000) -> tuple[Moments, Moments]:
    """Ninety-nine looks at experiments that grow to ``most`` users an arm."""
    looks = np.linspace(most // 50, most, 99).astype(np.int64)
    random = np.random.default_rng(seed)
    parts = [
        (sums_at(looks, *people(random, (100, most))), sums_at(looks, *people(random, (100, most), change)))
        for _ in range(tests // 100)
    ]
    control, treatment = ([part[side] for part in parts] for side in (0, 1))
    return together(control), together(treatment)


def together(parts: list[Moments]) -> Moments:
    """One under the other."""
    names = [name for name, value in vars(parts[0]).items() if np.ndim(value)]
    return Moments(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})


@pytest.fixture(scope="module")
def equal() -> tuple[Moments, Moments]:
    return peeked(2000, 2)


def test_whoever_looks_ninety_nine_times_is_wrong_a_twentieth_of_the_time_at_most(equal: tuple[Moments, Moments]) -> None:
    effect = difference(*equal)
    assert anytime(effect, planned=10_000).beyond.any(-1).mean() <= 0.05
    assert fixed(effect).beyond.any(-1).mean() > 0.25


def test_the_p_value_of_a_sequence_is_below_alpha_where_its_interval_leaves_0_out(equal: tuple[Moments, Moments]) -> None:
    effect = difference(*equal)
    assert np.array_equal(anytime_p(effect, 10_000) < 0.05, anytime(effect, 0.05, 10_000).beyond)


def test_the_hybrid_errs_as_seldom_finds_nearly_as_much_and_stops_early_where_the_effect_is_large(
    equal: tuple[Moments, Moments],
) -> None:
    planned = 10_000
    assert hybrid(difference(*equal), planned).beyond.any(-1).mean() <= 0.05
    control = people(np.random.default_rng(3), (1, 200_000))
    mde = smallest_effect(Moments.of(*(column[0] for column in control)), planned // 2, alpha=0.05)
    found = hybrid(difference(*peeked(1000, 4, mde)), planned).beyond
    assert found.any(-1).mean() >= 0.72
    twice = hybrid(difference(*peeked(500, 5, 2 * mde)), planned).beyond
    first = np.where(twice.any(-1), twice.argmax(-1) + 1, 99) / 99
    assert first.mean() <= 0.5


def test_shares_of_arms_are_watched_without_false_alarms_and_a_lopsided_one_is_found() -> None:
    random, looks = np.random.default_rng(6), np.arange(100, 20_001, 100)

    def counts(share: float, tests: int = 1000) -> Doubles:
        first = random.binomial(100, share, (tests, len(looks))).cumsum(-1)
        return np.stack([first, looks - first], -1).astype(float)

    assert broken(counts(0.5), [0.5, 0.5], 0.01).any(-1).mean() <= 0.01
    assert broken(counts(0.48), [0.5, 0.5], 0.01).any(-1).mean() >= 0.95


def test_a_covariate_from_before_halves_the_variance_and_moves_nothing() -> None:
    random = np.random.default_rng(7)
    eager = random.gamma(2.0, 1.0, (500, 2, 400))
    before, after = random.poisson(5 * eager).astype(float), random.poisson(5 * eager).astype(float)
    plain = difference(Moments.of(after[:, 0]), Moments.of(after[:, 1]))
    less = difference(*(Moments.of(after[:, arm], z=before[:, arm]) for arm in (0, 1)))
    assert np.mean(less.se**2 / plain.se**2) < 0.5
    assert 0.03 < fixed(less).beyond.mean() < 0.08
    assert np.std(less.value) == pytest.approx(np.mean(less.se), rel=0.1)


def test_the_planned_size_finds_what_it_was_planned_for() -> None:
    random = np.random.default_rng(8)
    base = Moments.of(*(column[0] for column in people(random, (1, 100_000))))
    n = sample_size(base, 0.1, alpha=0.05)
    assert smallest_effect(base, n, alpha=0.05) == pytest.approx(0.1, rel=1e-3)
    a, b = people(random, (1000, n)), people(random, (1000, n), 0.1)
    assert fixed(difference(Moments.of(*a), Moments.of(*b))).beyond.mean() == pytest.approx(0.8, abs=0.05)


def test_the_sequence_is_half_as_wide_again_as_the_interval_at_the_planned_size() -> None:
    at, before, behind = (float(stretch(n, 0.05, 10_000)) / 1.96 for n in (10_000.0, 4_000.0, 100_000.0))
    assert (at, before, behind) == pytest.approx((1.55, 1.59, 1.65), abs=0.02)
    assert pytest.approx(0.05) == EARLY + LATE


def test_one_side_of_a_sequence_is_nearer_than_both() -> None:
    effect = difference(Moments.of([1.0, 2.0, 4.0]), Moments.of([2.0, 2.5, 3.0]))
    low, high = one_sided(effect)
    both = anytime(effect)
    assert both.low < low < effect.value < high < both.high


values = st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=30)


@given(values, values, values)
def test_moments_of_parts_are_those_of_the_whole(a: list[float], b: list[float], c: list[float]) -> None:
    whole = Moments.of([*a, *b, *c])
    parts = Moments.of(a) + (Moments.of(b) + Moments.of(c))
    for name in vars(whole):
        assert getattr(parts, name) == pytest.approx(getattr(whole, name), rel=1e-9, abs=1e-6)


@given(st.lists(st.integers(0, 1000), min_size=2, max_size=50), st.randoms())
def test_counts_add_up_to_the_same_bits_in_any_order(counts: list[int], random: Any) -> None:
    shuffled = list(counts)
    random.shuffle(shuffled)
    parts = [Moments.of([float(value)]) for value in shuffled]
    assert sum(parts[1:], parts[0]) == Moments.of([float(value) for value in counts])


def test_a_relative_change_of_next_to_nothing_is_not_told() -> None:
    random = np.random.default_rng(9)
    effect = lift(Moments.of(random.normal(0.0, 1.0, 100)), Moments.of(random.normal(1.0, 1.0, 100)))
    assert np.isnan(effect.value)
    assert alone(Moments.of([1.0, 3.0])).value == 2.0


def test_an_arm_in_which_nothing_varies_has_no_error() -> None:
    effect = difference(Moments.of([1.0, 1.0]), Moments.of([1.0, 1.0]))
    assert (effect.value, effect.se) == (0.0, 0.0)
    assert not fixed(effect).beyond


@given(st.dictionaries(st.text(max_size=3), st.floats(0, 1), min_size=1, max_size=8))
def test_holm_is_the_closed_procedure_of_bonferroni(p: dict[str, float]) -> None:
    found = holm(p)
    for name, value in p.items():
        least = max(min(1.0, sum(other >= limit for other in p.values()) * limit) for limit in p.values() if limit <= value)
        assert found[name] == pytest.approx(least)


def test_what_cannot_be_reckoned_with_is_refused() -> None:
    with pytest.raises(InputError, match="a finite number for each unit"):
        Moments.of([1.0, float("nan")])
    with pytest.raises(InputError, match="a value for each unit"):
        Moments.of([1.0, 2.0], [1.0])
    with pytest.raises(InputError, match="a probability between 0 and 1"):
        fixed(difference(Moments.of([1.0, 2.0]), Moments.of([1.0, 2.0])), 5.0)
    with pytest.raises(InputError, match="shares above 0 that add up to 1"):
        log_evidence([1, 2], [0.5, 0.4])
    with pytest.raises(InputError, match="a count for each of 2 arms"):
        log_evidence([1, 2, 3], [0.5, 0.5])
    with pytest.raises(InputError, match="the metric is 0"):
        sample_size(Moments.of([0.0, 0.0]), 0.1)
