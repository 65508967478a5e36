"""The section ``[rewards]``: what interactions are worth, and when it is known."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, field

from tastemaker.config.section import Section


class Reward(Section, frozen=True):
    """What an interaction of one kind is worth."""

    weight: Annotated[float, Meta(ge=-100, le=100, description="Reward of one event; 0 ignores the kind.")] = 1.0
    at_least: Annotated[float | None, Meta(description="Events with a smaller `value` count as nothing.")] = None
    scale: Annotated[
        Annotated[float, Meta(gt=0)] | None,
        Meta(description="The `value` that is worth `weight`; others are worth in proportion. Unset: all are worth it."),
    ] = None
    cap: Annotated[
        Annotated[float, Meta(gt=0)] | None, Meta(description="Where `scale` is set: a larger `value` counts as this.")
    ] = None
    mature_hours: Annotated[
        float, Meta(ge=0, le=8760, description="Hours after the event in which more may come of it; 0: all is known at once.")
    ] = 0.0


class Rewards(Section, frozen=True):
    """What clicks are worth, the same in training and serving."""

    version: Annotated[str, Meta(description="Named by every model and decision; change it with the table below.")] = "1"
    default: Annotated[float, Meta(description="Weight of a kind that `kinds` does not name.")] = 1.0
    kinds: Annotated[dict[str, Reward], Meta(description="Interaction kind -> weight, threshold, scale and maturity.")] = field(
        default_factory=dict
    )
    immature: Annotated[
        Literal["mask", "impute"],
        Meta(description="What training does with events of which more may come: mask, or impute the usual remainder."),
    ] = "mask"
    history: Annotated[int, Meta(ge=1, le=10_000, description="Newest events of a user that models see.")] = 500
    half_life_days: Annotated[
        float,
        Meta(ge=0, description="Days before a user's newest event for an event to count half; 0: all count alike."),
    ] = 0.0
