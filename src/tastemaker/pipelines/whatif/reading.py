"""Drawn slates from the lake: each with the history that its user had then, and with what came of it.

Decisions and interactions come ordered by user and are read side by side, so that only one user's rows are in memory at a time.
The engine sorts them, on the disk where memory does not do.

A slate is left out, and counted, where its reward is not known yet: its answer is too young, or more may come of an interaction
than is known. So are those of strangers, whose history came with their request and is nowhere. Users who were erased are not
read.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

import ibis
import ibis.expr.types as ir
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from msgspec.structs import replace

from tastemaker.config import Config, Metric, Rewards
from tastemaker.domain import Decision, History
from tastemaker.features.rewards import final_column, reward_column
from tastemaker.features.table import distinct_events
from tastemaker.pipelines.engines import Here
from tastemaker.pipelines.large_training import workspace
from tastemaker.pipelines.training import PLACE
from tastemaker.pipelines.whatif.question import Question, longest_wait, metric_of
from tastemaker.slates.rescored import logged, readable
from tastemaker.storage import Storage
from tastemaker.storage.columns import from_table

ROWS = 2048  # decisions, with all their candidates, that are read at once
NEEDED = (
    "partition", "offset", "id", "time", "user", "surface", "feature_snapshot", "policy", "models", "explore", "temperature",
    "candidates", "scores", "slots",
)  # fmt: skip
STRANGERS, YOUNG, UNREADABLE = "of strangers", "too young", "not drawn as this version reads it"


class Event(NamedTuple):
    """An interaction, as far as it matters here."""

    user: str
    partition: int
    offset: int
    time: int
    item: str
    decision: str | None
    weight: float  # in histories
    amount: float  # what it adds to the answer's reward
    final: int  # when both are known


TYPES = (
    pa.string(),
    pa.int32(),
    pa.int64(),
    pa.int64(),
    pa.string(),
    pa.string(),
    pa.float64(),
    pa.float64(),
    pa.int64(),
)  # fmt: skip - DuckDB takes constants for decimal numbers


class Past(NamedTuple):
    """A drawn slate, what was known of its user, and what came of it."""

    decision: Decision
    history: History
    logged: npt.NDArray[np.float64]  # (slots,) of those that were drawn
    rewards: npt.NDArray[np.float64]  # (slots,)


class Drawn:
    """The drawn slates of a question, in the lake as it is now. ``left_out``: reason -> how many were, of those read by now."""

    def __init__(self, storage: Storage, config: Config, question: Question, now: int) -> None:
        self.storage, self.config, self.question = storage, config, question
        self.metric = metric_of(config, question.metric)
        self.left_out: Counter[str] = Counter()
        self.engines = Here(), Here()  # an engine tells one long answer at a time
        newest = [self._newest(name) for name in ("decisions", "interactions")]
        self.known = min(now, max(newest))  # later than that the lake knows nothing
        decisions = self._decisions(self.engines[0])
        self.total = 0 if decisions is None else int(decisions.count().to_pyarrow().as_py())

    def close(self) -> None:
        for engine in self.engines:
            engine.connection.disconnect()

    def __enter__(self) -> Drawn:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _newest(self, name: str) -> int:
        found = self.engines[0].scan(self.storage.lake, name)
        time = None if found is None else found.time.max().to_pyarrow().as_py()
        return -1 if time is None else int(time)

    def _decisions(self, engine: Here) -> ir.Table | None:
        found = engine.scan(self.storage.lake, "decisions")
        if found is None:
            return None
        asked = self.question
        found = found.filter(found.explore.fill_null(False), found.time >= asked.since, found.time < asked.until)
        if asked.surface:
            found = found.filter(found.surface == asked.surface)
        found = distinct_events(found.select([name for name in NEEDED if name in found.columns]))
        erased = engine.scan(self.storage.lake, "erasures")
        return found if erased is None else found.anti_join(erased.select("user").distinct(), "user")

    def _interactions(self, engine: Here) -> ir.Table | None:
        """Those of the users who have drawn slates, by user, then as histories have them."""
        found, decisions = engine.scan(self.storage.lake, "interactions"), self._decisions(engine)
        if found is None or decisions is None:
            return None
        once = distinct_events(found.semi_join(decisions.select("user").distinct(), "user"))
        rewards = self.config.rewards
        rows = once.select(
            "user", "partition", "offset", "time", "item", "decision", weight=reward_column(rewards, once.kind, once.value),
            amount=amount(once, self.metric, rewards), final=final_column(rewards, once),
        )  # fmt: skip
        return rows.filter((rows.weight != 0.0) | rows.decision.notnull()).order_by("user", "time", "offset")

    def __iter__(self) -> Iterator[Past]:
        """By user, then by time."""
        with workspace(self.config.home / PLACE) as folder:
            interactions = groupby(self._events(folder), key=attrgetter("user"))
            user, events = next(interactions, (None, iter(())))
            for asking, records in groupby(self._records(folder), key=lambda record: record.event.user):
                while user is not None and user < asking:
                    user, events = next(interactions, (None, iter(())))
                yield from self._of_user(records, list(events) if user == asking else [])

    def _records(self, folder: Path) -> Iterator[DecisionRecord]:
        query = self._decisions(self.engines[0])
        if query is None:
            return
        in_order = query.order_by("user", "time", "offset")
        for batch in self.engines[0].batches(in_order, folder / "decisions", self.config.train.memory_mb // 2, ROWS):
            for record in from_table("decisions", pa.Table.from_batches([batch])):
                assert isinstance(record.event, Decision)
                yield DecisionRecord(record.partition, record.event)

    def _events(self, folder: Path) -> Iterator[Event]:
        query = self._interactions(self.engines[1])
        if query is None:
            return
        for batch in self.engines[1].batches(query, folder / "interactions", self.config.train.memory_mb // 2):
            columns = (column.cast(kind).to_pylist() for column, kind in zip(batch.columns, TYPES, strict=True))
            yield from map(Event._make, zip(*columns, strict=True))

    def _of_user(self, records: Iterable[DecisionRecord], events: list[Event]) -> Iterator[Past]:
        answers: dict[str, list[Event]] = defaultdict(list)
        for event in events:
            if event.decision is not None:
                answers[event.decision].append(event)
        for partition, decision in records:
            found = self._past(partition, decision, events, answers.get(decision.id, []))
            if isinstance(found, str):
                self.left_out[found] += 1
            else:
                yield found

    def _past(self, partition: int, decision: Decision, events: list[Event], answers: list[Event]) -> Past | str:
        """A slate with what belongs to it, or why it is left out."""
        snapshot = snapshot_of(decision)
        if snapshot < 0:
            return STRANGERS
        end = decision.time + self.question.within
        if end + longest_wait(self.metric, self.config.rewards) > self.known:
            return YOUNG
        counted = [event for event in answers if event.time <= end]
        if self.metric.of != "interactions" and any(event.amount and event.final > self.known for event in counted):
            return YOUNG
        if self.question.slots:
            decision = replace(decision, slots=decision.slots[: self.question.slots])
        if not readable(decision):
            return UNREADABLE
        chances = logged(decision)
        history = history_of(events, partition, snapshot, self.config.rewards.history)
        return Past(decision, history, chances, rewards_of(decision, len(chances), counted))


class DecisionRecord(NamedTuple):
    """A decision and its partition of the log."""

    partition: int
    event: Decision


def amount(events: ir.Table, metric: Metric, rewards: Rewards) -> ir.Value:
    """What each interaction adds to the reward of the answer that it names."""
    found: ir.Value = ibis.literal(1.0)
    if metric.of == "value":
        found = events.value.fill_null(0.0).cast("float64")
    if metric.of == "reward":
        found = reward_column(rewards, events.kind, events.value)
    counts = events.decision.notnull()
    return (counts & events.kind.isin(metric.kinds) if metric.kinds else counts).ifelse(found, 0.0)


def snapshot_of(decision: Decision) -> int:
    """The offset of the last event that the answer knew of; -1 where it stands for nothing in the log."""
    try:
        return int(decision.feature_snapshot)
    except ValueError:
        return -1


def history_of(events: Iterable[Event], partition: int, snapshot: int, length: int) -> History:
    """The newest ``length`` rewarded events up to an offset, as the state had them. ``events``: by time, then offset."""
    own = [event for event in events if event.weight and event.partition == partition and event.offset <= snapshot][-length:]
    return History(tuple(event.item for event in own), tuple(event.weight for event in own), tuple(event.time for event in own))


def rewards_of(decision: Decision, slots: int, answers: Iterable[Event]) -> npt.NDArray[np.float64]:
    """(slots,) what came of each of the first slots."""
    found = np.zeros(slots)
    place = {slot.item: number for number, slot in enumerate(decision.slots[:slots])}
    for event in answers:
        if event.item in place:
            found[place[event.item]] += event.amount
    return found
