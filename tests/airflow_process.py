"""The tests' side of the process that holds Airflow (``airflow_host.py``): requests, and answers that are easy to question."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from tastemaker.config import Config
from tastemaker.config.writing import toml

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parent


@dataclass(frozen=True)
class Ran:
    """What a DAG's run has left in Airflow."""

    state: str
    run: str
    tasks: list[dict[str, Any]]
    xcoms: list[dict[str, Any]]
    events: list[dict[str, Any]]
    start: str | None = None
    end: str | None = None
    error: str = ""

    def states(self) -> dict[str, str]:
        """The state of each task; a mapped one by its label."""
        return {one["task"] + (f" {one['label']}" if one["label"] else ""): one["state"] for one in self.tasks}

    def tries(self, task: str) -> int:
        (found,) = [one["tries"] for one in self.tasks if one["task"] == task]
        return int(found)

    def xcom(self, task: str, key: str = "return_value") -> Any:
        """What a task left; a list where it is mapped, in the order of its parts."""
        found = sorted((one for one in self.xcoms if (one["task"], one["key"]) == (task, key)), key=lambda one: int(one["index"]))
        values = [one["value"] for one in found]
        return values if found and found[0]["index"] >= 0 else next(iter(values), None)


@dataclass
class Airflow:
    """The process; it lives as long as the tests do."""

    folder: Path
    process: subprocess.Popen[str] = field(init=False)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.log = self.folder / "host.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(HERE / "airflow_host.py")],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=environment(self.folder),
                cwd=self.folder,
                start_new_session=True,
            )

    def run(self, pipeline: str, config: Config, **request: Any) -> Ran:
        """Runs a pipeline's DAG to its end. ``logical_date`` and ``run_after`` are ISO 8601."""
        file = written(config, self.folder / "tastemaker.toml")
        found = self._ask({"dag": f"tastemaker_{pipeline}", "environ": {"TASTEMAKER_CONFIG": str(file)}, **request})
        return Ran("", "", [], [], [], error=found["error"]) if "error" in found else Ran(**found)

    def look(self, config: Config, text: str = "") -> dict[str, list[str]]:
        """The tasks of each DAG that the DAG file makes, or another text, and its schedule.

        Raises ``RuntimeError`` with what the file raises.
        """
        file = written(config, self.folder / "tastemaker.toml")
        found: dict[str, Any] = self._ask({"environ": {"TASTEMAKER_CONFIG": str(file)}, "text": text})
        if "error" in found:
            raise RuntimeError(found["error"])
        return found

    def _ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, f"the process is gone; its last words: {self.log.read_text()[-3000:]}"
        found: dict[str, Any] = json.loads(line)
        return found

    def stop(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


def environment(folder: Path, **more: str) -> dict[str, str]:
    """Variables of an Airflow with everything in a folder of its own."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("TASTEMAKER_", "AIRFLOW"))}
    return {
        **clean,
        "AIRFLOW_HOME": str(folder),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(CHECKOUT / "dags"),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{folder}/airflow.db",
        "PATH": f"{Path(sys.executable).parent}:{clean['PATH']}",
        "PYTHONPATH": str(HERE),
        **more,
    }


def written(config: Config, path: Path) -> Path:
    """A file that says what a configuration holds."""
    tree: dict[str, Any] = known(msgspec.to_builtins(config))
    path.write_text("\n".join(f"{name} = {toml(section)}" for name, section in tree.items()))
    return path


def known(value: Any) -> Any:
    """A value without what is None in it: TOML has no word for it."""
    if isinstance(value, dict):
        return {name: known(part) for name, part in value.items() if part is not None}
    return value
