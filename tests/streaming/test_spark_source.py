"""The event log as Spark's stream reads it: each record once, in order, whatever the log is and whatever was erased in it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace
from pyspark.sql.streaming.datasource import ReadAllAvailable, ReadMaxRows

import servers
from tastemaker.config import Config, Connect, Log, Patience, Streaming
from tastemaker.domain import Interaction, Record, decode_event
from tastemaker.errors import StorageError
from tastemaker.storage import Storage, connect
from tastemaker.streaming.spark.source import LogReader, Places, Stretch, shared, source

LOGS: dict[str, Callable[[], str]] = {
    "sqlite": lambda: "sqlite:///{home}/log.db",
    "postgresql": servers.postgresql,
    "kafka": servers.kafka,
}


def click(number: int) -> Interaction:
    return Interaction(f"e{number}", int(time.time() * 1000), f"u{number % 20}", f"i{number}", "click")


@pytest.fixture(params=LOGS)
def config(request: pytest.FixtureRequest, tmp_path: Path) -> Config:
    place = Connect(home=str(tmp_path / "home"), log=LOGS[request.param]())
    slow = Patience(connect_ms=10_000, timeout_ms=10_000)
    return Config(connect=place, log=Log(partitions=4), streaming=Streaming(trigger_records=50), patience=slow)


def read(reader: LogReader, start: Places, end: Places) -> list[tuple[int, int, bytes | None]]:
    rows = []
    for part in reader.partitions(start, end):
        for batch in reader.read(part):
            rows += list(zip(*(batch.column(name).to_pylist() for name in ("partition", "offset", "body")), strict=True))
    return rows


def whole(storage: Storage) -> list[Record]:
    return [record for partition in range(4) for record in storage.log.read(partition, 0, 10_000)]


def test_batches_together_are_the_whole_log_and_none_is_larger_than_it_may_be(config: Config) -> None:
    with connect(config) as storage:
        storage.log.append([click(number) for number in range(230)]).result()
        reader = LogReader(config, "group")
        place = reader.initialOffset()
        assert place == {"0": 0, "1": 0, "2": 0, "3": 0}
        rows: list[tuple[int, int, bytes | None]] = []
        while (ahead := reader.latestOffset(place, reader.getDefaultReadLimit())) != place:
            more = read(reader, place, ahead)
            assert 0 < len(more) <= 50
            rows, place = rows + more, ahead
        found = [Record(partition, offset, decode_event(body)) for partition, offset, body in sorted(rows) if body is not None]
        assert found == whole(storage)
        assert reader.partitions(place, place) == []


def test_a_stream_of_what_is_there_now_leaves_what_comes_later(config: Config) -> None:
    with connect(config) as storage:
        storage.log.append([click(number) for number in range(30)]).result()
        reader = LogReader(config, "group")
        reader.prepareForTriggerAvailableNow()
        storage.log.append([click(number) for number in range(30, 60)]).result()
        end = reader.latestOffset(reader.initialOffset(), ReadAllAvailable())
        assert sum(end.values()) == 30
        assert reader.latestOffset(end, ReadMaxRows(5)) == end
        assert sum(reader.reportLatestOffset().values()) == 60


def test_a_stream_without_a_checkpoint_begins_where_its_group_stands(config: Config) -> None:
    with connect(config) as storage:
        storage.log.append([click(number) for number in range(40)]).result()
        storage.log.commit("group", {1: 3, 2: 5})
        assert LogReader(config, "group").initialOffset() == {"0": 0, "1": 3, "2": 5, "3": 0}


def test_what_was_erased_is_passed_by_and_the_batch_still_says_how_far_it_went(config: Config) -> None:
    with connect(config) as storage:
        storage.log.append([click(number) for number in range(60)]).result()
        ends = storage.log.ends()
        owners = {record.event.user: record.partition for record in whole(storage) if isinstance(record.event, Interaction)}
        last = next(  # in most cases somebody's event is the last of a partition
            record for record in reversed(whole(storage)) if record.offset == ends[record.partition] - 1
        )
        assert isinstance(last.event, Interaction)
        assert storage.log.erase(last.event.user) == 3
        reader = LogReader(config, "group")
        time.sleep(0.5)  # other processes hear of an erasure a moment later
        end = {str(partition): offset for partition, offset in enumerate(ends)}
        rows = read(reader, reader.initialOffset(), end)
        assert [row[1] for row in rows if row[0] == last.partition][-1] == last.offset
        assert (last.partition, last.offset, None) in rows
        users = {decode_event(body).user for _, _, body in rows if body is not None}
        assert users == set(owners) - {last.event.user}


def test_a_checkpoint_of_another_log_is_refused(config: Config) -> None:
    with pytest.raises(
        StorageError, match=r"partition 2 of the log ends at offset 0, the checkpoint is at 7: it belongs to another"
    ):
        LogReader(config, "group").latestOffset({"0": 0, "1": 0, "2": 7, "3": 0}, ReadAllAvailable())


@pytest.mark.parametrize(
    ("behind", "limit"), [([0, 0], 5), ([7, 3, 9], 100), ([7, 3, 9], 4), ([1000, 1, 1, 1], 10), ([5, 5, 5], 2)]
)
def test_a_limit_is_shared_out_whole(behind: list[int], limit: int) -> None:
    taken = shared(behind, limit)
    assert sum(taken) == min(limit, sum(behind))
    assert all(0 <= part <= there for part, there in zip(taken, behind, strict=True))


def test_no_url_stands_in_the_options_of_the_source(tmp_path: Path) -> None:
    """Spark shows options in its pages."""
    secret = replace(Config(), connect=Connect(home=str(tmp_path), log="postgresql://me:hush@host/db"))
    made = source(secret, "group")(options={})
    assert made.name() == "tastemaker_log"
    assert "hush" not in str(made.options) + repr(made)
    assert isinstance(Stretch(0, 1, 2), Stretch)
