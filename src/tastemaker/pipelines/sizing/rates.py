"""What things cost on one core and how many bytes they take: measured by ``python -m benchmarks rates``, read by ``plan.py``.

``rates.json`` beside this file holds the figures with the machine, the date and the command that gave them. Times are CPU
seconds of the process that does the work, so that a machine which others use too gives nearly the same. Here stands what each
figure means and how formulas call it.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import NamedTuple

import msgspec
from msgspec import Struct

from tastemaker.errors import StorageError
from tastemaker.pipelines.sizing.arithmetic import Amount, amount

FILE = "rates.json"


class Known(NamedTuple):
    """A figure: its unit, its words in a formula, its sentence."""

    unit: str
    words: str
    text: str


KNOWN: dict[str, Known] = {
    # seconds of one core
    "request": Known("s", "CPU a request", "A recommendation from a stored slate over HTTP, Redis before PostgreSQL."),
    "ingested": Known("s", "CPU an event taken", "An event taken over HTTP in batches of ten, durable in Kafka."),
    "read": Known("s", "CPU a record read", "A record that the worker reads and that changes no state, as a decision."),
    "state": Known("s", "CPU a state", "A state moved by one event and written to both, without a slate."),
    "refreshed": Known("s", "CPU a new slate", "A state and its slate after an event, written to both, without scoring."),
    "one_score": Known("s", "CPU an item and factor", "Scoring all items for one user, for each."),
    "archived": Known("s", "CPU an event archived", "An event from the log into the lake."),
    "archived_decision": Known("s", "CPU a decision archived", "A decision of ten slots from the log into the lake."),
    "featured": Known("s", "CPU an event of features", "The step `features`, for each event in the lake."),
    "prepared": Known("s", "CPU an event prepared", "The training set made of the lake, for each event."),
    "trained": Known("s", "CPU an event and factor and epoch", "Training of als, for each event, factor and epoch."),
    "judged": Known("s", "CPU a user judged", "Metrics of one user and one model, without the scoring of items."),
    "composed": Known("s", "CPU a slate", "A slate of the step `publish`, without the scoring of items."),
    "block_score": Known("s", "CPU an item and factor", "Scoring all items for many users at once, for each."),
    # bytes
    "state_bytes": Known("B", "state", "A state without its events, its keys included."),
    "history_bytes": Known("B", "event of a history", "An event of a state's history."),
    "recent_bytes": Known("B", "remembered event id", "One of the last event ids that a state remembers."),
    "mark_bytes": Known("B", "mark", "The mark beside a state, key included."),
    "front_bytes": Known("B", "front", "The front of a slate, ten items with their reasons, key included."),
    "whole_bytes": Known("B", "whole slate without items", "The rest of a stored slate, key included."),
    "slot_bytes": Known("B", "item of a slate", "An item of a stored slate."),
    "counter_bytes": Known("B", "counter", "An item's counter of one partition."),
    "log_event": Known("B", "event in the log", "An event as the broker gets it, in batches of about ten, lz4."),
    "log_decision": Known("B", "decision in the log", "A decision of ten slots, the same way."),
    "lake_event": Known("B", "event in the lake", "An event in the lake's files, compacted."),
    "lake_decision": Known("B", "decision in the lake", "A decision of ten slots, the same way."),
    "answer_bytes": Known("B", "answer", "A recommendation's answer over HTTP, ten items with titles and reasons."),
    # factors of servers
    "redis_key": Known("B", "overhead a key", "What Redis needs for a key beside its bytes."),
    "redis_value": Known("", "overhead", "Bytes that Redis takes for a byte of keys and values."),
    "postgres_value": Known("", "overhead", "Bytes that PostgreSQL takes for a byte of keys and values, index included."),
    "redis_request": Known("s", "CPU of Redis a request", "What Redis itself works for a recommendation."),
    "redis_event": Known("s", "CPU of Redis an event", "What Redis itself works for an event with its state and slate."),
    "postgres_event": Known("s", "CPU of PostgreSQL an event", "What PostgreSQL itself works for such an event."),
    # Spark
    "spark_featured": Known("s", "CPU an event of features", "The queries of the step `features` on Spark, for each event."),
    "spark_prepared": Known("s", "CPU an event prepared", "The query of the training set on Spark, for each event."),
    "spark_trained": Known("s", "CPU a pair and factor and iteration", "MLlib's ALS, for each pair, factor and iteration."),
}  # fmt: skip


class Measured(Struct, frozen=True):
    """A median, the quartiles of its rounds, and where it was measured if not with the others."""

    value: float
    low: float
    high: float
    source: str = ""


class Rates(Struct, frozen=True):
    """All figures, and where they come from."""

    machine: str
    date: str
    command: str
    load: float
    figures: dict[str, Measured]

    def amount(self, name: str) -> Amount:
        """A figure as a term of a formula."""
        known = KNOWN[name]
        return amount(self.figures[name].value, known.words, known.unit)


def decoded(data: bytes) -> Rates:
    """Rates from JSON. Raises ``StorageError`` where a figure is missing or no number above 0."""
    try:
        rates = msgspec.json.decode(data, type=Rates)
    except msgspec.MsgspecError as error:
        raise StorageError(
            f"{FILE}: {error}: make it anew by `python -m benchmarks rates`, or install the package again"
        ) from error
    wrong = [name for name in KNOWN if name not in rates.figures or not rates.figures[name].value > 0]
    if wrong:
        raise StorageError(f"{FILE} lacks {', '.join(wrong)}: make it anew by `python -m benchmarks rates`")
    return rates


@cache
def measured() -> Rates:
    """The rates that come with the package."""
    return decoded(files("tastemaker.pipelines.sizing").joinpath(FILE).read_bytes())
