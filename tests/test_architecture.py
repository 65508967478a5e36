"""The shape of the code: layers, sizes, names, what an import costs, and what does not belong into the repository."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent
SOURCE = CHECKOUT / "src" / "tastemaker"
MODULES = sorted(SOURCE.rglob("*.py"))
TESTED = MODULES + sorted((CHECKOUT / "tests").rglob("*.py")) + sorted((CHECKOUT / "benchmarks").rglob("*.py"))
BANNED = {"utils", "util", "helpers", "helper", "common", "misc", "base", "core", "manager"}
HEAVY = (
    "redis",
    "confluent_kafka",
    "psycopg",
    "pymysql",
    "numpy",
    "torch",
    "pyspark",
    "airflow",
    "fastapi",
    "deltalake",
    "duckdb",
    "ibis",
    "sqlalchemy",
    "numba",
    "pyarrow",
    "scipy",
    "optuna",
    "matplotlib",
)
HOMES: dict[str, str | tuple[str, ...]] = {  # third party -> where alone it may be imported
    "redis": "storage/kv/redis",
    "hiredis": "storage/kv/redis",
    "lmdb": "storage/kv/",
    "confluent_kafka": "storage/log/kafka",
    "psycopg": "storage/",
    "pymysql": "storage/tables/mysql",
    "sqlalchemy": "storage/tables/",
    "alembic": "storage/tables/",
    "sqlite3": "storage/",
    "deltalake": "storage/lake",
    "fastapi": "serving/",
    "starlette": "serving/",
    "uvicorn": "serving/",
    "airflow": "pipelines/airflow/",
    "optuna": "pipelines/tuning/",
    "matplotlib": "pipelines/tuning/report",
    "pyspark": ("storage/spark", "pipelines/spark/", "streaming/spark/"),
    "py4j": ("storage/spark", "pipelines/spark/", "streaming/spark/"),
}
LINES = 300
BYTES = 200_000
DATA = {".csv", ".tsv", ".parquet", ".ipynb", ".npz", ".npy", ".safetensors", ".zip", ".gz", ".db", ".pkl", ".pickle", ".dat"}
EMPTY = {"py.typed"}
MACHINE = re.compile(r"/(?:root|work|home/[a-z]+|Users/[A-Za-z]+)/|/tmp/[a-z]")


def name_of(path: Path) -> str:
    return str(path.relative_to(CHECKOUT))


def tracked() -> list[Path]:
    """Files that belong to the project: tracked by git, or new and not ignored."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"this is no git checkout: {done.stderr.strip()}")
    return [path for name in done.stdout.split("\0") if name and (path := CHECKOUT / name).is_file()]


def test_nothing_imports_what_stands_above_it() -> None:
    done = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"], cwd=CHECKOUT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_file_has_one_subject_of_three_hundred_lines_at_most(path: Path) -> None:
    assert len(path.read_text("utf-8").splitlines()) <= LINES


@pytest.mark.parametrize("path", [path for path in TESTED if path.stat().st_size], ids=name_of)
def test_a_file_opens_with_what_it_is(path: Path) -> None:
    assert len(ast.get_docstring(ast.parse(path.read_text("utf-8"))) or "") >= 20


@pytest.mark.parametrize("path", [path for path in MODULES if path.name == "__init__.py"], ids=name_of)
def test_a_package_opens_with_an_essay(path: Path) -> None:
    text = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
    assert len(text) > 150 or path.parent.name in ("versions", "steps", "cli"), text


def test_no_module_has_a_name_that_says_nothing() -> None:
    names = {part for path in TESTED for part in (*path.relative_to(CHECKOUT).parts[:-1], path.stem)}
    assert names & BANNED == set()


def imported(path: Path) -> set[str]:
    """The packages that a module imports anywhere in its text."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name.partition(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found


def test_each_third_party_has_one_home() -> None:
    strays = [
        f"{path.relative_to(SOURCE)} imports {name}"
        for path in MODULES
        for name in sorted(imported(path) & set(HOMES))
        if not str(path.relative_to(SOURCE)).startswith(HOMES[name])
    ]
    assert strays == []


def loaded_by(module: str) -> tuple[set[str], float]:
    """The modules that an import loads in a fresh process, and its CPU time in milliseconds, the best of three."""
    code = (
        f"import json, sys, time; began = time.process_time(); import {module}; took = time.process_time() - began; "
        "print(json.dumps([list(sys.modules), took]))"
    )
    best = 1e9
    names: set[str] = set()
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=CHECKOUT)
        found, took = json.loads(done.stdout)
        names, best = set(found), min(best, 1000 * took)
    return names, best


@pytest.mark.parametrize("module", ["tastemaker", "tastemaker.cli"])
def test_the_command_line_starts_at_once(module: str) -> None:
    names, milliseconds = loaded_by(module)
    assert sorted(names & set(HEAVY)) == []
    assert milliseconds < 150


@pytest.mark.parametrize(
    "module", ["tastemaker.pipelines.catalog", "tastemaker.domain", "tastemaker.config", "tastemaker.storage"]
)
def test_what_a_scheduler_reads_loads_nothing_heavy(module: str) -> None:
    assert sorted(loaded_by(module)[0] & set(HEAVY)) == []


def test_no_data_set_notebook_or_large_file_is_part_of_the_project() -> None:
    found = [name_of(path) for path in tracked() if path.suffix.lower() in DATA or path.stat().st_size > BYTES]
    assert found == []


def test_no_text_names_a_path_of_one_machine() -> None:
    found = []
    for path in tracked():
        if path.suffix in {".png", ".jpg", ".ico"} or path == Path(__file__):
            continue
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
            if MACHINE.search(line):
                found.append(f"{name_of(path)}:{number}: {line.strip()[:100]}")
    assert found == []


def test_no_file_is_empty_by_mistake() -> None:
    assert [name_of(path) for path in tracked() if not path.stat().st_size and path.name not in EMPTY] == []


def test_every_exception_to_a_check_has_a_reason_beside_it() -> None:
    """``type: ignore[code]  # why`` and ``noqa: CODE - why``: an exception that nobody explains is nobody's."""
    bare = re.compile(r"#\s*(?:type: ignore(?!\[[\w, -]+\]\s*(?:#|-)\s*\w)|noqa(?!: [A-Z]+\d+\s+(?:-|#|\()\s*\w))")
    found = [
        f"{name_of(path)}:{number}"
        for path in TESTED
        if path != Path(__file__)
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if bare.search(line)
    ]
    assert found == []


def test_no_kernel_is_compiled_in_two_ways() -> None:
    """Numba's cache on disk does not tell two compilations of one function apart: the first would serve for both."""
    for path in sorted((SOURCE / "models").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            called = node.func.func if isinstance(node, ast.Call) and isinstance(node.func, ast.Call) else None
            name = ast.unparse(called) if called is not None else ""
            assert name not in ("numba.njit", "njit"), f"{path.name}:{node.lineno}: decorate a function of its own"  # type: ignore[attr-defined]
