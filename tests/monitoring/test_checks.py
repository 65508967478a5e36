"""``tastemaker check`` looks at every store of a profile and says what is wrong, with the remedy."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from msgspec.structs import replace

from ports import free_port
from processes import command
from profiles import PROFILES, postgres, toml
from tastemaker.config import Config
from tastemaker.domain import Interaction
from tastemaker.monitoring.checks import check
from tastemaker.storage import connect
from tastemaker.storage.inspection import Inspection
from tastemaker.storage.kv.redis_standing import judge

CLOCKS = {"kv", "kv_durable", "tables"}  # of servers: Kafka tells no time, S3 whole seconds


@pytest.mark.parametrize("profile", [*PROFILES, "postgres"])
def test_every_store_of_a_profile_is_looked_at_and_well(tmp_path: Path, profile: str) -> None:
    places = {**PROFILES, "postgres": postgres}[profile](tmp_path / "home")
    config = Config(connect=places)
    with connect(config) as storage:
        found = {one.name: one for one in check(storage, config)}
    assert set(found) == {"log", "kv", "lake", "tables", "models"} | ({"kv_durable"} if places.kv_durable else set())
    for name, one in found.items():
        assert one.problems == (), (name, one.problems)
        assert one.version
        assert one.latency is not None
        assert 0 < one.latency < 1
        if name in CLOCKS and "://" in one.url and not one.url.startswith(("sqlite", "lmdb")):
            assert one.skew is not None
            assert abs(one.skew) < 0.5


def test_a_server_that_is_away_is_named_with_the_remedy_and_without_its_password(tmp_path: Path) -> None:
    home = tmp_path / "home"
    port = free_port()
    away = {"connect_ms": 300.0, "timeout_ms": 300.0, "tries": 1}
    places = replace(
        PROFILES["files"](home), kv=f"redis://me:secret@127.0.0.1:{port}/0", tables=f"postgresql://me:secret@127.0.0.1:{port}/x"
    )
    waits = "[patience]\n" + "".join(f"{name} = {value}\n" for name, value in away.items())
    (tmp_path / "tastemaker.toml").write_text(toml(places) + waits)
    done = command(home, "check")
    assert done.code == 1
    assert "secret" not in done.out + done.err
    for name, remedy in (("kv", "see that the Redis server runs"), ("tables", "see that the database server runs")):
        (line,) = [line for line in done.out.splitlines() if line.startswith(f"✗ {name} ")]
        assert f"127.0.0.1:{port}" in line
        assert remedy in line
    assert "✓  log" in done.out
    rows = json.loads(command(home, "check", "--json").out)
    assert [row["name"] for row in rows if row["problems"]] == ["kv", "tables"]


def test_a_log_made_with_other_partitions_is_a_finding(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with connect(Config(connect=PROFILES["files"](home))) as storage:
        storage.log.append([Interaction("e", 1, "u", "i", "click")]).result()
    done = command(home, "check", TASTEMAKER_LOG__PARTITIONS="5")
    assert done.code == 1
    assert "was made with 8: set log.partitions = 8" in done.out


class Unwell:
    """A store whose server answers and is not well."""

    def __init__(self, found: Inspection) -> None:
        self.found = found

    def inspect(self) -> Inspection:
        return self.found


def test_settings_that_lose_data_or_refuse_writes_are_problems() -> None:
    well = {"redis_version": "8.2", "maxmemory": 100 << 20, "used_memory": 10 << 20, "maxmemory_policy": "noeviction"}
    assert judge(well, (5, 500_000)) == Inspection("Redis 8.2", 5.5)
    full = judge({**well, "used_memory": 95 << 20}, (0, 0))
    assert "raise maxmemory" in full.problems[0]
    assert "read from connect.kv_durable" in judge({**well, "maxmemory_policy": "allkeys-lru"}, (0, 0)).notes[0]
    assert "is a replica" in judge({**well, "role": "slave"}, (0, 0)).problems[0]


def test_a_clock_that_is_wrong_is_a_problem() -> None:
    from tastemaker.monitoring.checks import look

    (found,) = look("kv", "redis://h", lambda: Unwell(Inspection("Redis 8", clock=1000.0)))
    assert "let both follow a time server" in found.problems[0]
