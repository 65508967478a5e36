"""One file, ``tastemaker.toml``, and one rule for the environment.

Defaults stand in ``sections.py``, each with its sentence; the file overrides them; ``TASTEMAKER_SECTION__KEY=value`` overrides
the file (values of the environment are read as TOML, else as text). Unknown keys are refused with a hint. Start with
``sections.Config``; ``loading.load`` makes one.
"""

from __future__ import annotations

from tastemaker.config.airflow import Airflow, Cron
from tastemaker.config.experimenting import Experiments, Metric, Slates, with_settings
from tastemaker.config.loading import FILE, PREFIX, TO, decode, hide, keys, leaves, load, read_value
from tastemaker.config.rewards import Reward, Rewards
from tastemaker.config.section import Section
from tastemaker.config.sections import (
    Config,
    Connect,
    Evaluate,
    Gate,
    Log,
    Patience,
    Publish,
    Schedule,
    Serving,
    Spark,
    Streaming,
    Train,
)
from tastemaker.config.watching import Retention, Rule, Watch

__all__ = [
    "FILE", "PREFIX", "TO", "Airflow", "Config", "Connect", "Cron", "Evaluate", "Experiments", "Gate", "Log", "Metric",
    "Patience", "Publish", "Retention", "Reward", "Rewards", "Rule", "Schedule", "Section", "Serving", "Slates", "Spark",
    "Streaming", "Train", "Watch", "decode", "hide", "keys", "leaves", "load", "read_value", "with_settings",
]  # fmt: skip
