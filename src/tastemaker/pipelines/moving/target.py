"""The configuration to which a platform moves, and what the two configurations must not have in common.

The environment names the source's stores, so its ``TASTEMAKER_CONNECT__*`` and ``TASTEMAKER_LOG__*`` say nothing of the target.
What the target's file should not hold, passwords above all, comes from ``TASTEMAKER_TO__CONNECT__KV`` and the like.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from msgspec.structs import replace

from tastemaker.config import PREFIX, TO, Config, hide, load
from tastemaker.errors import ConfigError

PLACES = (f"{PREFIX}CONNECT__", f"{PREFIX}LOG__")
STORES = ("log", "lake", "tables", "models", "kv", "kv_durable")


def target_environ(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment as the target's configuration may see it.

    >>> target_environ({"TASTEMAKER_CONNECT__KV": "a", "TASTEMAKER_TO__CONNECT__LOG": "b", "TASTEMAKER_TRAIN__SEED": "1"})
    {'TASTEMAKER_TRAIN__SEED': '1', 'TASTEMAKER_CONNECT__LOG': 'b'}
    """
    kept = {name: value for name, value in environ.items() if not name.startswith((TO, *PLACES))}
    return kept | {PREFIX + name.removeprefix(TO): value for name, value in environ.items() if name.startswith(TO)}


def load_target(file: str) -> Config:
    """The configuration of a file, without a spool: what is moved has to arrive, not to wait on this machine."""
    config = load(file, target_environ(os.environ))[0]
    return replace(config, patience=replace(config.patience, spool_mb=0.0))


def urls(config: Config) -> dict[str, str]:
    """Where each store is, in a form that two configurations share only if they share the store."""
    return {name: absolute(config.url(name)) if config.url(name) else "" for name in STORES}


def absolute(url: str) -> str:
    """A URL whose folder or file does not depend on where we stand.

    >>> absolute("kafka://h/t"), absolute("file:////a/../b")
    ('kafka://h/t', 'file:////b')
    """
    scheme, separator, path = url.partition(":///")
    if not separator:
        return url if "://" in url else str(Path(url).absolute())
    return f"{scheme}:///{os.path.normpath(Path(path).absolute())}"


def shown(config: Config) -> dict[str, str]:
    """The same without passwords."""
    return {name: str(hide(url)) for name, url in urls(config).items()}


def moves(source: Config, target: Config) -> set[str]:
    """The stores that differ. Raises ``ConfigError`` where the two configurations share what one cannot share."""
    here, there = urls(source), urls(target)
    moved = {name for name in STORES if here[name] != there[name]}
    if not moved:
        raise ConfigError("the file of --to names the stores of the current configuration: there is nothing to move")
    if ("log" in moved) != ("lake" in moved):
        same = "lake" if "log" in moved else "log"
        raise ConfigError(
            f"connect.{same} = {hide(there[same])!r} is the source's own, but the lake's rows carry the log's offsets: "
            "log and lake move together; name another place"
        )
    online = {here["kv"], here["kv_durable"]} - {""}
    for name in ("kv", "kv_durable"):
        if "log" in moved and there[name] in online:
            raise ConfigError(
                f"connect.{name} = {hide(there[name])!r} is the source's own, but its states carry the source log's offsets: "
                "name another online store"
            )
    return {"kv" if name == "kv_durable" else name for name in moved}
