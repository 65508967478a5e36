"""Ranges beside hyper-parameters: found by name, and never outside what the model takes."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import pytest
from msgspec import Meta

from tastemaker.models import MODELS, create, model_class
from tastemaker.models.space import Among, Between, Range, among, between, range_in, space_of


class Params(msgspec.Struct, frozen=True):
    whole: Annotated[int, Meta(ge=1, extra=between(2, 64, log=True))] = 8
    share: Annotated[float, Meta(ge=0, extra=between(0.0, 1.0))] = 0.5
    perhaps: Annotated[float, Meta(gt=0, extra=between(1.0, 9.0))] | None = None
    word: Annotated[str, Meta(extra=among("a", "b"))] = "a"
    bounded: Annotated[int, Meta(ge=1)] = 5
    plain: int = 3
    other: Annotated[int, Meta(extra={"unit": "days"})] = 1


def test_only_what_carries_a_range_is_searched_in_the_order_of_the_fields() -> None:
    assert list(space_of(Params).items()) == [
        ("whole", Between(2, 64, log=True, whole=True)),
        ("share", Between(0.0, 1.0)),
        ("perhaps", Between(1.0, 9.0)),
        ("word", Among(("a", "b"))),
    ]


def test_a_range_is_whole_only_where_both_ends_are() -> None:
    assert range_in(Annotated[int, Meta(extra=between(1, 3))]) == Between(1, 3, whole=True)
    assert range_in(Annotated[float, Meta(extra=between(1, 3.5))]) == Between(1, 3.5)
    assert range_in(int) is None
    assert range_in(int | None) is None


def test_a_range_leaves_the_bounds_beside_it_in_force() -> None:
    with pytest.raises(msgspec.ValidationError, match=">= 1"):
        msgspec.convert({"whole": 0}, Params)


def ends(each: Range) -> list[Any]:
    return list(each.choices) if isinstance(each, Among) else [each.low, each.high]


@pytest.mark.parametrize("kind", [kind for kind in MODELS if space_of(model_class(kind).Params)])
def test_the_ends_of_every_range_are_values_that_the_model_takes(kind: str) -> None:
    for name, each in space_of(model_class(kind).Params).items():
        for value in ends(each):
            assert getattr(create(kind, {name: value}).params, name) == value
        if isinstance(each, Between):
            assert each.low < each.high
            assert not each.log or each.low > 0


def test_models_that_were_always_there_have_something_to_search() -> None:
    for kind in ("popular", "nmf", "item_knn"):
        assert space_of(model_class(kind).Params), kind
