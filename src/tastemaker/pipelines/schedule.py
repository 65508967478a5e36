"""When pipelines run without an outside scheduler: a thread that starts them as processes of their own.

Training in the server's process would take the interpreter away from requests; a child at low priority does not. What is
due is read from the runs table, so that a restart neither forgets a run nor repeats it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping

from tastemaker import telemetry
from tastemaker.config import Config
from tastemaker.monitoring.runs import show_quality
from tastemaker.pipelines.local import is_running
from tastemaker.pipelines.running import clock
from tastemaker.registry import live
from tastemaker.storage import Storage

HOUR, MINUTE = 3_600_000, 60_000
LOOK = 5.0  # seconds between looks at the clock


class Schedule:
    """Runs pipelines when they are due, and ``daily`` also when a trigger asks for it. One child at a time.

    ``environment`` is the child's, and leads it to the same configuration; the home is added here, for it may have been moved.
    """

    def __init__(self, storage: Storage, config: Config, environment: Mapping[str, str]) -> None:
        self.storage, self.config = storage, config
        home = json.dumps(config.connect.home, ensure_ascii=False)  # quoted: a folder named 12 is no number
        self.environment = {**environment, "TASTEMAKER_CONNECT__HOME": home}
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._child: subprocess.Popen[bytes] | None = None

    def due(self, now: int) -> str | None:
        """The pipeline to run now; ``daily`` first. Nothing is due before the first event, nor while somebody runs one."""
        if not any(self.storage.log.ends()) or is_running(self.config):
            return None
        for name, every in self.intervals().items():
            if not every or not self.is_due(name, every, now) or (name == "experiments" and not self.asked()):
                continue
            if name == "daily" or live.read(self.storage.kv) is not None:
                return name
        return None

    def asked(self) -> bool:
        """Whether there is an experiment to be measured: one that runs, or has ended since the last look."""
        last = self.last("experiments")
        return any(one.state == "running" or (one.ended or 0) >= max(last, 1) for one in self.storage.tables.experiments.all())

    def is_due(self, name: str, every: float, now: int) -> bool:
        """Whether a trigger asks for it, or its time has come."""
        return bool(self.storage.tables.triggers.pending(name)) or now - self.last(name) >= every

    def intervals(self) -> dict[str, float]:
        """Milliseconds between runs."""
        times = self.config.schedule
        return {
            "daily": times.daily_hours * HOUR,
            "hourly": times.hourly_minutes * MINUTE,
            "evaluate": times.evaluate_minutes * MINUTE,
            "experiments": times.experiments_minutes * MINUTE,
            "maintain": times.maintain_hours * HOUR,
        }

    def last(self, name: str) -> int:
        """When a pipeline was last at work; ``hourly`` need not follow right after ``daily``. One that never was: the first.

        0 where a run was interrupted: it goes on at once. One that failed is tried again after the usual time.
        """
        before = self.last("daily") if name == "hourly" else 0
        runs = self.storage.tables.runs.last(name, 1)
        if not runs:
            return before or (0 if name == "daily" else self.first())
        if runs[0].state == "running":
            return 0
        failed: list[int] = [step.get("ended", 0) for step in runs[0].steps.values()] if runs[0].state == "failed" else []
        return max(before, runs[0].began, *failed)

    def first(self) -> int:
        """When the oldest run of ``daily`` began that we know of: what has never run yet is due some time after it."""
        runs = self.storage.tables.runs.last("daily", 1000)
        return runs[-1].began if runs else 0

    def run(self, name: str) -> int:
        """Runs a pipeline in a child and waits for it. Returns its exit code.

        Where a trigger waits and the last run has failed, a new one begins: the old one knows nothing of what has happened since.
        """
        runs = self.storage.tables.runs.last(name, 1)
        fresh = bool(runs) and runs[0].state == "failed" and bool(self.storage.tables.triggers.pending(name))
        command = [sys.executable, "-m", "tastemaker", "run", name, "--quiet", *(["--fresh"] if fresh else [])]
        telemetry.log.info("run_started", pipeline=name)
        self._child = subprocess.Popen(command, env=self.environment, start_new_session=True)
        os.setpriority(os.PRIO_PROCESS, self._child.pid, 10)
        code: int = self._child.wait()
        if code and not self._stop.is_set():
            telemetry.log.error("run_failed", pipeline=name, exit=code, remedy="tastemaker runs shows the step; run it again")
        show_quality(self.storage)
        return code

    def start(self) -> None:
        show_quality(self.storage)
        self._thread = threading.Thread(target=self._run, name="tastemaker-schedule", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                name = self.due(clock())
                failed = self.run(name) if name is not None else 0
            except Exception as error:
                # The next look may find the tables well again; the server goes on meanwhile.
                telemetry.log.error("schedule_failed", error=str(error), exc_info=True)
                failed = 1
            self._stop.wait(60.0 if failed else LOOK)

    def stop(self) -> None:
        """Ends a run under way; it goes on where it stopped at the next start."""
        self._stop.set()
        while self._thread is not None and self._thread.is_alive():
            if self._child is not None:  # again and again: it may just be about to begin
                self._child.terminate()
            self._thread.join(0.1)
