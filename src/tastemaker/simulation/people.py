"""The users of a world: what each likes, when each comes next, and who stays away."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
from scipy import special

from tastemaker.simulation.noise import exponential, normal, uniform
from tastemaker.simulation.settings import WorldSettings

Doubles = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
BROAD = 0.25  # of the Dirichlet that tastes are drawn from: most people like two or three genres
OFF = 0.5  # how far a taste is off the centres of its genres
AGAIN = 0.55  # share of visits that go on with the session before
MINUTES = 12.0  # between visits of one session
EVENING = 0.83  # of a day: when most people come
LONG_AGO = 1000.0  # days: when somebody was here last who never was
CONTENT = 0.4  # engagement at which a rate is the user's own


@dataclass
class People:
    """One row a user."""

    shares: Doubles  # (users, genres) of each genre in the taste
    tastes: Doubles  # (users, dimensions)
    rates: Doubles  # visits a day that begin a session
    alive: Bools
    next: Doubles  # day of the next visit
    last: Doubles  # day of the last one
    visits: Ints  # so far
    intents: Ints  # genre of the session
    engaged: Doubles  # how much was consumed lately
    weariness: Doubles  # (users, genres) at the day of ``wearied``
    wearied: Doubles

    def __len__(self) -> int:
        return len(self.rates)

    @classmethod
    def of(cls, settings: WorldSettings, seed: int, centres: Doubles, count: int, first: int = 0, day: float = 0.0) -> People:
        """New ones, numbered from ``first``, who come for the first time within some days."""
        who, genres = np.arange(first, first + count), settings.genres
        drawn = special.gammaincinv(BROAD, uniform(seed, "shares", who[:, None], np.arange(genres)))
        shares = drawn / drawn.sum(1, keepdims=True)
        off = normal(seed, "tastes", who[:, None], np.arange(settings.dimensions)) / np.sqrt(settings.dimensions)
        rates = settings.sessions * np.exp(settings.spread * normal(seed, "rates", who))
        waits = exponential(seed, "first", who) / np.maximum(rates, 1e-9) if not first else uniform(seed, "first", who)
        zeros = np.zeros(count)
        made = cls(
            shares, shares @ centres + OFF * off, rates, np.ones(count, np.bool_), day + waits, np.full(count, day - LONG_AGO),
            np.zeros(count, np.int64), np.zeros(count, np.int64), zeros + CONTENT, np.zeros((count, genres)), zeros + day,
        )  # fmt: skip
        made.intents[:] = made.wanted(seed, who, np.arange(count))
        return made

    def wanted(self, seed: int, who: Ints, rows: Ints) -> Ints:
        """The genre that each is in the mood for: more often one that they like."""
        chance = -np.log(exponential(seed, "intent", who[:, None], self.visits[rows][:, None], np.arange(self.shares.shape[1])))
        return np.asarray((1.5 * np.log(self.shares[rows] + 1e-3) + chance).argmax(1), np.int64)

    def grow(self, settings: WorldSettings, seed: int, centres: Doubles, begin: float, end: float) -> None:
        """Newcomers of an interval."""
        count = arrivals(seed, "newcomers", settings.newcomers, begin, end)
        if count:
            others = People.of(settings, seed, centres, count, len(self), begin)
            for field in fields(self):
                setattr(self, field.name, np.concatenate([getattr(self, field.name), getattr(others, field.name)]))

    def arrive(self, settings: WorldSettings, seed: int, users: Ints, days: Doubles) -> None:
        """They come; after a long pause for something new."""
        rested = days - self.last[users] > settings.pause
        self.visits[users] += 1
        fresh = users[rested]
        self.intents[fresh] = self.wanted(seed, fresh, fresh)
        self.sate(users, np.zeros(len(users), np.int64), np.zeros(len(users)), days, settings.rested)
        self.last[users] = days
        self.next[users] = np.inf

    def sate(self, users: Ints, genres: Ints, how_much: Doubles, days: Doubles | None = None, rested: float = 1.0) -> None:
        """Adds weariness; with ``days``, what was there has faded until then."""
        if days is not None:
            self.weariness[users] *= np.exp(-(days - self.wearied[users]) / rested)[:, None]
            self.wearied[users] = days
        np.add.at(self.weariness, (users, genres), how_much)

    def leave(self, settings: WorldSettings, seed: int, users: Ints, consumed: Doubles) -> None:
        """They go; whether and when they come again depends on what they had."""
        self.engaged[users] = 0.8 * self.engaged[users] + 0.2 * np.minimum(consumed, 2.0)
        engaged, visits, last = self.engaged[users], self.visits[users], self.last[users]
        rates = self.rates[users] * np.exp(settings.pull * (engaged - CONTENT))
        gaps = exponential(seed, "gap", users, visits) / np.maximum(rates, 1e-9)
        evening = np.floor(last + gaps) + hour_of(uniform(seed, "hour", users, visits))
        long = np.where(gaps > 0.5, np.maximum(evening, last + 0.25), last + gaps)
        soon = last + exponential(seed, "soon", users, visits) * MINUTES / 1440
        again = uniform(seed, "again", users, visits) < AGAIN
        self.next[users] = np.where(again, soon, long)
        lost = settings.churn * np.exp(-engaged) * (self.next[users] - last)
        self.alive[users] &= uniform(seed, "churn", users, visits) >= 1 - np.exp(-lost)


def hour_of(luck: Doubles) -> Doubles:
    """Times of day in (0, 1), most in the evening: a logistic spread around it, wrapped."""
    return np.asarray((EVENING + 0.09 * np.log(luck / (1 - luck))) % 1.0)


def arrivals(seed: int, purpose: str, rate: float, begin: float, end: float) -> int:
    """How many come in an interval, by Poisson; every whole hour has its own luck."""
    if rate <= 0 or end <= begin:
        return 0
    mean = rate * (end - begin)
    counts = np.arange(int(mean + 12 * np.sqrt(mean) + 20))
    return int(np.searchsorted(special.pdtr(counts, mean), uniform(seed, purpose, round(begin * 86_400))))
