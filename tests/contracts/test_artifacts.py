"""What every model store must do, wherever its artifacts are. A new place is one line in ``ADAPTERS``."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import servers
from tastemaker.errors import ConfigError, InputError, StorageError
from tastemaker.models import create
from tastemaker.models.artifact import load_model
from tastemaker.models.interactions import Histories, Interactions, Vocabulary
from tastemaker.storage import MODELS, resolve
from tastemaker.storage.artifacts import Artifacts, open_artifacts

ADAPTERS: dict[str, Callable[[Path], str]] = {
    "file": lambda folder: f"file:///{folder}/a b ü/models",
    "s3": lambda _: f"{servers.s3()}/a b/models",
}


@pytest.fixture(params=ADAPTERS)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return ADAPTERS[request.param](tmp_path)


@pytest.fixture
def store(url: str, tmp_path: Path) -> Artifacts:
    opened: Artifacts = resolve(url, MODELS, "connect.models")(url, tmp_path / "cache")
    return opened


def writer(**files: bytes) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        folder.mkdir(parents=True)
        for name, content in files.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(content)

    return write


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_artifact_comes_back_as_it_was_written(store: Artifacts) -> None:
    assert store.names() == []
    assert not store.has("m-1/model")
    store.publish("m-1/model", writer(a=b"1" * 3_000_000, b=b""))
    store.publish("m-1/twin", writer(a=b"2"))
    store.publish("m-2/model", writer(a=b"3"))
    assert store.names() == ["m-1/model", "m-1/twin", "m-2/model"]
    assert store.has("m-1/model")
    assert content(store.folder("m-1/model")) == {"a": b"1" * 3_000_000, "b": b""}
    assert content(store.folder("m-1/twin")) == {"a": b"2"}


def test_an_artifact_may_have_folders_within(store: Artifacts, url: str, tmp_path: Path) -> None:
    parts = {"model.json": b"{}", "part-0/model.json": b"0", "part-1/model.json": b"1"}
    store.publish("blend-1/model", writer(**parts))
    assert store.names() == ["blend-1/model"]
    assert content(store.folder("blend-1/model")) == parts
    other: Artifacts = resolve(url, MODELS, "connect.models")(url, tmp_path / "elsewhere")
    assert content(other.folder("blend-1/model")) == parts
    store.remove("blend-1")
    assert store.names() == []


def test_another_machine_finds_it(store: Artifacts, url: str, tmp_path: Path) -> None:
    store.publish("m-1/model", writer(a=b"1"))
    other = open_artifacts(url, tmp_path / "other cache")
    assert other.has("m-1/model")
    assert content(other.folder("m-1/model")) == {"a": b"1"}


def test_a_removed_artifact_is_gone_and_its_neighbours_stay(store: Artifacts) -> None:
    for name in ("m-1/model", "m-1/twin", "m-10/model"):
        store.publish(name, writer(a=name.encode()))
    store.remove("m-1")
    assert store.names() == ["m-10/model"]
    assert not store.has("m-1/twin")
    store.remove("m-1")
    store.remove("unknown")
    assert content(store.folder("m-10/model")) == {"a": b"m-10/model"}
    store.publish("m-1/model", writer(a=b"again"))
    assert content(store.folder("m-1/model")) == {"a": b"again"}


def test_what_fails_while_it_is_written_is_never_seen(store: Artifacts) -> None:
    def fails(folder: Path) -> None:
        raise ValueError("no model after all")

    with pytest.raises(ValueError, match="after all"):
        store.publish("m-1/model", fails)
    assert store.names() == []
    assert not store.has("m-1/model")
    store.publish("m-1/model", writer(a=b"1"))
    assert store.has("m-1/model")


@pytest.mark.parametrize("name", ["", "..", "../outside", "a//b", "/a", "a/.hidden", "a/../../b", "a\\b"])
def test_a_name_that_leads_elsewhere_is_refused(store: Artifacts, name: str) -> None:
    for work in (store.folder, store.has, store.remove, lambda name: store.publish(name, writer(a=b""))):
        with pytest.raises(InputError, match="artifact"):
            work(name)


def test_a_model_is_saved_and_loaded_by_every_thread_at_once(store: Artifacts, url: str, tmp_path: Path) -> None:
    data = Interactions(("u",), Vocabulary(("i1", "i2")), Histories.of([([0, 1, 1], [1.0] * 3, [1, 2, 3])]), 3)
    model = create("popular")
    model.fit(data)
    store.publish("popular-1/model", model.save)
    with pytest.raises(StorageError):
        store.publish("popular-1/model", model.save)
    kinds: list[str] = []
    fresh = open_artifacts(url, tmp_path / "fresh")
    threads = [threading.Thread(target=lambda: kinds.append(load_model(fresh.folder("popular-1/model")).kind)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert kinds == ["popular"] * 6


def test_a_model_that_is_not_there_is_an_error_that_says_so(store: Artifacts) -> None:
    with pytest.raises(StorageError, match="nowhere/model"):
        load_model(store.folder("nowhere/model"))


@pytest.mark.parametrize("url", ["file://", "s3://", "s3://user:secret@bucket/x"])
def test_a_place_that_cannot_hold_models_is_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"connect\.models") as caught:
        open_artifacts(url, tmp_path)
    assert "secret" not in str(caught.value)
