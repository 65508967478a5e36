"""The online store in one LMDB folder: a memory map that any number of threads and processes read without a lock.

Two tables. ``values`` holds eight bytes of expiry (epoch milliseconds, 0: never) and the value; ``expiry`` holds the same
times in order, so that what is over is found without looking at the rest: each put removes some of it. Keys longer than
LMDB takes are stored under their beginning and a hash, with the whole key in front of the value.

What survives: a put that returned survives the end of the process, however it ends. After a power failure the last put
may be missing (``metasync=False`` leaves the newest root to the next sync), never a part of it, never an older one.
"""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from itertools import groupby, islice
from pathlib import Path

import lmdb

from tastemaker.config import Patience
from tastemaker.errors import ConfigError, InputError, StorageError
from tastemaker.storage.inspection import Inspection, disk
from tastemaker.storage.kv.environment import Environment, Reader, borrow, give_back

LONGEST = 511
HEAD = LONGEST - 33  # of a long key: beginning, mark, 32 bytes of hash
MARK = 0xFF  # in no UTF-8 text
FOREVER = b"\0" * 8
PURGE = 256  # expired entries that a put removes at most
CHUNK = 512  # entries that a scan reads at a time


def open_kv(url: str, patience: Patience | None = None) -> LmdbKeyValue:  # noqa: ARG001 - a file needs no patience
    """Opens ``lmdb:///relative/folder`` (four slashes: absolute), and creates it when there is none."""
    name = url.removeprefix("lmdb:///")
    if name in ("", url):
        raise ConfigError(f"connect.kv = {url!r}: name a folder, as in lmdb:///folder")
    return LmdbKeyValue(borrow(Path(name).absolute()))


class LmdbKeyValue:
    """A ``KeyValue``."""

    immediate = True

    def __init__(self, environment: Environment) -> None:
        self._environment: Environment | None = environment
        self._local = threading.local()

    def _open(self) -> tuple[Environment, Reader]:
        environment = self._environment
        if environment is None:
            raise StorageError("the online store is closed: open it again")
        if environment.wanted:
            environment.let_pass()
        try:
            return environment, self._local.reader
        except AttributeError:
            self._local.reader = environment.reader()
            return environment, self._local.reader

    def get(self, keys: Sequence[str]) -> list[bytes | None]:
        """See ``KeyValue``. Each request passes here: written for speed, a beginning transaction is a cached one."""
        environment, reader = self._open()
        values: list[bytes | None] = []
        try:
            with reader.lock:
                transaction = environment.begin()
                get = transaction.get
                for key in keys:
                    raw = get(key.encode())
                    values.append(raw if raw is None else raw[8:] if raw.startswith(FOREVER) else opened(b"", raw))
                transaction.abort()
        except (lmdb.BadValsizeError, lmdb.MapResizedError):
            return self._get_long(keys)
        except lmdb.Error as error:
            raise environment.failure(error) from error
        # A key that is too long is not found: only then, and seldom, are the lengths worth a look.
        if None in values and max(map(len, keys)) > LONGEST // 4:
            return self._get_long(keys)
        return values

    def _get_long(self, keys: Sequence[str]) -> list[bytes | None]:
        """The same for keys of any length."""
        return [raw and opened(name, raw) for name, raw in self._get_raw([stored(key) for key in keys])]

    def _get_raw(self, names: Sequence[bytes]) -> list[tuple[bytes, bytes | None]]:
        """Stored values, also of long keys, also when another process has replaced the map."""
        environment, reader = self._open()
        return environment.read(reader, lambda transaction: [(name, transaction.get(name)) for name in names])

    async def fetch(self, keys: Sequence[str]) -> list[bytes | None]:
        return self.get(keys)

    def look(self, keys: Sequence[str]) -> list[tuple[bytes, float | None] | None]:
        """See ``Dated``."""
        return [dated(name, raw) if raw is not None else None for name, raw in self._get_raw([stored(key) for key in keys])]

    def fill(self, items: Mapping[str, bytes]) -> None:
        self.put(items)  # one transaction is the fastest way, too

    def put(self, items: Mapping[str, bytes], ttl: float | None = None) -> None:
        self._write(items, ttl, anew=True)

    def add(self, items: Mapping[str, bytes], ttl: float | None = None) -> None:
        self._write(items, ttl, anew=False)

    def _write(self, items: Mapping[str, bytes], ttl: float | None, *, anew: bool) -> None:
        """Writes in one transaction; ``anew``: also what is there already."""
        environment, _ = self._open()
        if ttl is not None and not ttl > 0:
            raise InputError("ttl", ttl, "give seconds above 0, or None for no end")
        now = milliseconds()
        expiry = FOREVER if ttl is None else struct.pack(">Q", min(now + max(1, round(ttl * 1000)), 2**63))
        rows = [pack(key, value, expiry) for key, value in items.items()]

        def change(transaction: lmdb.Transaction[bytes]) -> None:
            purge(transaction, environment, now)
            for name, value in rows:
                raw = None if anew else transaction.get(name, db=environment.values)
                if raw is not None and opened(name, raw) is not None:
                    continue
                transaction.put(name, value, db=environment.values)
                if ttl is not None:
                    transaction.put(expiry + digest(name), name, db=environment.expiry)

        if rows:
            environment.write(change)

    def delete(self, keys: Sequence[str]) -> None:
        environment, _ = self._open()
        names = [stored(key) for key in keys]

        def change(transaction: lmdb.Transaction[bytes]) -> None:
            for name in names:
                transaction.delete(name, db=environment.values)

        if names:
            environment.write(change)

    def drop(self, prefix: str) -> int:
        count = 0
        for keys in batched((key for key, _ in self.scan(prefix)), CHUNK):
            self.delete(keys)
            count += len(keys)
        return count

    def scan(self, prefix: str) -> Iterator[tuple[str, bytes]]:
        """See ``KeyValue``. Reads in chunks, each from one moment: what is written meanwhile may show or not."""
        wanted = prefix.encode()
        for _, group in groupby(self._entries(wanted[:HEAD]), key=lambda entry: entry[0][:HEAD]):
            # Keys that share so long a beginning are stored in the order of their hashes.
            full = sorted((original(name, raw), raw, name) for name, raw in group)
            for key, raw, name in full:
                value = opened(name, raw)
                if value is not None and key.startswith(wanted):
                    yield key.decode(), value

    def _entries(self, start: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Stored keys and values that begin with ``start``, in order; no transaction is open between two of them."""
        after = b""
        while True:
            environment, reader = self._open()

            def chunk(transaction: lmdb.Transaction[bytes], after: bytes = after) -> list[tuple[bytes, bytes]]:
                cursor = transaction.cursor()
                there = cursor.set_range(after or start) if after or start else cursor.first()
                if there and cursor.key() == after:
                    there = cursor.next()
                found: list[tuple[bytes, bytes]] = []
                while there and len(found) < CHUNK and cursor.key().startswith(start):
                    found.append(cursor.item())
                    there = cursor.next()
                cursor.close()
                return found

            entries = environment.read(reader, chunk)
            yield from entries
            if len(entries) < CHUNK:
                return
            after = entries[-1][0]

    def inspect(self) -> Inspection:
        environment, _ = self._open()
        return Inspection("LMDB " + ".".join(map(str, lmdb.version())), problems=disk(environment.path))

    def close(self) -> None:
        environment, self._environment = self._environment, None
        if environment is not None:
            give_back(environment)


def batched(keys: Iterator[str], size: int) -> Iterator[list[str]]:
    """Keys in lists of at most ``size``."""
    while part := list(islice(keys, size)):
        yield part


def milliseconds() -> int:
    return time.time_ns() // 1_000_000


def digest(name: bytes) -> bytes:
    return blake2b(name, digest_size=16).digest()


def shorten(name: bytes) -> bytes:
    """The stored form of a key that is too long."""
    return name[:HEAD] + bytes([MARK]) + blake2b(name, digest_size=32).digest()


def is_short(name: bytes) -> bool:
    """Whether a stored key stands for a longer one."""
    return len(name) == LONGEST and name[HEAD] == MARK


def stored(key: str) -> bytes:
    name = key.encode()
    if not name:
        raise InputError("key", key, "a key needs at least one character")
    return name if len(name) <= LONGEST else shorten(name)


def pack(key: str, value: bytes, expiry: bytes) -> tuple[bytes, bytes]:
    name = stored(key)
    if is_short(name):
        full = key.encode()
        return name, expiry + struct.pack(">I", len(full)) + full + value
    return name, expiry + value


def original(name: bytes, raw: bytes) -> bytes:
    """The key as it was given."""
    if not is_short(name):
        return name
    (length,) = struct.unpack_from(">I", raw, 8)
    return raw[12 : 12 + length]


def opened(name: bytes, raw: bytes) -> bytes | None:
    """The value, None when its time is over."""
    (expiry,) = struct.unpack_from(">Q", raw)
    if expiry and expiry <= milliseconds():
        return None
    return raw[12 + len(original(name, raw)) :] if is_short(name) else raw[8:]


def dated(name: bytes, raw: bytes) -> tuple[bytes, float | None] | None:
    """The value and the seconds it has left, if it has any."""
    value, (expiry,) = opened(name, raw), struct.unpack_from(">Q", raw)
    if value is None:
        return None
    return value, max(0.001, (expiry - milliseconds()) / 1000) if expiry else None


def purge(transaction: lmdb.Transaction[bytes], environment: Environment, now: int) -> None:
    """Removes some of what is over. A value that was written again since has another expiry, and stays."""
    cursor = transaction.cursor(db=environment.expiry)
    there, count = cursor.first(), 0
    while there and count < PURGE and struct.unpack_from(">Q", cursor.key())[0] <= now:
        name = cursor.value()
        raw = transaction.get(name, db=environment.values)
        if raw is not None and raw[:8] == cursor.key()[:8]:
            transaction.delete(name, db=environment.values)
        there, count = cursor.delete() and cursor.key() != b"", count + 1  # behind the last entry the key is empty
    cursor.close()
