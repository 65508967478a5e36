"""Experiments: each version of what a team asked, with what became of it."""

from __future__ import annotations

import msgspec
from sqlalchemy import Engine, select

from tastemaker.domain import Experiment
from tastemaker.storage.tables.dialect import lock, move, put_rows, reading, writing
from tastemaker.storage.tables.schema import experiments

_decode = msgspec.json.Decoder(Experiment).decode


class Experiments:
    """The table. The newest version of a name is the experiment; older ones are its history."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def put(self, experiment: Experiment) -> None:
        """Writes an experiment over the one of its name and version."""
        row = {
            "experiment": experiment.name, "version": experiment.version, "state": experiment.state, "made": experiment.made,
            "spec": msgspec.json.encode(experiment).decode(),
        }  # fmt: skip
        with writing(self.engine) as connection:
            lock(connection, "experiments")
            put_rows(connection, experiments, [row])
            move(connection, "experiments")

    def get(self, name: str, version: int | None = None) -> Experiment | None:
        """An experiment in a version, or in its newest."""
        chosen = select(experiments.c.spec).where(experiments.c.experiment == name).order_by(experiments.c.version.desc())
        if version is not None:
            chosen = chosen.where(experiments.c.version == version)
        with reading(self.engine) as connection:
            found = connection.execute(chosen.limit(1)).scalar_one_or_none()
        return None if found is None else _decode(found)

    def all(self, state: str | None = None) -> list[Experiment]:
        """The newest version of each, the newest first; only those in a state, if one is given."""
        with reading(self.engine) as connection:
            chosen = select(experiments.c.spec).order_by(experiments.c.version.desc())
            specs = [_decode(text) for text in connection.execute(chosen).scalars()]
        newest: dict[str, Experiment] = {}
        for experiment in specs:
            newest.setdefault(experiment.name, experiment)
        found = [experiment for experiment in newest.values() if state in (None, experiment.state)]
        return sorted(found, key=lambda experiment: (-experiment.made, experiment.name))

    def versions(self, name: str) -> list[Experiment]:
        """All versions of one, the newest first."""
        chosen = select(experiments.c.spec).where(experiments.c.experiment == name).order_by(experiments.c.version.desc())
        with reading(self.engine) as connection:
            return [_decode(text) for text in connection.execute(chosen).scalars()]
