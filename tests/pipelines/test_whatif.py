"""What if another policy had drawn: over a real lake, with clicks whose probabilities are known, so that the truth is, too."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from msgspec.structs import replace

import servers
from api import api, decisions, eventually
from tastemaker.cli import app
from tastemaker.config import Config, Metric, Reward, Rewards, Slates, with_settings
from tastemaker.domain import Decision, Erase, History, Interaction, Scalar, UserState
from tastemaker.errors import InputError, NotFound
from tastemaker.features import states
from tastemaker.features.rewards import DAY, HOUR
from tastemaker.pipelines.whatif.answering import Answer, Answers, whatif
from tastemaker.pipelines.whatif.question import Other, Question, others
from tastemaker.pipelines.whatif.reading import STRANGERS, UNREADABLE, YOUNG, Drawn
from tastemaker.registry import live
from tastemaker.slates.compose import compose
from tastemaker.slates.decided import by_chance, slots_of
from tastemaker.slates.sources import Shelf, Taste, Wish
from tastemaker.storage import Storage, connect, keys
from tastemaker.storage.archive import archive
from tastemaker.streaming.worker import Worker

USERS, K = 120, 5
SERVED = 1_767_225_600_000 + 10 * DAY  # behind all events of the world
NOW = SERVED + 60 * DAY
RULES = Slates(temperature=1.0, fresh=0.0)


def likes(item: str) -> float:
    """The probability of a click on an item, whoever sees it: odd ones are good."""
    return 0.4 if int(item[1:]) % 2 else 0.1


def state_of(storage: Storage, user: str) -> UserState:
    packed = storage.kv.get([keys.state(user)])[0]
    assert packed is not None
    return states.unpack(packed)


def wish_of(state: UserState) -> Wish:
    return Wish(K, None, frozenset(state.history.items), now=SERVED)


def serve(storage: Storage, config: Config, other: Other, each: int = 8, seed: int = 0) -> list[Decision]:
    """Drawn answers to everybody, with clicks, through log and archive into the lake; and a sign of life of a day later."""
    random = np.random.default_rng(seed)
    events: list[Decision | Interaction] = []
    for number in range(USERS):
        state = state_of(storage, f"u{number}")
        for turn in range(each):
            made = compose(other.shelf, Taste(state.history), wish_of(state), int(random.integers(2**62)))
            assert made.drawn is not None
            name, time = f"d-{seed}-{number}-{turn}", SERVED + number * 1000 + turn
            decision = Decision(
                name, time, state.user, feature_snapshot=str(state.offset), models=(other.version,), rung="personal",
                slots=slots_of(made.items),
            )  # fmt: skip
            events.append(by_chance(decision, made.drawn))
            events += [
                Interaction(f"{name}-{slot.item}", time + 60_000, state.user, slot.item, "click", decision=name)
                for slot in decision.slots
                if random.random() < likes(slot.item)
            ]
    events.append(Interaction("late", SERVED + 5 * DAY, "u0", "i1", "click"))
    storage.log.append(events).result()
    archive(storage.log, storage.lake)
    return [event for event in events if isinstance(event, Decision)]


def truth(storage: Storage, shelf: Shelf, draws: int = 8) -> float:
    """What a policy earns an answer, by drawing its slates and knowing the probabilities."""
    found = []
    for number in range(USERS):
        state = state_of(storage, f"u{number}")
        for seed in range(draws):
            made = compose(shelf, Taste(state.history), wish_of(state), 1_000_000 * number + seed)
            found.append(sum(likes(offer.item) for offer in made.items))
    return float(np.mean(found))


def other_of(storage: Storage, config: Config, name: str = "live", **settings: Scalar) -> Other:
    ruled = replace(config, slates=with_settings(RULES, settings))
    return others(storage, ruled, Question((name,)))[0]


def popular_of(storage: Storage) -> str:
    return next(card.version for card in storage.tables.models.all(kind="popular"))


@pytest.fixture
def served(published: tuple[Storage, Config]) -> tuple[Storage, Config]:
    """The published world after some drawn answers."""
    storage, config = published
    serve(storage, config, other_of(storage, config))
    return storage, replace(config, slates=RULES)


def asked(served: tuple[Storage, Config], *models: str, **keys: object) -> Answers:
    return whatif(*served, Question(models or ("live",), **keys), NOW)  # type: ignore[arg-type]  # of several types


def test_the_policy_that_drew_differs_by_nothing(served: tuple[Storage, Config]) -> None:
    """Its histories are those of the log: the lake's histories score each slate as it was scored."""
    found = asked(served)
    (answer,) = found.models
    assert found.slates == USERS * 8
    assert found.users == USERS
    assert answer.verdict == "same"
    assert answer.difference is not None
    assert (answer.difference.value, answer.difference.low, answer.difference.high) == (0.0, 0.0, 0.0)
    assert answer.ess == (960.0,) * K
    assert (answer.own, answer.unlike, answer.clipped, answer.mean_weight) == (960, 0, 0.0, 1.0)
    assert answer.doubly_robust is not None
    assert answer.doubly_robust.value == pytest.approx(found.logged.value, abs=0.02)


@pytest.mark.parametrize("rules", [{"diversity": 0.5, "calibration": 0.7, "cap": 3}, {"fresh": 0.3, "fresh_days": 3650.0}])
def test_so_it_is_under_rules(published: tuple[Storage, Config], rules: dict[str, Scalar]) -> None:
    """Calibration reads the history: it is that of the state, bit for bit."""
    storage, config = published
    config = replace(config, rewards=replace(config.rewards, half_life_days=3.0), slates=with_settings(RULES, rules))
    serve(storage, config, others(storage, config, Question())[0], each=2)
    (answer,) = asked((storage, config)).models
    assert (answer.verdict, answer.unlike) == ("same", 0)
    assert answer.ess[0] == 240.0


def test_values_of_other_policies_are_found(served: tuple[Storage, Config]) -> None:
    """Another model, other rules: the truth is known by drawing their slates."""
    storage, config = served
    popular = popular_of(storage)
    found = asked(served, popular, settings={"temperature": 2.0})
    hotter = asked(served, "live", settings={"temperature": 2.0})
    colder = asked(served, "live", settings={"temperature": 0.6, "diversity": 0.3})
    own = truth(storage, other_of(storage, config).shelf)
    assert found.logged.low <= own <= found.logged.high
    for answer, shelf in (
        (found.models[0], None),
        (hotter.models[0], other_of(storage, config, temperature=2.0).shelf),
        (colder.models[0], other_of(storage, config, temperature=0.6, diversity=0.3).shelf),
    ):
        value = truth(storage, shelf) if shelf is not None else by_popularity(storage, config, popular)
        assert covers(answer, value), (answer, value)
        assert answer.doubly_robust is not None
        assert answer.doubly_robust.low - 0.02 <= value <= answer.doubly_robust.high + 0.02
        assert answer.difference is not None
        assert answer.difference.low - 0.02 <= value - own <= answer.difference.high + 0.02


def covers(answer: Answer, value: float) -> bool:
    assert answer.value is not None
    return answer.value.low - 0.02 <= value <= answer.value.high + 0.02


def by_popularity(storage: Storage, config: Config, version: str, draws: int = 8) -> float:
    """A model that is nobody's own draws nothing by itself: by its scores of all items that may be shown."""
    from tastemaker.models.interactions import Histories
    from tastemaker.slates.sampler import Policy, draw, scaled

    shelf = other_of(storage, config, version).shelf
    assert shelf.model is not None
    ids, scores = shelf.model.items.ids, shelf.model.scores(Histories.of([([0], [1.0], [0])]))[0]
    found = []
    for number in range(USERS):
        seen = set(state_of(storage, f"u{number}").history.items)
        open_ = [place for place, item in enumerate(ids) if item not in seen]
        for seed in range(draws):
            drawn = draw(scaled(scores[open_]), K, np.random.default_rng(seed + 100 * number), Policy(2.0))
            found.append(sum(likes(ids[open_[place]]) for place in drawn.items))
    return float(np.mean(found))


def test_what_is_clearly_better_is_told(published: tuple[Storage, Config]) -> None:
    """Clicks that follow the model's own scores: colder is better, hotter is worse, and a sentence says so."""
    storage, config = published
    other = other_of(storage, config)
    decisions = serve(storage, config, other, each=6)
    best = [
        Interaction(f"more-{d.id}-{slot.item}", d.time + 1000, d.user, slot.item, "click", decision=d.id)
        for d in decisions
        for slot in d.slots
        if slot.item in set(d.candidates[:8])
    ]
    storage.log.append(best).result()
    archive(storage.log, storage.lake)
    config = replace(config, slates=RULES)
    for temperature, verdict in ((0.7, "better"), (2.0, "worse")):
        (answer,) = asked((storage, config), settings={"temperature": temperature}).models
        assert answer.verdict == verdict
        assert answer.text.startswith(f"live would have done {verdict}: ctr ")
    less = replace(config, experiments=replace(config.experiments, metrics={"ctr": Metric(better="down")}))
    (answer,) = asked((storage, less), settings={"temperature": 2.0}).models
    assert answer.verdict == "better"


def test_without_support_nothing_is_told(served: tuple[Storage, Config]) -> None:
    """Nor is that an error: the other model of the same question is answered."""
    refused, told = asked(served, "live", popular_of(served[0]), settings={"temperature": 0.01}), asked(served)
    assert {answer.verdict for answer in refused.models} == {"refused"}
    assert "slates count behind slot 3" in refused.models[0].text
    assert "ask about the first 2 alone" in refused.models[0].text
    assert refused.models[0].value is None
    top = asked(served, settings={"temperature": 0.01}, slots=2)
    assert top.models[0].verdict != "refused"
    assert len(top.models[0].ess) == 2
    assert top.logged.value < told.logged.value
    assert told.models[0].verdict == "same"


def test_answers_that_cannot_be_judged_are_counted(served: tuple[Storage, Config]) -> None:
    storage, config = served
    old = next(iter(serve(storage, config, other_of(storage, config), each=1, seed=5)))
    strangers = [replace(old, id=f"s{n}", user="anonymous", feature_snapshot="-1") for n in range(3)]
    young = [replace(old, id=f"y{n}", time=SERVED + 5 * DAY - HOUR) for n in range(2)]
    others_way = replace(old, id="other", policy="another/2")
    storage.log.append(
        [*strangers, *young, others_way, replace(old, id="plain", explore=False), Erase("e", SERVED + DAY, "u7")]
    ).result()
    archive(storage.log, storage.lake)
    found = asked(served)
    assert found.left_out == {STRANGERS: 3, YOUNG: 2, UNREADABLE: 1}
    assert found.slates == (USERS - 1) * 9  # without the erased user
    assert asked(served, within_hours=0.5).left_out == {STRANGERS: 3, UNREADABLE: 1}
    assert asked(served, since=SERVED + DAY, within_hours=0.5).slates == 2
    assert asked(served, until=SERVED + 1000).slates == 9
    assert whatif(storage, config, Question(), SERVED + DAY + 2 * HOUR).slates == (USERS - 1) * 9
    with pytest.raises(NotFound, match="too young; wait"):
        whatif(storage, config, Question(), SERVED + HOUR)
    with pytest.raises(NotFound, match="no drawn slates of that time and surface"):
        asked(served, surface="cart")


def test_rewards_are_waited_for(served: tuple[Storage, Config]) -> None:
    """An answer counts when all that it may bring is known, or is left out whole."""
    storage, config = served
    late = replace(config, rewards=Rewards(kinds={"click": Reward(weight=2.0, mature_hours=3.5 * 24)}))
    ctr, reward = asked(served), asked((storage, late), metric="reward")
    assert reward.logged.value == pytest.approx(2 * ctr.logged.value)
    with pytest.raises(NotFound, match="too young"):
        asked((storage, replace(late, rewards=Rewards(kinds={"click": Reward(mature_hours=4.5 * 24)}))), metric="reward")
    nothing = replace(config, experiments=replace(config.experiments, metrics={"buys": Metric(kinds=("purchase",))}))
    assert asked((storage, nothing), metric="buys").logged.value == 0.0


def test_what_comes_late_does_not_count_and_what_is_open_leaves_its_answer_out(served: tuple[Storage, Config]) -> None:
    storage, config = served
    before = asked(served)
    first, other = (next(past.decision for past in read(storage, config) if past.decision.user == user) for user in ("u1", "u2"))
    late = Interaction("l", SERVED + 2 * DAY, "u1", first.slots[0].item, "click", decision=first.id)
    elsewhere = Interaction("x", first.time + 1, "u1", "no item of it", "click", decision=first.id)
    open_ = Interaction("o", other.time + 1, "u2", other.slots[0].item, "click", decision=other.id, mature_at=SERVED + 6 * DAY)
    storage.log.append([late, elsewhere]).result()
    archive(storage.log, storage.lake)
    assert asked(served).logged.value == before.logged.value
    assert asked(served, within_hours=72.0).logged.value == pytest.approx(before.logged.value + 1 / 960)
    storage.log.append([open_]).result()
    archive(storage.log, storage.lake)
    assert asked(served).logged.value == pytest.approx(before.logged.value + 1 / 960)  # that it was is known at once
    assert asked(served, metric="reward").left_out == {YOUNG: 1}


def test_a_history_is_what_it_was_when_the_answer_was_made(served: tuple[Storage, Config]) -> None:
    """What came later, even if it is dated earlier, was not known."""
    storage, config = served
    before = {past.decision.id: past.history for past in read(storage, config)}
    known = state_of(storage, "u3")
    assert before["d-0-3-0"] == known.history
    storage.log.append([Interaction("backdated", known.history.times[0] + 1, "u3", "i7", "click")]).result()
    archive(storage.log, storage.lake)
    assert {past.decision.id: past.history for past in read(storage, config)} == before
    short = replace(config, rewards=replace(config.rewards, history=4))
    assert {past.decision.id: past.history for past in read(storage, short)}["d-0-3-0"] == newest(known.history, 4)


def newest(history: History, count: int) -> History:
    return History(history.items[-count:], history.weights[-count:], history.times[-count:])


def read(storage: Storage, config: Config) -> Sequence:  # type: ignore[type-arg]  # of Past
    with Drawn(storage, config, Question(), NOW) as drawn:
        return list(drawn)


def test_other_histories_are_told(served: tuple[Storage, Config]) -> None:
    """Where rewards were changed since, the model that drew scores its own slates in another way, and says so."""
    storage, config = served
    changed = replace(config, rewards=replace(config.rewards, history=5))
    (answer,) = asked((storage, changed)).models
    assert answer.verdict == "same"
    assert answer.unlike > 900
    assert "other scores by the histories of the lake" in answer.warnings[0]


def test_what_a_server_drew_is_understood(published: tuple[Storage, Config]) -> None:
    """Over HTTP, with clicks in between that the next answer knows of: every slate is scored as it was when it was served."""
    storage, config = published
    rules: dict[str, Scalar] = {
        "explore": 1.0,
        "diversity": 0.3,
        "calibration": 0.5,
        "fresh": 0.2,
        "fresh_days": 3650.0,
        "temperature": 1.0,
    }
    config = replace(config, slates=with_settings(Slates(), rules))
    with api(storage, config, Worker(storage, config)) as server:
        for number in range(40):
            for turn in range(3):
                answer = server.ask(f"u{number}", k=6, **({"category": "Drama"} if turn == 2 else {}))
                item, now = answer["items"][0]["item"], int(time.time() * 1000)
                click = Interaction(f"c-{number}-{turn}", now, f"u{number}", item, "click", decision=answer["decision"])
                (place,) = storage.log.append([click]).result()
                assert eventually(lambda user=f"u{number}", last=place[1]: state_of(storage, user).offset >= last)  # type: ignore[misc]  # defaults that bind the loop's names
        stranger = {"history": ["i1", "i5"], "k": 6, "session": "s"}
        assert server.client.post("/v1/sessions/recommendations", json=stranger).status_code == 200
        assert len([decision for decision in decisions(storage) if decision.explore]) == 121
    now = int(time.time() * 1000)
    storage.log.append([Interaction("late", now + 3 * HOUR, "u0", "i1", "click")]).result()
    archive(storage.log, storage.lake)
    found = whatif(storage, config, Question(within_hours=2.0, metric="reward"), now + DAY)
    assert (found.slates, found.left_out) == (120, {STRANGERS: 1})
    assert found.logged.value == 1.0  # the first item of each answer was clicked
    assert (found.models[0].verdict, found.models[0].own, found.models[0].unlike) == ("same", 120, 0)


def test_a_lake_in_a_bucket_tells_the_same(served: tuple[Storage, Config]) -> None:
    storage, config = served
    elsewhere = replace(config, connect=replace(config.connect, lake=f"{servers.s3()}/lake"))
    with connect(elsewhere) as there:
        for name in storage.lake.names():
            there.lake.append(name, storage.lake.read(name))
        asking = Question(settings={"temperature": 1.5})
        assert whatif(there, elsewhere, asking, NOW) == whatif(storage, config, asking, NOW)


def test_it_can_be_interrupted_and_leaves_nothing_behind(served: tuple[Storage, Config]) -> None:
    storage, config = served
    seen: list[int] = []

    def stop(done: int, _total: int, _note: str = "") -> None:
        seen.append(done)
        if done:
            raise KeyboardInterrupt

    before = everything(config)
    with pytest.raises(KeyboardInterrupt):
        whatif(storage, config, Question(), NOW, stop)
    assert seen == [0, 256]
    assert everything(config) - before <= {"training", "training/lock"}
    assert asked(served).slates == 960


def everything(config: Config) -> set[str]:
    """All files and folders of a home."""
    return {str(path.relative_to(config.home)) for path in config.home.rglob("*")}


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"models": ("als-1",)}, "no such version"),
        ({"models": ()}, "name at least one version"),
        ({"models": ("live", "live")}, "name each once"),
        ({"metric": "crt"}, 'did you mean "ctr"'),
        ({"metric": "conversion"}, "counts users"),
        ({"settings": {"diversty": 0.3}}, 'did you mean "diversity"'),
        ({"settings": {"temperature": -1.0}}, "settings.temperature"),
        ({"within_hours": 0.0}, "within"),
        ({"within_hours": float("nan")}, "within"),
        ({"slots": -1}, "slots"),
        ({"since": 5, "until": 5}, "before the end"),
    ],
)
def test_a_question_that_cannot_be_is_refused(published: tuple[Storage, Config], keys: dict[str, object], message: str) -> None:
    ask = partial(whatif, *published)
    with pytest.raises((InputError, NotFound), match=message):
        ask(Question(**keys), NOW)  # type: ignore[arg-type]  # that is what is tried


def test_the_live_version_by_both_its_names_is_one_too_many(published: tuple[Storage, Config]) -> None:
    storage, config = published
    version = live.read(storage.kv)
    assert version is not None
    with pytest.raises(InputError, match="name each once"):
        whatif(storage, config, Question(("live", version.version)), NOW)


def test_an_empty_platform_says_what_is_missing(storage: Storage, home: Config) -> None:
    with pytest.raises(NotFound, match="nothing is live"):
        whatif(storage, home, Question(), NOW)


def test_a_platform_that_never_drew_says_so(published: tuple[Storage, Config]) -> None:
    with pytest.raises(NotFound, match=r"slates\.explore"):
        whatif(*published, Question(), NOW)


def run(folder: Path, *arguments: str) -> Result:
    file = folder.parent / "here.toml"
    file.write_text(
        f'[connect]\nhome = "{folder}"\n[log]\npartitions = 4\n[slates]\ntemperature = 1.0\nfresh = 0.0\n', encoding="utf-8"
    )
    return CliRunner().invoke(app, ["--config", str(file), "whatif", *arguments], env={"COLUMNS": "400"})


def test_the_command_tells_and_refuses(served: tuple[Storage, Config]) -> None:
    storage, config = served
    popular = popular_of(storage)
    done = run(config.home, "--model", "live", "--model", popular, "--days", "100000", "--quiet")
    assert done.exit_code == 0, done.output
    assert "960 drawn answers to 120 users, 2026-01-11 00:00Z" in done.output
    assert "same live draws as these slates were drawn" in done.output
    assert popular in done.output
    plain = run(config.home, "--set", "temperature=2", "--metric", "reward", "--since", "2026-01-11", "--json")
    assert plain.exit_code == 0, plain.output
    told = json.loads(plain.output)
    assert told["settings"] == {"temperature": 2}
    assert told["models"][0]["ess"][0] > 100
    refused = run(config.home, "--set", "temperature=0.01", "--quiet")
    assert refused.exit_code == 0
    assert "refused of live nothing can be told" in refused.output
    for arguments, message in (
        (("--set", "temperature"), "KEY=VALUE"),
        (("--set", "temperature=hot"), "settings.temperature"),
        (("--days", "-1"), "days"),
        (("--days", "2", "--since", "2026-01-01"), "--since or --days"),
        (("--since", "yesterday"), "since"),
        (("--surface", "cart"), "no drawn slates"),
    ):
        bad = run(config.home, *arguments)
        assert bad.exit_code == 1
        assert message in str(bad.exception)
