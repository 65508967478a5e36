"""From a file and the environment to a checked configuration, with the origin of every value."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

from tastemaker.config.section import Section
from tastemaker.config.sections import Config
from tastemaker.errors import ConfigError, did_you_mean

PREFIX = "TASTEMAKER_"
TO = PREFIX + "TO__"  # what `tastemaker migrate` reads of the place that it moves to
FILE = "tastemaker.toml"
SECRET = re.compile(r"(?<=://)([^:/@\s]*):([^@/\s]+)(?=@)")
SECRET_SETTING = re.compile(r"([?&][^=&\s]*(?:password|secret|token|\.pem)[^=&\s]*=)[^&\s]+", re.IGNORECASE)


def load(path: Path | str | None = None, environ: Mapping[str, str] | None = None) -> tuple[Config, dict[str, str]]:
    """The configuration and where each overridden key came from: ``{"connect.kv": "environment"}``.

    ``path`` None reads ``$TASTEMAKER_CONFIG`` or ``tastemaker.toml`` in the current folder, if there is one.
    """
    environ = os.environ if environ is None else environ
    file = Path(path or environ.get(PREFIX + "CONFIG", FILE))
    origins: dict[str, str] = {}
    tree: dict[str, Any] = {}
    if file.exists():
        try:
            tree = tomllib.loads(file.read_text("utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"{file}: not valid TOML: {error}") from None
        origins |= {name: str(file) for name, _ in leaves(tree)}
    elif path is not None or PREFIX + "CONFIG" in environ:
        raise ConfigError(f"{file}: no such configuration file; create it or leave --config out")
    for variable, text in sorted(environ.items()):
        if variable.startswith(PREFIX) and "__" in variable and not variable.startswith(TO):
            parts = variable.removeprefix(PREFIX).lower().split("__")
            plant(tree, parts, read_value(text), variable)
            origins[".".join(parts)] = f"${variable}"
    return decode(tree, origins, str(file)), origins


def decode(tree: dict[str, Any], origins: Mapping[str, str], file: str) -> Config:
    """A checked configuration out of nested tables; the error names key, value, origin and remedy."""
    refuse_unknown(tree, Config, "", origins, file)
    try:
        return msgspec.convert(tree, Config)
    except msgspec.ValidationError as error:
        reason, _, path = str(error).partition(" - at `$.")
        name = path.rstrip("`").replace("[...]", "") or "configuration"
        origin = origins.get(name, file)
        value: Any = tree
        for part in name.split("."):
            value = value.get(part, "?") if isinstance(value, dict) else value
        raise ConfigError(f"{origin}: {name} = {value!r}: {reason}") from None


def refuse_unknown(tree: Mapping[str, Any], section: type[Section], path: str, origins: Mapping[str, str], file: str) -> None:
    hints = get_type_hints(section)
    for name, value in tree.items():
        if name not in hints:
            full = f"{path}{name}"
            raise ConfigError(f"{origins.get(full, file)}: unknown key {full}; {did_you_mean(name, hints)}")
        if isinstance(hints[name], type) and issubclass(hints[name], Section) and isinstance(value, dict):
            refuse_unknown(value, hints[name], f"{path}{name}.", origins, file)


def leaves(tree: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted names and values of nested tables.

    >>> list(leaves({"a": {"b": 1}}))
    [('a.b', 1)]
    """
    for name, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{path}{name}.")
        else:
            yield f"{path}{name}", value


def plant(tree: dict[str, Any], parts: list[str], value: Any, variable: str) -> None:
    for part in parts[:-1]:
        tree = tree.setdefault(part, {})
        if not isinstance(tree, dict):
            raise ConfigError(f"${variable}: {part} is a value, not a table")
    tree[parts[-1]] = value


def read_value(text: str) -> Any:
    """A value of the environment: TOML where it parses, else the text itself.

    >>> read_value("8"), read_value("[5, 10]"), read_value("redis://h")
    (8, [5, 10], 'redis://h')
    """
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def hide(value: Any) -> Any:
    """The value without its password.

    >>> hide("redis://u:secret@host/0"), hide("kafka://host:9092/topic?sasl.username=u&sasl.password=secret")
    ('redis://u:***@host/0', 'kafka://host:9092/topic?sasl.username=u&sasl.password=***')
    """
    return SECRET_SETTING.sub(r"\1***", SECRET.sub(r"\1:***", value)) if isinstance(value, str) else value


def keys(section: type[Section] = Config, path: str = "") -> Iterator[tuple[str, str, Any, str]]:
    """Every key as (dotted name, type, default, sentence), for the reference and ``tastemaker config``."""
    for info in msgspec.structs.fields(section):
        hint = get_type_hints(section, include_extras=True)[info.name]
        if isinstance(hint, type) and issubclass(hint, Section):
            yield from keys(hint, f"{path}{info.name}.")
            continue
        plain, meta = (get_args(hint)[0], get_args(hint)[1]) if get_origin(hint) is Annotated else (hint, Meta())
        default = info.default if info.default is not msgspec.NODEFAULT else info.default_factory()
        shown = (
            plain.__name__
            if isinstance(plain, type) and not get_args(plain)
            else str(plain).replace("tastemaker.config.sections.", "")
        )
        yield f"{path}{info.name}", shown, default, meta.description or ""
