"""Logs and metrics: one set-up, one list of names.

Log lines are events with fields (``slate_published users=943 seconds=1.2``): for people on a terminal, JSON elsewhere.
Secrets never reach them, because URLs are logged through ``config.hide`` only. Metric names live here and nowhere else,
so that the reference and the dashboards can be checked against them.
"""

from __future__ import annotations

import collections
import logging
import sys
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

log: structlog.stdlib.BoundLogger = structlog.get_logger("tastemaker")

REGISTRY = CollectorRegistry()
SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)

EVENTS = Counter("tastemaker_events", "Events by kind and result.", ["kind", "result"], registry=REGISTRY)
APPLIED = Counter("tastemaker_records_applied", "Records that the nearline worker applied.", registry=REGISTRY)
LAG = Gauge("tastemaker_log_lag_records", "Records of the log that a consumer has not seen yet.", ["group"], registry=REGISTRY)
FRESHNESS = Histogram(
    "tastemaker_freshness_seconds", "From an event's acknowledgement to its state.", buckets=SECONDS, registry=REGISTRY
)
LIVE = Gauge("tastemaker_live_model", "1 for the live model.", ["version", "kind"], registry=REGISTRY)
LIVE_AGE = Gauge("tastemaker_live_model_age_seconds", "Age of the live model.", registry=REGISTRY)
QUALITY = Gauge("tastemaker_quality", "Online metrics of the last monitored interval.", ["metric", "model"], registry=REGISTRY)
RUN_STATE = Gauge("tastemaker_run_state", "1 for the state of a pipeline's newest run.", ["pipeline", "state"], registry=REGISTRY)
RUN_SECONDS = Gauge("tastemaker_run_seconds", "Time that the last run took that ended well.", ["pipeline"], registry=REGISTRY)
RUN_AGE = Gauge("tastemaker_run_age_seconds", "Since a run ended well for the last time.", ["pipeline"], registry=REGISTRY)
STEP_STATE = Gauge(
    "tastemaker_step_state", "1 for the state of a step in the newest run.", ["pipeline", "step", "state"], registry=REGISTRY
)
STEP_SECONDS = Gauge(
    "tastemaker_step_seconds",
    "Time of a step that ended last, and of its parts.",
    ["pipeline", "step", "part"],
    registry=REGISTRY,
)
STEP_TRIES = Gauge("tastemaker_step_tries", "Tries of the step that ended last.", ["pipeline", "step"], registry=REGISTRY)
STEP_ROWS = Gauge("tastemaker_step_rows", "Rows that went in and out.", ["pipeline", "step", "way"], registry=REGISTRY)
GATE = Gauge("tastemaker_gate_passed", "1: the gate let the last candidate through.", ["kind"], registry=REGISTRY)
MODEL_METRIC = Gauge(
    "tastemaker_model_metric", "Metrics of the live model and of candidates.", ["role", "kind", "metric"], registry=REGISTRY
)
ALERTS = Gauge("tastemaker_open_alerts", "Alerts that are open.", ["severity"], registry=REGISTRY)
TRIGGERS = Gauge("tastemaker_pending_triggers", "Runs that were asked for and have not begun.", ["pipeline"], registry=REGISTRY)
DEAD_LETTERS = Counter("tastemaker_dead_letters", "Records that the nearline worker could not apply.", registry=REGISTRY)
SPOOL = Gauge("tastemaker_spool_events", "Events on the local disk that wait for the log on a server.", registry=REGISTRY)
SPOOLED = Counter("tastemaker_spooled", "Events that were acknowledged from the spool on the local disk.", registry=REGISTRY)
QUARANTINED = Counter("tastemaker_quarantined", "Events that were refused, by reason.", ["reason"], registry=REGISTRY)


class Traffic(Collector):
    """Answers by route, status and rung, and how long they took.

    A library counter costs about a microsecond and a histogram two, in a request of thirty; these are plain numbers of the
    event loop's thread, made into metrics when somebody asks.
    """

    def __init__(self) -> None:
        self.requests: dict[tuple[str, str], int] = {}
        self.rungs: collections.Counter[str] = collections.Counter()  # sets of recommendations by rung of the ladder
        self.buckets: dict[str, list[int]] = {}
        self.seconds: dict[str, float] = {}

    def note(self, route: str, status: str, seconds: float) -> None:
        """Counts one answer."""
        if route not in self.buckets:
            self.buckets[route] = [0] * (len(SECONDS) + 1)
            self.seconds[route] = 0.0
        self.requests[route, status] = self.requests.get((route, status), 0) + 1
        self.buckets[route][bisect_left(SECONDS, seconds)] += 1
        self.seconds[route] += seconds

    def note_all(self, route: str, status: str, seconds: Sequence[float]) -> None:
        """Counts many answers: the first one gives the route its place, the others are counted bucket by bucket."""
        if not seconds:
            return
        first, *others = sorted(seconds)
        self.note(route, status, first)
        self.requests[route, status] += len(others)
        self.seconds[route] += sum(others)
        edges = [0, *(bisect_right(others, bound) for bound in SECONDS), len(others)]
        counts = self.buckets[route]
        for place, (low, high) in enumerate(pairwise(edges)):
            counts[place] += high - low

    def collect(self) -> Iterator[Metric]:
        requests = CounterMetricFamily(
            "tastemaker_requests", "Answers of the HTTP API by route and status.", labels=["route", "status"]
        )
        for (route, status), count in self.requests.copy().items():
            requests.add_metric([route, status], count)
        rungs = CounterMetricFamily("tastemaker_recommendations", "Recommendations by rung of the ladder.", labels=["rung"])
        for rung, count in self.rungs.copy().items():
            rungs.add_metric([rung], count)
        latency = HistogramMetricFamily("tastemaker_request_seconds", "Time to answer.", labels=["route"])
        for route, counts in self.buckets.copy().items():
            bounds = [*map(str, SECONDS), "+Inf"]
            latency.add_metric([route], list(zip(bounds, accumulate(counts), strict=True)), self.seconds[route])
        yield from (requests, rungs, latency)


TRAFFIC = Traffic()
REGISTRY.register(TRAFFIC)


def configure_logging(level: str = "INFO") -> None:
    """Sets up logging once for the process: key=value on a terminal, one JSON object a line elsewhere."""
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer() if sys.stderr.isatty() else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
