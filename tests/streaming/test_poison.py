"""A record that cannot be applied is set aside, told, and tried again on request; it holds nobody up and hides nothing."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processes import command
from tastemaker.config import Config
from tastemaker.domain import Interaction, Record
from tastemaker.errors import Unavailable
from tastemaker.features import states
from tastemaker.storage import Storage, keys
from tastemaker.streaming import applying
from tastemaker.streaming.poison import MOST, apart
from tastemaker.streaming.update import Applied, update
from tastemaker.streaming.worker import Worker


def click(number: int, user: str = "u") -> Interaction:
    return Interaction(f"e{number}", int(time.time() * 1000) + number, user, f"i{number}", "click")


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 300), st.sets(st.integers(0, 299), max_size=MOST))
def test_exactly_the_poisoned_records_are_set_aside_and_the_others_applied_in_order(count: int, poisoned: set[int]) -> None:
    applied: list[int] = []
    buried: list[int] = []

    def work(part: Sequence[Record]) -> Applied:
        if any(record.offset in poisoned for record in part):
            raise ValueError("poison")
        applied.extend(record.offset for record in part)
        return Applied(1, len(part), 0)

    records = [Record(0, number, click(number)) for number in range(count)]
    done = apart(records, work, lambda record, _: buried.append(record.offset))
    assert buried == sorted(poisoned & set(range(count)))
    assert applied == [number for number in range(count) if number not in poisoned]
    assert done.records == len(applied)


def test_a_store_that_is_away_is_no_poison_and_neither_is_a_batch_that_fails_throughout() -> None:
    records = [Record(0, number, click(number)) for number in range(100)]
    buried: list[Record] = []

    def away(_part: Sequence[Record]) -> Applied:
        raise Unavailable("the store is away")

    def broken(_part: Sequence[Record]) -> Applied:
        raise ZeroDivisionError("a broken model")

    with pytest.raises(Unavailable):
        apart(records, away, lambda record, _: buried.append(record))
    with pytest.raises(ZeroDivisionError):
        apart(records, broken, lambda record, _: buried.append(record))
    assert buried == []


def test_a_dead_letter_is_listed_kept_until_it_can_be_applied_and_then_gone(
    home: Config, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fault is put into the update function, as an upgrade that is wrong would."""

    def faulty(records: Sequence[Record], *rest: Any, **more: Any) -> Applied:
        if any(record.event.id == "e2" for record in records):
            raise ValueError("cannot digest e2")
        return update(records, *rest, **more)

    storage.log.append([click(1), click(2), click(3), click(4, "other")]).result()
    with monkeypatch.context() as patch:
        patch.setattr(applying, "update", faulty)
        worker = Worker(storage, home)
        assert worker.drain() == 4
        worker.stop()
    assert worker.failure is None

    def history(user: str) -> tuple[str, ...]:
        packed = storage.kv.get([keys.state(user)])[0]
        return states.unpack(packed).history.items if packed is not None else ()

    assert (history("u"), history("other")) == (("i1", "i3"), ("i4",))
    (letter,) = storage.tables.dead_letters.all()
    assert (letter.event().id, letter.kind, letter.user) == ("e2", "interaction", "u")
    assert "cannot digest e2" in letter.error

    shown = command(home.home, "deadletter", "list", "--json")
    assert json.loads(shown.out)[0]["event"]["item"] == "i2"
    assert "cannot digest e2" in command(home.home, "deadletter", "list").out
    wrong = command(home.home, "deadletter", "retry", letter.id + "x")
    assert (wrong.code, f'did you mean "{letter.id}"' in wrong.err) == (1, True)
    assert command(home.home, "deadletter", "retry").code == 2
    assert "1 appended" in command(home.home, "deadletter", "retry", "--all").out
    assert storage.tables.dead_letters.count() == 0
    worker = Worker(storage, home)
    assert worker.drain() == 1
    worker.stop()
    assert sorted(history("u")) == ["i1", "i2", "i3"]


def test_a_model_that_fails_costs_slates_and_no_event(published: tuple[Storage, Config], monkeypatch: pytest.MonkeyPatch) -> None:
    storage, config = published

    def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("a broken model")

    monkeypatch.setattr("tastemaker.streaming.update.compose", broken)
    storage.log.append([click(1, "u1"), click(2, "u2")]).result()
    worker = Worker(storage, config)
    assert worker.drain() == 2
    worker.stop()
    assert worker.failure is None
    assert storage.tables.dead_letters.count() == 0
    for user, item in (("u1", "i1"), ("u2", "i2")):
        assert states.unpack(storage.kv.get([keys.state(user)])[0] or b"").history.items[-1] == item


def test_erasing_a_user_takes_the_dead_letters_too(storage: Storage) -> None:
    record = Record(0, 5, click(1, "leaver"))
    storage.tables.dead_letters.put("g", record, ValueError("x"))
    storage.tables.dead_letters.put("g", record, ValueError("again"))
    storage.tables.dead_letters.put_unreadable("g", 0, 6, b"\xff\x00", "no event")
    assert storage.tables.dead_letters.count() == 2
    assert storage.tables.dead_letters.erase("leaver") == 1
    (left,) = storage.tables.dead_letters.all()
    assert (left.body, left.kind) == (b"\xff\x00", "")
