"""Every key of the online store, in one place.

live                          the live version's name and artifact, the one pointer that publishing flips
state:{user}                  the user's state (``domain.UserState``), written last
slate:{version}:{user}        a stored slate, see ``slates/stored.py``
items:{partition}:{feature}   item counters of one partition of the log, merged on a timer
trending                      the merged counters' best items
catalog                       stamp of the last change of an item: readers reload the catalogue when it moves
"""

from __future__ import annotations

LIVE = "live"
TRENDING = "trending"
CATALOG = "catalog"


def state(user: str) -> str:
    return f"state:{user}"


def slate(version: str, user: str) -> str:
    return f"slate:{version}:{user}"


def slates(version: str) -> str:
    """The prefix of a version's slates."""
    return f"slate:{version}:"


def counters(partition: int, feature: str) -> str:
    return f"items:{partition}:{feature}"
