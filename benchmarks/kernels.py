"""The two kernels that cost the most, beside the fastest peers: training of iALS, and the best k of all items for all users.

    python -m benchmarks.kernels [--rounds 7] [--factors 64,128,256]

Gowalla, LightGCN split. All train the same loss with the same hyper-parameters for the same epochs, and give Recall@20 and
NDCG@20 for it; for the selection all get the same factors and must give the same items. Rounds are interleaved, and the
ratio is taken within a round, so that whatever else the machine does meets all of them. Ours is compiled before the clock
starts. implicit runs with BLAS limited to one thread, as it asks for: with its own threads beside BLAS's it is slower.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # it has no types

from benchmarks.model_data import gowalla
from benchmarks.model_peers import IMPLICIT, IRSPACK, missing
from benchmarks.report import machine, write_section
from tastemaker.evaluation.metrics import evaluate_lists
from tastemaker.models.als import Als, AlsParams
from tastemaker.models.interactions import Floats, Histories, Interactions, Rows
from tastemaker.models.topk import top_scores

EPOCHS = 5
ALPHA0, REG, NU = 0.016, 0.001, 1.0
SELECTIONS = ((64, 20), (128, 20), (256, 100))
Factors = tuple[Floats, Floats]
Contestant = Callable[[], Any]


@dataclass(frozen=True)
class Spent:
    """Seconds of one run, by the clock and of all cores together."""

    wall: float
    cpu: float


@dataclass(frozen=True)
class World:
    """The data in the forms that the contestants read."""

    data: Interactions
    matrix: sp.csr_matrix
    wanted: Rows

    def quality(self, factors: Factors) -> tuple[float, float]:
        """Recall@20 and NDCG@20 of users' and items' factors."""
        users, items = factors
        asked = np.flatnonzero(self.wanted.lengths > 0)
        relevant = Rows(np.concatenate([[0], self.wanted.indptr[1:][asked]]), self.wanted.items)
        found = top_scores(users[asked], items, 20, self.data.histories.take(asked))
        metrics = evaluate_lists(found.items, relevant, [20])
        return float(metrics["recall@20"].mean()), float(metrics["ndcg@20"].mean())


def world() -> World:
    data, wanted = gowalla()
    rows = data.histories
    return World(data, sp.csr_matrix((rows.weights, rows.items, rows.indptr), (len(rows), len(data.items))), wanted)


def ours(world: World, f: int) -> tuple[Contestant, Callable[[Any], Factors]]:
    params = AlsParams(factors=f, epochs=EPOCHS, alpha0=ALPHA0, reg=REG, nu=NU)
    return lambda: Als(params).fit(world.data), lambda model: (model.fold_in(world.data.histories), model.factors)


def peer_class(module: str, name: str) -> Any:
    """Loaded when it is asked for: the peers may be missing, and this module be imported all the same."""
    return getattr(importlib.import_module(module), name)


def implicit(world: World, f: int) -> tuple[Contestant, Callable[[Any], Factors]]:
    """Its alpha and regularization, in its units, are the same loss up to a factor."""

    def fit() -> Any:
        model = peer_class("implicit.als", "AlternatingLeastSquares")(
            factors=f, alpha=1 / ALPHA0, regularization=37, iterations=EPOCHS, random_state=0
        )
        model.fit(world.matrix, show_progress=False)
        return model

    return fit, lambda model: (model.user_factors, model.item_factors)


def irspack(world: World, f: int) -> tuple[Contestant, Callable[[Any], Factors]]:
    def fit() -> Any:
        model = peer_class("irspack.recommenders", "IALSRecommender")(
            world.matrix,
            n_components=f,
            alpha0=ALPHA0,
            reg=REG,
            nu=NU,
            solver_type="CG",
            max_cg_steps=3,
            n_threads=os.cpu_count(),
            train_epochs=EPOCHS,
        )
        with contextlib.redirect_stdout(io.StringIO()):  # its progress bar
            model.learn()
        return model

    def factors(model: Any) -> Factors:
        return model.get_user_embedding().astype(np.float32), model.get_item_embedding().astype(np.float32)

    return fit, factors


TRAINERS = {"tastemaker": ours, "implicit": implicit, "irspack": irspack}


def timed(work: Contestant) -> tuple[Any, Spent]:
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    return result, Spent(time.perf_counter() - wall, time.process_time() - cpu)


def blas_for(name: str) -> contextlib.AbstractContextManager[object]:
    return threadpool_limits(1, "blas") if name.startswith("implicit") else contextlib.nullcontext()


def interleaved(contestants: dict[str, Contestant], rounds: int) -> tuple[dict[str, Any], dict[str, list[Spent]]]:
    """The last result and the times of each."""
    results: dict[str, Any] = {}
    spent: dict[str, list[Spent]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, work in contestants.items():
            with blas_for(name):
                results[name], took = timed(work)
            spent[name].append(took)
    return results, spent


def ratio(spent: dict[str, list[Spent]], name: str, clock: str) -> str:
    """How many times ours a peer took: the median, and the quartiles, of the rounds."""
    found = [getattr(peer, clock) / getattr(own, clock) for own, peer in zip(spent["tastemaker"], spent[name], strict=True)]
    low, middle, high = statistics.quantiles(found, n=4) if len(found) > 1 else found * 3
    return f"{middle:.2f} ({low:.2f}–{high:.2f})"


def line(first: str, spent: dict[str, list[Spent]], name: str, unit: Callable[[float], str], rest: str) -> str:
    """A row of a table."""
    wall = unit(min(each.wall for each in spent[name]))
    cpu = unit(min(each.cpu for each in spent[name]))
    ratios = "1 | 1" if name == "tastemaker" else f"**{ratio(spent, name, 'wall')}** | {ratio(spent, name, 'cpu')}"
    return f"| {first} | {name} | {wall} | {cpu} | {ratios} | {rest} |"


def training(world: World, f: int, rounds: int) -> list[str]:
    """Rows of the table of training."""
    makers = {name: make(world, f) for name, make in TRAINERS.items()}
    results, spent = interleaved({name: fit for name, (fit, _) in makers.items()}, rounds)
    lines = []
    for name, (_, factors) in makers.items():
        recall, ndcg = world.quality(factors(results[name]))
        lines.append(line(str(f), spent, name, lambda seconds: f"{seconds / EPOCHS:.3f}", f"{recall:.4f} | {ndcg:.4f}"))
    return lines


def selecting(world: World, f: int, k: int, rounds: int, peak: float) -> list[str]:
    """Rows of the table of selection."""
    rows = world.data.histories
    users, items = ours(world, f)[1](ours(world, f)[0]())
    peer = peer_class("implicit.als", "AlternatingLeastSquares")(factors=f)
    peer.user_factors, peer.item_factors = users, items
    everybody = np.arange(len(rows))
    contestants: dict[str, Contestant] = {
        "tastemaker": lambda: top_scores(users, items, k, rows).items,
        "implicit": lambda: peer.recommend(everybody, world.matrix, N=k, filter_already_liked_items=True)[0],
    }
    results, spent = interleaved(contestants, rounds)
    same = f"{(results['tastemaker'] == results['implicit']).mean():.5f}"
    lines = []
    for name in contestants:
        products = 2e-9 * len(rows) * len(items) * f / min(each.cpu for each in spent[name])
        share = f"{products:,.0f} ({100 * products / peak:.0f} %) | {'' if name == 'tastemaker' else same}"
        lines.append(line(f"{f}, k = {k}", spent, name, lambda seconds: f"{seconds:.2f}", share))
    return lines


def blas_peak(size: int = 2048, rounds: int = 9) -> float:
    """What numpy's float32 product of square matrices reaches at best, GFLOP for a second of a core, also on a busy machine."""
    square = np.random.default_rng(0).random((size, size), dtype=np.float32)
    return 2e-9 * size**3 / min(timed(lambda: square @ square)[1].cpu for _ in range(rounds))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Training of iALS and the best k, beside implicit and irspack.")
    parser.add_argument("--rounds", type=int, default=7, help="interleaved rounds")
    parser.add_argument("--factors", default="64,128,256", help="numbers of factors, separated by commas")
    options = parser.parse_args(arguments)
    if lacking := [why for by in (IMPLICIT, IRSPACK) if (why := missing(by, "als"))]:
        print(f"skipped: {'; '.join(lacking)}")
        return
    wanted, here = [int(f) for f in options.factors.split(",")], world()
    ours(here, 8)[0]().recommend(Histories.empty(5), 1)  # compiles
    top_scores(np.ones((100, 8), np.float32), np.ones((100, 8), np.float32), 5)
    text = report(here, wanted, options.rounds)
    print(text)
    if wanted == [64, 128, 256]:
        write_section("kernels", text)


def report(here: World, wanted: Sequence[int], rounds: int) -> str:
    """Both tables as Markdown."""
    peak = blas_peak()
    trained = [row for f in wanted for row in training(here, f, rounds)]
    selected = [row for f, k in SELECTIONS if f in wanted for row in selecting(here, f, k, rounds, peak)]
    note = (
        f"{machine()} {rounds} interleaved rounds: the best times, the median ratio of a round and its quartiles. An epoch is a "
        f"fifth of a whole training of {EPOCHS}. BLAS alone reaches {peak:,.0f} GFLOP per CPU second; work that the lengths of "
        f"the vectors spare counts as done. Load of the machine at the end: {os.getloadavg()[0]:.1f}."
    )
    return "\n".join(
        [
            "| factors | training | s/epoch | CPU s/epoch | × ours | CPU × ours | Recall@20 | NDCG@20 |",
            "|---|---|---:|---:|---:|---:|---:|---:|",
            *trained,
            "",
            "| factors | best k for all | s | CPU s | × ours | CPU × ours | GFLOP per CPU s (of BLAS's) | same items |",
            "|---|---|---:|---:|---:|---:|---:|---:|",
            *selected,
            "",
            note,
        ]
    )


if __name__ == "__main__":
    main()
