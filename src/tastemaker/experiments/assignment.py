"""Which arm a unit is in: a function of two hashes, so nothing is stored and every process says the same.

The first hash is the place of a unit in a layer. An experiment owns a slice of a layer: experiments of one layer whose slices do
not overlap have no unit in common, and layers are independent of each other, since each has a salt of its own (Tang et al.,
"Overlapping experiment infrastructure", KDD 2010). The second hash chooses the arm. Each arm owns a range that begins at a place
of its own and grows with the coverage, so that letting more units in moves nobody.

The hash is BLAKE2b with eight bytes over ``salt:unit`` in UTF-8, read as a big-endian number, its upper 53 bits over 2^53.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import accumulate, combinations

from tastemaker.domain import Arm, Assignment, Experiment
from tastemaker.errors import InputError, did_you_mean

HOLDOUT = "holdout"  # salt of those who take part in nothing
NEAR = 1e-9
BITS = 53
LONGEST = 256  # characters of an event's id


def bucket(salt: str, unit: str) -> float:
    """The place of a unit in [0, 1).

    >>> bucket("layer:default", "ann"), bucket("layer:default", "bob")
    (0.23934002556709033, 0.11658393622198437)
    """
    digest = blake2b(f"{salt}:{unit}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> (64 - BITS)) / (1 << BITS)


def exposure_id(experiment: str, version: int, unit: str) -> str:
    """The id of the event that a unit met an experiment: the same whoever logs it. Very long units stand by their hash.

    >>> exposure_id("cards", 2, "ann")
    'exposure-cards-2-ann'
    """
    name = f"exposure-{experiment}-{version}-{unit}"
    if len(name) <= LONGEST:
        return name
    return f"exposure-{experiment}-{version}-{blake2b(unit.encode(), digest_size=16).hexdigest()}"


@dataclass(frozen=True)
class Someone:
    """What is known of a unit in a request."""

    unit: str
    surface: str = ""
    segment: str = ""


@dataclass(frozen=True)
class Draw:
    """An experiment, ready to be asked."""

    experiment: Experiment
    layer: str  # salts
    arms: str
    starts: tuple[float, ...]  # where each arm's range begins
    ends: tuple[float, ...]

    @classmethod
    def of(cls, experiment: Experiment) -> Draw:
        weights = [arm.weight for arm in experiment.arms]
        starts = tuple(accumulate([0.0, *weights[:-1]]))
        ends = tuple(start + experiment.coverage * weight for start, weight in zip(starts, weights, strict=True))
        ends = (*ends[:-1], 1.0) if experiment.coverage == 1.0 else ends  # what rounding left belongs to somebody
        return cls(experiment, f"layer:{experiment.layer}", f"arms:{experiment.salt or experiment.name}", starts, ends)

    def ask(self, someone: Someone, kept: str | None = None) -> Assignment:
        """The arm of a unit; ``kept``: the one that it has met before, where the experiment is sticky."""
        experiment = self.experiment
        if (forced := experiment.forced.get(someone.unit)) is not None:
            return self.answer(forced, "forced")
        if experiment.state != "running":
            return self.answer("", "state")
        if experiment.sticky and kept is not None and kept in [arm.name for arm in experiment.arms]:
            return self.answer(kept, "sticky")
        if experiment.segments and someone.segment not in experiment.segments:
            return self.answer("", "targeting")
        if experiment.surfaces and someone.surface not in experiment.surfaces:
            return self.answer("", "targeting")
        if not experiment.start <= bucket(self.layer, someone.unit) < experiment.stop:
            return self.answer("", "slice")
        place = bucket(self.arms, someone.unit)
        arm = self.arm_at(place)
        return self.answer("" if arm is None else arm.name, "coverage" if arm is None else "hashed", place)

    def arm_at(self, place: float) -> Arm | None:
        """The arm that owns a place; None: nobody does, until more units take part."""
        for arm, start, end in zip(self.experiment.arms, self.starts, self.ends, strict=True):
            if start <= place < end:
                return arm
        return None

    def answer(self, arm: str, reason: str, place: float = float("nan")) -> Assignment:
        experiment = self.experiment
        return Assignment(experiment.name, arm, experiment.version, experiment.layer, place, reason)  # type: ignore[arg-type]  # one of those words


class Assigner:
    """Experiments that run, asked together. ``holdout``: the share of units that take part in none of them."""

    def __init__(self, experiments: Iterable[Experiment] = (), holdout: float = 0.0) -> None:
        self.draws = tuple(Draw.of(experiment) for experiment in experiments)
        self.holdout = holdout

    def __bool__(self) -> bool:
        return bool(self.draws)

    def all(self, someone: Someone, kept: Mapping[str, str] | None = None) -> Iterator[Assignment]:
        """What each experiment says of a unit, those in which it takes no part included."""
        held = bool(self.holdout) and bucket(HOLDOUT, someone.unit) < self.holdout
        for draw in self.draws:
            if held and someone.unit not in draw.experiment.forced:
                yield draw.answer("", "holdout")
            else:
                yield draw.ask(someone, (kept or {}).get(draw.experiment.name))

    def arms(self, someone: Someone, kept: Mapping[str, str] | None = None) -> tuple[Assignment, ...]:
        """The arms that a unit is in."""
        return tuple(found for found in self.all(someone, kept) if found.arm)


def assign(
    experiments: Iterable[Experiment], unit: str, *, surface: str = "", segment: str = "",
    kept: Mapping[str, str] | None = None, holdout: float = 0.0,
) -> dict[str, Assignment]:  # fmt: skip
    """What each experiment says of a unit, by name: the arm, empty where it takes no part, and why."""
    found = Assigner(experiments, holdout).all(Someone(unit, surface, segment), kept)
    return {assignment.experiment: assignment for assignment in found}


def validate(experiments: Sequence[Experiment]) -> None:
    """Raises ``InputError`` for experiments that cannot run together, each of them valid or not by itself."""
    names = [experiment.name for experiment in experiments]
    for name in names:
        if names.count(name) > 1:
            raise InputError("experiment", name, "two experiments have this name; rename one")
    for experiment in experiments:
        check(experiment)
    for one, other in combinations(experiments, 2):
        check_pair(one, other)


def check(experiment: Experiment) -> None:
    """Raises ``InputError`` for an experiment that contradicts itself."""
    field, names = f"experiment {experiment.name!r}", [arm.name for arm in experiment.arms]
    total = sum(arm.weight for arm in experiment.arms)
    if abs(total - 1) > NEAR:
        raise InputError(f"{field}.arms.weight", total, "the weights of all arms add up to 1")
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"{field}.arms.name", name, "two arms have this name; rename one")
    if not experiment.start < experiment.stop:
        raise InputError(f"{field}.stop", experiment.stop, f"a slice ends behind its start, {experiment.start:g}")
    if experiment.coverage <= 0:
        raise InputError(f"{field}.coverage", experiment.coverage, "give the share of the slice that takes part, above 0")
    if experiment.kind == "interleaving" and len(names) != 2:
        raise InputError(f"{field}.arms", len(names), "interleaving is of two arms")
    if not experiment.metrics:
        raise InputError(f"{field}.metrics", (), "name at least one metric: the first one decides")
    for unit, arm in experiment.forced.items():
        if arm not in names:
            raise InputError(f"{field}.forced[{unit!r}]", arm, f"there is no such arm; {did_you_mean(arm, names)}")
    for metric, margin in experiment.guardrails.items():
        if not 0 <= margin < 1:
            raise InputError(f"{field}.guardrails[{metric!r}]", margin, "give the share that may be lost, from 0 to 1")


def touched(experiment: Experiment) -> frozenset[str]:
    """What the arms decide: ``model``, and keys of settings."""
    found = {key for arm in experiment.arms for key in arm.settings}
    if experiment.kind == "interleaving" or any(arm.model for arm in experiment.arms):
        found.add("model")
    return frozenset(found)


def check_pair(one: Experiment, other: Experiment) -> None:
    """Raises ``InputError`` where a unit could be in both, and both decide the same."""
    apart = one.layer == other.layer and (one.stop <= other.start or other.stop <= one.start)
    elsewhere = bool(one.surfaces and other.surfaces) and not set(one.surfaces) & set(other.surfaces)
    if apart or elsewhere:
        return
    if one.layer == other.layer:
        raise InputError(
            f"experiment {other.name!r}.start", other.start,
            f"its slice of layer {one.layer!r} overlaps {one.start:g} to {one.stop:g} of {one.name!r}; take another one",
        )  # fmt: skip
    if both := touched(one) & touched(other):
        raise InputError(
            f"experiment {other.name!r}.layer", other.layer,
            f"{one.name!r} in layer {one.layer!r} decides {', '.join(sorted(both))}, too; take slices of one layer",
        )  # fmt: skip
