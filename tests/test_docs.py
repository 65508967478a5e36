"""The documentation is whole, fresh and true: everything is documented, pages match the code, and examples run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import msgspec
import pytest
from markdown_it import MarkdownIt

from ports import free_port
from tastemaker import config, domain, telemetry
from tastemaker.cli import app
from tastemaker.config import Config, Connect
from tastemaker.evaluation.metrics import METRICS
from tastemaker.features import catalog
from tastemaker.features.kinds import KINDS
from tastemaker.models import MODELS, model_class
from tastemaker.serving.app import create_app
from tastemaker.storage import connect

CHECKOUT = Path(__file__).resolve().parent.parent
DOCS = CHECKOUT / "docs"
PAGES = [CHECKOUT / "README.md", CHECKOUT / "CHANGELOG.md", *sorted(DOCS.rglob("*.md"))]


def name_of(path: Path) -> str:
    return str(path.relative_to(CHECKOUT))


def reference(name: str) -> str:
    return (DOCS / "reference" / name).read_text("utf-8")


def blocks(path: Path, language: str) -> list[tuple[int, str]]:
    """Fenced blocks of a language, with the line that each begins at."""
    tokens = MarkdownIt().parse(path.read_text("utf-8"))
    return [
        (token.map[0] + 1, token.content) for token in tokens if token.type == "fence" and token.info == language and token.map
    ]


def missing(names: Iterator[str] | list[str], page: str) -> list[str]:
    """Names that a page does not hold as code."""
    return [name for name in names if f"`{name}`" not in page]


# ── complete ────────────────────────────────────────────────────────────────────────────────────────────────────────


def commands(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from commands(found, f"{path} {name}")


def test_every_command_and_option_is_documented() -> None:
    page = reference("cli.md")
    for path, command in commands(app, "tastemaker"):
        assert f"## `{path}`" in page
        section = page.split(f"## `{path}`\n")[1].split("\n## ")[0]
        for parameter in command.params:
            if isinstance(parameter, click.Option) and not parameter.hidden:
                assert parameter.opts[0] in section, f"{path} {parameter.opts[0]}"
                assert parameter.help or parameter.show_default, f"{path} {parameter.opts[0]} has no help"


def test_every_key_of_the_configuration_is_documented() -> None:
    names = [name for name, *_ in config.keys()]  # noqa: SIM118 - a function of the module, not a mapping's method
    assert missing(names, reference("configuration.md")) == []


def test_the_example_configuration_names_every_key_with_its_default() -> None:
    file = CHECKOUT / "tastemaker.toml"
    tree = tomllib.loads(file.read_text("utf-8"))
    for name, _, default, _ in config.keys():  # noqa: SIM118 - as above
        value: Any = tree
        for part in name.split("."):
            assert part in value, f"tastemaker.toml does not name {name}"
            value = value[part]
        same = value == msgspec.to_builtins(default) or tuple(value) == default
        assert same or (isinstance(default, dict) and value.keys() == default.keys()), name
    assert config.load(file, {})[0] == Config()  # tables may leave out what has a default of its own


def test_every_line_of_the_example_configuration_is_explained_nearby() -> None:
    """A section's keys stand under or beside words; a table that begins without a comment explains nothing."""
    lines = (CHECKOUT / "tastemaker.toml").read_text("utf-8").splitlines()
    for number, line in enumerate(lines):
        if line.startswith("["):
            block = lines[number + 1 : next((n for n in range(number + 1, len(lines)) if lines[n].startswith("[")), len(lines))]
            assert any("#" in text for text in block), line


def test_every_event_and_field_is_documented() -> None:
    page = reference("events.md")
    kinds: tuple[type[msgspec.Struct], ...] = (*domain.EVENTS, domain.Slot)
    for kind in kinds:
        title = f"## `{domain.tag_of(kind)}`" if issubclass(kind, domain.Event) else "## A slot of a decision"
        section = page.split(title)[1].split("\n## ")[0]
        assert missing([info.name for info in msgspec.structs.fields(kind)], section) == []


def test_every_field_of_an_event_says_when_it_is_known() -> None:
    names = {f"{domain.tag_of(kind)}.{info.name}" for kind in domain.EVENTS for info in msgspec.structs.fields(kind)}
    assert names == set(catalog.FIELDS)


def test_every_feature_and_kind_is_documented() -> None:
    page = reference("features.md")
    assert missing([feature.name for feature in catalog.FEATURES], page) == []
    assert missing(list(KINDS), page) == []


def test_every_metric_is_documented() -> None:
    page = reference("metrics.md")
    assert missing(list(METRICS), page) == []
    assert [family.name for family in telemetry.REGISTRY.collect() if f"`{family.name}" not in page] == []


def test_every_model_and_hyper_parameter_is_documented_with_a_sentence() -> None:
    page = reference("models.md")
    for kind in MODELS:
        assert f"## `{kind}`" in page
        for info in msgspec.structs.fields(model_class(kind).Params):
            (line,) = [line for line in page.splitlines() if line.startswith(f"| `models.{kind}.{info.name}` |")]
            assert line.rstrip("| ").endswith("."), line


def test_every_route_is_documented_with_a_sentence(tmp_path: Path) -> None:
    page = reference("api.md")
    settings = Config(connect=Connect(home=str(tmp_path)))
    with connect(settings) as storage:
        application: Any = create_app(storage, settings).rest
        paths: dict[str, dict[str, Any]] = application.openapi()["paths"]
    assert len(paths) > 10
    for path, methods in paths.items():
        for method, what in methods.items():
            assert f"## `{method.upper()} {path}`" in page
            assert what.get("description"), f"{method} {path}"


# ── fresh ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_reference_is_what_the_code_says() -> None:
    done = subprocess.run([sys.executable, DOCS / "generate.py", "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"run `make docs`: {done.stdout}{done.stderr}"


# ── true ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def anchors(path: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", path.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_links_within_the_documentation_resolve(path: Path) -> None:
    for token in MarkdownIt().parse(path.read_text("utf-8")):
        for child in token.children or ():
            target = str(child.attrs.get("href", child.attrs.get("src", "")))
            if not target or "://" in target:
                continue
            name, _, anchor = target.partition("#")
            file = (path.parent / name).resolve() if name else path
            assert file.exists(), target
            assert not anchor or anchor in anchors(file), target


def test_every_page_can_be_reached_from_the_index() -> None:
    index = (DOCS / "index.md").read_text("utf-8")
    pages = [str(path.relative_to(DOCS)) for path in sorted(DOCS.rglob("*.md")) if path.name != "index.md"]
    assert [page for page in pages if f"({page})" not in index] == []


@pytest.mark.parametrize("path", [path for path in PAGES if blocks(path, "python")], ids=name_of)
def test_python_in_the_documentation_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks of a page, one after the other, in one namespace; line numbers are the page's."""
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {"__name__": "docs"}
    for line, text in blocks(path, "python"):
        exec(compile("\n" * line + text, str(path), "exec", dont_inherit=True), namespace)


def test_the_commands_of_the_how_tos_exist() -> None:
    known = {path for path, _ in commands(app, "tastemaker")}
    for path in PAGES:
        for language in ("bash", "text"):
            for line, text in blocks(path, language):
                for words in re.findall(r"^(?:\$ |\w+=\S+ )*tastemaker ((?:[a-z]+ ?)+)", text, re.MULTILINE):
                    parts = f"tastemaker {words}".split()
                    assert any(" ".join(parts[:size]) in known for size in (3, 2)), f"{name_of(path)}:{line}: tastemaker {words}"


@pytest.mark.slow
def test_the_tutorial_runs_as_written(tmp_path: Path) -> None:
    """Its bash blocks in order, in one shell, in an empty folder. Whatever it started is stopped when the shell ends."""
    if shutil.which("curl") is None:
        pytest.skip("the tutorial uses curl, which is not installed")
    port = free_port()
    script = "set -euo pipefail\ntrap 'kill $(jobs -p) 2> /dev/null || true' EXIT\n"
    script += "\n".join(f"echo '── line {line}'\n{text}" for line, text in blocks(DOCS / "tutorial.md", "bash"))
    environ = {name: value for name, value in os.environ.items() if not name.startswith("TASTEMAKER_")}
    environ |= {
        "PATH": f"{Path(sys.executable).parent}:{environ['PATH']}",
        "TASTEMAKER_SERVING__PORT": str(port),
        "COLUMNS": "160",
    }
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    told = {line: text for line, _, text in (part.partition("\n") for part in done.stdout.split("── line ")[1:])}
    parts = list(told.values())
    page = (DOCS / "tutorial.md").read_text("utf-8")
    assert "1 refused" in parts[1]
    assert '"reason":"missing"' in parts[2]
    assert "0 imported" in parts[2]
    assert "daily" in parts[3]
    assert "the gate is open" in parts[4]
    assert '"ready":true' in parts[5]
    assert '"rung": "personal"' in parts[6]
    assert "Because you watched Horror" in parts[6]
    assert '"rung": "popular"' in parts[7]
    assert '"accepted":2' in parts[8]
    assert '"rung": "personal"' in parts[8]
    assert "Because you watched Comedy" in parts[8]
    for message in re.findall(r'^(?:error: |\{"error").*$', page, re.MULTILINE):
        assert message.removeprefix("error: ") in done.stdout + done.stderr
    before, after = re.findall(r"'(\w+-\w+)'", parts[10])[0], re.findall(r"live: (\S+) ", parts[10])[0]
    assert before != after, "the roll-back changes what is live"
    assert f'"live":"{after}"' in parts[10]
    assert re.search(r"^log +\d+", parts[11], re.MULTILINE)
    assert not list((tmp_path / "shop").glob("core*"))
