"""Exposures: that a unit has met the difference which an experiment makes, logged once for each unit and experiment.

What is measured of a unit begins with its exposure. It is logged with the first answer to somebody of whom something is known:
strangers get what everybody gets, and add nothing but noise, unless the arms differ for them, too. Nothing that the arm does
has a say in it (``Plan.exposes``). The id is made of what it says, so that two processes, or one that has forgotten, log the
same event.
"""

from __future__ import annotations

from threading import Lock

from tastemaker.domain import Assignment, Exposure, encode_event
from tastemaker.experiments.assignment import exposure_id
from tastemaker.serving.arms import Placed
from tastemaker.storage.log import Packed

MOST = 200_000  # exposures remembered, so that they are logged once


class Exposures:
    """What this process has logged. ``unit`` is whoever the arms are drawn for."""

    def __init__(self, most: int = MOST) -> None:
        self.most = most
        self._logged: dict[tuple[str, int, str], None] = {}
        self._lock = Lock()  # a log tells in a thread of its own that it failed

    def of(self, placed: Placed, unit: str, moment: float, known: bool) -> list[Packed]:
        """The events that an answer adds to the log; ``moment``: epoch seconds of its decision."""
        return [
            Packed(unit, encode_event(exposure(found, unit, int(moment * 1000))))
            for found in placed.assignments
            if placed.plan.exposes(found.experiment, known) and self._new((found.experiment, found.version, unit))
        ]

    def forget(self, unit: str | None = None) -> None:
        """After a failure of the log: what it lost is logged again when a unit is next seen. Or one unit, which was erased."""
        with self._lock:
            for key in [key for key in self._logged if unit in (None, key[2])]:
                del self._logged[key]

    def _new(self, key: tuple[str, int, str]) -> bool:
        logged = self._logged
        if key in logged:
            return False
        with self._lock:
            if len(logged) >= self.most:
                del logged[next(iter(logged))]  # the oldest
            logged[key] = None
        return True


def exposure(found: Assignment, unit: str, moment: int) -> Exposure:
    """The event of a unit in its arm. Those who were put there by hand are logged as such, and not counted."""
    name = exposure_id(found.experiment, found.version, unit)
    return Exposure(name, moment, found.experiment, unit, found.arm, found.version, found.layer, found.bucket, found.reason)
