"""The steps at work on a small world: what each leaves behind, and what readers see meanwhile."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

import world
from tastemaker.config import Config, Evaluate, Gate, Train
from tastemaker.domain import AnyEvent, Erase, Interaction, View
from tastemaker.errors import ConfigError, InputError, NotFound
from tastemaker.models.artifact import load_model
from tastemaker.pipelines.catalog import pipeline
from tastemaker.pipelines.local import run_pipeline
from tastemaker.pipelines.steps import publish as publishing
from tastemaker.registry import live
from tastemaker.slates.stored import decode_whole
from tastemaker.storage import Storage, connect, keys

DAILY, HOURLY = pipeline("daily"), pipeline("hourly")
Published = tuple[Storage, Config]


def pointer(storage: Storage) -> live.Live:
    found = live.read(storage.kv)
    assert found is not None
    return found


def stored(storage: Storage, version: str) -> list[str]:
    """Keys of a version's slates."""
    return [key for prefix in keys.slates(version) for key, _ in storage.kv.scan(prefix)]


def more(storage: Storage, count: int = 40, user: str = "newcomer") -> None:
    events: list[AnyEvent] = [
        Interaction(f"{user}-{n}", world.BASE + 10**9 + n, user, world.item(n % 80), "click") for n in range(count)
    ]
    storage.log.append(events).result()


def test_daily_leaves_cards_metrics_evaluations_features_and_slates(published: Published) -> None:
    storage, config = published
    run = storage.tables.runs.last("daily", 1)[0]
    assert {name: step["state"] for name, step in run.steps.items()} == {step.name: "done" for step in DAILY.steps}
    now = pointer(storage)
    card = storage.tables.models.get(now.version)
    assert card is not None
    assert (card.state, card.kind, card.data["events"], card.data["run"]) == ("live", "als", 3000, run.id)
    assert card.verdict is not None
    assert card.verdict.passed
    assert card.metrics["ndcg@10"].low < card.metrics["ndcg@10"].value < card.metrics["ndcg@10"].high
    other = storage.tables.models.get(now.version.replace("als", "popular"))
    assert other is not None
    assert other.state == "candidate"
    assert other.metrics["ndcg@10"].value < card.metrics["ndcg@10"].value

    history = storage.tables.metrics.history("ndcg@10", now.version)
    assert {point.slice for point in history} >= {"all", "known users"}
    assert [point.value for point in history if point.slice == "all"] == [card.metrics["ndcg@10"].value]
    assert {point.time for point in history} == {run.end}

    table = storage.lake.read("evaluations")
    mine = [row for row in table.to_pylist() if row["model"] == now.version]
    assert len({row["user"] for row in mine}) == len(mine) == card.metrics["ndcg@10"].n
    assert np.mean([row["ndcg_at_10"] for row in mine]) == pytest.approx(card.metrics["ndcg@10"].value)
    assert {row["run"] for row in mine} == {run.id}

    features = storage.lake.read("user_features")
    assert features.num_rows == 120
    assert storage.lake.read("item_features").num_rows == 80

    for number in range(120):
        user = world.user(number)
        front, whole = storage.kv.get([keys.slate(now.version, user), keys.whole(now.version, user)])
        assert front is not None
        assert whole is not None
        assert len(decode_whole(whole).items) == config.publish.slate
    assert not any(stored(storage, other.version))


def test_the_twin_has_not_seen_what_it_is_judged_on(published: Published) -> None:
    storage, config = published
    suffix = pointer(storage).version.rpartition("-")[2]
    folder = config.model_folder / f"popular-{suffix}"
    twin, model = load_model(folder / "twin"), load_model(folder / "model")
    run = storage.tables.runs.last("daily", 1)[0]
    held_out = run.steps["train"]["summary"]["held_out"]
    assert held_out == 300
    counted = [float(each.counts.sum()) for each in (twin, model)]  # type: ignore[attr-defined]  # both are popular models
    assert counted == [2700.0, 3000.0]


def test_readers_see_only_the_old_version_until_the_new_one_is_whole(
    published: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage, config = published
    more(storage)
    old = pointer(storage).version
    users = [world.user(number) for number in range(120)]
    before = dict(zip(users, storage.kv.get([keys.slate(old, user) for user in users]), strict=True))
    ended = threading.Event()
    seen: set[str] = set()
    wrong: list[str] = []

    def read() -> None:
        """As a request does: the pointer, then the slate of the version that it names."""
        while not ended.is_set():
            version = pointer(storage).version
            seen.add(version)
            for user, packed in zip(users, storage.kv.get([keys.slate(version, user) for user in users]), strict=True):
                if packed is None or (version == old and packed != before[user]):
                    wrong.append(f"{version} {user}")

    thread = threading.Thread(target=read)
    thread.start()
    during: list[str] = []
    run_pipeline(
        storage, config, DAILY, watch=lambda step, *_: during.append(pointer(storage).version) if step == "publish" else None
    )
    while pointer(storage).version not in seen:
        pass
    ended.set()
    thread.join()
    assert wrong == []
    assert during[:-1] == [old] * (len(during) - 1)
    assert during[-1] == pointer(storage).version != old
    assert seen == {old, pointer(storage).version}
    assert pointer(storage).previous == old


def test_slates_of_versions_that_nobody_rolls_back_to_are_removed(published: Published) -> None:
    storage, config = published
    versions = [pointer(storage).version]
    for _ in range(2):
        more(storage)
        run_pipeline(storage, config, DAILY)
        versions.append(pointer(storage).version)
    left = [bool(stored(storage, version)) for version in versions]
    assert left == [False, True, True]
    assert storage.tables.runs.last("daily", 1)[0].steps["publish"]["summary"]["removed"] == [versions[0]]
    assert live.rollback(storage, 1).version == versions[1]
    states = {card.version: card.state for card in storage.tables.models.all(kind="als")}
    assert [states[version] for version in versions] == ["retired", "live", "retired"]


def test_hourly_counts_popularity_anew_and_serves_newcomers_from_the_live_model(published: Published) -> None:
    storage, config = published
    before = pointer(storage)
    storage.log.append(
        [Interaction(f"x{n}", world.BASE + 10**9, f"crowd{n}", world.item(79), "click") for n in range(200)]
    ).result()
    run = run_pipeline(storage, config, HOURLY)
    after = pointer(storage)
    assert (after.version, after.artifact, after.since) == (before.version, before.artifact, before.since)
    assert after.fallback == run.steps["freshen"]["summary"]["fallback"] != before.fallback
    fallback = load_model(config.model_folder / after.fallback)
    counts = dict(zip(fallback.items.ids, fallback.counts.tolist(), strict=True))  # type: ignore[attr-defined]  # a popular model
    assert max(counts, key=lambda name: counts[name]) == world.item(79)
    assert storage.kv.get([keys.slate(after.version, "crowd7")])[0] is not None
    assert run.steps["publish"]["summary"]["users"] == 320


def test_hourly_before_the_first_model_is_no_failure(storage: Storage, home: Config) -> None:
    world.fill(storage, users=5, items=10, per_user=3)
    run = run_pipeline(storage, home, HOURLY)
    assert (run.state, run.steps["publish"]["state"]) == ("done", "skipped")
    assert "nothing is live yet" in run.steps["freshen"]["halt"]


def test_freshening_keeps_what_somebody_promoted_meanwhile(published: Published) -> None:
    storage, config = published
    old = pointer(storage).version
    more(storage)
    run_pipeline(storage, config, DAILY)
    new = pointer(storage).version

    def watch(step: str, done: int, total: int, note: str) -> None:
        if step == "freshen" and pointer(storage).version == new:
            live.rollback(storage, 5)

    run_pipeline(storage, config, HOURLY, watch=watch)
    assert pointer(storage).version == old


def test_an_erased_user_gets_no_slate(published: Published) -> None:
    storage, config = published
    storage.log.append([Erase("erase-u3", world.BASE + 10**9, "u3")]).result()
    run_pipeline(storage, config, DAILY)
    version = pointer(storage).version
    assert storage.kv.get([keys.slate(version, "u3")]) == [None]
    assert storage.kv.get([keys.slate(version, "u4")]) != [None]


def test_nothing_to_learn_from_is_a_clear_error_that_is_not_retried(storage: Storage, home: Config) -> None:
    with pytest.raises(NotFound, match="no interactions to learn from"):
        run_pipeline(storage, home, DAILY)
    storage.log.append([View("v", 1, "u", "d", "i")]).result()
    with pytest.raises(NotFound, match="no interactions to learn from"):
        run_pipeline(storage, home, DAILY, fresh=True)
    run = storage.tables.runs.last("daily", 1)[0]
    assert (run.state, run.steps["train"]["tries"], run.steps["features"]["state"]) == ("failed", 1, "done")
    assert list(home.model_folder.rglob("*")) == []


def test_too_few_events_to_judge_by_are_a_clear_error(storage: Storage, home: Config) -> None:
    storage.log.append([Interaction(f"e{n}", 7, f"u{n}", "i", "click") for n in range(5)]).result()
    config = replace(home, train=Train(models=("popular",)))
    with pytest.raises(InputError, match="no user has a relevant item: hold out more events or bring more data"):
        run_pipeline(storage, config, DAILY)


def test_a_model_that_the_data_cannot_feed_is_left_out_with_the_reason(tmp_path: Path) -> None:
    config = world.config_of(tmp_path / "home", ("popular", "nmf"))
    with connect(config) as storage:
        storage.log.append(world.interactions(40, 30, 8, seed=3)).result()  # no catalogue, so no categories
        run = run_pipeline(storage, config, DAILY)
        summary = run.steps["train"]["summary"]
        assert [version.partition("-")[0] for version in summary["models"]] == ["popular"]
        assert "categor" in summary["left_out"]["nmf"]
        assert run.state == "done"
        assert not list(config.model_folder.glob("nmf-*")), "nothing is left of it"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"train": Train(models=("alz",))}, "model 'alz' is unknown; did you mean \"als\""),
        ({"models": {"als": {"factor": 3}}}, 'models.als.factor: unknown hyper-parameter; did you mean "factors"'),
        ({"evaluate": Evaluate(metric="ndgc@10")}, "evaluate.metric = 'ndgc@10' is not computed; did you mean \"ndcg@10\""),
        ({"evaluate": Evaluate(k=(5,))}, "evaluate.metric = 'ndcg@10' is not computed; did you mean"),
        ({"evaluate": Evaluate(split="random")}, "evaluate.split = 'random': choose temporal or leave_one_out"),
    ],
)
def test_a_wrong_setting_fails_before_anything_is_trained(tmp_path: Path, change: dict[str, object], words: str) -> None:
    config = world.config_of(tmp_path / "home")
    for name, value in change.items():
        config = replace(config, **{name: value})
    with connect(config) as storage:
        world.fill(storage, users=10, items=10, per_user=4)
        with pytest.raises(ConfigError, match=words.replace("[", r"\[")):
            run_pipeline(storage, config, DAILY)
        assert storage.tables.models.all() == []
        assert not config.model_folder.exists()


def test_a_closed_gate_keeps_the_old_version_and_says_why(published: Published) -> None:
    storage, config = published
    before = storage.kv.get([keys.LIVE])
    strict = replace(config, gate=Gate(floor=0.99, latency_ms=60_000.0))
    run = run_pipeline(storage, strict, DAILY)
    assert storage.kv.get([keys.LIVE]) == before
    assert run.steps["gate"]["summary"]["failed"] == ["floor"]
    assert run.steps["publish"] == {"state": "skipped", "reason": run.steps["gate"]["halt"]}
    card = storage.tables.models.get(run.steps["gate"]["summary"]["version"])
    assert card is not None
    assert card.verdict is not None
    assert (card.state, card.verdict.passed, card.verdict.live) == ("rejected", False, pointer(storage).version)
    assert publishing.clean(storage, config, pointer(storage)) == []
