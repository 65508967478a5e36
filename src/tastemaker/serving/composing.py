"""An answer composed from a history: in the way of the request's arms, drawn by chance where it is its turn, or of two rankings.

Interleaved answers are two slates, each made in its own way, merged by team draft. Rules about whole slates hold within each of
the two; a user who is shown items of both may so see more of a category than a cap says.
"""

from __future__ import annotations

import time

import numpy as np
from msgspec import Struct

from tastemaker.domain import Decision, Scored
from tastemaker.experiments.interleaving import Drafted, team_draft
from tastemaker.serving.arms import OWN, Placed, Way
from tastemaker.slates.compose import Composed, compose
from tastemaker.slates.decided import drafted_slots, opening_of, sealed
from tastemaker.slates.sources import Taste, Wish
from tastemaker.slates.stored import body_of, tail_of

MERGED = "interleave/1"


class Answer(Struct, frozen=True, gc=False):
    """An answer before it has its decision id: the finished items and what is logged of them, both as bytes."""

    rung: str
    made: int
    opening: bytes  # of the decision
    tail: bytes  # of the JSON
    known: bool = False  # something was known of the one who asked


class Request(Struct, frozen=True, gc=False):
    """What is composed for: the user's id, the last event behind the taste, the version of the rewards."""

    user: str
    offset: int
    reward: str


def composed(placed: Placed, request: Request, taste: Taste, wish: Wish) -> Answer:
    """An answer in the way of the request's arms."""
    if placed.plan.other is not None:
        return interleaved(placed, placed.plan.other, request, taste, wish)
    way = placed.plan.way
    made = compose(way.shelf, taste, wish, placed.seed if placed.drawn else None)
    opening = opening_of(
        request.user, way.version, made.rung, request.offset, request.reward, made.items, len(made.items), made.drawn
    )
    return answer_of(placed, request, made, opening)


def answer_of(placed: Placed, request: Request, made: Composed, opening: bytes) -> Answer:
    way = placed.plan.way
    body = body_of(made.items, way.shelf.catalogue)
    tail = tail_of(request.user, way.version, made.rung, made.note, body)
    return Answer(made.rung, int(time.time() * 1000), opening, tail)


def interleaved(placed: Placed, other: Way, request: Request, taste: Taste, wish: Wish) -> Answer:
    """Two slates merged, with what brought each item in the decision. The rung is the higher one of both."""
    ways = (placed.plan.way, other)
    slates = [compose(way.shelf, taste, wish) for way in ways]
    merged = merge(slates[0], slates[1], wish.k, placed.seed)
    made = Composed(*merged[:3])
    versions = tuple(dict.fromkeys(way.version for way in ways if way.version))
    decision = Decision(
        "", 0, request.user, feature_snapshot=f"{request.offset}", policy=MERGED, models=versions, reward=request.reward,
        seed=placed.seed, rung=made.rung, eligible=len({s.item for slate in slates for s in slate.items}),
        slots=drafted_slots(made.items, merged[3]),
    )  # fmt: skip
    return answer_of(placed, request, made, sealed(decision))


def merge(a: Composed, b: Composed, k: int, seed: int) -> tuple[tuple[Scored, ...], str, str, Drafted[str]]:
    """The merged items, their rung, what is to be noted, and the draft."""
    offers = tuple({offer.item: offer for offer in slate.items} for slate in (a, b))
    draft = team_draft(tuple(offers[0]), tuple(offers[1]), k, np.random.default_rng(seed))
    items = tuple(offers[team][item] for item, team in zip(draft.items, draft.teams, strict=True))
    rung = a.rung if a.rung in OWN or b.rung not in OWN else b.rung
    return items, rung, (a.note or b.note) if len(items) < k else "", draft
