"""What may be concluded now, in words that decide something: ship, keep, undecided, or broken, and why.

A verdict never rests on one number. First, whether the experiment can be believed at all: the shares of its arms, units that met
two of them, enough units. Then whether anything is harmed, then whether the metric that decides has moved, and last whether the
guardrails have held.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from tastemaker.domain import Experiment
from tastemaker.experiments.counts import log_evidence
from tastemaker.experiments.effects import Effect, difference, lift
from tastemaker.experiments.intervals import (
    ALPHA,
    PLANNED,
    Bounds,
    anytime,
    anytime_p,
    fixed,
    holm,
    hybrid,
    one_sided,
    p_value,
    split,
)  # fmt: skip
from tastemaker.experiments.moments import Moments

LEAST = 100  # units in each arm, before which nothing is concluded
RATIO = 0.001  # probability of calling a healthy experiment broken
TWICE = 0.01  # share of units in two arms that is still borne
Decision = Literal["ship", "keep", "undecided", "broken"]
Better = Literal["up", "down"]


@dataclass(frozen=True)
class Result:
    """A metric of a treatment beside the control. ``bounds`` are those of the absolute change, ``relative`` of the lift."""

    metric: str
    better: Better
    effect: Effect
    bounds: Bounds
    relative: Bounds
    p: float  # valid at any look before the planned size, and for the one look there

    @property
    def good(self) -> bool:
        """Surely better."""
        return bool(self.bounds.low > 0 if self.better == "up" else self.bounds.high < 0)

    @property
    def bad(self) -> bool:
        """Surely worse."""
        return bool(self.bounds.high < 0 if self.better == "up" else self.bounds.low > 0)


@dataclass(frozen=True)
class Guard:
    """A guardrail: ``harmed``: surely worse; ``held``: surely not worse by more than the margin."""

    metric: str
    margin: float
    harmed: bool
    held: bool
    worst: float  # the relative change at the bad end of its interval


@dataclass(frozen=True)
class Verdict:
    """Of one treatment."""

    arm: str
    decision: Decision
    text: str
    results: dict[str, Result] = field(default_factory=dict)
    guards: tuple[Guard, ...] = ()
    holm: dict[str, float] = field(default_factory=dict)  # p-values of the secondary metrics, to be read together


@dataclass(frozen=True)
class Data:
    """What is known of an experiment: units of each arm, units that met more than one, and moments by metric and arm.

    ``reward`` is the version of the rewards by which events were counted. Answers of the experiment name the one that held when
    they were given: ``answers`` has their number by version.
    """

    units: Mapping[str, int]
    twice: int
    moments: Mapping[str, Mapping[str, Moments]]
    better: Mapping[str, Better] = field(default_factory=dict)  # "up" where a metric is not named
    reward: str = ""
    answers: Mapping[str, int] = field(default_factory=dict)


def judge(experiment: Experiment, data: Data, alpha: float = ALPHA) -> list[Verdict]:
    """A verdict on each treatment, each with its share of ``alpha``: the probability of seeing a difference that is none."""
    control, *treatments = [arm.name for arm in experiment.arms]
    why = doubts(experiment, data)
    return [verdict(experiment, data, control, arm, alpha, len(treatments), why) for arm in treatments]


def doubts(experiment: Experiment, data: Data) -> str:
    """Why nothing may be concluded, whatever the numbers; empty: it may."""
    arms = [arm.name for arm in experiment.arms]
    counts, weights = [data.units.get(arm, 0) for arm in arms], [arm.weight for arm in experiment.arms]
    total = sum(counts)
    if total and log_evidence(counts, weights) >= -np.log(RATIO):
        told = ", ".join(
            f"{arm} {count:,} ({weight:.0%} planned)" for arm, count, weight in zip(arms, counts, weights, strict=True)
        )
        return f"the shares of the arms are not those that were planned: {told}. Something drops or adds units of one arm"
    if total and data.twice > TWICE * (total + data.twice):
        return f"{data.twice:,} units met more than one arm, of {total:,}: something moves them, or two units share an id"
    return ""


def verdict(
    experiment: Experiment, data: Data, control: str, arm: str, alpha: float = ALPHA, treatments: int = 1, why: str = ""
) -> Verdict:
    """Of one treatment. Where there are several, each has its share of the error."""
    named = [name for name in dict.fromkeys((*experiment.metrics, *experiment.guardrails)) if has(data, name, control, arm)]
    results = {name: result(experiment, data, name, control, arm, alpha / treatments) for name in named}
    guards = tuple(
        guard(experiment, data, name, margin, control, arm, alpha)
        for name, margin in experiment.guardrails.items()
        if name in results
    )
    others = {name: results[name].p for name in experiment.metrics[1:] if name in results}
    decision, text = decided(experiment, data, control, arm, results, guards, why)
    return Verdict(arm, decision, text, results, guards, holm(others))


def has(data: Data, metric: str, *arms: str) -> bool:
    """Whether a metric can be compared: two units in each arm at least."""
    found = data.moments.get(metric, {})
    return all(arm in found and found[arm].n >= 2 and found[arm].x > 0 for arm in arms)


def planned_of(experiment: Experiment) -> float:
    """Units in both arms of a comparison; where two rankings are interleaved, each unit is in both."""
    each = 1.0 if experiment.kind == "interleaving" else 2.0
    return each * experiment.planned if experiment.planned else float(PLANNED)


def result(experiment: Experiment, data: Data, metric: str, control: str, arm: str, alpha: float = ALPHA) -> Result:
    """A metric, with intervals that bear being looked at."""
    a, b = data.moments[metric][control], data.moments[metric][arm]
    change, relative, planned = difference(a, b), lift(a, b), planned_of(experiment)
    ended = bool(experiment.planned) and change.n >= planned

    def bounds(effect: Effect) -> Bounds:
        if not experiment.planned:
            return anytime(effect, alpha, planned)
        return hybrid(effect, planned, *split(alpha))

    p = p_value(change) if ended else anytime_p(change, planned, alpha)
    return Result(metric, data.better.get(metric, "up"), change, bounds(change), bounds(relative), float(p))


def guard(experiment: Experiment, data: Data, metric: str, margin: float, control: str, arm: str, alpha: float = ALPHA) -> Guard:
    """Of a guardrail: harm is looked for at all times, that it held is asked at the end."""
    a, b = data.moments[metric][control], data.moments[metric][arm]
    relative, planned = lift(a, b), planned_of(experiment)
    low, high = one_sided(relative, alpha, planned)
    up = data.better.get(metric, "up") == "up"
    at_end = fixed(relative, 2 * alpha) if experiment.planned and relative.n >= planned else anytime(relative, 2 * alpha, planned)
    worst = at_end.low if up else -at_end.high
    return Guard(metric, margin, bool(high < 0 if up else low > 0), bool(worst > -margin), float(worst))


def decided(
    experiment: Experiment, data: Data, control: str, arm: str, results: Mapping[str, Result], guards: Sequence[Guard], why: str
) -> tuple[Decision, str]:
    """The decision and its reason."""
    if why:
        return "broken", f"{why}. No number of it means anything until that is found"
    least, primary = min(data.units.get(control, 0), data.units.get(arm, 0)), experiment.metrics[0]
    if primary not in results or least < LEAST:
        return "undecided", f"{least:,} units in the smaller arm: nothing is concluded before there are {LEAST}"
    main = results[primary]
    harmed = [guard.metric for guard in guards if guard.harmed]
    if harmed:
        return "keep", f"{arm} harms {', '.join(harmed)}, whatever else it does"
    if main.bad:
        return "keep", f"{told(main)}: {arm} is worse than {control}"
    if main.good:
        loose = [guard.metric for guard in guards if not guard.held]
        if loose and not main.bounds.final:
            return "undecided", f"{told(main)}: better, but {', '.join(loose)} may still have lost more than is borne; go on"
        if loose:
            return "keep", f"{told(main)}: better, but {', '.join(loose)} may have lost more than is borne"
        return "ship", f"{told(main)}: {arm} is better than {control}" + (", and the guardrails hold" if guards else "")
    if -experiment.mde < main.relative.low and main.relative.high < experiment.mde:
        return "keep", f"{told(main)}: no difference that is worth having ({experiment.mde:.1%} was asked for)"
    if main.bounds.final:
        return "keep", f"{told(main)}: the planned size is reached, and no difference is sure"
    return "undecided", f"{told(main)}: {progress(experiment, main)}"


def told(found: Result) -> str:
    """A change in words.

    >>> from tastemaker.experiments.effects import Effect
    >>> told(Result("ctr", "up", Effect(.1, .1, 9, 9, 1., 1.1), Bounds(.1, 0, 1, .05), Bounds(.1, -.02, .22, .05), .5))
    'ctr 1 -> 1.1, +10.0 % (-2.0 to +22.0)'
    """
    value, low, high = (100 * float(part) for part in (found.relative.value, found.relative.low, found.relative.high))
    change = f"{value:+.1f} % ({low:+.1f} to {high:+.1f})" if np.isfinite(value) else f"{float(found.effect.value):+.4g}"
    return f"{found.metric} {float(found.effect.control):.4g} -> {float(found.effect.treatment):.4g}, {change}"


def progress(experiment: Experiment, found: Result) -> str:
    if not experiment.planned:
        return f"not yet sure after {found.effect.n:,.0f} units; no size was planned"
    return f"{found.effect.n:,.0f} of {planned_of(experiment):,.0f} planned units, go on"
