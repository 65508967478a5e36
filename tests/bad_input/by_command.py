"""Wrong commands, files and configurations."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path

import pytest

from bad_input.world import Found, World, Wrong, put_model
from tastemaker.config import Config, Connect, Train
from tastemaker.errors import ConfigError
from tastemaker.pipelines.catalog import pipeline
from tastemaker.pipelines.imports import import_file
from tastemaker.pipelines.local import run_pipeline
from tastemaker.storage import connect

GOOD = "user,item,time\nu,i,1700000000\n"


def command(*arguments: str, **environment: str) -> Wrong:
    return lambda world: world.run(*arguments, **environment)


def imported(text: str, *arguments: str, name: str = "clicks.csv") -> Wrong:
    return lambda world: world.run("import", world.file(name, text), "--quiet", *arguments)


def configured(text: str) -> Wrong:
    return lambda world: world.run("--config", world.file("own.toml", text), "config")


def trained(**environment: str) -> Wrong:
    return command("run", "daily", "--quiet", **environment)


@cache
def home_before_training() -> Path:
    """A home in which a run stands before the step ``train``, made once."""
    folder = Path(tempfile.mkdtemp(prefix="tastemaker-"))
    atexit.register(shutil.rmtree, folder)
    config = Config(connect=Connect(home=str(folder / "home")), train=Train(models=("asl",)))
    (folder / "clicks.csv").write_text(GOOD, "utf-8")
    with connect(config) as storage:
        import_file(storage, folder / "clicks.csv", "interactions")
        with pytest.raises(ConfigError):
            run_pipeline(storage, config, pipeline("daily"))
    return folder / "home"


def ready_to_train(world: World) -> Found:
    """The next ``run daily`` goes on with the step ``train``."""
    shutil.copytree(home_before_training(), world.folder / "home")
    return Found(0, "")


def lost_model(world: World) -> Found:
    config = Config(connect=Connect(home=str(world.folder / "home")))
    with connect(config) as storage:
        put_model(storage, config, "lost")
    shutil.rmtree(Path(config.model_folder) / "lost")
    return world.run("models", "promote", "lost")


WRONG: dict[str, Wrong] = {
    "open-door": command("up", SERVING__HOST="0.0.0.0", SERVING__PORT="0"),
    "config-key": configured("[serving]\nprot = 1\n"),
    "config-value": command("config", SERVING__PORT="eighty"),
    "config-bound": configured("[serving]\nport = 70000\n"),
    "config-toml": configured("[serving\n"),
    "config-file": command("--config", "absent.toml", "config"),
    "unknown-scheme": command("runs", CONNECT__TABLES="rediss://u:secret@host/0"),
    "unknown-model": trained(TRAIN__MODELS='["asl"]'),
    "unknown-parameter-of-model": trained(MODELS__ALS__FACTOR="8"),
    "wrong-parameter-of-model": trained(MODELS__ALS__FACTORS="0"),
    "unknown-split": trained(EVALUATE__SPLIT="random"),
    "unknown-command": command("imprt"),
    "unknown-pipeline": command("run", "dayly"),
    "no-data": trained(),
    "unknown-tuned": command("tune", "asl"),
    "unknown-replayed": command("replay", "asl"),
    "nothing-to-replay": command("replay", "popular"),
    "unknown-reward-asked": command("whatif", "--metric", "crt"),
    "unknown-setting-asked": command("whatif", "--set", "diversty=1"),
    "unknown-version-asked": command("whatif", "--model", "als-1"),
    "nothing-to-ask": command("whatif"),
    "no-trials": command("tune", "popular", "--trials", "0"),
    "nothing-to-tune-on": command("tune", "popular"),
    "no-file": command("import", "absent.csv"),
    "file-type": imported(GOOD, name="clicks.xlsx"),
    "unknown-column": imported("user_id,item,time\nu,i,1\n", "--map", "user=userid"),
    "unknown-mapped": imported(GOOD, "--map", "usr=user"),
    "wrong-mapping": imported(GOOD, "--map", "user"),
    "missing-column": imported("user,item\nu,i\n"),
    "bad-rows": imported(GOOD + "u,,1700000000\nu,i,soon\nu,i,1700000000,more\n"),
    "unknown-dataset": command("demo", "--dataset", "ml-100", "--exit"),
    "unknown-version-promoted": command("models", "promote", "als-1"),
    "nothing-live": command("models", "rollback"),
    "unknown-run": command("runs", "r"),
    "unknown-key-id": command("keys", "revoke", "k"),
    "lost-model": lost_model,
}
BEFORE: dict[str, Wrong] = dict.fromkeys(
    ("unknown-model", "unknown-parameter-of-model", "wrong-parameter-of-model", "unknown-split"), ready_to_train
)
"""What must have happened before, and is right."""
