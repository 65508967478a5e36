"""Tables as blocks: Parquet files, and tables in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tastemaker.errors import InputError
from tastemaker.pipelines.imports.blocks import TEXT, Block

ROWS = 65_536  # of a block


def content_digest(path: Path) -> str:
    """Of the whole file: a corrected file is another one, a copied one is the same."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()


@dataclass(frozen=True)
class Rows:
    """A table in memory."""

    table: pa.Table
    name: str

    @property
    def names(self) -> Sequence[str]:
        return list(self.table.column_names)

    @property
    def total(self) -> int:
        return int(self.table.num_rows)

    def digest(self) -> str:
        """Of the name and the values."""
        seen = hashlib.blake2b(self.name.encode())
        for batch in self.table.to_batches(ROWS):
            seen.update(batch.serialize())
        return seen.hexdigest()

    def blocks(self, position: int, line: int) -> Iterator[Block]:  # noqa: ARG002  # rows are counted by position
        for batch in self.table.slice(position).combine_chunks().to_batches(ROWS):
            position += batch.num_rows
            yield block_of(batch, position)


class Parquet:
    """A Parquet file; a row's number counts from 1."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with pq.ParquetFile(path) as file:
                self.names: Sequence[str] = file.schema_arrow.names
                self.total = file.metadata.num_rows
        except pa.ArrowInvalid as error:
            raise InputError("path", str(path), f"not a Parquet file: {error}") from None

    def digest(self) -> str:
        return content_digest(self.path)

    def blocks(self, position: int, line: int) -> Iterator[Block]:  # noqa: ARG002  # rows are counted by position
        with pq.ParquetFile(self.path) as file:
            done = 0
            for batch in file.iter_batches(ROWS, columns=list(self.names), use_threads=False):
                done += batch.num_rows
                if done > position:
                    yield block_of(batch, done)


def block_of(batch: pa.RecordBatch, position: int) -> Block:
    lines = np.arange(position - batch.num_rows + 1, position + 1, dtype=np.int64)
    columns = dict(zip(batch.schema.names, batch.columns, strict=True))
    return Block(columns, lines, position, position + 1, lambda index: str(batch.slice(index, 1).to_pylist()[0])[:TEXT])
