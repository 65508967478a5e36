"""The contract of the tables, for every database: one line in ``DATABASES`` each."""

from __future__ import annotations

import itertools
import math
import multiprocessing
import random
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy.dialects import mysql, postgresql
from sqlalchemy.schema import CreateIndex, CreateTable

import servers
from tastemaker.domain import Check, Interval, ItemChange, ModelCard, Run, UserChange, Verdict
from tastemaker.errors import ConfigError, InputError, StorageError
from tastemaker.storage.tables import Metric, Tables, User, dialect, open_tables, schema
from tastemaker.storage.tables.migrations import settings as alembic_settings

DATABASES: dict[str, Callable[[Path], str]] = {
    "sqlite": lambda folder: f"sqlite:///{folder}/some/folder/tables.db",
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


def item(name: str, time: int, id: str = "e", **more: object) -> ItemChange:
    return ItemChange(id=id, time=time, item=name, **more)  # type: ignore[arg-type]  # any field of the struct


def card(version: str, made: int, **more: object) -> ModelCard:
    given = {"kind": "als", "state": "candidate", "params": {}, "data": {}, "reward": "1", "features": "", "code": "0"} | more
    return ModelCard(version=version, made=made, **given)  # type: ignore[arg-type]  # any field of the struct


# ── the schema ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_migrations_of_an_empty_database_arrive_exactly_at_the_schema(tables: Tables) -> None:
    with dialect.reading(tables.engine) as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, schema.metadata) == []


def test_the_revision_of_the_schema_is_the_newest_migration() -> None:
    assert ScriptDirectory.from_config(alembic_settings()).get_heads() == [schema.REVISION]


def test_the_schema_can_be_written_for_other_databases() -> None:
    for table in schema.metadata.sorted_tables:
        for other in (postgresql.dialect(), mysql.dialect()):  # type: ignore[no-untyped-call]  # SQLAlchemy leaves it untyped
            assert f"CREATE TABLE {table.name}" in str(CreateTable(table).compile(dialect=other))
            assert all(index.name in str(CreateIndex(index).compile(dialect=other)) for index in table.indexes if index.name)
            assert "UPDATE" in str(dialect.upsert(other.name, table).compile(dialect=other))


def test_no_key_is_longer_than_mysql_allows() -> None:
    for table in schema.metadata.sorted_tables:
        for columns in (table.primary_key.columns, *(index.columns for index in table.indexes)):
            assert sum(4 * (getattr(column.type, "length", None) or 2) for column in columns) <= 3072


def open_and_write(url: str, number: int) -> int:
    opened = open_tables(url)
    changed = opened.items.put([item(f"i{number}", 1)])
    opened.close()
    return changed


def test_processes_that_start_together_migrate_once_and_lose_nothing(url: str) -> None:
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        assert pool.starmap(open_and_write, [(url, number) for number in range(4)], chunksize=1) == [1] * 4
    again = open_tables(url)
    assert again.items.count() == 4
    assert again.items.stamp() == 4
    again.close()


def test_a_url_that_is_none_is_refused_without_its_password() -> None:
    with pytest.raises(ConfigError, match="sqlite:///FILE"):
        open_tables("sqlite://")
    with pytest.raises(ConfigError, match="not a URL"):
        open_tables("nonsense")


def test_a_file_that_is_no_database_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "t.db").write_bytes(b"this is no database" * 100)
    with pytest.raises((StorageError, sqlite3.DatabaseError), match="not a database"):
        open_tables(f"sqlite:///{tmp_path}/t.db")


# ── items ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_item_comes_back_as_it_was_written(tables: Tables) -> None:
    change = item(
        "ä/1", 5, "e1", title="Tïtle", categories=("a", "b"), text="x" * 70_000, released=-5, fields={"n": 1.5, "b": True}
    )
    assert tables.items.put([change]) == 1
    assert tables.items.get("ä/1") == change
    assert tables.items.get("unknown") is None
    assert tables.items.put([]) == 0


def test_keys_differ_by_case_and_are_sorted_by_their_bytes(tables: Tables) -> None:
    names = ["b", "A", "a", "B", "é", "10", "9", "ﬀ", "😀"]
    tables.items.put([item(name, 1) for name in names])
    assert [change.item for change in tables.items.all()] == sorted(names, key=str.encode)


@settings(max_examples=25, deadline=None)
@given(
    changes=st.lists(
        st.builds(item, st.sampled_from("ab"), st.integers(0, 3), st.sampled_from("xyz"), deleted=st.booleans()),
        max_size=8,
        unique_by=lambda change: (change.item, change.time, change.id),
    ),
    seed=st.integers(0, 1000),
)
def test_the_newest_change_wins_in_whatever_order_and_blocks_they_come(
    changes: list[ItemChange], seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    opened = open_tables(f"sqlite:///{tmp_path_factory.mktemp('t')}/t.db")
    shuffled = random.Random(seed).sample(changes, len(changes))
    for start in range(0, len(shuffled), 3):
        opened.items.put(shuffled[start : start + 3])
    expected = {change.item: change for change in sorted(changes, key=lambda change: (change.time, change.id))}
    alive = [change for _, change in sorted(expected.items()) if not change.deleted]
    assert opened.items.all() == alive
    assert opened.items.count() == len(alive)
    stamp = opened.items.stamp()
    assert opened.items.put(changes) == 0
    assert opened.items.stamp() == stamp
    opened.close()


def test_a_deleted_item_is_gone_but_late_news_do_not_bring_it_back(tables: Tables) -> None:
    tables.items.put([item("a", 5)])
    before = tables.items.stamp()
    assert tables.items.put([item("a", 6, deleted=True)]) == 1
    assert tables.items.stamp() > before
    assert tables.items.get("a") is None
    assert tables.items.put([item("a", 5, "z")]) == 0
    assert tables.items.count() == 0
    assert tables.items.put([item("a", 7)]) == 1
    assert tables.items.count() == 1


def test_pages_together_are_the_whole_catalogue(tables: Tables) -> None:
    tables.items.put([item(f"i{number:04}", 1, deleted=number % 7 == 0) for number in range(1300)])
    pages, after = [], ""
    while page := tables.items.page(after, 100):
        pages.append(page)
        after = page[-1].item
    assert list(itertools.chain(*pages)) == tables.items.all()
    assert list(tables.items.each()) == tables.items.all()
    assert max(map(len, pages)) == 100


def test_threads_lose_no_change(tables: Tables) -> None:
    with ThreadPoolExecutor(8) as threads:
        done = threads.map(lambda number: tables.items.put([item(f"i{number % 10}", number)]), range(80))
    assert sum(done) == tables.items.stamp() >= 10
    assert [change.time for change in tables.items.all()] == list(range(70, 80))


# ── users ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_a_user_change_leaves_out_stays(tables: Tables) -> None:
    users = tables.users
    assert (
        users.put([UserChange(id="1", time=1, user="u", preferences={"a": 1.0, "b": 2.0}, segment="s", fields={"age": 3})]) == 1
    )
    assert users.put([UserChange(id="2", time=2, user="u", preferences={"c": 4.5})]) == 1
    assert users.get("u") == User(user="u", segment="s", preferences={"c": 4.5}, fields={"age": 3}, time=2)
    assert users.put([UserChange(id="3", time=3, user="u", preferences={}, segment="")]) == 1
    assert users.get("u") == User(user="u", segment="", fields={"age": 3}, time=3)


def test_a_late_user_change_fills_gaps_and_undoes_nothing(tables: Tables) -> None:
    tables.users.put([UserChange(id="2", time=5, user="u", preferences={"new": 1.0})])
    tables.users.put([UserChange(id="1", time=4, user="u", preferences={"old": 1.0}, segment="s")])
    assert tables.users.get("u") == User(user="u", segment="s", preferences={"new": 1.0}, time=5)


def test_a_refused_preference_leaves_nothing_behind(tables: Tables) -> None:
    good = UserChange(id="1", time=1, user="good", preferences={"a": 1.0})
    with pytest.raises(InputError, match="finite"):
        tables.users.put([good, UserChange(id="2", time=1, user="bad", preferences={"a": math.nan})])
    assert tables.users.count() == 0
    assert list(tables.users.preferences()) == []


def test_preferences_are_streamed_in_order_and_forgotten_with_the_user(tables: Tables) -> None:
    changes = [UserChange(id=str(n), time=1, user=f"u{n:04}", preferences={"b": n, "a": -n}) for n in range(3000)]
    assert tables.users.put(changes) == tables.users.count() == 3000
    rows = tables.users.preferences()
    assert next(rows) == ("u0000", "a", 0.0)
    assert len(list(rows)) == 5999
    assert tables.users.delete("u0007") == 3
    assert tables.users.delete("u0007") == 0
    assert tables.users.get("u0007") is None
    assert all(user != "u0007" for user, _, _ in tables.users.preferences())


# ── models, metrics, runs ───────────────────────────────────────────────────────────────────────────────────────────


def test_a_card_comes_back_as_it_was_written_also_with_unknown_numbers(tables: Tables) -> None:
    verdict = Verdict("v1", None, False, (Check("floor", math.nan, math.inf, False, "none"),), 3)
    written = card("v1", 7, metrics={"ndcg@10": Interval(0.5, math.nan, 0.75, 3)}, losses=(1.0, math.nan), verdict=verdict)
    tables.models.put(written)
    read = tables.models.get("v1")
    assert repr(read) == repr(written)  # NaN is not equal to itself
    assert tables.models.get("v2") is None


def test_cards_are_chosen_by_kind_and_state_newest_first(tables: Tables) -> None:
    for made, (version, kind, state) in enumerate([("a", "als", "live"), ("b", "als", "retired"), ("c", "nmf", "live")]):
        tables.models.put(card(version, made, kind=kind, state=state))
    tables.models.put(card("b", 1, kind="als", state="live"))
    assert [found.version for found in tables.models.all()] == ["c", "b", "a"]
    assert [found.version for found in tables.models.all(kind="als", state="live")] == ["b", "a"]
    assert tables.models.all(state="retired") == []


def test_a_metric_written_twice_is_there_once_and_nan_survives(tables: Tables) -> None:
    point = Metric("ndcg@10", "v1", 0.5, math.nan, 0.75, 20, 5)
    tables.metrics.put([point, Metric("ndcg@10", "v1", 0.25, 0.1, 0.5, 9, 6, slice="new users", source="online")])
    tables.metrics.put([point, Metric("ndcg@10", "v2", 0.5, 0.1, 0.5, 9, 6)])
    assert len(tables.metrics.history()) == 3
    newest, oldest = tables.metrics.history(model="v1")
    assert (newest.slice, newest.source, newest.time) == ("new users", "online", 6)
    assert repr(oldest) == repr(point)
    assert tables.metrics.history(name="mrr") == []
    assert len(tables.metrics.history(name="ndcg@10", limit=1)) == 1
    with pytest.raises(InputError, match=r"metric\.high"):
        tables.metrics.put([Metric("x", "v", 1, 1, math.inf, 1, 1)])


def test_runs_are_found_by_pipeline_and_the_unfinished_one_is_the_newest_not_done(tables: Tables) -> None:
    for began, (id, state) in enumerate([("1", "failed"), ("2", "done"), ("3", "running")]):
        tables.runs.put(Run(id, "daily", 0, 10, state, began, steps={"train": {"state": state, "seconds": 1.5}}))
    tables.runs.put(Run("4", "hourly", 0, 10, "done", 9))
    assert [run.id for run in tables.runs.last()] == ["4", "3", "2", "1"]
    assert [run.id for run in tables.runs.last("daily", 2)] == ["3", "2"]
    unfinished = tables.runs.unfinished("daily")
    assert unfinished is not None
    assert unfinished.id == "3"
    tables.runs.put(Run("3", "daily", 0, 10, "done", 2, 12))
    assert getattr(tables.runs.unfinished("daily"), "id", None) == "1"
    assert tables.runs.get("3") == Run("3", "daily", 0, 10, "done", 2, 12)
    assert tables.runs.unfinished("hourly") is None
