"""Logs and metrics: one set-up, one list of names.

Log lines are events with fields (``slate_published users=943 seconds=1.2``): for people on a terminal, JSON elsewhere.
Secrets never reach them, because URLs are logged through ``config.hide`` only. Metric names live here and nowhere else,
so that the reference and the dashboards can be checked against them.
"""

from __future__ import annotations

import logging
import sys

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

log: structlog.stdlib.BoundLogger = structlog.get_logger("tastemaker")

REGISTRY = CollectorRegistry()
SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)

EVENTS = Counter("tastemaker_events", "Events by kind and result.", ["kind", "result"], registry=REGISTRY)
REQUESTS = Counter("tastemaker_requests", "Answers of the HTTP API by route and status.", ["route", "status"], registry=REGISTRY)
RUNGS = Counter("tastemaker_recommendations", "Recommendations by rung of the fallback ladder.", ["rung"], registry=REGISTRY)
LATENCY = Histogram("tastemaker_request_seconds", "Time to answer.", ["route"], buckets=SECONDS, registry=REGISTRY)
APPLIED = Counter("tastemaker_records_applied", "Records that the nearline worker applied.", registry=REGISTRY)
LAG = Gauge("tastemaker_log_lag_records", "Records of the log that a consumer has not seen yet.", ["group"], registry=REGISTRY)
FRESHNESS = Histogram(
    "tastemaker_freshness_seconds", "From an event's acknowledgement to its state.", buckets=SECONDS, registry=REGISTRY
)
LIVE = Gauge("tastemaker_live_model", "1 for the live model.", ["version", "kind"], registry=REGISTRY)
LIVE_AGE = Gauge("tastemaker_live_model_age_seconds", "Age of the live model.", registry=REGISTRY)
QUALITY = Gauge("tastemaker_quality", "Online metrics of the last monitored interval.", ["metric", "model"], registry=REGISTRY)
QUARANTINED = Counter("tastemaker_quarantined", "Events that were refused, by reason.", ["reason"], registry=REGISTRY)


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
