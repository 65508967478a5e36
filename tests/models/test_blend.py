"""blend: sums of parts, each over its own standard deviation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dense import interactions
from tastemaker.errors import ConfigError, StorageError
from tastemaker.models import create
from tastemaker.models.artifact import load_model
from tastemaker.models.blend import Blend, BlendParams, Part

DATA = interactions(200, 40, 6)
PARTS = (Part("ridge", 2.0, {"neighbours": 20}), Part("item_knn"))


def test_scores_are_the_weighted_sum_of_the_parts_over_their_standard_deviations() -> None:
    model = Blend(BlendParams(PARTS)).fit(DATA)
    ridge = create("ridge", {"neighbours": 20}).fit(DATA).scores(DATA.histories)
    knn = create("item_knn").fit(DATA).scores(DATA.histories)
    expected = 2 * ridge / ridge.std() + knn / knn.std()
    np.testing.assert_allclose(model.scores(DATA.histories), expected, rtol=1e-4, atol=1e-4)


def test_a_part_that_says_nothing_does_no_harm() -> None:
    """Every user has one item only: nothing has neighbours."""
    from tastemaker.models.interactions import Histories, Interactions, Vocabulary

    rows = Histories.of([([n % 5], [1.0], [0]) for n in range(20)])
    data = Interactions(tuple(map(str, range(20))), Vocabulary(tuple("abcde")), rows)
    model = Blend(BlendParams((Part("ridge"), Part("als", params={"factors": 4})))).fit(data)
    assert model.factors[0] == 0
    assert np.isfinite(model.scores(rows)).all()


def test_likeness_is_that_of_the_parts() -> None:
    model = Blend(BlendParams((Part("item_knn"),))).fit(DATA)
    alone = create("item_knn").fit(DATA)
    asked = np.arange(10, dtype=np.int32)
    np.testing.assert_array_equal(model.similar(asked, 5).items, alone.similar(asked, 5).items)


def test_every_part_of_an_artifact_is_guarded(tmp_path: Path) -> None:
    Blend(BlendParams(PARTS)).fit(DATA).save(tmp_path / "model")
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == ["arrays.npz", "model.json", "part-0", "part-1"]
    arrays = tmp_path / "model" / "part-1" / "arrays.npz"
    content = bytearray(arrays.read_bytes())
    content[len(content) // 2] ^= 1
    arrays.write_bytes(content)
    with pytest.raises(StorageError, match=r"part-1.*damaged"):
        load_model(tmp_path / "model")


def test_wrong_parts_are_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="a blend cannot be a part"):
        create("blend", {"parts": [{"kind": "blend"}]})
    with pytest.raises(ConfigError, match="model 'alss' is unknown; did you mean"):
        create("blend", {"parts": [{"kind": "alss"}]})
    with pytest.raises(ConfigError, match=r"models.als.factor: unknown hyper-parameter"):
        create("blend", {"parts": [{"kind": "als", "params": {"factor": 3}}]})
    with pytest.raises(ConfigError, match=r"models.blend.parts\[0\]"):
        create("blend", {"parts": [{"kind": "als", "weight": 0}]})
