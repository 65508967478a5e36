"""Every key of the online store, in one place.

live                          the live version's name and artifact, the one pointer that publishing flips
state:{user}                  the user's state, see ``features/states.py``
mark:{user}                   the last offset that the state includes, eight bytes: what most requests need of it
slate:{version}:{user}        the front of a stored slate, ready to be sent, see ``slates/stored.py``
whole:{version}:{user}        all of its items
items:{partition}:{feature}   item counters of one partition of the log, merged on a timer
store                         the name of this store, made with it: a new store is another consumer of the log
writer:{partition}            the mark of the task of Spark that may write what a partition of the log makes
hold                          workers wait while this is there, see ``storage/kv/hold.py``
trending                      the merged counters' best items
epoch                         in a store behind a cache: which of the cache's entries count, see ``storage/kv/epoch.py``
experiments                   the experiments that run, see ``registry/experiments.py``
arm:{experiment}:{user}       the arm that a unit has met, where an experiment is sticky
catalog                       stamp of the last change of an item: readers reload the catalogue when it moves
"""

from __future__ import annotations

LIVE = "live"
STORE = "store"
HOLD = "hold"
TRENDING = "trending"
CATALOG = "catalog"
EXPERIMENTS = "experiments"
EPOCH = "epoch"


def state(user: str) -> str:
    return f"state:{user}"


def slate(version: str, user: str) -> str:
    return f"slate:{version}:{user}"


def mark(user: str) -> str:
    return f"mark:{user}"


def whole(version: str, user: str) -> str:
    return f"whole:{version}:{user}"


def slates(version: str) -> tuple[str, str]:
    """The prefixes of what a version's slates are."""
    return f"slate:{version}:", f"whole:{version}:"


def writer(partition: int) -> str:
    return f"writer:{partition}"


def arm(experiment: str, user: str) -> str:
    return f"arm:{experiment}:{user}"


def counters(partition: int, feature: str) -> str:
    return f"items:{partition}:{feature}"
