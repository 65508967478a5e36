"""Steps for a scheduler outside: one by one, in parts, again, given up; asked for and answered as plain JSON and as commands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

import airflow_steps
import processes
import world
from tastemaker.cli.step import step
from tastemaker.config import Config, Gate
from tastemaker.errors import Conflict, InputError, NotFound
from tastemaker.pipelines.answers import REFUSED, answer, task_of
from tastemaker.pipelines.catalog import PIPELINES, pipeline
from tastemaker.pipelines.task_command import command_of
from tastemaker.pipelines.tasks import CLOSE, Task, do_task, moment
from tastemaker.pipelines.words import sentence
from tastemaker.registry import live
from tastemaker.storage import Storage

END = 1_769_860_800_000
RUN = "20260131T120000000"


@pytest.fixture(autouse=True)
def _extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for each in airflow_steps.EXTRA:
        monkeypatch.setitem(PIPELINES, each.name, each)


def quiet(_done: int, _total: int, _note: str) -> None:
    """Progress that nobody watches."""


def do(storage: Storage, config: Config, name: str, step: str, **more: Any) -> dict[str, Any]:
    return do_task(storage, config, Task(name, step, END, **more), quiet)


def words(config: Config) -> list[str]:
    return (config.home / "journal").read_text().split()


def test_steps_one_by_one_are_a_run(storage: Storage, home: Config) -> None:
    first = do(storage, home, "breaking", "first", start=5)
    assert (first["run"], first["state"], first["summary"]["window"]) == (f"breaking-{RUN}", "done", [5, END])
    with pytest.raises(Conflict, match="broken is pending, last is pending: the run is not at its end"):
        do(storage, home, "breaking", CLOSE)
    with pytest.raises(ConnectionResetError):
        do(storage, home, "breaking", "broken", tries=3)
    (run,) = storage.tables.runs.last("breaking")
    assert (run.state, run.steps["broken"]["tries"]) == ("failed", 3)


def test_what_is_asked_for_wrongly_is_refused_before_a_run_is_opened(storage: Storage, home: Config) -> None:
    with pytest.raises(NotFound, match="retrying has no step 'frist'; did you mean"):
        do(storage, home, "retrying", "frist")
    with pytest.raises(InputError, match="start = 1769860800000: an interval starts before it ends"):
        do(storage, home, "retrying", "first", start=END)
    with pytest.raises(InputError, match=r"models = 'alls': train\.models has no such kind; did you mean"):
        do(storage, home, "daily", "train", models=("alls",))
    with pytest.raises(InputError, match="part = 'alls': step 'train' has no such part; did you mean"):
        do(storage, home, "daily", "train", part="alls")
    with pytest.raises(InputError, match="part = 'als': step 'gate' has no such part; it is done as a whole"):
        do(storage, home, "daily", "gate", part="als")
    assert storage.tables.runs.last() == []


def test_parts_are_named_done_kept_and_joined(storage: Storage, home: Config) -> None:
    assert do(storage, home, "spelling", "spelled", names=True)["parts"] == ["a", "b", "c"]
    with pytest.raises(Conflict, match="lacks its parts a, b, c: do them first"):
        do(storage, home, "spelling", "spelled", join=True)
    for part in "abca":
        assert do(storage, home, "spelling", "spelled", part=part)["summary"] == {"letter": part}
    assert words(home) == ["letter-a", "letter-b", "letter-c"], "a part that is done is not done again"
    do(storage, home, "spelling", "spelled", part="a", force=True)
    assert words(home)[-1] == "letter-a"
    assert do(storage, home, "spelling", "spelled", join=True)["summary"] == {"word": "abc"}


def test_a_gate_that_is_asked_again_is_not_skipped_by_what_it_said_before(storage: Storage, home: Config) -> None:
    assert do(storage, home, "halting", "closed")["halt"] == "not good enough"
    for more in ({"names": True}, {"part": "a"}, {"join": True}, {}):
        assert do(storage, home, "halting", "spelled", **more)["state"] == "skipped"
    assert do(storage, home, "halting", "last")["state"] == "done"
    (home.home / "journal").write_text("open\n")
    assert "halt" not in do(storage, home, "halting", "closed")
    assert do(storage, home, "halting", "spelled", names=True)["parts"] == ["a", "b", "c"]


def test_a_step_that_was_given_up_raises_an_alert_that_the_next_whole_run_closes(storage: Storage, home: Config) -> None:
    do(storage, home, "spelling", "spelled", failed="it was killed")
    (run,) = storage.tables.runs.last("spelling")
    assert (run.state, run.steps["spelled"]["state"], run.steps["spelled"]["error"]) == ("failed", "failed", "it was killed")
    (alert,) = storage.tables.alerts.open()
    assert (alert.subject, alert.text) == ("spelling", f"run spelling-{RUN}, step spelled: it was killed")
    for part in "abc":
        do(storage, home, "spelling", "spelled", part=part)
    do(storage, home, "spelling", "spelled", join=True)
    do(storage, home, "spelling", "last")
    assert do(storage, home, "spelling", CLOSE)["state"] == "done"
    assert storage.tables.alerts.open() == []


def test_what_no_retry_heals_is_an_answer_and_what_may_pass_is_raised(storage: Storage, home: Config) -> None:
    found = answer(storage, home, Task("refusing", "wrong", END), quiet)
    assert found == {"state": REFUSED, "error": "value = 7: give another one", "kind": "InputError"}
    with pytest.raises(ConnectionResetError):
        answer(storage, home, Task("breaking", "broken", END), quiet)
    assert answer(storage, home, Task("retrying", "first", END), quiet)["summary"]["nothing"] is None
    assert answer(storage, home, Task("spelling", "spelled", END, names=True), quiet) == ["a", "b", "c"]


def test_a_task_is_read_from_json_with_times_as_people_write_them() -> None:
    asked = {"pipeline": "daily", "step": "train", "start": "2026-01-31", "end": "2026-01-31T12:00:00Z", "models": ["als"]}
    assert task_of(asked) == Task("daily", "train", END, END - 43_200_000, models=("als",))
    assert task_of({"pipeline": "daily", "step": "train", "start": None, "end": END}) == Task("daily", "train", END)
    with pytest.raises(InputError, match="end = 'soon': give a time as"):
        task_of({"pipeline": "daily", "step": "train", "end": "soon"})
    assert moment("end", "2026-01-31T12:00:00.123+00:00") == END + 123


def test_only_some_models_are_trained_and_versions_in_use_are_not_trained_anew(published: tuple[Storage, Config]) -> None:
    storage, config = published
    config = replace(config, gate=Gate(floor=0.0, latency_ms=60_000.0))
    now = live.read(storage.kv)
    assert now is not None
    before = storage.tables.runs.last("daily", 1)[0]
    again = Task("daily", "train", before.end, models=("als",), force=True)
    with pytest.raises(InputError, match="this version is in use, and is not trained anew"):
        do_task(storage, config, again, quiet)
    later = before.end + 1000
    do_task(storage, config, Task("daily", "ingest", later), quiet)
    names = do_task(storage, config, Task("daily", "train", later, names=True, models=("als",)), quiet)["parts"]
    assert names == ["popular", "als"]
    first = do_task(storage, config, Task("daily", "train", later, part="als"), quiet)["summary"]["models"][0]
    seconds = [card.seconds for card in storage.tables.models.all() if card.version == first]
    kept = do_task(storage, config, Task("daily", "train", later, part="als"), quiet)
    assert kept["summary"]["models"] == [first]
    assert [card.seconds for card in storage.tables.models.all() if card.version == first] == seconds
    do_task(storage, config, Task("daily", "train", later, part="als", force=True), quiet)
    assert [card.seconds for card in storage.tables.models.all() if card.version == first] != seconds


def test_every_step_of_the_catalogue_is_told_in_a_sentence(published: tuple[Storage, Config]) -> None:
    storage, config = published
    told = {}
    for name in ("hourly", "evaluate", "maintain"):
        for each in pipeline(name).steps:
            done = answer(storage, config, Task(name, each.name, END), quiet)
            assert done["state"] == "done", done
            told[each.name] = sentence(each.name, done)
    (run,) = storage.tables.runs.last("daily")
    told |= {name: sentence(name, done) for name, done in msgspec.to_builtins(run.steps).items()}
    assert all(told.values())
    assert not any("{" in text or "None" in text for text in told.values()), told
    assert told["gate"].startswith("als-")
    assert " passed: ndcg@10 0." in told["gate"]


def test_the_command_asks_for_the_same(tmp_path: Path) -> None:
    home, file = tmp_path / "home", tmp_path / "answer.json"
    config = world.config_of(home)
    end = ("--end", "2026-01-31T12:00:00Z", "--quiet")
    done = processes.command(home, "step", "daily", "train", *end, "--parts", "--models", "als", "--answer", str(file))
    assert (done.code, json.loads(done.out), json.loads(file.read_text())) == (0, ["popular", "als"], ["popular", "als"])
    done = processes.command(home, "step", "daily", "train", *end, "--models", "alls", "--answer", str(file))
    assert (done.code, json.loads(file.read_text())["state"]) == (0, REFUSED), done.err
    done = processes.command(home, "step", "daily", "train", *end, "--models", "alls")
    assert (done.code, "did you mean" in done.err) == (1, True)
    done = processes.command(home, "step", "hourly", "ingest", *end, "--start", "", "--tries", "2")
    assert (done.code, json.loads(done.out)["tries"]) == (0, 2), done.err
    done = processes.command(home, "step", "hourly", "freshen", *end)
    assert (done.code, json.loads(done.out)["halt"]) == (0, "nothing is live yet; `daily` trains the first model"), done.err
    done = processes.command(home, "step", "hourly", "publish", *end, "--answer", str(file))
    assert (done.code, json.loads(file.read_text())["state"]) == (99, "skipped"), done.err
    done = processes.command(home, "step", "hourly", "publish", *end, "--failed", "the pod was evicted")
    assert (done.code, json.loads(done.out)["state"]) == (0, "failed"), done.err
    done = processes.command(home, "alerts", "list", "--json")
    assert "the pod was evicted" in done.out
    assert config.connect.home == str(home)


def test_a_task_as_a_command_line_is_understood_as_the_same_task() -> None:
    asked = {"pipeline": "daily", "step": "train", "start": 5, "end": END, "tries": 2, "models": ["als", "nmf"], "force": True}
    for more, part in (({}, "als"), ({"names": True}, ""), ({"join": True}, ""), ({"failed": "it was killed"}, "")):
        command, *words = command_of(asked | more, part)
        found = step.make_context(command, [*words, "--quiet", "--answer", "answer.json"]).params
        given = {name: found[name] for name in ("pipeline", "part", "join", "names", "models", "force", "tries", "failed")}
        times = {"start": moment("start", found["start"]), "end": moment("end", found["end"])}
        assert task_of({**given, **times, "step": found["name"]}) == task_of(asked | more | ({"part": part} if part else {}))
