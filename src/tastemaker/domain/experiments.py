"""What is asked of the world: experiments, their arms, and who is in which of them."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from tastemaker.domain.events import NAN, Millis, Name, Scalar

Share = Annotated[float, Meta(ge=0, le=1)]


class Arm(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """One side of an experiment. What it does not name is as for everybody."""

    name: Name
    weight: Annotated[float, Meta(gt=0, le=1)] = 0.5  # its share of those who take part; all weights add up to 1
    model: str = ""  # a model version, or a kind, which each daily run trains anew; empty: the live one
    settings: dict[str, Scalar] = field(default_factory=dict)  # keys of [slates] with the arm's own values
    serves: str = ""  # of a kind: the version that answers now; the platform writes it

    @property
    def version(self) -> str:
        """The model version that answers; empty: the live one."""
        return self.serves or self.model


class Experiment(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """A question with two answers or more. The first arm is the control.

    ``start`` and ``stop`` are the slice of the layer that belongs to the experiment: two of one layer whose slices do not overlap
    have no unit in common. ``coverage`` is the share of the slice that takes part now: it may grow, and moves nobody.
    """

    name: Name
    arms: Annotated[tuple[Arm, ...], Meta(min_length=2, max_length=16)]
    kind: Literal["ab", "interleaving"] = "ab"
    layer: Name = "default"
    start: Share = 0.0
    stop: Share = 1.0
    coverage: Share = 1.0
    salt: str = ""  # of the arms' hash; empty: the experiment's name
    surfaces: tuple[str, ...] = ()  # where it works; empty: everywhere
    segments: tuple[str, ...] = ()  # of users whom it is about; empty: of all
    training: Literal["shared", "diverted"] = "shared"  # diverted: the model of each arm learns from its own units only
    metrics: tuple[Name, ...] = ("ctr",)  # names of [experiments.metrics]; the first one decides
    guardrails: dict[str, float] = field(default_factory=dict)  # metric -> the relative loss that is still borne
    mde: Annotated[float, Meta(gt=0, le=10)] = 0.05  # smallest relative change that is worth finding
    planned: Annotated[int, Meta(ge=0)] = 0  # units in each arm; 0: not planned
    sticky: bool = False  # who has met an arm stays in it, whatever targeting says later
    forced: dict[str, str] = field(default_factory=dict)  # unit -> arm, to look at it; such units are not counted
    version: Annotated[int, Meta(ge=1)] = 1  # a new one makes a new experiment of it: nothing of older ones is counted
    state: Literal["draft", "running", "stopped"] = "draft"
    made: Millis = 0
    started: Millis | None = None
    ended: Millis | None = None
    outcome: str = ""  # what was decided at the end, and by whom


class Assignment(Struct, frozen=True):
    """The arm of a unit. ``arm`` is empty for a unit that takes no part; ``reason`` says why it is what it is."""

    experiment: str
    arm: str
    version: int = 1
    layer: str = ""
    bucket: float = NAN
    reason: Literal["hashed", "forced", "sticky", "holdout", "slice", "coverage", "targeting", "state"] = "hashed"
