"""Who counts in an experiment, since when, and what an interaction of theirs is worth to a metric: what all its queries share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import ibis
import ibis.expr.types as ir

from tastemaker.config import Config, Metric, Rewards
from tastemaker.domain import Experiment, encode_json
from tastemaker.errors import InputError, did_you_mean
from tastemaker.features.rewards import DAY, final_column, reward_column

WEEK = 7 * DAY  # how long after an answer something may still be said to come of it, where surfaces count
TWICE = ""  # the arm of those who met more than one
Tables = Mapping[str, ir.Table]
"""``exposures``, ``interactions``, ``decisions`` and ``views``; one without rows is not there."""


@dataclass(frozen=True)
class Question:
    """What is asked of the events. ``until``: the last moment that counts; ``since``: nobody is exposed before it (ms)."""

    experiment: Experiment
    metrics: Mapping[str, Metric]
    rewards: Rewards
    until: int
    since: int = 0

    @property
    def span(self) -> int:
        """Milliseconds before an exposure that matter to any metric."""
        return round(DAY * max((metric.before_days for metric in self.metrics.values()), default=0.0))


def exposed(exposures: ir.Table, question: Question) -> ir.Table:
    """A row for each unit that counts: ``n`` (a number for its name), ``unit``, ``arm`` and ``first``, when it met it.

    Those who were put into an arm by hand are left out.
    """
    experiment = question.experiment
    own = exposures.filter(
        exposures.experiment == experiment.name, exposures.version == experiment.version, exposures.time <= question.until,
        exposures.arm.isin([arm.name for arm in experiment.arms]),
    )  # fmt: skip
    if experiment.forced:
        own = own.filter(own.unit.notin(sorted(experiment.forced)))
    units = own.group_by("unit").agg(
        low=own.arm.min(), high=own.arm.max(), first=own.time.min(), forced=(own.reason == "forced").fill_null(False).any()
    )
    units = units.filter(~units.forced)
    one = (units.low == units.high) | (experiment.kind == "interleaving")
    return units.select("unit", "first", n=ibis.row_number(), arm=one.ifelse(units.low, TWICE))


def in_experiment(decisions: ir.Table, question: Question) -> ir.Table:
    """Answers that name the experiment, since anybody met it."""
    named = encode_json(question.experiment.name).decode() + ":"  # a key of JSON without blanks; values cannot look like it
    return decisions.filter(decisions.time <= question.until, decisions.time >= question.since, decisions.arms.contains(named))


def on_surfaces(tables: Tables, question: Question) -> Tables:
    """The same tables, of which only what happened on the experiment's surfaces counts, before the exposure as after it.

    Decisions of other surfaces are left out, and so are views of them. Interactions stay, but those with an answer of elsewhere
    name none: a metric of attributed interactions does not see them, while one of all that a user does goes on to see them, for
    what one surface takes from another must not look like a gain. An answer of more than a ``WEEK`` before is not looked for.
    """
    surfaces, decisions = question.experiment.surfaces, tables.get("decisions")
    if not surfaces:
        return tables
    if decisions is None:
        left = {name: table for name, table in tables.items() if name != "views"}
        events = left.get("interactions")
        return left if events is None else {**left, "interactions": events.mutate(decision=ibis.null("string"))}
    own = decisions.filter(decisions.surface.isin(surfaces))
    old = own.filter(own.time >= question.since - question.span - WEEK, own.time <= question.until)
    answers = old.group_by(answer=old.id).agg(answered=old.time.min())
    found = {**tables, "decisions": own}
    for name in ("views", "interactions"):
        if (events := tables.get(name)) is not None:
            kept = events.join if name == "views" else events.left_join
            joined = kept(answers, [events.decision == answers.answer, events.time <= answers.answered + WEEK])
            found[name] = joined.mutate(decision=joined.answer).drop("answer", "answered")
    return found


def by_unit(
    events: ir.Table, units: ir.Table, question: Question, amounts: Callable[[ir.Table], Mapping[str, ir.Value]]
) -> tuple[ir.Table, list[str]]:
    """Each unit's events, each once: ``n``, ``since`` (ms from the exposure, negative before it) and amounts; and their names."""
    near = events.filter(events.time <= question.until, events.time >= question.since - question.span)
    joined = near.join(units.select("n", "unit", "first"), near.user == units.unit)
    joined = joined.filter(joined.time >= joined.first - question.span)
    found = {name: value.cast("float64") for name, value in amounts(joined).items()}
    wide = joined.select("n", event=joined.id.hash(), since=joined.time - joined.first, **found)
    once = wide.group_by("n", "event").agg(since=wide.since.min(), **{name: wide[name].max() for name in found})
    return once, list(found)


def counts(t: ir.Table, metric: Metric) -> ir.BooleanValue:
    """Whether an interaction is one of those that the metric is about."""
    found = t.decision.notnull() if metric.attributed else ibis.literal(True)
    return found & t.kind.isin(metric.kinds) if metric.kinds else found


def worth(t: ir.Table, metric: Metric, question: Question) -> ir.Value:
    """Of an interaction that counts. A reward that nobody knows yet is 0, in all arms alike."""
    if metric.of == "value":
        return t.value.fill_null(0.0)
    if metric.of == "reward":
        known = final_column(question.rewards, t) <= question.until
        return known.ifelse(reward_column(question.rewards, t.kind, t.value), 0.0)
    return ibis.literal(1.0)


def question_of(config: Config, experiment: Experiment, now: int) -> Question:
    """An experiment's question by the configuration. Raises ``InputError`` for a metric that is not there."""
    known = config.experiments.metrics
    names = tuple(dict.fromkeys((*experiment.metrics, *experiment.guardrails)))
    for name in names:
        if name not in known:
            raise InputError(
                f"experiment {experiment.name!r}.metrics", name, f"[experiments.metrics] has none; {did_you_mean(name, known)}"
            )
    until = now if experiment.ended is None else min(now, experiment.ended)
    return Question(experiment, {name: known[name] for name in names}, config.rewards, until)
