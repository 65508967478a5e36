"""Graph filter: the history smoothed over the graph of users and items, by a linear and an ideal low-pass filter.

GF-CF (Shen et al. 2021, "How powerful is graph convolution for recommendation?", equation 9): with R the matrix of rewards,
D_U and D_I its row and column sums, and Q = D_U^-1/2 R D_I^-1/2,

    scores = history . (Q'Q + mix D_I^-1/2 V V' D_I^1/2)

where V are the right singular vectors of Q with the ``rank`` largest singular values. Of Q'Q each item keeps its ``neighbours``
largest entries. Both filters are linear in the history, so an explanation is the sum's terms.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, ClassVar, Self

import msgspec
import numpy as np
import scipy.linalg
import scipy.sparse
from msgspec import Meta

from tastemaker.models import Progress, silent
from tastemaker.models.interactions import Floats, Histories, Interactions, row_sums, trainable, transposed
from tastemaker.models.item_knn import nearest
from tastemaker.models.linear import Linear
from tastemaker.models.similarity import damping
from tastemaker.models.space import between
from tastemaker.models.tables import LowRank

SPARE = 20  # more vectors than wanted, which makes those wanted more exact


class GraphFilterParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Hyper-parameters of ``graph_filter``."""

    rank: Annotated[int, Meta(ge=1, le=4096, extra=between(32, 512, log=True))] = 256
    """Singular vectors that the low-pass filter lets through; never more than half of the smaller side."""
    mix: Annotated[float, Meta(ge=0, extra=between(0.0, 1.0))] = 0.3
    """Weight of the low-pass filter beside the linear one."""
    neighbours: Annotated[int, Meta(ge=1, le=10_000, extra=between(100, 1500, log=True))] = 1000
    """Entries kept for each item of the linear filter."""
    power: Annotated[float, Meta(ge=0, le=1, extra=between(0.2, 0.6))] = 0.5
    """Exponent of the degrees in Q; published, 0.5."""
    sweeps: Annotated[int, Meta(ge=0, le=100)] = 3
    """Rounds of subspace iteration; more find the singular vectors more exactly."""


class GraphFilter(Linear):
    """Two tables: the linear filter cut to neighbours, and the low-pass filter as a product."""

    kind: ClassVar[str] = "graph_filter"
    Params: ClassVar[type[msgspec.Struct]] = GraphFilterParams

    def fit(self, data: Interactions, *, seed: int = 0, progress: Progress = silent) -> Self:
        params, rows, n_items = self.params, trainable(data), len(data.items)
        columns = transposed(rows, n_items)
        degrees = row_sums(columns, columns.weights)
        users, items = damping(row_sums(rows, rows.weights), params.power), damping(degrees, params.power)
        total = 100

        def report(done: int, of: int, note: str) -> None:
            progress(done * 50 // max(of, 1), total, note)

        linear = nearest(rows, columns, users * users, items, items, min(params.neighbours, n_items), report)
        vectors = right_vectors(
            normalised(rows, users, items),
            params.rank,
            params.sweeps,
            seed,
            lambda n: progress(50 + n, total, "singular vectors"),
        )
        back = np.where(items > 0, 1 / np.where(items > 0, items, 1), 0)
        scaled = np.float32(params.mix) * items[:, None] * vectors, back[:, None].astype(np.float32) * vectors
        self.tables = (linear, LowRank(*scaled))
        self.items = data.items
        progress(total, total, "done")
        return self


def normalised(rows: Histories, users: Floats, items: Floats) -> scipy.sparse.csr_array:
    """Q, (users, items); entries of the same pair are added up by every product with it."""
    values = rows.weights * np.repeat(users, rows.lengths) * items[rows.items]
    return scipy.sparse.csr_array((values, rows.items, rows.indptr), shape=(len(rows), len(items)))


def right_vectors(matrix: scipy.sparse.csr_array, rank: int, sweeps: int, seed: int, tell: Callable[[int], None]) -> Floats:
    """The right singular vectors with the largest singular values, (columns, rank), by subspace iteration from random ones.

    Halko, Martinsson and Tropp 2011, algorithm 4.4, with the Gramian's eigenvectors in place of QR, at a fraction of the cost.
    """
    width = min(rank + SPARE, min(matrix.shape))
    vectors = np.random.default_rng(seed).standard_normal((matrix.shape[1], width)).astype(np.float32)
    turned = matrix.T.tocsr()
    for sweep in range(sweeps + 1):
        vectors = orthonormal(turned @ orthonormal(matrix @ vectors))
        tell(40 * (sweep + 1) // (sweeps + 1))
    image = matrix @ vectors  # (rows, width)
    _, turn = scipy.linalg.eigh(image.T @ image)  # ascending
    return np.ascontiguousarray(vectors @ turn[:, ::-1][:, : min(rank, width)].astype(np.float32))


def orthonormal(vectors: Floats) -> Floats:
    """The same space by orthonormal columns."""
    gram = vectors.T.astype(np.float64) @ vectors.astype(np.float64)
    values, basis = scipy.linalg.eigh(gram)
    keep = values > values[-1] * 1e-10
    scaled = basis[:, keep] / np.sqrt(values[keep])
    found: Floats = (vectors @ scaled.astype(np.float32)).astype(np.float32)
    return found
