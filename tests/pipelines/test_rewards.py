"""Rewards as a table with a version: what training learns of late ones, what relabelling makes anew, and what bait is worth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from msgspec.structs import replace

import world
from tastemaker.config import Config, Reward, Rewards
from tastemaker.domain import AnyEvent, Interaction
from tastemaker.errors import ConfigError
from tastemaker.features import states
from tastemaker.features.rewards import HOUR, fingerprint
from tastemaker.models import create
from tastemaker.models.interactions import Interactions
from tastemaker.pipelines.catalog import pipeline
from tastemaker.pipelines.local import run_pipeline
from tastemaker.pipelines.relabelling import relabel
from tastemaker.pipelines.training import training_set
from tastemaker.registry.labels import check_version
from tastemaker.simulation.settings import WorldSettings
from tastemaker.simulation.world import World
from tastemaker.storage import Storage, keys
from tastemaker.storage.archive import archive
from tastemaker.streaming.rebuild import rebuild_states
from tastemaker.streaming.worker import Worker

WATCHED = Rewards(
    "watched",
    default=0.0,
    kinds={"click": Reward(weight=0.0, mature_hours=24.0), "watch": Reward(weight=1.0, scale=1.0, cap=1.0)},
)
CLICKED = Rewards("clicked", default=0.0, kinds={"click": Reward(weight=1.0)})
DOUBLED = Rewards("doubled", kinds={"click": Reward(weight=2.0)})


def rewarded(config: Config, rewards: Rewards) -> Config:
    return replace(config, rewards=rewards)


def kept(storage: Storage, events: list[AnyEvent]) -> dict[str, int]:
    storage.log.append(events).result()
    archive(storage.log, storage.lake)
    return {"interactions": storage.lake.version("interactions")}


def pairs(data: Interactions) -> dict[tuple[str, str], float]:
    """(user, item) -> the sum of rewards."""
    found: dict[tuple[str, str], float] = {}
    for row, user in enumerate(data.users):
        for place in range(*data.histories.indptr[row : row + 2].tolist()):
            pair = (user, data.items.ids[data.histories.items[place]])
            found[pair] = found.get(pair, 0.0) + float(data.histories.weights[place])
    return found


def early(number: int, time: int, share: float | None) -> list[AnyEvent]:
    """A click, and what was watched an hour later."""
    click = Interaction(f"c{number}", time, "u", f"i{number}", "click")
    return [click] if share is None else [click, Interaction(f"w{number}", time + HOUR, "u", f"i{number}", "watch", share)]


def test_training_learns_nothing_of_a_click_that_is_not_mature_and_publishing_shows_it_all(
    storage: Storage, home: Config
) -> None:
    versions = kept(storage, early(1, 0, 0.5) + early(2, 30 * HOUR, 0.75) + early(3, 40 * HOUR, None))
    config = rewarded(home, WATCHED)
    assert pairs(training_set(storage, config, versions, 54 * HOUR)) == {("u", "i1"): 0.5}
    assert pairs(training_set(storage, config, versions, 55 * HOUR)) == {("u", "i1"): 0.5, ("u", "i2"): 0.75}
    assert pairs(training_set(storage, config, versions)) == {("u", "i1"): 0.5}, "without a time it is that of the newest event"
    assert pairs(training_set(storage, config, versions, learning=False)) == {("u", "i1"): 0.5, ("u", "i2"): 0.75}


def test_imputed_labels_stand_where_masked_ones_were_left_out(storage: Storage, home: Config) -> None:
    versions = kept(storage, early(1, 0, 0.5) + early(2, HOUR, None) + early(3, 40 * HOUR, None))
    config = rewarded(home, replace(WATCHED, immature="impute"))
    found = pairs(training_set(storage, config, versions, 40 * HOUR + 1))
    assert found[("u", "i1")] == 0.5
    assert found[("u", "i3")] == pytest.approx(0.25, abs=1e-3), "half of the mature clicks brought a half"
    assert ("u", "i2") not in found


def test_a_version_that_meant_something_else_is_refused_before_anything_is_trained(published: tuple[Storage, Config]) -> None:
    storage, config = published
    cards = storage.tables.models.all()
    assert {card.reward_table for card in cards} == {fingerprint(config.rewards)}
    changed = replace(config.rewards, default=3.0)
    with pytest.raises(ConfigError, match=r"rewards\.version = '1': .* give the table a version of its own"):
        run_pipeline(storage, rewarded(config, changed), pipeline("daily"))
    assert len(storage.tables.models.all()) == len(cards)
    check_version(storage.tables.models, replace(changed, version="2"))
    check_version(storage.tables.models, replace(config.rewards, history=100))


def test_relabelling_leaves_what_workers_would_have_made_under_the_new_table(published: tuple[Storage, Config]) -> None:
    storage, config = published
    before = states.unpack(storage.kv.get([keys.state("u1")])[0] or b"")
    storage.config = rewarded(config, DOUBLED)
    told: list[str] = []
    done = relabel(storage, storage.config, rebuild_states, lambda step, *_: told.append(step))
    after = states.unpack(storage.kv.get([keys.state("u1")])[0] or b"")
    assert after.history.items == before.history.items
    assert after.history.weights == tuple(2 * weight for weight in before.history.weights)
    assert (done.reward, done.users) == ("doubled", sum(1 for _ in storage.kv.scan("state:")))
    assert set(told) == {"states", "features"}
    popularity = storage.lake.read("item_features", columns=["item_popularity"])["item_popularity"].to_numpy()
    relabel(storage, rewarded(config, replace(DOUBLED, kinds={"click": Reward(weight=4.0)})), rebuild_states, lambda *_: None)
    doubled = storage.lake.read("item_features", columns=["item_popularity"])["item_popularity"].to_numpy()
    np.testing.assert_allclose(doubled, 2 * popularity, rtol=1e-3)  # a moment later, and decaying
    storage.log.append([Interaction("next", world.BASE + 10**9, "u1", "i1", "click")]).result()
    worker = Worker(storage, storage.config)
    assert worker.drain() == 1
    worker.stop()


@pytest.mark.parametrize("step", ["states", "features"])
def test_a_relabelling_that_was_interrupted_is_taken_up_by_the_next(published: tuple[Storage, Config], step: str) -> None:
    storage, config = published
    storage.config = rewarded(config, DOUBLED)

    def stop(name: str, *_: object) -> None:
        if name == step:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        relabel(storage, storage.config, rebuild_states, stop)
    assert states.unpack(storage.kv.get([keys.state("u1")])[0] or b"").history.items, "people are answered meanwhile"
    done = relabel(storage, storage.config, rebuild_states, lambda *_: None)
    assert done.users == sum(1 for _ in storage.kv.scan("state:"))
    assert set(states.unpack(storage.kv.get([keys.state("u1")])[0] or b"").history.weights) == {2.0}
    assert storage.lake.read("user_features").num_rows == done.rows["user_features"]


@dataclass
class Seen:
    """Users' lists by a model, and what is true of them."""

    bait: float  # share of places
    joy: float  # mean enjoyment


def lived(people: World, days: float) -> list[AnyEvent]:
    """What people do with random lists: a click is told at once, the watched share an hour later."""
    random = np.random.default_rng(1)
    found: list[AnyEvent] = []
    while people.day < days:
        visits = people.step(1 / 4)
        lists = random.permuted(np.tile(np.arange(len(people.things)), (len(visits.users), 1)), axis=1)[:, :12]
        made = people.respond(visits.users, lists)
        people.commit(visits.users, lists, made)
        for row, place in zip(*np.nonzero(made.clicked), strict=True):
            user, item = f"u{visits.users[row]}", f"i{lists[row, place]}"
            time = world.BASE + int(visits.days[row] * 24 * HOUR) + int(place)
            share = float(made.watched[row, place])
            found.append(Interaction(f"c{len(found)}", time, user, item, "click"))
            found.append(Interaction(f"w{len(found)}", time + HOUR, user, item, "watch", share))
    return found


def shown(people: World, kind: str, data: Interactions) -> Seen:
    model = create(kind, {"factors": 16} if kind == "als" else {}).fit(data, seed=0)
    lists = model.recommend(data.histories, 10).items
    users = np.array([int(user[1:]) for user in data.users])
    whole = (lists >= 0).all(1)
    numbers = np.array([int(item[1:]) for item in data.items.ids])[lists[whole]]
    joy = np.concatenate([people.enjoyment(user, row) for user, row in zip(users[whole], numbers, strict=True)])
    return Seen(float(people.things.bait[numbers].mean()), float(joy.mean()))


@pytest.mark.parametrize("kind", ["popular", "als"])
def test_bait_is_demoted_when_the_watched_share_is_rewarded_and_not_the_click(storage: Storage, home: Config, kind: str) -> None:
    settings = WorldSettings(
        users=300, items=150, clickbait=0.25, births=0.0, newcomers=0.0, churn=0.0, organic=0.0, sessions=2.0
    )
    people = World(settings, 3)
    versions = kept(storage, lived(people, 6.0))
    clicked, watched = (
        shown(people, kind, training_set(storage, rewarded(home, rewards), versions)) for rewards in (CLICKED, WATCHED)
    )
    base = float(people.things.bait.mean())
    print(
        f"{kind}: bait {base:.3f} of the catalogue, {clicked.bait:.3f} by clicks, {watched.bait:.3f} by watched share;", end=" "
    )
    print(f"enjoyment {clicked.joy:.3f} and {watched.joy:.3f}")
    assert clicked.bait > base * 1.4
    assert watched.bait - base < 0.6 * (clicked.bait - base)  # 0.35 of popular, 0.40 of als
    assert watched.joy > clicked.joy * 1.05
