"""The model store in a bucket: half uploads, damage, a store that is away, a cache that several processes share."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from msgspec.structs import replace

import servers
import world
from tastemaker.config import Patience
from tastemaker.errors import StorageError, Unavailable
from tastemaker.pipelines.catalog import pipeline
from tastemaker.pipelines.local import run_pipeline
from tastemaker.registry import live
from tastemaker.storage import artifact_cache, connect, keys
from tastemaker.storage.artifacts import WHOLE, Artifacts, Remote, open_artifacts

QUICK = Patience(connect_ms=300, timeout_ms=100, tries=2)


@pytest.fixture
def url() -> str:
    return f"{servers.s3()}/models"


@pytest.fixture
def store(url: str, tmp_path: Path) -> Remote:
    opened = open_artifacts(url, tmp_path / "cache", QUICK)
    assert isinstance(opened, Remote)
    return opened


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[tuple[servers.S3, Artifacts]]:
    """A server that a test may stop, and a store on it."""
    with servers.S3() as server:
        for name, value in servers.s3_environment(server.url).items():
            monkeypatch.setenv(name, value)
        boto3.client("s3").create_bucket(Bucket="shop")
        yield server, open_artifacts("s3://shop/models", tmp_path / "cache", QUICK)


def write(folder: Path, text: bytes = b"1") -> None:
    folder.mkdir()
    (folder / "a").write_bytes(text)


def fresh(url: str, tmp_path: Path) -> Artifacts:
    return open_artifacts(url, tmp_path / "fresh", QUICK)


def test_without_its_list_an_artifact_is_not_there(store: Remote, url: str, tmp_path: Path) -> None:
    store.publish("m/model", write)
    store.bucket.delete(f"m/model/{WHOLE}")  # as if the upload had been killed before its end
    assert not store.has("m/model")
    assert store.names() == []
    with pytest.raises(StorageError, match="not the whole of it"):
        fresh(url, tmp_path).folder("m/model")
    store.publish("m/model", write)
    assert fresh(url, tmp_path).folder("m/model").is_dir()


def test_a_damaged_file_is_refused_and_leaves_nothing_in_the_cache(store: Remote, url: str, tmp_path: Path) -> None:
    store.publish("m/model", write)
    store.bucket.write("m/model/a", b"2")
    other = fresh(url, tmp_path)
    with pytest.raises(StorageError, match="damaged"):
        other.folder("m/model")
    assert [path for path in (tmp_path / "fresh").rglob("*") if path.is_file()] == []


def test_an_artifact_that_was_made_again_is_fetched_again(store: Remote, url: str, tmp_path: Path) -> None:
    other = fresh(url, tmp_path)
    store.publish("m/model", write)
    assert (other.folder("m/model") / "a").read_bytes() == b"1"
    store.remove("m")
    store.publish("m/model", lambda folder: write(folder, b"22"))
    assert (other.folder("m/model") / "a").read_bytes() == b"22"


def test_a_store_that_is_away_is_unavailable_but_cached_models_are_there(own: tuple[servers.S3, Artifacts]) -> None:
    server, store = own
    store.publish("m/model", write)
    server.kill()
    assert (store.folder("m/model") / "a").read_bytes() == b"1"
    for work in (lambda: store.folder("n/model"), lambda: store.has("n/model"), store.names, lambda: store.publish("n", write)):
        began = time.monotonic()
        with pytest.raises(Unavailable, match="see that the object store runs"):
            work()
        assert time.monotonic() - began < 8


def test_the_cache_keeps_what_was_used_lately(store: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artifact_cache, "KEPT", 2)
    old = time.time() - 2 * artifact_cache.UNUSED
    for number in range(4):
        store.publish(f"m-{number}/model", write)
        folder = store.folder(f"m-{number}/model")
        if number != 1:
            os.utime(folder, (old - number, old - number))
    store.folder("m-3/model")
    store.publish("m-4/model", write)
    assert sorted(map(artifact_cache.name_of, store.cache.root.iterdir())) == ["m-1/model", "m-3/model", "m-4/model"]
    assert (store.folder("m-0/model") / "a").read_bytes() == b"1"  # fetched again


def fetch(url: str, cache: Path) -> bytes:
    return (open_artifacts(url, cache).folder("m/model") / "a").read_bytes()[:1]


def test_processes_that_share_a_cache_fetch_at_once(store: Remote, url: str, tmp_path: Path) -> None:
    store.publish("m/model", lambda folder: write(folder, b"1" * 2_000_000))
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        assert pool.starmap(fetch, [(url, tmp_path / "shared")] * 3, chunksize=1) == [b"1"] * 3
    whole = [path for path in (tmp_path / "shared").glob("*/*") if not path.name.startswith(artifact_cache.DRAFT)]
    assert len(whole) == 1
    assert list((tmp_path / "shared").glob("*/*")) == whole


def test_a_run_on_a_lake_and_models_in_a_bucket_goes_live_on_another_machine(tmp_path: Path) -> None:
    bucket = servers.s3()
    config = world.config_of(tmp_path / "home", ("popular", "als"))
    config = replace(config, connect=replace(config.connect, lake=f"{bucket}/lake", models=f"{bucket}/models"))
    with connect(config) as storage:
        world.fill(storage, users=60, items=40, per_user=8)
        assert run_pipeline(storage, config, pipeline("daily")).state == "done"
        pointer = storage.kv.get([keys.LIVE])[0]
        assert pointer is not None
        assert not (tmp_path / "home" / "models").exists()
        assert not (tmp_path / "home" / "lake").exists()
    elsewhere = replace(config, connect=replace(config.connect, home=str(tmp_path / "elsewhere")))
    with connect(elsewhere) as storage:
        bundle = live.load(storage.models, pointer)
        assert bundle.model is not None
        assert bundle.fallback is not None
        assert bundle.live is not None
        assert storage.lake.read("interactions").num_rows == 480
