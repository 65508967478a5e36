"""What is old enough to go, and which model artifacts somebody may still need."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime

DAY = 86_400_000


def cutoff(now: int, days: float) -> int | None:
    """The time before which things are too old; None: they are kept for ever.

    >>> cutoff(10 * DAY, 3), cutoff(10 * DAY, 0)
    (604800000, None)
    """
    return int(now - days * DAY) if days else None


def outdated(
    artifacts: Iterable[str], made: Mapping[str, int], kept: Collection[str], busy: Collection[str], before: int
) -> list[str]:
    """Versions whose artifacts may go: older than a time, not kept, and not of a run (by its suffix) that is under way.

    ``made``: when each version with a card was made; one without a card tells it by its name, or stays.

    >>> outdated(["als-1/model", "als-1/twin", "nmf-2/model", "popular-20260131T120000123/model"], {"als-1": 5, "nmf-2": 5},
    ...          {"nmf-2"}, set(), 1769860800124)
    ['als-1', 'popular-20260131T120000123']
    """
    versions = sorted({name.partition("/")[0] for name in artifacts} - set(kept))
    ages = {version: made.get(version, time_of(version)) for version in versions if version.rpartition("-")[2] not in busy}
    return [version for version, age in ages.items() if age is not None and age < before]


def time_of(version: str) -> int | None:
    """When the run ended whose time a version carries; None: the name carries none.

    >>> time_of("popular-20260131T120000123"), time_of("mine")
    (1769860800123, None)
    """
    text = version.rpartition("-")[2]
    try:
        when = datetime.strptime(text[:15], "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
        return int(when.timestamp()) * 1000 + int(text[15:])
    except ValueError:
        return None
