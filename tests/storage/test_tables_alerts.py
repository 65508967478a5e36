"""Alerts, triggers and what is forgotten, in every database.

One open alert of a kind, one run for many reasons, however many write at once; and nothing young is lost.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import text

import servers
from tastemaker.domain import Interaction, Record, Run
from tastemaker.storage.tables import Metric, Tables, dialect, open_tables

DATABASES: dict[str, Callable[[Path], str]] = {
    "sqlite": lambda folder: f"sqlite:///{folder}/tables.db",
    "postgresql": lambda _: servers.postgresql(),
    "mysql": lambda _: servers.mariadb(),
}


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return DATABASES[request.param](tmp_path)


@pytest.fixture
def tables(url: str) -> Iterator[Tables]:
    opened = open_tables(url)
    yield opened
    opened.close()


def test_an_open_alert_is_counted_up_and_a_closed_one_is_followed_by_another(tables: Tables) -> None:
    first = tables.alerts.note("late", "daily", "error", "it is late", 1.5, 10)
    again = tables.alerts.note("late", "daily", "warning", "it is later", math.nan, 20)
    assert (again.id, again.count, again.opened, again.seen, again.text) == (first.id, 2, 10, 20, "it is later")
    other = tables.alerts.note("late", "hourly", "error", "x", 1.0, 15)
    assert [alert.id for alert in tables.alerts.open()] == [other.id, first.id]
    assert math.isnan(tables.alerts.open("late")[1].value)
    assert tables.alerts.counts() == {"error": 1, "warning": 1}

    closed = tables.alerts.close("late", "daily", 30)
    assert closed is not None
    assert (closed.state, closed.closed, closed.count) == ("closed", 30, 2)
    assert tables.alerts.close("late", "daily", 31) is None
    new = tables.alerts.note("late", "daily", "error", "once more", 1.0, 40)
    assert (new.count, new.id != first.id) == (1, True)
    assert [alert.id for alert in tables.alerts.last()] == [new.id, other.id, first.id]
    assert tables.alerts.get(first.id) == tables.alerts.last()[-1]


def test_the_same_moment_counts_once(tables: Tables) -> None:
    tables.alerts.note("n", "s", "error", "t", 1.0, 10)
    assert tables.alerts.note("n", "s", "error", "t", 1.0, 10).count == 1


def test_names_differ_by_case_and_by_spaces_at_their_end(tables: Tables) -> None:
    for name in ("a", "A", "a "):
        tables.alerts.note(name, "s", "error", "t", 1.0, 10)
    assert len(tables.alerts.open()) == 3
    assert [alert.name for alert in tables.alerts.open("A")] == ["A"]


def test_many_who_notice_the_same_at_once_open_one_alert(tables: Tables) -> None:
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda number: tables.alerts.note("n", "s", "error", "t", 1.0, number), range(40)))
    (alert,) = tables.alerts.open()
    assert 1 <= alert.count <= 40
    assert alert.seen == 39


def test_only_closed_alerts_of_long_ago_are_forgotten(tables: Tables) -> None:
    for name in ("open", "old", "young"):
        tables.alerts.note(name, "s", "error", "t", 1.0, 1)
    tables.alerts.close("old", "s", 10)
    tables.alerts.close("young", "s", 20)
    assert tables.alerts.forget(20) == 1
    assert {alert.name for alert in tables.alerts.last()} == {"open", "young"}


def test_a_storm_of_reasons_waits_for_one_run(tables: Tables) -> None:
    first = tables.triggers.ask("ctr-1", "daily", "ctr fell", 10)
    assert tables.triggers.ask("drift-1", "daily", "the world moved", 11) == first
    assert tables.triggers.ask("other", "hourly", "x", 12).id == "other"
    assert [trigger.reason for trigger in tables.triggers.pending("daily")] == ["ctr fell"]


def test_a_trigger_is_taken_once_by_a_run_that_began_later(tables: Tables) -> None:
    tables.triggers.ask("t", "daily", "r", 10)
    assert tables.triggers.take("daily", "before", 9) == 0
    assert tables.triggers.take("hourly", "another", 20) == 0
    with ThreadPoolExecutor(8) as threads:
        taken = list(threads.map(lambda number: tables.triggers.take("daily", f"run-{number}", 20), range(16)))
    assert sorted(taken) == [0] * 15 + [1]
    assert tables.triggers.pending() == []
    (trigger,) = tables.triggers.last()
    assert (trigger.run, trigger.taken) == (f"run-{taken.index(1)}", 20)
    assert tables.triggers.ask("t", "daily", "r", 30).taken == 20, "what was asked for before is not asked for again"
    assert tables.triggers.ask("u", "daily", "r", 30).taken is None
    assert tables.triggers.forget(21) == 1
    assert [trigger.id for trigger in tables.triggers.last()] == ["u"]


def test_metrics_are_chosen_by_slice_and_time_and_forgotten_by_age(tables: Tables) -> None:
    points = [Metric("psi", "", float(time), math.nan, math.nan, 1, time, slice) for time in (1, 2, 3) for slice in ("a", "b")]
    tables.metrics.put(points)
    assert [point.time for point in tables.metrics.history("psi", slice="a", since=2)] == [3, 2]
    assert tables.metrics.forget(3) == 4
    assert {(point.time, point.slice) for point in tables.metrics.history()} == {(3, "a"), (3, "b")}


def test_old_runs_are_named_without_the_newest_of_each_pipeline(tables: Tables) -> None:
    for began in range(6):
        tables.runs.put(Run(f"daily-{began}", "daily", 0, began, "done" if began % 2 else "failed", began, began))
    tables.runs.put(Run("maintain-0", "maintain", 0, 0, "abandoned", 0))
    assert tables.runs.older(before=4, keep=3) == ["daily-0", "daily-1", "daily-2"]
    assert tables.runs.older(before=1, keep=0) == ["daily-0", "maintain-0"]
    assert (tables.runs.delete("daily-0"), tables.runs.delete("daily-0")) == (True, False)
    assert tables.runs.pipelines() == ["daily", "maintain"]
    assert [run.id for run in tables.runs.all_unfinished()] == ["daily-4", "daily-2"]
    last = tables.runs.last_done("daily")
    assert last is not None
    assert last.id == "daily-5"
    assert tables.runs.last_done("maintain") is None


def test_dead_letters_are_forgotten_by_age(tables: Tables) -> None:
    tables.dead_letters.put("g", Record(0, 1, Interaction("e", 1, "u", "i", "click")), ValueError("x"))
    made = tables.dead_letters.all()[0].made
    assert tables.dead_letters.forget(made) == 0
    assert tables.dead_letters.forget(made + 1) == 1
    assert tables.dead_letters.count() == 0


def test_a_database_of_the_revision_before_gets_the_new_tables_and_keeps_its_rows(url: str) -> None:
    tables = open_tables(url)
    tables.keys.create("kept", ["read"], 1)
    with dialect.writing(tables.engine) as connection:
        for statement in (
            "DROP TABLE alerts",
            "DROP TABLE triggers",
            "DROP TABLE results",
            "DELETE FROM stamps WHERE name IN ('alerts', 'triggers', 'experiments', 'results')",
            "UPDATE alembic_version SET version_num = '0002'",
        ):
            connection.execute(text(statement))
    tables.close()
    again = open_tables(url)
    assert [key.name for key in again.keys.all()] == ["kept"]
    assert again.alerts.note("n", "s", "error", "t", 1.0, 1).count == 1
    assert again.triggers.ask("t", "daily", "r", 1).run == ""
    again.close()
