"""Which arms a request is in, and what they mean for its answer: the model, the rules, and whether chance has a say.

Who is in which arm is a function of two hashes (``experiments/assignment.py``), so nothing is read for it, except the user's
segment where an experiment is about segments. What a combination of arms means is worked out once and kept for as long as
the state of the world is the same. Where nothing runs and nothing is drawn, a request does not even ask.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import NamedTuple

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from tastemaker.config import Slates, with_settings
from tastemaker.domain import Arm, Assignment, Experiment
from tastemaker.errors import InputError
from tastemaker.experiments.assignment import Assigner, Someone
from tastemaker.models import IMPERSONAL, Recommender
from tastemaker.slates.sources import Shelf

SEEDS = 2**63  # there are so many, from 0
MOST = 4096  # combinations of arms that are remembered
OWN = frozenset({"personal", "segment"})
"""Rungs of answers that are made for one user."""
_pack = msgspec.msgpack.Encoder().encode


@dataclass(frozen=True)
class Way:
    """How a slate is made: by which models, and by which rules (``shelf.rules``)."""

    version: str = ""
    shelf: Shelf = field(default_factory=Shelf)

    @property
    def of_strangers(self) -> tuple[str, int]:
        """What the answers to people of whom nothing is known depend on: ways that agree in it give them the same."""
        model = self.shelf.model
        return self.version if model is not None and model.kind in IMPERSONAL else "", self.shelf.rules.cap


@dataclass(frozen=True)
class Plan:
    """What all who are in the same arms get. ``other`` is the second ranking where two are interleaved."""

    way: Way
    other: Way | None = None
    arms: dict[str, str] = field(default_factory=dict)
    packed: bytes = b""  # the arms as a field of the decision
    own: bool = False  # stored slates are made in another way
    lame: frozenset[str] = frozenset()  # experiments of which an arm, this one or another, cannot be served now
    strangers: frozenset[str] = frozenset()  # experiments whose arms differ for people of whom nothing is known, too
    sticky: frozenset[str] = frozenset()  # experiments that keep whoever has met them

    def exposes(self, experiment: str, known: bool) -> bool:
        """Whether an answer shows a unit what an experiment is about. It depends on the unit alone, and never on its arm:

        if a model's misses, or a deadline that only one arm can pass, kept units out of one arm, the others would be compared
        with a selection. While one arm cannot be served, nobody is exposed in any.
        """
        return experiment not in self.lame and (known or experiment in self.strangers)


class Placed(NamedTuple):
    """A request among the experiments. ``drawn``: its slate is drawn by chance."""

    plan: Plan
    assignments: tuple[Assignment, ...] = ()
    seed: int = 0
    drawn: bool = False

    @property
    def sticky(self) -> dict[str, bytes]:
        """What is kept of a unit that has met its arms: experiment -> version and arm, of those drawn just now."""
        asked = (found for found in self.assignments if found.reason == "hashed" and found.experiment in self.plan.sticky)
        return {found.experiment: f"{found.version}:{found.arm}".encode() for found in asked}

    @property
    def stored(self) -> bool:
        """Whether the stored slate is an answer to it."""
        return not self.drawn and not self.plan.own


class Segment(Struct, frozen=True):
    """A user's state, but for all else."""

    segment: str = ""


segment_of = msgspec.msgpack.Decoder(Segment).decode


class Arms:
    """Everything that runs at one moment. ``way`` is everybody's; ``models`` are those of arms that could be loaded."""

    def __init__(self, assigner: Assigner, way: Way, models: Mapping[str, Recommender]) -> None:
        self.assigner, self.way, self.models = assigner, way, models
        self.experiments: dict[str, Experiment] = {draw.experiment.name: draw.experiment for draw in assigner.draws}
        self.targeted = any(experiment.segments for experiment in self.experiments.values())
        self.sticky = tuple(experiment for experiment in self.experiments.values() if experiment.sticky)
        self.ways = {(name, arm.name): self._try(arm) for name, found in self.experiments.items() for arm in found.arms}
        self.nobody = Placed(Plan(way))  # who is in no arm
        self.broken_in = frozenset(name for (name, _), why in self.ways.items() if why)
        self.strangers = frozenset(name for name, found in self.experiments.items() if self._differ_for_strangers(found))
        self._plans: dict[tuple[tuple[str, str], ...], Plan] = {(): self.nobody.plan}

    @property
    def broken(self) -> dict[str, str]:
        """Arms that cannot be served, and why. Those who are in them get what everybody gets."""
        return {f"experiment {name}, arm {arm}": why for (name, arm), why in self.ways.items() if why}

    def __bool__(self) -> bool:
        """Whether a request has to ask."""
        return bool(self.assigner) or self.way.shelf.rules.explore > 0

    @property
    def reads(self) -> bool:
        """Whether something has to be read of a unit before its arms are known."""
        return self.targeted or bool(self.sticky)

    def place(self, unit: str | None, surface: str, segment: str, seed: int, kept: Mapping[str, str] | None = None) -> Placed:
        """A request of a unit; None: of somebody who cannot be told from others, and takes part in nothing.

        ``kept``: the arms that it has met, of sticky experiments.
        """
        found: tuple[Assignment, ...] = ()
        if unit is not None and self.experiments:
            found = self.assigner.arms(Someone(unit, surface, segment), kept)
        plan = self.plan(found)
        return Placed(plan, found, seed, plan.other is None and explores(seed, plan.way.shelf.rules))

    def kept(self, values: Sequence[bytes | None]) -> dict[str, str]:
        """Arms that a unit has met, from the values of ``keys.arm`` in the order of ``sticky``; void in other versions."""
        found = {}
        for experiment, value in zip(self.sticky, values, strict=True):
            version, _, arm = (value or b"").decode().partition(":")
            if version == str(experiment.version):
                found[experiment.name] = arm
        return found

    def plan(self, assignments: Sequence[Assignment]) -> Plan:
        """What these arms mean together; worked out once."""
        key = tuple((found.experiment, found.arm) for found in assignments)
        plan = self._plans.get(key)
        if plan is None:
            if len(self._plans) >= MOST:
                self._plans.clear()
            plan = self._plans[key] = self._planned(dict(key))
        return plan

    def _planned(self, arms: dict[str, str]) -> Plan:
        way, pair = self.way, None
        for name, chosen in arms.items():
            experiment = self.experiments[name]
            if experiment.kind == "interleaving":
                pair = pair if name in self.broken_in else experiment  # half a pair is none
            elif not self.ways[name, chosen]:
                way = self._with(way, next(arm for arm in experiment.arms if arm.name == chosen))
        way, other = (way, None) if pair is None else (self._with(way, pair.arms[0]), self._with(way, pair.arms[1]))
        packed = b"\xa4arms" + _pack(arms) if arms else b""
        own = other is not None or way.version != self.way.version or greedy(way.shelf.rules) != greedy(self.way.shelf.rules)
        lame = self.broken_in & arms.keys()
        sticky = frozenset(name for name in arms if self.experiments[name].sticky and name not in lame)
        return Plan(way, other, arms, packed, own, lame, self.strangers & arms.keys(), sticky)

    def _differ_for_strangers(self, experiment: Experiment) -> bool:
        arms = (arm for arm in experiment.arms if not self.ways[experiment.name, arm.name])
        return len({self._with(self.way, arm).of_strangers for arm in arms}) > 1

    def _with(self, way: Way, arm: Arm) -> Way:
        """A way, changed by an arm. Raises ``LookupError`` where the arm's model is not loaded, and what settings raise."""
        version, shelf = way.version, way.shelf
        if arm.version and arm.version != version:
            version, shelf = arm.version, dataclasses.replace(shelf, model=self.models[arm.version])
        if arm.settings:
            shelf = dataclasses.replace(shelf, rules=with_settings(shelf.rules, arm.settings))
        return Way(version, shelf)

    def _try(self, arm: Arm) -> str:
        """Why an arm cannot be served; empty: it can."""
        try:
            self._with(self.way, arm)
        except LookupError:
            return f"model {arm.version!r} is not loaded"
        except InputError as error:  # written by another version of the program
            return str(error)
        return ""


def greedy(rules: Slates) -> Slates:
    """What the rules say of slates that are not drawn: stored ones are made by that."""
    usual = Slates()
    return replace(
        rules, explore=usual.explore, temperature=usual.temperature, temperatures={}, fresh=usual.fresh,
        fresh_days=usual.fresh_days,
    )  # fmt: skip


def explores(seed: int, rules: Slates) -> bool:
    """Whether the slate of the request with this seed is drawn: so often as the rules say."""
    return seed < rules.explore * SEEDS


def seed_of(prefix: bytes, user: str, began: float) -> int:
    """The seed of all chance in one request, from 0 to 2^63 - 1: a function of the process, the user and the moment.

    The quick way and the careful way of one request get the same, so that each request throws one coin only.
    """
    digest = blake2b(b"%b:%b:%r" % (prefix, user.encode("utf-8", "surrogatepass"), began), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
