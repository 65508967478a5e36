"""Configuration: file under environment, every origin known, every mistake named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tastemaker import config
from tastemaker.config import Config, Reward, hide, keys, load
from tastemaker.errors import ConfigError


def written(folder: Path, text: str) -> Path:
    file = folder / "tastemaker.toml"
    file.write_text(text, "utf-8")
    return file


def value_of(settings: Config, name: str) -> Any:
    value: Any = settings
    for part in name.split("."):
        value = getattr(value, part)
    return value


def test_without_a_file_and_environment_everything_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load(environ={}) == (Config(), {})


def test_a_file_in_the_current_folder_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path, "[serving]\nport = 1234\n")
    monkeypatch.chdir(tmp_path)
    settings, origins = load(environ={})
    assert settings.serving.port == 1234
    assert origins == {"serving.port": "tastemaker.toml"}


def test_the_environment_overrides_the_file_and_says_so(tmp_path: Path) -> None:
    file = written(tmp_path, '[serving]\nport = 1234\nhost = "::1"\n')
    settings, origins = load(file, {"TASTEMAKER_SERVING__PORT": "5678", "OTHER": "x", "TASTEMAKER_DATA": "not a key"})
    assert (settings.serving.port, settings.serving.host) == (5678, "::1")
    assert origins == {"serving.port": "$TASTEMAKER_SERVING__PORT", "serving.host": str(file)}


def test_the_environment_can_name_the_file(tmp_path: Path) -> None:
    file = written(tmp_path, "[log]\npartitions = 3\n")
    assert load(environ={"TASTEMAKER_CONFIG": str(file)})[0].log.partitions == 3


@pytest.mark.parametrize(
    ("variable", "text", "name", "value"),
    [
        ("TASTEMAKER_CONNECT__HOME", "elsewhere", "connect.home", "elsewhere"),
        ("TASTEMAKER_TRAIN__MODELS", '["als"]', "train.models", ("als",)),
        ("TASTEMAKER_EVALUATE__TEST_FRACTION", "0.25", "evaluate.test_fraction", 0.25),
        ("TASTEMAKER_SERVING__KEYS", "true", "serving.keys", True),
        ("TASTEMAKER_MODELS__ALS__FACTORS", "8", "models", {"als": {"factors": 8}}),
        ("TASTEMAKER_REWARDS__KINDS", "{play = {weight = 2.0}}", "rewards.kinds", {"play": Reward(weight=2.0)}),
    ],
)
def test_a_variable_is_read_as_toml_else_as_text(tmp_path: Path, variable: str, text: str, name: str, value: object) -> None:
    settings, _ = load(written(tmp_path, ""), {variable: text})
    assert value_of(settings, name) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[serving]\nprot = 1\n", 'unknown key serving.prot; did you mean "port"?'),
        ("[servign]\nport = 1\n", 'unknown key servign; did you mean "serving"?'),
        ("[rewards.kinds.play]\nwieght = 1\n", "wieght"),
        ('[serving]\nport = "eighty"\n', "serving.port = 'eighty'"),
        ("[serving]\nport = 70000\n", "serving.port = 70000"),
        ("[evaluate]\ntest_fraction = 1.5\n", "evaluate.test_fraction = 1.5"),
        ("[train]\nmodels = []\n", "train.models = []"),
        ("serving = 3\n", "serving = 3"),
        ("[serving\n", "not valid TOML"),
    ],
)
def test_a_mistake_in_the_file_names_file_key_and_remedy(tmp_path: Path, text: str, message: str) -> None:
    file = written(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load(file, {})
    assert message in str(caught.value)
    assert str(file) in str(caught.value)


def test_a_mistake_in_the_environment_names_the_variable(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^\$TASTEMAKER_SERVING__PORT: serving.port = 'eighty'"):
        load(written(tmp_path, ""), {"TASTEMAKER_SERVING__PORT": "eighty"})
    with pytest.raises(ConfigError, match=r'^\$TASTEMAKER_SERVING__PROT: unknown key serving.prot; did you mean "port"'):
        load(written(tmp_path, ""), {"TASTEMAKER_SERVING__PROT": "1"})
    with pytest.raises(ConfigError, match=r"\$TASTEMAKER_LOG__PARTITIONS__X: partitions is a value, not a table"):
        load(written(tmp_path, "[log]\npartitions = 3\n"), {"TASTEMAKER_LOG__PARTITIONS__X": "1"})


def test_a_file_that_was_asked_for_must_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such configuration file"):
        load(tmp_path / "absent.toml", {})
    with pytest.raises(ConfigError, match="no such configuration file"):
        load(environ={"TASTEMAKER_CONFIG": str(tmp_path / "absent.toml")})


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "tastemaker.toml"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not valid TOML"):
        load(file, {})


def test_home_stands_in_the_urls() -> None:
    settings = Config(connect=config.Connect(home="a/b"))
    assert settings.url("log") == "sqlite:///a/b/log.db"
    assert str(settings.model_folder) == "a/b/models"


@pytest.mark.parametrize(
    ("shown", "hidden"),
    [
        ("redis://u:secret@host/0", "redis://u:***@host/0"),
        ("redis://:secret@host/0", "redis://:***@host/0"),
        ("postgresql://u@host/db", "postgresql://u@host/db"),
        ("sqlite:///file:with@signs", "sqlite:///file:with@signs"),
        (8, 8),
    ],
)
def test_passwords_in_urls_are_hidden(shown: object, hidden: object) -> None:
    assert hide(shown) == hidden


def test_every_key_has_a_sentence() -> None:
    missing = [name for name, _, _, sentence in keys() if not sentence.endswith(".")]
    assert missing == []


def test_the_defaults_themselves_are_valid() -> None:
    assert msgspec.convert(msgspec.to_builtins(Config()), Config) == Config()


CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "SERVING__PORT": st.integers(0, 65535),
        "SERVING__HOST": st.text("abc.:-/", min_size=1, max_size=20),
        "SERVING__BECAUSE": st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1),
        "GATE__MARGIN": st.floats(0, 1),
        "EVALUATE__K": st.lists(st.integers(1, 100), min_size=1, max_size=5),
        "TRAIN__MODELS": st.lists(st.sampled_from(["als", "popular", "nmf"]), min_size=1),
        "SERVING__KEYS": st.booleans(),
    },
)


@given(CHANGES)
def test_whatever_is_written_as_toml_comes_back(changes: dict[str, Any]) -> None:
    """JSON of strings, numbers, booleans and lists is TOML, too."""
    environ = {f"TASTEMAKER_{name}": msgspec.json.encode(value).decode() for name, value in changes.items()}
    settings, origins = load(environ=environ | {"TASTEMAKER_CONFIG": str(Path(__file__).parent.parent / "tastemaker.toml")})
    for name, value in changes.items():
        found = value_of(settings, name.lower().replace("__", "."))
        assert (list(found) if isinstance(found, tuple) else found) == value
        assert origins[name.lower().replace("__", ".")] == f"$TASTEMAKER_{name}"
