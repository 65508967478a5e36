"""Replays of a platform's events and of a public data set, and the commands around them."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from msgspec.structs import replace

from tastemaker.cli import app
from tastemaker.config import Config, Reward, Rewards
from tastemaker.errors import InputError, NotFound
from tastemaker.evaluation.traces import compare
from tastemaker.pipelines import replay_report
from tastemaker.pipelines.replaying import Plan, of_dataset, of_lake, of_table, replay
from tastemaker.storage import Storage

QUICK = {"every_days": 0.5, "k": 10, "burn_in": 0.3}


def run(folder: Path, *arguments: str) -> Result:
    file = folder.parent / "here.toml"
    file.write_text(f'[connect]\nhome = "{folder}"\n[log]\npartitions = 4\n')
    return CliRunner().invoke(app, ["--config", str(file), *arguments], env={"COLUMNS": "400"})


def test_a_platforms_events_and_a_table_of_them_are_replayed_alike(published: tuple[Storage, Config]) -> None:
    storage, config = published
    config = replace(config, models={})
    lake = of_lake(storage, config)
    events = storage.lake.read("interactions").sort_by([("time", "ascending")])
    other = of_table(events, config.rewards)
    plan = Plan(("popular", "item_knn", "item_knn:stale"), **QUICK)  # type: ignore[arg-type]  # of several types
    ours, theirs = replay(config, lake, plan), replay(config, other, plan)
    for a, b in zip(ours, theirs, strict=True):
        assert np.array_equal(a.ranks, b.ranks)
        assert len(a) > 1000
        assert len(a.trained) > 1
    popular, fresh, stale = ours
    assert compare(popular, fresh).difference.low > 0
    assert compare(stale, fresh).difference.low > 0
    assert lake.category_names


def test_some_days_of_events_are_the_newest_ones(published: tuple[Storage, Config]) -> None:
    storage, config = published
    whole, part = of_lake(storage, config).histories.times, of_lake(storage, config, 0.5).histories.times
    assert 0 < len(part) < len(whole)
    assert np.array_equal(np.sort(part), np.sort(whole[whole > whole.max() - 43_200_000]))
    with pytest.raises(InputError, match="days"):
        of_lake(storage, config, -1.0)


def test_what_is_worth_nothing_is_not_replayed(published: tuple[Storage, Config]) -> None:
    storage, config = published
    with pytest.raises(NotFound, match="no interaction is worth anything"):
        of_lake(storage, replace(config, rewards=Rewards(default=0.0)))


def test_an_empty_platform_says_what_is_missing(storage: Storage, home: Config) -> None:
    with pytest.raises(NotFound, match="there are no interactions"):
        of_lake(storage, home)


@pytest.mark.parametrize(
    ("models", "changes", "field", "remedy"),
    [
        (("asl",), {}, "models", 'did you mean "als"'),
        (("als", "als"), {}, "models", "name each once"),
        (("popular:stale",), {}, "models", "does not read histories"),
        ((), {}, "models", "name at least one"),
        (("als",), {"every_days": -1.0}, "every", "days from one training"),
        (("als",), {"k": 0}, "k", "length of a list"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(models: tuple[str, ...], changes: dict[str, float], field: str, remedy: str) -> None:
    with pytest.raises(InputError, match=rf"{field} = .*{remedy}"):
        Plan(models, **changes)  # type: ignore[arg-type]  # of several types


def test_the_command_shows_means_differences_and_writes_both_files(published: tuple[Storage, Config], tmp_path: Path) -> None:
    _, config = published
    page, file = tmp_path / "page.html", tmp_path / "all.json"
    options = ("--every", "0.5", "-k", "10", "--burn-in", "0.3", "--quiet", "--metric", "ndcg")
    done = run(config.home, "replay", "popular", "item_knn", *options, "--report", str(page), "--json", str(file))
    assert done.exit_code == 0, done.output
    assert "item_knn against popular: +" in done.output
    assert "reward version 1; left out: 0 items that the user had before" in done.output
    told = json.loads(file.read_text())
    assert told["reward"] == "1"
    assert set(told["models"]) == {"popular", "item_knn"}
    assert told["differences"]["item_knn"]["difference"]["low"] > 0
    assert len(told["models"]["popular"]["curve"]["means"]) == 30
    text = page.read_text()
    plot = ElementTree.fromstring(text[text.index("<svg") : text.index("</svg>") + 6])
    lines = [line for line in plot if line.tag == "polyline"]
    assert [len((line.get("points") or "").split()) for line in lines] == [30, 30]
    assert "item_knn against popular: +" in text
    printed = run(config.home, "replay", "popular", *options, "--json", "-")
    assert json.loads(printed.output)["metric"] == "ndcg"


def test_the_command_refuses_an_unknown_model_and_an_unknown_data_set(published: tuple[Storage, Config]) -> None:
    _, config = published
    assert 'did you mean "als"' in str(run(config.home, "replay", "asl", "--quiet").exception)
    assert 'did you mean "ml-100k"' in str(run(config.home, "replay", "als", "--data", "ml100k", "--quiet").exception)
    assert run(config.home, "replay", "als", "--metric", "recall").exit_code == 2


def test_the_relabel_command_says_what_it_made_anew(published: tuple[Storage, Config]) -> None:
    _, config = published
    done = run(config.home, "relabel", "--quiet")
    assert done.exit_code == 0, done.output
    assert "reward version 1: states of 126 users; user_features 120, item_features " in done.output


@pytest.mark.nightly
@pytest.mark.data
def test_on_ml_100k_fresh_histories_and_neighbours_are_worth_what_was_measured(
    data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ratings of 4 and 5, trained weekly. Half-lives of popularity gain on news and shops; on these films they do not."""
    monkeypatch.setenv("TASTEMAKER_DATA", str(data_folder))
    rewards = Rewards(default=0.0, kinds={"rating": Reward(at_least=4.0)})
    config = Config(rewards=rewards, models={"als": {"factors": 32}})
    plan = Plan(("als", "als:stale", "session_knn", "popular"))
    als, stale, knn, popular = replay(config, of_dataset("ml-100k", rewards), plan)
    values = [trace.mean().value for trace in (als, stale, knn, popular)]
    print(f"hit rate at 20: als {values[0]:.4f}, stale {values[1]:.4f}, session_knn {values[2]:.4f}, popular {values[3]:.4f}")
    assert compare(stale, als).relative >= 0.25
    assert compare(stale, als).difference.low > 0
    assert compare(popular, knn).relative >= 0.25
    assert len(als) > 40_000
    assert replay_report.sentence(knn, popular, "hit_rate").startswith("session_knn against popular: +")
