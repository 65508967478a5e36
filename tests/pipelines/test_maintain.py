"""The pipeline ``maintain``: fewer files, nothing too old, and nothing gone that somebody reads or may go back to."""

from __future__ import annotations

import signal
import time
from collections import Counter
from pathlib import Path

import pytest
from msgspec.structs import replace

import forked
import world
from tastemaker.config import Config, Publish, Retention
from tastemaker.domain import Decision, Exposure, Interaction, Run, View
from tastemaker.models.artifact import load_model
from tastemaker.pipelines.catalog import COMPACT, VACUUM, pipeline
from tastemaker.pipelines.local import readable, run_pipeline
from tastemaker.pipelines.pipeline import Pipeline
from tastemaker.pipelines.steps.retain import RUNS
from tastemaker.registry import live
from tastemaker.storage import Storage, connect
from tastemaker.storage.archive import archive
from tastemaker.storage.tables import Metric

DAY = 86_400_000
NOW = 100 * DAY
FEW_FILES = Pipeline("few", "", (COMPACT,))
SWEEP = Pipeline("sweep", "", (VACUUM,))


def events_of(day: int) -> list[Interaction | View | Decision | Exposure]:
    """One event of each kind on a day."""
    at = day * DAY
    return [
        Interaction(f"i{day}", at, "u", "i", "click"),
        View(f"v{day}", at, "u", "d", "i"),
        Decision(f"d{day}", at, "u"),
        Exposure(f"x{day}", at, "e", "u", "a"),
    ]


def days(storage: Storage, name: str) -> list[int]:
    return sorted(time // DAY for time in storage.lake.read(name, columns=["time"])["time"].to_pylist())


def test_tables_of_many_files_become_few_and_keep_their_rows(storage: Storage, home: Config) -> None:
    for number in range(20):
        storage.log.append(events_of(number)[:1]).result()
        archive(storage.log, storage.lake)
    storage.log.append(events_of(1)[1:2]).result()
    archive(storage.log, storage.lake)
    run = run_pipeline(storage, home, FEW_FILES, now=NOW)
    assert run.steps["compact"]["summary"] == {"tables": 2, "files": {"interactions": [20, 1]}}
    assert days(storage, "interactions") == list(range(20))
    assert run_pipeline(storage, home, FEW_FILES, now=NOW + 1).steps["compact"]["summary"]["files"] == {}


def test_everything_is_kept_for_as_many_days_as_the_configuration_says(storage: Storage, home: Config) -> None:
    for number in (60, 80, 95, 100):
        storage.log.append(events_of(number)).result()
    archive(storage.log, storage.lake)
    storage.tables.metrics.put([Metric("m", "", 1.0, 0.0, 1.0, 1, number * DAY) for number in (60, 80, 95)])
    for name, closed in (("old", 60), ("young", 95), ("open", None)):
        storage.tables.alerts.note(name, "s", "error", "t", 1.0, 50 * DAY)
        if closed is not None:
            storage.tables.alerts.close(name, "s", closed * DAY)
    config = replace(home, retention=Retention(views=10.0, decisions=30.0, metrics=10.0, alerts=10.0))
    done = run_pipeline(storage, config, pipeline("maintain"), now=NOW).steps["retain"]["summary"]["removed"]
    assert done == {"views": 2, "decisions": 1, "metrics": 2, "alerts": 1, "runs": 0, "models": 0}
    assert days(storage, "interactions") == days(storage, "exposures") == [60, 80, 95, 100]
    assert (days(storage, "views"), days(storage, "decisions")) == ([95, 100], [80, 95, 100])
    assert {alert.name for alert in storage.tables.alerts.last()} == {"open", "young"}
    again = run_pipeline(storage, config, pipeline("maintain"), now=NOW + 1).steps["retain"]["summary"]["removed"]
    assert set(again.values()) == {0}
    storage.log.append(events_of(99)[1:2]).result()
    archive(storage.log, storage.lake)
    assert days(storage, "views") == [95, 99, 100], "what was removed does not come back with what is new"


def test_the_defaults_keep_every_event(storage: Storage, home: Config) -> None:
    storage.log.append(events_of(1)).result()
    archive(storage.log, storage.lake)
    done = run_pipeline(storage, home, pipeline("maintain"), now=10_000 * DAY).steps["retain"]["summary"]["removed"]
    assert set(done) == {"metrics", "alerts", "runs", "models"}
    assert days(storage, "interactions") == [1]


@pytest.mark.slow
def test_old_runs_go_with_their_evaluations_but_not_the_newest_of_a_pipeline(published: tuple[Storage, Config]) -> None:
    storage, config = published
    (daily,) = storage.tables.runs.last("daily")
    rows = storage.lake.read("evaluations").num_rows
    assert rows > 0
    for number in range(RUNS + 5):
        storage.tables.runs.put(Run(f"hourly-{number}", "hourly", 0, number, "done", number, number))
    config = replace(config, retention=Retention(runs=1.0))
    late = daily.end + 10 * DAY
    done = run_pipeline(storage, config, pipeline("maintain"), now=late).steps["retain"]["summary"]["removed"]
    assert done["runs"] == 5
    assert {run.id for run in storage.tables.runs.last("hourly", 1000)} == {f"hourly-{number}" for number in range(5, RUNS + 5)}
    assert storage.lake.read("evaluations").num_rows == rows, "that of daily is one of its newest"
    for number in range(RUNS):
        storage.tables.runs.put(Run(f"daily-later-{number}", "daily", 0, number, "done", late + number, late))
    run_pipeline(storage, config, pipeline("maintain"), now=late + 1)
    assert storage.tables.runs.get(daily.id) is None
    assert storage.lake.read("evaluations").num_rows == 0


@pytest.mark.slow
def test_artifacts_go_when_nobody_will_go_back_to_them(published: tuple[Storage, Config]) -> None:
    storage, config = published
    (first,) = storage.tables.models.all(state="live")
    for number in (1, 2, 3):
        (past,) = storage.tables.models.all(state="live")
        run_pipeline(storage, replace(config, gate=replace(config.gate, margin=1.0)), pipeline("daily"), fresh=True)
        assert storage.tables.models.all(state="live")[0].version != past.version, number
    now = live.read(storage.kv)
    assert now is not None
    lasting = replace(config, retention=Retention(models=10.0), publish=Publish(keep=3))
    young = run_pipeline(storage, lasting, pipeline("maintain"), now=now.made + DAY).steps["retain"]["summary"]["removed"]
    assert young["models"] == 0
    unfinished = first.version.rpartition("-")[2]
    storage.tables.runs.put(Run(f"daily-{unfinished}", "daily", 0, 1, "failed", 0))
    busy = run_pipeline(storage, lasting, pipeline("maintain"), now=now.made + 11 * DAY).steps["retain"]["summary"]["removed"]
    storage.tables.runs.put(Run(f"daily-{unfinished}", "daily", 0, 1, "abandoned", 0))
    done = run_pipeline(storage, lasting, pipeline("maintain"), now=now.made + 12 * DAY).steps["retain"]["summary"]["removed"]
    left = {name.partition("/")[0] for name in storage.models.names()}
    retired = [card.version for card in storage.tables.models.all(state="retired")]
    assert left == {now.version, *retired[:2], now.fallback.partition("/")[0]}
    assert first.version == retired[-1] not in left
    assert (busy["models"], done["models"]) == (2, 2), "the popular models of the others; then what the unfinished run had made"
    assert storage.tables.models.get(first.version) is not None, "cards stay"
    assert load_model(storage.models.folder(now.artifact)) is not None
    assert live.rollback(storage, int(time.time() * 1000)).version == retired[0]


def test_a_vacuum_leaves_what_an_unfinished_run_reads(published: tuple[Storage, Config], monkeypatch: pytest.MonkeyPatch) -> None:
    storage, config = published
    sweep = storage.lake.vacuum
    monkeypatch.setattr(storage.lake, "vacuum", lambda name, _hours, keep: sweep(name, 0, keep))  # as if much time had passed
    pinned = storage.lake.version("interactions")
    run = Run(
        "daily-1",
        "daily",
        0,
        1,
        "failed",
        1,
        steps={"ingest": {"state": "done", "summary": {"versions": {"interactions": pinned}}}},
    )
    storage.tables.runs.put(run)
    assert storage.lake.delete_below("interactions", "time", world.BASE + 10**9) > 0
    summary = run_pipeline(storage, config, SWEEP).steps["vacuum"]["summary"]
    assert summary["pinned"] == {"interactions": [pinned]}
    assert readable(storage, run)
    storage.tables.runs.put(replace(run, state="abandoned"))
    assert run_pipeline(storage, config, SWEEP).steps["vacuum"]["summary"]["files"]["interactions"] > 0
    assert not readable(storage, run)


def test_zero_hours_vacuum_nothing(published: tuple[Storage, Config]) -> None:
    storage, config = published
    never = replace(config, retention=Retention(vacuum_hours=0, features=0.0))
    storage.lake.overwrite("user_features", storage.lake.read("user_features"))
    assert run_pipeline(storage, never, SWEEP).steps["vacuum"]["summary"]["files"] == {}
    assert storage.lake.readable("user_features", 0)


@pytest.mark.slow
def test_a_run_that_is_killed_in_every_step_ends_like_one_that_was_not(tmp_path: Path) -> None:
    home = tmp_path / "home"
    config = replace(world.config_of(home), retention=Retention(interactions=20.0, metrics=10.0))
    with connect(config) as storage:
        for number in range(20):
            storage.log.append([event for event in events_of(70 + number) if isinstance(event, Interaction)]).result()
            archive(storage.log, storage.lake)
        storage.tables.metrics.put([Metric("m", "", 1.0, 0.0, 1.0, 1, number * DAY) for number in (60, 95)])
    killed: Counter[str] = Counter()
    for step, call in (("compact", 0), ("compact", 1), ("retain", 0), ("retain", 2), ("retain", 6), ("vacuum", 0), ("vacuum", 1)):
        process = forked.start(forked.run_until, config, "maintain", NOW, step, call)
        assert forked.code_of(process) == -signal.SIGKILL, (step, call)
        killed[step] += 1
    with connect(config) as storage:
        run = run_pipeline(storage, config, pipeline("maintain"))
        assert (run.end, run.state, dict(killed)) == (NOW, "done", {"compact": 2, "retain": 3, "vacuum": 2})
        assert days(storage, "interactions") == list(range(80, 90))
        assert len(storage.lake.files("interactions")) == 1
        assert [point.time for point in storage.tables.metrics.history()] == [95 * DAY]
