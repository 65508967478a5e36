"""Rules over the metrics history: when is a value bad, and when has it been bad for long enough to do something about it.

A rule fires after so many bad values in a row, once, and must recover by as many good ones before it may fire again. So a
value that dances around its bound starts nothing, and one that stays bad starts one thing. All of it is pure: the state goes
in and comes out, and whoever calls keeps it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from tastemaker.config import Rule
from tastemaker.storage.tables.learning import Metric

HOUR = 3_600_000


class State(Struct, frozen=True):
    """Where a rule stands. ``state``: unknown (no value yet), well, failing (bad, not for long enough), fired.

    Times are epoch ms: of the last value that was judged, of the first bad one of the row, and when it fired last.
    """

    state: str = "unknown"
    bad: int = 0
    good: int = 0
    time: int = 0
    since: int | None = None
    fired: int | None = None
    value: float | None = None
    bound: float | None = None


class Judged(Struct, frozen=True):
    """What one evaluation made of a rule."""

    state: State
    fires: bool = False
    recovers: bool = False
    text: str = ""


def judged(rule: Rule, before: State, history: Sequence[Metric], now: int, quiet_until: int = 0) -> Judged:
    """The rule's state after its newest value, if there is one that was not judged before.

    ``history``: the rule's own points, in any order; ``quiet_until``: the rule cannot fire before this time, because of what
    others have started.
    """
    points = sorted(usable(rule, history, now), key=lambda point: point.time)
    if not points or points[-1].time <= before.time:
        return Judged(before)
    point = points[-1]
    bound = bound_of(rule, before, points[:-1], point)
    if bound is None:
        return Judged(replace(before, time=point.time, value=point.value, bound=None))
    bad = point.value > bound if rule.above is not None else point.value < bound
    return advanced(rule, before, point, bound, bad, quiet_until)


def usable(rule: Rule, history: Sequence[Metric], now: int) -> list[Metric]:
    """Points that say something: known, over enough users or events, and not of a later time than the evaluation's."""
    return [point for point in history if point.time <= now and point.n >= rule.least and not math.isnan(point.value)]


def bound_of(rule: Rule, before: State, earlier: Sequence[Metric], point: Metric) -> float | None:
    """The value that separates good from bad; None where a baseline cannot be told yet."""
    fixed = rule.above if rule.above is not None else rule.below
    if fixed is not None:
        return fixed
    assert rule.drop is not None
    base = baseline(rule, before, earlier, point.time)
    return None if base is None else (1 - rule.drop) * base


def baseline(rule: Rule, before: State, earlier: Sequence[Metric], time: int) -> float | None:
    """The mean of the window before, by how many stand behind each value.

    What has been bad already is left out, as long as anything else is left: a fall must not become its own baseline.
    """
    window = [point for point in earlier if point.time >= time - rule.baseline_hours * HOUR]
    healthy = window if before.since is None else [point for point in window if point.time < before.since]
    chosen = healthy or window
    if len(chosen) < rule.evaluations:
        return None
    weights = [max(point.n, 1) for point in chosen]
    return sum(point.value * weight for point, weight in zip(chosen, weights, strict=True)) / sum(weights)


def advanced(rule: Rule, before: State, point: Metric, bound: float, bad: bool, quiet_until: int) -> Judged:
    """One value further."""
    after = replace(
        before,
        bad=before.bad + 1 if bad else 0,
        good=0 if bad else before.good + 1,
        time=point.time,
        since=None if not bad and before.state != "fired" else before.since or (point.time if bad else None),
        value=point.value,
        bound=bound,
    )
    if before.state == "fired":
        recovers = after.good >= rule.evaluations
        return Judged(replace(after, state="well", since=None) if recovers else after, recovers=recovers, text=told(rule, after))
    rests = before.fired is not None and point.time < before.fired + rule.cool_down_hours * HOUR
    fires = after.bad >= rule.evaluations and not rests and point.time >= quiet_until
    if fires:
        return Judged(replace(after, state="fired", fired=point.time), fires=True, text=told(rule, after))
    return Judged(replace(after, state="failing" if bad else "well"), text=told(rule, after))


def told(rule: Rule, state: State) -> str:
    """The state as a sentence.

    >>> told(Rule("ctr", below=0.05), State(value=0.04, bound=0.05, bad=3))
    'ctr is 0.04, under 0.05, 3 times in a row'
    """
    assert state.value is not None
    assert state.bound is not None
    subject = " of ".join(part for part in (rule.metric, rule.model, "" if rule.slice == "all" else rule.slice) if part)
    side = "over" if state.value > state.bound else "under" if state.value < state.bound else "at"
    base = f" ({rule.drop:.0%} under its mean of {rule.baseline_hours:g} hours)" if rule.drop is not None else ""
    row = f"{state.bad} times in a row" if state.bad else f"well {state.good} times in a row"
    return f"{subject} is {state.value:.4g}, {side} {state.bound:.4g}{base}, {row}"


def of_rule(rule: Rule, live: str, point: Metric) -> bool:
    """Whether a point of the rule's metric is one of those it looks at; ``live``: the live version, empty where there is none."""
    if point.slice != rule.slice:
        return False
    if rule.model in ("", "live"):
        return point.model == live and bool(live) if rule.model else not point.model
    return point.model == rule.model or point.model.startswith(f"{rule.model}-")
