"""The tables on PostgreSQL and MySQL: servers that go away and come back, ids in every spelling, writers at once."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, text
from sqlalchemy.exc import IntegrityError

import servers
from ports import free_port
from tastemaker.config import Patience
from tastemaker.domain import ItemChange, UserChange
from tastemaker.errors import ConfigError, Conflict, StorageError, Unavailable
from tastemaker.storage.tables import Tables, dialect, open_tables, schema
from tastemaker.storage.tables.migrations import upgrade

SERVERS: dict[str, Callable[[], servers.Server]] = {"postgresql": servers.PostgreSQL, "mysql": servers.MariaDB}
URLS: dict[str, Callable[[], str]] = {"postgresql": servers.postgresql, "mysql": servers.mariadb}
QUICK = Patience(connect_ms=300, timeout_ms=300, tries=2, failures=3, pause_ms=300)


@pytest.fixture(params=URLS)
def url(request: pytest.FixtureRequest) -> str:
    return URLS[request.param]()


@pytest.fixture(params=SERVERS)
def own(request: pytest.FixtureRequest) -> Iterator[tuple[servers.Server, Tables]]:
    """A server that a test may kill, and tables on it."""
    with SERVERS[request.param]() as server:
        root, name = f"{server.url}/{'postgres' if request.param == 'postgresql' else 'mysql'}", "shop"
        engine = create_engine(root.replace("postgresql:", "postgresql+psycopg:"), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
        engine.dispose()
        tables = open_tables(f"{server.url}/{name}", QUICK)
        yield server, tables
        tables.close()
        server.kill()  # PostgreSQL would wait for connections that were given up


def item(name: str, time: int = 1, **more: object) -> ItemChange:
    return ItemChange(id="e", time=time, item=name, **more)  # type: ignore[arg-type]  # any field of the struct


def until_it_answers(tables: Tables) -> int:
    end = time.monotonic() + 20
    while True:
        try:
            return tables.items.count()
        except Unavailable:
            assert time.monotonic() < end
            time.sleep(0.05)


def test_a_killed_server_is_unavailable_at_once_and_comes_back_by_itself(own: tuple[servers.Server, Tables]) -> None:
    server, tables = own
    tables.items.put([item("a")])
    server.kill()
    for work in (tables.items.count, lambda: tables.items.put([item("b")]), tables.items.count):
        began = time.monotonic()
        with pytest.raises(Unavailable, match="see that the database server runs") as caught:
            work()
        assert time.monotonic() - began < 3
        assert "secret" not in str(caught.value)
        assert "127.0.0.1" in str(caught.value)
    began = time.monotonic()
    with pytest.raises(Unavailable, match="left alone"):
        tables.items.count()
    assert time.monotonic() - began < 0.1
    server.start()
    assert until_it_answers(tables) == 1
    assert tables.items.put([item("b")]) == 1


def test_a_frozen_server_is_unavailable_in_bounded_time_and_comes_back_by_itself(own: tuple[servers.Server, Tables]) -> None:
    server, tables = own
    tables.items.put([item("a")])
    freeze(server)
    try:
        began = time.monotonic()
        with pytest.raises(Unavailable):
            tables.items.get("a")
        assert time.monotonic() - began < 10  # PostgreSQL's library waits two seconds for each connection at least
    finally:
        thaw(server)
    assert until_it_answers(tables) == 1


def processes(server: servers.Server) -> list[int]:
    """The server's process and its children: PostgreSQL has one for each connection."""
    assert server.process is not None
    own = server.process.pid
    return [*map(int, Path(f"/proc/{own}/task/{own}/children").read_text().split()), own]


def freeze(server: servers.Server) -> None:
    """Stops the server, and returns when all its threads stand still."""
    for process in processes(server):
        os.kill(process, signal.SIGSTOP)
    for process in processes(server):
        while any(stat.read_text().rpartition(")")[2].split()[0] != "T" for stat in Path(f"/proc/{process}/task").glob("*/stat")):
            time.sleep(0.001)


def thaw(server: servers.Server) -> None:
    for process in processes(server):
        os.kill(process, signal.SIGCONT)


def test_a_transaction_that_loses_its_server_leaves_nothing_behind(own: tuple[servers.Server, Tables]) -> None:
    server, tables = own

    def interrupted() -> None:
        with dialect.writing(tables.engine) as connection:
            dialect.lock(connection, "items")
            dialect.move(connection, "items")
            server.kill()
            for _ in range(3000):  # a session may outlive its server's first process by a moment
                dialect.move(connection, "items")
                time.sleep(0.01)

    with pytest.raises(Unavailable):
        interrupted()
    server.start()
    assert until_it_answers(tables) == 0
    assert tables.items.stamp() == 0


def test_an_opening_without_a_server_is_unavailable_and_names_no_password() -> None:
    port = free_port()
    for scheme in ("postgresql", "postgresql+psycopg", "mysql", "mysql+pymysql", "mariadb+pymysql"):
        with pytest.raises(Unavailable, match=f"127.0.0.1:{port}") as caught:
            open_tables(f"{scheme}://shop:hush-hush@127.0.0.1:{port}/shop", QUICK)
        assert "hush" not in str(caught.value)


def test_a_wrong_password_or_database_is_no_server_that_is_away(url: str) -> None:
    wrong = [url.rpartition("/")[0] + "/nowhere"]
    if "secret" in url:
        wrong.append(url.replace(":secret@", ":hush-hush@"))
    for given in wrong:
        with pytest.raises(StorageError, match="the password and the database") as caught:
            open_tables(given, QUICK)
        assert not isinstance(caught.value, Unavailable)
        assert "hush" not in str(caught.value)
        assert "secret" not in str(caught.value)


def test_a_url_without_a_database_is_refused() -> None:
    with pytest.raises(ConfigError, match="names no database") as caught:
        open_tables("mysql://shop:hush-hush@localhost")
    assert "hush" not in str(caught.value)


# ── ids ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

SPELLINGS = [
    "A",
    "a",
    "a ",
    "a  ",
    " a",
    "ä",
    "a\u0308",
    "ß",
    "ss",
    "😀",
    "👍🏽",
    "ﬀ",
    "1",
    "01",
    "1.0",
    "%",
    "_",
    "\\",
    "'",
    '"',
    "x" * 256,
]


def test_ids_in_every_spelling_are_different_and_sorted_alike(url: str, tmp_path: Path) -> None:
    with_server, with_file = open_tables(url), open_tables(f"sqlite:///{tmp_path}/t.db")
    for tables in (with_server, with_file):
        assert tables.items.put([item(name, title=name) for name in SPELLINGS]) == len(SPELLINGS)
        assert tables.users.put([UserChange(id="e", time=1, user=name, preferences={name: 1.0}) for name in SPELLINGS]) == len(
            SPELLINGS
        )
        for name in SPELLINGS:
            assert tables.items.get(name) == item(name, title=name)
            user = tables.users.get(name)
            assert user is not None
            assert user.preferences == {name: 1.0}
        assert tables.items.get("a   ") is None
    assert with_server.items.all() == with_file.items.all()
    assert list(with_server.items.each()) == with_server.items.all()
    assert list(with_server.users.preferences()) == list(with_file.users.preferences())
    assert with_server.users.delete("a ") == 2
    assert with_server.users.count() == len(SPELLINGS) - 1
    with_server.close()
    with_file.close()


def test_an_item_with_a_nul_stops_nobody(url: str) -> None:
    tables = open_tables(url)
    assert tables.items.put([item("a\0b", title="x\0y"), item("c")]) == 2
    odd, plain = tables.items.all()
    assert (odd.item.replace("\ufffd", "\0"), odd.title.replace("\ufffd", "\0")) == ("a\0b", "x\0y")
    assert tables.items.get("a\0b") == odd
    assert plain == item("c")
    tables.close()


def test_a_value_that_does_not_fit_is_an_error_and_never_cut(url: str) -> None:
    tables = open_tables(url)
    with pytest.raises(StorageError):
        tables.items.put([item("x" * 257)])
    assert tables.items.all() == []
    tables.close()


# ── at once ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def open_and_write(url: str, number: int) -> int:
    tables = open_tables(url)
    changed = sum(tables.items.put([item("shared", round * 10 + number), item(f"i{number}-{round}")]) for round in range(20))
    tables.close()
    return changed


def test_processes_open_a_new_database_at_once_and_lose_no_write(url: str) -> None:
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        changed = pool.starmap(open_and_write, [(url, number) for number in range(4)], chunksize=1)
    tables = open_tables(url)
    assert tables.items.count() == 81
    shared = tables.items.get("shared")
    assert shared is not None
    assert shared.time == 193
    assert 80 + 20 <= sum(changed) <= 160
    tables.close()


def test_writers_of_the_same_users_neither_deadlock_nor_lose_a_change(url: str) -> None:
    tables = open_tables(url)
    names = [f"u{number}" for number in range(30)]

    def write(writer: int) -> None:
        for round in range(6):
            order = names if (writer + round) % 2 else names[::-1]
            stamp = writer * 100 + round
            tables.users.put([UserChange(id="e", time=stamp, user=name, preferences={"c": float(stamp)}) for name in order])

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(write, range(8)))
    assert [score for _, _, score in tables.users.preferences()] == [705.0] * 30
    tables.close()


def test_a_reader_sees_one_moment(url: str) -> None:
    tables = open_tables(url)
    tables.items.put([item("a")])
    with dialect.reading(tables.engine) as connection:
        assert connection.execute(text("SELECT count(*) FROM items")).scalar() == 1
        tables.items.put([item("b")])
        assert connection.execute(text("SELECT count(*) FROM items")).scalar() == 1
    assert tables.items.count() == 2
    tables.close()


# ── migrations ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_migration_that_was_cut_off_anywhere_is_finished_by_the_next_opening(url: str) -> None:
    engine = dialect.connect(url, Patience())
    for done in range(len(schema.metadata.sorted_tables)):
        with engine.begin() as connection:
            schema.metadata.drop_all(connection)
            connection.execute(text("DROP TABLE IF EXISTS alembic_version"))
            for table in schema.metadata.sorted_tables[: done + 1]:
                table.create(connection)
        tables = open_tables(url)
        assert tables.items.stamp() == 0
        with dialect.reading(tables.engine) as connection:
            assert compare_metadata(MigrationContext.configure(connection), schema.metadata) == []
        tables.close()
    engine.dispose()


def test_a_migration_that_fails_lets_the_next_process_try(url: str) -> None:
    engine = dialect.connect(url, Patience())
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE stamps (name VARCHAR(64) PRIMARY KEY, value BIGINT NOT NULL)"))
        connection.execute(text("INSERT INTO stamps VALUES ('items', 0)"))
    for _ in range(2):
        with pytest.raises((StorageError, IntegrityError)), dialect.migrating(engine) as connection:
            upgrade(connection)
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM stamps"))
    with dialect.migrating(engine) as connection:
        upgrade(connection)
    engine.dispose()


@pytest.mark.parametrize("place", [servers.postgresql, servers.mariadb])
def test_one_machine_works_alone_until_it_ends_however_it_ends(place: Callable[[], str]) -> None:
    url = place()
    first, second = open_tables(url), open_tables(url)
    with first.alone("work"):
        with pytest.raises(Conflict, match="another machine is at work on work"), second.alone("work"):
            pytest.fail("two at once")
        with second.alone("other work"):
            pass
    with pytest.raises(ZeroDivisionError), first.alone("work"):
        raise ZeroDivisionError
    with second.alone("work"):
        pass
    found = first.inspect()
    assert found.clock == pytest.approx(time.time(), abs=5)
    assert any(character.isdigit() for character in found.version)
    first.close()
    second.close()
