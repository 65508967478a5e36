"""What is told of an experiment: one report, as a value that the terminal, the page, the API and the history all show.

An A/B test's verdicts are those of ``verdicts.judge``. Two rankings that were interleaved have one: whether the second is
preferred, by the units' preferences beside 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from msgspec import Struct, field

from tastemaker.domain import Experiment
from tastemaker.experiments.effects import alone
from tastemaker.experiments.intervals import ALPHA, Bounds, anytime, anytime_p, hybrid, p_value, split
from tastemaker.experiments.moments import Moments
from tastemaker.experiments.verdicts import LEAST, Data, Decision, Result, Verdict, judge, planned_of

NAN = math.nan


class Change(Struct, frozen=True):
    """A metric in two arms, the difference between the bounds of its interval, and the same as a share of the control."""

    metric: str
    better: str
    control: float
    treatment: float
    change: float
    low: float
    high: float
    relative: float = NAN
    relative_low: float = NAN
    relative_high: float = NAN
    p: float = NAN
    n: float = 0.0
    final: bool = False


class Guarded(Struct, frozen=True):
    """A guardrail: ``worst`` is the relative change at the bad end of its interval."""

    metric: str
    margin: float
    harmed: bool
    held: bool
    worst: float


class Conclusion(Struct, frozen=True):
    """Of one treatment. ``holm``: p-values of the secondary metrics, to be read together."""

    arm: str
    decision: Decision
    text: str
    changes: tuple[Change, ...] = ()
    guards: tuple[Guarded, ...] = ()
    holm: dict[str, float] = field(default_factory=dict)


class Report(Struct, frozen=True):
    """Of an experiment, of events up to ``time`` (epoch ms) from the lake or the stream."""

    experiment: str
    version: int
    kind: str
    state: str
    time: int
    source: str
    units: dict[str, int]
    twice: int
    planned: int
    conclusions: tuple[Conclusion, ...]
    alpha: float = ALPHA  # probability of calling something a difference that is none
    reward: str = ""  # version of the rewards by which events were counted
    answers: dict[str, int] = field(default_factory=dict)  # version of the rewards -> answers that were given under it
    warnings: tuple[str, ...] = ()


def report(experiment: Experiment, data: Data, source: str, now: int, alpha: float = ALPHA) -> Report:
    """Everything that is concluded from data."""
    verdicts = judge(experiment, data, alpha) if experiment.kind == "ab" else [preferred(experiment, data, alpha)]
    places = {arm.name: place for place, arm in enumerate(experiment.arms)}
    units = dict(sorted(data.units.items(), key=lambda pair: places.get(pair[0], 0)))
    return Report(
        experiment.name, experiment.version, experiment.kind, experiment.state, now, source, units, data.twice,
        experiment.planned, tuple(map(conclusion, verdicts)), alpha, data.reward, dict(sorted(data.answers.items())),
        tuple(warned(data)),
    )  # fmt: skip


def warned(data: Data) -> Iterator[str]:
    """What a reader has to know of the numbers, though it does not forbid conclusions."""
    told = ", ".join(f"{count:,} under {name!r}" for name, count in sorted(data.answers.items()))
    if len(data.answers) > 1:
        yield (
            f"the rewards have changed while it ran: answers were given {told}. Events are counted by {data.reward!r} "
            "throughout, but what models had learnt to look for was not the same all the time"
        )
    elif data.answers and data.reward not in data.answers:
        yield f"answers were given under other rewards than events are counted by now: {told}, counted by {data.reward!r}"


def preferred(experiment: Experiment, data: Data, alpha: float = ALPHA) -> Verdict:
    """Whether the second ranking is preferred: from -1, nobody does, to 1, everybody."""
    first, second = (arm.name for arm in experiment.arms)
    name = next(iter(data.moments), "preference")
    moments = data.moments.get(name, {}).get(second, Moments())
    if float(moments.n) < LEAST:
        return Verdict(second, "undecided", f"{float(moments.n):,.0f} units gave credit: nothing is concluded before {LEAST}")
    effect, planned = alone(moments), planned_of(experiment)
    ended = bool(experiment.planned) and effect.n >= planned
    bounds = hybrid(effect, planned, *split(alpha)) if experiment.planned else anytime(effect, alpha, planned)
    p = p_value(effect) if ended else anytime_p(effect, planned, alpha)
    unknown = Bounds(NAN, NAN, NAN, bounds.alpha, bounds.final)
    result = Result(name, "up", effect, bounds, unknown, float(p))
    told = f"preference for {second} {float(effect.value):+.3f} ({float(bounds.low):+.3f} to {float(bounds.high):+.3f})"
    decision: Decision = "ship" if result.good else "keep" if result.bad or bounds.final else "undecided"
    words = {"ship": f"{second} is preferred to {first}", "undecided": "not yet sure, go on"}
    why = words.get(decision, f"{first} is preferred" if result.bad else "the planned size is reached, and nothing is sure")
    return Verdict(second, decision, f"{told}: {why}", {name: result})


def conclusion(verdict: Verdict) -> Conclusion:
    """A verdict as plain values."""
    changes = tuple(change(result) for result in verdict.results.values())
    guards = tuple(Guarded(g.metric, g.margin, g.harmed, g.held, float(g.worst)) for g in verdict.guards)
    return Conclusion(verdict.arm, verdict.decision, verdict.text, changes, guards, dict(verdict.holm))


def change(result: Result) -> Change:
    e, b, r = result.effect, result.bounds, result.relative
    return Change(
        result.metric, result.better, float(e.control), float(e.treatment), float(b.value), float(b.low), float(b.high),
        float(r.value), float(r.low), float(r.high), float(result.p), float(e.n), bool(b.final),
    )  # fmt: skip


def encode(made: Report) -> str:
    """JSON, in which a number that nobody knows is null."""
    return msgspec.json.encode(made).decode()


def decode(text: str) -> Report:
    """What ``encode`` made."""
    return msgspec.convert(known(msgspec.json.decode(text)), Report)


def known(value: Any) -> Any:
    """Null as NaN: no other field of a report can be null."""
    if isinstance(value, Mapping):
        return {name: known(part) for name, part in value.items()}
    if isinstance(value, list):
        return [known(part) for part in value]
    return NAN if value is None else value
