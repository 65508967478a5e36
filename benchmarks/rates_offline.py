"""The offline half of the rates: steps of a daily run one by one, scoring at two sizes of the catalogue, training of als."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from benchmarks.rates_world import FACTORS, fill, item, user
from benchmarks.world import START
from tastemaker.config import Config
from tastemaker.models.als import Als, AlsParams
from tastemaker.models.interactions import Histories, Interactions, Vocabulary
from tastemaker.pipelines.catalog import pipeline
from tastemaker.pipelines.running import do_step, opened_run, window_of
from tastemaker.pipelines.training import training_set
from tastemaker.registry.live import promote
from tastemaker.storage import Storage, connect
from tastemaker.streaming.worker import Worker

EACH = 25  # events of each user of a training
K, BLOCK = 100, 256  # items of a list, users of a call
Found = dict[str, list[float]]
"""Figure -> what each round gave."""


@contextmanager
def cpu() -> Iterator[list[float]]:
    """CPU seconds of this process in the block, as the list's one number."""
    used = [0.0]
    began = time.process_time()
    yield used
    used[0] = time.process_time() - began


def silent(*_: object) -> None:
    """Nobody watches."""


class Offline:
    """The steps of a daily run, one by one, over a world of files."""

    def __init__(self, config: Config, world: tuple[int, int, int], found: Found) -> None:
        self.config, self.world, self.found = config, world, found
        self.scoring = world[1] * FACTORS  # times the rate of a block is what one user's scoring takes

    def measure(self) -> None:
        """Leaves a live als model, everybody's states and slates."""
        with connect(self.config) as storage:
            records = fill(storage, *self.world)
            run = opened_run(storage, pipeline("daily"), START + 31 * 86_400_000)
            events = self.world[0] * self.world[2]
            used: dict[str, float] = {}
            for step in map(pipeline("daily").step, ("ingest", "features", "train", "evaluate")):  # the gate is not asked
                with cpu() as spent:
                    run = do_step(storage, self.config, run, step, silent)
                used[step.name] = spent[0]
            versions = run.steps["ingest"]["summary"]["versions"]
            self.found["archived"].append(used["ingest"] / records)
            self.found["featured"].append(used["features"] / events)
            for _ in range(3):
                with cpu() as spent:
                    training_set(storage, self.config, versions, window_of(run).end)
                self.found["prepared"].append(spent[0] / events)
            prepared = self.found["prepared"][-1] * events
            judged = run.steps["evaluate"]["summary"]["users"]
            score = statistics.median(self.found["block_score"]) * self.scoring
            self.found["judged"].append(max(0.0, (used["evaluate"] - prepared) / judged - score) / 2)  # two models, one scores
            self.publish(storage, prepared)

    def publish(self, storage: Storage, prepared: float) -> None:
        promote(storage, next(card.version for card in storage.tables.models.all(kind="als")), START)
        worker = Worker(storage, self.config)
        worker.drain()
        worker.stop()
        run = opened_run(storage, pipeline("hourly"), START + 32 * 86_400_000)
        for step in map(pipeline("hourly").step, ("ingest", "freshen", "publish")):
            with cpu() as spent:
                run = do_step(storage, self.config, run, step, silent)
        score = statistics.median(self.found["block_score"]) * self.scoring
        self.found["composed"].append((spent[0] - prepared) / self.world[0] - score)


def scoring(found: Found, sizes: tuple[int, int], rounds: int) -> None:
    """What an item more costs, for one user and in a block of users: the slope between two catalogues."""
    random = np.random.default_rng(0)
    used: dict[tuple[int, int], list[float]] = defaultdict(list)
    for size in sizes:
        model = Als(AlsParams(factors=FACTORS))
        model.items = Vocabulary(tuple(map(item, range(size))))
        model.settle(random.standard_normal((size, FACTORS)).astype(np.float32))
        for round_ in range(rounds + 1):
            for users, times in ((1, 32), (BLOCK, 1)):
                asked = histories(random, users, size, 40)
                with cpu() as spent:
                    for _ in range(times):
                        model.recommend(asked, K)
                used[users, size] += [spent[0] / times / users] if round_ else []
    for users, name in ((1, "one_score"), (BLOCK, "block_score")):
        for small, large in zip(used[users, sizes[0]], used[users, sizes[1]], strict=True):
            found[name].append((large - small) / (sizes[1] - sizes[0]) / FACTORS)


def histories(random: np.random.Generator, users: int, items: int, each: int) -> Histories:
    """Users with as many different items each, popular ones more often."""
    taken = (random.pareto(1.0, users * each) * items / 50).astype(np.int64) % items
    rows = np.repeat(np.arange(users), each)
    return Histories.grouped(rows, taken.astype(np.int32), np.ones(len(rows), np.float32), np.arange(len(rows)), users)


def training(found: Found, people: int, items: int, rounds: int) -> None:
    """als where the users' vectors lie in memory and not in a cache."""
    random = np.random.default_rng(0)
    rows = histories(random, people, items, EACH)
    data = Interactions(tuple(map(user, range(people))), Vocabulary(tuple(map(item, range(items)))), rows)
    params = AlsParams(factors=FACTORS)
    for round_ in range(rounds + 1):
        with cpu() as spent:
            Als(params).fit(data)
        found["trained"] += [spent[0] / len(rows.items) / FACTORS / params.epochs] if round_ else []
