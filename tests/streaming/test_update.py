"""The nearline function: however records are cut, repeated or replayed, the online store holds the same bytes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import world
from tastemaker.config import Config
from tastemaker.domain import AnyEvent, Decision, Erase, History, Interaction, Record, UserChange, View
from tastemaker.features import states
from tastemaker.models import create
from tastemaker.models.interactions import Histories, Interactions, Vocabulary
from tastemaker.slates.catalogue import Catalogue
from tastemaker.slates.sources import Shelf
from tastemaker.slates.stored import decode_front, decode_whole
from tastemaker.storage import Storage, keys
from tastemaker.storage.kv import KeyValue
from tastemaker.storage.log import partition_of
from tastemaker.streaming.update import Applied, update

PARTITIONS, ITEMS = 3, 16
VERSION = "als-1"
CONFIG = Config()
USERS = ("ann", "bob", "eve", "zoe")
assert len({partition_of(user, PARTITIONS) for user in USERS}) == PARTITIONS


def made_shelf() -> Shelf:
    vocabulary = Vocabulary(tuple(world.item(number) for number in range(ITEMS)))
    rows = [([n for n in range(ITEMS) if n % 4 == user % 4], [1.0] * (ITEMS // 4), [0] * (ITEMS // 4)) for user in range(8)]
    data = Interactions(tuple(f"u{n}" for n in range(8)), vocabulary, Histories.of(rows))
    model = create("als", {"factors": 4, "epochs": 2}).fit(data)
    return Shelf(Catalogue.of(world.catalogue(ITEMS), 1), model, create("popular").fit(data), (("i3", 2.0),))


SHELF = made_shelf()
people = st.sampled_from(USERS)
items = st.sampled_from([*(world.item(number) for number in range(ITEMS)), "unknown"])
ids = st.integers(0, 60).map(lambda number: f"e{number}")  # few enough that an id comes twice
times = st.integers(0, 10**6)
clicks = st.builds(Interaction, ids, times, people, items, st.sampled_from(["click", "rating"]), st.none() | st.floats(0, 5))
changes = st.builds(
    UserChange, ids, times, people, st.none() | st.dictionaries(st.sampled_from(world.CATEGORIES), st.floats(-5, 5), max_size=2)
)
others = st.builds(View, ids, times, people, st.just("d"), items) | st.builds(Decision, ids, times, people)
erasures = st.builds(Erase, ids, times, people)
histories = st.lists(st.one_of(clicks, clicks, clicks, changes, others, erasures), min_size=1, max_size=40)


def recorded(events: Sequence[AnyEvent]) -> list[Record]:
    """Events at the places that a log would give them."""
    ends = [0] * PARTITIONS
    records = []
    for event in events:
        partition = partition_of(str(getattr(event, "user", "")), PARTITIONS)
        records.append(Record(partition, ends[partition], event))
        ends[partition] += 1
    return records


def contents(kv: KeyValue) -> dict[str, bytes]:
    return dict(kv.scan(""))


def emptied(kv: KeyValue) -> KeyValue:
    kv.delete(list(contents(kv)))
    return kv


def apply(kv: KeyValue, records: Sequence[Record], refresh: bool = True) -> Applied:
    return update(records, kv, CONFIG, SHELF, VERSION, refresh=refresh)


@pytest.fixture(scope="module")
def kv(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KeyValue]:
    config = world.config_of(tmp_path_factory.mktemp("update"))
    with Storage(config) as storage:
        yield storage.kv


@settings(max_examples=40, deadline=None)
@given(events=histories, data=st.data())
def test_any_batching_with_duplicates_and_replays_gives_the_same_bytes(
    kv: KeyValue, events: list[AnyEvent], data: st.DataObject
) -> None:
    records = recorded(events)
    for record in records:
        apply(emptied(kv) if record is records[0] else kv, [record])
    expected = contents(kv)

    emptied(kv)
    done = 0
    for _ in range(data.draw(st.integers(0, 4))):
        start = data.draw(st.integers(0, done))  # a crash before the commit: what was committed may be anything earlier
        done = data.draw(st.integers(start, len(records)))
        cut = data.draw(st.integers(start, done))
        apply(kv, records[start:cut])
        apply(kv, [record for record in records[cut:done] for _ in range(data.draw(st.integers(1, 2)))])
    apply(kv, records[min(done, data.draw(st.integers(0, len(records)))) :])
    assert contents(kv) == expected


@settings(max_examples=40, deadline=None)
@given(events=histories, data=st.data())
def test_a_batch_that_holds_records_again_applies_them_once(kv: KeyValue, events: list[AnyEvent], data: st.DataObject) -> None:
    records = recorded(events)
    apply(emptied(kv), records)
    expected = contents(kv)
    apply(emptied(kv), [*records, *records[data.draw(st.integers(0, len(records))) :]])
    assert contents(kv) == expected
    apply(emptied(kv), [*records, *records[: data.draw(st.integers(0, len(records)))]])
    assert contents(kv) == expected
    again = apply(kv, [record for record in records if not any(isinstance(r.event, Erase) for r in records)])
    assert (again.records, again.slates) == (0, 0)
    assert contents(kv) == expected


@settings(max_examples=25, deadline=None)
@given(events=histories)
def test_every_slate_knows_all_that_its_state_knows(kv: KeyValue, events: list[AnyEvent]) -> None:
    apply(emptied(kv), recorded(events))
    for user in USERS:
        packed, mark, front, whole = kv.get(
            [keys.state(user), keys.mark(user), keys.slate(VERSION, user), keys.whole(VERSION, user)]
        )
        if packed is None:
            assert (mark, front, whole) == (None, None, None)
            continue
        assert mark is not None
        assert front is not None
        assert whole is not None
        state, slate = states.unpack(packed), decode_whole(whole)
        assert decode_front(front).offset == slate.offset == states.offset_of(mark) == state.offset
        assert not {offer.item for offer in slate.items} & set(state.history.items)


def test_the_order_within_a_user_is_that_of_the_log_and_the_history_that_of_the_times(kv: KeyValue) -> None:
    events: list[AnyEvent] = [
        Interaction("1", 300, "ann", "i3", "click"),
        UserChange("2", 10, "ann", {"Drama": 1.0}),
        Interaction("3", 100, "ann", "i1", "click"),
        UserChange("4", 5, "ann", {"Horror": 2.0}, "de"),
        Interaction("5", 200, "ann", "i2", "click"),
    ]
    apply(emptied(kv), recorded(events))
    state = states.unpack(kv.get([keys.state("ann")])[0] or b"")
    assert state.history == History(("i1", "i2", "i3"), (1.0, 1.0, 1.0), (100, 200, 300))
    assert (state.preferences, state.segment, state.time, state.offset) == ({"Horror": 2.0}, "de", 300, 4)


def test_an_erasure_removes_state_and_slate_and_what_follows_begins_anew(kv: KeyValue) -> None:
    records = recorded(
        [Interaction("1", 1, "ann", "i1", "click"), Erase("2", 2, "ann"), Interaction("3", 3, "ann", "i2", "click")]
    )
    apply(emptied(kv), records[:1])
    assert len(contents(kv)) == 4
    apply(kv, records[1:2])
    assert contents(kv) == {}
    apply(kv, records[2:])
    state = states.unpack(kv.get([keys.state("ann")])[0] or b"")
    assert (state.history.items, state.offset) == (("i2",), 2)
    expected = contents(kv)
    apply(emptied(kv), records[:1])
    apply(kv, records[1:])  # the erasure and what follows in one batch
    assert contents(kv) == expected
    apply(emptied(kv), [*records, records[1]])
    assert contents(kv) == expected


def test_events_that_say_nothing_of_taste_leave_the_store_alone(kv: KeyValue) -> None:
    emptied(kv)
    assert apply(kv, recorded([View("1", 1, "ann", "d", "i1"), Decision("2", 2, "ann")])) == Applied()
    assert contents(kv) == {}


def test_catching_up_makes_no_slates_and_leaves_those_that_are_there_older_than_their_states(kv: KeyValue) -> None:
    records = recorded([Interaction("1", 1, "ann", "i1", "click"), Interaction("2", 2, "ann", "i2", "click")])
    apply(emptied(kv), records[:1])
    slate = kv.get([keys.slate(VERSION, "ann")])
    assert apply(kv, records[1:], refresh=False) == Applied(users=1, records=1, slates=0)
    assert kv.get([keys.slate(VERSION, "ann")]) == slate
    mark, front = kv.get([keys.mark("ann"), keys.slate(VERSION, "ann")])
    assert mark is not None
    assert front is not None
    assert states.offset_of(mark) > decode_front(front).offset


def test_without_a_live_version_there_are_states_and_no_slates(kv: KeyValue) -> None:
    done = update(recorded([Interaction("1", 1, "bob", "i1", "click")]), emptied(kv), CONFIG, Shelf(), "")
    assert done == Applied(users=1, records=1, slates=0)
    assert sorted(contents(kv)) == [keys.mark("bob"), keys.state("bob")]


def test_a_stated_preference_alone_makes_a_slate_of_its_categories(kv: KeyValue) -> None:
    apply(emptied(kv), recorded([UserChange("1", 7, "bob", {"Comedy": 3.0})]))
    front, whole = kv.get([keys.slate(VERSION, "bob"), keys.whole(VERSION, "bob")])
    assert front is not None
    assert whole is not None
    slate = decode_whole(whole)
    assert (decode_front(front).rung, slate.made) == ("segment", 7)
    assert "Comedy" in SHELF.catalogue.items[slate.items[0].item].categories
