"""What a model may see, and what it is judged by.

A split is a line through the events: before it, training; after it, the truth. The temporal split is the default, because
it is what serving will ask for: the past of all users is known, the future of none. ``leave_one_out`` and ``given`` are
there to compare with the literature.

The vocabulary of items is that of all data, so that an item which appears only after the line stays a relevant item that a
model cannot reach: leaving it out would flatter models that ignore new items. It is counted in ``excluded`` all the same
("items unseen in training"), to say how much of the truth is out of reach. Users without a relevant item are left out and
counted.

Of histories in files (``models/mapped.py``) the parts lie in files, too; what a split holds in memory is a byte for each event,
4 for each relevant item, and some numbers of 8 bytes for each user and item.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from tastemaker.errors import InputError
from tastemaker.evaluation.split_kernels import new_items, value_at
from tastemaker.models.interactions import Bools, Histories, Interactions, Longs, Rows, item_counts


@dataclass(frozen=True)
class Split:
    """A training set, and the users by whom a model that learnt from it is judged."""

    train: Interactions
    users: Longs  # (test users,), row in ``train.users``; -1: a user who is not there at all
    histories: Histories  # (test users), what is known of each before the line
    relevant: Rows  # (test users), what each took afterwards, once each, ascending
    new: Bools  # (test users,), nothing was known of the user before
    excluded: dict[str, int] = field(default_factory=dict)  # reason -> how many

    def __len__(self) -> int:
        return len(self.users)

    @property
    def popularity(self) -> Longs:
        """Training events of each item, (items,)."""
        return item_counts(self.train.histories, len(self.train.items))


def temporal(data: Interactions, fraction: float = 0.1, *, repeats: bool = False) -> Split:
    """Trains on the older events; the newest ``fraction`` of them is the truth. Events at the very cut stay in training.

    ``repeats``: whether an item that the user already took is relevant again (songs, groceries).
    """
    if not 0.0 < fraction < 1.0:
        raise InputError("fraction", fraction, "give a share between 0 and 1")
    times = data.histories.times
    if not len(times):
        raise InputError("data", 0, "there are no events to split")
    # the cut is a time that occurs: a simultaneous batch must not be torn in two
    place = len(times) - 1 - int(len(times) * fraction)
    cut = value_at(times, place)
    return divided(data, times > cut, cut, repeats)


def leave_one_out(data: Interactions, *, repeats: bool = False) -> Split:
    """The last event of each user with at least two is the truth. Later events of others are seen: read it as a comparison."""
    histories = data.histories
    last = np.zeros(len(histories.items), np.bool_)
    last[histories.indptr[1:][histories.lengths >= 2] - 1] = True
    return divided(data, last, data.now, repeats)


def given(train: Interactions, test: Interactions, *, repeats: bool = False) -> Split:
    """A published split: both parts are given, over the same vocabulary of items. Users are matched by their ids."""
    if train.items.ids != test.items.ids:
        raise InputError("test", f"{len(test.items)} items", f"use the vocabulary of the training set ({len(train.items)} items)")
    row_of = {user: row for row, user in enumerate(train.users)}
    users = np.array([row_of.get(user, -1) for user in test.users], np.int64)
    return judged(train, users, test.histories, repeats)


def divided(data: Interactions, held_out: npt.NDArray[np.bool_], now: int, repeats: bool) -> Split:
    """A split by event: those held out are the truth. Users keep their rows, so preferences stay aligned."""
    train = replace(data, histories=data.histories.where(held_out, False), now=now)
    return judged(train, np.arange(len(data.users), dtype=np.int64), data.histories.where(held_out), repeats)


def judged(train: Interactions, users: Longs, later: Histories, repeats: bool) -> Split:
    """Test users with their histories and relevant items. ``later``: row per entry of ``users``, events after the line."""
    counts, items = new_items(train.histories, users, later, len(train.items), repeats=repeats)
    kept = np.flatnonzero(counts)
    indptr = np.zeros(len(kept) + 1, np.int64)
    np.cumsum(counts[kept], out=indptr[1:])
    histories = known_histories(train.histories, users[kept])
    wanted = np.zeros(len(train.items), np.bool_)
    wanted[items] = True
    excluded = {
        "users without later events": int(np.count_nonzero(later.lengths == 0)),
        "users without a relevant item": int(np.count_nonzero((later.lengths > 0) & (counts == 0))),
        "items unseen in training": int(np.count_nonzero(wanted & (item_counts(train.histories, len(train.items)) == 0))),
    }
    return Split(train, users[kept], histories, Rows(indptr, items), histories.lengths == 0, excluded)


def known_histories(histories: Histories, users: Longs) -> Histories:
    """Histories of rows, an empty one for row -1."""
    if not len(users) or users.min() >= 0:
        return histories.chosen(users)
    extended = histories.like(
        np.append(histories.indptr, histories.indptr[-1]), histories.items, histories.weights, histories.times
    )  # one more row, empty, which is what -1 finds
    return extended.chosen(np.where(users < 0, len(histories), users))
