"""Events as columns, and back: the shape of the lake's tables.

Each kind of event is a table: partition and offset in the log, then the fields of the struct, derived from its annotations,
so that a field added to ``domain.py`` is a column at once. Slots are a list of structs. Dictionaries (context, arms,
preferences, fields) are JSON text rather than maps: DuckDB and Spark read into it by name (``context ->> 'device'``), it is
built in one pass, and values of several types need no union. In it, a NaN has no form and becomes null; elsewhere NaN stays
NaN, and null means absent.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from operator import attrgetter
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, Union, get_args, get_origin, get_type_hints

import msgspec
import pyarrow as pa

from tastemaker.domain import Decision, Erase, Event, Exposure, Interaction, ItemChange, Record, UserChange, View, encode_json
from tastemaker.errors import InputError, did_you_mean

if TYPE_CHECKING:
    Column: TypeAlias = pa.Array[Any]  # generic in its stubs only

TABLES: dict[str, type[Event]] = {
    "interactions": Interaction,
    "views": View,
    "decisions": Decision,
    "exposures": Exposure,
    "items": ItemChange,
    "users": UserChange,
    "erasures": Erase,
}
NAMES = {kind: name for name, kind in TABLES.items()}
SCALARS: dict[Any, pa.DataType] = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
EMPTY = msgspec.json.encode({}).decode()


def table_name(event_type: type[Event]) -> str:
    """The table of a kind of event.

    >>> table_name(View)
    'views'
    """
    return NAMES[event_type]


def plain(hint: Any) -> Any:
    """An annotation without its limits and without None: ``Id | None`` is ``str``."""
    if get_origin(hint) is Annotated:
        return plain(get_args(hint)[0])
    if get_origin(hint) in (Union, types.UnionType):
        (hint,) = (part for part in get_args(hint) if part is not type(None))
        return plain(hint)
    return hint


@cache
def column_types(struct: type[msgspec.Struct]) -> dict[str, Any]:
    """The plain Python type of each field, in the order of the constructor."""
    hints = get_type_hints(struct, include_extras=True)
    return {name: plain(hints[name]) for name in struct.__struct_fields__}


def nested(python: Any) -> Any:
    """The type of a tuple's elements."""
    return plain(get_args(python)[0])


def arrow_type(python: Any) -> pa.DataType:
    if python in SCALARS:
        return SCALARS[python]
    if get_origin(python) is dict:
        return pa.string()
    element = nested(python)
    if issubclass(element, msgspec.Struct):
        return pa.list_(pa.struct([(name, arrow_type(part)) for name, part in column_types(element).items()]))
    return pa.list_(arrow_type(element))


FIELDS = {name: column_types(kind) for name, kind in TABLES.items()}
SCHEMAS: dict[str, pa.Schema] = {
    name: pa.schema(
        [("partition", pa.int32()), ("offset", pa.int64()), *((field, arrow_type(kind)) for field, kind in fields.items())]
    )
    for name, fields in FIELDS.items()
}


def to_tables(records: Sequence[Record]) -> dict[str, pa.Table]:
    """Records as one table for each kind of event that occurs, in their order."""
    kinds: dict[type[Event], list[Record]] = {}
    for record in records:
        kinds.setdefault(type(record.event), []).append(record)
    return {table_name(kind): to_table(table_name(kind), group) for kind, group in kinds.items()}


def to_table(name: str, records: Sequence[Record]) -> pa.Table:
    """Records that all hold the table's kind of event."""
    events = [record.event for record in records]
    columns: list[Column] = [
        pa.array([record.partition for record in records], pa.int32()),
        pa.array([record.offset for record in records], pa.int64()),
    ]
    columns += struct_columns(events, FIELDS[name])
    return pa.Table.from_arrays(columns, schema=SCHEMAS[name])


def struct_columns(structs: Sequence[Any], fields: dict[str, Any]) -> list[Column]:
    return [column(list(map(attrgetter(field), structs)), python) for field, python in fields.items()]


def column(values: list[Any], python: Any) -> Column:
    """One field of many structs."""
    if get_origin(python) is dict:
        return pa.array([to_json(value) for value in values], pa.string())
    if get_origin(python) is tuple and issubclass(nested(python), msgspec.Struct):
        # Column by column: Arrow takes twenty times longer to take structs apart one by one.
        flat = [part for value in values for part in value]
        ends = [0]
        for value in values:
            ends.append(ends[-1] + len(value))
        inner = column_types(nested(python))
        fields = [pa.field(name, arrow_type(part)) for name, part in inner.items()]
        parts = pa.StructArray.from_arrays(struct_columns(flat, inner), fields=fields)
        return pa.ListArray.from_arrays(pa.array(ends, pa.int32()), parts)
    return pa.array(values, arrow_type(python))


def to_json(value: dict[str, Any] | None) -> str | None:
    if value:
        return encode_json(value).decode()
    return None if value is None else EMPTY


def from_table(name: str, table: pa.Table) -> list[Record]:
    """The records of a table; columns that an older table lacks take the field's default."""
    if name not in TABLES:
        raise InputError("name", name, f"no table of events; {did_you_mean(name, TABLES)}")
    kind = TABLES[name]
    events = map(kind, *(field_values(kind, field, python, table) for field, python in FIELDS[name].items()))
    places = zip(table["partition"].to_pylist(), table["offset"].to_pylist(), strict=True)
    return [Record(partition, offset, event) for (partition, offset), event in zip(places, events, strict=True)]  # type: ignore[arg-type]  # the table's kind is one of AnyEvent


def field_values(kind: type[Event], field: str, python: Any, table: pa.Table) -> Iterable[Any]:
    default = default_of(kind, field)
    if field not in table.column_names:
        return [default() for _ in range(table.num_rows)]
    values = table[field].to_pylist()
    back = from_arrow(python)
    return [default() if value is None else back(value) for value in values]


def default_of(kind: type[msgspec.Struct], field: str) -> Callable[[], Any]:
    """What a null stands for: the field's default, made anew."""
    info = next(info for info in msgspec.structs.fields(kind) if info.name == field)
    factory: Any = info.default_factory
    if callable(factory):
        return lambda: factory()
    return lambda: None if info.default is msgspec.NODEFAULT else info.default


def from_arrow(python: Any) -> Callable[[Any], Any]:
    """What makes a field's value of Arrow's."""
    if get_origin(python) is dict:
        return msgspec.json.Decoder(python).decode
    if get_origin(python) is not tuple:
        return lambda value: value
    element = nested(python)
    if not issubclass(element, msgspec.Struct):
        return tuple
    fields = {name: from_arrow(part) for name, part in column_types(element).items()}
    return lambda rows: tuple(element(**{name: fields[name](value) for name, value in row.items()}) for row in rows)
