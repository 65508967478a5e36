"""Results of experiments: what was concluded at each time, so that it can be seen how it came to be sure.

A payload is JSON (``experiments/reporting.py``) that is read whole. Of results from the stream, which come every minute, only the
newest of each hour stays.
"""

from __future__ import annotations

import msgspec
from sqlalchemy import Engine, delete, select

from tastemaker.storage.tables.dialect import lock, move, put_rows, reading, writing
from tastemaker.storage.tables.schema import results

HOUR = 3_600_000


class Result(msgspec.Struct, frozen=True):
    """``time`` in epoch milliseconds: up to then events were counted. ``source``: lake or stream."""

    experiment: str
    version: int
    source: str
    time: int
    payload: str


class Results:
    """The table."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def put(self, result: Result) -> None:
        """Writes a result over the one of the same time."""
        same = (
            results.c.experiment == result.experiment, results.c.version == result.version, results.c.source == result.source,
        )  # fmt: skip
        with writing(self.engine) as connection:
            lock(connection, "results")
            if result.source == "stream":
                hour = result.time - result.time % HOUR
                connection.execute(delete(results).where(*same, results.c.time >= hour, results.c.time < result.time))
            put_rows(connection, results, [msgspec.structs.asdict(result)])
            move(connection, "results")

    def newest(self, experiment: str, version: int | None = None, source: str | None = None) -> Result | None:
        """The result that counted the latest events, of one version and one source or of any."""
        found = self.history(experiment, version, source, limit=1)
        return found[0] if found else None

    def history(self, experiment: str, version: int | None = None, source: str | None = None, limit: int = 1000) -> list[Result]:
        """Results of an experiment, those of its newest version and the latest times first."""
        chosen = select(results).where(results.c.experiment == experiment)
        if version is not None:
            chosen = chosen.where(results.c.version == version)
        if source is not None:
            chosen = chosen.where(results.c.source == source)
        ordered = chosen.order_by(results.c.version.desc(), results.c.time.desc(), results.c.source).limit(limit)
        with reading(self.engine) as connection:
            return [Result(**row._asdict()) for row in connection.execute(ordered)]

    def forget(self, before: int) -> int:
        """Removes results of before a time; returns how many."""
        with writing(self.engine) as connection:
            return int(connection.execute(delete(results).where(results.c.time < before)).rowcount)
