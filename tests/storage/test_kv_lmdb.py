"""What the embedded online store must survive: growth, growth by another process, a broken folder, kill -9."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tastemaker.errors import ConfigError, StorageError
from tastemaker.storage.kv import environment
from tastemaker.storage.kv.lmdb import open_kv

SMALL = 1 << 20
FILL = """
import os, signal, sys
from tastemaker.storage.kv import environment
environment.MAP_SIZE = 1 << 20
from tastemaker.storage.kv.lmdb import open_kv
kv = open_kv(sys.argv[1])
for n in range(40):
    kv.put({f"theirs:{n}": bytes(100_000)})
    print(n, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_map_grows_while_threads_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "MAP_SIZE", SMALL)
    kv = open_kv(f"lmdb:///{tmp_path}/kv")
    kv.put({"fixed": b"x" * 5000})
    stop, wrong = threading.Event(), list[object]()

    def look() -> None:
        while not stop.wait(0.001):
            try:
                if kv.get(["fixed"]) != [b"x" * 5000] or not any(True for _ in kv.scan("fixed")):
                    wrong.append("a value was lost")
            except StorageError as error:
                wrong.append(error)

    threads = [threading.Thread(target=look) for _ in range(3)]
    for thread in threads:
        thread.start()
    for n in range(20):
        kv.put({f"big:{n}": bytes([n]) * 300_000})
    kv.put({f"many:{n}": bytes(10_000) for n in range(1500)})
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong
    assert kv.get([f"big:{n}" for n in range(20)]) == [bytes([n]) * 300_000 for n in range(20)]
    assert sum(1 for _ in kv.scan("many:")) == 1500
    kv.close()


def test_another_process_may_grow_the_map_and_be_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "MAP_SIZE", SMALL)
    kv = open_kv(f"lmdb:///{tmp_path}/kv")
    kv.put({"ours": b"1"})
    command = [sys.executable, "-c", FILL, f"lmdb:///{tmp_path}/kv"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout
        for line in child.stdout:
            assert kv.get([f"theirs:{int(line)}", "ours"]) == [bytes(100_000), b"1"]
    kv.put({"ours": b"2"})
    assert sum(1 for _ in kv.scan("theirs:")) == 40
    assert kv.get(["ours"]) == [b"2"]
    kv.close()


def test_a_put_by_another_map_size_is_taken_over_by_the_writer_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "MAP_SIZE", SMALL)
    kv = open_kv(f"lmdb:///{tmp_path}/kv")
    subprocess.run([sys.executable, "-c", FILL, f"lmdb:///{tmp_path}/kv"], stdout=subprocess.DEVNULL, check=False)
    kv.put({"ours": b"1"})
    assert kv.get(["ours", "theirs:39"]) == [b"1", bytes(100_000)]
    kv.close()


def test_a_folder_that_is_no_store_is_refused(tmp_path: Path) -> None:
    (tmp_path / "kv").mkdir()
    (tmp_path / "kv" / "data.mdb").write_bytes(b"no store" * 5000)
    with pytest.raises(StorageError, match="remove it"):
        open_kv(f"lmdb:///{tmp_path}/kv")
    with pytest.raises(ConfigError, match=r"connect\.kv"):
        open_kv("lmdb:///")
