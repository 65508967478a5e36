"""Every feature, and every field of an event with the moment from which it is known.

A feature says whose it is (``key``), which events it reads and what each of them brings (``of``; ``per`` is the
denominator of a rate), and how they add up (``kind``). That is all: the fold over single events and the columns of the
training set are derived from it. A model card names ``version()``, so a changed declaration is never mistaken for the old.

Fields that become known only after the user acted (stars, watched time) are labels. As inputs they would be a leak, and
``table.training_set`` refuses them.
"""

from __future__ import annotations

import hashlib
from typing import Literal, TypeAlias

import msgspec
from msgspec import Struct

from tastemaker.features.kinds import Count, Decayed, Kind, Last, Rate, Recent

HOUR = 3_600_000
DAY = 24 * HOUR

Key: TypeAlias = Literal["user", "item", "user_category"]
Amount: TypeAlias = Literal["one", "value", "valued", "reward", "time"]
Availability: TypeAlias = Literal["request", "action", "post_action"]


class Events(Struct, frozen=True):
    """Which events a feature reads, and what each brings.

    ``amount``: "one" counts; "value" is the event's value, from the moment it is final, and "valued" is 1 for each such
    event; "reward" is its reward (events without one are left out); "time" is its time in milliseconds.
    """

    type: Literal["interaction", "view"] = "interaction"
    amount: Amount = "one"
    kinds: tuple[str, ...] = ()  # of interactions; () is all
    attributed: bool = False  # only those that name the decision that offered the item


class Feature(Struct, frozen=True):
    """One declaration. ``text`` is its sentence in the reference."""

    name: str
    key: Key
    kind: Kind
    of: Events
    text: str
    per: Events | None = None  # the denominator of a rate

    @property
    def parts(self) -> tuple[Events, ...]:
        return (self.of,) if self.per is None else (self.of, self.per)


ALL = Events()
REWARDED = Events(amount="reward")
VALUE = Events(amount="value")
VALUED = Events(amount="valued")
TIME = Events(amount="time")
OFFERED = Events(attributed=True)
SEEN = Events(type="view")

FEATURES: tuple[Feature, ...] = (
    Feature("user_events", "user", Count(), ALL, "Interactions of the user."),
    Feature("user_events_7d", "user", Decayed(7 * DAY), ALL, "Interactions of the user, halved every 7 days."),
    Feature("user_mean_value", "user", Rate(), VALUE, "Mean value that the user gives (stars, watched part).", per=VALUED),
    Feature("user_last_time", "user", Last(), TIME, "When the user was last active."),
    Feature("user_recent", "user", Recent(500), REWARDED, "The history: newest rewarded items, with reward and time."),
    Feature("user_category_affinity", "user_category", Decayed(90 * DAY), REWARDED, "Reward by category, halved every 90 days."),
    Feature("item_events", "item", Count(), ALL, "Interactions with the item."),
    Feature("item_trending", "item", Decayed(DAY), REWARDED, "Reward of the item, halved every day."),
    Feature("item_popularity", "item", Decayed(30 * DAY), REWARDED, "Reward of the item, halved every 30 days."),
    Feature("item_mean_value", "item", Rate(), VALUE, "Mean value that the item is given.", per=VALUED),
    Feature("item_ctr", "item", Rate(prior=0.05, strength=20.0), OFFERED, "Taken per view, smoothed towards 0.05.", per=SEEN),
)
BY_NAME: dict[str, Feature] = {feature.name: feature for feature in FEATURES}

REQUEST: dict[str, str] = {
    "interaction": "user item time decision row position session context",
    "view": "user item time decision row position session",
    "decision": "id user time surface session context_hash feature_snapshot arms policy models reward explore temperature seed "
    "rung eligible candidates scores slots",
    "exposure": "id time experiment unit arm version layer bucket reason triggered",
    "item": "id time item title categories text active released deleted fields",
    "user": "id time user preferences segment fields",
    "erase": "id time user reason",
}
ACTION: dict[str, str] = {"interaction": "id kind", "view": "id"}
POST_ACTION: dict[str, str] = {"interaction": "value mature_at", "view": "visible_ms", "decision": "latency_ms"}


def fields_of(table: dict[str, str], availability: Availability) -> dict[str, Availability]:
    return {f"{event}.{name}": availability for event, names in table.items() for name in names.split()}


FIELDS: dict[str, Availability] = (
    fields_of(REQUEST, "request") | fields_of(ACTION, "action") | fields_of(POST_ACTION, "post_action")
)
"""``interaction.value`` -> when it is known: with the request, with the action, or only after it."""


def version() -> str:
    """A short hash of all declarations, the same on every machine; it changes when any feature does."""
    return hashlib.sha256(msgspec.json.encode(FEATURES)).hexdigest()[:8]
