"""The sections ``[slates]`` and ``[experiments]``: the rules of answers, and how it is found out which ones are better."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, field

from tastemaker.config.section import Section
from tastemaker.domain import Scalar
from tastemaker.errors import InputError, did_you_mean


class Slates(Section, frozen=True):
    """How a slate is made of candidates. An arm of an experiment may set each key for its users."""

    diversity: Annotated[
        float,
        Meta(ge=0, le=10, description="What an item loses that is like one above it, in deviations of the scores; 0: nothing."),
    ] = 0.0
    calibration: Annotated[
        float, Meta(ge=0, le=10, description="How much the slate's categories keep to the shares of the user's history; 0: not.")
    ] = 0.0
    cap: Annotated[int, Meta(ge=0, le=100, description="Most items of one category in a slate; 0: any number.")] = 0
    candidates: Annotated[int, Meta(ge=10, le=1000, description="Items that the rules, or chance, choose from.")] = 100
    explore: Annotated[
        float, Meta(ge=0, le=1, description="Share of requests whose slate is drawn by chance, its probabilities logged.")
    ] = 0.0
    temperature: Annotated[
        float, Meta(ge=0, le=100, description="How far drawn slates stray from the best one, in deviations of the scores.")
    ] = 0.3
    temperatures: Annotated[dict[str, float], Meta(description="Surface -> its own temperature.")] = field(default_factory=dict)
    fresh: Annotated[
        float, Meta(ge=0, lt=1, description="Share of each place of a drawn slate that goes to items which hardly anybody knows.")
    ] = 0.1
    fresh_days: Annotated[float, Meta(ge=0, description="Days after its release in which an item counts as such.")] = 7.0

    @property
    def shaped(self) -> bool:
        """Whether a slate is more than the best items one after the other."""
        return self.diversity > 0 or self.calibration > 0 or self.cap > 0

    def heat(self, surface: str) -> float:
        """The temperature of a surface."""
        return self.temperatures.get(surface, self.temperature)


class Metric(Section, frozen=True):
    """What an experiment measures: a sum over a unit's events, divided by another, summed over the units of an arm.

    Only what happens after a unit's first exposure counts. ``of`` and ``per`` name what is summed.
    """

    of: Annotated[
        Literal["interactions", "users", "value", "reward"],
        Meta(description="interactions: their number; users: those with any; value, reward: sums of these."),
    ] = "interactions"
    kinds: Annotated[tuple[str, ...], Meta(description="Kinds of interactions that count; empty: all.")] = ()
    attributed: Annotated[bool, Meta(description="Count only interactions that name a decision.")] = True
    per: Annotated[
        Literal["users", "decisions", "slots", "views", "interactions"],
        Meta(description="What it is divided by: users of the arm, decisions, their slots, views, or attributed interactions."),
    ] = "decisions"
    better: Annotated[Literal["up", "down"], Meta(description="Which way is good.")] = "up"
    most: Annotated[float, Meta(gt=0, description="A unit's sum counts up to this: one customer must not decide.")] = 1e9
    before_days: Annotated[
        float, Meta(ge=0, description="Days before the exposure whose events take noise out of the comparison (CUPED); 0: none.")
    ] = 14.0
    title: Annotated[str, Meta(description="What reports call it; empty: its name.")] = ""


def usual_metrics() -> dict[str, Metric]:
    """What can be measured unless the configuration says otherwise."""
    return {
        "ctr": Metric(title="clicks per answer"),
        "conversion": Metric("users", ("purchase",), attributed=False, per="users", title="users with a purchase"),
        "watched": Metric("value", ("play",), attributed=False, per="users", title="sum watched per user"),
        "reward": Metric("reward", attributed=False, per="users", title="reward per user"),
        "activity": Metric(attributed=False, per="users", title="interactions per user"),
    }


class Experiments(Section, frozen=True):
    """How experiments are run and measured."""

    holdout: Annotated[float, Meta(ge=0, lt=1, description="Share of units that take part in no experiment.")] = 0.0
    metrics: Annotated[dict[str, Metric], Meta(description="Metrics by name; a table of yours replaces these.")] = field(
        default_factory=usual_metrics
    )
    alpha: Annotated[float, Meta(gt=0, lt=0.5, description="Probability of calling something a difference that is none.")] = 0.05
    stream: Annotated[bool, Meta(description="Keep the sums of running experiments up to date in the nearline plane.")] = True


def with_settings(slates: Slates, settings: dict[str, Scalar]) -> Slates:
    """The rules with an arm's own values. Raises ``InputError`` for a key that there is not, or a value that it cannot have.

    >>> with_settings(Slates(), {"diversity": 0.5, "cap": 3.0}).cap
    3
    """
    settings = {key: whole(value) for key, value in settings.items()}
    for key, value in settings.items():
        if key not in Slates.__struct_fields__ or key == "temperatures":
            known = [name for name in Slates.__struct_fields__ if name != "temperatures"]
            raise InputError(f"settings.{key}", value, f"is not a key of [slates]; {did_you_mean(key, known)}")
        try:
            msgspec.convert({key: value}, Slates)
        except msgspec.ValidationError as error:
            raise InputError(f"settings.{key}", value, str(error).partition(" - at")[0]) from None
    return msgspec.convert({**msgspec.structs.asdict(slates), **settings}, Slates)


def whole(value: Scalar) -> Scalar:
    """A number without a fraction as an integer: settings hold numbers of one kind only."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
