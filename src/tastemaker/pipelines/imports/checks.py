"""Columns of text or numbers as ids, times and values, and which rows cannot be taken.

Whole columns are converted at once; only what does not fit the usual forms is looked at value by value. Each function
returns the converted column and a mask of the rows that are refused. The bounds are those of ``domain.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tastemaker.models.interactions import Bools, Longs

LAST = 253_402_300_799_999  # the end of the year 9999
LARGEST = 1e9
LONGEST_KIND = 64
NUMBER = r"^\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*$"

Texts = npt.NDArray[np.object_]


@dataclass
class Faults:
    """The first fault of each row: index -> (field, reason)."""

    found: dict[int, tuple[str, str]] = field(default_factory=dict)

    def add(self, bad: Bools, field: str, reason: str) -> None:
        for index in np.flatnonzero(bad).tolist():
            self.found.setdefault(index, (field, reason))


def as_strings(column: pa.Array[Any], name: str, faults: Faults) -> pa.StringArray:
    """Text of a column: whole floats lose their ".0" (ids with gaps become floats in many tools). Null where unknown."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_floating(column.type):
        whole = pc.equal(column, pc.round(column))
        if pc.all(whole).as_py() is not False and pc.max(pc.abs(column)).as_py() not in (float("inf"),):
            column = pc.cast(pc.if_else(pc.is_nan(column), None, column), pa.int64())
    if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
        return decode(column, name, faults)
    if not pa.types.is_string(column.type):
        column = pc.cast(column, pa.string())
    return column


def decode(column: pa.Array[Any], name: str, faults: Faults) -> pa.StringArray:
    try:
        return pc.cast(column, pa.string())
    except pa.ArrowInvalid:
        bad = np.zeros(len(column), np.bool_)
        values: list[str | None] = []
        for index, value in enumerate(column.to_pylist()):
            try:
                values.append(value.decode())
            except UnicodeDecodeError:
                values.append(None)
                bad[index] = True
        faults.add(bad, name, "not UTF-8 text")
        return pa.array(values, pa.string())


def ids(column: pa.Array[Any], name: str, faults: Faults) -> pa.StringArray:
    """Ids: text of 1 to 256 characters."""
    texts = as_strings(column, name, faults)
    length = pc.fill_null(pc.utf8_length(texts), 0).to_numpy(zero_copy_only=False)
    faults.add(length == 0, name, "missing")
    faults.add(length > 256, name, "longer than 256 characters")
    return texts


def names(column: pa.Array[Any], name: str, faults: Faults) -> pa.StringArray:
    """Kinds of interactions."""
    texts = as_strings(column, name, faults)
    length = pc.fill_null(pc.utf8_length(texts), 0).to_numpy(zero_copy_only=False)
    faults.add(length == 0, name, "missing")
    faults.add(length > LONGEST_KIND, name, f"longer than {LONGEST_KIND} characters")
    return texts


def values(column: pa.Array[Any], name: str, faults: Faults) -> list[float | None]:
    """Numbers; empty is unknown."""
    if not is_number(column.type):
        texts = pc.utf8_trim_whitespace(as_strings(column, name, faults))
        empty = pc.fill_null(pc.equal(texts, ""), True)
        number = pc.fill_null(pc.match_substring_regex(texts, NUMBER), False)
        lowered = pc.utf8_lower(pc.fill_null(texts, ""))
        endless = pc.match_substring_regex(lowered, r"^[+-]?(nan|inf|infinity)$")
        faults.add(endless.to_numpy(zero_copy_only=False), name, "not a finite number")
        faults.add(pc.invert(pc.or_(empty, number)).to_numpy(zero_copy_only=False), name, "not a number")
        column = pc.cast(pc.if_else(number, texts, None), pa.float64())
    numbers = pc.cast(column, pa.float64())
    plain = pc.fill_null(numbers, 0.0).to_numpy(zero_copy_only=False)
    faults.add(~np.isfinite(plain), name, "not a finite number")
    faults.add(np.abs(plain) > LARGEST, name, "beyond one thousand million")
    found: list[float | None] = numbers.to_pylist() if numbers.null_count else plain.tolist()
    return found


def is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def times(column: pa.Array[Any], name: str, faults: Faults) -> Longs:
    """Epoch milliseconds out of numbers, ISO 8601 texts, dates and timestamps. Texts without a zone are UTC.

    The unit of a number is known by its size: seconds below 1e11 (the year 5138), milliseconds below 1e14, then microseconds,
    then nanoseconds from 1e17 on. So a time in milliseconds before March 1973 would be taken for seconds.
    """
    if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
        stamps = pc.cast(pc.cast(column, pa.timestamp("ms"), safe=False), pa.int64())
        return bounded(stamps, name, faults)
    if is_number(column.type):
        numbers = pc.cast(column, pa.float64()) if not pa.types.is_integer(column.type) else pc.cast(column, pa.int64())
        if pa.types.is_floating(numbers.type):
            plain = pc.fill_null(numbers, 0.0).to_numpy(zero_copy_only=False)
            faults.add(~np.isfinite(plain), name, "not a time")
            # Only seconds have fractions that count.
            small = np.where(np.isfinite(plain), plain, -1.0)
            scaled = np.where(np.abs(small) < 1e11, np.round(small * 1000), np.clip(small, -1e18, 1e18)).astype(np.int64)
            fixed = np.where(np.abs(small) < 1e11, scaled, milliseconds(scaled))
            return bounded(pa.array(fixed, mask=numbers.is_null().to_numpy(zero_copy_only=False)), name, faults)
        return bounded(scale(numbers), name, faults)
    texts = pc.utf8_trim_whitespace(as_strings(column, name, faults))
    whole = pc.fill_null(pc.match_substring_regex(texts, r"^-?\d{1,18}$"), False)
    numbers = scale(pc.cast(pc.if_else(whole, texts, None), pa.int64()))
    if pc.all(whole).as_py() is not False:
        return bounded(numbers, name, faults)
    others = np.flatnonzero(~whole.to_numpy(zero_copy_only=False))
    parsed = pc.fill_null(numbers, -1).to_numpy(zero_copy_only=False).copy()
    bad = np.zeros(len(parsed), np.bool_)
    for index, text in zip(others.tolist(), pc.take(texts, pa.array(others)).to_pylist(), strict=True):
        moment = parse_time(text)
        if moment is None:
            bad[index] = True
        else:
            parsed[index] = moment
    faults.add(bad & pc.fill_null(pc.equal(texts, ""), True).to_numpy(zero_copy_only=False), name, "missing")
    faults.add(bad, name, "not a time: use epoch seconds, epoch milliseconds or ISO 8601")
    return bounded(pa.array(parsed), name, faults)


def parse_time(text: str | None) -> int | None:
    """Epoch milliseconds of one text that is no whole number.

    >>> parse_time("1970-01-01T00:00:01Z"), parse_time("1970-01-02"), parse_time("1.5"), parse_time("soon")
    (1000, 86400000, 1500, None)
    """
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            return None
        return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
    if not abs(seconds) < 1e18:
        return None
    return round(seconds * 1000) if abs(seconds) < 1e11 else int(milliseconds(np.array([int(seconds)]))[0])


def milliseconds(numbers: Longs) -> Longs:
    """Times in any unit as milliseconds.

    >>> milliseconds(np.array([1_700_000_000, 1_700_000_000_000, 1_700_000_000_000_000])).tolist()
    [1700000000000, 1700000000000, 1700000000000]
    """
    size = np.abs(numbers)
    return np.select(
        [size < 10**11, size < 10**14, size < 10**17], [numbers * 1000, numbers, numbers // 1000], default=numbers // 1_000_000
    )


def scale(column: pa.Array[Any]) -> pa.Array[Any]:
    numbers = pc.fill_null(column, 0).to_numpy(zero_copy_only=False)
    return pa.array(milliseconds(numbers), mask=column.is_null().to_numpy(zero_copy_only=False))


def bounded(column: pa.Array[Any], name: str, faults: Faults) -> Longs:
    moments: Longs = pc.fill_null(column, 0).to_numpy(zero_copy_only=False)
    faults.add(column.is_null().to_numpy(zero_copy_only=False), name, "missing")
    faults.add(moments < 0, name, "before 1970")
    faults.add(moments > LAST, name, "after the year 9999")
    return moments


def fields(columns: Mapping[str, pa.Array[Any]]) -> list[dict[str, str | float | bool | None]]:
    """What else a file knows of each row, without the gaps: numbers and truth values as they are, the rest as text."""
    converted = {}
    for name, column in columns.items():
        keep = is_number(column.type) or pa.types.is_boolean(column.type)
        converted[name] = column.to_pylist() if keep else as_strings(column, name, Faults()).to_pylist()
    return [
        {name: value for name, value in zip(converted, row, strict=True) if value is not None and value != "" and value == value}
        for row in zip(*converted.values(), strict=True)
    ]
