"""The lake: events and results as Delta tables, folders of Parquet files with a log of versions.

A version, once written, can be read until ``vacuum`` removes its files: training names the versions it read. An append may
carry application transactions (name -> number) that are committed with the rows, so that a writer that is repeated knows
what is already there. Read a table through ``scan``, ``read`` or ``files``, never by its folder: that also holds files of old
versions.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from tastemaker.config import Patience
from tastemaker.errors import ConfigError, Conflict, InputError, NotFound, StorageError
from tastemaker.storage.columns import SCHEMAS
from tastemaker.storage.inspection import Inspection
from tastemaker.storage.places import Bucket, Folder, Place, folder_of

if TYPE_CHECKING:
    import ibis.expr.types as ir
    import pyarrow.compute as pc
    from ibis.backends import BaseBackend

NAME = re.compile(r"[a-z0-9][a-z0-9_]{0,63}")
TRIES = 20
T = TypeVar("T")


def open_lake(url: str, patience: Patience | None = None) -> Lake:
    """Opens ``file:///relative/folder`` (four slashes: absolute; made when there is none) or ``s3://bucket/prefix``."""
    if url.startswith("s3://"):
        return Lake(Bucket(url, patience or Patience(), "connect.lake"))
    root = folder_of(url, "connect.lake").absolute()
    if "%" in str(root):  # the Delta library takes it for the escape of a URL, and looks elsewhere
        raise ConfigError(
            f"connect.lake = {url!r}: {root} has a % in its name, which Delta tables cannot have: name another folder"
        )
    return Lake(Folder(root))


class Lake:
    """Delta tables in one place. Thread safe, and safe among processes."""

    def __init__(self, place: Place) -> None:
        self.place = place

    def append(self, name: str, data: pa.Table, transactions: Mapping[str, int] | None = None) -> int:
        """Adds rows, with new columns if there are any, and creates the table; returns the new version.

        With ``transactions`` a ``Conflict`` is raised, and nothing written, when another writer was faster with one of them.
        """
        known = self.transactions(name, transactions or ())
        marks = [Transaction(app, number) for app, number in (transactions or {}).items()]

        def write() -> int:
            table = self._table(name)
            overtaken = [app for app, number in known.items() if number_of(table, app) != number]
            if overtaken:
                raise Conflict(f"{name}: another writer moved {', '.join(overtaken)}: read where it stands, and go on from there")
            write_deltalake(
                self._uri(name) if table is None else table,
                data,
                mode="append",
                schema_mode="merge",
                storage_options=self._options,
                # A transaction is looked at again before each try; without one, the commit may be repeated blindly.
                commit_properties=CommitProperties(app_transactions=marks, max_commit_retries=0 if marks else 15),
            )
            return self.version(name) if table is None else int(table.version())

        return self._retry(name, write)

    def overwrite(self, name: str, data: pa.Table | pa.RecordBatchReader) -> int:
        """Replaces all rows, and the columns too; older versions stay readable. Returns the new version."""

        def write() -> int:
            write_deltalake(self._uri(name), data, mode="overwrite", schema_mode="overwrite", storage_options=self._options)
            return self.version(name)

        return self._retry(name, write)

    def transaction(self, name: str, app: str) -> int:
        """The number of an application transaction, -1 when there is none."""
        return self.transactions(name, [app])[app]

    def transactions(self, name: str, apps: Iterable[str]) -> dict[str, int]:
        """The numbers of several application transactions, from one look at the table."""
        table = self._table(name)
        return {app: number_of(table, app) for app in apps}

    def version(self, name: str) -> int:
        """The newest version, -1 when there is no table."""
        table = self._table(name)
        return -1 if table is None else int(table.version())

    def names(self) -> list[str]:
        """All tables."""
        return self.place.names(holding="_delta_log")

    def files(self, name: str, version: int | None = None) -> list[str]:
        """A version's Parquet files: absolute paths, or URLs of a bucket; none when there is no table."""
        table = self._table(name, version)
        return [] if table is None else [unquote(uri.removeprefix("file://")) for uri in table.file_uris()]

    def schema(self, name: str, version: int | None = None) -> pa.Schema:
        """A version's columns; ``NotFound`` when there is no table."""
        table = self._table(name, version)
        if table is None:
            raise NotFound(f"the lake has no table {name}; it has: {', '.join(self.names()) or 'none'}")
        return table.to_pyarrow_dataset().schema

    def readable(self, name: str, version: int) -> bool:
        """Whether a version's files are all there: ``vacuum`` may have removed some."""
        return self.place.exist(self.files(name, version))

    def scan(self, connection: BaseBackend, name: str, version: int | None = None) -> ir.Table | None:
        """A version as a table of a DuckDB connection, which reads the columns and rows that a query needs; None: no rows.

        A bucket is read through the Delta library's own client: DuckDB's would have to be downloaded.
        """
        if isinstance(self.place, Folder):
            files = self.files(name, version)
            return connection.read_parquet(files) if files else None
        table = self._table(name, version)
        if table is None or not table.file_uris():
            return None
        seen = f"lake_{name}_{table.version()}"
        connection.con.register(seen, table.to_pyarrow_dataset())
        return connection.table(seen)

    def read(self, name: str, version: int | None = None, columns: Sequence[str] | None = None) -> pa.Table:
        """The rows. A table of events that nobody wrote yet is empty; any other raises ``NotFound``."""
        table = self._table(name, version)
        if table is not None:
            try:
                found: pa.Table = table.to_pyarrow_table(columns=None if columns is None else list(columns))
            except (DeltaError, OSError, pa.ArrowException) as error:
                raise self._explain(name, error, "it may have been vacuumed meanwhile; read it again") from error
            return found
        if name not in SCHEMAS:
            raise NotFound(f"the lake has no table {name}; it has: {', '.join(self.names()) or 'none'}")
        empty = SCHEMAS[name].empty_table()
        return empty if columns is None else empty.select(list(columns))

    def stream(self, name: str, where: pc.Expression | None = None) -> pa.RecordBatchReader | None:
        """The newest version's rows, part by part, those of a condition: for tables that memory does not hold. None: no table."""
        table = self._table(name)
        return None if table is None else table.to_pyarrow_dataset().scanner(filter=where).to_reader()

    def delete(self, name: str, column: str, value: str) -> int:
        """Removes the rows in which a text column has the value; returns how many. Old versions keep them until ``vacuum``."""
        literal = value.replace("'", "''")
        return self._delete(name, column, f"= '{literal}'")

    def delete_below(self, name: str, column: str, bound: int) -> int:
        """Removes the rows in which a column of integers, such as the time, is below a bound; else as ``delete``."""
        return self._delete(name, column, f"< {int(bound)}")

    def _delete(self, name: str, column: str, condition: str) -> int:
        table = self._table(name)
        if table is None:
            return 0
        if column not in {field.name for field in table.schema().fields}:
            raise InputError("column", column, f"{name} has no such column")

        def remove() -> int:
            return int(self._open(name).delete(f'"{column}" {condition}')["num_deleted_rows"])

        return self._retry(name, remove)

    def compact(self, name: str) -> dict[str, Any]:
        """Few files instead of many; the rows stay. Returns what was done, in numbers."""
        if self._table(name) is None:
            return {}
        return self._retry(name, lambda: dict(self._open(name).optimize.compact()))

    def vacuum(self, name: str, hours: int, keep: Iterable[int] = ()) -> int:
        """Removes files that no version of the last ``hours`` uses. Older versions are gone then. Returns how many, counting
        again those that an earlier call has removed, as long as the table's log names them.

        The versions in ``keep`` stay readable, however old they are; one that is gone already cannot be kept.
        """
        table = self._table(name)
        if table is None:
            return 0
        wanted = sorted(set(keep))
        told = {int(entry["version"]) for entry in table.history()} if wanted else set()  # the log forgets old versions
        kept = [version for version in wanted if version in told and self.readable(name, version)]

        def sweep() -> int:
            # Only files that the table's own log gave up (not full): those of a commit under way are safe.
            gone = self._open(name).vacuum(
                retention_hours=hours, dry_run=False, enforce_retention_duration=False, keep_versions=kept or None
            )
            return len(gone)

        return self._retry(name, sweep)

    def inspect(self) -> Inspection:
        """See ``Inspectable``."""
        return self.place.inspect()

    def close(self) -> None:
        """Nothing is held open."""

    def _uri(self, name: str) -> str:
        if not NAME.fullmatch(name):
            raise InputError("name", name, "a table's name is lower case letters, digits and _")
        return self.place.uri(name)

    @property
    def _options(self) -> dict[str, str] | None:
        return None if self.place.options is None else dict(self.place.options)

    def _open(self, name: str) -> DeltaTable:
        return DeltaTable(self._uri(name), storage_options=self._options)

    def _explain(self, name: str, error: Exception, remedy: str) -> StorageError:
        return self.place.explain(self._uri(name), error, remedy)

    def _table(self, name: str, version: int | None = None) -> DeltaTable | None:
        try:
            table = self._open(name)
            if version is not None:
                if not 0 <= version <= table.version():
                    raise NotFound(f"{name} has no version {version}; the newest is {table.version()}")
                table.load_as_version(version)
        except TableNotFoundError:
            if version is not None and version >= 0:
                raise NotFound(f"{name} has no version {version}: there is no such table") from None
            return None
        except (DeltaError, OSError) as error:
            raise self._explain(name, error, "see that it may be read, or restore it") from error
        return table

    def _retry(self, name: str, change: Callable[[], T]) -> T:
        """Runs a change again when another writer's commit came between."""
        for attempt in range(TRIES):
            try:
                return change()
            except CommitFailedError as error:
                if attempt == TRIES - 1:
                    raise Conflict(f"{name}: other writers were faster {TRIES} times: try again") from error
                time.sleep(random.uniform(0, 0.01 * (attempt + 1)))
            except (DeltaError, OSError, pa.ArrowException) as error:
                if "already exists" in str(error) and attempt < TRIES - 1:  # two writers created the table
                    continue
                raise self._explain(
                    name, error, "nothing was written; see that there is room and that the place may be written"
                ) from error
        raise AssertionError("the last attempt returns or raises")


def number_of(table: DeltaTable | None, app: str) -> int:
    number = None if table is None else table.transaction_version(app)
    return -1 if number is None else int(number)
