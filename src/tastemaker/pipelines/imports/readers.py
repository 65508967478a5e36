"""Files as blocks of columns: CSV, Parquet and JSON Lines, plain or gzipped, in constant memory.

A reader can begin at any position that a block ended at, and cuts the same blocks again; this is what makes an import
resumable. Rows have numbers that do not depend on the blocks. A row that is no row (wrong number of columns, not JSON) is
handed on as refused; what its values are worth is judged in ``checks.py``.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.csv as arrow_csv

from tastemaker.errors import InputError
from tastemaker.pipelines.imports.blocks import TEXT, Block, Reader, Refused
from tastemaker.pipelines.imports.tables import Parquet, content_digest

BYTES = 4 << 20  # of a block of text
LONGEST = 64 << 20  # no row is longer: a quote that never ends would else swallow the file


def open_reader(path: Path) -> Reader:
    """The reader of a file, by its name: .csv .tsv .txt .jsonl .ndjson .parquet, the texts also with .gz."""
    if not path.is_file():
        raise InputError("path", str(path), "no such file")
    kinds: dict[str, Callable[[Path], Reader]] = {".csv": Csv, ".tsv": Csv, ".txt": Csv, ".data": Csv, ".jsonl": JsonLines}
    kinds[".ndjson"] = JsonLines
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() != ".gz"]
    suffix = suffixes[-1] if suffixes else ""
    if suffix in (".parquet", ".pq"):
        return Parquet(path)
    if suffix not in kinds:
        raise InputError("path", str(path), f"the name must end in {', '.join(kinds)} (.gz) or .parquet")
    return kinds[suffix](path)


def open_bytes(path: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path, "rb")) if path.suffix.lower() == ".gz" else path.open("rb")


def cut(file: BinaryIO, quotes: bool) -> Iterator[bytes]:
    """The rest of a file in parts that end with a row. With ``quotes``, a line break between quotes ends no row."""
    rest = b""
    while True:
        try:
            read = file.read(BYTES)
        except (EOFError, gzip.BadGzipFile) as error:
            raise InputError("path", getattr(file, "name", ""), f"the compressed file is damaged: {error}") from error
        data = rest + read
        if not read:
            if data:
                yield data
            return
        end = data.rfind(b"\n") + 1
        while quotes and end and data.count(b'"', 0, end) % 2 and len(data) < LONGEST:
            end = data.rfind(b"\n", 0, end - 1) + 1
        if end:
            yield data[:end]
        elif len(data) >= LONGEST:
            raise InputError("path", getattr(file, "name", ""), f"a row is longer than {LONGEST} bytes: is this a text file?")
        rest = data[end:]


class Csv:
    """Text with a header line, separated by commas or tabs. Fields with separators or line breaks stand in quotes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with open_bytes(path) as file:
            header = file.readline(1 << 20)
        self.start = len(header)
        try:
            text = header.decode("utf-8-sig").rstrip("\r\n")
        except UnicodeDecodeError:
            raise InputError("path", str(path), "the header line is not UTF-8 text; save the file as UTF-8") from None
        if "::" in text:
            raise InputError("path", str(path), "fields separated by '::' are not read; replace them by commas or tabs")
        self.separator = "\t" if text.count("\t") >= max(text.count(","), 1) else ","
        self.names = [name.strip().strip('"') for name in text.split(self.separator)]
        if not text.strip():
            raise InputError("path", str(path), "the file has no header line")
        if len(set(self.names)) < len(self.names):
            raise InputError("path", str(path), f"two columns have the same name: {', '.join(self.names)}")
        self.total = 0 if path.suffix.lower() == ".gz" else path.stat().st_size

    def digest(self) -> str:
        return content_digest(self.path)

    def blocks(self, position: int, line: int) -> Iterator[Block]:
        position, line = (position, line) if position else (self.start, 2)  # the header is line 1
        with open_bytes(self.path) as file:
            file.seek(position)
            for data in cut(file, quotes=True):
                position += len(data)
                block = self.parse(data, position, line)
                line = block.line
                yield block

    def parse(self, data: bytes, position: int, line: int) -> Block:
        wrong: list[arrow_csv.InvalidRow] = []

        def keep(row: arrow_csv.InvalidRow) -> str:
            wrong.append(row)
            return "skip"

        if not data.strip():  # Arrow refuses text without any row
            return Block({name: pa.array([], pa.binary()) for name in self.names}, np.zeros(0, np.int64), position, line, str)
        table = arrow_csv.read_csv(
            pa.BufferReader(data),
            arrow_csv.ReadOptions(use_threads=False, block_size=len(data) + 1, column_names=self.names),
            arrow_csv.ParseOptions(delimiter=self.separator, newlines_in_values=True, invalid_row_handler=keep),
            arrow_csv.ConvertOptions(column_types={name: pa.binary() for name in self.names}),
        )
        count = table.num_rows + len(wrong)
        numbers = np.arange(line, line + count, dtype=np.int64)
        at = np.array([row.number - 1 for row in wrong], dtype=np.int64)
        refused = [
            Refused(line + row.number - 1, f"{row.actual_columns} columns, not {row.expected_columns}", "", str(row.text)[:TEXT])
            for row in wrong
        ]
        columns = {name: table.column(name).combine_chunks() for name in self.names}

        def text(index: int) -> str:
            values = [columns[name][index].as_py().decode("utf-8", "replace") for name in self.names]
            return self.separator.join(values)[:TEXT]

        return Block(columns, np.delete(numbers, at), position, line + count, text, refused)


class JsonLines:
    """One JSON object a line. The columns are the names of the first object, and those that are asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.names: list[str] = []
        with open_bytes(path) as file:
            for data in file:
                row = decode_object(data)
                if isinstance(row, dict):
                    self.names = list(row)
                    break
        if not self.names:
            raise InputError("path", str(path), "no line of the file is a JSON object")
        self.total = 0 if path.suffix.lower() == ".gz" else path.stat().st_size

    def digest(self) -> str:
        return content_digest(self.path)

    def blocks(self, position: int, line: int) -> Iterator[Block]:
        line = line or 1
        with open_bytes(self.path) as file:
            file.seek(position)
            for data in cut(file, quotes=False):
                position += len(data)
                block = self.parse(data.removesuffix(b"\n").split(b"\n"), position, line)
                line = block.line
                yield block

    def parse(self, texts: Sequence[bytes], position: int, line: int) -> Block:
        rows: list[dict[str, Any]] = []
        places: list[int] = []
        refused: list[Refused] = []
        for index, text in enumerate(texts):
            row = decode_object(text)
            if isinstance(row, dict):
                rows.append(row)
                places.append(index)
            elif row:
                refused.append(Refused(line + index, row, "", text.decode("utf-8", "replace")[:TEXT]))
        columns = {name: pa.array([as_text(row.get(name)) for row in rows], pa.string()) for name in self.names}
        lines = np.array(places, dtype=np.int64) + line
        return Block(columns, lines, position, line + len(texts), lambda index: texts[places[index]].decode()[:TEXT], refused)


def decode_object(text: bytes) -> dict[str, Any] | str:
    """The object of a line, or why there is none; "" for an empty line."""
    if not text.strip():
        return ""
    try:
        row = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return f"not JSON: {error}"
    return row if isinstance(row, dict) else "not a JSON object"


def as_text(value: Any) -> str | None:
    """A JSON value as a column's text: numbers as they are written, structures as JSON.

    >>> as_text(1), as_text("x"), as_text(["a", "b"]), as_text(None)
    ('1', 'x', '["a","b"]', None)
    """
    return value if value is None or isinstance(value, str) else msgspec.json.encode(value).decode()
