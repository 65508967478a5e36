"""Events become columns and events again, for every kind and every value."""

from __future__ import annotations

from typing import Any, get_args, get_origin

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tastemaker.domain import EVENTS, Decision, Event, Interaction, Record, Scalar, Slot, UserChange
from tastemaker.errors import InputError
from tastemaker.storage.columns import FIELDS, SCHEMAS, TABLES, column_types, from_table, nested, table_name, to_table, to_tables

INT64 = st.integers(-(2**63), 2**63 - 1)
FINITE = st.floats(-1e9, 1e9)


def values_of(python: Any) -> st.SearchStrategy[Any]:
    """Any value of a field's plain type."""
    simple = {str: st.text(max_size=5), int: INT64, float: st.floats(), bool: st.booleans()}
    if python in simple:
        return simple[python]
    if get_origin(python) is dict:
        scalars = st.one_of(st.text(max_size=3), FINITE, st.booleans(), st.none())
        inner = {str: st.text(max_size=3), Scalar: scalars}.get(get_args(python)[1], FINITE)
        return st.dictionaries(st.text(max_size=3), inner, max_size=3)
    element = nested(python)
    inside = structs(element) if issubclass(element, msgspec.Struct) else values_of(element)
    return st.lists(inside, max_size=3).map(tuple)


def structs(kind: type[msgspec.Struct]) -> st.SearchStrategy[Any]:
    """Any struct; optional fields are None, left out, or filled."""
    fields = {info.name: info for info in msgspec.structs.fields(kind)}
    made = {}
    for name, python in column_types(kind).items():
        optional = st.none() if fields[name].default is None else st.nothing()
        made[name] = values_of(python) | optional
    required = {name: made[name] for name, info in fields.items() if info.required}
    rest = {name: made[name] for name in made if name not in required}
    return st.fixed_dictionaries(required, optional=rest).map(lambda values: kind(**values))


RECORDS = st.builds(Record, st.integers(0, 1023), st.integers(0, 2**63 - 1), st.one_of([structs(kind) for kind in EVENTS]))


@settings(max_examples=50, deadline=None)
@given(st.lists(RECORDS, max_size=8))
def test_records_come_back_from_their_tables_as_they_were(records: list[Record]) -> None:
    tables = to_tables(records)
    for name, table in tables.items():
        assert table.schema == SCHEMAS[name]
        table.validate(full=True)
        wanted = [record for record in records if table_name(type(record.event)) == name]
        assert repr(from_table(name, table)) == repr(wanted)  # repr: NaN is equal to NaN
    assert sum(table.num_rows for table in tables.values()) == len(records)


def test_every_kind_of_event_has_a_table_with_all_of_its_fields() -> None:
    assert set(TABLES.values()) == set(EVENTS)
    for name, kind in TABLES.items():
        assert SCHEMAS[name].names == ["partition", "offset", *kind.__struct_fields__]
        assert list(FIELDS[name]) == list(kind.__struct_fields__)


def test_absent_is_null_and_unknown_is_nan() -> None:
    events: list[Event] = [
        Decision(id="d", time=1, user="u", slots=(Slot("i"),)),
        UserChange(id="a", time=1, user="u"),
        UserChange(id="b", time=1, user="u", preferences={}),
    ]
    tables = to_tables([Record(0, n, event) for n, event in enumerate(events)])  # type: ignore[arg-type]  # all are of AnyEvent
    assert repr(tables["decisions"]["slots"][0].as_py()[0]["log_propensity"]) == "nan"
    assert tables["users"]["preferences"].to_pylist() == [None, "{}"]


def test_a_column_that_an_older_table_lacks_takes_the_default() -> None:
    event = Interaction(id="a", time=1, user="u", item="i", kind="k", context={"device": "tv"}, session="s")
    table = to_table("interactions", [Record(0, 0, event)]).drop_columns(["context", "session"])
    assert from_table("interactions", table) == [Record(0, 0, Interaction(id="a", time=1, user="u", item="i", kind="k"))]


def test_an_unknown_table_is_an_error_with_a_hint() -> None:
    with pytest.raises(InputError, match='did you mean "views"'):
        from_table("viewz", SCHEMAS["views"].empty_table())
