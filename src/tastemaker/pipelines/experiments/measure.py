"""An experiment measured from the lake: exact, as new as the last ``ingest``."""

from __future__ import annotations

from tastemaker.config import Config
from tastemaker.domain import Experiment
from tastemaker.evaluation.exposing import question_of
from tastemaker.evaluation.measuring import measured as answered
from tastemaker.experiments.verdicts import Data
from tastemaker.features.table import connect
from tastemaker.storage import Storage

TABLES = ("exposures", "interactions", "decisions", "views")


def measured(storage: Storage, config: Config, experiment: Experiment, now: int) -> Data:
    """What the lake knows of an experiment, of events up to ``now`` (epoch ms) and to its end.

    Raises ``InputError`` for a metric that the configuration does not know.
    """
    question = question_of(config, experiment, now)
    connection = connect()
    try:
        found = {name: storage.lake.scan(connection, name) for name in TABLES}
        return answered({name: table for name, table in found.items() if table is not None}, question)
    finally:
        connection.disconnect()
