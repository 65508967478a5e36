"""Click-through rates by hand, the coverage of their intervals, and the step that measures them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tastemaker.config import Config
from tastemaker.domain import Decision, Interaction, Slot
from tastemaker.monitoring.health import rungs
from tastemaker.monitoring.quality import click_through, ratio
from tastemaker.pipelines.catalog import INGEST, MONITOR
from tastemaker.pipelines.local import run_pipeline
from tastemaker.pipelines.pipeline import Pipeline
from tastemaker.storage import Storage


def decisions(*rows: tuple[str, str, tuple[str, ...], tuple[str, ...]]) -> pa.Table:
    """(id, user, models, items) rows."""
    columns: dict[str, Any] = {
        "id": [row[0] for row in rows],
        "user": [row[1] for row in rows],
        "models": pa.array([row[2] for row in rows], pa.list_(pa.string())),
        "slots": pa.array([[{"item": item} for item in row[3]] for row in rows], pa.list_(pa.struct({"item": pa.string()}))),
    }
    return pa.table(columns)


def clicks(*pairs: tuple[str | None, str]) -> pa.Table:
    return pa.table(
        {"decision": pa.array([p[0] for p in pairs], pa.string()), "item": pa.array([p[1] for p in pairs], pa.string())}
    )


def test_a_slot_is_taken_once_by_an_interaction_that_names_decision_and_item() -> None:
    served = decisions(
        ("d1", "u", ("als-1",), ("a", "b")),
        ("d2", "u", ("als-1",), ("a", "c")),
        ("d3", "v", ("als-1", "ranker-1"), ("a", "b")),
        ("d4", "w", ("pop-1",), ("a",)),
        ("d5", "x", (), ("a", "b", "c", "d")),
    )
    taken = clicks(("d1", "a"), ("d1", "a"), ("d1", "z"), (None, "b"), ("d3", "b"), ("d5", "d"), ("unknown", "a"))
    found = click_through(served, taken)
    assert {name: (rate.value, rate.n) for name, rate in found.items()} == {
        "als-1": (2 / 6, 2),
        "pop-1": (0.0, 1),
        "none": (1 / 4, 1),
    }


def test_a_decision_without_slots_counts_nothing() -> None:
    found = click_through(decisions(("d1", "u", ("m",), ()), ("d2", "v", ("m",), ("a",))), clicks(("d2", "a")))
    assert (found["m"].value, found["m"].n) == (1.0, 2)
    empty = click_through(decisions(("d1", "u", ("m",), ())), clicks())["m"]
    assert math.isnan(empty.value)


def test_one_user_alone_has_a_rate_but_no_interval() -> None:
    found = ratio(np.array([[4.0, 1.0]]), 0.95)
    assert (found.value, found.n) == (0.25, 1)
    assert math.isnan(found.low)
    assert math.isnan(found.high)


def test_the_interval_is_that_of_the_delta_method_by_hand() -> None:
    counts = np.array([[10.0, 2.0], [20.0, 2.0], [30.0, 2.0]])
    found = ratio(counts, 0.95)
    # residuals 2 - 0.1 * shown = 1, 0, -1: variance 1; standard error sqrt(1 / 3) / 20
    reach = 1.959963984540054 * math.sqrt(1 / 3) / 20
    assert found.value == pytest.approx(0.1)
    assert (found.low, found.high) == pytest.approx((0.1 - reach, 0.1 + reach))
    wider = ratio(counts, 0.99)
    assert wider.low < found.low
    assert wider.high > found.high


def test_intervals_stay_between_nothing_and_everything() -> None:
    found = ratio(np.array([[1.0, 1.0], [1.0, 0.0]]), 0.99)
    assert (found.low, found.high) == (0.0, 1.0)


def test_intervals_cover_the_truth_of_clustered_users_and_a_binomial_one_does_not() -> None:
    rng = np.random.default_rng(7)
    worlds, users, rate = 1500, 150, 0.1
    covered = naive = 0
    for _ in range(worlds):
        shown = rng.integers(5, 80, users).astype(float)
        taste = rng.beta(rate * 3, (1 - rate) * 3, users)  # users differ: that is what makes their slots alike
        taken = rng.binomial(shown.astype(int), taste).astype(float)
        found = ratio(np.column_stack([shown, taken]), 0.95)
        covered += found.low <= rate <= found.high
        p, n = taken.sum() / shown.sum(), shown.sum()
        naive += abs(p - rate) <= 1.96 * math.sqrt(p * (1 - p) / n)
    assert 0.93 <= covered / worlds <= 0.965, covered / worlds
    assert naive / worlds < 0.7, "slots of one user are not independent"


def test_shares_of_rungs_add_up_to_one() -> None:
    table = pa.table({"rung": ["personal", "personal", "popular", "empty"]})
    assert rungs(table) == {"rung_personal": 0.5, "rung_popular": 0.25, "rung_empty": 0.25}


NOW = 1_769_860_800_000


def decided(number: int, user: str, time: int, model: str, rung: str = "personal") -> Decision:
    slots = tuple(Slot(f"i{place}", position=place) for place in range(5))
    return Decision(f"d{number}", time, user, models=(model,) if model else (), slots=slots, rung=rung)


def took(number: int, user: str, place: int) -> Interaction:
    return Interaction(f"c{number}-{place}", NOW, user, f"i{place}", "click", decision=f"d{number}")


def test_the_step_measures_the_windows_decisions_from_log_to_history(storage: Storage, home: Config) -> None:
    line = Pipeline("watch", "", (INGEST, MONITOR))
    storage.log.append(
        [decided(n, f"u{n % 4}", NOW - 1000 + n, "als-1") for n in range(8)]
        + [decided(8, "u9", NOW - 1, "", "popular"), decided(9, "u9", NOW, "als-1")]  # the last belongs to the next window
        + [took(0, "u0", 0), took(1, "u1", 0), took(1, "u1", 1), took(1, "u1", 1), took(9, "u9", 0)]
    ).result()
    run = run_pipeline(storage, home, line, now=NOW)
    found = run.steps["monitor"]["summary"]["metrics"]
    assert found["ctr als-1"] == 3 / 40
    assert found["ctr none"] == 0.0
    assert (found["rung_personal"], found["rung_popular"]) == (8 / 9, 1 / 9)
    assert (found["lag_archive"], found["lag_nearline"]) == (0.0, 15.0)
    point = storage.tables.metrics.history("ctr", "als-1")[0]
    assert (point.value, point.n, point.time, point.source) == (3 / 40, 4, NOW, "online")
    assert 0.0 <= point.low < point.value < point.high
    storage.log.append([took(9, "u9", 1)]).result()
    later = run_pipeline(storage, home, line, now=NOW + 10)
    assert later.steps["monitor"]["summary"]["metrics"]["ctr als-1"] == 2 / 5
    assert [point.time for point in storage.tables.metrics.history("ctr", "als-1")] == [NOW + 10, NOW]
    quiet = run_pipeline(storage, home, line, now=NOW + 20)
    assert not any(name.startswith("ctr") for name in quiet.steps["monitor"]["summary"]["metrics"])
