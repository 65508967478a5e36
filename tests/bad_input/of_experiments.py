"""Wrong experiments, by command and over HTTP."""

from __future__ import annotations

from typing import Any

from bad_input.by_command import command
from bad_input.over_http import key
from bad_input.world import Found, World, Wrong

TWO = ("--arm", "control", "--arm", "other")
ARMS = [{"name": "control"}, {"name": "other"}]


def created(*options: str) -> Wrong:
    return command("experiment", "create", "cards", *options)


def drafted(**fields: Any) -> Wrong:
    """A draft over HTTP, by an admin whose key is gone afterwards: the other rows ask a server without keys."""

    def ask(world: World) -> Found:
        secret = key(world, "admin")
        try:
            return world.ask("POST", "/v1/experiments", {"name": "cards", "arms": ARMS} | fields, key=secret)
        finally:
            for known in world.storage.tables.keys.all():
                world.storage.tables.keys.revoke(known.id)

    return ask


def beside(world: World) -> Found:
    """A second experiment wants a part of a layer that is taken."""
    for name in ("first", "second"):
        assert world.run("experiment", "create", name, *TWO).status == 0
    assert world.run("experiment", "start", "first").status == 0
    return world.run("experiment", "start", "second")


def shrunk(world: World) -> Found:
    assert world.run("experiment", "create", "cards", *TWO, "--coverage", "0.5").status == 0
    assert world.run("experiment", "start", "cards").status == 0
    return world.run("experiment", "ramp", "cards", "0.1")


WRONG: dict[str, Wrong] = {
    "no-arms": created(),
    "unknown-setting": created("--arm", "control", "--arm", "other:0.5:diversty=0.3"),
    "wrong-setting": created("--arm", "control", "--arm", "other:0.5:diversity=11"),
    "wrong-weights": created("--arm", "control:0.5", "--arm", "other:0.2"),
    "unknown-arm-model": created("--arm", "control", "--arm", "other:0.5:als-1"),
    "unknown-metric-asked": created(*TWO, "--metric", "crt"),
    "unknown-forced-arm": created(*TWO, "--force", "ada=third"),
    "absent-experiment": command("experiment", "start", "cards"),
    "taken-layer": beside,
    "ramp-down": shrunk,
    "no-experiment-file": command("experiment", "create", "--file", "absent.toml"),
    "one-arm": drafted(arms=[{"name": "alone"}]),
    "experiment-weights": drafted(arms=[{"name": "a", "weight": 0.9}, {"name": "b", "weight": 0.9}]),
    "experiment-field": drafted(arm="a"),
}
