"""What each unit of an experiment did since it met it, added up by arm: one query, whose answer is all that analysis needs.

A unit counts from its first exposure on, and in one arm: who met two is counted apart. Of its events each id counts once. They
are added up for each unit, then multiplied and added up over units, so a table of events of any size becomes a few numbers
by arm and metric: ``Moments``. Of an experiment on some surfaces only their answers count (``exposing.on_surfaces``). Tables
have the columns of the lake; where the rows come from (the lake alone, or with what the log holds behind it) is the caller's
business, so both give the same numbers. Nothing computes until the caller executes it.

The covariate of a metric of sums is the same sum before the exposure. That of a ratio is ``y - R x`` before the exposure, where
R is the ratio of all units before theirs: a unit that had little to divide by must not count as much as one that had more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import combinations_with_replacement
from typing import Any

import ibis
import ibis.expr.types as ir

from tastemaker.domain import Experiment
from tastemaker.evaluation import preferring
from tastemaker.evaluation.exposing import TWICE, Question, Tables, by_unit, counts, exposed, in_experiment, on_surfaces, worth
from tastemaker.experiments.moments import Moments
from tastemaker.experiments.verdicts import Data
from tastemaker.features.rewards import DAY

PARTS = ("y", "x", "v", "w")  # of a unit: numerator and denominator after the exposure, and the same before it


def summed(once: ir.Table, names: Mapping[str, float]) -> ir.Table:
    """Sums for each unit: ``NAME`` since the exposure, ``NAME_before`` in so many days before it."""
    columns = {}
    for name, days in names.items():
        columns[name] = once[name].sum(where=once.since >= 0)
        columns[f"{name}_before"] = once[name].sum(where=(once.since < 0) & (once.since >= -round(days * DAY)))
    return once.group_by("n").agg(**columns)


def of_interactions(question: Question) -> Callable[[ir.Table], Mapping[str, ir.Value]]:
    """What each interaction adds to the numerators, and to denominators that are interactions."""

    def amounts(t: ir.Table) -> Mapping[str, ir.Value]:
        found: dict[str, ir.Value] = {}
        for name, metric in question.metrics.items():
            found[f"y_{name}"] = counts(t, metric).ifelse(worth(t, metric, question), 0.0)
            if metric.per == "interactions":
                found[f"x_{name}"] = t.decision.notnull().cast("float64")
        return found

    return amounts


def of_others(question: Question, table: str) -> Callable[[ir.Table], Mapping[str, ir.Value]]:
    """What each decision or view adds to denominators."""

    def amounts(t: ir.Table) -> Mapping[str, ir.Value]:
        found: dict[str, ir.Value] = {}
        for name, metric in question.metrics.items():
            if TABLE_OF.get(metric.per) == table:
                found[f"x_{name}"] = t.slots.length().fill_null(0) if metric.per == "slots" else ibis.literal(1.0)
        return found

    return amounts


TABLE_OF = {"decisions": "decisions", "slots": "decisions", "views": "views"}


def sums_by_arm(tables: Tables, question: Question) -> ir.Table:
    """The query: a row for each arm with its units, and for each metric the sums of its parts and of their products."""
    units = exposed(tables["exposures"], question)
    wanted = {"interactions": of_interactions(question)}
    for table in dict.fromkeys(TABLE_OF[metric.per] for metric in question.metrics.values() if metric.per in TABLE_OF):
        wanted[table] = of_others(question, table)
    whole, known = units.select("n", "arm"), set[str]()
    for table, amounts in wanted.items():
        if table not in tables:
            continue
        once, names = by_unit(tables[table], units, question, amounts)
        days = {name: question.metrics[name[2:]].before_days for name in names}
        sums = summed(once, days)
        right = sums.rename(own="n")
        whole = whole.left_join(right, whole.n == right.own).drop("own")
        known |= set(sums.columns)
    return multiplied(whole, known, question)


def multiplied(whole: ir.Table, known: set[str], question: Question) -> ir.Table:
    """Of one row a unit, the sums over the units of each arm."""
    parts = {}
    for name, metric in question.metrics.items():
        for part, column in zip(PARTS, (f"y_{name}", f"x_{name}", f"y_{name}_before", f"x_{name}_before"), strict=True):
            value: ir.Value = whole[column].fill_null(0.0) if column in known else ibis.literal(0.0)
            if part in "yv":
                value = ibis.least(value, metric.most if metric.of != "users" else 1.0)
            if metric.per == "users" and part in "xw":
                value = ibis.literal(1.0 if part == "x" else 0.0)
            parts[f"{part}_{name}"] = value
    flat = whole.select("arm", **parts)
    found: dict[str, ir.Value] = {}
    for name in question.metrics:
        for part in PARTS:
            found[f"{part}_{name}"] = flat[f"{part}_{name}"].sum()
        for a, b in combinations_with_replacement(PARTS, 2):
            found[f"{a}{b}_{name}"] = (flat[f"{a}_{name}"] * flat[f"{b}_{name}"]).sum()
    return flat.group_by("arm").agg(units=flat.count(), **found)


def measured(tables: Tables, question: Question) -> Data:
    """What is known of an experiment from these events."""
    exposures = tables.get("exposures")
    began = None if exposures is None else began_of(exposures, question.experiment)
    if began is None:
        return Data({}, 0, {}, reward=question.rewards.version)
    asked = replace(question, since=began)
    chosen = on_surfaces(tables, asked)
    if question.experiment.kind == "interleaving":
        found = preferring.measured(chosen, asked)
    else:
        found = data_of(sums_by_arm(chosen, asked).to_pyarrow().to_pylist(), asked)
    return replace(found, reward=question.rewards.version, answers=answers_of(chosen, asked))


def began_of(exposures: ir.Table, experiment: Experiment) -> int | None:
    """When the first unit was exposed: what is long before it need not be read; None: nobody was."""
    own = exposures.filter(exposures.experiment == experiment.name, exposures.version == experiment.version)
    found = own.agg(began=own.time.min()).to_pyarrow().to_pylist()[0]["began"]
    return None if found is None else int(found)


def data_of(rows: list[dict[str, Any]], question: Question) -> Data:
    """What the query's rows say, for ``verdicts.judge``."""
    arms = {row["arm"]: row for row in rows if row["arm"] != TWICE}
    moments = {}
    for name in question.metrics:
        before = [sum(row[f"{part}_{name}"] for row in arms.values()) for part in "vw"]
        rate = before[0] / before[1] if before[1] else 0.0
        moments[name] = {arm: moments_of(row, name, rate) for arm, row in arms.items()}
    return Data(
        units={arm: int(row["units"]) for arm, row in arms.items()},
        twice=sum(int(row["units"]) for row in rows if row["arm"] == TWICE),
        moments=moments,
        better={name: metric.better for name, metric in question.metrics.items()},
    )


def answers_of(tables: Tables, question: Question) -> dict[str, int]:
    """Version of the rewards -> answers of the experiment that were given while it held, each once."""
    decisions = tables.get("decisions")
    if decisions is None:
        return {}
    own = in_experiment(decisions, question)
    rows = own.group_by("reward").agg(count=own.id.hash().nunique()).to_pyarrow().to_pylist()
    return {row["reward"] or "": int(row["count"]) for row in rows}


def moments_of(row: Mapping[str, Any], name: str, rate: float) -> Moments:
    """Of an arm and metric. The covariate is ``v - rate w``, so its sums follow from those of v and w."""
    s = {key.removesuffix(f"_{name}"): float(value) for key, value in row.items() if key.endswith(f"_{name}")}
    return Moments(
        n=float(row["units"]), y=s["y"], yy=s["yy"], x=s["x"], xx=s["xx"], xy=s["yx"],
        z=s["v"] - rate * s["w"],
        zz=s["vv"] - 2 * rate * s["vw"] + rate**2 * s["ww"],
        yz=s["yv"] - rate * s["yw"],
        xz=s["xv"] - rate * s["xw"],
    )  # fmt: skip
