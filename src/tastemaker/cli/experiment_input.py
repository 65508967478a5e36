"""An experiment as it is given to ``tastemaker experiment create``: a file, options, and arms in a short form."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from tastemaker.domain import Arm, Experiment, Scalar
from tastemaker.errors import InputError, did_you_mean


def read(path: Path) -> dict[str, Any]:
    """A file as fields. Raises ``InputError`` for one that is no JSON and no TOML, or no object."""
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        raise InputError("file", str(path), "there is no such file") from None
    try:
        found = msgspec.toml.decode(text) if path.suffix == ".toml" else msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise InputError("file", str(path), f"is neither JSON nor (as .toml) TOML: {error}") from None
    if not isinstance(found, dict):
        raise InputError("file", str(path), "holds one experiment: an object with the fields name and arms")
    return found


def options(given: dict[str, Any]) -> dict[str, Any]:
    """What was said on the command line, as fields."""
    fields = {key: given[key] for key in ("kind", "layer", "coverage", "mde", "planned", "training") if given[key] is not None}
    fields |= {key: given[key] for key in ("surfaces", "segments", "metrics") if given[key]}
    if given["part"]:
        fields["start"], fields["stop"] = given["part"]
    if given["guardrails"]:
        fields["guardrails"] = {key: number("guardrail", value) for key, value in pairs("guardrail", given["guardrails"])}
    if given["forced"]:
        fields["forced"] = dict(pairs("force", given["forced"]))
    if given["arms"]:
        fields["arms"] = evened([arm_of(text) for text in given["arms"]])
    return fields


def arm_of(text: str) -> dict[str, Any]:
    """An arm as it is written on the command line.

    >>> arm_of("diverse:0.5::diversity=0.3")
    {'name': 'diverse', 'weight': 0.5, 'settings': {'diversity': 0.3}}
    >>> arm_of("new::als-2")
    {'name': 'new', 'model': 'als-2'}
    """
    name, *parts = text.split(":")
    arm: dict[str, Any] = {"name": name}
    settings = [part for part in parts if "=" in part]
    if settings:
        arm["settings"] = {key: value_of(value) for key, value in pairs("arm", settings)}
    plain = [part for part in parts if "=" not in part]
    if len(plain) > 2:
        raise InputError("arm", text, "write NAME:WEIGHT:MODEL:KEY=VALUE, as diverse:0.5::diversity=0.3")
    if plain and plain[0]:
        arm["weight"] = number("arm", plain[0])
    if len(plain) > 1 and plain[1]:
        arm["model"] = plain[1]
    return dict(sorted(arm.items(), key=lambda pair: ("name", "weight", "model", "settings").index(pair[0])))


def evened(arms: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Arms without a share take even parts of what the others leave.

    >>> [arm["weight"] for arm in evened([{"name": "a"}, {"name": "b", "weight": 0.5}, {"name": "c"}])]
    [0.25, 0.5, 0.25]
    """
    left = 1 - sum(arm.get("weight", 0.0) for arm in arms)
    even = left / max(1, sum("weight" not in arm for arm in arms))
    return [arm if "weight" in arm or even <= 0 else arm | {"weight": even} for arm in arms]


def pairs(option: str, texts: Sequence[str]) -> list[tuple[str, str]]:
    """Texts of the form KEY=VALUE, taken apart."""
    for text in texts:
        if "=" not in text:
            raise InputError(option, text, "write it as NAME=VALUE")
    return [(key, value) for key, _, value in (text.partition("=") for text in texts)]


def number(option: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(option, text, "is not a number") from None


def value_of(text: str) -> Scalar:
    """A setting's value: a number, true or false, or a text."""
    try:
        found = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text
    return found if isinstance(found, (int, float, bool)) else text


def converted(fields: dict[str, Any]) -> Experiment:
    """Fields as an experiment, or an ``InputError`` that names what is wrong."""
    listed = fields["arms"] if isinstance(fields["arms"], list) else []
    for kind, rows in ((Experiment, [fields]), (Arm, [arm for arm in listed if isinstance(arm, dict)])):
        for row in rows:
            for key in row:
                if key not in kind.__struct_fields__:
                    raise InputError(key, row[key], f"is not a field; {did_you_mean(key, kind.__struct_fields__)}")
    try:
        return msgspec.convert(fields, Experiment)
    except msgspec.ValidationError as error:
        what, _, path = str(error).partition(" - at `$")
        field = path.rstrip("`").lstrip(".")
        raise InputError(field or "experiment", fields.get(field, "…"), what[:1].lower() + what[1:]) from None
