"""Which of two interleaved rankings is preferred: what each unit did with the items that either of them brought.

An interaction is credit of the team of its slot, found by decision and item; an item that both rankings would have shown is
nobody's. A unit's preference is (b - a) / (a + b) of its credits in all (``interleaving.preference``); units without credit
do not count.
"""

from __future__ import annotations

import ibis
import ibis.expr.types as ir

from tastemaker.config import Metric
from tastemaker.evaluation.exposing import Question, Tables, counts, exposed, in_experiment, worth
from tastemaker.experiments.moments import Moments
from tastemaker.experiments.verdicts import Data

PREFERENCE = "preference"  # the metric
BOTH = "both"  # the arm of all units: each sees both rankings


def measured(tables: Tables, question: Question) -> Data:
    """Units, and the moments of their preference for the second arm."""
    units = exposed(tables["exposures"], question)
    count = int(units.count().to_pyarrow().as_py())
    second = question.experiment.arms[1].name
    if "decisions" not in tables or "interactions" not in tables:
        return Data({BOTH: count}, 0, {PREFERENCE: {second: Moments()}})
    found = credits(tables, units, question).filter(ibis._.a + ibis._.b > 0)
    found = found.select(p=(found.b - found.a) / (found.a + found.b))
    row = found.agg(n=found.count(), y=found.p.sum(), yy=(found.p * found.p).sum()).to_pyarrow().to_pylist()[0]
    n, y, yy = (float(row[name] or 0.0) for name in ("n", "y", "yy"))
    return Data({BOTH: count}, 0, {PREFERENCE: {second: Moments(n=n, y=y, yy=yy, x=n, xx=n, xy=y)}})


def credits(tables: Tables, units: ir.Table, question: Question) -> ir.Table:
    """``a`` and ``b`` of each unit that did something with what it was shown: the credit of the first arm and of the second."""
    metric = question.metrics[question.experiment.metrics[0]]
    earned = interactions(tables["interactions"], metric, question)
    brought = slots(tables["decisions"], units, question)
    joined = brought.join(earned, ["decision", "item"]).filter(lambda t: t.n_user == t.user)
    sums = joined.group_by("n").agg(a=joined.worth.sum(where=joined.team == 0), b=joined.worth.sum(where=joined.team == 1))
    return sums.mutate(a=sums.a.fill_null(0.0), b=sums.b.fill_null(0.0))


def interactions(events: ir.Table, metric: Metric, question: Question) -> ir.Table:
    """Each interaction that counts, once: ``decision``, ``item``, ``user`` and what it is worth."""
    near = events.filter(events.time <= question.until, events.time >= question.since, events.decision.notnull())
    near = near.filter(counts(near, metric))
    wide = near.select("decision", "item", "user", "id", worth=worth(near, metric, question).cast("float64"))
    return wide.group_by("decision", "item", "user", "id").agg(worth=wide.worth.max())


def slots(decisions: ir.Table, units: ir.Table, question: Question) -> ir.Table:
    """Places of decisions that one team only has brought: ``n``, ``n_user``, ``decision``, ``item``, ``team``."""
    near = in_experiment(decisions, question)
    joined = near.join(units.select("n", "unit", "first"), near.user == units.unit).filter(lambda t: t.time >= t.first)
    wide = joined.select("n", n_user="unit", decision="id", slot=joined.slots.unnest())
    flat = wide.select("n", "n_user", "decision", item=wide.slot.item, team=wide.slot.team, shared=wide.slot.in_both)
    own = flat.filter(flat.team >= 0, ~flat.shared)
    return own.group_by("n", "n_user", "decision", "item").agg(team=own.team.min())
