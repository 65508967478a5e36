"""Errors: one small tree, and messages that name the thing, its value and the remedy."""

from __future__ import annotations

import inspect
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tastemaker import errors
from tastemaker.errors import ConfigError, InputError, MissingExtra, TastemakerError, UnknownScheme, did_you_mean


def test_every_error_belongs_to_the_tree_that_the_module_draws() -> None:
    found = {name: kind for name, kind in vars(errors).items() if inspect.isclass(kind) and issubclass(kind, Exception)}
    drawn = set(re.findall(r"[├└]── (\w+)|^ {4}(\w+)$", errors.__doc__ or "", re.MULTILINE))
    assert {a or b for a, b in drawn} == set(found)
    assert all(issubclass(kind, TastemakerError) for kind in found.values())
    assert issubclass(UnknownScheme, ConfigError)


def test_an_input_error_keeps_its_parts_and_shows_them() -> None:
    error = InputError("events[3].time", "soon", "send epoch milliseconds")
    assert (error.field, error.value, error.remedy) == ("events[3].time", "soon", "send epoch milliseconds")
    assert str(error) == "events[3].time = 'soon': send epoch milliseconds"


@given(st.one_of(st.text(min_size=0, max_size=5000), st.binary(max_size=5000), st.lists(st.integers(), max_size=500), st.none()))
def test_a_message_stays_short_whatever_the_value(value: object) -> None:
    assert len(str(InputError("x", value, "remedy"))) <= len("x = : remedy") + 120


def test_a_missing_package_names_the_extra_that_brings_it() -> None:
    assert "pip install 'tastemaker[redis]'" in str(MissingExtra("redis", "connect.kv = 'redis://h'"))


@pytest.mark.parametrize("wrong", ["al", "asl", "alls"])
def test_a_near_miss_gets_one_suggestion(wrong: str) -> None:
    assert did_you_mean(wrong, ["als", "popular"]) == 'did you mean "als"?'


def test_something_quite_different_gets_the_list_in_order() -> None:
    assert did_you_mean("zzz", ["popular", "als"]) == "known: als, popular"
