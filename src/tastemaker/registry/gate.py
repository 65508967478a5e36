"""The gate: a list of questions that a model must answer before it goes live.

Each check is one function that gets the facts and returns its answer with a sentence that states the numbers. A new check is
one function and one name in ``CHECKS``. Nothing here reads or writes: the verdict is a value, and whoever asked stores it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from tastemaker.config import Gate
from tastemaker.domain import Check, Verdict
from tastemaker.errors import InputError
from tastemaker.evaluation.compare import paired_difference
from tastemaker.evaluation.evaluate import Evaluation


@dataclass(frozen=True)
class Contender:
    """A model at the gate. The live model must have been judged on the same split as the candidate."""

    version: str
    evaluation: Evaluation
    events: int  # training events


@dataclass(frozen=True)
class Facts:
    """All that a check may look at."""

    candidate: Contender
    live: Contender | None
    gate: Gate
    metric: str  # such as ndcg@10


CheckFunction: TypeAlias = Callable[[Facts], Check]


def judge(candidate: Contender, live: Contender | None, gate: Gate, metric: str, now: int) -> Verdict:
    """The verdict on a candidate; it passes if every check does. ``live`` is None where no model is live yet.

    Raises ``InputError`` if the metric was not computed, or the two were judged on different users.
    """
    for contender in filter(None, (candidate, live)):
        if metric not in contender.evaluation.per_user:
            raise InputError("metric", metric, f"{contender.version} was judged by {', '.join(contender.evaluation.per_user)}")
    if live is not None and not np.array_equal(candidate.evaluation.rows, live.evaluation.rows):
        raise InputError("live", live.version, f"judge it on the same split as {candidate.version}: their users differ")
    facts = Facts(candidate, live, gate, metric)
    checks = tuple(check(facts) for check in CHECKS)
    return Verdict(candidate.version, live.version if live else None, all(check.passed for check in checks), checks, now)


def finite(facts: Facts) -> Check:
    """Data quality: every metric is a number."""
    evaluation = facts.candidate.evaluation
    broken = [name for name, values in evaluation.per_user.items() if not np.isfinite(values).all()]
    broken += [name for name, value in evaluation.beyond.items() if not np.isfinite(value)]
    message = f"not a number: {', '.join(broken)}" if broken else "every metric is a number"
    return Check("finite", float(len(broken)), 0.0, not broken, message)


def users(facts: Facts) -> Check:
    """Enough users to judge by."""
    n, fewest = facts.candidate.evaluation.users, facts.gate.users
    return Check("users", float(n), float(fewest), n >= fewest, f"judged by {n} users; {fewest} are needed")


def floor(facts: Facts) -> Check:
    """The metric is not near zero."""
    found, least = facts.candidate.evaluation.intervals[facts.metric], facts.gate.floor
    message = f"{facts.metric} is {found.value:.4f} [{found.low:.4f}, {found.high:.4f}]; at least {least:.4f} is needed"
    return Check("floor", found.value, least, found.value >= least, message)


def not_worse(facts: Facts) -> Check:
    """Against the live model, user by user: the mean may lose no more than the margin."""
    if facts.live is None:
        return Check("not_worse", 0.0, 0.0, True, "no model is live, so there is nothing to lose")
    mine, other = (c.evaluation.per_user[facts.metric] for c in (facts.candidate, facts.live))
    found = paired_difference(mine, other)
    # an equal model must pass, also where rounding makes its mean smaller in the last digit
    bound = -facts.gate.margin * float(np.mean(other)) - 1e-12
    message = (
        f"{facts.metric} differs from {facts.live.version} by {found.value:+.4f} [{found.low:+.4f}, {found.high:+.4f}] "
        f"over {found.n} users; a loss of {-bound:.4f} ({facts.gate.margin:.1%}) is allowed"
    )
    return Check("not_worse", found.value, bound, bool(found.value >= bound), message)


def coverage(facts: Facts) -> Check:
    """Not the same few items for everybody. A catalogue that nobody touched yet for the most part does not raise the bar."""
    name = f"coverage@{facts.metric.partition('@')[2]}"
    judged = facts.candidate.evaluation
    found, least = judged.beyond[name], facts.gate.coverage * judged.touched
    message = (
        f"{found:.1%} of the catalogue is recommended to somebody ({name}); {least:.1%} is needed, "
        f"{facts.gate.coverage:.1%} of the {judged.touched:.1%} with training events"
    )
    return Check("coverage", found, least, found >= least, message)


def latency(facts: Facts) -> Check:
    """An answer comes in time."""
    found, most = facts.candidate.evaluation.latency_ms, facts.gate.latency_ms
    return Check("latency", found, most, found <= most, f"one user's list takes {found:.2f} ms; {most:g} ms are allowed")


def events(facts: Facts) -> Check:
    """Data quality: the training data did not shrink, which would mean that an import or a filter broke."""
    n = facts.candidate.events
    if facts.live is None:
        return Check("events", float(n), 1.0, n >= 1, f"trained on {n} events")
    fewest = facts.live.events * (1.0 - facts.gate.loss_of_events)
    message = f"trained on {n} events; {facts.live.version} had {facts.live.events}, and at least {fewest:.0f} are needed"
    return Check("events", float(n), fewest, n >= fewest, message)


CHECKS: tuple[CheckFunction, ...] = (finite, events, users, floor, not_worse, coverage, latency)
