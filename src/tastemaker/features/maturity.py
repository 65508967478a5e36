"""What a learner may read of events of which more may come: nothing, or what usually comes of them; never that nothing came.

A click is worth what is watched after it. Read too early it is worth nothing, and so are all of today's clicks, whatever they
lead to (Chapelle, "Modeling delayed feedback in display advertising", KDD 2014). So an event that is not mature is masked, and
so is all that came of it: to keep what has come already would choose those of which something came.

Or its remainder is imputed: the mean of what came of mature events of its kind after that age. What comes of an event is each
later event of the same user and item, until the next one that waits, and while ``mature_hours`` last. So nothing is counted
twice, and the sum over all events is right on average as long as people wait as long as they did.

Ages are cut at ``(j / CUTS)^2`` of the waiting time, finer at the start, where most comes; between the cuts the remainder is
linear in the root of the age.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import ibis
import ibis.expr.types as ir

from tastemaker.config import Rewards
from tastemaker.features.rewards import final_column, reward_column, wait

CUTS = 16
PAIR = ("user", "item")


@dataclass(frozen=True)
class Imputer:
    """Kind -> what is still to come of one event at the age of each cut, (CUTS + 1,); 0 at the last one."""

    remainders: Mapping[str, tuple[float, ...]]

    @classmethod
    def of(cls, rows: Iterable[Mapping[str, Any]]) -> Imputer:
        """From the rows of ``outcomes``. A kind of which nothing is mature yet is unknown, and stays masked."""
        sums: dict[str, list[float]] = {}
        counts: dict[str, int] = {}
        for row in rows:
            total = sums.setdefault(row["kind"], [0.0] * CUTS)
            if row["cut"] < 0:
                counts[row["kind"]] = int(row["events"])
            else:
                total[row["cut"]] += row["worth"]
        return cls({kind: tuple(sum(sums[kind][cut:]) / n for cut in range(CUTS + 1)) for kind, n in counts.items() if n})

    def predict(self, rewards: Rewards, kind: str, age: int) -> float:
        """What is still to come of an event of a kind that is ``age`` milliseconds old; NaN for a kind that is unknown.

        >>> from tastemaker.config import Reward
        >>> left = Imputer({"click": tuple(1.0 - cut / CUTS for cut in range(CUTS + 1))})
        >>> left.predict(Rewards(kinds={"click": Reward(mature_hours=1.0)}), "click", 900_000)
        0.5
        """
        left = self.remainders.get(kind)
        if left is None:
            return float("nan")
        rule = rewards.kinds.get(kind)
        if rule is None or age >= wait(rule):
            return 0.0
        place = CUTS * math.sqrt(max(age, 0) / wait(rule))
        cut = int(place)
        return left[cut] + (place - cut) * (left[cut + 1] - left[cut])

    def column(self, rewards: Rewards, kind: ir.StringColumn, age: ir.IntegerColumn) -> ir.FloatingColumn:
        """``predict`` over columns; 0 for kinds that are unknown."""
        result = ibis.literal(0.0)
        for name, left in self.remainders.items():
            if name not in rewards.kinds or not wait(rewards.kinds[name]):
                continue
            place = CUTS * (ibis.greatest(age, 0) / float(wait(rewards.kinds[name]))).sqrt()
            worth = ibis.literal(0.0)
            for cut in reversed(range(CUTS)):
                there = left[cut] + (place - cut) * (left[cut + 1] - left[cut])
                worth = (place < cut + 1).ifelse(there, worth)
            result = (kind == name).ifelse(worth, result)
        return result


def waiting(rewards: Rewards) -> list[str]:
    """Kinds of which more may come."""
    return [kind for kind, rule in rewards.kinds.items() if wait(rule)]


def outcomes(events: ir.Table, rewards: Rewards, now: int) -> ir.Table:
    """What came of mature events, for ``Imputer.of``: ``kind, cut, worth, events``; at cut -1 how many events there were.

    ``events``: each once (``distinct_events``), of the time before ``now``.
    """
    waits = events.kind.isin(waiting(rewards))
    rows = events.select(
        *PAIR, "time", "offset", "kind", waits=waits, final=final_column(rewards, events), worth=worth_of(events, rewards)
    )
    in_order = ibis.cumulative_window(group_by=PAIR, order_by=("time", "offset"))
    rows = rows.mutate(stretch=rows.waits.cast("int64").sum().over(in_order)).filter(lambda t: t.stretch > 0)
    whole = ibis.window(group_by=(*PAIR, "stretch"))
    first = rows.mutate(
        cause=rows.waits.ifelse(rows.kind, ibis.null("string")).max().over(whole),
        begun=rows.time.min().over(whole),
        ripe=rows.waits.ifelse(rows.final, ibis.null("int64")).max().over(whole),
    )
    first = first.filter(first.ripe < now)
    share = (first.time - first.begun) / whole_wait(rewards, first.cause)
    cut = first.waits.ifelse(ibis.literal(-1.0), (CUTS * share.sqrt()).floor())
    placed = first.filter(first.waits | (share < 1.0)).mutate(cut=cut.cast("int64"))
    grouped = placed.group_by(kind=placed.cause, cut=placed.cut)
    return grouped.aggregate(worth=placed.worth.sum(), events=placed.count())


def whole_wait(rewards: Rewards, kind: ir.StringColumn) -> ir.FloatingColumn:
    """How long events of a kind wait, in milliseconds."""
    result = ibis.literal(1.0)
    for name in waiting(rewards):
        result = (kind == name).ifelse(ibis.literal(float(wait(rewards.kinds[name]))), result)
    return result


def worth_of(events: ir.Table, rewards: Rewards) -> ir.FloatingColumn:
    return reward_column(rewards, events.kind, events.value)


def settled(events: ir.Table, rewards: Rewards, now: ir.IntegerValue | int, imputer: Imputer | None = None) -> ir.Table:
    """Rewarded events, with a ``weight``, as a learner at ``now`` (ms) may read them.

    ``events``: each once, of the time before ``now``. Without an imputer whatever is not mature is left out, and what came of it.
    """
    rows = events.mutate(mature=final_column(rewards, events) < now)
    known = [] if imputer is None else [kind for kind in imputer.remainders if kind in waiting(rewards)]
    rows = imputed(rows, rewards, now, imputer, known) if imputer is not None and known else rows.mutate(barred=~rows.mature)
    if waiting(rewards):  # what came of a masked event is masked
        since = rows.barred.ifelse(rows.time, ibis.null("int64")).min().over(ibis.window(group_by=PAIR))
        rows = rows.mutate(since=since)
        rows = rows.filter(rows.since.isnull() | (rows.time < rows.since)).drop("since")
    return rows.filter(~rows.barred).drop("barred", "mature")


def imputed(rows: ir.Table, rewards: Rewards, now: ir.IntegerValue | int, imputer: Imputer, known: list[str]) -> ir.Table:
    """The last event of each pair that waits gets its remainder; the others ended when it began."""
    waits = rows.kind.isin(waiting(rewards))
    last = ibis.window(group_by=PAIR, order_by=(ibis.desc(waits), ibis.desc("time"), ibis.desc("offset")))
    rows = rows.mutate(nth=ibis.row_number().over(last), barred=~rows.mature & ~rows.kind.isin(known))
    open_ = (rows.nth == 0) & ~rows.mature & rows.kind.isin(known)
    remainder = imputer.column(rewards, rows.kind, now - rows.time)
    return rows.mutate(weight=open_.ifelse(rows.weight + remainder, rows.weight)).drop("nth")
