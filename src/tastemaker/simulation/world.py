"""The world: who lives there, what they like at this moment, and what they do with a list.

A user likes genres, and an item is of one, both a little off its centre; so the appeal of an item to a user is a product of two
vectors. To it come the item's own attraction, its novelty, a weariness of genres that were had lately, and what the user is in
the mood for. ``truth`` tells the chance of a click, which no recommender ever learns.

Time passes by ``step``, which says who comes. ``respond`` says what they do with a list, and changes nothing; ``commit`` makes
it happen. So a list may be tried out before it is shown, and two worlds that begin alike meet the same luck (``noise.py``).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tastemaker.simulation.examination import looked_at
from tastemaker.simulation.noise import exponential, normal, uniform
from tastemaker.simulation.people import People
from tastemaker.simulation.settings import WorldSettings
from tastemaker.simulation.things import Things

Doubles = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
SAMPLE = 4000  # pairs whose spread sets the scale of appeal


@dataclass(frozen=True)
class Visits:
    """Who comes, in the order of time: (visits,) users, days, and whether they find their way without the server."""

    users: Ints
    days: Doubles
    organic: Bools

    def part(self, chosen: Bools) -> Visits:
        return Visits(self.users[chosen], self.days[chosen], self.organic[chosen])


@dataclass(frozen=True)
class Responses:
    """(visits, places) what was seen, what was clicked, and how much of it was consumed: 0 where it was not clicked."""

    seen: Bools
    clicked: Bools
    watched: Doubles

    def part(self, chosen: Bools) -> Responses:
        return Responses(self.seen[chosen], self.clicked[chosen], self.watched[chosen])


class World:
    """See above. ``seed`` decides everything that happens."""

    def __init__(self, settings: WorldSettings | None = None, seed: int = 0) -> None:
        self.settings, self.seed, self.day = settings or WorldSettings(), seed, 0.0
        of = self.settings
        self.centres = normal(seed, "centres", np.arange(of.genres)[:, None], np.arange(of.dimensions)) / np.sqrt(of.dimensions)
        self.people = People.of(of, seed, self.centres, of.users)
        self.things = Things.of(of, seed, self.centres, of.items)
        pairs = np.arange(SAMPLE)
        dots = (self.people.tastes[pairs % of.users] * self.things.vectors[(pairs * 7919) % of.items]).sum(1)
        self.middle, self.scale = float(dots.mean()), float(dots.std()) or 1.0
        self.consumed = np.zeros((len(self.people), len(self.things)), np.bool_)

    # ── the truth ───────────────────────────────────────────────────────────────────────────────────────────────────

    def affinity(self, users: Ints, items: Ints) -> Doubles:
        """(users, items) before chance: logits of a click on what is seen. ``items``: (users, items), or one row for all."""
        of, people, things = self.settings, self.people, self.things
        mood = people.tastes[users] + of.intent * self.centres[people.intents[users]]
        if items.ndim == 1:  # one row for all: products of whole matrices
            dots = mood @ things.vectors[items].T
            weary = people.weariness[users][:, things.genres[items]]
        else:
            dots = np.einsum("ud,uid->ui", mood, things.vectors[items])
            weary = np.take_along_axis(people.weariness[users], things.genres[items], 1)
        novelty = of.fresh * np.exp(-np.maximum(self.day - things.born[items], 0.0) / of.faded)
        again = of.repeated * self.consumed[users[:, None], items]
        appeal = of.appeal * (dots - self.middle) / self.scale
        return np.asarray(of.base + appeal + things.quality[items] + novelty - of.satiation * weary - again)

    def truth(self, users: npt.ArrayLike, items: npt.ArrayLike) -> Doubles:
        """(users, items) the chance of a click on each, if it is seen, and once chance has been averaged over nothing."""
        rows, columns = np.atleast_1d(np.asarray(users, np.int64)), np.atleast_2d(np.asarray(items, np.int64))
        return logistic(self.affinity(rows, columns) + self.settings.bait * self.things.bait[columns])

    def enjoyment(self, users: npt.ArrayLike, items: npt.ArrayLike) -> Doubles:
        """(users, items) how much they would like it: what a click on bait does not tell."""
        rows, columns = np.atleast_1d(np.asarray(users, np.int64)), np.atleast_2d(np.asarray(items, np.int64))
        return logistic(self.affinity(rows, columns) - self.settings.regret * self.things.bait[columns])

    # ── time ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def step(self, days: float) -> Visits:
        """Lets time pass; who comes meanwhile, each user once at most."""
        end = self.day + days
        self.things.grow(self.settings, self.seed, self.centres, self.day, end)
        self.people.grow(self.settings, self.seed, self.centres, self.day, end)
        self._make_room()
        self.day = end
        users = np.flatnonzero(self.people.alive & (self.people.next < end))
        users = users[np.argsort(self.people.next[users], kind="stable")]
        moments = self.people.next[users]
        self.people.arrive(self.settings, self.seed, users, moments)
        organic = uniform(self.seed, "organic", users, self.people.visits[users]) < self.settings.organic
        return Visits(users, moments, organic)

    def _make_room(self) -> None:
        users, items = len(self.people), len(self.things)
        if self.consumed.shape != (users, items):
            larger = np.zeros((users, items), np.bool_)
            larger[: self.consumed.shape[0], : self.consumed.shape[1]] = self.consumed
            self.consumed = larger

    # ── what they do ────────────────────────────────────────────────────────────────────────────────────────────────

    def respond(self, users: npt.ArrayLike, lists: npt.ArrayLike) -> Responses:
        """What users do with (users, places) items; -1 is an empty place. Changes nothing."""
        rows, items = np.asarray(users, np.int64), np.asarray(lists, np.int64)
        there, shown = items >= 0, np.maximum(items, 0)
        visits = self.people.visits[rows][:, None]
        places = np.arange(items.shape[1])
        mood = self.settings.noise * normal(self.seed, "mood", rows[:, None], visits, shown)
        logits = self.affinity(rows, shown) + mood
        bait = self.things.bait[shown]
        liked = logistic(logits - self.settings.regret * bait)
        chances = np.where(there, logistic(logits + self.settings.bait * bait), 0.0)
        watched = logistic(2 * (liked - 0.35) + 0.3 + 0.8 * normal(self.seed, "watched", rows[:, None], visits, shown))
        luck = np.stack([uniform(self.seed, word, rows[:, None], visits, places[None]) for word in ("see", "click", "leave")])
        seen, clicked = looked_at(self.settings.looking, chances, watched, luck)
        seen, clicked = seen & there, clicked & there
        return Responses(seen, clicked, np.where(clicked, watched, 0.0))

    def wander(self, users: npt.ArrayLike) -> Ints:
        """(users,) what each takes that does not ask the server: by attraction and by taste, among all that is there."""
        rows = np.asarray(users, np.int64)
        of, there = self.settings, np.flatnonzero(self.things.active)
        pull = of.popular * self.things.quality[there] + of.personal * (self.affinity(rows, there) - of.base)
        chance = -np.log(exponential(self.seed, "wander", rows[:, None], self.people.visits[rows][:, None], there[None]))
        return np.asarray(there[(pull + chance).argmax(1)], np.int64)

    def commit(self, users: npt.ArrayLike, lists: npt.ArrayLike, responses: Responses) -> None:
        """Makes it happen: they have had what they consumed, are weary of it, and come back sooner or later for it."""
        rows, items = np.asarray(users, np.int64), np.asarray(lists, np.int64)
        visit, place = np.nonzero(responses.clicked)
        who, what, how = rows[visit], items[visit, place], responses.watched[visit, place]
        self.consumed[who, what] = True
        self.people.sate(who, self.things.genres[what], 0.25 * how)
        self.people.leave(self.settings, self.seed, rows, responses.watched.sum(1))

    def snapshot(self) -> World:
        """A copy that goes its own way."""
        return copy.deepcopy(self)


def logistic(x: npt.ArrayLike) -> Doubles:
    return np.asarray(1.0 / (1.0 + np.exp(-np.asarray(x, np.float64))))
