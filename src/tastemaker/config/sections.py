"""The sections of the configuration: every key with its default, its limits and its sentence.

``[models.NAME]`` holds a model's hyper-parameters: the struct beside the model decodes them, so this file knows no model.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta, field

from tastemaker.config.airflow import Airflow
from tastemaker.config.experimenting import Experiments, Slates
from tastemaker.config.rewards import Rewards
from tastemaker.config.section import Section
from tastemaker.config.watching import Retention, Watch


class Connect(Section, frozen=True):
    """Where bytes live. Change the URLs and the same code runs on servers."""

    home: Annotated[str, Meta(description="Folder of the embedded stores; `{home}` in a URL stands for it.")] = ".tastemaker"
    log: Annotated[str, Meta(description="Event log: sqlite:///FILE, kafka://HOST:PORT/TOPIC or postgresql://.")] = (
        "sqlite:///{home}/log.db"
    )
    kv: Annotated[
        str,
        Meta(
            description="Online store: lmdb:///FOLDER, redis://, rediss://, redis+cluster://, redis+sentinel:// or postgresql://."
        ),
    ] = "lmdb:///{home}/kv"
    kv_durable: Annotated[
        str, Meta(description="Durable store behind `kv`, read where the cache knows nothing or is away; empty: none.")
    ] = ""
    lake: Annotated[str, Meta(description="Data lake of Delta tables: file:///FOLDER or s3://BUCKET/PREFIX.")] = (
        "file:///{home}/lake"
    )
    tables: Annotated[
        str, Meta(description="Tables of items, users, models, runs: sqlite:///FILE, postgresql+psycopg:// or mysql+pymysql://.")
    ] = "sqlite:///{home}/tables.db"
    models: Annotated[str, Meta(description="Model artifacts: a folder, or s3://BUCKET/PREFIX.")] = "{home}/models"


class Log(Section, frozen=True):
    """The event log."""

    partitions: Annotated[int, Meta(ge=1, le=1024, description="Partitions by user; fixed when the log is created.")] = 8


class Train(Section, frozen=True):
    """Which models a run trains."""

    models: Annotated[
        tuple[str, ...], Meta(min_length=1, description="Kinds trained by `daily`; the best one stands at the gate.")
    ] = (
        "popular",
        "nmf",
        "item_knn",
        "als",
        "blend",
        "session_knn",
    )
    seed: Annotated[int, Meta(ge=0, description="Seed of everything random in training and evaluation.")] = 0
    memory_mb: Annotated[
        int, Meta(ge=0, description="Training sets estimated to need more megabytes than this go through files in the home.")
    ] = 4096


class Evaluate(Section, frozen=True):
    """How models are judged offline."""

    split: Annotated[str, Meta(description="temporal or leave_one_out.")] = "temporal"
    test_fraction: Annotated[
        float, Meta(gt=0, lt=1, description="Share of the newest events held out by the temporal split.")
    ] = 0.1
    k: Annotated[tuple[int, ...], Meta(min_length=1, description="Cut-offs of the metrics.")] = (5, 10, 20)
    metric: Annotated[str, Meta(description="The metric that ranks models.")] = "ndcg@10"
    bootstrap: Annotated[int, Meta(ge=100, le=100_000, description="Resamples behind each interval.")] = 1000
    confidence: Annotated[float, Meta(gt=0.5, lt=1, description="Confidence of the intervals.")] = 0.95


class Gate(Section, frozen=True):
    """What a model must show before it goes live."""

    floor: Annotated[float, Meta(ge=0, le=1, description="Smallest value of the ranking metric.")] = 0.001
    margin: Annotated[float, Meta(ge=0, le=1, description="Share of the live model's metric that may be lost.")] = 0.01
    coverage: Annotated[
        float, Meta(ge=0, le=1, description="Smallest share of the catalogue that is recommended to anybody.")
    ] = 0.01
    users: Annotated[int, Meta(ge=1, description="Fewest users in the evaluation.")] = 20
    latency_ms: Annotated[float, Meta(gt=0, description="Longest time for one user's recommendations.")] = 50.0
    loss_of_events: Annotated[
        float, Meta(ge=0, le=1, description="Share by which training events may shrink against the live model.")
    ] = 0.2


class Publish(Section, frozen=True):
    """How slates are written."""

    slate: Annotated[int, Meta(ge=1, le=1000, description="Items of a stored slate.")] = 100
    block: Annotated[int, Meta(ge=1, description="Users of one write.")] = 1024
    keep: Annotated[int, Meta(ge=1, description="Versions whose slates stay, for rollback.")] = 2


class Serving(Section, frozen=True):
    """The HTTP API."""

    host: Annotated[str, Meta(description="Address to listen on; others than loopback need an API key.")] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535, description="Port to listen on.")] = 8000
    k: Annotated[int, Meta(ge=1, le=100, description="Items of an answer unless `k=` says otherwise.")] = 10
    because: Annotated[str, Meta(description="Wording of a reason; `{title}` is the item of the history.")] = (
        "Because you watched {title}"
    )
    deadline_ms: Annotated[float, Meta(gt=0, description="Time to compose an answer before a stored one is given.")] = 100.0
    max_batch: Annotated[int, Meta(ge=1, description="Most events in one request.")] = 1000
    max_body: Annotated[int, Meta(ge=1024, description="Most bytes of a request.")] = 1_048_576
    rate: Annotated[float, Meta(ge=0, description="Requests a second that one API key may make; 0: no limit.")] = 0.0
    keys: Annotated[bool, Meta(description="Ask for API keys also on loopback.")] = False


class Streaming(Section, frozen=True):
    """The nearline plane: the worker, or Spark in its place."""

    batch: Annotated[int, Meta(ge=1, description="Most records of one update.")] = 5000
    wait_ms: Annotated[float, Meta(gt=0, description="Longest sleep when no event arrives.")] = 50.0
    refresh_lag: Annotated[int, Meta(ge=0, description="With more records waiting, slates are left to the next request.")] = 2000
    trending_hours: Annotated[float, Meta(gt=0, description="Half-life of the trending counters, in hours.")] = 24.0
    engine: Annotated[
        Literal["worker", "spark"], Meta(description="What `tastemaker stream` runs: worker, or spark (Structured Streaming).")
    ] = "worker"
    checkpoint: Annotated[
        str, Meta(description="Folder of Spark's checkpoints: one that all its machines see, or a URL that Spark knows.")
    ] = "{home}/checkpoints"
    trigger_ms: Annotated[float, Meta(ge=0, description="Time between the beginnings of two of Spark's batches, at least.")] = (
        1000.0
    )
    trigger_records: Annotated[int, Meta(ge=1, description="Most records of one of Spark's batches.")] = 50_000
    connector: Annotated[
        bool, Meta(description="Let Spark read a log on Kafka by its own connector, where that is installed.")
    ] = True


class Patience(Section, frozen=True):
    """How long servers are waited for, and what happens when they stay away."""

    connect_ms: Annotated[float, Meta(gt=0, description="Longest wait for a connection to a server.")] = 1000.0
    timeout_ms: Annotated[float, Meta(gt=0, description="Longest wait for a server's answer.")] = 1000.0
    tries: Annotated[int, Meta(ge=1, le=20, description="Times that work beside requests is tried, with pauses that grow.")] = 3
    failures: Annotated[int, Meta(ge=1, description="Failures in a row after which a server is left alone for a while.")] = 3
    pause_ms: Annotated[float, Meta(gt=0, description="How long it is left alone before it is tried again.")] = 1000.0
    spool_mb: Annotated[
        float, Meta(ge=0, description="Events kept on the local disk while the log is away, in megabytes; 0: none.")
    ] = 256.0


class Schedule(Section, frozen=True):
    """When `tastemaker up` runs the pipelines. 0 switches one off."""

    daily_hours: Annotated[float, Meta(ge=0, description="Hours between runs of `daily`.")] = 24.0
    hourly_minutes: Annotated[float, Meta(ge=0, description="Minutes between runs of `hourly`.")] = 60.0
    evaluate_minutes: Annotated[float, Meta(ge=0, description="Minutes between runs of `evaluate`.")] = 60.0
    experiments_minutes: Annotated[float, Meta(ge=0, description="Minutes between runs of `experiments`.")] = 60.0
    maintain_hours: Annotated[float, Meta(ge=0, description="Hours between runs of `maintain`.")] = 24.0
    retries: Annotated[int, Meta(ge=0, le=20, description="Tries of a failed step after the first.")] = 2


class Spark(Section, frozen=True):
    """Spark as the engine of heavy offline steps."""

    master: Annotated[
        str,
        Meta(description="Where heavy steps run: local[*], spark://HOST:PORT, yarn, k8s://URL or sc://HOST:PORT; empty: here."),
    ] = ""
    steps: Annotated[
        tuple[Literal["features", "training_set", "als", "item_knn", "publish"], ...],
        Meta(description="Which work Spark does: features, training_set, als, item_knn, publish; the rest is done here."),
    ] = ("features", "training_set", "als", "item_knn", "publish")
    log_level: Annotated[
        Literal["ERROR", "WARN", "INFO", "DEBUG"], Meta(description="What Spark's own log tells: ERROR, WARN, INFO or DEBUG.")
    ] = "ERROR"
    settings: Annotated[
        dict[str, str | int | float | bool], Meta(description="Spark's own settings, by their names; they go before ours.")
    ] = field(default_factory=dict)


class Config(Section, frozen=True):
    """The whole configuration."""

    connect: Connect = Connect()
    log: Log = Log()
    rewards: Rewards = Rewards()
    train: Train = Train()
    evaluate: Evaluate = Evaluate()
    gate: Gate = Gate()
    publish: Publish = Publish()
    serving: Serving = Serving()
    slates: Slates = Slates()
    experiments: Experiments = Experiments()
    streaming: Streaming = Streaming()
    schedule: Schedule = Schedule()
    airflow: Airflow = Airflow()
    spark: Spark = Spark()
    watch: Watch = Watch()
    retention: Retention = Retention()
    patience: Patience = Patience()
    models: Annotated[dict[str, dict[str, Any]], Meta(description="Hyper-parameters by model kind.")] = field(
        default_factory=dict
    )

    def url(self, name: str) -> str:
        """The URL of a store, with ``{home}`` filled in."""
        return str(getattr(self.connect, name)).replace("{home}", self.connect.home)

    @property
    def home(self) -> Path:
        """The folder of the embedded stores."""
        return Path(self.connect.home)

    @property
    def model_folder(self) -> Path:
        return Path(self.url("models"))
