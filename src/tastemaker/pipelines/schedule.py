"""When pipelines run without an outside scheduler: a thread that starts them as processes of their own.

Training in the server's process would take the interpreter away from requests; a child at low priority does not. What is
due is read from the runs table, so that a restart neither forgets a run nor repeats it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Mapping

from tastemaker import telemetry
from tastemaker.config import Config
from tastemaker.pipelines.local import clock
from tastemaker.registry import live
from tastemaker.storage import Storage

LOOK = 5.0  # seconds between looks at the clock


class Schedule:
    """Runs ``daily`` and ``hourly`` when they are due. One child at a time."""

    def __init__(self, storage: Storage, config: Config, environment: Mapping[str, str]) -> None:
        self.storage, self.config, self.environment = storage, config, dict(environment)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._child: subprocess.Popen[bytes] | None = None

    def due(self, now: int) -> str | None:
        """The pipeline to run now; ``daily`` first. Nothing is due before the first event."""
        if not any(self.storage.log.ends()):
            return None
        for name, every in self.intervals().items():
            if every and now - self.last(name) >= every and (name == "daily" or live.read(self.storage.kv) is not None):
                return name
        return None

    def intervals(self) -> dict[str, float]:
        """Milliseconds between runs."""
        return {"daily": self.config.schedule.daily_hours * 3_600_000, "hourly": self.config.schedule.hourly_minutes * 60_000}

    def last(self, name: str) -> int:
        """When a pipeline began last; ``hourly`` need not follow right after ``daily``."""
        runs = self.storage.tables.runs.last(name, 1)
        began = runs[0].began if runs else 0
        return max(began, self.last("daily")) if name == "hourly" else began

    def run(self, name: str) -> int:
        """Runs a pipeline in a child and waits for it. Returns its exit code."""
        command = [sys.executable, "-m", "tastemaker", "run", name, "--quiet"]
        telemetry.log.info("run_started", pipeline=name)
        self._child = subprocess.Popen(command, env=self.environment, preexec_fn=lambda: os.nice(10), start_new_session=True)
        code = self._child.wait()
        self._child = None
        if code:
            telemetry.log.error("run_failed", pipeline=name, exit=code, remedy="tastemaker runs shows the step; run it again")
        return code

    def start(self) -> None:
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
        if self._child is not None:
            self._child.terminate()
        if self._thread is not None:
            self._thread.join()
