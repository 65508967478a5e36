"""The right to be forgotten: removes a user from every store, and says what was removed where.

The log comes first, for all else can be built again from it. Each step may be repeated: what is gone counts 0 the next time.
The order to erase itself (``domain.Erase``) stays in log and lake, so that nothing that is behind brings the user back.
An archive under way may hold a batch that it read before: when one runs at the same time, erase again after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from tastemaker.storage import keys

if TYPE_CHECKING:
    from tastemaker.storage import Storage

COLUMNS = {
    "interactions": "user",
    "views": "user",
    "decisions": "user",
    "exposures": "unit",
    "users": "user",
    "user_features": "user",
    "evaluations": "user",
}


def erase(storage: Storage, user: str, versions: Sequence[str]) -> dict[str, int]:
    """Removes a user and returns place -> count: events, rows, keys.

    ``versions`` are the model versions that may hold slates of the user. Files of old table versions are removed as well,
    so that reading a lake table at an older version fails where the user was in it.
    """
    manifest = {"log": storage.log.erase(user)}
    for name, column in COLUMNS.items():
        rows = storage.lake.delete(name, column, user)
        storage.lake.vacuum(name, 0)  # also when there was nothing: an earlier attempt may have ended right here
        manifest[f"lake.{name}"] = rows
    states = [keys.state(user), keys.mark(user)]
    slates = [key(version, user) for version in versions for key in (keys.slate, keys.whole)]
    arms = [keys.arm(one.name, user) for one in storage.tables.experiments.all()]
    for place, names in (("kv.state", states), ("kv.slate", slates), ("kv.arm", arms)):
        manifest[place] = sum(value is not None for value in storage.kv.get(names))
        storage.kv.delete(names)
    manifest["tables.experiments"] = unforced(storage, user)
    manifest["tables.users"] = storage.tables.users.delete(user)
    manifest["tables.dead_letters"] = storage.tables.dead_letters.erase(user)
    return manifest


def unforced(storage: Storage, user: str) -> int:
    """Takes a user out of the experiments that name him as one to be put into an arm. Servers are told."""
    count = storage.tables.experiments.erase(user)
    if count:
        storage.kv.put({keys.EXPERIMENTS: msgspec.json.encode(storage.tables.experiments.all(state="running"))})
    return count
