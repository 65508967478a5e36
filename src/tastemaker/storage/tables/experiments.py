"""Experiments: each version of what a team asked, with what became of it."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec.structs import replace
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
        with writing(self.engine) as connection:
            lock(connection, "experiments")
            put_rows(connection, experiments, [row_of(experiment)])
            move(connection, "experiments")

    def serve(self, name: str, version: int, models: Mapping[str, str]) -> bool:
        """Gives arms the model versions that they serve from now on, unless the experiment has ended meanwhile."""
        with writing(self.engine) as connection:
            lock(connection, "experiments")
            chosen = select(experiments.c.spec).where(experiments.c.experiment == name, experiments.c.version == version)
            found = connection.execute(chosen).scalar_one_or_none()
            known = None if found is None else _decode(found)
            if known is None or known.state != "running":
                return False
            arms = tuple(replace(arm, serves=models.get(arm.name, arm.serves)) for arm in known.arms)
            put_rows(connection, experiments, [row_of(replace(known, arms=arms))])
            move(connection, "experiments")
        return True

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

    def erase(self, user: str) -> int:
        """Takes a user out of those who are put into arms by hand. Returns from how many versions of experiments."""
        with writing(self.engine) as connection:
            lock(connection, "experiments")
            specs = [_decode(text) for text in connection.execute(select(experiments.c.spec)).scalars()]
            named = [experiment for experiment in specs if user in experiment.forced]
            left = [replace(one, forced={unit: arm for unit, arm in one.forced.items() if unit != user}) for one in named]
            put_rows(connection, experiments, [row_of(experiment) for experiment in left])
            move(connection, "experiments")
        return len(named)


def row_of(experiment: Experiment) -> dict[str, object]:
    spec = msgspec.json.encode(experiment).decode()
    return {
        "experiment": experiment.name, "version": experiment.version, "state": experiment.state, "made": experiment.made,
        "spec": spec,
    }  # fmt: skip
