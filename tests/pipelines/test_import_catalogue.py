"""The catalogue, the users and whole data sets: imports that fill the tables too."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tastemaker.config import Config, Connect
from tastemaker.domain import AnyEvent, Interaction, ItemChange
from tastemaker.pipelines.datasets import Dataset
from tastemaker.pipelines.imports import import_dataset, import_file
from tastemaker.storage import Storage, connect


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Storage]:
    with connect(Config(connect=Connect(home=str(tmp_path / "home")))) as opened:
        yield opened


def events(storage: Storage) -> list[AnyEvent]:
    """All events of the log, in order of their line."""
    found = [record.event for partition in range(storage.log.partitions) for record in storage.log.read(partition, 0, 10**9)]
    return sorted(found, key=lambda event: int(event.id.partition(":")[2]))


def facts(storage: Storage) -> list[tuple[Any, ...]]:
    return [
        (event.user, event.item, event.kind, event.value, event.time)
        for event in events(storage)
        if isinstance(event, Interaction)
    ]


def quarantined(path: Path | None) -> list[dict[str, Any]]:
    assert path is not None
    return [json.loads(line) for line in path.read_text().splitlines()]


# ── items and users ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_items_come_into_the_catalogue_with_categories_and_other_columns(storage: Storage, tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text(
        'movieId,title,genres,year,country,active\n1,"Heat, The",Crime|Drama,1995,US,1\n2,Old,,1934,,no\n,x,,,,\n3,New,A,soon,,\n'
    )
    report = import_file(storage, tmp_path / "m.csv", "items")
    assert (report.imported, report.quarantined) == (2, 2)
    heat, old = storage.tables.items.get("1"), storage.tables.items.get("2")
    assert heat is not None
    assert old is not None
    assert (heat.title, heat.categories, heat.released, heat.active) == ("Heat, The", ("Crime", "Drama"), 788_918_400_000, True)
    assert heat.fields == {"country": "US"}
    assert (old.categories, old.released, old.active, old.fields) == ((), 0, False, {})
    assert [event for event in events(storage) if isinstance(event, ItemChange)] == [heat, old]
    assert [row["field"] for row in quarantined(report.quarantine)] == ["movieId", "year"]


def test_a_newer_file_of_items_replaces_the_older_one(storage: Storage, tmp_path: Path) -> None:
    for number, name in enumerate(("old", "new")):
        path = tmp_path / f"{name}.csv"
        path.write_text(f"item,title\n1,{name}\n")
        os.utime(path, (1000 + number, 1000 + number))
    import_file(storage, tmp_path / "new.csv", "items")
    import_file(storage, tmp_path / "old.csv", "items")
    item = storage.tables.items.get("1")
    assert item is not None
    assert item.title == "new"


def test_users_come_in_with_their_preferences(storage: Storage, tmp_path: Path) -> None:
    rows = [{"user": "u", "preferences": {"Drama": 4, "War": -1.5}, "age": 30}, {"user": "v", "preferences": [1]}, {"user": "w"}]
    (tmp_path / "u.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    report = import_file(storage, tmp_path / "u.jsonl", "users")
    assert (report.imported, report.quarantined) == (2, 1)
    assert list(storage.tables.users.preferences()) == [("u", "Drama", 4.0), ("u", "War", -1.5)]
    user = storage.tables.users.get("u")
    assert user is not None
    assert user.fields == {"age": "30"}


# ── data sets ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_data_set_comes_in_without_its_test_rows(storage: Storage) -> None:
    interactions = pa.table(
        {
            "user": ["a", "b", "c"],
            "item": ["x", "y", "x"],
            "kind": ["visit"] * 3,
            "value": pa.nulls(3, pa.float64()),
            "time": [1000, 2000, 3000],
            "split": ["train", "train", "test"],
        }
    )
    items = pa.table(
        {"item": ["x", "y"], "title": ["X", "Y"], "categories": [["a"], []], "released": pa.array([None, 5], pa.int64())}
    )
    dataset = Dataset("tiny", interactions, items, pa.table({"user": ["a", "b"], "age": ["3", "4"]}), "none")
    reports = import_dataset(storage, dataset)
    assert {what: report.imported for what, report in reports.items()} == {"items": 2, "users": 2, "interactions": 2}
    assert facts(storage) == [("a", "x", "visit", None, 1000), ("b", "y", "visit", None, 2000)]
    assert [item.released for item in storage.tables.items.all()] == [None, 5]
    item = storage.tables.items.get("x")
    assert item is not None
    assert item.categories == ("a",)
    again = import_dataset(storage, dataset)
    assert sum(report.imported for report in again.values()) == 0
