"""What this process answers with: live models, catalogue, trending counters, experiments, and a popular list for the worst hour.

A thread looks at four small values of the online store a few times a second and loads what changed beside the traffic;
the finished ``Now`` is swapped in with one assignment, so a request sees one state from beginning to end.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from functools import cached_property

import msgspec

from tastemaker import telemetry
from tastemaker.config import Config
from tastemaker.domain import Scored
from tastemaker.experiments.assignment import Assigner
from tastemaker.registry.experiments import running
from tastemaker.registry.live import Bundle, load
from tastemaker.serving.arm_models import ArmModels
from tastemaker.serving.arms import Arms, Way
from tastemaker.slates.catalogue import Catalogue
from tastemaker.slates.compose import compose, rehearse
from tastemaker.slates.sources import Shelf, Taste, Wish
from tastemaker.storage import Storage, keys

LOOK = 0.2  # seconds between looks
_trending = msgspec.json.Decoder(tuple[tuple[str, float], ...]).decode


@dataclass(frozen=True)
class Now:
    """One state of the world."""

    bundle: Bundle = field(default_factory=Bundle)
    shelf: Shelf = field(default_factory=Shelf)
    popular: tuple[Scored, ...] = ()  # what everybody gets when nothing else can be read
    trending: bytes | None = None  # as read, to see a change
    runs: bytes | None = None  # the experiments, as read
    arms: Arms = field(default_factory=lambda: Arms(Assigner(), Way(), {}))

    @property
    def experiments(self) -> Assigner:
        return self.arms.assigner

    @cached_property
    def asks(self) -> bool:
        """Whether a request may be in an arm, or its slate be drawn."""
        return bool(self.arms)

    @property
    def catalogue(self) -> Catalogue:
        return self.shelf.catalogue

    @cached_property
    def stamp(self) -> int:
        return self.catalogue.stamp

    @cached_property
    def prefix(self) -> str:
        """Where the live version's slates lie; the user's id follows."""
        return keys.slate(self.bundle.version, "")


class Current:
    """Keeps ``now`` up to date."""

    def __init__(self, storage: Storage, config: Config) -> None:
        self.storage, self.config = storage, config
        shelf = Shelf(because=config.serving.because, rules=config.slates)
        self.now = Now(shelf=shelf, arms=Arms(Assigner(), Way("", shelf), {}))
        self.failure: BaseException | None = None
        self.models = ArmModels(storage)
        self.lame: dict[str, str] = {}  # arms that cannot be served, and why
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def look(self) -> None:
        """Takes over what changed since the last look. What cannot be read or loaded stays as it is, and is told."""
        failure: Exception | None = None
        try:
            failure = self._look()
        except Exception as error:
            failure = error
        # Requests go on with what is loaded; readiness and the log say what is wrong.
        if failure is not None and self.failure is None:
            telemetry.log.error("look_failed", error=str(failure), exc_info=failure)
        self.failure = failure

    @property
    def warnings(self) -> list[str]:
        """Arms that cannot be served, and the models that are the reason."""
        told = [f"{arm}: {why}" for arm, why in self.lame.items()]
        return told + [f"model {version!r}: {why}" for version, why in list(self.models.failures.items())]

    def _look(self) -> Exception | None:
        """Returns why the live version could not be loaded: catalogue and counters are taken over all the same."""
        failure: Exception | None = None
        with self._lock:
            now = self.now
            pointer, stamp, trending, runs = self.storage.kv.get([keys.LIVE, keys.CATALOG, keys.TRENDING, keys.EXPERIMENTS])
            bundle, assigner = now.bundle, now.experiments
            if pointer != bundle.pointer:
                try:
                    bundle = load(self.storage.models, pointer)
                except Exception as error:
                    failure = error
            if runs != now.runs:
                try:
                    assigner = Assigner(running(runs), self.config.experiments.holdout)
                except Exception as error:  # those that ran go on
                    failure, runs = error, now.runs
            models = self.models.of((draw.experiment for draw in assigner.draws), bundle)
            if bundle.live is not None:
                telemetry.LIVE_AGE.set(time.time() - bundle.live.made / 1000)
            catalogue = self._catalogue(now.catalogue, int(stamp or 0))
            same = bundle is now.bundle and catalogue is now.catalogue and trending == now.trending
            if same and assigner is now.experiments and models is now.arms.models:
                return failure
            shelf = now.shelf if same else self._shelf(bundle, catalogue, trending)
            if bundle is not now.bundle:
                rehearse(shelf)
            arms = Arms(assigner, Way(bundle.version, shelf), models)
            popular = now.popular if same else compose(shelf, Taste(), Wish(self.config.publish.slate)).items
            self.now = Now(bundle, shelf, popular, trending, runs, arms)
            self._tell(arms)
        if bundle.live is not None:
            telemetry.LIVE.clear()
            telemetry.LIVE.labels(bundle.live.version, bundle.live.kind).set(1)
        return failure

    def _shelf(self, bundle: Bundle, catalogue: Catalogue, trending: bytes | None) -> Shelf:
        return Shelf(
            catalogue,
            bundle.model,
            bundle.fallback,
            _trending(trending) if trending is not None else (),
            self.config.serving.because,
            self.config.rewards.half_life_days,
            self.config.slates,
        )

    def _tell(self, arms: Arms) -> None:
        """Says once of an arm that it cannot be served. Readiness shows it for as long as it lasts."""
        broken = arms.broken
        for arm, why in broken.items():
            if arm not in self.lame:
                telemetry.log.error("arm_not_served", arm=arm, error=why, models=self.models.failures)
        self.lame = broken

    def _catalogue(self, known: Catalogue, stamp: int) -> Catalogue:
        if stamp == known.stamp and (known.items or self.now.popular):
            return known
        items = self.storage.tables.items
        fresh = items.stamp()
        return known if fresh == known.stamp else Catalogue.of(items.all(), fresh, items.deleted())

    def start(self) -> None:
        self.look()
        self._thread = threading.Thread(target=self._run, name="tastemaker-current", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(LOOK):
            self.look()

    def stop(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
