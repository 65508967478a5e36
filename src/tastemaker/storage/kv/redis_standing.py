"""Whether a Redis server is fit to hold the online store: version, clock, memory, and what it does when that is full."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tastemaker.storage.inspection import Inspection

FULL = 0.9  # share of the memory limit


def judge(info: Mapping[str, Any], clock: tuple[int, int]) -> Inspection:
    """What ``INFO`` and ``TIME`` say of a server that holds keys."""
    name = "Valkey" if "valkey_version" in info else "Redis"
    version = info.get("valkey_version") or info.get("redis_version") or "of an unknown version"
    problems, notes = [], []
    limit, used = int(info.get("maxmemory", 0)), int(info.get("used_memory", 0))
    policy = str(info.get("maxmemory_policy", "noeviction"))
    if info.get("role") == "slave":
        problems.append("it is a replica and takes no writes: give the URL of the primary, or of the sentinels")
    if int(info.get("loading", 0)):
        problems.append("it is loading its data and answers nobody yet: wait")
    if limit and used > FULL * limit and policy == "noeviction":
        problems.append(f"{used >> 20} of {limit >> 20} MiB are used, and then it refuses writes: raise maxmemory")
    if policy != "noeviction":
        notes.append(f"maxmemory-policy is {policy}: what it evicts is read from connect.kv_durable again, if you have one")
    return Inspection(f"{name} {version}", clock[0] + clock[1] / 1e6, tuple(problems), tuple(notes))


def together(found: list[Inspection]) -> Inspection:
    """The servers of a cluster as one: what is wrong with any of them is wrong."""
    versions = ", ".join(sorted({one.version for one in found}))
    return Inspection(
        f"{versions} ({len(found)} primaries)",
        found[0].clock if found else None,
        tuple(dict.fromkeys(problem for one in found for problem in one.problems)),
        tuple(dict.fromkeys(note for one in found for note in one.notes)),
    )
