"""The benchmark of models says what it measured, by which protocol, and how often it looked; and goes on where it was stopped."""

from __future__ import annotations

import doctest
import importlib
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import numpy as np
import pytest
from benchmarks import model_charts, model_data, model_list, model_peers, model_report, model_results, models

from tastemaker.domain import Interval
from tastemaker.evaluation.splits import Split
from tastemaker.models.interactions import Rows

CHECKOUT = Path(__file__).resolve().parent.parent
VOID = {"meta", "br", "path", "use", "rect"}


def result(name: str = "als", dataset: str = "quick", ndcg: float = 0.2, by: str = "tastemaker") -> model_results.Result:
    between = Interval(ndcg, ndcg - 0.01, ndcg + 0.01, 297)
    return model_results.Result(
        dataset, name, by, {}, between, between, 0.5, (0, 1, 2), (0.5, 0.4, 0.6), (0.9, 0.8, 1.1), 12_345.0, 300.0, 200.0,
        0.0, "a machine", "numba 1", "a1b2c3d", "2026-01-02",
    )  # fmt: skip


def test_a_stopped_run_goes_on_where_it_was_and_each_measurement_is_a_look(tmp_path: Path) -> None:
    asked = [sys.executable, "-m", "benchmarks.models", "--sets", "quick", "--folder", str(tmp_path), "--models"]
    first = subprocess.run([*asked, "popular"], cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert first.returncode == 0, first.stderr
    again = subprocess.run([*asked, "popular,item_knn"], cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert "1 of 2  quick · popular: kept from" in again.stdout
    assert "2 of 2  quick · item_knn: NDCG 0." in again.stdout
    looks = model_results.looks_by_model(json.loads((tmp_path / "looks.json").read_text()))
    assert looks == {"quick": {"popular": 1, "item_knn": 1}}
    kept = model_results.load_results(tmp_path)
    assert set(kept) == {("quick", "popular"), ("quick", "item_knn")}
    assert kept["quick", "item_knn"].ndcg.value > 2 * kept["quick", "popular"].ndcg.value
    assert "item_knn" in (tmp_path / "models.html").read_text("utf-8")


def test_a_validation_is_no_look_and_is_not_kept(tmp_path: Path) -> None:
    found = models.measure("quick", "popular", "validation", tmp_path)
    assert found.ndcg.n == len(model_data.split_of("quick", "validation")) > 100
    assert list(tmp_path.iterdir()) == []


def test_a_measurement_that_fails_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tmp_path / "data" / "gowalla"
    data.mkdir(parents=True)
    monkeypatch.setenv("TASTEMAKER_DATA", str(data.parent))
    with pytest.raises(SystemExit, match=re.escape("train.parquet: no such file; set TASTEMAKER_DATA")):
        model_data.gowalla()
    options = models.arguments_of(["--sets", "gowalla", "--models", "popular", "--folder", str(tmp_path)])
    results, skipped, failed = models.run(options)
    assert (results, skipped) == ({}, [])
    assert len(failed) == 1
    assert "train.parquet: no such file" in failed[0]


def test_what_is_not_here_is_skipped_with_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASTEMAKER_DATA", str(tmp_path))
    wanted, skipped = models.chosen(models.arguments_of([]))
    assert wanted == []
    assert skipped[0].startswith("gowalla: there is no folder gowalla/")
    assert model_peers.missing("tastemaker", "no_such_kind") == "there is no model 'no_such_kind' in this version"
    assert model_peers.missing("tastemaker", "als") == ""
    assert model_peers.missing("no_such_library", "als").startswith("no_such_library is not installed")


def test_unknown_names_are_refused_with_those_that_there_are() -> None:
    with pytest.raises(SystemExit, match="unknown: alz; sets: gowalla"):
        models.chosen(models.arguments_of(["--models", "alz"]))


def test_a_result_counts_for_its_settings_machine_and_versions_alone() -> None:
    kept = result()
    assert kept.counts_for({}, "a machine", "numba 1")
    assert not kept.counts_for({"factors": 8}, "a machine", "numba 1")
    assert not kept.counts_for({}, "another", "numba 1")
    assert not kept.counts_for({}, "a machine", "numba 2")


def test_results_survive_the_file(tmp_path: Path) -> None:
    model_results.keep_result(result(), tmp_path)
    model_results.keep_result(result("popular"), tmp_path)
    model_results.keep_result(result(ndcg=0.3), tmp_path)
    assert model_results.load_results(tmp_path) == {("quick", "als"): result(ndcg=0.3), ("quick", "popular"): result("popular")}


def test_looks_add_up_by_model_and_commit(tmp_path: Path) -> None:
    for at in ("a", "a", "b+"):
        model_results.count_look("gowalla", "als", at, tmp_path)
    assert model_results.load_looks(tmp_path) == {"gowalla": {"als": {"a": 2, "b+": 1}}}


def test_the_quality_of_a_model_is_that_of_its_test_users(tmp_path: Path) -> None:
    split = model_data.quick()
    users = np.flatnonzero(split.train.histories.lengths > 0)
    perfect = np.full((len(users), 20), -1, np.int32)
    for row, user in enumerate(split.users):
        wanted = split.relevant.row(row)[:20]
        perfect[np.searchsorted(users, user), : len(wanted)] = wanted
    recall, ndcg, _ = models.judge(split, users, [perfect, np.full_like(perfect, -1)], 10)
    assert ndcg == pytest.approx(0.5)  # the mean of a model that knows all and of one that knows nothing
    assert recall == pytest.approx(0.5 * np.minimum(1, 10 / split.relevant.lengths))


class Outline(HTMLParser):
    """Tags that are open, ids, links within the page, and what is fetched from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.fetched: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name == "id" and value:
                self.ids.append(value)
            if name in ("href", "xlink:href", "src") and value:
                (self.links if value.startswith("#") else self.fetched).append(value.removeprefix("#"))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            while self.open and self.open.pop() != tag:
                pass


def test_the_page_is_one_file_whose_links_lead_somewhere() -> None:
    results = [
        result(name, dataset, ndcg, by)
        for dataset in ("gowalla", "ml-1m")
        for name, ndcg, by in (("als", 0.2, "tastemaker"), ("peer <1>", 0.1, "implicit"), ("another", 0.15, "irspack"))
    ]
    text = model_report.page(results, {"gowalla": {"als": {"a": 3}}}, ["ease: no reason & all"], charts=True)
    outline = Outline()
    outline.feed(text)
    assert outline.fetched == []
    assert set(outline.links) <= set(outline.ids)
    assert len(outline.ids) == len(set(outline.ids))
    assert text.count("<svg") == 6
    assert len(text) < 200_000
    assert "peer &lt;1&gt;" in text
    assert "peer <1>" not in text
    assert "#010203" not in text  # all text and lines have the page's own colour
    for said in (model_report.HONESTY, "no reason &amp; all", "als 3", "a machine", "LightGCN 0.1830 / 0.1554", "a1b2c3d"):
        assert said in text


def test_the_page_has_its_tables_also_without_charts() -> None:
    text = model_report.page([result()], {}, [], charts=False)
    assert "<svg" not in text
    assert "matplotlib is not installed" in text
    assert "0.2000" in text


def test_others_work_on_the_machine_is_told() -> None:
    quiet, loaded = result(), msgspec.structs.replace(result(), load=3.2)
    assert "load of up to 3.2" in model_report.page([loaded], {}, [], charts=False)
    assert "load of up to 3.2" in model_report.table([loaded], {})
    assert "load of" not in model_report.table([quiet], {})


def test_the_table_ranks_models_and_counts_looks() -> None:
    text = model_report.table([result("als", ndcg=0.1), result("ridge", ndcg=0.2)], {"quick": {"als": {"a": 2, "b": 1}}})
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert [row.split(" | ")[0] for row in rows[2:]] == ["| ridge", "| als"]
    assert "quick 3" in text


def test_the_report_and_the_page_tell_of_the_looks_that_nobody_counted() -> None:
    told = " ".join((CHECKOUT / "benchmarks" / "README.md").read_text("utf-8").replace("`", "").split())
    assert model_report.HONESTY in told
    assert model_report.COUNTED in told.replace(" in report/looks.json", "")
    assert "about 25 times on Gowalla's test part" in model_report.HONESTY


def test_equal_terms_on_gowalla_are_those_that_tuning_found() -> None:
    users = model_data.histories(np.arange(810_128) % 29_858, np.arange(810_128) % 40_981, np.zeros(810_128), 29_858)
    alpha0, regularization = model_peers.equal_terms(model_data.training_set(users, 40_981))
    assert 1 / alpha0 == pytest.approx(62.5, rel=0.02)
    assert regularization == pytest.approx(37, rel=0.02)


@pytest.mark.filterwarnings("ignore")  # theirs, not ours
@pytest.mark.parametrize("name", [one.name for one in model_list.ALL if one.by != "tastemaker"])
def test_a_peer_gives_lists_without_the_users_own_items(name: str) -> None:
    candidate = model_list.CANDIDATES[name]
    if reason := model_peers.missing(candidate.by, candidate.kind):
        pytest.skip(reason)
    data = model_data.quick().train
    fewer = {"iterations": 3, "train_epochs": 3, "factors": 8, "n_components": 8}
    params = {key: fewer.get(key, value) for key, value in candidate.params.items()}
    runner = model_peers.RUNNERS[candidate.by](candidate.kind, params)
    runner.prepare(data)
    runner.fit(0)
    users = np.flatnonzero(data.histories.lengths > 0)[::-1]
    found = runner.top(users, 20)
    assert found.shape == (len(users), 20)
    assert (found >= 0).mean() > 0.9
    for user, items in zip(users, found, strict=True):
        chosen = items[items >= 0]
        assert not np.isin(chosen, data.histories.row(int(user))).any()
        assert len(set(chosen.tolist())) == len(chosen)


def seen_again(split: Split) -> int:
    """Wanted items that stand in the history of who wants them."""
    return sum(len(np.intersect1d(split.relevant.row(row), split.histories.row(row))) for row in range(len(split)))


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "users", "items", "events", "wanted"),
    [
        ("gowalla", 29_858, 40_981, 810_128, 217_242),
        ("ml-1m", 6_040, 3_416, 993_571, 6_040),
        ("ml-1m-time", 1_143, 3_416, 799_832, 104_321),
        ("small-time", 27, 9_724, 90_753, 1_660),
    ],
)
def test_a_protocol_has_the_sizes_that_it_tells(
    data_folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, users: int, items: int, events: int, wanted: int
) -> None:
    monkeypatch.setenv("TASTEMAKER_DATA", str(data_folder))
    split = model_data.split_of(name, "test")
    assert (len(split), len(split.train.items)) == (users, items)
    assert (len(split.train.histories.items), len(split.relevant.items)) == (events, wanted)
    assert seen_again(split) == 0
    assert not split.new.any()
    told = model_data.PROTOCOLS[name].text
    for figure in {users, events, wanted} - {993_571, 799_832, 104_321, 90_753, 1_660}:
        assert f"{figure:,}" in told


@pytest.mark.data
@pytest.mark.parametrize("name", ["gowalla", "ml-1m", "ml-1m-time", "small-time"])
def test_a_validation_is_cut_from_the_training_part(data_folder: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("TASTEMAKER_DATA", str(data_folder))
    whole, cut = model_data.split_of(name, "test").train, model_data.split_of(name, "validation")
    assert len(cut.train.histories.items) < len(whole.histories.items)
    assert seen_again(cut) == 0
    for row in range(0, len(cut), 50):
        user = int(cut.users[row])
        known = set(whole.histories.row(user).tolist())
        assert set(cut.relevant.row(row).tolist()) <= known
        assert set(cut.train.histories.row(user).tolist()) <= known


@pytest.mark.data
def test_leave_one_out_validates_on_the_last_item_but_one(data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASTEMAKER_DATA", str(data_folder))
    train, _ = model_data.movielens()
    cut = model_data.split_of("ml-1m", "validation")
    assert len(cut) == 6_040
    assert np.array_equal(cut.relevant.items, train.histories.items[train.histories.indptr[1:] - 1])


@pytest.mark.data
def test_nobody_learns_from_after_the_line(data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASTEMAKER_DATA", str(data_folder))
    train = model_data.movielens_time().train
    line = 975_768_656_000  # 2000-12-02 14:45 UTC, in milliseconds
    assert 0 < train.histories.times.min() <= train.histories.times.max() <= train.now == line
    assert train.category_names[:2] == ("Action", "Adventure")
    assert len(train.texts) == len(train.items)


def test_users_who_came_later_are_left_out_and_counted() -> None:
    whole = model_data.quick()
    new = np.zeros(len(whole), np.bool_)
    new[[0, 5]] = True
    told = model_data.both_sides(Split(whole.train, whole.users, whole.histories, whole.relevant, new))
    assert told.excluded["users without events before the line"] == 2
    assert told.users.tolist() == np.delete(whole.users, [0, 5]).tolist()
    assert told.relevant.row(0).tolist() == whole.relevant.row(1).tolist()
    assert isinstance(told.relevant, Rows)
    assert len(told.relevant) == len(told.histories) == len(told)


@pytest.mark.parametrize("module", ["model_catalogue", "model_report", "model_results"])
def test_the_examples_of_the_benchmark_are_right(module: str) -> None:
    failed, tried = doctest.testmod(importlib.import_module(f"benchmarks.{module}"))
    assert (failed, tried > 0) == (0, True)


def test_a_slimmer_drawing_keeps_what_is_written_in_it() -> None:
    slimmed = model_charts.slim('<path d="M 1.2345 2.3456 L 3.4567 4"/><text x="1.2345">0.125</text>')
    assert slimmed == '<path d="M1.2 2.3L3.4 4"/><text x="1.2">0.125</text>'
