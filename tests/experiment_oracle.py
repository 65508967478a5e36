"""Random events around two experiments, and what the queries must find in them, counted in plain Python, event by event."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Sequence

from msgspec.structs import replace

from tastemaker.config import Config, Metric
from tastemaker.domain import AnyEvent, Arm, Decision, Experiment, Exposure, Interaction, Slot, View
from tastemaker.experiments.interleaving import credit, preference
from tastemaker.experiments.moments import Moments
from tastemaker.features.rewards import DAY, final_at, reward

BASE = 1_767_225_600_000
KINDS = ("click", "play", "purchase")
METRICS = ("ctr", "conversion", "watched", "reward", "seen", "share", "wide")
AB = Experiment(
    "cards", (Arm("control"), Arm("other")), forced={"u3": "other"}, started=BASE, state="running",
    metrics=METRICS, guardrails={"activity": 0.1},
)  # fmt: skip
WEEK = 7 * DAY
SURFACED = replace(AB, surfaces=("cart", "search"))
BOTH = Experiment("merged", (Arm("a"), Arm("b")), kind="interleaving", started=BASE, state="running", metrics=("reward",))
MORE = {
    "seen": Metric(per="views", before_days=3.0),
    "share": Metric("value", ("purchase",), per="interactions", before_days=0.0, most=1.5),
    "wide": Metric("users", per="slots"),
}


def world(seed: int, users: int = 40, events: int = 900) -> list[AnyEvent]:
    """Events in any order, some of them twice: units of one arm, of two, put there by hand, and of none."""
    rng, made = random.Random(seed), list[AnyEvent]()
    names = [f"u{number}" for number in range(users)]
    for name in names[: users - 5]:
        at = BASE + rng.randrange(10 * DAY)
        arm, reason = rng.choice(("control", "other")), "forced" if rng.random() < 0.05 else "hashed"
        made.append(Exposure(f"x-{name}", at, "cards", name, arm, reason=reason))
        if rng.random() < 0.1:
            made.append(Exposure(f"x2-{name}", at + 5, "cards", name, rng.choice(("control", "other"))))
        made.append(Exposure(f"old-{name}", at - DAY, "cards", name, arm, version=0))
        made.append(Exposure(f"m-{name}", at, "merged", name, "a"))
    for number in range(events):
        user, at = rng.choice(names), BASE - 20 * DAY + rng.randrange(34 * DAY)
        if number % 3 == 0:
            slots = tuple(
                Slot(f"i{place}", position=place, team=rng.choice((-1, 0, 1)), in_both=rng.random() < 0.3) for place in range(4)
            )
            arms = rng.choice(({}, {"cards": "control"}, {"merged": "a", "cards": "other"}, {"merged": "a"}))
            surface, version = ("home", "cart")[number % 2], ("1", "2")[number % 4 == 0]
            made.append(Decision(f"d{number}", at, user, surface, arms=arms, reward=version, slots=slots[: rng.randrange(5)]))
            for clicked in range(rng.randrange(3)):
                kind, value = rng.choice(KINDS), rng.choice((None, 0.25, 2.0))
                made.append(Interaction(f"c{number}-{clicked}", at + 5, user, f"i{rng.randrange(5)}", kind, value, f"d{number}"))
        elif number % 3 == 1:
            made.append(View(f"v{number}", at, user, f"d{number - 1}", "i1"))
        else:
            late = f"d{number - 2}" if number % 5 == 0 else None  # of any answer, long before it or after it
            made.append(Interaction(f"o{number}", at, user, "i1", rng.choice(KINDS), rng.choice((None, 0.5)), late))
    made += rng.sample(made, len(made) // 10)
    rng.shuffle(made)
    return made


def once(events: Sequence[AnyEvent]) -> list[AnyEvent]:
    return list({event.id: event for event in events}.values())


def first_of(events: Sequence[AnyEvent], experiment: Experiment, until: int) -> tuple[dict[str, tuple[int, str]], int]:
    """Unit -> first exposure and arm; and how many were in two."""
    seen: dict[str, list[Exposure]] = defaultdict(list)
    for event in events:
        if not isinstance(event, Exposure) or event.time > until or event.unit in experiment.forced:
            continue
        if (event.experiment, event.version) == (experiment.name, experiment.version):
            seen[event.unit].append(event)
    seen = {unit: found for unit, found in seen.items() if all(one.reason != "forced" for one in found)}
    twice = sum(len({one.arm for one in found}) > 1 for found in seen.values())
    alone = {unit: found for unit, found in seen.items() if len({one.arm for one in found}) == 1}
    return {unit: (min(one.time for one in found), found[0].arm) for unit, found in alone.items()}, twice


def on_surfaces(events: Sequence[AnyEvent], experiment: Experiment, until: int) -> list[AnyEvent]:
    """What counts of events, each once: decisions of the experiment's surfaces, and what names one of them within a week."""
    if not experiment.surfaces:
        return list(events)
    own = {e.id: e.time for e in events if isinstance(e, Decision) and e.surface in experiment.surfaces and e.time <= until}
    found: list[AnyEvent] = []
    for event in events:
        named = getattr(event, "decision", None)
        counted = named in own and event.time <= own[named] + WEEK
        if isinstance(event, Interaction):
            found.append(event if counted else replace(event, decision=None))
        elif counted if isinstance(event, View) else not isinstance(event, Decision) or event.id in own:
            found.append(event)
    return found


def answers(events: Sequence[AnyEvent], experiment: Experiment, until: int) -> dict[str, int]:
    """Answers of an experiment by the version of the rewards, since the first unit met it."""
    began = min(
        event.time
        for event in events
        if isinstance(event, Exposure) and (event.experiment, event.version) == (experiment.name, experiment.version)
    )
    found = on_surfaces(once(events), experiment, until)
    own = [event for event in found if isinstance(event, Decision) and experiment.name in event.arms]
    return dict(Counter(event.reward for event in own if began <= event.time <= until))


def sums(config: Config, metric: Metric, events: Sequence[AnyEvent], since: int, until: int, now: int) -> tuple[float, float]:
    """Numerator and denominator of one unit's events from ``since`` up to ``until``."""
    own = [event for event in events if since <= event.time <= until]
    clicks = [event for event in own if isinstance(event, Interaction)]
    counted = [e for e in clicks if (not metric.kinds or e.kind in metric.kinds) and (e.decision or not metric.attributed)]
    worths = {
        "interactions": float(len(counted)),
        "users": float(bool(counted)),
        "value": sum(event.value or 0.0 for event in counted),
        "reward": sum(
            reward(config.rewards, e.kind, e.value) for e in counted if final_at(config.rewards, e) <= now
        ),
    }  # fmt: skip
    decisions = [event for event in own if isinstance(event, Decision)]
    below = {
        "users": 1.0,
        "decisions": float(len(decisions)),
        "slots": float(sum(len(event.slots) for event in decisions)),
        "views": float(sum(isinstance(event, View) for event in own)),
        "interactions": float(sum(event.decision is not None for event in clicks)),
    }
    return min(worths[metric.of], metric.most), below[metric.per]


def moments(config: Config, events: Sequence[AnyEvent], experiment: Experiment, metric: Metric, until: int) -> dict[str, Moments]:
    """By arm, unit by unit."""
    units, _ = first_of(events, experiment, until)
    by_user: dict[str, list[AnyEvent]] = defaultdict(list)
    for event in on_surfaces(once(events), experiment, until):
        by_user[getattr(event, "user", "")].append(event)
    rows: dict[str, list[tuple[float, float, float, float]]] = defaultdict(list)
    for unit, (first, arm) in units.items():
        after = sums(config, metric, by_user[unit], first, until, until)
        span = round(metric.before_days * DAY)
        before = sums(config, metric, by_user[unit], first - span, first - 1, until)
        rows[arm].append((*after, before[0], 0.0 if metric.per == "users" else before[1]))
    top, below = (sum(row[part] for found in rows.values() for row in found) for part in (2, 3))
    rate = top / below if below else 0.0
    return {
        arm: Moments.of([r[0] for r in found], [r[1] for r in found], [r[2] - rate * r[3] for r in found])
        for arm, found in rows.items()
    }


def preferred(config: Config, events: Sequence[AnyEvent], experiment: Experiment, until: int) -> tuple[int, Moments]:
    """Units, and the moments of their preference, slot by slot."""
    found: dict[str, list[Exposure]] = defaultdict(list)
    for event in events:
        if isinstance(event, Exposure) and event.experiment == experiment.name and event.time <= until:
            found[event.unit].append(event)
    earned: dict[tuple[str, str, str], float] = defaultdict(float)
    for event in once(events):
        if isinstance(event, Interaction) and event.decision is not None and event.time <= until:
            earned[event.decision, event.user, event.item] += reward(config.rewards, event.kind, event.value)
    credits: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for event in once(events):
        if not isinstance(event, Decision) or experiment.name not in event.arms or event.user not in found:
            continue
        if min(one.time for one in found[event.user]) <= event.time <= until:
            rewards = [earned[event.id, event.user, slot.item] for slot in event.slots]
            a, b = credit([slot.team for slot in event.slots], [slot.in_both for slot in event.slots], rewards)
            credits[event.user][0] += a
            credits[event.user][1] += b
    return len(found), preference([a for a, _ in credits.values()], [b for _, b in credits.values()])
