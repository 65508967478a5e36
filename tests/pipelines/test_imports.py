"""Imports against Python's own csv module, with every kind of bad row, and killed in the middle."""

from __future__ import annotations

import csv
import gzip
import json
import math
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tastemaker.config import Config, Connect
from tastemaker.domain import AnyEvent, Interaction
from tastemaker.errors import InputError
from tastemaker.pipelines.imports import import_file, readers
from tastemaker.pipelines.imports.columns import choose
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


# ── what comes in ───────────────────────────────────────────────────────────────────────────────────────────────────


@settings(max_examples=15, deadline=None)
@given(
    rows=st.lists(
        st.tuples(
            st.text(st.characters(codec="utf-8", exclude_characters="\x00\r"), min_size=1, max_size=8),
            st.text('a",\n ', min_size=1, max_size=5),
            st.integers(1, 10).map(lambda half: half / 2),
            st.integers(0, 2_000_000_000),
        ),
        min_size=1,
        max_size=30,
    ),
    size=st.integers(30, 400),
)
def test_a_csv_file_means_what_the_csv_module_wrote(
    rows: list[tuple[str, str, float, int]], size: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("csv") / "r.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\n")
        writer.writerows([("userId", "movieId", "rating", "timestamp"), *rows])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(readers, "BYTES", size)
        blocks = list(readers.Csv(path).blocks(0, 0))
    read = [
        (user.decode(), item.decode(), float(value), int(time))
        for block in blocks
        for user, item, value, time in zip(*(column.to_pylist() for column in block.columns.values()), strict=True)
    ]
    assert read == rows
    assert [line for block in blocks for line in block.lines.tolist()] == list(range(2, len(rows) + 2))


ROWS = [("u1", "i1", 4.5, 1_700_000_000), ("u2", "i2", None, 1_700_000_001), ("7", "8", 1.0, 1_700_000_002)]
EXPECTED = [(user, item, "rating", value, time * 1000) for user, item, value, time in ROWS]


def as_lines(separator: str) -> bytes:
    rows = [("user_id", "item_id", "rating", "timestamp"), *ROWS]
    return "".join(separator.join("" if cell is None else str(cell) for cell in row) + "\n" for row in rows).encode()


def as_json() -> bytes:
    return b"".join(json.dumps(dict(zip(["user", "item", "value", "time"], row, strict=True))).encode() + b"\n" for row in ROWS)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("r.csv", as_lines(",")),
        ("r.csv", b"\xef\xbb\xbf" + as_lines(",").replace(b"\n", b"\r\n").rstrip()),
        ("r.tsv", as_lines("\t")),
        ("r.csv.gz", gzip.compress(as_lines(","), mtime=0)),
        ("r.jsonl", as_json()),
        ("r.jsonl.gz", gzip.compress(as_json(), mtime=0)),
    ],
)
def test_every_form_of_text_gives_the_same_events_and_lake(storage: Storage, tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    report = import_file(storage, tmp_path / name, "interactions")
    assert (report.rows, report.imported, report.quarantined, report.skipped, report.quarantine) == (3, 3, 0, 0, None)
    assert facts(storage) == EXPECTED
    assert sorted(storage.lake.read("interactions")["user"].to_pylist()) == ["7", "u1", "u2"]


def test_parquet_with_numbers_and_timestamps_gives_the_same_events(storage: Storage, tmp_path: Path) -> None:
    times = pa.array([time * 1_000_000 for *_, time in ROWS], pa.timestamp("us", "UTC"))
    table = pa.table(
        {"u": ["u1", "u2", "7"], "m": pa.array(["i1", "i2", "8"]).dictionary_encode(), "r": [4.5, None, 1.0], "t": times}
    )
    pq.write_table(table, tmp_path / "r.parquet")
    import_file(storage, tmp_path / "r.parquet", "interactions", {"user": "u", "item": "m", "value": "r", "time": "t"})
    assert facts(storage) == EXPECTED


def test_numeric_ids_lose_no_digit_and_no_dot_zero_stays(storage: Storage, tmp_path: Path) -> None:
    table = pa.table({"user": [1.0, None, 3.0], "item": [2**53 + 1, 2, 3], "time": [1, 2, 3], "kind": ["a", "b", "c"]})
    pq.write_table(table, tmp_path / "r.parquet")
    report = import_file(storage, tmp_path / "r.parquet", "interactions")
    assert facts(storage) == [("1", str(2**53 + 1), "a", None, 1000), ("3", "3", "c", None, 3000)]
    assert [(row["line"], row["field"], row["reason"]) for row in quarantined(report.quarantine)] == [(2, "user", "missing")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1700000000", 1_700_000_000_000),
        ("1700000000123", 1_700_000_000_123),
        ("1700000000123456", 1_700_000_000_123),
        ("1700000000.5", 1_700_000_000_500),
        ("2023-11-14T22:13:20Z", 1_700_000_000_000),
        ("2023-11-15 00:13:20.250+02:00", 1_700_000_000_250),
        ("2023-11-14", round(datetime.fromisoformat("2023-11-14T00:00:00+00:00").timestamp() * 1000)),
    ],
)
def test_the_unit_of_a_time_is_seen(storage: Storage, tmp_path: Path, text: str, expected: int) -> None:
    (tmp_path / "r.csv").write_text(f"user,item,time\nu,i,{text}\nu,i,1700000000\n")
    import_file(storage, tmp_path / "r.csv", "interactions", kind="play")
    assert facts(storage) == [("u", "i", "play", None, expected), ("u", "i", "play", None, 1_700_000_000_000)]


BAD: list[tuple[bytes, str, str]] = [
    (b",i,4,100", "user", "missing"),
    (b"u,,4,100", "item", "missing"),
    (b"u,i,4,", "time", "missing"),
    (b"u,i,4,soon", "time", "not a time"),
    (b"u,i,4,-5", "time", "before 1970"),
    (b"u,i,nan,100", "value", "not a finite"),
    (b"u,i,-inf,100", "value", "not a finite"),
    (b"u,i,many,100", "value", "not a number"),
    (b"u,i,1e300,100", "value", "beyond"),
    (b"u,i,1e999,100", "value", "finite"),
    (b"u" * 257 + b",i,4,100", "user", "longer than 256"),
    (b"u,\xff\xfe,4,100", "item", "UTF-8"),
    (b"u,i,4", "", "3 columns, not 4"),
    (b"u,i,4,100,x", "", "5 columns, not 4"),
]


def test_bad_rows_are_set_aside_with_their_reason_and_the_good_ones_come_in(storage: Storage, tmp_path: Path) -> None:
    lines = [b"user,item,value,time"]
    for number, (line, _, _) in enumerate(BAD):
        lines += [line, b"good%d,i,1,100" % number]
    (tmp_path / "r.csv").write_bytes(b"\n".join(lines) + b"\n")
    report = import_file(storage, tmp_path / "r.csv", "interactions")
    assert (report.rows, report.imported, report.quarantined) == (2 * len(BAD), len(BAD), len(BAD))
    rows = quarantined(report.quarantine)
    assert [row["line"] for row in rows] == list(range(2, 2 * len(BAD) + 2, 2))
    for row, (line, field, reason) in zip(rows, BAD, strict=True):
        assert row["field"] == field
        assert reason in row["reason"]
        assert row["text"] == line.decode("utf-8", "replace")
    assert [user for user, *_ in facts(storage)] == [f"good{number}" for number in range(len(BAD))]


def test_lines_that_are_no_json_are_set_aside(storage: Storage, tmp_path: Path) -> None:
    (tmp_path / "r.jsonl").write_text(
        '{"user": "u", "item": 5, "ts": 9, "event": "%s"}\n\n[1]\n{"user"\n{"user": 1, "item": 2, "ts": 3, "event": "e"}\n'
        % ("x" * 65)
    )
    report = import_file(storage, tmp_path / "r.jsonl", "interactions")
    assert facts(storage) == [("1", "2", "e", None, 3000)]
    assert [(row["line"], row["field"]) for row in quarantined(report.quarantine)] == [(1, "event"), (3, ""), (4, "")]


@settings(max_examples=30, deadline=None)
@given(value=st.floats(), time=st.integers(-(2**62), 2**62), user=st.text(max_size=3), kind=st.text(max_size=3))
def test_whatever_a_row_holds_it_is_imported_or_set_aside(
    value: float, time: int, user: str, kind: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("any")
    (folder / "r.jsonl").write_text(
        json.dumps({"user": user, "item": "i", "value": repr(value), "time": time, "kind": kind}) + "\n"
    )
    with connect(Config(connect=Connect(home=str(folder / "home")))) as opened:
        report = import_file(opened, folder / "r.jsonl", "interactions")
        assert report.imported + report.quarantined == 1
        assert len(events(opened)) == report.imported
        if report.imported:
            assert math.isfinite(value)
            assert user
            assert kind


# ── mappings and files that cannot be right ─────────────────────────────────────────────────────────────────────────


def test_a_mapping_that_cannot_be_right_is_refused_before_anything_is_written(storage: Storage, tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_text("customer,movieId,timestamp\nu,i,1\n")
    with pytest.raises(InputError, match='did you mean "customer"'):
        import_file(storage, path, "interactions", {"user": "custommer"})
    with pytest.raises(InputError, match='did you mean "user"'):
        import_file(storage, path, "interactions", {"usr": "customer"})
    with pytest.raises(InputError, match="say which column"):
        import_file(storage, path, "interactions")
    with pytest.raises(InputError, match="did you mean"):
        import_file(storage, path, "interaction")
    with pytest.raises(InputError, match="kind"):
        import_file(storage, path, "interactions", {"user": "customer"}, kind="k" * 65)
    assert sum(storage.log.ends()) == 0
    assert not (tmp_path / "home" / "imports").exists()


def test_a_mapped_column_is_not_taken_for_another_field() -> None:
    assert choose("interactions", ["user_id", "item", "uid", "time"], {"user": "uid"})["user"] == "uid"
    assert choose("interactions", ["user", "item", "ts", "date"], {"value": "date"})["time"] == "ts"


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("r.csv", b"", "no header"),
        ("r.csv", b"a,a\n1,2\n", "same name"),
        ("r.dat.csv", b"1::2::3\n", "::"),
        ("r.csv", b"\xff\xfe\x00", "UTF-8"),
        ("r.xlsx", b"x", "must end in"),
        ("r.parquet", b"no", "not a Parquet"),
        ("r.jsonl", b"no\n", "no line"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused(storage: Storage, tmp_path: Path, name: str, data: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=message):
        import_file(storage, tmp_path / name, "interactions")
    with pytest.raises(InputError, match="no such file"):
        import_file(storage, tmp_path / "absent.csv", "interactions")


def test_the_same_file_again_adds_nothing_even_under_another_name(storage: Storage, tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_bytes(as_lines(","))
    (tmp_path / "copy.csv").write_bytes(as_lines(","))
    import_file(storage, tmp_path / "r.csv", "interactions")
    report = import_file(storage, tmp_path / "copy.csv", "interactions")
    assert (report.rows, report.imported, report.skipped) == (3, 0, 3)
    assert len(events(storage)) == 3
