"""What a daily run needs: hours and memory of one machine, and what Spark would take for the same."""

from __future__ import annotations

from tastemaker.pipelines.sizing.arithmetic import Amount, amount, figure, whole
from tastemaker.pipelines.sizing.terms import HOUR, Section, Terms

READERS = 3
"""Steps that make the training set: train, evaluate, publish."""
TRAININGS = 2
"""The twin that is judged and the model."""
MAPPED = 48
"""Bytes on the disk for each event while a model learns, see the page on large data."""
VECTORS, ROW, NAME = 12, 256, 60
"""Bytes of memory of als for each factor of a row, and for each row; of the row's name."""
DUCKDB = 4_096_000_000
"""``train.memory_mb``."""
PROCESS = 268_400_000
"""Code, threads and blocks."""
EXECUTOR = 4
"""Cores of an executor."""


def here(of: Terms) -> Section:
    """The daily run on one machine: archive, evaluate and publish use one core, features and training all."""
    kept = of.term("events kept")
    archived = of.events * of.rate("archived") + of.term("requests a day") * of.rate("archived_decision")
    archive = of.keep(figure("archive", archived / HOUR, "h", "archive"))
    features = of.keep(figure("features", kept * of.rate("featured") / HOUR, "h", "features"))
    prepared = of.keep(figure("a training set", kept * of.rate("prepared") / HOUR, "h", "a training set"))
    train = of.keep(figure("train als", learning(of, "epochs", "trained") / HOUR, "h", "train als"))
    judged = of.rate("judged") + of.items * of.factors * of.rate("block_score")
    models = amount(2, "models")
    evaluate = of.keep(figure("evaluate", of.users * of.active * models * judged / HOUR, "h", "evaluate"))
    publish = of.keep(figure("publish", composing(of) / HOUR, "h", "publish"))
    alone = archive.amount + evaluate.amount + publish.amount
    shared = features.amount + train.amount + amount(READERS, "times") * prepared.amount
    return of.section(
        "Daily run on one machine, hours of a core", archive, features, prepared, train, evaluate, publish,
        figure("hours of the run", alone + shared / of.cores, "h"),
        figure("training memory", memory(of), "B"),
        figure("training disk", of.term("events in histories") * amount(MAPPED, "event", "B"), "B"),
    )  # fmt: skip


def memory(of: Terms) -> Amount:
    """The bound of als, and what makes the training set."""
    row = of.factors * amount(VECTORS, "factor", "B") + amount(ROW, "row", "B") + amount(NAME, "name", "B")
    return (of.users + of.items) * row + amount(DUCKDB, "DuckDB", "B") + amount(PROCESS, "process", "B")


def learning(of: Terms, rounds: str, rate: str) -> Amount:
    """Training of als: the twin and the model."""
    once = of.term("events in histories") * of.factors * amount(of.work.epochs, rounds) * of.rate(rate)
    return once * amount(TRAININGS, "trainings")


def composing(of: Terms) -> Amount:
    """Everybody's slate, wherever that is done."""
    return of.users * (of.rate("composed") + of.items * of.factors * of.rate("block_score"))


def spark(of: Terms) -> Section:
    """The heavy steps on a cluster, done within the window."""
    kept = of.term("events kept")
    features = of.keep(figure("features on Spark", kept * of.rate("spark_featured") / HOUR, "h"))
    prepared = of.keep(figure("training sets on Spark", kept * amount(READERS, "times") * of.rate("spark_prepared") / HOUR, "h"))
    train = of.keep(figure("train on Spark", learning(of, "iterations", "spark_trained") / HOUR, "h"))
    publish = of.keep(figure("publish on Spark", composing(of) / HOUR, "h"))
    window = amount(of.work.window, "window", "h")
    most = features.amount + prepared.amount + publish.amount
    few = of.keep(figure("Spark cores, als here", most * of.margin / window, "cores", "on Spark"))
    all_ = of.keep(figure("Spark cores, als too", (most + train.amount) * of.margin / window, "cores", "on Spark"))
    each = amount(EXECUTOR, "cores each")
    return of.section(
        "The same on Spark, hours of a core", features, prepared, publish, train, few, all_,
        figure("executors, als here", whole(few.amount / each)),
        figure("executors, als too", whole(all_.amount / each)),
    )  # fmt: skip
