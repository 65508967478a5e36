"""The loop on one page: what runs every day, every hour and all the time, in which order.

Nothing heavy is imported here; each step's function is found when it runs.
"""

from __future__ import annotations

from tastemaker.errors import NotFound, did_you_mean
from tastemaker.pipelines.pipeline import Parts, Pipeline, Step

STEPS = "tastemaker.pipelines.steps"

INGEST = Step("ingest", f"{STEPS}.ingest:ingest", "Moves the log's new events into the lake.", alone="lake")
FEATURES = Step("features", f"{STEPS}.features:features", "Computes user and item features at this moment.")
TRAIN = Step(
    "train", f"{STEPS}.train:train", "Trains every configured model: once to be judged, once on everything.",
    parts=Parts(f"{STEPS}.train:kinds", f"{STEPS}.train:train_kind", f"{STEPS}.train:joined"),
)  # fmt: skip
EVALUATE = Step(
    "evaluate", f"{STEPS}.evaluate:evaluate_candidates", "Measures every candidate and the live model on held-out events."
)
GATE = Step("gate", f"{STEPS}.gate:gate", "Asks whether the best candidate may go live; a closed gate skips the rest.")
PUBLISH = Step("publish", f"{STEPS}.publish:publish_candidate", "Computes slates for all users, then flips the live pointer.",
               alone="live")  # fmt: skip
MONITOR = Step("monitor", f"{STEPS}.monitor:monitor", "Measures what was served: click-through by model, freshness, coverage.",
               always=True)  # fmt: skip
FRESHEN = Step("freshen", f"{STEPS}.freshen:freshen", "Counts anew what is popular, without training.", alone="live")
REPUBLISH = Step("publish", f"{STEPS}.publish:publish_live", "Computes slates for all users with the live model.", alone="live")
DRIFT = Step("drift", f"{STEPS}.drift:drift", "Compares the last hours with those before the live model was trained.")
CHECK = Step("check", f"{STEPS}.check:check", "Judges the rules of [watch]: raises alerts, and asks for a retraining.")
EXPERIMENTS = Step(
    "experiments", f"{STEPS}.experiments:experiments", "Measures the experiments that run, and keeps what is concluded."
)
ARMS = Step("arms", f"{STEPS}.arms:arms", "Trains the models of experiments' arms that follow a kind.", always=True)
COMPACT = Step("compact", f"{STEPS}.compact:compact", "Makes few files of many in the lake's tables.", alone="lake")
RETAIN = Step("retain", f"{STEPS}.retain:retain", "Removes what is older than [retention] says.", alone="lake")
VACUUM = Step("vacuum", f"{STEPS}.vacuum:vacuum", "Removes files of the lake that no version still uses.", alone="lake")

PIPELINES = {
    pipeline.name: pipeline
    for pipeline in (
        Pipeline("daily", "The whole loop: from new events to a judged and published model.",
                 (INGEST, FEATURES, TRAIN, EVALUATE, GATE, PUBLISH, ARMS, MONITOR)),
        Pipeline("hourly", "New events and popularity under the live model.", (INGEST, FRESHEN, REPUBLISH)),
        Pipeline("evaluate", "What was served, whether the world has moved, and whether that asks for something.",
                 (INGEST, MONITOR, DRIFT, CHECK)),
        Pipeline("experiments", "What the experiments that run say by now.", (INGEST, EXPERIMENTS)),
        Pipeline("maintain", "Keeps the stores small: fewer files, and nothing older than it should be.",
                 (COMPACT, RETAIN, VACUUM)),
    )
}  # fmt: skip


def pipeline(name: str) -> Pipeline:
    """A pipeline by its name."""
    if name not in PIPELINES:
        raise NotFound(f"pipeline {name!r} does not exist; {did_you_mean(name, PIPELINES)}")
    return PIPELINES[name]
