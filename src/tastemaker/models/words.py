"""Words of items as numbers: texts to terms, and how much each term says about an item.

A text is cut into runs of letters and digits, in lower case; where a script writes without spaces, into pairs of neighbouring
characters. A term that stands with a single item says nothing about others, and one that stands with most of them says nothing
at all: both are dropped, which also does the work of a list of stop words, in any language.

Two ways to weigh what is left are the field's standards: TF-IDF with logarithms (Salton & Buckley 1988) and BM25 (Robertson &
Zaragoza 2009). An item's weights are then scaled to length 1, so that the inner product of two items is a cosine.
"""

from __future__ import annotations

import re
import unicodedata
from array import array
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from tastemaker.models.interactions import Floats, Ints, Longs, Rows

Doubles = npt.NDArray[np.float64]

WORD = re.compile(r"[^\W_]+")
UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]+")
"""Thai, Lao, Burmese, Khmer, Japanese and Chinese."""
FEW = 20  # a term is never too common while fewer items have it
CHUNK = 20_000  # items whose words are counted at once


@dataclass(frozen=True)
class Matrix:
    """Items x terms, sparse: the terms of item ``i`` are ``rows.row(i)``, ascending."""

    rows: Rows
    values: Floats  # of the rows' entries
    names: tuple[str, ...]


def terms_of(text: str, fold_accents: bool = True) -> list[str]:
    """The terms of a text, in order, with repetitions.

    >>> terms_of("L'Été: the 2nd summer_of 七人の侍")
    ['ete', 'the', '2nd', 'summer', 'of', '七人', '人の', 'の侍']
    """
    text = text.lower()
    if not text.isascii():
        text = folded(text) if fold_accents else unicodedata.normalize("NFC", text)
        if UNSPACED.search(text):
            text = UNSPACED.sub(lambda run: f" {' '.join(pairs(run.group()))} ", text)
    return [word for word in WORD.findall(text) if len(word) > 1]


def folded(text: str) -> str:
    """Latin, Greek and Cyrillic letters without their accents; what belongs to a letter in other scripts stays.

    >>> folded("naïve Ångström が")
    'naive Angstrom が'
    """
    marked = unicodedata.normalize("NFD", text)
    return unicodedata.normalize("NFC", "".join(sign for sign in marked if not "\u0300" <= sign <= "\u036f"))


def pairs(run: str) -> list[str]:
    """Neighbouring characters; a single one is doubled, or it would be too short for a term."""
    return [one + other for one, other in pairwise(run)] or [run * 2]


def counted(texts: Sequence[str], fold_accents: bool) -> tuple[Rows, Doubles, list[str]]:
    """How often each term occurs in each text: (texts) rows of terms, their counts, and the terms by number."""
    number: defaultdict[str, int] = defaultdict()
    number.default_factory = number.__len__
    lengths = np.zeros(len(texts), np.int64)
    parts: list[tuple[Ints, npt.NDArray[np.int32]]] = []
    for start in range(0, len(texts), CHUNK):
        found, ends = array("i"), []
        for text in texts[start : start + CHUNK]:
            found.extend(map(number.__getitem__, terms_of(text, fold_accents)))
            ends.append(len(found))
        row = np.repeat(np.arange(len(ends), dtype=np.int64), np.diff(ends, prepend=0))
        keys, counts = np.unique((row << 32) | np.frombuffer(found, np.int32), return_counts=True)
        lengths[start : start + len(ends)] = np.bincount(keys >> 32, minlength=len(ends))
        parts.append(((keys & 0xFFFFFFFF).astype(np.int32), counts.astype(np.int32)))
    terms = np.concatenate([np.zeros(0, np.int32), *(terms for terms, _ in parts)])
    counts = np.concatenate([np.zeros(0, np.int32), *(counts for _, counts in parts)]).astype(np.float64)
    return Rows(np.append(0, np.cumsum(lengths)), terms), counts, list(number)


def chosen(frequency: Longs, names: list[str], items: int, min_items: int, max_share: float, max_terms: int) -> Longs:
    """The terms worth keeping, in the order of their names; of too many, those that most items have."""
    most = max(max_share * items, FEW)
    fit = np.flatnonzero((frequency >= min_items) & (frequency <= most)).tolist()
    if len(fit) > max_terms:
        fit = sorted(fit, key=lambda term: (-frequency[term], names[term]))[:max_terms]
    return np.array(sorted(fit, key=names.__getitem__), np.int64)


def matrix_of(
    texts: Sequence[str], *, weighting: str, fold_accents: bool, min_items: int, max_share: float, max_terms: int
) -> Matrix:
    """Texts as weighted terms, each text of length 1 or without any term. ``weighting``: ``tfidf`` or ``bm25``."""
    rows, counts, names = counted(texts, fold_accents)
    frequency = np.bincount(rows.items, minlength=len(names)).astype(np.int64)
    terms = chosen(frequency, names, len(texts), min_items, max_share, max_terms)
    place = np.full(len(names), -1, np.int32)
    place[terms] = np.arange(len(terms), dtype=np.int32)
    row = np.repeat(np.arange(len(texts)), rows.lengths)
    words = np.bincount(row, weights=counts, minlength=len(texts)).astype(np.float64)  # dropped ones count, too
    keep = place[rows.items] >= 0
    row, numbers, counts = row[keep], place[rows.items[keep]], counts[keep]
    weigh = bm25 if weighting == "bm25" else tfidf
    values = weigh(counts, row, words, frequency[terms][numbers], len(texts))
    values /= np.sqrt(np.bincount(row, weights=values**2, minlength=len(texts)))[row]
    order = np.lexsort((numbers, row))
    indptr = np.append(0, np.cumsum(np.bincount(row, minlength=len(texts)))).astype(np.int64)
    return Matrix(Rows(indptr, numbers[order]), values[order].astype(np.float32), tuple(names[term] for term in terms))


def idf(frequency: npt.NDArray[np.integer], items: int) -> Doubles:
    """ln((1 + items) / (1 + frequency)) + 1: how much it says that an item has a term; never zero."""
    result: Doubles = np.log((1 + items) / (1 + frequency)) + 1
    return result


def tfidf(counts: Doubles, _row: Longs, _words: Doubles, frequency: Longs, items: int) -> Doubles:
    """(1 + ln count) idf."""
    return (1 + np.log(counts)) * idf(frequency, items)


def bm25(counts: Doubles, row: Longs, words: Doubles, frequency: Longs, items: int) -> Doubles:
    """ln(1 + (N - n + .5) / (n + .5)) count (k + 1) / (count + k (1 - b + b length / mean length)), k = 1.2, b = .75."""
    k, b = 1.2, 0.75
    length = words[row] / max(float(words.mean()), 1e-30)
    rare = np.log1p((items - frequency + 0.5) / (frequency + 0.5))
    result: Doubles = rare * counts * (k + 1) / (counts + k * (1 - b + b * length))
    return result
