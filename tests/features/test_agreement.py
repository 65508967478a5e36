"""The fold over events and the columns of the training set agree at every time, for every feature.

The streams are random, with few distinct times and items: events are simultaneous, late, sent twice, valued, unripe,
negative, worth nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ibis
import ibis.expr.types as ir
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tastemaker.config import Reward, Rewards
from tastemaker.domain import Interaction, Record, UserState, View
from tastemaker.features.catalog import BY_NAME, FEATURES
from tastemaker.features.fold import advance, advance_all, advance_items, values
from tastemaker.features.table import connect, histories, point_in_time

HOUR = 3_600_000
START = 1_700_000_000_000
CATEGORIES = {"i0": ("comedy",), "i1": ("comedy", "drama"), "i2": ()}
REWARDS = Rewards(default=1.0, kinds={"rating": Reward(weight=2.0, at_least=3.0), "skip": Reward(weight=-0.5)}, history=5)

TIMES = [START + step * 7 * HOUR for step in range(13)]  # few, so that ties are common
times = st.sampled_from(TIMES)
users = st.sampled_from(["u0", "u1"])
items = st.sampled_from(["i0", "i1", "i2"])


def partition_of(user: str) -> int:
    return int(user[1:])


@st.composite
def interactions(draw: st.DrawFn) -> Interaction:
    time = draw(times)
    return Interaction(
        id="-",
        time=time,
        user=draw(users),
        item=draw(items),
        kind=draw(st.sampled_from(["click", "rating", "skip"])),
        value=draw(st.none() | st.floats(-5, 5, width=16)),
        decision=draw(st.none() | st.just("d")),
        mature_at=draw(st.none() | st.integers(-20, 40).map(lambda hours: max(time + hours * HOUR, 0))),
    )


@st.composite
def views(draw: st.DrawFn) -> View:
    return View(id="-", time=draw(times), user=draw(users), item=draw(items), decision="d")


@st.composite
def logs(draw: st.DrawFn) -> list[Record]:
    """A log in the order of arrival, which is not that of time; some events are sent again. Offsets are dense by partition."""
    sent: list[Interaction | View] = draw(st.lists(interactions() | views(), max_size=20))
    unique = [msgspec.structs.replace(event, id=f"e{number}") for number, event in enumerate(sent)]
    again = draw(st.lists(st.sampled_from(unique), max_size=5)) if unique else []
    events = draw(st.permutations(unique + again)) if again else unique
    ends = {0: 0, 1: 0}
    records = []
    for event in events:
        partition = partition_of(event.user)
        records.append(Record(partition, ends[partition], event))
        ends[partition] += 1
    return records


TABLES = {
    "interactions": {"partition": "int32", "offset": "int64", "id": "string", "time": "int64", "user": "string", "item": "string"}
    | {"kind": "string", "value": "float64", "decision": "string", "mature_at": "int64"},
    "views": {"partition": "int32", "offset": "int64", "id": "string", "time": "int64", "user": "string", "item": "string"},
    "requests": {"user": "string", "item": "string", "category": "string", "at": "int64"},
    "categories": {"item": "string", "category": "string"},
}


class Columns:
    """The columns' side: the expressions are compiled once, and each example only fills the tables anew."""

    def __init__(self) -> None:
        self.backend = connect(threads=1)
        table = {name: self.backend.create_table(name, schema=ibis.schema(types)) for name, types in TABLES.items()}
        of = {"views": table["views"], "categories": table["categories"]}
        self.features = self.sql(point_in_time(table["requests"], table["interactions"], rewards=REWARDS, **of))
        self.histories = {
            before: self.sql(histories(table["interactions"], REWARDS, before=before, length=REWARDS.history))
            for before in (None, *TIMES)
        }
        self.fill("categories", [(item, category) for item, names in CATEGORIES.items() for category in names])

    def sql(self, table: ir.Table) -> str:
        return str(self.backend.compile(table))

    def fill(self, name: str, rows: Sequence[tuple[Any, ...]]) -> None:
        self.backend.con.execute(f"delete from {name}")
        if rows:
            self.backend.con.executemany(f"insert into {name} values ({', '.join('?' * len(rows[0]))})", rows)

    def log(self, records: Sequence[Record]) -> None:
        for name, kind in (("interactions", Interaction), ("views", View)):
            fields = list(TABLES[name])[2:]
            own = [record for record in records if isinstance(record.event, kind)]
            rows = [(record.partition, record.offset, *(getattr(record.event, field) for field in fields)) for record in own]
            self.fill(name, rows)

    def rows(self, sql: str) -> list[dict[str, Any]]:
        found = self.backend.con.execute(sql)
        names = [column[0] for column in found.description]
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


@pytest.fixture(scope="module")
def columns() -> Columns:
    return Columns()


def folded(records: Sequence[Record], at: int) -> dict[tuple[str, str, str], dict[str, Any]]:
    """Features by (user, item, category) from the events before a time, in the order in which they arrived."""
    past = [record for record in records if record.event.time < at]
    states = {}
    for user in ("u0", "u1"):
        own = [record for record in past if getattr(record.event, "user", None) == user]
        states[user] = advance_all(UserState(user, partition_of(user)), own, REWARDS, CATEGORIES)
    accs: dict[str, Any] = {}
    known: set[tuple[str, str]] = set()
    for record in past:  # the owner of a partition drops what was sent twice before it counts items
        if (record.event.id, record.event.user) not in known:  # type: ignore[union-attr]  # only interactions and views here
            known.add((record.event.id, record.event.user))  # type: ignore[union-attr]  # see above
            advance_items(accs, record, REWARDS)
    of_items = values(accs, at)
    found = {}
    for user, state in states.items():
        of_user = values(state.features, at)
        history = list(zip(state.history.items, state.history.weights, state.history.times, strict=True))
        for item in CATEGORIES:
            for category in ("comedy", "drama"):
                row: dict[str, Any] = {}
                for feature in FEATURES:
                    empty = feature.kind.value(feature.kind.zero(), at)
                    if feature.name == "user_recent":
                        row[feature.name] = history
                    elif feature.key == "user":
                        row[feature.name] = of_user.get(feature.name, empty)
                    elif feature.key == "item":
                        row[feature.name] = of_items.get(feature.name, {}).get(item, empty)
                    else:
                        row[feature.name] = of_user.get(feature.name, {}).get(category, empty)
                found[user, item, category] = row
    return found


def plain(value: Any) -> Any:
    """A value of a column as the fold gives it: lists of structs as tuples, no list as an empty one."""
    if isinstance(value, list):
        return [(entry["item"], entry["amount"], entry["time"]) for entry in value]
    return value


def assert_alike(feature: str, fold: Any, column: Any) -> None:
    if BY_NAME[feature].kind.__class__.__name__ == "Recent":
        assert plain(column or []) == fold, feature
    elif fold is None or column is None:
        assert fold is column, (feature, fold, column)
    else:
        assert column == pytest.approx(fold, abs=1e-9, rel=1e-9), feature


@settings(max_examples=60, deadline=None)
@given(records=logs(), ats=st.lists(st.sampled_from([*TIMES, TIMES[-1] + 40 * HOUR]), min_size=1, max_size=3, unique=True))
def test_the_fold_up_to_a_time_is_the_columns_at_that_time(columns: Columns, records: list[Record], ats: list[int]) -> None:
    keys = [(user, item, category) for user in ("u0", "u1") for item in CATEGORIES for category in ("comedy", "drama")]
    columns.fill("requests", [(*key, at) for key in keys for at in ats])
    columns.log(records)
    rows = columns.rows(columns.features)
    assert len(rows) == len(keys) * len(ats)
    expected = {at: folded(records, at) for at in ats}
    for row in rows:
        fold = expected[row["at"]][row["user"], row["item"], row["category"]]
        for feature in FEATURES:
            assert_alike(feature.name, fold[feature.name], row[feature.name])


@settings(max_examples=60, deadline=None)
@given(records=logs(), before=times | st.none())
def test_histories_of_the_lake_are_histories_of_the_states(columns: Columns, records: list[Record], before: int | None) -> None:
    columns.log(records)
    expected = []
    for user in ("u0", "u1"):
        own = [record for record in records if getattr(record.event, "user", None) == user]
        past = [record for record in own if before is None or record.event.time < before]
        history = advance_all(UserState(user, partition_of(user)), past, REWARDS).history
        expected += [(user, *entry) for entry in zip(history.items, history.weights, history.times, strict=True)]
    assert [tuple(row.values()) for row in columns.rows(columns.histories[before])] == expected


@settings(max_examples=100, deadline=None)
@given(records=logs(), data=st.data())
def test_any_batching_and_any_replay_give_the_same_state(records: list[Record], data: st.DataObject) -> None:
    own = [record for record in records if record.partition == 0]
    whole = advance_all(UserState("u0", 0), own, REWARDS, CATEGORIES)
    single = UserState("u0", 0)
    for record in own:
        single = advance(single, record, REWARDS, CATEGORIES)
    assert single == whole
    batched, place = UserState("u0", 0), 0
    while place < len(own):
        end = data.draw(st.integers(place + 1, len(own)))
        again = data.draw(st.integers(0, place))  # a crash before the commit: the log is read again from further back
        batched, place = advance_all(batched, own[again:end], REWARDS, CATEGORIES), end
    assert batched == whole
