"""The platform as a policy of a simulated world: it is asked for lists, and told what people did with them.

What people do becomes what a shop would send: a view for each place that was looked at, an interaction with the decision, row
and position for each click, its value the share that was consumed, and the items that are born or taken out.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Struct

from tastemaker.cli.simulating.doors import Call, Door
from tastemaker.errors import Unavailable
from tastemaker.simulation.world import Responses, Visits, World

DAY = 86_400_000
KIND = "play"
BATCH = 500  # events of a request
Ints = npt.NDArray[np.int64]
Row = TypeVar("Row")
_encode = msgspec.json.encode


class Place(Struct):
    """An item of an answer."""

    item: str


class Answer(Struct):
    """What a simulation needs of an answer."""

    decision: str
    rung: str
    items: list[Place]


_decode = msgspec.json.Decoder(Answer).decode


def answer_of(body: bytes) -> Answer:
    """Raises ``Unavailable`` for what no platform answers."""
    try:
        return _decode(body)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise Unavailable(f"the server's answer is not one of recommendations ({error}): is it a tastemaker server?") from None


def user_of(number: int) -> str:
    return f"sim-{number}"


def item_of(number: int) -> str:
    return f"thing-{number}"


def number_of(item: str) -> int:
    """The number in the world of an item's id; -1 for an item that is not of it.

    >>> number_of(item_of(7)), number_of("Alien")
    (7, -1)
    """
    name, _, number = item.partition("-")
    return int(number) if name == "thing" and number.isdecimal() else -1


class Platform:
    """A policy. ``begin``: epoch ms of the world's day 0 while nobody is served; ``run`` keeps ids apart between runs.

    ``heard`` is called with each step's users, answers and responses; ``after`` when the events of a step were sent.
    """

    def __init__(self, door: Door, begin: int, run: str = "", after: Callable[[], None] = lambda: None) -> None:
        self.door, self.begin, self.run, self.after = door, begin, run, after
        self.served_from = math.inf  # day of the world from which on events are dated by the clock
        self.heard: list[Callable[[Visits, Sequence[Answer], Responses], None]] = []
        self.known = np.zeros(0, np.bool_)  # items as the platform knows them: active or not
        self.asked: list[Answer] | None = None
        self.sent = 0

    def lists(self, world: World, visits: Visits, k: int) -> Ints:
        """(visits, k) items as the server orders them; -1 where it gave none, or one that is not of the world."""
        calls = [Call("GET", f"/v1/users/{user_of(user)}/recommendations?k={k}") for user in visits.users.tolist()]
        self.asked = [answer_of(body) for body in self.door.all(calls)]
        made = np.full((len(calls), k), -1, np.int64)
        for row, answer in enumerate(self.asked):
            numbers = [number_of(place.item) for place in answer.items[:k]]
            made[row, : len(numbers)] = [number if number < len(world.things) else -1 for number in numbers]
        return made

    def learn(self, world: World, visits: Visits, lists: Ints, responses: Responses) -> None:
        """Sends what happened."""
        self.tell_items(world)
        asked, self.asked = self.asked, None
        events = list(self.events(visits, lists, responses, asked))
        self.send(events)
        if asked is not None:
            for hear in self.heard:
                hear(visits, asked, responses)
        if events or asked:
            self.after()

    def events(
        self, visits: Visits, lists: Ints, responses: Responses, asked: Sequence[Answer] | None
    ) -> Iterator[dict[str, Any]]:
        """One after another, in the order of the visits. Who is served late, in the first hour, is served now."""
        now = self.served_from if math.isfinite(self.served_from) else 0.0
        for row, user in enumerate(visits.users.tolist()):
            moment, who = self.time(max(float(visits.days[row]), now)), user_of(user)
            for place in np.flatnonzero(responses.seen[row] & (lists[row] >= 0)).tolist():
                event = {"user": who, "item": item_of(int(lists[row, place])), "time": moment}
                if asked is not None:
                    event |= {"decision": asked[row].decision, "position": place, "row": 0}
                    yield {**event, "type": "view", "id": self.id()}
                if responses.clicked[row, place]:
                    value = float(responses.watched[row, place])
                    yield {**event, "type": "interaction", "kind": KIND, "value": value, "id": self.id()}

    def id(self) -> str:
        self.sent += 1
        return f"simulated-{self.run}-{self.sent}"

    def time(self, day: float) -> int:
        """Epoch ms of a day of the world."""
        return int(time.time() * 1000) if day >= self.served_from else int(self.begin + day * DAY)

    def send(self, events: Sequence[dict[str, Any]]) -> None:
        """In batches, one after another: the order of a user's events is that in which they happened."""
        for batch in parted(events):
            self.door.all([Call("POST", "/v1/events", _encode(batch))])

    def tell_items(self, world: World) -> None:
        """Births and retirements since it was last told."""
        active = world.things.active
        before = np.pad(self.known, (0, len(active) - len(self.known)))
        new = np.arange(len(active)) >= len(self.known)
        changed = np.flatnonzero((new & active) | (~new & (active != before)))
        self.known = active.copy()
        for batch in parted(changed.tolist()):
            self.door.all([Call("POST", "/v1/items", _encode([self.item(world, number) for number in batch]))])

    def item(self, world: World, number: int) -> dict[str, Any]:
        """As a shop would describe it: the genre is no secret, the attraction is."""
        things = world.things
        return {
            "item": item_of(number),
            "title": f"Thing {number}",
            "categories": [f"genre-{things.genres[number]}"],
            "active": bool(things.active[number]),
            "released": max(0, self.time(float(things.born[number]))),
            "fields": {"minutes": round(float(things.minutes[number]), 1)},
        }


def parted(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    """Rows in pieces that fit into a request."""
    for start in range(0, len(rows), BATCH):
        yield rows[start : start + BATCH]
