"""The sections ``[watch]`` and ``[retention]``: what is looked at all the time, and how long things are kept."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, field

from tastemaker.config.section import Section


class Rule(Section, frozen=True, omit_defaults=True):
    """A bound of one metric, and what happens when it is crossed for long enough."""

    metric: Annotated[str, Meta(min_length=1, description="Name in the metrics history: ctr, drift, psi, lag_nearline, ...")]
    model: Annotated[str, Meta(description="live, a version or a kind; empty: the values that name no model.")] = ""
    slice: Annotated[str, Meta(description="Slice of the metric.")] = "all"
    below: Annotated[float | None, Meta(description="Values under this are bad.")] = None
    above: Annotated[float | None, Meta(description="Values over this are bad.")] = None
    drop: Annotated[
        Annotated[float, Meta(gt=0, lt=1)] | None,
        Meta(description="Values that lie under the baseline by more than this share are bad."),
    ] = None
    baseline_hours: Annotated[float, Meta(gt=0, description="The mean of so many hours before is the baseline of `drop`.")] = (
        168.0
    )
    evaluations: Annotated[
        int, Meta(ge=1, le=1000, description="So many bad values in a row fire, so many good ones recover.")
    ] = 3
    least: Annotated[int, Meta(ge=0, description="Values over fewer users or events than this are no values.")] = 0
    action: Annotated[Literal["alert", "retrain"], Meta(description="alert, or retrain: an alert and a run of `daily`.")] = (
        "alert"
    )
    cool_down_hours: Annotated[float, Meta(ge=0, description="Hours after a rule has fired in which it does not fire again.")] = (
        24.0
    )

    def __post_init__(self) -> None:
        if sum(bound is not None for bound in (self.below, self.above, self.drop)) != 1:
            raise ValueError(f"a rule has one of below, above and drop; that of {self.metric!r} has none, or several")


def usual_rules() -> dict[str, Rule]:
    """What is watched unless the configuration says otherwise."""
    return {
        "ctr": Rule("ctr", drop=0.3, least=100, action="retrain"),
        "drift": Rule("drift", above=0.25, action="retrain"),
        "nearline": Rule("lag_nearline", above=100_000.0),
    }


class Watch(Section, frozen=True):
    """What `evaluate` looks at, and when it raises an alert or asks for a retraining."""

    drift_hours: Annotated[float, Meta(gt=0, description="Length of the two intervals that are compared for drift.")] = 24.0
    drift_least: Annotated[int, Meta(ge=1, description="Fewest events of each interval; with fewer nothing is compared.")] = 500
    drift_most: Annotated[
        int, Meta(ge=100, description="Most users, and most items, whose features are computed; of more, a sample is taken.")
    ] = 20_000
    rules: Annotated[dict[str, Rule], Meta(description="Rules by name; a table of yours replaces these.")] = field(
        default_factory=usual_rules
    )


class Retention(Section, frozen=True):
    """How many days things are kept by `maintain`. 0 keeps them for ever."""

    interactions: Annotated[float, Meta(ge=0, description="Days of interactions in the lake.")] = 0.0
    views: Annotated[float, Meta(ge=0, description="Days of views in the lake.")] = 0.0
    decisions: Annotated[float, Meta(ge=0, description="Days of decisions in the lake.")] = 0.0
    exposures: Annotated[float, Meta(ge=0, description="Days of exposures in the lake.")] = 0.0
    metrics: Annotated[float, Meta(ge=0, description="Days of the metrics history.")] = 730.0
    runs: Annotated[
        float, Meta(ge=0, description="Days of runs, with their evaluations; the newest 100 of each pipeline stay.")
    ] = 180.0
    alerts: Annotated[float, Meta(ge=0, description="Days of closed alerts and taken triggers.")] = 180.0
    dead_letters: Annotated[float, Meta(ge=0, description="Days of dead letters.")] = 0.0
    models: Annotated[
        float, Meta(ge=0, description="Days of artifacts that are not live, not previous and not in `publish.keep`.")
    ] = 30.0
    features: Annotated[float, Meta(ge=0, description="Days that older versions of the feature tables stay readable.")] = 7.0
    vacuum_hours: Annotated[
        int, Meta(ge=0, description="Hours that older versions of the lake's other tables stay readable; 0: for ever.")
    ] = 168
