"""Rules: what is bad, for how long, and that nothing fires twice without recovering between."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tastemaker.config import Rule
from tastemaker.monitoring.rules import HOUR, Judged, State, judged, of_rule
from tastemaker.storage.tables.learning import Metric

RULE = Rule("ctr", below=0.5, evaluations=3, cool_down_hours=0.0)


def point(value: float, time: int, n: int = 1000, model: str = "", slice: str = "all") -> Metric:
    return Metric("ctr", model, value, math.nan, math.nan, n, time, slice)


def walk(rule: Rule, values: list[float], step: int = HOUR) -> list[Judged]:
    """The rule's judgements over values that come one after the other."""
    state, history, found = State(), list[Metric](), list[Judged]()
    for number, value in enumerate(values, 1):
        history.append(point(value, number * step))
        found.append(judged(rule, state, history, number * step))
        state = found[-1].state
    return found


def test_a_rule_fires_at_the_third_bad_value_in_a_row_and_recovers_at_the_third_good_one() -> None:
    found = walk(RULE, [1, 0, 0, 1, 0, 0, 0, 0, 1, 1, 0, 1, 1, 1, 1])
    assert [number for number, one in enumerate(found) if one.fires] == [6]
    assert [number for number, one in enumerate(found) if one.recovers] == [13]
    assert [one.state.state for one in found[:8]] == [
        "well",
        "failing",
        "failing",
        "well",
        "failing",
        "failing",
        "fired",
        "fired",
    ]
    assert found[6].text == "ctr is 0, under 0.5, 3 times in a row"


@given(st.lists(st.booleans(), max_size=60), st.integers(1, 4))
def test_between_two_fires_there_is_a_recovery_and_before_each_enough_bad_values(row: list[bool], size: int) -> None:
    found = walk(Rule("ctr", below=0.5, evaluations=size, cool_down_hours=0.0), [float(good) for good in row])
    marks = ["fire" if one.fires else "recover" for one in found if one.fires or one.recovers]
    assert marks == (["fire", "recover"] * len(marks))[: len(marks)]
    for number, one in enumerate(found):
        if one.fires:
            assert not any(row[number - size + 1 : number + 1])
        if one.recovers:
            assert all(row[number - size + 1 : number + 1])


def test_a_value_that_was_judged_is_not_judged_again() -> None:
    history = [point(0.0, HOUR)]
    first = judged(RULE, State(), history, HOUR)
    again = judged(RULE, first.state, history, 2 * HOUR)
    assert (again.state, again.fires) == (first.state, False)


def test_a_rule_rests_after_it_has_fired_and_fires_again_when_it_is_still_bad_then() -> None:
    rule = Rule("ctr", below=0.5, evaluations=2, cool_down_hours=8.0)
    found = walk(rule, [0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0])
    assert [number for number, one in enumerate(found) if one.fires] == [1, 9]
    assert found[8].state.state == "failing"


def test_others_may_keep_a_rule_quiet() -> None:
    rule = Rule("ctr", below=0.5, evaluations=1, cool_down_hours=0.0)
    assert not judged(rule, State(), [point(0.0, HOUR)], HOUR, quiet_until=2 * HOUR).fires
    assert judged(rule, State(), [point(0.0, 2 * HOUR)], 2 * HOUR, quiet_until=2 * HOUR).fires


def test_over_a_bound_is_bad_for_above() -> None:
    rule = Rule("lag", above=10.0, evaluations=1)
    assert not judged(rule, State(), [point(10.0, 1)], 1).fires
    assert judged(rule, State(), [point(10.5, 1)], 1).fires


def test_a_drop_is_measured_against_the_mean_before_by_how_many_stand_behind_it() -> None:
    rule = Rule("ctr", drop=0.5, baseline_hours=10.0, evaluations=2)
    history = [point(0.2, HOUR, n=300), point(0.1, 2 * HOUR, n=100), point(0.9, -20 * HOUR)]
    found = judged(rule, State(), [*history, point(0.1, 3 * HOUR)], 3 * HOUR)
    assert found.state.bound == pytest.approx(0.5 * (0.2 * 300 + 0.1 * 100) / 400)
    assert found.state.state == "well"


def test_a_fall_does_not_become_its_own_baseline_until_nothing_else_is_left() -> None:
    rule = Rule("ctr", drop=0.3, baseline_hours=24.0, evaluations=3, cool_down_hours=0.0)
    found = walk(rule, [1.0] * 10 + [0.5] * 60)
    assert [number for number, one in enumerate(found) if one.fires] == [12]
    assert found[30].state.bound == pytest.approx(0.7)
    recovered = [number for number, one in enumerate(found) if one.recovers]
    assert len(recovered) == 1, "what has been so for longer than the window is the new normal"
    assert 33 < recovered[0] < 45


def test_without_a_baseline_nothing_is_judged() -> None:
    found = walk(Rule("ctr", drop=0.3, evaluations=3), [1.0, 0.1, 0.1])
    assert [one.state.state for one in found] == ["unknown"] * 3
    assert not any(one.fires for one in found)


def test_unknown_small_and_later_values_are_no_values() -> None:
    rule = Rule("ctr", below=0.5, evaluations=1, least=50)
    history = [point(math.nan, 1), point(0.0, 2, n=49), point(0.0, 100)]
    assert judged(rule, State(), history, 10) == Judged(State())


def test_a_rule_looks_at_its_own_points() -> None:
    everything, live, kind = Rule("ctr", below=1.0), Rule("ctr", model="live", below=1.0), Rule("ctr", model="als", below=1.0)
    assert of_rule(everything, "als-2", point(1, 1))
    assert not of_rule(everything, "als-2", point(1, 1, model="als-2"))
    assert of_rule(live, "als-2", point(1, 1, model="als-2"))
    assert not of_rule(live, "als-2", point(1, 1, model="als-1"))
    assert not of_rule(live, "", point(1, 1))
    assert of_rule(kind, "nmf-2", point(1, 1, model="als-1"))
    assert not of_rule(kind, "nmf-2", point(1, 1, model="alsace-1"))
    assert not of_rule(everything, "", point(1, 1, slice="new users"))
    assert of_rule(Rule("ctr", slice="new users", below=1.0), "", point(1, 1, slice="new users"))


def test_a_rule_without_a_bound_or_with_two_is_refused() -> None:
    for wrong in ({}, {"below": 1.0, "above": 2.0}):
        with pytest.raises(ValueError, match="one of below, above and drop"):
            Rule("ctr", **wrong)  # type: ignore[arg-type]  # wrong on purpose
