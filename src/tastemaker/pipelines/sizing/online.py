"""What the online and the nearline plane need: traffic, API, workers, log, lake, online store, network."""

from __future__ import annotations

from tastemaker.pipelines.sizing.arithmetic import Figure, amount, figure, least, most, whole
from tastemaker.pipelines.sizing.terms import DAY, HOUR, Section, Terms

REMEMBERED = 256
"""Event ids that a state remembers, ``features.fold.REMEMBERED``: named again here, for a plan loads no engine."""
LEAST_PARTITIONS = 8


def traffic(of: Terms) -> Section:
    """Rates and totals of events and requests."""
    work = of.work
    kept = of.keep(figure("events kept", of.events * of.retention))
    rate = figure("events at the peak", of.events / DAY * of.peak, "/s", "events")
    if work.requests:
        asked = figure("requests at the peak", amount(work.requests, "as given", "/s"), "/s", "requests")
        daily = figure("requests a day", asked.amount * DAY / of.peak)
        requests = (asked, daily)
    else:
        daily = figure("requests a day", of.users * of.active * amount(work.visits, "requests each"))
        requests = (daily, figure("requests at the peak", daily.amount / DAY * of.peak, "/s", "requests"))
    histories = least(of.users * amount(work.history, "newest events"), kept.amount)
    remembered = least(of.users * amount(REMEMBERED, "newest ids"), kept.amount)
    return of.section(
        "Traffic", rate, *requests, kept,
        figure("events in histories", histories), figure("remembered ids", remembered),
    )  # fmt: skip


def nearline(of: Terms) -> Section:
    """Workers, and with them the partitions that they share."""
    score = of.keep(figure("scoring for one", of.items * of.factors * of.rate("one_score"), "s"))
    slate = of.keep(figure("an event with its slate", of.rate("refreshed") + score.amount, "s"))
    work = of.term("events at the peak") * slate.amount + of.term("requests at the peak") * of.rate("read")
    cores = of.keep(figure("nearline cores", work * of.margin, "cores", "nearline"))
    workers = figure("workers", whole(cores.amount / amount(1, "core each")), "", "workers")
    partitions = whole(amount(2, "partitions a worker") * workers.amount)
    return of.section(
        "Nearline: tastemaker stream", score, slate, cores, workers,
        figure("partitions", most(amount(LEAST_PARTITIONS, "at least"), partitions)),
        figure("states made anew", of.term("events kept") * of.rate("state") / HOUR, "h"),
    )  # fmt: skip


def api(of: Terms) -> Section:
    """Processes that answer and take events."""
    work = of.term("requests at the peak") * of.rate("request") + of.term("events at the peak") * of.rate("ingested")
    cores = of.keep(figure("API cores", work * of.margin, "cores", "API"))
    return of.section("API: tastemaker serve", cores, figure("API processes", whole(cores.amount / amount(1, "core each"))))


def per_day(of: Terms, event: str, decision: str) -> Figure:
    """Bytes of a day's events and decisions."""
    return figure(
        f"{event.partition('_')[0]} a day", of.events * of.rate(event) + of.term("requests a day") * of.rate(decision), "B"
    )


def log(of: Terms) -> Section:
    """The brokers: all events of all days."""
    daily = of.keep(per_day(of, "log_event", "log_decision"))
    copies = amount(of.work.replication, "copies")
    peak = of.term("events at the peak") * of.rate("log_event") + of.term("requests at the peak") * of.rate("log_decision")
    return of.section(
        "Log: Kafka", daily,
        figure("log at the peak", peak, "B/s"),
        figure("broker disks", daily.amount * of.retention * copies * of.margin, "B"),
    )  # fmt: skip


def lake(of: Terms) -> Section:
    """Object storage, which grows by itself: no headroom. One process archives."""
    daily = of.keep(per_day(of, "lake_event", "lake_decision"))
    work = of.term("events at the peak") * of.rate("archived") + of.term("requests at the peak") * of.rate("archived_decision")
    return of.section(
        "Lake: tastemaker archive", daily,
        figure("lake", daily.amount * of.retention, "B"),
        figure("archive cores", work * of.margin, "cores", "archive"),
    )  # fmt: skip


def store(of: Terms) -> Section:
    """The online store: Redis, and PostgreSQL behind it."""
    work = of.work
    versions = amount(work.versions, "versions")
    state = of.users * of.rate("state_bytes") + of.term("events in histories") * of.rate("history_bytes")
    states = of.keep(figure("states", state + of.term("remembered ids") * of.rate("recent_bytes"), "B"))
    marks = of.keep(figure("marks", of.users * of.rate("mark_bytes"), "B"))
    fronts = of.keep(figure("fronts", of.users * versions * of.rate("front_bytes"), "B"))
    slate = of.rate("whole_bytes") + amount(work.slate, "items") * of.rate("slot_bytes")
    wholes = of.keep(figure("whole slates", of.users * versions * slate, "B"))
    counters = of.keep(figure("counters", of.items * of.term("partitions") * of.rate("counter_bytes"), "B"))
    keys = of.keep(figure("keys", of.users * (amount(2, "keys") + amount(2, "keys") * versions)))
    values = of.keep(
        figure("values", states.amount + marks.amount + fronts.amount + wholes.amount + counters.amount, "B", "keys and values")
    )
    copies = amount(work.copies, "copies")
    each = of.keep(figure("one copy in Redis", values.amount * of.rate("redis_value") + keys.amount * of.rate("redis_key"), "B"))
    redis = figure("Redis memory", each.amount * copies * of.margin, "B")
    few = of.keep(figure("Redis for the active", redis.amount * of.active, "B"))
    asked = of.term("requests at the peak") * of.rate("redis_request") + of.term("events at the peak") * of.rate("redis_event")
    cores = of.keep(figure("Redis cores", asked * of.margin, "cores", "Redis"))
    behind = of.term("events at the peak") * of.rate("postgres_event") * of.margin
    room = whole(each.amount * of.margin / amount(work.memory, "a machine", "B"))
    return of.section(
        "Online store: Redis before PostgreSQL", states, marks, fronts, wholes, counters, values, keys, each, redis, few, cores,
        figure("Redis masters", most(room, whole(cores.amount / amount(1, "core each")))),
        of.keep(figure("PostgreSQL cores", behind, "cores", "PostgreSQL")),
        figure("PostgreSQL disk", values.amount * of.rate("postgres_value") * copies * of.margin, "B"),
    )  # fmt: skip


def network(of: Terms) -> Section:
    """Bytes a second at the peak."""
    rate, asked = of.term("events at the peak"), of.term("requests at the peak")
    state = of.keep(figure("a state", of.term("states") / of.users, "B"))
    whole_slate = of.rate("whole_bytes") + amount(of.work.slate, "items") * of.rate("slot_bytes")
    moved = amount(2, "ways") * state.amount + of.rate("front_bytes") + whole_slate
    times = amount(of.work.replication + 2, "times for copies and readers")
    return of.section(
        "Network at the peak",
        figure("answers", asked * of.rate("answer_bytes"), "B/s"),
        figure("stores for answers", asked * (of.rate("front_bytes") + of.rate("mark_bytes")), "B/s"),
        figure("stores for events", rate * moved, "B/s"),
        figure("counters each second", of.term("counters") / amount(1, "between writes", "s"), "B/s"),
        figure("log and its readers", of.term("log at the peak") * times, "B/s"),
    )
