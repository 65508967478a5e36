"""The live version: one pointer in the online store, and the models that it names.

The pointer is the truth; the cards' states follow it and are repaired from it. A reader compares the pointer's bytes with
those it loaded and loads anew when they differ: it serves the old version or the new, never a mixture.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from tastemaker.errors import Conflict, NotFound, did_you_mean
from tastemaker.models import Recommender
from tastemaker.models.artifact import load_model
from tastemaker.storage import Storage, keys
from tastemaker.storage.artifacts import Artifacts
from tastemaker.storage.kv import KeyValue


class Live(Struct, frozen=True):
    """The pointer's content."""

    version: str
    kind: str
    artifact: str  # folder in the model store
    made: int  # when the model was trained
    since: int  # when it went live
    fallback: str  # artifact of the popular model
    previous: str | None = None  # version to roll back to


@dataclass(frozen=True)
class Bundle:
    """The live models, loaded."""

    pointer: bytes | None = None
    live: Live | None = None
    model: Recommender | None = None
    fallback: Recommender | None = None

    @property
    def version(self) -> str:
        return self.live.version if self.live else ""


_decode = msgspec.json.Decoder(Live).decode


def read(kv: KeyValue) -> Live | None:
    """What is live, if anything is."""
    pointer = kv.get([keys.LIVE])[0]
    return _decode(pointer) if pointer is not None else None


def load(models: Artifacts, pointer: bytes | None) -> Bundle:
    """The models that a pointer names, from the model store."""
    if pointer is None:
        return Bundle()
    live = _decode(pointer)
    model = load_model(models.folder(live.artifact))
    fallback = model if live.fallback == live.artifact else load_model(models.folder(live.fallback))
    return Bundle(pointer, live, model, fallback)


def promote(storage: Storage, version: str, now: int, fallback: str | None = None) -> Live:
    """Makes a version live. ``fallback`` is the artifact of the popular model; None keeps the one in use, or takes the newest."""
    cards = storage.tables.models
    card = cards.get(version)
    if card is None:
        raise NotFound(f"model version {version!r}: no such version; {did_you_mean(version, [c.version for c in cards.all()])}")
    before = read(storage.kv)
    if before is not None and before.version == version and fallback in (None, before.fallback):
        settle(storage, before)
        return before
    if not storage.models.has(card.artifact):
        raise Conflict(
            f"model version {version!r}: its artifact {card.artifact!r} is gone; train again or choose another version"
        )
    previous = before.version if before and before.version != version else (before.previous if before else None)
    standby = fallback or (before.fallback if before else newest_popular(storage) or card.artifact)
    live = Live(version, card.kind, card.artifact, card.made, now, standby, previous)
    storage.kv.put({keys.LIVE: msgspec.json.encode(live)})
    settle(storage, live)
    return live


def newest_popular(storage: Storage) -> str | None:
    """The artifact of the newest popular model: what strangers get when the first version ever is promoted by hand."""
    there = (card.artifact for card in storage.tables.models.all(kind="popular"))
    return next((artifact for artifact in there if storage.models.has(artifact)), None)


def settle(storage: Storage, live: Live) -> None:
    """Brings the cards' states in line with the pointer."""
    cards = storage.tables.models
    for old in cards.all(state="live"):
        if old.version != live.version:
            cards.put(replace(old, state="retired"))
    card = cards.get(live.version)
    if card is not None and card.state != "live":
        cards.put(replace(card, state="live"))


def restore(storage: Storage, now: int) -> Live | None:
    """Points at the version whose card is live, where the pointer was lost with its store."""
    found = read(storage.kv)
    if found is not None:
        return found
    whole = (card for card in storage.tables.models.all(state="live") if storage.models.has(card.artifact))
    card = next(whole, None)
    return promote(storage, card.version, now) if card is not None else None


def kept(storage: Storage, now: Live, keep: int) -> set[str]:
    """Versions that one may still want to go back to: the live one, the one before, and the newest retired, ``keep`` in all."""
    named = {now.version} | ({now.previous} if now.previous is not None else set())
    retired = [card.version for card in storage.tables.models.all(state="retired") if card.version not in named]
    return named | set(retired[: max(0, keep - len(named))])


def rollback(storage: Storage, now: int) -> Live:
    """Makes the version before the live one live again."""
    live = read(storage.kv)
    if live is None:
        raise NotFound("nothing is live, so there is nothing to roll back; run `tastemaker run daily` first")
    if live.previous is None:
        raise Conflict(f"{live.version} is the first version that went live: there is none before it")
    return promote(storage, live.previous, now)
