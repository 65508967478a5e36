"""The embedded worker over real stores: it keeps up, follows what is live, and loses nothing when a store fails."""

from __future__ import annotations

import time

import pytest
from msgspec.structs import replace

from api import eventually
from tastemaker.config import Config, Streaming
from tastemaker.domain import Erase, Interaction, ItemChange, UserChange
from tastemaker.errors import StorageError
from tastemaker.features import states
from tastemaker.registry import live
from tastemaker.slates.stored import decode_front, decode_whole
from tastemaker.storage import Storage, connect, keys
from tastemaker.storage.kv import consumer_of
from tastemaker.streaming.worker import Worker
from world import fill


def click(user: str, item: str, number: int = 0) -> Interaction:
    return Interaction(f"live-{user}-{item}-{number}", int(time.time() * 1000), user, item, "click")


def history(storage: Storage, user: str) -> tuple[str, ...]:
    packed = storage.kv.get([keys.state(user)])[0]
    return states.unpack(packed).history.items if packed is not None else ()


def test_a_click_changes_state_slate_and_trends_while_the_thread_runs(published: tuple[Storage, Config]) -> None:
    storage, config = published
    version = (live.read(storage.kv) or pytest.fail("nothing is live")).version
    worker = Worker(storage, config)
    worker.start()
    try:
        offered = decode_whole(storage.kv.get([keys.whole(version, "u1")])[0] or b"").items[0].item
        storage.log.append([click("u1", offered), click("u2", offered), click("stranger", offered)]).result()
        assert eventually(lambda: history(storage, "u1")[-1:] == (offered,))
        assert history(storage, "stranger") == (offered,)
        slate = decode_whole(storage.kv.get([keys.whole(version, "u1")])[0] or b"")
        assert offered not in {shown.item for shown in slate.items}
        front = decode_front(storage.kv.get([keys.slate(version, "stranger")])[0] or b"")
        assert front.rung == "personal"
        assert eventually(lambda: offered.encode() in (storage.kv.get([keys.TRENDING])[0] or b""))
        assert eventually(lambda: worker.lag() == 0)
    finally:
        worker.stop()
    assert worker.failure is None


def test_a_stopped_worker_has_committed_what_it_applied_and_the_next_one_goes_on_behind_it(
    published: tuple[Storage, Config],
) -> None:
    storage, config = published
    worker = Worker(storage, config)
    worker.start()
    storage.log.append([click("u1", "i1", number) for number in range(50)]).result()
    assert eventually(lambda: len([item for item in history(storage, "u1") if item == "i1"]) >= 50)
    worker.stop()
    assert storage.log.committed(consumer_of(storage.kv)) == storage.log.ends()
    following = Worker(storage, config)
    assert following.drain() == 0
    following.stop()


def test_the_worker_takes_over_a_new_live_version_and_a_changed_catalogue(published: tuple[Storage, Config]) -> None:
    storage, config = published
    first = live.read(storage.kv)
    assert first is not None
    worker = Worker(storage, config)
    worker.start()
    try:
        storage.log.append([click("u1", "i1")]).result()
        assert eventually(lambda: history(storage, "u1")[-1:] == ("i1",))
        other = live.promote(storage, first.fallback.partition("/")[0], int(time.time() * 1000))
        change = ItemChange("late", int(time.time() * 1000), "i2", "Film 2", ("Horror",), active=False)
        storage.log.append([change]).result()
        assert eventually(lambda: storage.tables.items.get("i2") == change, 2.0)
        storage.log.append([click("u1", "i5")]).result()
        assert eventually(lambda: storage.kv.get([keys.slate(other.version, "u1")])[0] is not None, 2.0)
        slate = decode_whole(storage.kv.get([keys.whole(other.version, "u1")])[0] or b"")
        assert "i2" not in {shown.item for shown in slate.items}
        assert storage.kv.get([keys.CATALOG])[0] == str(storage.tables.items.stamp()).encode()
    finally:
        worker.stop()


def test_with_a_long_queue_states_come_first_and_slates_are_left_to_the_requests(published: tuple[Storage, Config]) -> None:
    storage, config = published
    version = (live.read(storage.kv) or pytest.fail("nothing is live")).version
    few = replace(config, streaming=Streaming(batch=5, refresh_lag=0))
    before = storage.kv.get([keys.slate(version, "u1")])
    storage.log.append([click("u1", f"i{number}") for number in range(10)]).result()
    worker = Worker(storage, few)
    assert worker.step() == 5
    assert storage.kv.get([keys.slate(version, "u1")]) == before
    assert worker.step() == 5  # the last records: nothing waits any more
    assert storage.kv.get([keys.slate(version, "u1")]) != before
    worker.drain()
    worker.stop()


def test_nothing_is_lost_when_the_online_store_fails_while_events_come(published: tuple[Storage, Config]) -> None:
    storage, config = published
    worker = Worker(storage, config)
    worker.start()
    storage.log.append([click("u1", "i1")]).result()
    assert eventually(lambda: history(storage, "u1")[-1:] == ("i1",))
    storage.kv.close()  # under the running worker
    storage.log.append([click("u1", "i2"), click("u2", "i3")]).result()
    assert eventually(lambda: isinstance(worker.failure, StorageError))
    assert worker.lag() > 0
    del storage.__dict__["kv"]  # the next use opens it again, as a store that is back
    assert eventually(lambda: history(storage, "u1")[-1:] == ("i2",))
    assert eventually(lambda: history(storage, "u2")[-1:] == ("i3",))
    assert eventually(lambda: worker.failure is None and worker.lag() == 0)
    storage.log.append([click("u1", "i4")]).result()
    assert eventually(lambda: history(storage, "u1")[-1:] == ("i4",))
    worker.stop()
    assert worker.failure is None


def test_a_worker_stopped_in_the_middle_of_a_failure_commits_nothing_that_was_not_applied(
    published: tuple[Storage, Config],
) -> None:
    storage, config = published
    worker = Worker(storage, config)
    done = storage.log.committed(consumer_of(storage.kv))
    storage.kv.close()
    storage.log.append([click("u1", "i1")]).result()
    worker.start()
    assert eventually(lambda: worker.failure is not None)
    del storage.__dict__["kv"]  # it is back, so a commit would succeed, but the worker waits before it tries again
    worker.stop()
    assert storage.log.committed(consumer_of(storage.kv)) == done
    following = Worker(storage, config)
    assert following.drain() == 1
    assert history(storage, "u1")[-1] == "i1"
    following.stop()


def test_a_failed_step_is_repeated_by_the_next_one(published: tuple[Storage, Config]) -> None:
    storage, config = published
    worker = Worker(storage, config)
    storage.log.append([click("u3", "i1")]).result()
    storage.kv.close()
    with pytest.raises(StorageError):
        worker.step()
    del storage.__dict__["kv"]
    assert worker.drain() == 1
    assert history(storage, "u3")[-1] == "i1"
    worker.stop()


def test_profiles_follow_the_log_and_an_erasure_takes_them_with_it(published: tuple[Storage, Config]) -> None:
    storage, config = published
    now = int(time.time() * 1000)
    storage.log.append(
        [
            UserChange("c1", now, "new", {"Drama": 2.0}, "de"),
            UserChange("c2", now, "leaving", {"Drama": 2.0}),
            Erase("c3", now + 1, "leaving"),
            UserChange("c4", now, "back", {"Drama": 2.0}),
            Erase("c5", now + 1, "back"),
            UserChange("c6", now + 2, "back", {"Horror": 1.0}),
        ]
    ).result()
    storage.tables.users.put([UserChange("c2", now, "leaving", {"Drama": 2.0})])  # as the API does at once
    worker = Worker(storage, config)
    worker.drain()
    worker.stop()
    found = storage.tables.users.get("new")
    assert found is not None
    assert (found.preferences, found.segment) == ({"Drama": 2.0}, "de")
    assert storage.tables.users.get("leaving") is None
    assert storage.kv.get([keys.state("leaving"), keys.mark("leaving")]) == [None, None]
    again = storage.tables.users.get("back")
    assert again is not None
    assert again.preferences == {"Horror": 1.0}


def test_a_new_online_store_in_place_of_a_lost_one_is_filled_from_the_log(storage: Storage, home: Config) -> None:
    fill(storage, users=10, items=20, per_user=5)
    first = Worker(storage, home)
    first.drain()
    first.stop()
    before = dict(storage.kv.scan("state:"))
    assert len(before) >= 10
    lost = replace(home, connect=replace(home.connect, kv="lmdb:///{home}/another"))
    with connect(lost) as anew:
        second = Worker(anew, lost)
        second.drain()
        second.stop()
        assert dict(anew.kv.scan("state:")) == before


def test_a_clock_that_jumps_delays_nothing_and_repeats_nothing(published: tuple[Storage, Config]) -> None:
    storage, config = published
    jump = 0.0
    worker = Worker(storage, config, clock=lambda: time.time() + jump)
    worker.start()
    try:
        for number, seconds in enumerate((0.0, -86_400.0, 86_400.0, 365 * 86_400.0, 0.0)):
            jump = seconds
            storage.log.append([click("u1", f"i{number}", number)]).result()
            assert eventually(lambda number=number: history(storage, "u1")[-1:] == (f"i{number}",))  # type: ignore[misc]  # bound now
            assert eventually(lambda: storage.log.committed(consumer_of(storage.kv)) == storage.log.ends()), seconds
    finally:
        worker.stop()
    assert worker.failure is None
    assert history(storage, "u1")[-5:] == tuple(f"i{number}" for number in range(5))
