"""Verdicts: what is decided of numbers whose meaning is plain, and that a service that lies is found out."""

from __future__ import annotations

from collections import Counter
from typing import Literal

import numpy as np
import pytest
from msgspec.structs import replace

from tastemaker.domain import Arm, Experiment
from tastemaker.experiments.moments import Moments
from tastemaker.experiments.reporting import report
from tastemaker.experiments.verdicts import Data, judge

BASE = Experiment("colour", (Arm("old"), Arm("new")), metrics=("ctr",), planned=5000, mde=0.1)


def clicks(rate: float, n: int = 2000, seed: int = 0) -> Moments:
    random = np.random.default_rng(seed)
    shown = random.poisson(10, n) + 1
    return Moments.of(random.binomial(shown, rate).astype(float), shown.astype(float))


def data(old: Moments, new: Moments, twice: int = 0, better: Literal["up", "down"] = "up", **more: dict[str, Moments]) -> Data:
    units = {"old": int(old.n), "new": int(new.n)}
    return Data(units, twice, {"ctr": {"old": old, "new": new}, **more}, {"ctr": better})


def decision(experiment: Experiment, given: Data) -> str:
    (verdict,) = judge(experiment, given)
    return verdict.decision


def test_a_large_gain_ships_early_and_says_how_large() -> None:
    (verdict,) = judge(BASE, data(clicks(0.1), clicks(0.14, seed=1)))
    assert verdict.decision == "ship"
    assert verdict.text.startswith("ctr 0.09775 -> 0.1437, +47.0 % (+32.9 to +61.1)")
    assert "new is better than old" in verdict.text
    assert verdict.results["ctr"].good


def test_a_loss_keeps_what_there_is_whichever_way_is_better() -> None:
    assert decision(BASE, data(clicks(0.14), clicks(0.1, seed=1))) == "keep"
    assert decision(BASE, data(clicks(0.1), clicks(0.14, seed=1), better="down")) == "keep"
    assert decision(BASE, data(clicks(0.14), clicks(0.1, seed=1), better="down")) == "ship"


def test_nothing_is_decided_before_there_is_enough() -> None:
    (few,) = judge(BASE, data(clicks(0.1, 50), clicks(0.4, 50, 1)))
    assert (few.decision, few.text) == ("undecided", "50 units in the smaller arm: nothing is concluded before there are 100")
    (open_,) = judge(BASE, data(clicks(0.1, 500), clicks(0.104, 500, 1)))
    assert open_.decision == "undecided"
    assert "1,000 of 10,000 planned units, go on" in open_.text
    (none,) = judge(BASE, Data({}, 0, {}))
    assert none.decision == "undecided"


def test_at_the_planned_size_no_sure_difference_is_the_end() -> None:
    (verdict,) = judge(replace(BASE, mde=0.001), data(clicks(0.1, 5000), clicks(0.101, 5000, 1)))
    assert verdict.decision == "keep"
    assert "the planned size is reached" in verdict.text


def test_a_difference_that_is_surely_too_small_is_not_waited_for() -> None:
    (verdict,) = judge(replace(BASE, planned=400_000), data(clicks(0.1, 90_000), clicks(0.1, 90_000, 1)))
    assert verdict.decision == "keep"
    assert "no difference that is worth having (10.0% was asked for)" in verdict.text


def test_lopsided_arms_and_units_in_both_are_broken_whatever_the_gain() -> None:
    (verdict,) = judge(BASE, data(clicks(0.1, 2000), clicks(0.2, 2400, 1)))
    assert verdict.decision == "broken"
    assert "old 2,000 (50% planned), new 2,400 (50% planned)" in verdict.text
    (verdict,) = judge(BASE, data(clicks(0.1), clicks(0.2, seed=1), twice=200))
    assert verdict.decision == "broken"
    assert "200 units met more than one arm" in verdict.text


def test_a_guardrail_that_is_harmed_or_not_yet_sure_to_hold_stops_a_gain() -> None:
    guarded = replace(BASE, guardrails={"hours": 0.05})
    old, new = clicks(0.1, 3000), clicks(0.14, 3000, 1)
    random = np.random.default_rng(2)

    def hours(mean: float, spread: float = 0.5) -> Moments:
        return Moments.of(random.normal(mean, spread, 3000))

    assert decision(guarded, data(old, new, hours={"old": hours(2.0), "new": hours(2.0)})) == "ship"
    (verdict,) = judge(guarded, data(old, new, hours={"old": hours(2.0), "new": hours(1.7)}))
    assert (verdict.decision, verdict.guards[0].harmed) == ("keep", True)
    assert "new harms hours" in verdict.text
    (verdict,) = judge(guarded, data(old, new, hours={"old": hours(2.0, 6.0), "new": hours(2.0, 6.0)}))
    assert (verdict.decision, verdict.guards[0].held) == ("undecided", False)


def test_secondary_metrics_are_read_together() -> None:
    experiment = replace(BASE, metrics=("ctr", "a", "b"))
    random = np.random.default_rng(3)
    a, b = ({arm: Moments.of(random.normal(mean, 1.0, 2000)) for arm in ("old", "new")} for mean in (1.0, 2.0))
    (verdict,) = judge(experiment, data(clicks(0.1), clicks(0.14, seed=1), a=a, b=b))
    assert set(verdict.holm) == {"a", "b"}
    assert all(verdict.holm[name] >= verdict.results[name].p for name in "ab")


@pytest.mark.parametrize("planned", [0, 5000, 2000], ids=["open", "early", "at the end"])
def test_the_error_that_is_borne_is_chosen(planned: int) -> None:
    given, asked = data(clicks(0.1), clicks(0.107, seed=1)), replace(BASE, planned=planned)
    wide, usual, narrow = (judge(asked, given, alpha)[0].results["ctr"].bounds for alpha in (0.001, 0.05, 0.4))
    assert wide.low < usual.low < narrow.low < narrow.high < usual.high < wide.high
    assert usual == judge(asked, given)[0].results["ctr"].bounds
    assert (wide.alpha, usual.alpha, narrow.alpha) == pytest.approx((0.001, 0.05, 0.4))


def test_what_is_sure_at_one_error_is_not_at_a_smaller_one() -> None:
    asked, given = replace(BASE, planned=2000), data(clicks(0.1), clicks(0.107, seed=1))
    assert [judge(asked, given, alpha)[0].decision for alpha in (0.2, 1e-6)] == ["ship", "keep"]
    guarded, harmed = replace(asked, guardrails={"activity": 0.05}), {"old": clicks(0.107, seed=1), "new": clicks(0.1)}
    guards = [judge(guarded, data(clicks(0.1), clicks(0.1, seed=1), activity=harmed), alpha)[0].guards for alpha in (0.4, 1e-6)]
    assert [(guard.harmed, guard.held) for (guard,) in guards] == [(True, False), (False, False)]
    both = Experiment("two", (Arm("a"), Arm("b")), kind="interleaving", planned=200)
    credit = Moments.of(np.r_[np.ones(120), -np.ones(80)])
    found = Data({"both": 200}, 0, {"preference": {"b": credit}})
    assert [report(both, found, "lake", 1, alpha).conclusions[0].decision for alpha in (0.2, 1e-6)] == ["ship", "keep"]


def test_each_treatment_has_its_verdict_and_its_share_of_the_error() -> None:
    experiment = replace(BASE, arms=(Arm("old", 0.4), Arm("new", 0.4), Arm("third", 0.2)))
    given = Data({"old": 2000, "new": 2000, "third": 1000}, 0, {"ctr": {"old": clicks(0.1), "new": clicks(0.14, seed=1)}})
    first, second = judge(experiment, given)
    assert (first.arm, first.decision, second.arm, second.decision) == ("new", "ship", "third", "undecided")
    assert first.results["ctr"].bounds.alpha == pytest.approx(0.025)


def test_equal_arms_are_shipped_or_called_worse_about_as_seldom_as_promised() -> None:
    found: Counter[str] = Counter()
    for seed in range(300):
        random = np.random.default_rng(seed)
        experiment = replace(BASE, planned=1000)
        shown = random.poisson(10, (2, 1000)) + 1
        taken = random.binomial(shown, 0.1)
        ended = "undecided"
        for n in (200, 400, 600, 800, 1000):
            old, new = (Moments.of(taken[arm, :n].astype(float), shown[arm, :n].astype(float)) for arm in (0, 1))
            (verdict,) = judge(experiment, data(old, new))
            if verdict.results["ctr"].good or verdict.results["ctr"].bad:
                ended = "wrong"
        found[ended] += 1
    assert found["wrong"] / 300 <= 0.05 + 3 * (0.05 * 0.95 / 300) ** 0.5
