"""The gate: every check can fail, alone, with a message that states the numbers."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from tastemaker.config import Gate
from tastemaker.domain import Check, Verdict
from tastemaker.errors import InputError
from tastemaker.evaluation.compare import intervals
from tastemaker.evaluation.evaluate import Evaluation
from tastemaker.registry.gate import CHECKS, Contender, judge

USERS = 400
VALUES = np.random.default_rng(0).beta(1, 9, USERS)
METRIC = "ndcg@10"


def contender(version: str, values: np.ndarray = VALUES, events: int = 1000, **more: object) -> Contender:
    evaluation = Evaluation(
        intervals=intervals({METRIC: values}, resamples=100),
        per_user={METRIC: values},
        slices={},
        beyond={"coverage@10": 0.5},
        users=len(values),
        rows=np.arange(len(values)),
        excluded={},
        seconds=1.0,
        latency_ms=2.0,
    )
    return Contender(version, replace(evaluation, **more), events)  # type: ignore[arg-type]  # any field, by name


def failed(verdict: Verdict) -> list[Check]:
    assert verdict.passed == all(check.passed for check in verdict.checks)
    assert len(verdict.checks) == len(CHECKS)
    return [check for check in verdict.checks if not check.passed]


def test_a_good_model_passes_with_or_without_a_live_one() -> None:
    first = judge(contender("a"), None, Gate(), METRIC, now=7)
    assert (first.passed, first.model, first.live, first.time) == (True, "a", None, 7)
    second = judge(contender("b", VALUES + 0.01), contender("a"), Gate(), METRIC, now=8)
    assert (second.passed, second.live) == (True, "a")


@pytest.mark.parametrize(
    ("name", "candidate", "gate", "words"),
    [
        ("floor", contender("b"), Gate(floor=0.5), "at least 0.5000 is needed"),
        ("users", contender("b"), Gate(users=500), "judged by 400 users; 500 are needed"),
        ("coverage", contender("b"), Gate(coverage=0.6), r"50.0% of the catalogue .* 60.0% is needed, 60.0% of the 100.0%"),
        ("latency", contender("b", latency_ms=51.0), Gate(), r"51.00 ms; 50 ms are allowed"),
        ("events", contender("b", events=799), Gate(), "trained on 799 events; a had 1000, and at least 800"),
        ("finite", contender("b", beyond={"coverage@10": 0.5, "gini@10": np.nan}), Gate(), "not a number: gini@10"),
        ("not_worse", contender("b", VALUES * 0.9), Gate(), r"differs from a by -0.0\d+ \[-0.0\d+, -0.0\d+\] over 400 users"),
    ],
)
def test_each_check_fails_alone_and_says_why(name: str, candidate: Contender, gate: Gate, words: str) -> None:
    found = failed(judge(candidate, contender("a"), gate, METRIC, now=0))
    assert [check.name for check in found] == [name]
    assert re.search(words, found[0].message), found[0].message


def test_every_check_is_tried_above() -> None:
    assert {check.__name__ for check in CHECKS} == {"floor", "users", "coverage", "latency", "events", "finite", "not_worse"}


def test_a_loss_within_the_margin_is_allowed_and_one_beyond_is_not() -> None:
    live = contender("a")
    assert judge(contender("b", VALUES * 0.96), live, Gate(margin=0.05), METRIC, now=0).passed
    assert not judge(contender("b", VALUES * 0.94), live, Gate(margin=0.05), METRIC, now=0).passed
    assert judge(contender("b", VALUES.copy()), live, Gate(margin=0.0), METRIC, now=0).passed, "an equal model passes"


def test_a_metric_that_is_not_a_number_never_passes() -> None:
    broken = np.where(np.arange(USERS) == 3, np.nan, VALUES)
    names = {check.name for check in failed(judge(contender("b", broken), contender("a"), Gate(), METRIC, now=0))}
    assert names == {"finite", "floor", "not_worse"}


def test_a_model_trained_on_nothing_is_refused() -> None:
    found = failed(judge(contender("a", events=0), None, Gate(), METRIC, now=0))
    assert [check.name for check in found] == ["events"]


def test_models_judged_on_other_users_or_metrics_are_not_compared() -> None:
    with pytest.raises(InputError, match="judge it on the same split as b"):
        judge(contender("b"), contender("a", rows=np.arange(USERS) + 1), Gate(), METRIC, now=0)
    with pytest.raises(InputError, match="metric = 'map@3': b was judged by ndcg@10"):
        judge(contender("b"), None, Gate(), "map@3", now=0)
