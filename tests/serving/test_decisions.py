"""Every answer leaves a decision in the log, with all that is needed to judge it and to give it again."""

from __future__ import annotations

import math
import time

from msgspec.structs import replace

from api import api, decisions
from tastemaker.config import Config
from tastemaker.domain import Decision
from tastemaker.registry import live
from tastemaker.serving.decisions import GATHER
from tastemaker.slates.compose import RUNGS
from tastemaker.slates.decided import POLICY
from tastemaker.storage import Storage


def test_each_answers_decision_is_in_the_log_under_its_id(published: tuple[Storage, Config]) -> None:
    storage, config = published
    now = live.read(storage.kv)
    assert now is not None
    began = int(time.time() * 1000)
    with api(storage, config) as server:
        answers = [
            server.ask("u1"),
            server.ask("u1", k=3, surface="player", session="s1"),
            server.ask("u2", category="Comedy"),
            server.ask("p1"),
            server.ask("nobody"),
            server.ask("u1", category="Knitting"),
        ]
        found = {decision.id: decision for decision in decisions(storage)}
    assert len({answer["decision"] for answer in answers}) == len(answers)
    assert set(found) == {answer["decision"] for answer in answers}
    for answer in answers:
        decision = found[answer["decision"]]
        assert (decision.user, decision.rung, decision.models) == (answer["user"], answer["rung"], (now.version,))
        assert (decision.policy, decision.reward) == (POLICY, config.rewards.version)
        assert began <= decision.time <= int(time.time() * 1000)
        assert decision.latency_ms >= 0
        assert decision.rung in RUNGS
        assert [slot.item for slot in decision.slots] == [row["item"] for row in answer["items"]]
        assert [slot.position for slot in decision.slots] == list(range(len(answer["items"])))
        assert [slot.source for slot in decision.slots] == [row["source"] for row in answer["items"]]
        for slot, row in zip(decision.slots, answer["items"], strict=True):
            assert math.isclose(slot.score, row["score"])
            assert slot.evidence == tuple(reason["item"] for reason in row.get("reasons", []) if "item" in reason)
    assert (found[answers[1]["decision"]].surface, found[answers[1]["decision"]].session) == ("player", "s1")
    assert (found[answers[0]["decision"]].surface, found[answers[0]["decision"]].session) == ("home", None)


def test_nothing_was_drawn_so_no_propensity_is_claimed(published: tuple[Storage, Config]) -> None:
    storage, config = published
    with api(storage, config) as server:
        server.ask("u1")
        server.ask("nobody", k=5)
        found = decisions(storage)
    slots = [slot for decision in found for slot in decision.slots]
    assert len(slots) == 15
    assert all(math.isnan(slot.log_propensity) for slot in slots)
    assert not any(slot.pinned or slot.in_both or slot.team != -1 for slot in slots)
    assert not any(decision.explore for decision in found)


def test_a_decision_names_the_state_and_seed_that_give_the_answer_again(published: tuple[Storage, Config]) -> None:
    storage, config = published
    with api(storage, config) as server:
        page = server.client.get("/v1/users/u1").json()
        first, again, longer = server.ask("u1"), server.ask("u1"), server.ask("u1", k=40)
        found = {decision.id: decision for decision in decisions(storage)}
    one, two, composed = (found[answer["decision"]] for answer in (first, again, longer))
    assert one.feature_snapshot == str(page["applied"]["offset"]) == composed.feature_snapshot
    assert (one.seed, one.temperature) == (0, 0.0)
    assert again["items"] == first["items"] == longer["items"][:10]

    def without_place(decision: Decision) -> Decision:
        slots = tuple(replace(slot, log_propensity=0.0) for slot in decision.slots)  # NaN is not equal to itself
        return replace(decision, id="", time=0, latency_ms=0.0, slots=slots)

    assert without_place(one) == without_place(two)


def test_ids_never_come_twice_not_even_from_two_servers(published: tuple[Storage, Config]) -> None:
    storage, config = published
    with api(storage, config) as one, api(storage, config) as two:
        seen = [server.ask("u1", k=1)["decision"] for server in (one, two) for _ in range(50)]
        logged = [decision.id for decision in decisions(storage)]
    assert len(set(seen)) == len(seen)
    assert sorted(logged) == sorted(seen)


def test_decisions_of_the_last_moment_are_in_the_log_when_the_server_has_stopped(published: tuple[Storage, Config]) -> None:
    storage, config = published
    with api(storage, config) as server:
        seen = [server.ask("u1", k=1)["decision"] for _ in range(20)]
    storage.log.flush()
    kept = [
        record.event.id
        for partition, end in enumerate(storage.log.ends())
        for record in storage.log.read(partition, 0, end + 1)
        if isinstance(record.event, Decision)
    ]
    assert sorted(kept) == sorted(seen)


def test_an_answer_is_given_although_its_decision_cannot_be_kept(published: tuple[Storage, Config]) -> None:
    storage, config = published
    with api(storage, config) as server:
        storage.log.close()
        assert server.ask("u1")["rung"] == "personal"
        time.sleep(3 * GATHER)
        del storage.__dict__["log"]
        later = server.ask("u1")["decision"]
        assert [decision.id for decision in decisions(storage)] == [later]
