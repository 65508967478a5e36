"""Arms over the real server: who gets what, what is logged of it, and what happens when an arm cannot be served."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace

import world
from api import api, eventually, logged
from tastemaker.config import Config
from tastemaker.domain import Arm, Decision, Experiment, Exposure, UserChange
from tastemaker.experiments.assignment import assign
from tastemaker.registry import experiments, live
from tastemaker.storage import Storage, keys
from tastemaker.streaming.worker import Worker

PLAIN = (Arm("control"), Arm("same"))


def begun(storage: Storage, name: str, arms: tuple[Arm, ...], **more: Any) -> Experiment:
    """An experiment that runs."""
    experiments.create(storage, Experiment(name, arms, **more), 1)
    return experiments.start(storage, name, 2)


def popular_version(storage: Storage) -> str:
    now = live.read(storage.kv)
    assert now is not None
    return now.fallback.partition("/")[0]


def items(answer: dict[str, Any]) -> list[str]:
    return [row["item"] for row in answer["items"]]


@dataclass
class Logged:
    """What a server has logged: decisions by user, and exposures in the order of their units."""

    decisions: dict[str, list[Decision]]
    exposures: list[Exposure]

    @classmethod
    def of(cls, storage: Storage) -> Logged:
        found = logged(storage)
        by_user: dict[str, list[Decision]] = {}
        for event in found:
            if isinstance(event, Decision):
                by_user.setdefault(event.user, []).append(event)
        return cls(by_user, [event for event in found if isinstance(event, Exposure)])


def users(count: int) -> list[str]:
    return [world.user(number) for number in range(count)]


def test_decisions_name_the_arms_that_the_hash_says_and_exposures_come_once(published: tuple[Storage, Config]) -> None:
    storage, config = published
    running = begun(storage, "aa", PLAIN)
    with api(storage, config) as server:
        before = time.time() * 1000
        for _ in range(2):
            rungs = {user: server.ask(user)["rung"] for user in users(60)}
        server.ask("u3", k=5)
        server.ask("u3", category="Drama")
        found = Logged.of(storage)
    wanted = {user: assign([running], user)["aa"] for user in users(60)}
    assert {decision.arms["aa"] for decision in found.decisions["u3"]} == {wanted["u3"].arm}
    assert len(found.decisions["u3"]) == 4
    assert {user: found.decisions[user][0].arms for user in users(60)} == {
        user: {"aa": told.arm} for user, told in wanted.items()
    }
    assert Counter(exposure.unit for exposure in found.exposures) == Counter(
        user for user in users(60) if rungs[user] == "personal"
    )
    assert len(found.exposures) == 60
    for exposure in found.exposures:
        told = wanted[exposure.unit]
        assert (exposure.id, exposure.arm) == (f"exposure-aa-1-{exposure.unit}", told.arm)
        assert (exposure.bucket, exposure.reason, exposure.layer) == (told.bucket, "hashed", "default")
        assert before <= exposure.time <= found.decisions[exposure.unit][0].time


def test_an_arm_that_changes_nothing_is_served_from_the_stored_slate(published: tuple[Storage, Config]) -> None:
    storage, config = published
    with api(storage, config) as server:
        before = {user: server.ask(user) for user in users(10)}
        begun(storage, "aa", PLAIN)
        assert eventually(lambda: bool(server.app.recommending.current.now.experiments))
        server.app.recommending.pool.shutdown()  # whoever composes fails
        after = {user: server.ask(user) for user in users(10)}
    for user in users(10):
        assert (items(after[user]), after[user]["rung"]) == (items(before[user]), "personal")


def test_strangers_are_in_an_arm_and_are_not_exposed(published: tuple[Storage, Config]) -> None:
    storage, config = published
    begun(storage, "aa", PLAIN)
    with api(storage, config) as server:
        assert server.ask("stranger")["rung"] == "popular"
        assert server.ask("p1")["rung"] == "segment"
        found = Logged.of(storage)
    assert set(found.decisions["stranger"][0].arms) == {"aa"}
    assert [exposure.unit for exposure in found.exposures] == ["p1"]


def test_ramping_up_moves_nobody_who_is_in(published: tuple[Storage, Config]) -> None:
    storage, config = published
    begun(storage, "aa", PLAIN, coverage=0.3)
    with api(storage, config) as server:
        for user in users(100):
            server.ask(user)
        experiments.ramp(storage, "aa", 0.8)
        server.app.recommending.current.look()
        for user in users(100):
            server.ask(user)
        found = Logged.of(storage)
    first, second = ({user: told[turn].arms.get("aa") for user, told in found.decisions.items()} for turn in (0, 1))
    assert {user: arm for user, arm in first.items() if arm} == {user: second[user] for user, arm in first.items() if arm}
    assert 15 <= sum(arm is not None for arm in first.values()) <= 45
    assert 65 <= sum(arm is not None for arm in second.values()) <= 95


def test_an_arm_with_a_model_of_its_own_is_answered_by_it(published: tuple[Storage, Config]) -> None:
    storage, config = published
    version = popular_version(storage)
    running = begun(storage, "models", (Arm("control"), Arm("popular", model=version)))
    with api(storage, config) as server:
        answers = {user: server.ask(user) for user in users(40)}
        found = Logged.of(storage)
    exposed = {exposure.unit: exposure.arm for exposure in found.exposures}
    for user, answer in answers.items():
        arm = assign([running], user)["models"].arm
        assert answer["model"] == (version if arm == "popular" else live_version(storage))
        assert answer["rung"] == ("popular" if arm == "popular" else "personal")
        assert found.decisions[user][0].models == (answer["model"],)
        assert [slot.item for slot in found.decisions[user][0].slots] == items(answer)
        assert exposed[user] == arm, "in both arms alike"


def live_version(storage: Storage) -> str:
    now = live.read(storage.kv)
    assert now is not None
    return now.version


def test_an_arm_whose_model_cannot_be_loaded_gets_what_everybody_gets_and_is_told(published: tuple[Storage, Config]) -> None:
    storage, config = published
    version = popular_version(storage)
    with api(storage, config) as server:
        usual = {user: items(server.ask(user)) for user in users(20)}
    card = storage.tables.models.get(version)
    assert card is not None
    storage.tables.models.put(replace(card, version="broken", artifact="broken/model"))
    shutil.copytree(config.model_folder / version, config.model_folder / "broken")
    begun(storage, "models", (Arm("control"), Arm("broken", model="broken")))
    arrays = config.model_folder / "broken" / "model" / "arrays.npz"
    whole = arrays.read_bytes()
    arrays.write_bytes(whole[:-1] + b"?")
    with api(storage, config) as server:
        answers = {user: server.ask(user) for user in users(20)}
        ready = server.client.get("/ready")
        found = Logged.of(storage)
        arrays.write_bytes(whole)
        server.app.recommending.current.models._again.clear()  # at once
        assert eventually(lambda: server.client.get("/ready").json()["warnings"] == [])
        healed = {server.ask(user)["model"] for user in users(20)}
        after = Logged.of(storage).exposures
    assert {user: items(answer) for user, answer in answers.items()} == usual
    assert ready.status_code == 200
    assert "experiment models, arm broken: model 'broken' is not loaded" in ready.json()["warnings"]
    assert any("damaged" in warning for warning in ready.json()["warnings"])
    assert found.exposures == [], "in no arm, while one of them is everybody's"
    assert {exposure.arm for exposure in after} == {"control", "broken"}
    assert healed == {live_version(storage), "broken"}


def test_when_composing_takes_too_long_an_arm_falls_back_and_says_so(published: tuple[Storage, Config]) -> None:
    storage, config = published
    begun(storage, "models", (Arm("control"), Arm("popular", model=popular_version(storage))), forced={"u1": "popular"})
    with api(storage, replace(config, serving=replace(config.serving, deadline_ms=1e-3))) as server:
        answer = server.ask("u1")
        found = Logged.of(storage)
    assert (answer["rung"], answer["note"], answer["model"]) == ("stored", "the deadline passed", live_version(storage))
    decision = found.decisions["u1"][0]
    assert (decision.arms, decision.rung, decision.models) == ({"models": "popular"}, "stored", (live_version(storage),))
    assert [(exposure.unit, exposure.arm) for exposure in found.exposures] == [("u1", "popular")], "whether or not it was in time"


def test_units_that_are_put_into_an_arm_by_hand_are_logged_as_such(published: tuple[Storage, Config]) -> None:
    storage, config = published
    begun(storage, "aa", PLAIN, coverage=0.01, forced={"u1": "same"})
    with api(storage, config) as server:
        server.ask("u1")
        found = Logged.of(storage)
    assert found.decisions["u1"][0].arms == {"aa": "same"}
    assert [(exposure.unit, exposure.arm, exposure.reason) for exposure in found.exposures] == [("u1", "same", "forced")]


def test_surfaces_and_segments_say_whom_an_experiment_is_about(published: tuple[Storage, Config]) -> None:
    storage, config = published
    begun(storage, "shelf", PLAIN, surfaces=("shelf",), stop=0.5)
    begun(storage, "german", PLAIN, segments=("de",), start=0.5, layer="other")
    storage.log.append([UserChange("s-1", 10, user, segment="de") for user in users(20)]).result()
    worker = Worker(storage, config)
    worker.drain()
    worker.stop()
    with api(storage, config) as server:
        for user in users(40):
            server.ask(user)
            server.ask(user, surface="shelf")
        found = Logged.of(storage)
    home = [decision for told in found.decisions.values() for decision in told if decision.surface == "home"]
    shelf = [decision for told in found.decisions.values() for decision in told if decision.surface == "shelf"]
    assert not any("shelf" in decision.arms for decision in home)
    assert any("shelf" in decision.arms for decision in shelf)
    german = {decision.user for decision in home if "german" in decision.arms}
    assert german
    assert german < set(users(20))


def test_sessions_are_units_by_their_id_and_take_no_part_without(published: tuple[Storage, Config]) -> None:
    storage, config = published
    running = begun(storage, "aa", PLAIN)
    with api(storage, config) as server:
        for session in ("s-1", "s-1", "s-2", None):
            body = {"history": ["i8"]} | ({"session": session} if session else {})
            assert server.client.post("/v1/sessions/recommendations", json=body).json()["rung"] == "personal"
        found = Logged.of(storage)
    assert {unit: told[0].arms.get("aa") for unit, told in found.decisions.items()} == {
        "s-1": assign([running], "s-1")["aa"].arm, "s-2": assign([running], "s-2")["aa"].arm, "anonymous": None,
    }  # fmt: skip
    assert sorted(exposure.unit for exposure in found.exposures) == ["s-1", "s-2"]


def test_interleaved_answers_name_the_team_of_each_item(published: tuple[Storage, Config]) -> None:
    storage, config = published
    version = popular_version(storage)
    begun(storage, "duel", (Arm("als"), Arm("popular", model=version)), kind="interleaving")
    with api(storage, config) as server:
        alone = {user: server.ask(user, k=30) for user in users(20)}
        found = Logged.of(storage)
        experiments.stop(storage, "duel", 9)
        server.app.recommending.current.look()
        own = {user: items(server.ask(user, k=30)) for user in users(20)}
    leads = Counter[int]()
    for user, answer in alone.items():
        (decision,) = found.decisions[user]
        assert [slot.item for slot in decision.slots] == items(answer)
        assert len(set(items(answer))) == 30
        assert decision.models == (live_version(storage), version)
        assert decision.policy == "interleave/1"
        assert decision.seed > 0
        assert abs(sum(1 if slot.team else -1 for slot in decision.slots)) <= 1
        for slot in decision.slots:
            assert slot.rank_a == (own[user].index(slot.item) if slot.item in own[user] else -1)
            assert slot.in_both == (slot.rank_a >= 0 and slot.rank_b >= 0)
            assert (slot.rank_a, slot.rank_b)[slot.team] >= 0
        leads[decision.slots[0].team] += 1
    assert set(leads) == {0, 1}
    assert sorted(exposure.unit for exposure in found.exposures) == sorted(users(20))


def test_nothing_is_logged_of_an_experiment_that_has_ended(published: tuple[Storage, Config]) -> None:
    storage, config = published
    begun(storage, "aa", PLAIN)
    with api(storage, config) as server:
        experiments.stop(storage, "aa", 3)
        server.app.recommending.current.look()
        server.ask("u1")
        found = Logged.of(storage)
    assert (found.decisions["u1"][0].arms, found.exposures) == ({}, [])


def test_the_holdout_takes_part_in_nothing(published: tuple[Storage, Config]) -> None:
    storage, config = published
    begun(storage, "aa", PLAIN)
    config = replace(config, experiments=replace(config.experiments, holdout=0.3))
    with api(storage, config) as server:
        for user in users(100):
            server.ask(user)
        found = Logged.of(storage)
    out = [user for user in users(100) if not found.decisions[user][0].arms]
    assert 15 <= len(out) <= 45
    assert not {exposure.unit for exposure in found.exposures} & set(out)


def test_garbage_under_the_key_leaves_running_what_ran(published: tuple[Storage, Config]) -> None:
    storage, config = published
    begun(storage, "aa", PLAIN)
    with api(storage, config) as server:
        storage.kv.put({keys.EXPERIMENTS: b"garbage"})
        assert eventually(lambda: server.client.get("/ready").status_code == 503)
        server.ask("u1")
        found = Logged.of(storage)
    assert set(found.decisions["u1"][0].arms) == {"aa"}


def test_what_a_log_has_lost_is_logged_again(published: tuple[Storage, Config]) -> None:
    storage, config = published
    begun(storage, "aa", PLAIN)
    with api(storage, config) as server:
        log = storage.log
        server.ask("u1")
        exposures = server.app.recommending.exposures
        assert len(exposures._logged) == 1
        exposures.forget()  # as after a failure
        server.ask("u1")
        found = [event for event in logged(storage) if isinstance(event, Exposure)]
        assert storage.log is log
    assert {event.id for event in found} == {"exposure-aa-1-u1"}
    assert len(found) == 2, "the same event twice, of which readers count one"


def test_whoever_has_met_an_arm_of_a_sticky_experiment_stays_in_it(published: tuple[Storage, Config]) -> None:
    storage, config = published
    begun(storage, "aa", PLAIN, sticky=True)
    with api(storage, config) as server:
        for user in users(20):
            server.ask(user)
        assert eventually(lambda: all(storage.kv.get([keys.arm("aa", user) for user in users(20)])))
        experiments.ramp(storage, "aa", 0.01)
        server.app.recommending.current.look()
        for user in users(40):
            server.ask(user)
        found = Logged.of(storage)
    for user in users(20):
        first, second = found.decisions[user]
        assert first.arms == second.arms != {}
    assert sum(bool(found.decisions[user][0].arms) for user in users(40)[20:]) <= 3, "whoever comes now is hardly taken in"


def test_erasing_a_user_takes_exposures_arms_and_the_name_in_an_experiment(published: tuple[Storage, Config]) -> None:
    storage, config = published
    begun(storage, "aa", PLAIN, sticky=True, forced={"u1": "same", "u2": "control"})
    with api(storage, config) as server:
        for user in ("u1", "u3"):
            server.ask(user)
        assert eventually(lambda: storage.kv.get([keys.arm("aa", "u3")])[0] is not None)
        key = storage.tables.keys.create("admin", ("admin",), 1)
        for user in ("u1", "u3"):
            removed = server.client.delete(f"/v1/users/{user}", headers={"x-api-key": key}).json()["removed"]
            assert (removed["tables.experiments"], removed["kv.arm"]) == ((1, 0) if user == "u1" else (0, 1))
        assert [event for event in logged(storage) if isinstance(event, Exposure)] == []
        assert experiments.running(storage.kv.get([keys.EXPERIMENTS])[0])[0].forced == {"u2": "control"}
        server.ask("u3")
        assert len([event for event in logged(storage) if isinstance(event, Exposure)]) <= 1  # a stranger now
