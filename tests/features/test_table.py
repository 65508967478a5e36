"""Columns: duplicates, training sets, and the leaks that are refused."""

from __future__ import annotations

import ibis
import pytest

from tastemaker.config import Rewards
from tastemaker.errors import InputError, LeakError
from tastemaker.features.table import connect, distinct_events, point_in_time, training_set

CON = connect(threads=1)
TYPES = {"partition": "int32", "offset": "int64", "id": "string", "time": "int64", "user": "string", "item": "string"}
TYPES |= {"kind": "string", "value": "float64", "decision": "string", "mature_at": "int64", "session": "string"}
ROWS = [
    (0, 0, "a", 10, "u", "i", "click", 1.0, None, None, "s0"),
    (0, 1, "b", 20, "u", "j", "click", 4.0, None, 35, "s1"),
    (0, 2, "a", 10, "u", "i", "click", 1.0, None, None, "s0"),
    (0, 3, "c", 30, "u", "i", "click", 3.0, None, None, "s2"),
    (1, 0, "a", 40, "w", "i", "click", 2.0, None, None, None),
]
EVENTS = ibis.memtable([dict(zip(TYPES, row, strict=True)) for row in ROWS], schema=ibis.schema(TYPES))
REQUESTS = distinct_events(EVENTS).mutate(at=lambda t: t.time)


def test_of_an_event_sent_twice_the_first_stays_and_ids_are_a_matter_of_each_user() -> None:
    rows = CON.to_pyarrow(distinct_events(EVENTS).order_by("partition", "offset")).to_pylist()
    assert [(row["partition"], row["offset"]) for row in rows] == [(0, 0), (0, 1), (0, 3), (1, 0)]


def test_a_training_set_holds_what_was_known_before_each_request() -> None:
    inputs = ["user_events", "interaction.session", "user_mean_value", "item_events"]
    table = training_set(REQUESTS, EVENTS, inputs, "interaction.value", rewards=Rewards())
    rows = [tuple(row.values()) for row in CON.to_pyarrow(table.order_by("at")).to_pylist()]
    assert table.columns == ("user", "item", "at", "user_events", "session", "user_mean_value", "item_events", "label")
    assert rows == [
        ("u", "i", 10, 0.0, "s0", None, 0.0, 1.0),
        ("u", "j", 20, 1.0, "s1", 1.0, 0.0, 4.0),
        ("u", "i", 30, 2.0, "s2", 1.0, 1.0, 3.0),  # the value of 4 is final at 35 only
        ("w", "i", 40, 0.0, None, None, 2.0, 2.0),
    ]


@pytest.mark.parametrize("field", ["interaction.value", "interaction.mature_at", "interaction.kind"])
def test_a_field_that_is_known_only_later_is_refused_as_an_input(field: str) -> None:
    with pytest.raises(LeakError, match=f"{field} is known with availability '(post_)?action'.*use it as the label"):
        training_set(REQUESTS, EVENTS, ["user_events", field], "interaction.value", rewards=Rewards())


def test_unknown_names_are_refused_with_a_hint() -> None:
    with pytest.raises(InputError, match=r"inputs = 'user_evnets': did you mean \"user_events\""):
        training_set(REQUESTS, EVENTS, ["user_evnets"], "interaction.value", rewards=Rewards())
    with pytest.raises(InputError, match="label = 'value'"):
        training_set(REQUESTS, EVENTS, ["user_events"], "value", rewards=Rewards())


def test_requests_without_the_key_of_a_feature_are_refused() -> None:
    with pytest.raises(InputError, match="item need the column 'item'"):
        point_in_time(REQUESTS.drop("item"), EVENTS, rewards=Rewards())
    with pytest.raises(InputError, match="table of items and their categories"):
        point_in_time(REQUESTS.mutate(category=ibis.literal("x")), EVENTS, rewards=Rewards())
