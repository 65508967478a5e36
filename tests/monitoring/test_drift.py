"""The measures of drift beside scipy's, their laws, and what chance alone makes of them."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial.distance import jensenshannon
from scipy.special import rel_entr

from tastemaker.monitoring.drift import (
    FLOOR,
    binned,
    chance,
    js,
    largest,
    of_names,
    of_rates,
    of_samples,
    of_values,
    psi,
    ranked,
)
from tastemaker.monitoring.samples import Sample

Numbers = npt.NDArray[np.float64]


def shares(counts: list[int]) -> Numbers:
    return np.array(counts, float) / sum(counts)


counts = st.lists(st.integers(0, 1000), min_size=2, max_size=20).filter(any)
pairs = st.integers(2, 20).flatmap(
    lambda size: st.tuples(*(st.lists(st.integers(0, 1000), min_size=size, max_size=size).filter(any) for _ in range(2)))
)


@given(pairs)
def test_the_measures_are_those_of_an_independent_library(pair: tuple[list[int], list[int]]) -> None:
    p, q = shares(pair[0]), shares(pair[1])
    assert js(p, q) == pytest.approx(jensenshannon(p, q, base=2) ** 2, abs=1e-9)
    p, q = shares([n + 1 for n in pair[0]]), shares([n + 1 for n in pair[1]])
    p, q = np.maximum(p, FLOOR), np.maximum(q, FLOOR)
    both = float(rel_entr(p, q).sum() + rel_entr(q, p).sum())
    assert psi(p, q) == pytest.approx(both, abs=1e-9)


@given(counts)
def test_equal_distributions_do_not_differ(row: list[int]) -> None:
    assert psi(shares(row), shares(row)) == 0.0
    assert js(shares(row), shares(row)) == pytest.approx(0.0, abs=1e-12)


@given(pairs)
def test_the_measures_are_symmetric_and_bounded(pair: tuple[list[int], list[int]]) -> None:
    p, q = shares(pair[0]), shares(pair[1])
    assert psi(p, q) == pytest.approx(psi(q, p), abs=1e-12)
    assert js(p, q) == pytest.approx(js(q, p), abs=1e-12)
    assert 0.0 <= js(p, q) <= 1.0
    assert 0.0 <= psi(p, q) <= 2 * math.log(1 / FLOOR)


@given(pairs)
def test_what_differs_is_more_than_nothing(pair: tuple[list[int], list[int]]) -> None:
    p, q = shares(pair[0]), shares(pair[1])
    if np.abs(p - q).max() > 0.001:
        assert psi(p, q) > 0.0
        assert js(p, q) > 0.0


def test_what_shares_nothing_is_as_far_apart_as_can_be() -> None:
    p, q = np.array([1.0, 0.0]), np.array([0.0, 1.0])
    assert js(p, q) == 1.0
    assert psi(p, q) == pytest.approx(2 * (1 - FLOOR) * math.log(1 / FLOOR))


def test_the_index_that_chance_reaches_is_exceeded_in_one_of_twenty_cases() -> None:
    rng = np.random.default_rng(3)
    truth = np.array([0.05, 0.1, 0.15, 0.2, 0.2, 0.3])
    n, m, worlds = 900, 2000, 4000
    found = [psi(rng.multinomial(n, truth) / n, rng.multinomial(m, truth) / m) for _ in range(worlds)]
    beyond = float(np.mean(np.array(found) > chance(len(truth), n, m)))
    assert 0.04 < beyond < 0.065, beyond
    assert chance(6, n, m) == pytest.approx((1 / n + 1 / m) * stats.chi2.ppf(0.95, 5))
    assert chance(1, n, m) == 0.0


def test_rates_that_chance_made_are_told_from_others() -> None:
    rng = np.random.default_rng(4)
    found = [of_rates("events", int(a), int(b)) for a, b in rng.poisson(400, (4000, 2))]
    beyond = np.mean([drift is not None and drift.beyond_chance for drift in found])
    assert 0.035 < beyond < 0.065, beyond
    doubled, tripled = of_rates("events", 400, 800), of_rates("events", 1200, 400)
    assert doubled is not None
    assert tripled is not None
    assert (round(doubled.psi, 2), round(tripled.psi, 2), doubled.beyond_chance) == (0.12, 0.27, True)
    assert of_rates("events", 0, 0) is None


def test_values_are_compared_by_tenths_of_what_they_were_and_missing_ones_count() -> None:
    before = np.arange(1000.0)
    same = of_values("x", before, before[::-1].copy())
    assert same is not None
    assert (same.psi, same.js, same.n, same.before_n, same.now) == (0.0, 0.0, 1000, 1000, 499.5)
    moved = of_values("x", before, before + 500)
    assert moved is not None
    assert moved.psi > 1.0
    assert (moved.now, moved.before) == (999.5, 499.5)
    half = of_values("x", before, np.where(np.arange(1000) % 2, before, np.nan))
    assert half is not None
    assert half.js > 0.2
    none = of_values("x", np.full(10, np.nan), np.full(10, np.nan))
    assert none is not None
    assert (none.psi, math.isnan(none.now)) == (0.0, True)
    assert of_values("x", before, np.empty(0)) is None


def test_ties_share_a_bin() -> None:
    values = np.array([1.0] * 95 + [2.0] * 5)
    found = of_values("count", values, values)
    assert found is not None
    assert found.psi == 0.0
    assert binned(np.array([1.0, 1.0, 2.0, np.nan]), np.array([1.0])).tolist() == [2.0, 1.0, 1.0]


def test_names_that_were_never_seen_before_are_drift() -> None:
    before = {f"i{n}": 100 - n for n in range(80)}
    same = of_names("popularity", before, {name: 3 * n for name, n in before.items()})
    assert same is not None
    assert same.psi == pytest.approx(0.0, abs=1e-12)
    new = of_names("popularity", before, {**before, "hit": 5000})
    assert new is not None
    assert new.psi > 1.0
    assert new.now < new.before
    assert of_names("popularity", {}, before) is None


def test_causes_are_ranked_and_those_that_chance_explains_come_last() -> None:
    calm = Sample({"click": 500, "play": 500}, {"a": 500, "b": 500}, 100, {"item_ctr": np.arange(500.0)})
    moved = Sample({"click": 900, "play": 100}, {"a": 520, "b": 480}, 100, {"item_ctr": np.arange(500.0) + 5})
    found = ranked(of_samples(calm, moved))
    assert found[0].name == "kinds"
    assert {drift.name for drift in found} == {"kinds", "popularity", "events", "views", "item_ctr"}
    assert not any(drift.beyond_chance for drift in found[1:])
    assert largest(found) == found[0].psi
    assert largest(found[1:]) == 0.0


def test_what_grows_by_itself_is_told_and_is_no_sign_of_a_shift() -> None:
    young = Sample({"click": 900}, {"a": 900}, 0, {"item_events": np.arange(500.0), "item_trending": np.arange(500.0)})
    older = Sample(
        {"click": 900}, {"a": 900}, 0, {"item_events": np.arange(500.0) + 300, "item_trending": np.arange(500.0) + 300}
    )
    found = ranked(of_samples(young, older))
    assert {drift.name for drift in found if drift.psi > 1} == {"item_events", "item_trending"}
    assert largest(found) == 0.0
