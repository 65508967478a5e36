"""Metrics against ir-measures (trec_eval's definitions), against brute force, and their refusals."""

from __future__ import annotations

import time

import ir_measures
import numpy as np
import pytest
from ir_measures import AP, RR, P, R, Success, nDCG

from tastemaker.errors import ConfigError, InputError
from tastemaker.evaluation.metrics import METRICS, PER_USER, beyond, evaluate_lists, metric_of
from tastemaker.models.interactions import Rows

KS = (1, 3, 5, 10)
ORACLE = {"precision": P, "recall": R, "ndcg": nDCG, "map": AP, "mrr": RR, "hit_rate": Success}


def random_case(rng: np.random.Generator) -> tuple[np.ndarray, Rows]:
    """Lists of distinct items of every length, some empty, and one to eight relevant items per user."""
    users, places, catalogue = 6, int(rng.integers(1, 14)), 30
    items = np.full((users, places), -1, np.int32)
    wanted = [rng.choice(catalogue, rng.integers(1, 9), replace=False).astype(np.int32) for _ in range(users)]
    for row in range(users):
        length = int(rng.integers(0, places + 1))
        items[row, :length] = rng.choice(catalogue, length, replace=False)
    return items, Rows(np.cumsum([0, *map(len, wanted)]), np.concatenate(wanted))


def test_every_metric_agrees_with_ir_measures_on_500_random_cases() -> None:
    rng = np.random.default_rng(0)
    measures = {f"{name}@{k}": measure @ k for name, measure in ORACLE.items() for k in KS}
    qrels, run, ours, cases = {}, {}, [], 500
    for case in range(cases):  # one call of the oracle for all: each (case, user) is a query of its own
        items, relevant = random_case(rng)
        ours.append(evaluate_lists(items, relevant, KS))
        for row in range(len(items)):
            qrels[f"{case}-{row}"] = {str(item): 1 for item in relevant.row(row)}
            run[f"{case}-{row}"] = {str(item): float(-rank) for rank, item in enumerate(items[row]) if item >= 0}
    name_of = {measure: name for name, measure in measures.items()}
    compared = 0
    for value in ir_measures.iter_calc(list(measures.values()), qrels, run):
        case, row = map(int, value.query_id.split("-"))
        assert ours[case][name_of[value.measure]][row] == pytest.approx(value.value, abs=1e-9)
        compared += 1
    assert compared == cases * 6 * len(measures)


def test_thirty_thousand_users_take_less_than_a_second() -> None:
    rng = np.random.default_rng(1)
    users, catalogue = 30_000, 40_000
    items = (rng.integers(0, catalogue, (users, 1)) + np.arange(20) * 977).astype(np.int32) % catalogue
    relevant = Rows(np.arange(0, users * 10 + 1, 10), rng.integers(0, catalogue, users * 10).astype(np.int32))
    began = time.process_time()
    evaluate_lists(items, relevant, (5, 10, 20))
    assert time.process_time() - began < 1.0


def test_a_repeated_relevant_item_counts_once() -> None:
    items = np.array([[4, 5]], dtype=np.int32)
    twice = evaluate_lists(items, Rows(np.array([0, 3]), np.array([4, 4, 9], np.int32)), [2])
    once = evaluate_lists(items, Rows(np.array([0, 2]), np.array([4, 9], np.int32)), [2])
    assert {name: value.tolist() for name, value in twice.items()} == {name: value.tolist() for name, value in once.items()}


def test_a_user_without_relevant_items_and_a_repeated_recommendation_are_refused() -> None:
    with pytest.raises(InputError, match=r"relevant\[1\].*leave users without"):
        evaluate_lists(np.zeros((2, 1), np.int32), Rows(np.array([0, 1, 1]), np.zeros(1, np.int32)), [1])
    with pytest.raises(InputError, match=r"items\[0\] = \[3, 3\]"):
        evaluate_lists(np.array([[3, 3]], np.int32), Rows(np.array([0, 1]), np.zeros(1, np.int32)), [1])
    with pytest.raises(InputError, match="there are 1 lists"):
        evaluate_lists(np.array([[3]], np.int32), Rows(np.array([0]), np.zeros(0, np.int32)), [1])


def test_no_users_give_no_values() -> None:
    values = evaluate_lists(np.zeros((0, 3), np.int32), Rows(np.zeros(1, np.int64), np.zeros(0, np.int32)), [5])
    assert all(value.shape == (0,) for value in values.values())


def test_beyond_accuracy_agrees_with_brute_force() -> None:
    rng = np.random.default_rng(2)
    for _ in range(50):
        items, _ = random_case(rng)
        popularity, k = rng.integers(0, 20, 30), int(rng.integers(1, 12))
        shown = [int(item) for row in items for item in row[:k] if item >= 0]
        counts = [shown.count(item) for item in range(30)]
        got = beyond(items, popularity, 30, [k])
        assert got[f"coverage@{k}"] == pytest.approx(len(set(shown)) / 30)
        if not shown:
            assert got == {f"coverage@{k}": 0.0, f"gini@{k}": 0.0, f"novelty@{k}": 0.0}
            continue
        spread = sum(abs(a - b) for a in counts for b in counts) / (2 * 30 * sum(counts))
        surprise = np.mean([-np.log2((popularity[item] + 1) / (popularity.sum() + 30)) for item in shown])
        assert got[f"gini@{k}"] == pytest.approx(spread)
        assert got[f"novelty@{k}"] == pytest.approx(surprise)


def test_every_metric_that_is_computed_has_its_sentence() -> None:
    lists, wanted = np.array([[0]], np.int32), Rows(np.array([0, 1]), np.zeros(1, np.int32))
    computed = {*evaluate_lists(lists, wanted, [1]), *beyond(lists, np.ones(1, np.int64), 1, [1])}
    assert {name.replace("@1", "@k") for name in computed} == set(METRICS)
    assert [f"{name}@1" for name in PER_USER] == list(evaluate_lists(lists, wanted, [1]))


def test_an_unknown_metric_is_refused_with_a_hint() -> None:
    assert metric_of("recall@5", [5]) == "recall@5"
    with pytest.raises(ConfigError, match="recall@5"):
        metric_of("recall@7", [5])
