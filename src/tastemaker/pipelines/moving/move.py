"""The whole move, in order: look, copy, compare, and only then make the target usable.

Nothing of the source is changed, except that its log is archived to the end. Nobody may write to it meanwhile: this is looked
at in the end, and whoever did write makes the move fail; run again, it copies the rest.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack

import msgspec
from msgspec.structs import replace

from tastemaker.errors import Conflict, StorageError
from tastemaker.pipelines.moving import events, lake, models
from tastemaker.pipelines.moving.compare import Line, compare
from tastemaker.pipelines.moving.note import Note, load, save
from tastemaker.pipelines.moving.target import moves, shown
from tastemaker.pipelines.republish import rewrite_slates
from tastemaker.pipelines.running import LOCK
from tastemaker.registry import live
from tastemaker.storage import Storage, keys
from tastemaker.storage.archive import archive
from tastemaker.storage.history import History
from tastemaker.storage.lockfile import locked
from tastemaker.storage.tables import copying

MOVING = "migration.lock"
Watch = Callable[[str, int, int, str], None]
Progress = Callable[[int, int, str], None]
States = Callable[[Storage, Progress], int]
"""Makes the states of a platform (``streaming/rebuild.py``)."""


class Report(msgspec.Struct):
    """What a move did."""

    lines: list[Line]
    appended: int = 0  # events
    users: int | None = None  # whose slates were made; None: nothing was rebuilt

    @property
    def differences(self) -> list[Line]:
        return [line for line in self.lines if not line.equal]


def look(source: Storage, target: Storage) -> dict[str, dict[str, int]]:
    """What would be moved, store by store, and nothing done. Raises what ``migrate`` would raise at its beginning."""
    moved = moves(source.config, target.config)
    note = note_of(source, target)
    if note is None:
        refuse_foreign(source, target, moved)
    found: dict[str, dict[str, int]] = {}
    if "log" in moved:
        found["log"] = {"events": History(source.log, source.lake).count()}
        found["lake"] = {"tables": len(source.lake.names())}
    if "tables" in moved:
        found["tables"] = copying.counts(source.tables)
    if "models" in moved:
        found["models"] = {"artifacts": len(models.wanted(source))}
    return found


def migrate(source: Storage, target: Storage, watch: Watch, rebuild: States | None) -> Report:
    """Moves everything; the report may name differences. Raises ``Conflict`` when the target is not ours to fill.

    ``rebuild`` makes the target's states, and slates follow; None leaves both to the workers and pipelines there.
    """
    moved = moves(source.config, target.config)
    with locked(target.config.home / MOVING, "move"):
        with ExitStack() as stack:
            stack.enter_context(locked(source.config.home / LOCK))  # a pipeline would go on writing lake, tables and models
            report, ends = copy_all(source, target, moved, watch)
        if "log" in moved and (late := sum(source.log.ends()) - sum(ends)):
            raise Conflict(
                f"{late} events came into the source's log during the move: stop whatever writes there (API, imports), and run "
                "the same command again: it copies the rest"
            )
        if report.differences:
            return report
        if "tables" in moved:
            abandon(target)
        if "kv" in moved:
            report.users = go_live(source, target, watch, rebuild)
    return report


def copy_all(source: Storage, target: Storage, moved: set[str], watch: Watch) -> tuple[Report, list[int]]:
    """Everything but the online store, and what the comparison says; with the ends of the source's log at the beginning."""
    note = note_of(source, target)
    own = note is not None
    if note is None:
        refuse_foreign(source, target, moved)
        note = Note(shown(source.config), shown(target.config))
        save(target.config.home, note)
    report = Report([])
    ends: list[int] = []
    if "log" in moved:
        archive(source.log, source.lake, progress=lambda done, total: watch("archive", done, total, "the source's log"))
        history = History(source.log, source.lake)
        ends = history.ends
        report.appended = events.Copying(history, target.log, target.config.home, note).run(to(watch, "log"))
        lake.copy(source, target, to(watch, "lake"), own=own)
    if "tables" in moved:
        copying.copy(source.tables, target.tables, to(watch, "tables"), own=own)
    if "models" in moved:
        models.copy(source, target, to(watch, "models"), own=own)
    report.lines = compare(source, target, moved, to(watch, "compare"))
    return report, ends


def note_of(source: Storage, target: Storage) -> Note | None:
    """The note of an earlier attempt at the same move. Raises ``Conflict`` where the target was filled from elsewhere."""
    note = load(target.config.home)
    if note is None or note.target != shown(target.config):
        return None
    if note.source != shown(source.config):
        raise Conflict(
            f"{target.config.home}: this target was filled from {note.source['log']} and {note.source['tables']}, not from "
            f"{shown(source.config)['log']}: name empty stores"
        )
    return note


def refuse_foreign(source: Storage, target: Storage, moved: set[str]) -> None:
    """Raises ``Conflict`` where the target holds what did not come from here, as far as one can see before copying."""
    if "kv" in moved:
        there = next((key for prefix in ("state:", "slate:") for key, _ in target.kv.scan(prefix)), None)
        pointer = live.read(target.kv)
        if there is not None or pointer is not None:
            what = f"the live version {pointer.version}" if pointer is not None else f"{there!r}"
            raise Conflict(f"the target's online store is in use, it holds {what}: name an empty store as connect.kv")
    if "log" in moved:
        lake.check(target)
    if "tables" in moved:
        for table in copying.copied():
            copying.foreign(source.tables, target.tables, table, own=False)


def abandon(target: Storage) -> None:
    """Runs that are under way or failed have pinned versions of the source's lake: in the target they cannot go on."""
    for run in target.tables.runs.last(limit=10_000):
        if run.state not in ("done", "abandoned"):
            target.tables.runs.put(replace(run, state="abandoned", ended=run.ended or int(time.time() * 1000)))


def go_live(source: Storage, target: Storage, watch: Watch, rebuild: States | None) -> int | None:
    """States and slates, then, last of all, the pointer: nobody is served before everything is there."""
    now = live.read(source.kv)
    users: int | None = None
    if rebuild is not None:
        rebuild(target, to(watch, "states"))
        users = rewrite_slates(target, now, to(watch, "slates")) if now is not None else 0
    items: dict[str, bytes] = {keys.CATALOG: str(target.tables.items.stamp()).encode()}
    if now is not None:
        items[keys.LIVE] = msgspec.json.encode(now)
    target.kv.put(items)
    return users


def to(watch: Watch, what: str) -> Progress:
    def progress(done: int, total: int, note: str) -> None:
        watch(what, done, total, note)

    return progress


def told(differences: list[Line]) -> StorageError:
    """The error that a difference is."""
    names = ", ".join(f"{line.store} {line.what} ({line.source.rows:,} here, {line.target.rows:,} there)" for line in differences)
    return StorageError(
        f"the target differs from the source: {names}; run the command again, and if it stays so, begin with empty stores"
    )
