"""Where files are: a folder of this machine, or a prefix of a bucket. The lake and the models are kept in either.

Endpoint, region and credentials of S3 come from the environment, under the names that every S3 client knows
(``AWS_ENDPOINT_URL``, ``AWS_REGION``, ``AWS_ACCESS_KEY_ID``, ``AWS_SECRET_ACCESS_KEY``, ...), so no secret is in a file of ours.
Both clients that we use try again by themselves, with pauses that grow; ``Patience`` says how often and how long they wait.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any

from tastemaker.config import Patience, hide
from tastemaker.errors import ConfigError, StorageError, Unavailable
from tastemaker.storage.inspection import Inspection, disk

PART = 1 << 20  # bytes that are copied at once
BODY = 10.0  # times the patience of an answer: a request to S3 carries megabytes
CREDENTIALS = (
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)
BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
AWAY = re.compile(
    r"error sending request|tcp connect error|operation timed out|dns error|max_retries|retry_timeout|NETWORK_CONNECTION|"
    r"curlCode|Timeout was reached|HTTP (?:status )?5\d\d|50[0-4] |SLOW_DOWN|SlowDown|SERVICE_UNAVAILABLE|ServiceUnavailable",
)
COLOURS = re.compile(r"\x1b\[[0-9;]*m")
REMEDY = "see that the object store runs and can be reached, and AWS_ENDPOINT_URL; this recovers by itself when it does"


class Folder:
    """A folder, made when it is not there."""

    options: Mapping[str, str] | None = None

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"{path}: the folder cannot be made: {error.strerror}") from error

    def __str__(self) -> str:
        return str(self.path)

    def uri(self, name: str) -> str:
        """How clients find a part of the place."""
        return str(self.path / name)

    def names(self, holding: str) -> list[str]:
        """The folders here that hold an entry of this name, sorted."""
        return sorted(path.parent.name for path in self.path.glob(f"*/{holding}"))

    def exist(self, uris: Sequence[str]) -> bool:
        """Whether all these files are there."""
        return all(Path(uri).exists() for uri in uris)

    def inspect(self) -> Inspection:
        return Inspection("folder", problems=disk(self.path))

    def explain(self, what: str, error: Exception, remedy: str) -> StorageError:
        """The error that callers get."""
        return StorageError(f"{what}: {error}: {remedy}")


class Bucket:
    """A prefix of an S3 bucket. Nothing is asked of the server before the first call."""

    def __init__(self, url: str, patience: Patience, key: str) -> None:
        name, _, prefix = url.removeprefix("s3://").partition("/")
        if not BUCKET.fullmatch(name):
            raise ConfigError(
                f"{key} = {hide(url)!r}: name a bucket, as in s3://bucket/prefix; credentials belong into the environment"
            )
        if os.environ.get("AWS_PROFILE") and not any(os.environ.get(name) for name in CREDENTIALS):
            raise ConfigError(
                f"{key} = {url!r}: AWS_PROFILE = {os.environ['AWS_PROFILE']!r} is not read by the Delta library: give keys as "
                "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; `aws configure export-credentials --format env` prints them"
            )
        self.prefix = "/".join(part for part in (name, *prefix.split("/")) if part)
        self.patience = patience
        # Two writers of one version: the one who comes later is refused by the server (If-None-Match).
        seconds = patience.timeout_ms / 1000 * BODY
        self.options: Mapping[str, str] | None = {
            "aws_conditional_put": "etag",
            "connect_timeout": f"{patience.connect_ms:.0f}ms",
            "timeout": f"{seconds * 1000:.0f}ms",
            "max_retries": str(patience.tries - 1),
            "retry_timeout": f"{seconds * patience.tries * 1000:.0f}ms",
        }

    def __str__(self) -> str:
        return f"s3://{self.prefix}"

    def uri(self, name: str) -> str:
        return f"s3://{self.prefix}/{name}"

    @cached_property
    def files(self) -> Any:
        """Arrow's view of the bucket, for what is no table."""
        from pyarrow import fs

        return fs.S3FileSystem(
            endpoint_override=os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL"),
            region=os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION"),
            connect_timeout=self.patience.connect_ms / 1000,
            request_timeout=self.patience.timeout_ms / 1000 * BODY,
            retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=self.patience.tries),
        )

    def names(self, holding: str) -> list[str]:
        with self._asked("") as fs:
            found = self.files.get_file_info(fs.FileSelector(self.prefix, allow_not_found=True))
            folders = [entry.path for entry in found if entry.type == fs.FileType.Directory]
            held = self.files.get_file_info([f"{folder}/{holding}" for folder in folders])
            there = (folder for folder, entry in zip(folders, held, strict=True) if entry.type != fs.FileType.NotFound)
        return sorted(folder.rpartition("/")[2] for folder in there)

    def exist(self, uris: Sequence[str]) -> bool:
        with self._asked("") as fs:
            found = self.files.get_file_info([uri.removeprefix("s3://") for uri in uris])
        return all(entry.type == fs.FileType.File for entry in found)

    def all_files(self, below: str) -> list[str]:
        """Names of all objects under a name, relative to the place."""
        start = f"{self.prefix}/{below}".rstrip("/")
        with self._asked(below) as fs:
            found = self.files.get_file_info(fs.FileSelector(start, recursive=True, allow_not_found=True))
        return [entry.path.removeprefix(f"{self.prefix}/") for entry in found if entry.type == fs.FileType.File]

    def read(self, name: str) -> bytes | None:
        """A small object's content; None when there is none."""
        try:
            with self._asked(name, FileNotFoundError), self.files.open_input_stream(f"{self.prefix}/{name}") as stream:
                content: bytes = stream.read()
        except FileNotFoundError:
            return None
        return content

    def write(self, name: str, content: bytes) -> None:
        with self._asked(name), self.files.open_output_stream(f"{self.prefix}/{name}") as stream:
            stream.write(content)

    def upload(self, path: Path, name: str) -> None:
        with self._asked(name), path.open("rb") as file, self.files.open_output_stream(f"{self.prefix}/{name}") as stream:
            shutil.copyfileobj(file, stream, PART)

    def download(self, name: str, path: Path) -> None:
        with self._asked(name), self.files.open_input_stream(f"{self.prefix}/{name}") as stream, path.open("wb") as file:
            shutil.copyfileobj(stream, file, PART)

    def delete(self, name: str) -> None:
        """Removes an object; one that is gone already is no error."""
        with suppress(FileNotFoundError), self._asked(name, FileNotFoundError):
            self.files.delete_file(f"{self.prefix}/{name}")

    def inspect(self) -> Inspection:
        bucket = self.prefix.partition("/")[0]
        with self._asked("") as fs:
            if self.files.get_file_info(bucket).type == fs.FileType.NotFound:
                raise StorageError(f"s3://{bucket}: there is no such bucket: create it, or see AWS_ENDPOINT_URL and AWS_REGION")
        return Inspection("S3")

    @contextmanager
    def _asked(self, name: str, missing: type[Exception] | tuple[()] = ()) -> Iterator[Any]:
        """Arrow's module for the block; an error of the store leaves it as one of ours, but ``missing`` as it is."""
        from pyarrow import fs

        try:
            yield fs
        except missing:
            raise
        except OSError as error:
            raise self.explain(self.uri(name), error, "see that the bucket exists and that you may use it") from error

    def explain(self, what: str, error: Exception, remedy: str) -> StorageError:
        said = " ".join(COLOURS.sub("", str(error)).replace("↳", "").split())
        return Unavailable(f"{what}: {said}: {REMEDY}") if AWAY.search(said) else StorageError(f"{what}: {said}: {remedy}")


Place = Folder | Bucket


def folder_of(url: str, key: str) -> Path:
    """The folder of ``file:///relative`` or, with four slashes, ``file:////absolute``."""
    name = url.removeprefix("file:///")
    if name in ("", url):
        raise ConfigError(f"{key} = {hide(url)!r}: name a folder, as in file:///folder, or s3://bucket/prefix")
    return Path(name)
