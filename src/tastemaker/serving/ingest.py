"""What happens to an event: decode, check, append, acknowledge once it is durable.

The fast way decodes a whole batch at once. What it cannot take goes the careful way, event by event: ids and times that
are missing are filled in, ISO 8601 becomes milliseconds, and what is wrong is reported by its index and put into
quarantine, while the good events of the batch are kept. An event id that was acknowledged before is a duplicate: it is
acknowledged again and not stored again (an id older than this process's memory is dropped further down, by the state and
the lake).
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import OrderedDict
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct

from tastemaker import telemetry
from tastemaker.config import Config
from tastemaker.domain import AnyEvent, Event, tag_of
from tastemaker.errors import InputError, did_you_mean
from tastemaker.serving import schemas
from tastemaker.serving.schemas import STRICT, WireEvent
from tastemaker.storage import Storage
from tastemaker.storage.quarantine import Quarantine

AHEAD = 24 * 3_600_000  # how far in the future an event's clock may be
MEMORY = 200_000  # ids remembered against repeats

_one = msgspec.json.Decoder(WireEvent)
_many = msgspec.json.Decoder(list[WireEvent])
_text = msgspec.json.Encoder().encode


class Result(Struct, frozen=True, omit_defaults=True):
    """What became of one event."""

    index: int
    status: str  # accepted, duplicate or rejected
    id: str | None = None
    field: str | None = None
    value: Any = None
    remedy: str | None = None


class Receipt(Struct, frozen=True):
    """The answer to ``POST /v1/events``."""

    accepted: int
    duplicates: int
    rejected: int
    results: tuple[Result, ...]


class Ingest:
    """Takes events. One per process."""

    def __init__(self, storage: Storage, config: Config) -> None:
        self.storage, self.config = storage, config
        self.quarantine = Quarantine(config.home / "quarantine" / "events.jsonl")
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._kinds = {kind: telemetry.EVENTS.labels(tag_of(kind), "accepted") for kind in STRICT.values()}

    async def take(self, body: bytes) -> Receipt:
        """Stores the events of a request's body and returns once they are durable."""
        now = int(time.time() * 1000)
        events, results = self.read(body, now)
        fresh, results = self.without_repeats(events, results)
        if fresh:
            await asyncio.wrap_future(self.storage.log.append(fresh, checked=True))
            self.remember(fresh)
            for event in fresh:
                self._kinds[type(event)].inc()
        rejected = sum(result.status == "rejected" for result in results)
        repeats = sum(result.status == "duplicate" for result in results)
        return Receipt(len(fresh), repeats, rejected, tuple(results))

    async def append(self, events: Sequence[AnyEvent]) -> None:
        """Stores events that the API made itself."""
        await asyncio.wrap_future(self.storage.log.append(events))

    # ── reading ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def read(self, body: bytes, now: int) -> tuple[list[tuple[int, Event]], list[Result]]:
        """The events with their places in the batch, and the results of those that cannot be taken."""
        batch = body.lstrip()[:1] == b"["
        try:
            found: Sequence[Event] = _many.decode(body) if batch else [_one.decode(body)]
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return self.read_carefully(body, batch, now)
        self.limit(len(found))
        if any(event.time > now + AHEAD for event in found):
            return self.read_carefully(body, batch, now)
        return list(enumerate(found)), []

    def read_carefully(self, body: bytes, batch: bool, now: int) -> tuple[list[tuple[int, Event]], list[Result]]:
        try:
            tree = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise InputError("body", body[:60].decode("utf-8", "replace"), f"is not JSON: {error}") from None
        rows = tree if batch else [tree]
        self.limit(len(rows))
        events: list[tuple[int, Event]] = []
        rejected: list[Result] = []
        for index, row in enumerate(rows):
            try:
                events.append((index, event_of(row, now)))
            except InputError as error:
                rejected.append(Result(index, "rejected", None, error.field, error.value, error.remedy))
        if rejected:
            telemetry.QUARANTINED.labels("invalid").inc(len(rejected))
            self.set_aside(
                [{"time": now, "field": r.field, "remedy": r.remedy, "event": rows[r.index]} for r in rejected],
            )
        return events, rejected

    def set_aside(self, rows: list[dict[str, Any]]) -> None:
        """Puts refused events into quarantine. Where that fails the sender knows anyway, and the good events must be kept."""
        try:
            self.quarantine.put(rows)
        except OSError as error:
            telemetry.log.error("quarantine_failed", error=str(error), events=len(rows))

    def limit(self, count: int) -> None:
        most = self.config.serving.max_batch
        if not 1 <= count <= most:
            raise InputError("body", f"{count} events", f"send 1 to {most} events in one request (serving.max_batch)")

    # ── repeats ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def without_repeats(
        self, events: Sequence[tuple[int, Event]], rejected: Sequence[Result]
    ) -> tuple[list[AnyEvent], list[Result]]:
        fresh: list[AnyEvent] = []
        results = list(rejected)
        here: set[str] = set()
        for index, event in events:
            repeated = event.id in self._seen or event.id in here
            results.append(Result(index, "duplicate" if repeated else "accepted", event.id))
            if not repeated:
                here.add(event.id)
                fresh.append(event)  # type: ignore[arg-type]  # the strict kinds are subclasses of the union's members
        results.sort(key=lambda result: result.index)
        return fresh, results

    def remember(self, events: Sequence[Event]) -> None:
        for event in events:
            self._seen[event.id] = None
        while len(self._seen) > MEMORY:
            self._seen.popitem(last=False)


def event_of(row: Any, now: int) -> Event:
    """One event out of plain values, with id and time filled in where they are missing."""
    if not isinstance(row, dict):
        raise InputError("event", row, "an event is a JSON object")
    tag = row.get("type")
    if not isinstance(tag, str) or tag not in STRICT:
        hint = did_you_mean(tag, STRICT) if isinstance(tag, str) else f"known: {', '.join(sorted(STRICT))}"
        raise InputError("type", tag, f"is not an event that can be sent; {hint}")
    kind = STRICT[tag]
    schemas.refuse_unknown(row, kind)
    full = {**row, "id": row["id"] if "id" in row else uuid.uuid4().hex, "time": now}
    for name in ("time", "released", "mature_at"):
        if row.get(name) is not None:
            full[name] = time_of(row[name], name)
    try:
        event: Event = msgspec.convert(full, kind)
    except msgspec.ValidationError as error:
        raise schemas.named(error, row) from None
    if event.time > now + AHEAD:
        raise InputError("time", event.time, "is more than a day in the future; send epoch milliseconds or ISO 8601 in UTC")
    return event


def time_of(value: Any, name: str) -> Any:
    """Milliseconds of an ISO 8601 text; numbers are left for the schema to check."""
    if isinstance(value, str):
        try:
            moment = msgspec.convert(value, datetime)
        except msgspec.ValidationError:
            raise InputError(name, value, "send epoch milliseconds or ISO 8601, as 2026-01-31T12:00:00Z") from None
        return schemas.millis(moment, name, 0)
    return value
