"""content against dense products, and what only it can do: items without events, people without a history."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numba
import numpy as np
import numpy.typing as npt
import pytest
from scipy.sparse import csr_matrix

from tastemaker.errors import InputError
from tastemaker.models.artifact import load_model
from tastemaker.models.content import Content, ContentParams
from tastemaker.models.interactions import Histories, Interactions, Rows, Vocabulary
from tastemaker.models.nmf import prior
from tastemaker.models.terms import Terms
from tastemaker.models.words import matrix_of

THEMES = ("dragons castle knight sword", "robots planet laser ship", "chef kitchen Paris wine")
PER_THEME, COLD = 12, 3  # the last items of each theme have no event
ITEMS = len(THEMES) * PER_THEME


def theme(items: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """The theme of each item; users like that of their own number."""
    return np.asarray(items, np.int64) % len(THEMES)


def films() -> Interactions:
    """Users who like one theme. Item i is of theme i % 3; the last nine have no event; category = theme, two items have none."""
    random = np.random.default_rng(3)
    texts = []
    for item in range(ITEMS):
        words = THEMES[int(theme(item))].split()
        texts.append(f"Film {item}\n{' '.join(random.choice(words, 3))} by Director{item % 7}")
    touched = ITEMS - COLD * len(THEMES)
    rows = []
    for user in range(45):
        items = np.unique(theme(user) + len(THEMES) * random.integers(0, touched // len(THEMES), 5))
        rows.append((items.tolist(), random.choice([1.0, 3.0], len(items)).tolist(), list(range(len(items)))))
    lists: list[list[int]] = [[] if item in (4, 8) else sorted({int(theme(item)), 3 + item % 2}) for item in range(ITEMS)]
    indptr = np.append(0, np.cumsum([len(row) for row in lists])).astype(np.int64)
    return Interactions(
        tuple(map(str, range(45))),
        Vocabulary(tuple(f"film-{item}" for item in range(ITEMS))),
        Histories.of(rows),
        5,
        Rows(indptr, np.array([entry for row in lists for entry in row], np.int32)),
        ("Fantasy", "Sci-Fi", "Food", "Long", "Short"),
        texts=tuple(texts),
    )


DATA = films()


def likeness(params: ContentParams) -> npt.NDArray[np.float64]:
    """(items, items) as the formula says, dense."""
    words = matrix_of(
        DATA.texts, weighting=params.weighting, fold_accents=True, min_items=params.min_items, max_share=params.max_share,
        max_terms=params.max_terms,
    )  # fmt: skip
    matrix = csr_matrix(
        (words.values.astype(np.float64), words.rows.items, words.rows.indptr), (ITEMS, len(words.names))
    ).toarray()
    has = np.zeros((ITEMS, 5))
    assert DATA.categories is not None
    for item in range(ITEMS):
        has[item, DATA.categories.row(item)] = 1
    has *= np.log((1 + ITEMS) / (1 + has.sum(0))) + 1
    has /= np.maximum(np.linalg.norm(has, axis=1, keepdims=True), 1e-30)
    found: npt.NDArray[np.float64] = params.text * matrix @ matrix.T + params.categories * has @ has.T
    return found


@pytest.mark.parametrize(
    "params",
    [ContentParams(), ContentParams(text=0.4, weighting="bm25", half_life=2.0, popularity=1.5), ContentParams(text=0.0)],
)
def test_scores_are_weighted_sums_of_likeness_and_explanations_are_their_terms(params: ContentParams) -> None:
    model = Content(params).fit(DATA)
    table, boosts = likeness(params), 1 + params.popularity * prior(DATA.histories, ITEMS)
    histories = DATA.histories
    for row, found in enumerate(model.scores(histories)):
        part = slice(histories.indptr[row], histories.indptr[row + 1])
        weights = histories.weights[part].astype(np.float64)
        if params.half_life is not None:
            weights = weights * 2.0 ** (-np.arange(len(weights))[::-1] / params.half_life)
        parts = table[histories.items[part]] * weights[:, None] * boosts
        np.testing.assert_allclose(found, parts.sum(0), rtol=1e-4, atol=1e-6)
        explained = model.contributions(histories.take(np.array([row])), np.arange(ITEMS, dtype=np.int32))
        np.testing.assert_allclose(explained, parts.T, rtol=1e-4, atol=1e-6)


def test_similar_is_the_cosine() -> None:
    table = likeness(ContentParams())
    lengths = np.sqrt(np.diagonal(table))
    cosines = table / lengths[:, None] / lengths
    np.fill_diagonal(cosines, -1)
    found = Content().fit(DATA).similar(np.arange(ITEMS, dtype=np.int32), 5)
    np.testing.assert_allclose(found.scores, -np.sort(-cosines, axis=1)[:, :5], rtol=1e-5)
    assert float((theme(found.items) == theme(np.arange(ITEMS))[:, None]).mean()) > 0.95


def test_items_that_nobody_touched_are_recommended_to_those_whom_they_suit() -> None:
    cold = np.arange(ITEMS) >= ITEMS - COLD * len(THEMES)
    found = Content().fit(DATA).recommend(DATA.histories, COLD, allowed=cold)
    assert (found.items >= 0).all()
    assert (theme(found.items) == theme(np.arange(45))[:, None]).all()


def test_words_alone_and_categories_alone_are_enough() -> None:
    worded = Content().fit(replace(DATA, categories=None, category_names=()))
    sorted_ = Content().fit(replace(DATA, texts=()))
    for model in (worded, sorted_):
        found = model.recommend(DATA.histories, 3)
        assert float((theme(found.items) == theme(np.arange(45))[:, None]).mean()) > 0.9
    assert (
        worded.recommend_preferences(np.zeros((2, 0), np.float32), 3, histories=DATA.histories.take(np.arange(2))).items.min()
        >= 0
    )


def test_without_words_and_categories_it_says_so() -> None:
    with pytest.raises(InputError, match=r"interactions\.texts = None: content needs words or categories"):
        Content().fit(replace(DATA, texts=(), categories=None, category_names=()))
    with pytest.raises(InputError, match="words or categories"):
        Content(ContentParams(text=0.0, categories=0.0)).fit(DATA)


def test_people_who_only_stated_preferences_get_items_of_these_categories() -> None:
    nothing = np.nan
    lines = np.array([[5, nothing, nothing, nothing, nothing], [0, nothing, 2, nothing, -1], [nothing] * 5, [0] * 5], np.float32)
    model = Content().fit(DATA)
    found = model.recommend_preferences(lines, 10)
    assert found.items.shape == (4, 10)
    assert (theme(found.items[0]) == 0).all()
    assert (theme(found.items[1][:5]) == 2).all()
    assert DATA.categories is not None
    assert all(4 not in DATA.categories.row(item) for item in found.items[1][:5].tolist()), "what is disliked comes last"
    assert (found.items[2:] == -1).all()
    assert (found.scores[2:] == -np.inf).all()
    allowed = np.arange(ITEMS) > 10
    exclude = Rows(np.array([0, 1, 1, 1, 1], np.int64), np.array([12], np.int32))
    other = model.recommend_preferences(lines, 10, exclude=exclude, allowed=allowed)
    assert set(other.items[0].tolist()) == {*range(15, ITEMS, 3), -1}


def test_preferences_count_as_so_many_events_on_an_item_with_these_categories() -> None:
    """Item 0 has Fantasy and Long: stated alike by their weights, they are worth as much as its categories."""
    model = Content(ContentParams(text=0.0, stated=2.0)).fit(DATA)
    stated = np.array([[3, np.nan, np.nan, 3, np.nan]], np.float32)
    history = Histories.of([([5], [1.0], [0])])
    nobody = Rows(np.zeros(2, np.int64), np.zeros(0, np.int32))
    both = model.recommend_preferences(stated, ITEMS, histories=history, exclude=nobody)
    same = model.recommend(Histories.of([([0, 5], [2.0, 1.0], [0, 0])]), ITEMS, exclude=nobody)
    np.testing.assert_array_equal(both.items, same.items)
    np.testing.assert_allclose(both.scores, same.scores, rtol=1e-5)
    alone = model.recommend_preferences(np.full((1, 5), np.nan, np.float32), 9, histories=history)
    np.testing.assert_array_equal(alone.items, model.recommend(history, 9).items)


def test_many_stated_rows_are_answered_as_one() -> None:
    model, random = Content().fit(DATA), np.random.default_rng(0)
    lines = random.random((300, 5)).astype(np.float32)
    whole = model.recommend_preferences(lines, 7, histories=DATA.histories.take(random.integers(0, 45, 300)))
    assert whole.items.shape == (300, 7)
    for row in (0, 127, 128, 299):
        one = model.recommend_preferences(lines[row : row + 1], 7)
        again = model.recommend_preferences(lines, 7)
        np.testing.assert_array_equal(one.items[0], again.items[row])


def test_wrong_preferences_are_refused() -> None:
    model = Content().fit(DATA)
    with pytest.raises(InputError, match="one column for each of the 5 categories"):
        model.recommend_preferences(np.zeros((1, 4), np.float32), 3)
    with pytest.raises(InputError, match="preferences = inf"):
        model.recommend_preferences(np.array([[np.inf, 0, 0, 0, 0]], np.float32), 3)
    with pytest.raises(InputError, match="exclude"):
        model.recommend_preferences(np.zeros((2, 5), np.float32), 3, histories=DATA.histories)


def test_popularity_orders_what_is_about_the_same() -> None:
    data = replace(
        DATA, categories=Rows(np.arange(ITEMS + 1, dtype=np.int64), np.zeros(ITEMS, np.int32)), category_names=("all",), texts=()
    )
    counts = np.bincount(DATA.histories.items, weights=DATA.histories.weights, minlength=ITEMS)
    found = Content(ContentParams(popularity=0.5)).fit(data).recommend_preferences(np.ones((1, 1), np.float32), ITEMS)
    np.testing.assert_array_equal(found.items[0], np.argsort(-counts, kind="stable"))
    flat = Content(ContentParams(popularity=0.0)).fit(data).recommend_preferences(np.ones((1, 1), np.float32), ITEMS)
    np.testing.assert_array_equal(flat.items[0], np.arange(ITEMS))


def test_any_number_of_threads_gives_the_same_bits() -> None:
    model, before = Content().fit(DATA), numba.get_num_threads()
    whole = model.scores(DATA.histories)
    try:
        numba.set_num_threads(1)
        np.testing.assert_array_equal(model.scores(DATA.histories), whole)
    finally:
        numba.set_num_threads(before)
    for row in (0, 17, 44):
        np.testing.assert_array_equal(model.scores(DATA.histories.take(np.array([row])))[0], whole[row])


def test_terms_are_saved_whole_and_make_the_same_rows() -> None:
    random = np.random.default_rng(5)
    matrix = csr_matrix(random.random((9, 14)) * (random.random((9, 14)) < 0.3), dtype=np.float32)
    boosts = (1 + random.random(9)).astype(np.float32)
    rows = Rows(matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32))
    table = Terms.of(Terms(rows, matrix.data, boosts, 14).arrays())
    exact = (matrix @ matrix.T).toarray()
    np.testing.assert_allclose(table.rows(np.arange(9, dtype=np.int32)), exact * boosts, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(table.squares, np.diagonal(exact), rtol=1e-5)
    wanted = np.array([3, 0, 3], np.int32)
    parts = table.parts(np.array([1, 2], np.int32), np.array([2, 0.5], np.float32), wanted)
    np.testing.assert_allclose(parts, (exact[[1, 2]] * [[2], [0.5]] * boosts)[:, wanted].T, rtol=1e-5, atol=1e-7)


# ── vectors from a file ─────────────────────────────────────────────────────────────────────────────────────────────


def vectors_file(folder: Path, **arrays: npt.NDArray[np.generic]) -> str:
    """A file in which an item's vector points to its theme; arrays given replace its own."""
    own = {
        "ids": np.array(DATA.items.ids[::-1], dtype=str),
        "vectors": np.eye(3)[theme(np.arange(ITEMS))][::-1] * np.arange(1, ITEMS + 1)[:, None],
    }
    np.savez(folder / "vectors.npz", **(own | arrays))
    return str(folder / "vectors.npz")


def test_vectors_of_a_file_are_one_more_likeness(tmp_path: Path) -> None:
    params = ContentParams(text=0.0, categories=0.0, vectors=vectors_file(tmp_path), vectors_weight=0.5, popularity=0.2)
    model = Content(params).fit(replace(DATA, texts=(), categories=None, category_names=()))
    same = theme(np.arange(ITEMS))[:, None] == theme(np.arange(ITEMS))
    boosts = 1 + 0.2 * prior(DATA.histories, ITEMS)
    one = DATA.histories.take(np.array([2]))
    np.testing.assert_allclose(model.scores(one)[0], 0.5 * one.weights @ same[one.items] * boosts, rtol=1e-5)
    mixed = Content(ContentParams(vectors=params.vectors)).fit(DATA)
    with_words = Content().fit(DATA).scores(one) + 2 * model.scores(one) / boosts * (1 + 0.1 * prior(DATA.histories, ITEMS))
    np.testing.assert_allclose(mixed.scores(one), with_words, rtol=1e-5)
    (tmp_path / "vectors.npz").unlink()
    mixed.save(tmp_path / "model")
    again = load_model(tmp_path / "model")
    np.testing.assert_array_equal(again.scores(one), mixed.scores(one), "the artifact holds what it needs of the file")
    found = again.similar(np.arange(ITEMS, dtype=np.int32), 4)
    assert (theme(found.items) == theme(np.arange(ITEMS))[:, None]).all()
    assert found.scores.max() <= 1 + 1e-5


def test_items_without_a_vector_are_told_and_have_their_words(tmp_path: Path) -> None:
    path = vectors_file(tmp_path, ids=np.array(DATA.items.ids[:30], dtype=str), vectors=np.eye(3)[theme(np.arange(30))])
    notes: list[str] = []
    model = Content(ContentParams(vectors=path)).fit(DATA, progress=lambda _done, _total, note: notes.append(note))
    assert notes[0].endswith(f"vectors of 30 of {ITEMS} items")
    assert (model.recommend(DATA.histories, 2, allowed=np.arange(ITEMS) >= 30).items >= 0).any()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"ids": np.array(["film-0"]), "vectors": np.ones((1, 3))}, "35 of 36 items have no vector in it, 'film-1' for one"),
        ({"ids": np.array(["film-0"] * 40)}, "40 ids but 36 vectors"),
        ({"ids": np.array(["film-0"] * 36)}, "35 ids occur more than once"),
        ({"ids": np.arange(36)}, "not a list of strings; write it with"),
        ({"vectors": np.ones(36)}, r"of shape \(36,\), not \(items, dimensions\)"),
        ({"vectors": np.full((36, 2), np.nan)}, "holds NaN or infinity"),
        ({"ids": np.array(["a"], object), "vectors": np.ones((1, 3))}, "cannot be read"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused(tmp_path: Path, arrays: dict[str, npt.NDArray[np.generic]], message: str) -> None:
    with pytest.raises(InputError, match=rf"models.content.vectors = .*{message}"):
        Content(ContentParams(vectors=vectors_file(tmp_path, **arrays))).fit(DATA)


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such file"):
        Content(ContentParams(vectors=str(tmp_path / "none.npz"))).fit(DATA)
    np.savez(tmp_path / "other.npz", numbers=np.ones(3))
    np.save(tmp_path / "one.npy", np.ones(3))
    for name in ("other.npz", "one.npy"):
        with pytest.raises(InputError, match="no arrays 'ids' and 'vectors'"):
            Content(ContentParams(vectors=str(tmp_path / name))).fit(DATA)
    (tmp_path / "text.npz").write_text("not numbers")
    with pytest.raises(InputError, match="cannot be read"):
        Content(ContentParams(vectors=str(tmp_path / "text.npz"))).fit(DATA)
