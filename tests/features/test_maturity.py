"""Rewards that are known late: masked until they are, or completed by what usually comes, and never read as nothing."""

from __future__ import annotations

from typing import Any

import ibis
import numpy as np
import pytest

from tastemaker.config import Reward, Rewards
from tastemaker.domain import Interaction
from tastemaker.features.maturity import CUTS, Imputer, outcomes, settled
from tastemaker.features.rewards import HOUR, final_column, label, reward_column
from tastemaker.features.table import connect

CON = connect(threads=1)
TYPES = {"user": "string", "item": "string", "time": "int64", "offset": "int64", "kind": "string", "value": "float64"}
SCHEMA = ibis.schema(TYPES | {"mature_at": "int64"})
LATE = Rewards(
    default=0.0,
    kinds={"click": Reward(weight=0.0, mature_hours=48.0), "watch": Reward(weight=1.0, scale=1.0, cap=1.0)},
)


def tabled(events: list[Interaction]) -> ibis.Table:
    names = ("user", "item", "time", "kind", "value", "mature_at")
    rows = [{name: getattr(event, name) for name in names} | {"offset": n} for n, event in enumerate(events)]
    return ibis.memtable(rows, schema=SCHEMA)


def read(events: ibis.Table, rewards: Rewards, now: int, imputer: Imputer | None = None) -> list[dict[str, Any]]:
    weighed = events.mutate(weight=reward_column(rewards, events.kind, events.value))
    return list(CON.to_pyarrow(settled(weighed, rewards, now, imputer).order_by("time", "offset")).to_pylist())


def learnt(events: ibis.Table, rewards: Rewards, now: int) -> Imputer:
    return Imputer.of(CON.to_pyarrow(outcomes(events.filter(events.time < now), rewards, now)).to_pylist())


def delayed(clicks: int, seed: int) -> list[Interaction]:
    """Clicks over ten days; after six of ten comes the watched share, on average eight hours later."""
    random = np.random.default_rng(seed)
    found = []
    for number in range(clicks):
        time = int(random.uniform(0, 240 * HOUR))
        user, item = f"u{number % 97}", f"i{number}"
        found.append(Interaction(f"c{number}", time, user, item, "click"))
        if random.random() < 0.6:
            later = time + 1 + int(random.exponential(8 * HOUR))
            found.append(Interaction(f"w{number}", later, user, item, "watch", float(random.random())))
    return sorted(found, key=lambda event: event.time)


def test_a_label_is_mature_at_the_same_time_as_value_and_as_column() -> None:
    events = [
        Interaction("a", 5 * HOUR, "u", "i", "click"),
        Interaction("b", 5 * HOUR, "u", "i", "click", mature_at=6 * HOUR),
        Interaction("c", 5 * HOUR, "u", "i", "watch", 0.5, mature_at=1 * HOUR),
        Interaction("d", 5 * HOUR, "u", "i", "other", 0.5),
    ]
    table = tabled(events)
    finals = CON.to_pyarrow(table.select("offset", final=final_column(LATE, table)).order_by("offset"))["final"].to_pylist()
    assert finals == [53 * HOUR, 6 * HOUR, 5 * HOUR, 5 * HOUR]
    for event, final in zip(events, finals, strict=True):
        assert label(LATE, event, final) == (label(LATE, event, final + 1)[0], False)
        assert label(LATE, event, final + 1)[1]


def test_what_is_masked_takes_what_came_of_it_along_and_leaves_what_was_there_before() -> None:
    events = [
        Interaction("old", 0, "u", "i", "watch", 0.9),
        Interaction("click", 100 * HOUR, "u", "i", "click"),
        Interaction("watch", 101 * HOUR, "u", "i", "watch", 0.8),
        Interaction("other", 101 * HOUR, "u", "j", "watch", 0.7),
    ]
    assert [row["value"] for row in read(tabled(events), LATE, 102 * HOUR)] == [0.9, 0.7]
    assert [row["value"] for row in read(tabled(events), LATE, 149 * HOUR)] == [0.9, None, 0.8, 0.7]


def test_an_event_that_names_its_own_time_waits_for_it_under_any_table() -> None:
    events = [Interaction("a", 0, "u", "i", "rating", 4.0, mature_at=10), Interaction("b", 1, "u", "j", "rating", 4.0)]
    assert [row["item"] for row in read(tabled(events), Rewards(), 10)] == ["j"]
    assert [row["item"] for row in read(tabled(events), Rewards(), 11)] == ["i", "j"]


def test_the_imputer_knows_what_is_still_to_come_at_each_age() -> None:
    """Against the means of the mature clicks themselves, counted by hand."""
    events, now = delayed(3000, 1), 240 * HOUR
    imputer = learnt(tabled(events), LATE, now)
    ripe = {event.item: event.time for event in events if event.kind == "click" and event.time + 48 * HOUR < now}
    for cut in (0, 3, 8, CUTS - 1):
        age = 48 * HOUR * (cut / CUTS) ** 2
        later = [
            event.value or 0.0
            for event in events
            if event.kind == "watch" and event.item in ripe and age <= event.time - ripe[event.item] < 48 * HOUR
        ]
        assert imputer.remainders["click"][cut] == pytest.approx(sum(later) / len(ripe), rel=1e-12)
    assert imputer.predict(LATE, "click", 48 * HOUR) == 0.0
    assert np.isnan(imputer.predict(LATE, "buy", 0))


@pytest.mark.parametrize("age", [0, 1, 7 * HOUR, 24 * HOUR, 48 * HOUR - 1, 48 * HOUR, 90 * HOUR])
def test_the_remainder_is_the_same_as_value_and_as_column(age: int) -> None:
    imputer = learnt(tabled(delayed(500, 2)), LATE, 240 * HOUR)
    row = ibis.memtable([{"kind": "click", "age": age}], schema=ibis.schema({"kind": "string", "age": "int64"}))
    found = CON.to_pyarrow(row.select(left=imputer.column(LATE, row.kind, row.age)))["left"][0].as_py()
    assert found == pytest.approx(imputer.predict(LATE, "click", age), abs=1e-12)


def test_imputed_labels_are_less_biased_than_zeros_and_masked_ones_never_enter() -> None:
    """Of the clicks of the last two days: what was in the end watched, beside what each way says now. Measured over 20 seeds."""
    zeros, imputations = [], []
    for seed in range(20):
        events, now = delayed(2000, seed), 240 * HOUR
        fresh = {event.item for event in events if event.kind == "click" and event.time + 48 * HOUR >= now}
        past = tabled([event for event in events if event.time < now])
        truth = sum(event.value or 0.0 for event in events if event.kind == "watch" and event.item in fresh)
        naive = sum(e.value or 0.0 for e in events if e.kind == "watch" and e.item in fresh and e.time < now)
        rows = read(past, LATE, now, learnt(past, LATE, now))
        imputed = sum(row["weight"] for row in rows if row["item"] in fresh)
        zeros.append(naive / truth - 1)
        imputations.append(imputed / truth - 1)
        masked = read(past, LATE, now)
        assert not {row["item"] for row in masked} & fresh
        assert {row["item"] for row in masked} == {event.item for event in events if event.time < now} - fresh
    print(f"bias of zeros {np.mean(zeros):+.4f}, of imputed labels {np.mean(imputations):+.4f}")
    assert np.mean(zeros) < -0.12
    assert abs(np.mean(imputations)) < 0.02
    assert abs(np.mean(imputations)) < abs(np.mean(zeros)) / 5


def test_a_second_click_ends_what_is_counted_for_the_first() -> None:
    """A watch belongs to the click before it, so that two clicks and one watch are imputed as much as they bring."""
    events = [
        Interaction("c1", 0, "u", "i", "click"),
        Interaction("c2", HOUR, "u", "i", "click"),
        Interaction("w", 2 * HOUR, "u", "i", "watch", 1.0),
    ]
    imputer = learnt(tabled(events), LATE, 200 * HOUR)
    assert imputer.remainders["click"][0] == 0.5
    again = [Interaction("c1", 100 * HOUR, "u", "i", "click"), Interaction("c2", 100 * HOUR + 1, "u", "i", "click")]
    rows = read(tabled(again), LATE, 100 * HOUR + 2, imputer)
    assert sum(row["weight"] for row in rows) == pytest.approx(0.5, abs=1e-3)


def test_a_kind_of_which_nothing_is_mature_stays_masked_and_no_waiting_kind_changes_nothing() -> None:
    young = [Interaction("c", 0, "u", "i", "click"), Interaction("w", HOUR, "u", "i", "watch", 1.0)]
    table = tabled(young)
    assert read(table, LATE, 2 * HOUR, learnt(table, LATE, 2 * HOUR)) == []
    assert len(read(table, Rewards(), 2 * HOUR)) == 2
