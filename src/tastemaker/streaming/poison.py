"""Poison: a record that makes the update fail must not hold up all that come behind it.

A batch that fails is halved until the record stands alone; it is put among the dead letters with its error, and the rest is
applied. Failures of a store are no poison: the whole batch comes again when the store is back. Nor are many failures in one
batch: then something else is broken, a model perhaps, and nothing may be set aside for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tastemaker import telemetry
from tastemaker.domain import Record
from tastemaker.errors import Conflict, StorageError
from tastemaker.streaming.update import Applied

MOST = 10  # dead letters of one batch
Bury = Callable[[Record, Exception], None]


def apart(records: Sequence[Record], work: Callable[[Sequence[Record]], Applied], bury: Bury) -> Applied:
    """Applies records with ``work``, which may be called again for a part of them; those that make it fail are buried.

    Raises the error of the record that would be one too many.
    """
    buried: list[tuple[Record, Exception]] = []

    def attempt(part: Sequence[Record]) -> list[Applied]:
        try:
            return [work(part)]
        except (StorageError, Conflict):
            raise
        except Exception as error:
            if len(part) == 1:
                buried.append((part[0], error))
                if len(buried) > MOST:
                    raise
                return []
        middle = len(part) // 2
        return attempt(part[:middle]) + attempt(part[middle:])

    done = attempt(records)
    for record, error in buried:
        telemetry.DEAD_LETTERS.inc()
        telemetry.log.error("dead_letter", partition=record.partition, offset=record.offset, error=repr(error), exc_info=error)
        bury(record, error)
    return Applied(sum(one.users for one in done), sum(one.records for one in done), sum(one.slates for one in done))
