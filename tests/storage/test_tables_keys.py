"""The contract of the API keys, for every database that ``test_tables.py`` lists."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

import servers
from tastemaker.errors import InputError
from tastemaker.storage.tables import Tables, dialect, open_tables
from tastemaker.storage.tables.schema import metadata

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


# ── API keys ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_key_is_known_by_its_secret_which_is_stored_nowhere(tables: Tables) -> None:
    secret = tables.keys.create("shop", ["read", "write"], now=7)
    assert secret.startswith("tm_")
    assert len(secret) == 3 + 43
    key = tables.keys.verify(secret)
    assert key is not None
    assert (key.name, key.scopes, key.made, key.revoked) == ("shop", ("write", "read"), 7, False)
    assert tables.keys.verify(secret + "x") is None
    assert tables.keys.verify("tm_\udcff") is None
    with dialect.reading(tables.engine) as connection:
        stored = [str(row) for table in metadata.sorted_tables for row in connection.execute(select(table))]
    assert [row for row in stored if secret in row] == []
    assert [row for row in stored if hashlib.sha256(secret.encode()).hexdigest() in row] != []
    if tables.engine.dialect.name == "sqlite":  # whose file may hold more than its rows
        database = Path(str(tables.engine.url.database))
        tables.close()
        assert secret.encode() not in b"".join(file.read_bytes() for file in database.parent.iterdir())


def test_a_revoked_key_opens_nothing(tables: Tables) -> None:
    secret, other = tables.keys.create("a", ["admin"], 1), tables.keys.create("b", ["read"], 2)
    first, second = tables.keys.all()
    assert tables.keys.revoke(first.id)
    assert not tables.keys.revoke(first.id)
    assert not tables.keys.revoke("unknown")
    assert tables.keys.verify(secret) is None
    assert tables.keys.verify(other) == second
    assert [key.revoked for key in tables.keys.all()] == [True, False]


@pytest.mark.parametrize("scopes", [["reed"], [], "read", ["read", ""]])
def test_scopes_that_do_not_exist_are_refused(tables: Tables, scopes: list[str]) -> None:
    with pytest.raises(InputError, match="scopes"):
        tables.keys.create("x", scopes, 1)
    assert tables.keys.all() == []
