"""Words against scikit-learn's TF-IDF, BM25 against its formula, and the tokeniser on more than one script."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import TfidfVectorizer

from tastemaker.models import words
from tastemaker.models.words import Matrix, matrix_of, terms_of

TEXTS = st.lists(st.lists(st.sampled_from(["aa", "bb", "cc", "dd", "ee"]), max_size=12).map(" ".join), min_size=1, max_size=12)


def made(texts: list[str], weighting: str = "tfidf", min_items: int = 1, max_share: float = 1.0, max_terms: int = 1000) -> Matrix:
    return matrix_of(texts, weighting=weighting, fold_accents=True, min_items=min_items, max_share=max_share, max_terms=max_terms)


def dense(matrix: Matrix) -> npt.NDArray[np.float64]:
    shape = (len(matrix.rows), len(matrix.names))
    return csr_matrix((matrix.values.astype(np.float64), matrix.rows.items, matrix.rows.indptr), shape).toarray()


@settings(deadline=None, max_examples=60)
@given(texts=TEXTS, min_items=st.integers(1, 2), chunk=st.integers(1, 4))
def test_weights_are_those_of_scikit_learn(texts: list[str], min_items: int, chunk: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(words, "CHUNK", chunk)
        found = made(texts, min_items=min_items)
    if not found.names:
        return  # which scikit-learn refuses
    theirs = TfidfVectorizer(tokenizer=terms_of, token_pattern=None, lowercase=False, sublinear_tf=True, min_df=min_items)
    expected = theirs.fit_transform(texts).toarray()
    assert found.names == tuple(theirs.get_feature_names_out())
    np.testing.assert_allclose(dense(found), expected, rtol=1e-6)
    assert all((np.diff(found.rows.row(item)) > 0).all() for item in range(len(texts)))


def test_bm25_is_its_formula_scaled_to_length_one() -> None:
    texts = ["red red fox", "red hen", "blue whale in the deep deep sea", ""]
    found = dense(made(texts, "bm25"))
    names = made(texts, "bm25").names
    mean = (3 + 2 + 7) / 4
    red = np.log(1 + (4 - 2 + 0.5) / 2.5) * 2 * 2.2 / (2 + 1.2 * (0.25 + 0.75 * 3 / mean))
    fox = np.log(1 + (4 - 1 + 0.5) / 1.5) * 2.2 / (1 + 1.2 * (0.25 + 0.75 * 3 / mean))
    expected = np.array([red, fox]) / np.hypot(red, fox)
    np.testing.assert_allclose(found[0, [names.index("red"), names.index("fox")]], expected, rtol=1e-6)
    np.testing.assert_allclose((found**2).sum(1), [1, 1, 1, 0], rtol=1e-6)


def test_words_of_one_item_or_of_most_items_are_dropped_and_the_commonest_kept_when_there_are_too_many() -> None:
    texts = [f"the number{item % 4} own{item}" for item in range(40)]
    assert made(texts, min_items=2, max_share=0.5).names == ("number0", "number1", "number2", "number3")
    assert made(texts, min_items=2, max_share=0.1).names == ("number0", "number1", "number2", "number3"), "20 items are few"
    assert made(texts, max_terms=3).names == ("number0", "number1", "the")


def test_a_word_is_a_run_of_letters_and_digits_in_any_script() -> None:
    assert terms_of("Wall·E, 2001: A Space-Odyssey!") == ["wall", "2001", "space", "odyssey"]
    assert terms_of("Amélie AMÉLIE") == ["amelie", "amelie"]
    assert terms_of("Amélie e\u0301te\u0301", fold_accents=False) == ["amélie", "été"]
    assert terms_of("Москва слезам") == ["москва", "слезам"]
    assert terms_of("七人の侍 (Seven Samurai)") == ["七人", "人の", "の侍", "seven", "samurai"]
    assert terms_of("乱") == ["乱乱"], "a single character is a word, too"
    assert terms_of(" _ · ") == terms_of("") == []
