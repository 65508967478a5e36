"""Experiments and their results, in every database: versions, arms that are changed late, and a history that stays short."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from msgspec.structs import replace

import servers
from tastemaker.domain import Arm, Experiment
from tastemaker.storage.tables import Result, Tables, open_tables
from tastemaker.storage.tables.results import HOUR

DATABASES: dict[str, Callable[[Path], str]] = {
    "sqlite": lambda folder: f"sqlite:///{folder}/tables.db",
    "postgresql": lambda _: servers.postgresql(),
    "mysql": lambda _: servers.mariadb(),
}
ASKED = Experiment(
    "cards", (Arm("control"), Arm("other", settings={"diversity": 0.5, "cap": 3})), surfaces=("home",), guardrails={"ctr": 0.1},
    forced={"Ana": "other", "ana": "control"}, state="running", made=5, started=6,
)  # fmt: skip


@pytest.fixture(params=DATABASES)
def tables(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Tables]:
    opened = open_tables(DATABASES[request.param](tmp_path))
    yield opened
    opened.close()


def result(time: int, source: str = "lake", payload: str = "{}", version: int = 1, name: str = "cards") -> Result:
    return Result(name, version, source, time, payload)


def test_an_experiment_comes_back_as_it_was_written_and_its_newest_version_is_the_one(tables: Tables) -> None:
    assert tables.experiments.get("cards") is None
    later = replace(ASKED, version=2, state="stopped", made=9, ended=10, outcome="ship, said ö")
    for one in (later, ASKED, replace(ASKED, name="Cards", made=7)):
        tables.experiments.put(one)
    assert tables.experiments.get("cards") == later
    assert tables.experiments.get("cards", 1) == ASKED
    assert tables.experiments.versions("cards") == [later, ASKED]
    assert [one.name for one in tables.experiments.all()] == ["cards", "Cards"], "the newest first; names differ by case"
    assert [one.name for one in tables.experiments.all(state="running")] == ["Cards"], "an old version does not run"


def test_arms_serve_other_models_only_while_the_experiment_runs(tables: Tables) -> None:
    tables.experiments.put(ASKED)
    assert tables.experiments.serve("cards", 1, {"other": "als-2"})
    found = tables.experiments.get("cards")
    assert found is not None
    assert [arm.version for arm in found.arms] == ["", "als-2"]
    tables.experiments.put(replace(found, state="stopped"))
    assert not tables.experiments.serve("cards", 1, {"other": "als-3"})
    assert not tables.experiments.serve("crads", 1, {"other": "als-3"})
    assert tables.experiments.get("cards") == replace(found, state="stopped")


def test_a_user_who_is_erased_is_in_no_arm_by_hand_of_any_version(tables: Tables) -> None:
    tables.experiments.put(ASKED)
    tables.experiments.put(replace(ASKED, version=2))
    assert tables.experiments.erase("Ana") == 2
    assert [one.forced for one in tables.experiments.versions("cards")] == [{"ana": "control"}] * 2
    assert tables.experiments.erase("Ana") == 0


def test_results_are_a_history_by_version_and_time(tables: Tables) -> None:
    text = '{"text": "ö, 測, \U0001f600", "low": null}' + "x" * 100_000
    written = [result(20, payload=text), result(30), result(10, version=2), result(30, name="Cards")]
    for one in (*written, written[0]):  # the same moment again
        tables.results.put(one)
    assert tables.results.history("cards") == [written[2], written[1], written[0]]
    assert tables.results.history("cards", 1, limit=1) == [written[1]]
    assert tables.results.newest("cards") == written[2]
    assert tables.results.newest("cards", version=1, source="stream") is None
    tables.results.put(result(30, payload="[]"))
    newest = tables.results.newest("cards", version=1)
    assert newest is not None
    assert newest.payload == "[]"
    assert tables.results.forget(30) == 2
    assert tables.results.history("cards") == [result(30, payload="[]")]


def test_of_the_stream_the_newest_of_each_hour_stays_and_the_lake_is_let_alone(tables: Tables) -> None:
    now = 500_000 * HOUR
    for minute in range(4):
        tables.results.put(result(now + minute, "stream"))
        tables.results.put(result(now + minute))
    tables.results.put(result(now - 1, "stream"))
    tables.results.put(result(now + HOUR, "stream"))
    tables.results.put(result(now + 9, "stream", version=2))
    assert [one.time for one in tables.results.history("cards", 1, "stream")] == [now + HOUR, now + 3, now - 1]
    assert len(tables.results.history("cards", 1, "lake")) == 4
    assert len(tables.results.history("cards", 2)) == 1


def test_many_who_write_at_once_lose_nothing(tables: Tables) -> None:
    base = 500_000 * HOUR

    def write(number: int) -> None:
        tables.results.put(result(base + number, "stream"))
        tables.results.put(result(base + number))
        tables.experiments.put(replace(ASKED, version=number + 1))

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(write, range(24)))
    assert len(tables.results.history("cards", source="lake")) == 24
    assert [one.version for one in tables.experiments.versions("cards")] == list(range(24, 0, -1))
    stream = [one.time for one in tables.results.history("cards", source="stream")]
    assert stream[0] == base + 23, "the newest is there, whoever wrote last"
