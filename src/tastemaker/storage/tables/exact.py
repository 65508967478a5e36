"""Text in three databases: keys that compare by their bytes, and text of any length.

Left to itself MySQL takes "A" for "a" and "a " for "a", and PostgreSQL sorts by the language of its server. Two ids that
differ in the log must be two rows everywhere, in the same order, or a catalogue changes when it moves to another database.
The migrations use these types too: what a type means here never changes.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Dialect, String, Text
from sqlalchemy.dialects import mysql
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.types import TypeDecorator, TypeEngine

SPELLED = 256  # letters of an id


class Exact(mysql.VARCHAR):
    """MySQL's text that compares by its bytes, with the spaces at its end."""


@compiles(Exact, "mysql")
def spell(exact: Exact, compiler: Any, **_: Any) -> str:
    # The one collation that does not pad with spaces has two names. Both count code points, which sort like UTF-8.
    collation = "utf8mb4_nopad_bin" if compiler.dialect.is_mariadb else "utf8mb4_0900_bin"
    return f"VARCHAR({exact.length}) CHARACTER SET utf8mb4 COLLATE {collation}"


class Storable(TypeDecorator[str]):
    """PostgreSQL's text, which has no NUL: one in an event must not stop all that come behind it, so it is replaced."""

    impl = Text
    cache_ok = True

    def __init__(self, length: int | None = None) -> None:
        super().__init__()
        self.length = length

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:  # noqa: ARG002 - SQLAlchemy's signature
        return Text() if self.length is None else String(self.length, collation="C")

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002 - SQLAlchemy's signature
        return value.replace("\0", "\ufffd") if value else value


def key(length: int = SPELLED) -> TypeEngine[str]:
    """Text that compares by its bytes."""
    return String(length).with_variant(Exact(length), "mysql").with_variant(Storable(length), "postgresql")


def text() -> TypeEngine[str]:
    """Text of any length; MySQL's own TEXT ends at 64 KiB."""
    return Text().with_variant(mysql.LONGTEXT(charset="utf8mb4"), "mysql").with_variant(Storable(), "postgresql")
