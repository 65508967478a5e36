"""The local runner: order, retries, closed gates, interrupted runs, and never two at once."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from tastemaker.config import Config, Schedule
from tastemaker.domain import Interaction, Run
from tastemaker.errors import Conflict, InputError
from tastemaker.pipelines import local
from tastemaker.pipelines.local import is_running, run_pipeline
from tastemaker.pipelines.pipeline import Outcome, Pipeline, Progress, Step, Window, summary_of
from tastemaker.pipelines.running import LOCK
from tastemaker.storage import Storage
from tastemaker.storage.archive import archive
from tastemaker.storage.erase import erase

NOW = 1_769_860_800_123  # 2026-01-31T12:00:00.123Z


def journal(config: Config, word: str) -> list[str]:
    """Adds a word to a file, so that what really ran is known from outside of the runs table; returns all words."""
    path = config.home / "journal"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(word + "\n")
    return path.read_text().split()


def first(storage: Storage, config: Config, window: Window, progress: Progress) -> Outcome:
    journal(config, "first")
    progress(1, 2, "half")
    return Outcome({"window": [window.start, window.end], "suffix": window.suffix})


def second(storage: Storage, config: Config, window: Window, progress: Progress) -> Outcome:
    journal(config, "second")
    return Outcome({"seen": summary_of(storage, window, "first")})


def third(storage: Storage, config: Config, window: Window, progress: Progress) -> Outcome:
    journal(config, "third")
    return Outcome()


def shaky(storage: Storage, config: Config, window: Window, progress: Progress) -> Outcome:
    """Fails twice, with an error of the kind that passes by itself."""
    if journal(config, "shaky").count("shaky") % 3:
        raise ConnectionResetError("the line is bad")
    return Outcome({"ok": True})


def wrong(storage: Storage, config: Config, window: Window, progress: Progress) -> Outcome:
    journal(config, "wrong")
    raise InputError("value", 7, "give another one")


def closed(storage: Storage, config: Config, window: Window, progress: Progress) -> Outcome:
    journal(config, "closed")
    return Outcome({"passed": False}, halt="not good enough")


def ingest(storage: Storage, config: Config, window: Window, progress: Progress) -> Outcome:
    journal(config, "ingest")
    archive(storage.log, storage.lake)
    return Outcome({"versions": {"interactions": storage.lake.version("interactions")}})


def line(name: str, *functions: Callable[..., Outcome]) -> Pipeline:
    return Pipeline(name, "", tuple(Step(f.__name__, f"{__name__}:{f.__name__}", "") for f in functions))


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "WAIT", 0.01)


def ran(config: Config) -> list[str]:
    path = config.home / "journal"
    return path.read_text().split() if path.exists() else []


def test_steps_run_in_order_and_hand_their_summaries_on(storage: Storage, home: Config) -> None:
    told: list[tuple[str, int, int, str]] = []
    run = run_pipeline(storage, home, line("p", first, second), watch=lambda *words: told.append(words), now=NOW)
    assert ran(home) == ["first", "second"]
    assert (run.id, run.state, run.start, run.end) == ("p-20260131T120000123", "done", 0, NOW)
    assert run.steps["second"]["summary"] == {"seen": {"window": [0, NOW], "suffix": "20260131T120000123"}}
    assert told == [
        ("first", 0, 1, "starts"), ("first", 1, 2, "half"), ("first", 1, 1, "done"),
        ("second", 0, 1, "starts"), ("second", 1, 1, "done"),
    ]  # fmt: skip
    assert storage.tables.runs.get(run.id) == run
    for step in run.steps.values():
        assert step["state"] == "done"
        assert step["tries"] == 1
        assert step["began"] <= step["ended"]


def test_a_run_begins_where_the_last_whole_one_ended(storage: Storage, home: Config) -> None:
    run_pipeline(storage, home, line("p", first), now=NOW)
    assert run_pipeline(storage, home, line("p", first), now=NOW + 5).start == NOW
    assert run_pipeline(storage, home, line("q", first), now=NOW + 6).start == 0


def test_what_a_run_skipped_is_in_the_window_of_the_next(storage: Storage, home: Config) -> None:
    run_pipeline(storage, home, line("p", closed, second), now=NOW)
    assert run_pipeline(storage, home, line("p", first, second), now=NOW + 5).start == 0
    assert run_pipeline(storage, home, line("p", first, second), now=NOW + 9).start == NOW + 5


def test_a_step_that_fails_twice_is_tried_three_times(storage: Storage, home: Config) -> None:
    run = run_pipeline(storage, home, line("p", shaky, third), now=NOW)
    assert ran(home) == ["shaky", "shaky", "shaky", "third"]
    assert (run.state, run.steps["shaky"]["tries"], run.steps["shaky"]["summary"]) == ("done", 3, {"ok": True})


def test_retries_end_and_the_next_run_goes_on_with_the_failed_step(storage: Storage, home: Config) -> None:
    impatient = replace(home, schedule=Schedule(retries=1))
    with pytest.raises(ConnectionResetError):
        run_pipeline(storage, impatient, line("p", first, shaky, third), now=NOW)
    failed = storage.tables.runs.last("p", 1)[0]
    assert (failed.state, failed.steps["shaky"]["state"], failed.steps["shaky"]["error"]) == (
        "failed",
        "failed",
        "the line is bad",
    )
    assert "third" not in failed.steps
    run = run_pipeline(storage, impatient, line("p", first, shaky, third), now=NOW + 1)
    assert ran(home) == ["first", "shaky", "shaky", "shaky", "third"]
    assert (run.id, run.state, run.end) == (failed.id, "done", NOW)


def test_a_wrong_value_is_not_tried_again(storage: Storage, home: Config) -> None:
    with pytest.raises(InputError, match="give another one"):
        run_pipeline(storage, home, line("p", wrong, third), now=NOW)
    assert ran(home) == ["wrong"]
    assert storage.tables.runs.last("p", 1)[0].state == "failed"


def test_a_closed_gate_skips_the_rest_and_the_run_is_done(storage: Storage, home: Config) -> None:
    told: list[str] = []
    run = run_pipeline(
        storage, home, line("p", first, closed, second, third), watch=lambda *w: told.append(f"{w[0]} {w[3]}"), now=NOW
    )
    assert ran(home) == ["first", "closed"]
    assert run.state == "done"
    assert run.ended is not None
    skipped = {"state": "skipped", "reason": "not good enough"}
    assert (run.steps["second"], run.steps["third"]) == (skipped, skipped)
    assert told[-2:] == ["second skipped: not good enough", "third skipped: not good enough"]
    assert storage.tables.runs.unfinished("p") is None


def test_a_run_that_was_left_behind_a_closed_gate_skips_the_rest_too(storage: Storage, home: Config) -> None:
    steps = {"closed": {"state": "done", "summary": {}, "halt": "not good enough"}}
    storage.tables.runs.put(Run("p-1", "p", 0, NOW, "running", NOW, steps=steps))
    run = run_pipeline(storage, home, line("p", closed, third))
    assert (run.id, run.state, run.steps["third"]["state"]) == ("p-1", "done", "skipped")
    assert ran(home) == []


def test_fresh_abandons_the_unfinished_run_for_good(storage: Storage, home: Config) -> None:
    with pytest.raises(InputError):
        run_pipeline(storage, home, line("p", wrong), now=NOW)
    run = run_pipeline(storage, home, line("p", first), fresh=True, now=NOW + 1)
    assert run.id.endswith("124")
    states = {found.id[-3:]: found.state for found in storage.tables.runs.last("p")}
    assert states == {"123": "abandoned", "124": "done"}
    assert storage.tables.runs.unfinished("p") is None
    assert run_pipeline(storage, home, line("p", first), now=NOW + 2).id.endswith("125"), "nobody takes up an abandoned run"
    assert run.start == 0, "what the abandoned run did not do is left to the next"


def test_a_run_whose_pinned_data_was_erased_begins_anew(storage: Storage, home: Config) -> None:
    storage.log.append([Interaction("a", 1, "u", "i", "click"), Interaction("b", 2, "v", "i", "click")]).result()
    with pytest.raises(InputError):
        run_pipeline(storage, home, line("p", ingest, wrong), now=NOW)
    erase(storage, "u", [])
    run = run_pipeline(storage, home, line("p", ingest, third), now=NOW + 1)
    assert ran(home) == ["ingest", "wrong", "ingest", "third"]
    assert [found.state for found in storage.tables.runs.last("p")] == ["done", "abandoned"]
    assert run.steps["ingest"]["summary"]["versions"]["interactions"] > 0


def test_a_summary_of_a_step_that_was_not_done_is_refused(storage: Storage, home: Config) -> None:
    with pytest.raises(Conflict, match="step 'first' has not been done yet; run the pipeline from its beginning"):
        run_pipeline(storage, home, line("p", second), now=NOW)


HOLD = """
import sys
from pathlib import Path
from tastemaker.storage.lockfile import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.readline()
"""


def test_a_second_runner_is_refused_until_the_first_is_gone_even_when_it_was_killed(
    storage: Storage, home: Config, tmp_path: Path
) -> None:
    assert not is_running(home)
    command = [sys.executable, "-c", HOLD, str(home.home / LOCK)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        assert is_running(home)
        with pytest.raises(Conflict, match=rf"another run is under way \(process {other.pid}\); wait for it"):
            run_pipeline(storage, home, line("p", first), now=NOW)
        assert storage.tables.runs.last() == []
        other.kill()
        other.wait()
    assert not is_running(home)
    assert run_pipeline(storage, home, line("p", first), now=NOW).state == "done"


def test_what_is_unknown_in_a_summary_is_null_in_the_table(storage: Storage, home: Config) -> None:
    run = Run("p-1", "p", 0, 1, "done", 1, steps={"a": {"summary": {"value": float("nan")}}})
    storage.tables.runs.put(run)
    found = storage.tables.runs.get("p-1")
    assert found is not None
    assert msgspec.json.encode(found.steps) == b'{"a":{"summary":{"value":null}}}'
