"""The data sets that models are judged on, and by which protocol: what may be learnt, who is asked, what counts as found.

The full catalogue is ranked always, never a sample of it, and what stands in a user's history is never recommended.

gowalla       The LightGCN split as given: learn from its training part, Recall@20 and NDCG@20 over all users with test items.
ml-1m         Leave-one-out: a user's last item is to be found from all before it, HR@10 and NDCG@10 over all 6,040 users and
              3,416 items. The last item but one is the validation. Order is that of the file; clock times are not used.
ml-1m-time    One line through time for everybody: learn from what was rated up to 2000-12-02 14:45 UTC. Asked are users with
              ratings on both sides of the line, for what they rated after it.
small-time    MovieLens latest small, the newest tenth of all ratings against the rest, the same way. Few are on both sides.
quick         A made-up world of 300 people, to see that the benchmark works.

A rating counts as one event, however many stars it has: what is predicted is what people choose to rate. Ratings of items
with fewer than five ratings are left out of both ml-1m sets, as the literature does.

Settings are chosen on ``validation``, which is cut from the training part alone. No data set is part of the project: they are
read from ``$TASTEMAKER_DATA``, else from beside the checkout.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as arrow_csv
import pyarrow.parquet as pq

from benchmarks.model_catalogue import described
from tastemaker.evaluation.splits import Split, divided, given, judged, leave_one_out, temporal
from tastemaker.models.interactions import Histories, Interactions, Rows, Vocabulary

VALIDATION = 0.1
"""Share of the training events that are held out to choose settings by, where the protocol does not name them."""
FOLDERS = {"gowalla": "gowalla", "ml-1m": "ml-1m", "ml-1m-time": "ml-1m", "small-time": "ml-latest-small"}


@dataclass(frozen=True)
class Protocol:
    """One data set under one way to judge on it. ``recall`` is the hit rate where a user has one item to find."""

    title: str
    k: int
    recall: str  # what recall@k is called there
    text: str
    load: Callable[[], Split]
    validation: Callable[[Interactions], Split]
    published: tuple[tuple[str, float, float], ...] = ()  # (method, recall, NDCG) as papers or their code state them


def data_folder() -> Path:
    """Where the data sets lie: ``$TASTEMAKER_DATA``, else beside the checkout."""
    return Path(os.environ.get("TASTEMAKER_DATA", Path(__file__).parents[2] / "shared" / "data"))


def data_file(folder: str, name: str) -> Path:
    path = data_folder() / folder / name
    if not path.is_file():
        raise SystemExit(f"{path}: no such file; set TASTEMAKER_DATA to the folder that holds {folder}/")
    return path


def available(dataset: str) -> str:
    """Why a data set cannot be used here; empty where it can."""
    folder = FOLDERS.get(dataset)
    if folder is None or (data_folder() / folder).is_dir():
        return ""
    return f"there is no folder {folder}/ in {data_folder()}; set TASTEMAKER_DATA to the folder that holds it"


def histories(users: npt.NDArray[Any], items: npt.NDArray[Any], order: npt.NDArray[Any], count: int) -> Histories:
    """Events of weight 1 as ``count`` rows; ``order``: milliseconds, or any numbers that grow with time."""
    ones = np.ones(len(users), np.float32)
    return Histories.grouped(users.astype(np.int64), items.astype(np.int32), ones, order.astype(np.int64), count)


def training_set(rows: Histories, items: int) -> Interactions:
    """Histories over items without names; their times may be an order only."""
    now = int(rows.times.max(initial=0))
    return Interactions(tuple(map(str, range(len(rows)))), Vocabulary(tuple(map(str, range(items)))), rows, now)


def gowalla() -> tuple[Interactions, Rows]:
    """29,858 users, 40,981 items, 810,128 events to learn from and 217,242 to find; no times."""
    parts = []
    for name in ("train", "test"):
        table = pq.read_table(data_file("gowalla", f"{name}.parquet"))
        users, items = table["user_id"].to_numpy(), table["item_id"].to_numpy()
        parts.append(histories(users, items, np.zeros(len(users)), 29_858))
    return training_set(parts[0], 40_981), parts[1]


def movielens() -> tuple[Interactions, Rows]:
    """6,040 users, 3,416 items; the last event of each user is to be found, all 993,571 before it are given."""
    table, items = movielens_events()
    last = pc.equal(table["split_loo"], "test").to_numpy()
    users, order = table["user_id"].to_numpy() - 1, table["position"].to_numpy()
    train = training_set(histories(users[~last], items[~last], order[~last], 6_040), int(items.max()) + 1)
    return described(train, movielens_films(table)), histories(users[last], items[last], order[last], 6_040)


def movielens_events() -> tuple[pa.Table, npt.NDArray[np.int64]]:
    """The ratings of ml-1m, by user and position, and the number of each one's item."""
    table = pq.read_table(data_file("ml-1m", "ratings.parquet"))
    table = table.filter(pc.not_equal(table["split_loo"], "excluded"))
    _, items = np.unique(table["item_id"].to_numpy(), return_inverse=True)
    return table, items.astype(np.int64)


def movielens_films(events: pa.Table) -> list[tuple[str, str]]:
    """Title and genres ('|' between them) of each item, by its number."""
    films = pq.read_table(data_file("ml-1m", "movies.parquet")).to_pydict()
    known = dict(zip(films["item_id"], zip(films["title"], films["genres"], strict=True), strict=True))
    return [known[item] for item in np.unique(events["item_id"].to_numpy()).tolist()]


def movielens_time() -> Split:
    """6,040 users, 3,416 items; 799,832 events before the line. The times after it are not known and not needed."""
    table, items = movielens_events()
    users, later = table["user_id"].to_numpy() - 1, pc.equal(table["split_time"], "test").to_numpy()
    seconds = pc.fill_null(table["timestamp"], 0).to_numpy().astype(np.int64)
    before = histories(users[~later], items[~later], table["position"].to_numpy()[~later], 6_040)
    # the file's times are good to ten minutes, its order is exact: within a user time never runs backwards
    times = np.maximum.accumulate(np.where(later, 0, seconds) + users.astype(np.int64) * 10**11) % 10**11
    known = histories(users[~later], items[~later], 1000 * times[~later], 6_040)
    if not np.array_equal(known.items, before.items):
        raise SystemExit("ml-1m/ratings.parquet: times and positions disagree; it is not the file this protocol was made for")
    train = described(training_set(known, int(items.max()) + 1), movielens_films(table))
    after = histories(users[later], items[later], table["position"].to_numpy()[later], 6_040)
    return both_sides(judged(train, np.arange(6_040), after, repeats=False))


def small_time() -> Split:
    """610 users, 9,724 items; one line through 100,836 ratings."""
    table = pq.read_table(data_file("ml-latest-small", "ratings.parquet"))
    films = arrow_csv.read_csv(data_file("ml-latest-small", "movies.csv")).to_pydict()
    known = dict(zip(films["movieId"], zip(films["title"], films["genres"], strict=True), strict=True))
    _, users = np.unique(table["user_id"].to_numpy(), return_inverse=True)
    ids, items = np.unique(table["item_id"].to_numpy(), return_inverse=True)
    rows = histories(users, items, 1000 * table["timestamp"].to_numpy(), int(users.max()) + 1)
    data = described(training_set(rows, len(ids)), [known[item] for item in ids.tolist()])
    return both_sides(temporal(data))


def quick() -> Split:
    """People of three tastes who choose among 240 items; made up, the same every time."""
    random = np.random.default_rng(0)
    users, items, taste = 300, 240, np.arange(300) % 3
    own = taste[:, None] * 80 + (random.pareto(1.0, (users, 30)) * 12).astype(np.int64) % 80
    chosen = np.where(random.random((users, 30)) < 0.9, own, random.integers(0, items, (users, 30)))
    found = [np.unique(row, return_index=True)[1] for row in chosen]
    who = np.repeat(np.arange(users), [len(row) for row in found])
    what = np.concatenate([chosen[user][np.sort(places)] for user, places in enumerate(found)])
    when = np.concatenate([np.sort(random.integers(0, 10**9, len(row))) for row in found])
    data = training_set(histories(who, what, when, users), items)
    return both_sides(temporal(described(data, [(f"Film {item}", f"Genre {item // 80}") for item in range(items)]), 0.2))


def both_sides(split: Split) -> Split:
    """Without users of whom nothing was known before the line; they are counted."""
    known = np.flatnonzero(~split.new)
    lengths = split.relevant.lengths[known]
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    items = np.concatenate([split.relevant.row(int(row)) for row in known])
    excluded = split.excluded | {"users without events before the line": int(np.count_nonzero(split.new))}
    users, rows = split.users[known], split.histories.take(known)
    return Split(split.train, users, rows, Rows(indptr, items), split.new[known], excluded)


def gowalla_split() -> Split:
    train, wanted = gowalla()
    ones, zeros = np.ones(len(wanted.items), np.float32), np.zeros(len(wanted.items), np.int64)
    return given(train, Interactions(train.users, train.items, Histories(wanted.indptr, wanted.items, ones, zeros)))


def movielens_split() -> Split:
    train, wanted = movielens()
    ones, zeros = np.ones(len(wanted.items), np.float32), np.zeros(len(wanted.items), np.int64)
    return judged(train, np.arange(len(wanted)), Histories(wanted.indptr, wanted.items, ones, zeros), repeats=False)


def at_random(train: Interactions) -> Split:
    """A tenth of the events at random: all that can be done where there is no time. Prefers less damping of popularity."""
    held_out = np.random.default_rng(0).random(len(train.histories.items)) < VALIDATION
    return both_sides(divided(train, held_out, train.now, repeats=False))


def newest(train: Interactions) -> Split:
    """The newest tenth of the training events against those before."""
    return both_sides(temporal(train, VALIDATION))


LEFT_OUT = "The full catalogue is ranked, without the items of the user's history."

PROTOCOLS: dict[str, Protocol] = {
    "gowalla": Protocol(
        "Gowalla, the LightGCN split",
        20,
        "Recall",
        "Check-ins without times, split as published: 810,128 to learn from, 217,242 to find. Everybody who has test items is "
        f"asked: all 29,858 users. {LEFT_OUT} Recall is hits divided by the user's test items; NDCG's ideal is "
        "min(20, test items) hits.",
        gowalla_split,
        at_random,
        (
            ("LightGCN", 0.1830, 0.1554),
            ("GF-CF", 0.1849, 0.1518),
            ("UltraGCN", 0.1862, 0.1580),
            ("SimpleX", 0.1872, 0.1557),
            ("BSPM-EM", 0.1920, 0.1597),
        ),
    ),
    "ml-1m": Protocol(
        "MovieLens 1M, leave-one-out",
        10,
        "HR",
        "Each user's last item is to be found from all before it, in the order that the sequential literature uses; all 6,040 "
        f"users are asked. {LEFT_OUT} The catalogue has 3,416 items. Others' later events are part of the training, as "
        "everywhere in that literature: use it to compare, and a line through time to decide.",
        movielens_split,
        leave_one_out,
        (("SASRec", 0.2392, 0.1259), ("gSASRec", 0.3003, 0.1726), ("SASRec+ 3000", 0.3159, 0.1857)),
    ),
    "ml-1m-time": Protocol(
        "MovieLens 1M, one line through time",
        10,
        "Recall",
        "All ratings up to 2000-12-02 14:45 UTC are learnt from. Asked are exactly the users with ratings both before and "
        "after, 1,143 of 6,040, for all that they rated after it; the 4,257 who had stopped and the 640 who came later are not. "
        f"{LEFT_OUT} Nothing that happened after the line is known to any model.",
        movielens_time,
        newest,
    ),
    "small-time": Protocol(
        "MovieLens latest small, one line through time",
        10,
        "Recall",
        "The newest tenth of all ratings is to be found. Asked are exactly the users with ratings on both sides of the line, "
        f"27 of 610: the intervals say how little that is. {LEFT_OUT} Items that appear only after the line stay wanted, though "
        "no model can reach them but by their words.",
        small_time,
        newest,
    ),
    "quick": Protocol("A made-up world", 10, "Recall", "300 people of three tastes, 240 items.", quick, newest),
}
SETS = tuple(name for name in PROTOCOLS if name != "quick")


def split_of(dataset: str, part: str) -> Split:
    """What is learnt and who is asked. ``part``: "test", or "validation", which is cut from the training part."""
    protocol = PROTOCOLS[dataset]
    split = protocol.load()
    return split if part == "test" else protocol.validation(split.train)
