"""Session nearest neighbours: people whose recent clicks ran through the same items, and what they did next.

VS-kNN (Ludewig and Jannach 2018, "Evaluation of session-based recommendation algorithms", section 3.2; the plain form is
Jannach and Ludewig 2017), with the index of VMIS-kNN (Kersbergen et al. 2022, "Serenade"): each item leads to its ``recent``
newest sessions. Sessions come from the histories that the model was trained on (``sessions.py``), without users. For a history
whose last ``window`` events e with a reward w_e stand at places 0, 1, .. from the end:

    sim(s)    =  |s|^-length_power * sum over e with item_e in s of  w_e 2^(-place_e / half_life) D_(item_e)^-item_power
    score(j)  =  D_j^-target_power * sum over the ``neighbours`` most similar s, and places p of j in s, of  sim(s) g(p - a_s)

D are sums of rewards and a_s is the place in s of the newest event of the history that s shares. g(d) = 2^(-(d-1) /
distance_half_life) for what came after it, ``behind`` times as much for what came before. Given the neighbours, a score is a sum
over the history's events, so an explanation is that sum's terms.

A history may grow event by event: ``extend`` looks only at the sessions of the new item (and of the one that leaves the window),
and ``answer`` says bit for bit what ``recommend`` says of the whole history. The time of the query does not matter.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, Self

import msgspec
import numpy as np
from msgspec import Meta

from tastemaker.models import Progress, Recommendations, silent
from tastemaker.models import session_kernels as kernels
from tastemaker.models.artifact import Array, load_artifact, params_of, save_artifact
from tastemaker.models.dense import best_of
from tastemaker.models.interactions import (
    Bools,
    Floats,
    Histories,
    Interactions,
    Ints,
    Rows,
    Vocabulary,
    checked,
    single,
    trainable,
)
from tastemaker.models.recency import ratio, wanted
from tastemaker.models.sessions import cut, posted
from tastemaker.models.similarity import Doubles, damping
from tastemaker.models.space import between
from tastemaker.models.topk import FEW, PARALLEL, select


class SessionKnnParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Hyper-parameters of ``session_knn``."""

    neighbours: Annotated[int, Meta(ge=1, le=10_000, extra=between(50, 500))] = 200
    """Most similar sessions that have a vote."""
    recent: Annotated[int, Meta(ge=1)] = 5000
    """Newest sessions of each item that are looked at; a request takes longer with more, and finds better neighbours."""
    window: Annotated[int, Meta(ge=1, le=kernels.SLOTS)] = 20
    """How many of the last events of the history are looked at."""
    half_life: Annotated[float, Meta(gt=0, extra=between(1.0, 10.0, log=True))] | None = 3.0
    """Places from the end of the history after which an event says half as much; unset, all say alike."""
    distance_half_life: Annotated[float, Meta(gt=0, extra=between(1.0, 10.0, log=True))] | None = 3.0
    """Places after the shared event at which a session's item gets half the vote; unset, all get the same."""
    behind: Annotated[float, Meta(ge=0, le=1, extra=between(0.0, 0.5))] = 0.1
    """Share of the vote for items that stand before the shared event."""
    length_power: Annotated[float, Meta(ge=0, le=2, extra=between(0.0, 1.0))] = 0.5
    """How much long sessions are held back; at 1/2 similarities are cosines."""
    item_power: Annotated[float, Meta(ge=0, le=2, extra=between(0.0, 0.6))] = 0.3
    """How much a popular item in the history is held back: to share a rare one says more."""
    target_power: Annotated[float, Meta(ge=0, le=2)] = 0.0
    """How much a popular target is held back."""
    session_gap_hours: Annotated[float, Meta(gt=0)] | None = None
    """A pause of more hours ends a session; unset, only ``session_length`` does. An hour suits shops and news; where people come
    for one item a day, leave it unset: a session of one item teaches nothing."""
    session_length: Annotated[int, Meta(ge=2, le=10_000, extra=between(20, 100))] = 50
    """Longer sessions are cut into pieces of as many events."""
    max_sessions: Annotated[int, Meta(ge=1)] = 1_000_000
    """The newest sessions that are kept."""


@dataclass
class Session:
    """A history that grows, as far as the model needs it. Belongs to the model that began it."""

    slot_items: Ints  # (window,), -1 where no event is yet
    slot_rewards: Floats  # (window,)
    keys: Ints = field(default_factory=lambda: np.full(kernels.SMALLEST, -1, np.int32))
    masks: kernels.Masks = field(default_factory=lambda: np.zeros(kernels.SMALLEST, np.uint64))
    used: int = 0
    count: int = 0  # events with a reward above zero
    seen: list[int] = field(default_factory=list)  # all items, for they are not recommended


class SessionKnn:
    """Sessions, and each item's newest ones."""

    kind: ClassVar[str] = "session_knn"
    Params: ClassVar[type[msgspec.Struct]] = SessionKnnParams

    def __init__(self, params: SessionKnnParams | None = None) -> None:
        self.params = params or SessionKnnParams()
        self.items = Vocabulary(())
        self.losses: tuple[float, ...] = ()
        nothing = Rows(np.zeros(1, np.int64), np.zeros(0, np.int32))
        self.settle(nothing, nothing, np.zeros(0))

    def fit(self, data: Interactions, *, seed: int = 0, progress: Progress = silent) -> Self:  # noqa: ARG002 (the port's)
        params, rows, n_items = self.params, wanted(trainable(data)), len(data.items)
        sessions = cut(rows, params.session_gap_hours, params.session_length, params.max_sessions)
        progress(1, 2, f"{len(sessions)} sessions")
        degrees = np.bincount(rows.items, weights=rows.weights, minlength=n_items).astype(np.float64)
        self.items = data.items
        self.settle(Rows(sessions.indptr, sessions.items), posted(sessions, n_items, params.recent), degrees)
        progress(2, 2, f"{len(self.postings.items)} places in the index")
        return self

    def settle(self, sessions: Rows, postings: Rows, degrees: Doubles) -> None:
        """Takes the sessions, each item's numbers of them, and the items' sums of rewards."""
        params = self.params
        self.sessions, self.postings, self.degrees = sessions, postings, degrees
        self.item_damp, self.target_damp = damping(degrees, params.item_power), damping(degrees, params.target_power)
        self.length_damp = damping(sessions.lengths.astype(np.float64), params.length_power)
        self.powers = (ratio(params.half_life) ** np.arange(params.window)).astype(np.float32)
        gaps = np.arange(-1.0, params.session_length)  # from the anchor itself, which has no vote, to the far end
        self.ahead = np.where(gaps >= 0, ratio(params.distance_half_life) ** np.maximum(gaps, 0), 0).astype(np.float32)
        self.behind = (params.behind * self.ahead).astype(np.float32)

    def scores(self, histories: Histories) -> Floats:
        histories = checked(histories, len(self.items))
        scores = np.zeros((len(histories), len(self.items)), np.float32)
        lists, places = self.postings, self.sessions
        weights = (self.powers, self.item_damp, self.length_damp, self.ahead, self.behind, self.target_damp)
        if len(histories) > FEW:
            with PARALLEL:
                kernels.score_together(
                    histories.indptr,
                    histories.items,
                    histories.weights,
                    lists.indptr,
                    lists.items,
                    places.indptr,
                    places.items,
                    *weights,
                    self.params.neighbours,
                    scores,
                )
            return scores
        for row, (start, stop) in enumerate(zip(histories.indptr[:-1], histories.indptr[1:], strict=True)):
            kernels.score_row(
                histories.items[start:stop],
                histories.weights[start:stop],
                lists.indptr,
                lists.items,
                places.indptr,
                places.items,
                *weights,
                self.params.neighbours,
                scores[row],
            )
        return scores

    def recommend(
        self, histories: Histories, k: int, *, exclude: Rows | None = None, allowed: Bools | None = None
    ) -> Recommendations:
        """Only items that a near session has."""
        return best_of(self.scores, checked(histories, len(self.items)), k, exclude, allowed, floor=0.0)

    def begin(self) -> Session:
        """A history without an event."""
        window = self.params.window
        return Session(np.full(window, -1, np.int32), np.zeros(window, np.float32))

    def extend(self, session: Session, item: int, weight: float = 1.0, time: int = 0) -> None:  # noqa: ARG002 (a whole event)
        """One more event: the item's number, its reward, and its time, which nothing depends on.

        Raises ``InputError`` for an item that the model does not know and a reward that is not finite.
        """
        single_event = Histories.of([([item], [weight], [0])])
        reward = checked(single_event, len(self.items)).weights[0]
        session.seen.append(item)
        if not reward > 0:
            return
        session.keys, session.masks, session.used = kernels.take_in(
            session.count,
            item,
            reward,
            *(session.slot_items, session.slot_rewards, session.keys, session.masks),
            session.used,
            *(self.postings.indptr, self.postings.items),
        )
        session.count += 1

    def answer(self, session: Session, k: int, *, exclude: Ints | None = None, allowed: Bools | None = None) -> Recommendations:
        """What ``recommend`` says of all events so far: one row. ``exclude``: items (None: those of the session)."""
        scores = np.zeros((1, len(self.items)), np.float32)
        _, near, similarities = self.neighbours_of(session)
        kernels.add_votes(
            session.count,
            *(session.slot_items, session.keys, session.masks, near, similarities),
            self.sessions.indptr,
            self.sessions.items,
            *(self.ahead, self.behind, self.target_damp, scores[0]),
        )
        barred = np.array(session.seen, np.int32) if exclude is None else exclude
        return select(scores, k, Rows(np.array([0, len(barred)], np.int64), barred), allowed, floor=0.0)

    def neighbours_of(self, session: Session) -> tuple[Floats, Ints, Floats]:
        """Weights of the slots, (window,); numbers and similarities of the nearest sessions, best first."""
        weights = kernels.slot_weights(session.count, *(session.slot_items, session.slot_rewards, self.powers, self.item_damp))
        near, similarities = kernels.nearest(session.keys, session.masks, weights, self.length_damp, self.params.neighbours)
        return weights, near, similarities

    def similar(self, items: Ints, k: int) -> Recommendations:
        """What a history of the item alone leads to."""
        ones = np.ones(len(items), np.float32)
        return self.recommend(
            Histories(np.arange(len(items) + 1, dtype=np.int64), items, ones, np.zeros(len(items), np.int64)), k
        )

    def explain(self, histories: Histories, item: int) -> Floats:
        parts: Floats = self.contributions(histories, np.array([item], np.int32))[0]
        return parts

    def contributions(self, histories: Histories, items: Ints) -> Floats:
        """The terms of the scores given the near sessions, (items, entries)."""
        history = checked(single(histories), len(self.items))
        session = self.begin()
        numbers = np.cumsum(history.weights > 0) - 1
        for item, weight in zip(history.items.tolist(), history.weights.tolist(), strict=True):
            self.extend(session, item, weight)
        weights, near, _ = self.neighbours_of(session)
        slots = np.zeros((len(items), self.params.window), np.float32)
        kernels.share_votes(
            session.count,
            *(session.slot_items, weights, session.keys, session.masks, near, self.length_damp),
            *(self.sessions.indptr, self.sessions.items, self.ahead, self.behind, items.astype(np.int32), slots),
        )
        slots *= self.target_damp[items][:, None]
        spoke = (history.weights > 0) & (numbers >= session.count - self.params.window)
        parts: Floats = np.where(spoke, slots[:, numbers % self.params.window], np.float32(0))
        return parts

    def save(self, folder: Path) -> None:
        arrays: dict[str, Array] = {
            "session_indptr": self.sessions.indptr,
            "session_items": self.sessions.items,
            "posting_indptr": self.postings.indptr,
            "postings": self.postings.items,
            "degrees": self.degrees,
        }
        save_artifact(folder, self.kind, self.params, self.items, arrays, self.losses)

    @classmethod
    def load(cls, folder: Path) -> Self:
        artifact = load_artifact(folder, cls.kind)
        model, arrays = cls(params_of(artifact, SessionKnnParams, folder)), artifact.arrays
        model.items, model.losses = artifact.items, artifact.losses
        sessions = Rows(arrays["session_indptr"], arrays["session_items"])
        model.settle(sessions, Rows(arrays["posting_indptr"], arrays["postings"]), arrays["degrees"])
        return model
