"""The function of the nearline plane: records in, states and slates out.

It groups records by user, drops those that the state has seen, folds the rest into the state, composes a new slate under
the live version and writes everything in one atomic put. Its clock is the events' own time, so that the same records give
the same bytes in whatever engine and in however many batches they arrive.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tastemaker.config import Config
from tastemaker.domain import Erase, Interaction, Record, Slate, UserChange, UserState
from tastemaker.features import states
from tastemaker.features.fold import advance_all
from tastemaker.slates.compose import compose
from tastemaker.slates.sources import Shelf, Taste, Wish
from tastemaker.slates.stored import store
from tastemaker.storage import keys
from tastemaker.storage.kv import KeyValue


@dataclass(frozen=True)
class Applied:
    """What an update did."""

    users: int = 0
    records: int = 0  # that were new to their states
    slates: int = 0


def update(
    records: Sequence[Record],
    kv: KeyValue,
    config: Config,
    shelf: Shelf,
    version: str = "",
    *,
    refresh: bool = True,
    guard: Callable[[], None] = lambda: None,
) -> Applied:
    """Applies records to the online store; those applied before change nothing.

    ``shelf`` and ``version`` are the live ones. Without ``refresh`` (catching up) no slates are made: the next request
    composes for itself, since it finds a state newer than the slate. ``guard`` is called right before anything is written,
    and raises where that is not ours to do any more.
    """
    by_user = group(records)
    users = list(by_user)
    found = kv.get([keys.state(user) for user in users])
    writes: dict[str, bytes] = {}
    gone: list[str] = []
    applied = slates = 0
    for user, packed in zip(users, found, strict=True):
        before = states.unpack(packed) if packed is not None else None
        fresh = unseen(by_user[user], before.offset if before is not None else -1)
        if not fresh:
            continue
        applied += len(fresh)
        erased = max((position for position, record in enumerate(fresh) if isinstance(record.event, Erase)), default=-1)
        if erased >= 0:
            gone += [keys.state(user), keys.mark(user), keys.slate(version, user), keys.whole(version, user)]
            before, fresh = None, fresh[erased + 1 :]
            if not fresh:
                continue
        after = advance_all(before or UserState(user, fresh[0].partition), fresh, config.rewards, shelf.catalogue.by_item)
        if refresh and version:
            writes[keys.slate(version, user)], writes[keys.whole(version, user)] = fresh_slate(after, config, shelf, version)
            slates += 1
        writes[keys.state(user)], writes[keys.mark(user)] = states.pack(after), states.mark(after)
    guard()
    if gone:
        kv.delete(gone)
    if writes:
        kv.put(writes)
    return Applied(len(users), applied, slates)


def group(records: Sequence[Record]) -> dict[str, list[Record]]:
    """Records that change a state, by user, in order."""
    by_user: defaultdict[str, list[Record]] = defaultdict(list)
    for record in records:
        if isinstance(record.event, Interaction | UserChange | Erase):
            by_user[record.event.user].append(record)
    return by_user


def unseen(records: Sequence[Record], offset: int) -> list[Record]:
    """The records of one user behind an offset, each once also where a batch holds it twice."""
    found: list[Record] = []
    for record in records:
        if record.offset > offset:
            found.append(record)
            offset = record.offset
    return found


def fresh_slate(state: UserState, config: Config, shelf: Shelf, version: str) -> tuple[bytes, bytes]:
    """The slate of a state, ready to be stored: its front and the whole."""
    taste = Taste(state.history, state.preferences)
    made = compose(shelf, taste, Wish(config.publish.slate, exclude=frozenset(state.history.items)))
    slate = Slate(state.user, version, state.time, state.offset, made.items)
    return store(slate, made.rung, shelf.catalogue, config.serving.k, config.rewards.version)
