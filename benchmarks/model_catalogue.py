"""What is known of the items themselves: titles and genres, for models that read words or categories."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tastemaker.models.interactions import Interactions, Rows


def described(data: Interactions, films: Sequence[tuple[str, str]]) -> Interactions:
    """The same with texts and categories. ``films``: title and genres, '|' between them, of each item.

    >>> from tastemaker.models.interactions import Histories, Vocabulary
    >>> data = Interactions((), Vocabulary(("1", "2")), Histories.empty(0))
    >>> found = described(data, [("Heat", "Action|Crime"), ("Casino", "Crime")])
    >>> found.category_names, found.texts[0], found.categories.row(1).tolist()
    (('Action', 'Crime'), 'Heat Action Crime', [1])
    """
    genres = [[genre for genre in names.split("|") if genre != "(no genres listed)"] for _, names in films]
    names = tuple(sorted({genre for own in genres for genre in own}))
    number = {name: place for place, name in enumerate(names)}
    indptr = np.concatenate([[0], np.cumsum([len(own) for own in genres])]).astype(np.int64)
    entries = np.array([number[genre] for own in genres for genre in own], np.int32)
    texts = tuple(" ".join([title, *own]) for (title, _), own in zip(films, genres, strict=True))
    return replace(data, categories=Rows(indptr, entries), category_names=names, texts=texts)
