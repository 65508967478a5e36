"""Rules and drawn slates over the real server: arms that set them, the share that is drawn, and what is logged of it."""

from __future__ import annotations

import math
import time
from collections import Counter

import numpy as np
import pytest
from msgspec.structs import replace
from test_arms import begun, items, users

from api import api, decisions, logged
from tastemaker.config import Config, Slates
from tastemaker.domain import Arm, Decision, Exposure, Interaction
from tastemaker.pipelines.catalog import pipeline
from tastemaker.pipelines.local import run_pipeline
from tastemaker.slates import rules
from tastemaker.slates.arranged import terms_of
from tastemaker.slates.sampler import log_propensity, scaled
from tastemaker.slates.sources import Taste, Wish
from tastemaker.storage import Storage, keys
from tastemaker.streaming.worker import Worker


def with_rules(config: Config, **keys: float) -> Config:
    return replace(config, slates=replace(Slates(), **keys))


def test_so_many_slates_are_drawn_as_the_configuration_says_and_their_probabilities_are_logged(
    published: tuple[Storage, Config],
) -> None:
    storage, config = published
    with api(storage, with_rules(config, explore=0.3, temperature=1.0)) as server:
        usual = {user: [server.ask(user) for _ in range(5)] for user in users(60)}
        shelf = server.app.recommending.current.now.shelf
        found = decisions(storage)
    drawn = [decision for decision in found if decision.explore]
    assert len(found) == 300
    assert abs(len(drawn) / 300 - 0.3) < 4 * math.sqrt(0.3 * 0.7 / 300)
    assert all(
        not decision.candidates and math.isnan(decision.slots[0].log_propensity) for decision in found if not decision.explore
    )
    assert len({decision.seed for decision in drawn}) == len(drawn)
    shown = {answer["decision"]: items(answer) for answers in usual.values() for answer in answers}
    for decision in drawn[:20]:
        offered = rules.Candidates(decision.candidates, np.array(decision.scores), terms_of(decision).fresh)
        policy = rules.policy(shelf, offered, Taste(), Wish(20, now=decision.time), drawn=True)
        places = [decision.candidates.index(slot.item) for slot in decision.slots]
        assert log_propensity(scaled(offered.scores), places, policy) == pytest.approx(
            [slot.log_propensity for slot in decision.slots], abs=1e-9
        )
        assert [slot.item for slot in decision.slots] == shown[decision.id]
        assert (decision.rung, decision.temperature, decision.eligible) == ("personal", 1.0, len(decision.candidates))


def test_surfaces_have_their_own_temperatures(published: tuple[Storage, Config]) -> None:
    storage, config = published
    hot = replace(config, slates=Slates(explore=1.0, temperature=0.1, temperatures={"search": 2.5}))
    with api(storage, hot) as server:
        server.ask("u1")
        server.ask("u1", surface="search")
        found = decisions(storage)
    assert [(decision.surface, decision.temperature) for decision in found] == [("home", 0.1), ("search", 2.5)]


def test_an_arm_with_rules_gets_other_slates_and_is_exposed_as_the_plain_arm_is(published: tuple[Storage, Config]) -> None:
    storage, config = published
    with api(storage, config) as server:
        usual = {user: items(server.ask(user)) for user in users(60)}
        begun(storage, "cards", (Arm("control"), Arm("few", settings={"cap": 2.0, "diversity": 0.5})))
        server.app.recommending.current.look()
        after = {user: server.ask(user) for user in users(60)}
        shelf = server.app.recommending.current.now.shelf
        found = logged(storage)
    arms = {event.user: event.arms["cards"] for event in found if isinstance(event, Decision) and event.arms}
    assert {event.unit: event.arm for event in found if isinstance(event, Exposure)} == arms
    assert set(arms.values()) == {"control", "few"}
    differ = 0
    for user, arm in arms.items():
        if arm == "control":
            assert items(after[user]) == usual[user]
            continue
        differ += items(after[user]) != usual[user]
        counts = Counter(name for item in items(after[user]) for name in shelf.catalogue.items[item].categories)
        assert max(counts.values()) <= 2
    assert differ > 10


def test_an_arm_that_only_explores_is_otherwise_served_from_the_stored_slate(published: tuple[Storage, Config]) -> None:
    storage, config = published
    begun(storage, "chance", (Arm("control"), Arm("drawn", settings={"explore": 0.5, "temperature": 2.0})))
    with api(storage, config) as server:
        usual = [server.ask(user) for user in users(60) for _ in range(2)]
        found = {decision.id: decision for decision in decisions(storage)}
    drawn = [decision for decision in found.values() if decision.explore]
    assert {decision.arms["chance"] for decision in drawn} == {"drawn"}
    share = len(drawn) / sum(decision.arms["chance"] == "drawn" for decision in found.values())
    assert 0.25 < share < 0.75
    stored = [answer for answer in usual if not found[answer["decision"]].explore]
    assert all(answer["age_ms"] > 0 for answer in stored)  # made when it was published, not for the request


def test_published_and_refreshed_slates_follow_the_rules_of_the_configuration(published: tuple[Storage, Config]) -> None:
    storage, config = published
    few = with_rules(config, cap=2)
    run_pipeline(storage, few, pipeline("hourly"))
    with api(storage, few) as server:
        shelf = server.app.recommending.current.now.shelf
        server.app.recommending.pool.shutdown()  # whoever composes fails
        before = server.ask("u1", k=5)
        storage.log.append([Interaction("click-now", int(time.time() * 1000), "u1", items(before)[0], "click")]).result()
        worker = Worker(storage, few)
        worker.drain()
        worker.stop()
        after = server.ask("u1", k=5)
    for answer in (before, after):
        counts = Counter(name for item in items(answer) for name in shelf.catalogue.items[item].categories)
        assert (answer["rung"], max(counts.values())) == ("personal", 2)
    assert items(before)[0] not in items(after)


@pytest.mark.parametrize(
    ("told", "why"),
    [('"diversity":99.0', "settings.diversity"), ('"cap":2.5', "settings.cap"), ('"spice":1.0', "settings.spice")],
)
def test_an_arm_of_another_version_of_the_program_is_told_and_gets_what_everybody_gets(
    published: tuple[Storage, Config], told: str, why: str
) -> None:
    storage, config = published
    begun(storage, "cards", (Arm("control"), Arm("odd", settings={"diversity": 0.5})), forced={"u1": "odd"})
    known = storage.kv.get([keys.EXPERIMENTS])[0] or b""
    storage.kv.put({keys.EXPERIMENTS: known.replace(b'"diversity":0.5', told.encode())})
    with api(storage, config) as server:
        answer, ready = server.ask("u1"), server.client.get("/ready")
        found = logged(storage)
    assert answer["rung"] == "personal"
    assert any(f"arm odd: {why}" in warning for warning in ready.json()["warnings"])
    assert [event for event in found if isinstance(event, Exposure)] == []
