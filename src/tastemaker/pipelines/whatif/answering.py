"""From weighed slates to answers: what each policy would have earned, beside what was earned, and how sure that is.

An estimate without support is no estimate: its answer says why. Intervals are over users, and each model's stands for itself: who
asks about twenty at once will find one that seems better by chance.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from tastemaker.config import Config
from tastemaker.domain import Interval, Scalar
from tastemaker.errors import NotFound
from tastemaker.evaluation.counterfactual import Comparison, Estimate, Logged, cascade_dr, compared
from tastemaker.evaluation.expected_rewards import by_slot
from tastemaker.models import Progress, silent
from tastemaker.pipelines.whatif.question import Question, metric_of, others
from tastemaker.pipelines.whatif.reading import YOUNG, Drawn, Past
from tastemaker.pipelines.whatif.weighing import Weighed, Weighing, padded
from tastemaker.storage import Storage

FEW = 50  # users, below which an interval is too narrow
Verdict = Literal["better", "worse", "unclear", "same", "refused"]


class Answer(Struct, frozen=True):
    """What is known of one policy. ``text`` says it in a sentence; where it is refused, why.

    ``value``: reward an answer under it; ``difference``: from what was earned. ``doubly_robust``: the value by an estimator that
    leans on a model of rewards, for slates of the commonest length; another way to the same number. ``ess``: effective slates
    behind each slot. ``own``: slates that its model drew; ``unlike``: those that the lake's histories score in another way.
    """

    model: str
    version: str
    verdict: Verdict
    text: str
    value: Interval | None = None
    difference: Interval | None = None
    doubly_robust: Interval | None = None
    ess: tuple[float, ...] = ()
    clipped: float = 0.0
    mean_weight: float = 1.0
    own: int = 0
    unlike: int = 0
    warnings: tuple[str, ...] = ()


class Answers(Struct, frozen=True):
    """All answers to a question. ``logged``: the reward an answer by the policy that drew."""

    metric: str
    settings: dict[str, Scalar]
    surface: str
    within_hours: float
    slots: int
    slates: int
    users: int
    first: int  # epoch ms, of the slates that count
    last: int
    left_out: dict[str, int]
    logged: Interval
    models: tuple[Answer, ...]


@dataclass
class Span:
    """The time of the slates that count."""

    first: int = 2**63 - 1
    last: int = 0

    def see(self, time: int) -> None:
        self.first, self.last = min(self.first, time), max(self.last, time)


def whatif(storage: Storage, config: Config, question: Question, now: int, progress: Progress = silent) -> Answers:
    """Answers a question from the lake as it is now. Raises ``NotFound`` where there is no slate to answer from."""
    better = 1 if metric_of(config, question.metric).better == "up" else -1
    asked = others(storage, config, question)
    with Drawn(storage, config, question, now) as drawn:
        if not drawn.total:
            raise NotFound(
                "the lake holds no drawn slates of that time and surface: set slates.explore above 0, serve, then "
                "`tastemaker run hourly`"
            )
        span = Span()

        def seen() -> Iterator[Past]:
            for past in drawn:
                span.see(past.decision.time)
                yield past

        progress(0, drawn.total, "slates")
        made = Weighing.of(asked, seen(), lambda done: progress(done + sum(drawn.left_out.values()), drawn.total, "slates"))
        left_out = dict(drawn.left_out)
    if not made.logged:
        raise NotFound(nothing_left(left_out, question))
    progress(len(made.logged) + sum(left_out.values()), drawn.total, "estimates")
    models = tuple(answered(made, weighed, question.metric, better) for weighed in made.policies)
    return Answers(
        question.metric, question.settings, question.surface, question.within_hours, question.slots, len(made.logged),
        len(made.users), span.first, span.last, left_out, earned(made), models,
    )  # fmt: skip


def nothing_left(left_out: dict[str, int], question: Question) -> str:
    """Why no slate counts."""
    told = ", ".join(f"{count:,} {reason}" for reason, count in left_out.items())
    remedy = f"; wait, or let what comes within fewer hours than {question.within_hours:g} count" if YOUNG in left_out else ""
    return f"none of the drawn slates counts: {told}{remedy}"


def earned(made: Weighing) -> Interval:
    """The reward an answer by the policy that drew, over users."""
    sums = np.array([rewards.sum() for rewards in made.rewards])
    mean = float(sums.mean())
    apart = np.bincount(made.user_of, sums - mean)
    half = float(1.959963984540054 * np.sqrt((apart**2).sum()) / len(sums))
    return Interval(mean, mean - half, mean + half, len(made.users))


def answered(made: Weighing, weighed: Weighed, metric: str, better: int) -> Answer:
    """About one policy. ``better``: 1, or -1 where less is better."""
    other = weighed.other
    logged, cluster = padded(made.logged), np.array(made.user_of, np.int64)
    rewards, target = padded(made.rewards), padded([row.target for row in weighed.rows])
    try:
        found = compared(Logged.of(rewards, logged, target, cluster))
        robust = doubly_robust(made, weighed)
    except NotFound as error:
        return Answer(
            other.name, other.version, "refused", f"of {other.name} nothing can be told: {error}", own=weighed.own,
            unlike=weighed.unlike,
        )  # fmt: skip
    verdict = verdict_of(found.difference, better)
    warnings = (*found.target.warnings, *cautions(made, weighed))
    return Answer(
        other.name, other.version, verdict, sentence(other.name, verdict, metric, found), interval(found.target, made),
        found.difference, None if robust is None else interval(robust, made), found.target.ess, found.target.clipped,
        found.target.mean_weight, weighed.own, weighed.unlike, warnings,
    )  # fmt: skip


def interval(found: Estimate, made: Weighing) -> Interval:
    return Interval(found.value, found.low, found.high, len(made.users))


def doubly_robust(made: Weighing, weighed: Weighed) -> Estimate | None:
    """By a model of rewards as well, for slates of the commonest length; None where too few slates are left."""
    lengths = np.array([len(row) for row in made.logged])
    slots = int(np.bincount(lengths).argmax())
    rows = np.nonzero(lengths == slots)[0].tolist()
    cluster = np.unique(np.array(made.user_of, np.int64)[rows], return_inverse=True)[1].astype(np.int64)

    def taken(arrays: list[npt.NDArray[np.float64]]) -> npt.NDArray[np.float64]:
        return np.array([arrays[row] for row in rows])

    rewards, shown = taken(made.rewards), taken([row.shown for row in weighed.rows])
    expected, instead = by_slot(shown, taken([row.drawn for row in weighed.rows]), rewards, cluster)
    data = Logged.of(rewards, taken(made.logged), taken([row.target for row in weighed.rows]), cluster)
    try:
        return cascade_dr(data, expected, instead)
    except NotFound:
        return None


def verdict_of(difference: Interval, better: int) -> Verdict:
    """What an interval of a difference says."""
    if difference.low == difference.high == 0:
        return "same"
    if difference.low <= 0 <= difference.high:
        return "unclear"
    return "better" if difference.value * better > 0 else "worse"


def sentence(name: str, verdict: Verdict, metric: str, found: Comparison) -> str:
    """One answer in words."""
    target, logged, difference = found.target.value, found.logged.value, found.difference
    if verdict == "same":
        return f"{name} draws as these slates were drawn: {metric} {logged:.4g} an answer, and nothing to compare"
    share = f" ({difference.value / logged:+.1%})" if logged else ""
    numbers = (
        f"{metric} {target:.4g} an answer in place of {logged:.4g}, {difference.value:+.4g}{share}, "
        f"interval {difference.low:+.4g} to {difference.high:+.4g}"
    )
    if verdict == "unclear":
        return f"whether {name} would have done better cannot be told: {numbers}"
    return f"{name} would have done {verdict}: {numbers}"


def cautions(made: Weighing, weighed: Weighed) -> list[str]:
    """What a reader should know."""
    found = []
    if len(made.users) < FEW:
        found.append(f"{len(made.users)} users only: intervals are too narrow")
    if weighed.unlike:
        found.append(
            f"{weighed.unlike:,} of {weighed.own:,} slates that it drew itself get other scores by the histories of the lake: "
            "rewards were changed, or events removed since"
        )
    return found
