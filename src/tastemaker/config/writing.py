"""Changing one table of the configuration file, and nothing else in it: comments and layout are their author's.

The text is changed line by line and then read again. Where what it says is not exactly the old configuration with the new
values, because the file writes its tables in a way that this does not know, nothing is written.
"""

from __future__ import annotations

import json
import os
import re
import stat
import tempfile
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tastemaker.config.loading import decode
from tastemaker.errors import ConfigError

HEADER = re.compile(r"\s*\[")
LINE = r"^(\s*(?:{name}|\"{name}\")\s*=\s*)([^#\r\n]*?)(\s*(?:#.*)?)$"


def block(kind: str, params: Mapping[str, Any]) -> str:
    """Hyper-parameters as a table to paste. Those that are None are left out: TOML has no word for them.

    >>> print(block("als", {"factors": 64, "reg": 1e-05, "alpha0": None}))
    [models.als]
    factors = 64
    reg = 1e-05
    """
    lines = [f"{name} = {toml(value)}" for name, value in params.items() if value is not None]
    return "\n".join([f"[models.{kind}]", *lines])


def toml(value: Any) -> str:
    """A value as TOML.

    >>> toml(True), toml("a"), toml([1, 2.5]), toml({"a": 1})
    ('true', '"a"', '[1, 2.5]', '{ a = 1 }')
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return f"[{', '.join(toml(part) for part in value)}]"
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{name} = {toml(part)}' for name, part in value.items())} }}"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


def check_writable(path: Path) -> None:
    """Raises ``ConfigError`` where the file could not be replaced or made: better before long work than after it."""
    folder = path.resolve().parent
    if path.is_dir() or not os.access(folder, os.W_OK):
        raise ConfigError(f"{path}: cannot be written in {folder}; name another file with --config")


def write_model(path: Path, kind: str, params: Mapping[str, Any]) -> None:
    """Sets hyper-parameters in ``[models.KIND]``; None takes one out. The file is made when there is none.

    A reader sees the old file or the new one. Raises ``ConfigError``, and leaves the file as it is, where it cannot be changed
    without a change to anything else.
    """
    target = path.resolve()  # a link stays a link
    old = target.read_bytes().decode("utf-8") if target.exists() else ""
    new = changed(old, kind, params)
    wanted = tomllib.loads(old)
    table = wanted.setdefault("models", {}).setdefault(kind, {})
    for name, value in params.items():
        table.pop(name, None) if value is None else table.update({name: value})
    try:
        found = tomllib.loads(new)
    except tomllib.TOMLDecodeError:
        found = {}
    if found != wanted:
        remedy = "is written in a way that is not changed by a program; put this into it by hand:"
        raise ConfigError(f"{path}: [models.{kind}] {remedy}\n{block(kind, table)}")
    decode(found, {}, str(path))
    replace(target, new)


def changed(text: str, kind: str, params: Mapping[str, Any]) -> str:
    """The text with the values in the table of a kind, which is put at the end where there is none."""
    end = "\r\n" if "\r\n" in text else "\n"
    lines = text.splitlines()
    head = re.compile(rf"\s*\[\s*models\s*\.\s*(?:{kind}|\"{kind}\")\s*\]\s*(?:#.*)?$")
    start = next((number for number, line in enumerate(lines) if head.match(line)), None)
    if start is None:
        lines += [*([""] if lines and lines[-1].strip() else []), *block(kind, params).splitlines()]
        return end.join(lines) + end
    stop = next((number for number in range(start + 1, len(lines)) if HEADER.match(lines[number])), len(lines))
    lines[start + 1 : stop] = changed_table(lines[start + 1 : stop], params)
    return end.join(lines) + end


def changed_table(lines: list[str], params: Mapping[str, Any]) -> list[str]:
    """The lines of one table: values in their places, new names after the last line that says something."""
    new: list[str] = []
    for name, value in params.items():
        pattern = re.compile(LINE.format(name=re.escape(name)))
        place, found = next(((place, match) for place, line in enumerate(lines) if (match := pattern.match(line))), (-1, None))
        if found is None:
            new += [] if value is None else [f"{name} = {toml(value)}"]
        elif value is None:
            del lines[place]
        else:
            lines[place] = f"{found[1]}{toml(value)}{found[3]}"
    said = [number for number, line in enumerate(lines) if line.strip() and not line.lstrip().startswith("#")]
    place = said[-1] + 1 if said else 0
    return [*lines[:place], *new, *lines[place:]]


def replace(path: Path, text: str) -> None:
    """The file with another content, at once, and with the rights that it had."""
    rights = stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o644
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(text.encode("utf-8"))
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, rights)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
