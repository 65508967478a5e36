"""What is learnt: model cards with their metrics and verdicts, and the runs that made them."""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field

from tastemaker.domain.events import NAN


class Check(Struct, frozen=True):
    """One question of the gate and its answer."""

    name: str
    value: float
    bound: float
    passed: bool
    message: str


class Verdict(Struct, frozen=True):
    """The gate's answer, with all of its checks."""

    model: str
    live: str | None
    passed: bool
    checks: tuple[Check, ...]
    time: int


class Interval(Struct, frozen=True):
    """An estimate with its confidence interval over ``n`` users."""

    value: float
    low: float
    high: float
    n: int


class ModelCard(Struct, frozen=True):
    """What a model is, what it learnt from and how good it was. States: candidate, live, retired, rejected."""

    version: str
    kind: str
    state: str
    made: int
    params: dict[str, Any]
    data: dict[str, Any]  # lake table versions, interval, counts
    reward: str
    features: str
    code: str  # version of tastemaker
    losses: tuple[float, ...] = ()  # by epoch
    metrics: dict[str, Interval] = field(default_factory=dict)
    verdict: Verdict | None = None
    artifact: str = ""  # folder, relative to the model store
    seconds: float = NAN
    reward_table: str = ""  # fingerprint of what the reward version said


class Run(Struct, frozen=True):
    """A pipeline over an interval. A step's state is pending, running, done, failed or skipped."""

    id: str
    pipeline: str
    start: int
    end: int
    state: str
    began: int
    ended: int | None = None
    steps: dict[str, dict[str, Any]] = field(default_factory=dict)
