"""One table of the configuration file is changed, byte for byte nothing else, or the file stays as it is."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from tastemaker.config.writing import block, check_writable, write_model
from tastemaker.errors import ConfigError

EXAMPLE = Path(__file__).resolve().parent.parent / "tastemaker.toml"
FULL = """# ours
[models.als]   # of last spring
factors = 64  # more cost time
"reg" = 0.001
# a word at the end

# about nmf
[models.nmf]
factors = 3

[gate]
floor = 0.01 # low
"""


def written(folder: Path, text: str, kind: str = "als", **params: object) -> str:
    file = folder / "own.toml"
    file.write_bytes(text.encode())
    write_model(file, kind, params)
    return file.read_bytes().decode()


def test_values_change_in_their_places_and_comments_stay(tmp_path: Path) -> None:
    assert written(tmp_path, FULL, factors=128, reg=0.0025, nu=0.5) == FULL.replace(
        "factors = 64  # more", "factors = 128  # more"
    ).replace('"reg" = 0.001\n', '"reg" = 0.0025\nnu = 0.5\n')


def test_a_value_of_none_is_taken_out(tmp_path: Path) -> None:
    assert written(tmp_path, FULL, reg=None) == FULL.replace('"reg" = 0.001\n', "")


def test_a_table_that_is_not_there_comes_last(tmp_path: Path) -> None:
    text = EXAMPLE.read_text("utf-8")
    assert written(tmp_path, text, factors=128) == f"{text}\n[models.als]\nfactors = 128\n"
    assert written(tmp_path, "[train]\nseed = 1", factors=2) == "[train]\nseed = 1\n\n[models.als]\nfactors = 2\n"
    assert written(tmp_path, "", factors=2) == "[models.als]\nfactors = 2\n"


def test_an_empty_table_is_filled_where_it_stands(tmp_path: Path) -> None:
    assert written(tmp_path, "[models.als]\n# todo\n[train]\nseed = 1\n", factors=2) == (
        "[models.als]\nfactors = 2\n# todo\n[train]\nseed = 1\n"
    )


def test_lines_of_another_system_keep_their_ends(tmp_path: Path) -> None:
    assert written(tmp_path, "[models.als]\r\nreg = 0.1\r\n", reg=0.2) == "[models.als]\r\nreg = 0.2\r\n"


@pytest.mark.parametrize(
    "text",
    [
        "models = { als = { factors = 8 } }\n",
        "models.als.factors = 8\n",
        "[models]\nals.factors = 8\n",
        'rewards.version = """\n[models.als]\nfactors = 1\n"""\n[models.als]\nfactors = 8\n',
    ],
)
def test_a_file_that_is_written_in_another_way_stays_as_it_is(tmp_path: Path, text: str) -> None:
    file = tmp_path / "own.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"by hand:\n\[models.als\]\nfactors = 16"):
        write_model(file, "als", {"factors": 16})
    assert file.read_text() == text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["own.toml"]


def test_rights_and_links_stay(tmp_path: Path) -> None:
    file, link = tmp_path / "real.toml", tmp_path / "link.toml"
    file.write_text("[train]\nseed = 1\n")
    file.chmod(0o600)
    link.symlink_to(file)
    write_model(link, "als", {"factors": 16})
    assert link.is_symlink()
    assert file.stat().st_mode & 0o777 == 0o600
    assert "factors = 16" in file.read_text()


def test_a_place_that_cannot_be_written_is_named_before_the_work(tmp_path: Path) -> None:
    check_writable(tmp_path / "new.toml")
    with pytest.raises(ConfigError, match="absent"):
        check_writable(tmp_path / "absent" / "new.toml")
    with pytest.raises(ConfigError, match="cannot be written"):
        check_writable(tmp_path)


def test_a_block_holds_every_kind_of_value() -> None:
    params = {"a": 1, "b": 1e-07, "c": 'x"y', "d": True, "e": [1, "z"], "f": None, "g": {"h": 0.5}}
    wanted = {name: value for name, value in params.items() if value is not None}
    assert tomllib.loads(block("als", params)) == {"models": {"als": wanted}}
