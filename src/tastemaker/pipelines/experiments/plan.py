"""How many units an experiment takes, from what users did of late: the lake is asked as if all of them had been exposed."""

from __future__ import annotations

import math
from dataclasses import dataclass

import ibis

from tastemaker.config import Config
from tastemaker.domain import Arm, Experiment
from tastemaker.errors import InputError
from tastemaker.evaluation.exposing import question_of
from tastemaker.evaluation.measuring import measured
from tastemaker.experiments.effects import estimate
from tastemaker.experiments.intervals import split
from tastemaker.experiments.planning import sample_size, smallest_effect
from tastemaker.features.rewards import DAY
from tastemaker.features.table import connect
from tastemaker.pipelines.experiments.measure import TABLES
from tastemaker.storage import Storage

ARM = "all"


@dataclass(frozen=True)
class Size:
    """``units`` in each arm, and ``days`` until so many have come, if as many come every day as of late.

    ``seen``: users in the time that was looked at, whose metric has the ``value``; ``smallest``: the relative change that these
    could show, shared among the arms.
    """

    metric: str
    mde: float
    units: int
    days: float
    seen: int
    value: float
    smallest: float


def size(
    storage: Storage,
    config: Config,
    metric: str,
    mde: float,
    now: int,
    *,
    days: float = 14.0,
    arms: int = 2,
    coverage: float = 1.0,
) -> Size:
    """Plans an experiment that decides by a metric. Raises ``InputError`` where the lake has too little to plan from.

    Users who come again are counted once in ``seen``, so an experiment that lasts longer than ``days`` takes longer still.
    """
    for name, given, good in (("days", days, days > 0), ("arms", arms, arms >= 2), ("coverage", coverage, 0 < coverage <= 1)):
        if not good:
            raise InputError(name, given, "give days above 0, two arms or more, a coverage above 0 and up to 1")
    asked = Experiment("planned", (Arm(ARM), Arm("other")), metrics=(metric,))
    question = question_of(config, asked, now)
    connection = connect()
    try:
        found = {name: storage.lake.scan(connection, name) for name in TABLES}
        decisions = found["decisions"]
        if decisions is None:
            raise InputError("metric", metric, "the lake has no answers yet to plan from: run `tastemaker archive --once`")
        late = decisions.filter(decisions.time >= now - round(days * DAY), decisions.time <= now)
        met = late.group_by(unit=late.user).agg(time=late.time.min())
        own = {"experiment": "planned", "arm": ARM, "reason": "hashed"}
        met = met.mutate(version=ibis.literal(1), **{name: ibis.literal(text) for name, text in own.items()})
        tables = {name: table for name, table in found.items() if table is not None} | {"exposures": met}
        moments = measured(tables, question).moments.get(metric, {}).get(ARM)
    finally:
        connection.disconnect()
    if moments is None or moments.n < 2:
        raise InputError("days", days, "hardly anybody came in these days: look at more of them")
    _, late = split(config.experiments.alpha)
    alpha = late / (arms - 1)  # as the verdict shares it among treatments
    units, each = sample_size(moments, mde, alpha=alpha), max(1, int(moments.n * coverage / arms))
    needed = units * arms / (float(moments.n) * coverage) * days
    return Size(metric, mde, units, math.ceil(10 * needed) / 10, int(moments.n), float(estimate(moments).value),
                smallest_effect(moments, each, alpha=alpha))  # fmt: skip
