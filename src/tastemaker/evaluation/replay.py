"""Test, then learn: the past replayed event by event, each one asked for before it is known.

A split asks once; a platform is asked all day, while histories grow and models are trained anew. So events go by in the order of
time: for each the model gives its list for the user's history so far, the place of the event's item in it is noted
(``traces.py``), and only then the event is history. Every so often a new model learns from all that has been (prequential
evaluation: Dawid, "The prequential approach", 1984; for recommenders Vinagre, Jorge and Gama, "Evaluation of recommender
systems in streaming environments", 2014).

Time is one for all: nobody is asked about an event with a model, or a history, that knows a later one. Events of a user at the
same time are asked for together, before any of them is known. Items that the user has had already are not asked for, as they
are not recommended, and are counted; so are those of people without any event before. Between two trainings nothing but
histories changes, so all events of a stretch are answered together, in blocks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from tastemaker.errors import InputError
from tastemaker.evaluation.evaluate import Recommend, with_fallback
from tastemaker.evaluation.traces import Trace, order_of
from tastemaker.evaluation.translation import renumbered, translated
from tastemaker.models import UNTOUCHED, Progress, Recommender, silent
from tastemaker.models.interactions import Bools, Histories, Interactions, Ints, Longs, Rows, Vocabulary, item_counts

Factory = Callable[[], Recommender]
"""Makes an untrained model; ``lambda: create("als")`` is one."""
LONGEST = 500
BLOCK = 512


@dataclass(frozen=True)
class Asked:
    """Events that are asked for, in the order of time. (events,) each."""

    entries: Longs  # places in the histories
    rows: Longs  # users
    ends: Longs  # where the user's history before the event ends


def prequential(
    data: Interactions,
    factory: Factory,
    *,
    every: int,
    k: int = 20,
    burn_in: float = 0.25,
    fold_in: bool = True,
    fallback: Factory | None = None,
    length: int = LONGEST,
    strangers: bool = True,
    name: str = "",
    seed: int = 0,
    progress: Progress = silent,
) -> Trace:
    """Replays all events of ``data`` after the oldest share of ``burn_in``, from which the first model learns.

    ``every``: milliseconds from one training to the next; 0: the first model stays. ``fold_in``: the model sees each user's
    newest ``length`` events before the asked one; else those that it has learnt from, as if slates were written at trainings
    only. ``fallback``: a model for those whom the first one has too little to say to. ``strangers``: whether first events of
    users are asked for. Raises ``InputError`` for a burn-in without events before or after, and for a negative interval.
    """
    if every < 0:
        raise InputError("every", every, "give the milliseconds from one training to the next, or 0 for a single one")
    histories = data.histories
    begin = first_time(histories.times, burn_in)
    asked, excluded = questions(histories, begin, strangers)
    if not len(asked.entries):
        raise InputError("burn_in", burn_in, f"no event is left to ask for ({excluded}); give less, or bring more data")
    times = histories.times[asked.entries]
    ranks, training, answering, lists = np.zeros(len(times), np.int64), 0.0, 0.0, 0
    trained: list[int] = []
    for cut, part in stretches(times, begin, every):
        began = time.perf_counter()
        recommend = learnt(data, factory, fallback, cut, seed)
        training += time.perf_counter() - began
        trained.append(cut)
        began = time.perf_counter()
        for start in range(part.start, part.stop, BLOCK):
            block = slice(start, min(start + BLOCK, part.stop))
            ranks[block], count = answered(recommend, histories, asked, block, k, None if fold_in else cut, length)
            lists += count
            progress(block.stop, len(times), f"{name} hit rate {np.count_nonzero(ranks[: block.stop]) / block.stop:.3f}".strip())
        answering += time.perf_counter() - began
    return Trace(name, k, times, asked.rows, ranks, tuple(trained), excluded, training, 1000 * answering / max(lists, 1))


def first_time(times: Longs, burn_in: float) -> int:
    """The time (ms) from which on events are asked for."""
    if not 0 < burn_in < 1:
        raise InputError("burn_in", burn_in, "give the share of events that the first model learns from, between 0 and 1")
    if not len(times):
        raise InputError("data", 0, "there are no events to replay")
    begin = int(np.partition(times, int(len(times) * burn_in))[int(len(times) * burn_in)])
    if begin == times.min():
        raise InputError("burn_in", burn_in, "so many of the oldest events are of one moment that none comes before; give more")
    return begin


def questions(histories: Histories, begin: int, strangers: bool) -> tuple[Asked, dict[str, int]]:
    """The events to ask for, and what is left out and why."""
    rows = np.repeat(np.arange(len(histories), dtype=np.int64), histories.lengths)
    starts = histories.indptr[rows]
    ends = tied_starts(histories)
    later, known = histories.times >= begin, had_before(rows, histories.items)
    alone = later & (ends == starts) & (not strangers)
    chosen = np.flatnonzero(later & ~known & ~alone)
    chosen = chosen[order_of(histories.times[chosen])]
    excluded = {
        "items that the user had before": int(np.count_nonzero(later & known)),
        "first events of users": int(np.count_nonzero(alone & ~known)),
    }
    return Asked(chosen, rows[chosen], ends[chosen]), excluded


def tied_starts(histories: Histories) -> Longs:
    """(entries,) the first entry of the same row and time: what comes before it was known before the event."""
    fresh = np.ones(len(histories.times), np.bool_)
    fresh[1:] = histories.times[1:] != histories.times[:-1]
    fresh[histories.indptr[:-1][histories.lengths > 0]] = True
    return np.maximum.accumulate(np.where(fresh, np.arange(len(fresh)), 0)).astype(np.int64)


def had_before(rows: Longs, items: Ints) -> Bools:
    """(entries,) whether an earlier entry of the same row has the same item."""
    order = np.lexsort((np.arange(len(items)), items, rows))
    again = np.zeros(len(items), np.bool_)
    again[order[1:]] = (rows[order[1:]] == rows[order[:-1]]) & (items[order[1:]] == items[order[:-1]])
    return again


def stretches(times: Longs, begin: int, every: int) -> Iterator[tuple[int, slice]]:
    """Trainings that are asked anything: the time (ms) before which events are learnt from, and the events asked for then."""
    numbers = (times - begin) // every if every else np.zeros(len(times), np.int64)
    edges = np.append(np.flatnonzero(np.diff(numbers, prepend=-1)), len(times))
    for start, stop in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        yield begin + int(numbers[start]) * every, slice(start, stop)


def learnt(data: Interactions, factory: Factory, fallback: Factory | None, cut: int, seed: int) -> Recommend:
    """A model that learnt from all that was before ``cut``, with its fallback."""
    past = replace(data, histories=data.histories.where(data.histories.times < cut), now=cut)

    def trained(make: Factory) -> Recommend:
        model = make()
        own = past if model.kind in UNTOUCHED else known_items(past)
        return translated(model.fit(own, seed=seed), data.items)

    own = trained(factory)
    return own if fallback is None else with_fallback(own, trained(fallback))


def known_items(data: Interactions) -> Interactions:
    """The same with only the items that have an event: a model must not even know how many there will be."""
    kept = np.flatnonzero(item_counts(data.histories, len(data.items)))
    to = np.full(len(data.items), -1, np.int32)
    to[kept] = np.arange(len(kept), dtype=np.int32)
    categories = data.categories
    if categories is not None:
        lengths = categories.lengths[kept]
        indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        places = np.repeat(categories.indptr[kept] - indptr[:-1], lengths) + np.arange(indptr[-1])
        categories = Rows(indptr, categories.items[places])
    return replace(
        data,
        items=Vocabulary(tuple(data.items.ids[item] for item in kept.tolist())),
        histories=renumbered(data.histories, to),
        categories=categories,
        texts=tuple(data.texts[item] for item in kept.tolist()) if data.texts else (),
    )


def answered(
    recommend: Recommend, histories: Histories, asked: Asked, block: slice, k: int, cut: int | None, length: int
) -> tuple[Longs, int]:
    """Places of the block's items in the lists, 0 where they are not, and how many lists were made."""
    ends, rows = asked.ends[block], asked.rows[block]
    if cut is not None:
        ends = np.array([seen_by(histories, row, cut) for row in rows.tolist()], np.int64)
    keys, place = np.unique(np.column_stack([rows, ends]), axis=0, return_inverse=True)
    place = place.reshape(-1)
    lists = recommend(before(histories, keys[:, 0], keys[:, 1], length), k).items[place]
    hits = lists == histories.items[asked.entries[block]][:, None]
    return np.where(hits.any(axis=1), hits.argmax(axis=1) + 1, 0).astype(np.int64), len(keys)


def seen_by(histories: Histories, row: int, cut: int) -> int:
    """Where the entries of a row before ``cut`` end."""
    start, stop = int(histories.indptr[row]), int(histories.indptr[row + 1])
    return start + int(np.searchsorted(histories.times[start:stop], cut))


def before(histories: Histories, rows: Longs, ends: Longs, length: int) -> Histories:
    """The newest ``length`` entries of each row before its end."""
    starts = np.maximum(histories.indptr[rows], ends - length)
    indptr = np.concatenate([[0], np.cumsum(ends - starts)]).astype(np.int64)
    places = np.repeat(starts - indptr[:-1], ends - starts) + np.arange(indptr[-1])
    return Histories(indptr, histories.items[places], histories.weights[places], histories.times[places])
