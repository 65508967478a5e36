"""Text in three databases: keys that compare by their bytes, and text of any length.

Left to itself MySQL takes "A" for "a" and "a " for "a", and PostgreSQL sorts by the language of its server. Two ids that
differ in the log must be two rows everywhere, in the same order, or a catalogue changes when it moves to another database.
The migrations use these types too: what a type means here never changes.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import String, Text
from sqlalchemy.dialects import mysql
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.types import TypeEngine

SPELLED = 256  # letters of an id


class Exact(mysql.VARCHAR):
    """MySQL's text that compares by its bytes, with the spaces at its end."""


@compiles(Exact, "mysql")
def spell(exact: Exact, compiler: Any, **_: Any) -> str:
    # The one collation that does not pad with spaces has two names. Both count code points, which sort like UTF-8.
    collation = "utf8mb4_nopad_bin" if compiler.dialect.is_mariadb else "utf8mb4_0900_bin"
    return f"VARCHAR({exact.length}) CHARACTER SET utf8mb4 COLLATE {collation}"


def key(length: int = SPELLED) -> TypeEngine[str]:
    """Text that compares by its bytes."""
    return String(length).with_variant(Exact(length), "mysql").with_variant(String(length, collation="C"), "postgresql")


def text() -> TypeEngine[str]:
    """Text of any length; MySQL's own TEXT ends at 64 KiB."""
    return Text().with_variant(mysql.LONGTEXT(charset="utf8mb4"), "mysql")
