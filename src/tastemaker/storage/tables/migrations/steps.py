"""Steps of migrations that may be run again.

MySQL commits at every change of the schema. When a process dies in the middle of a migration, the next one begins that
migration from the start, and has to find its way past what is there already.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from alembic import op
from sqlalchemy import Column, inspect


def create_table(name: str, *columns: Column[Any]) -> None:
    op.create_table(name, *columns, if_not_exists=True)


def create_index(name: str, table: str, columns: Sequence[str]) -> None:
    if name not in {index["name"] for index in inspect(op.get_bind()).get_indexes(table)}:
        op.create_index(name, table, list(columns))
