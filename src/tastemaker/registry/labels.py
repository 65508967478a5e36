"""A reward version means one thing: whoever learns under its name has learnt the same.

Each card carries the version and a fingerprint of the table that it stood for. So a table that was changed under an old name is
found out before a model is trained that would be compared with others as if it had learnt the same.
"""

from __future__ import annotations

from tastemaker.config import Rewards
from tastemaker.errors import ConfigError
from tastemaker.features.rewards import fingerprint
from tastemaker.storage.tables.learning import Models


def check_version(models: Models, rewards: Rewards) -> None:
    """Raises ``ConfigError`` where the version stood for another table when a model was trained."""
    now = fingerprint(rewards)
    for card in models.all():
        if card.reward == rewards.version and card.reward_table not in ("", now):
            raise ConfigError(
                f"rewards.version = {rewards.version!r}: {card.version} was trained under this version when [rewards] said "
                "something else; give the table a version of its own, and let `tastemaker relabel` make states and features anew"
            )
