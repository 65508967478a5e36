"""``tastemaker demo --exit`` on real data: six acts, twice."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from processes import command

ACTS = ("1. Events", "2. The daily pipeline", "3. The verdict", "4. Answers", "5. A click", "6. An experiment")


@pytest.mark.slow
@pytest.mark.data
def test_the_demo_tells_the_whole_story_and_a_second_one_goes_on(tmp_path: Path, data_folder: Path) -> None:
    told = []
    for _ in range(2):
        done = command(tmp_path / "home", "demo", "--exit", TASTEMAKER_DATA=str(data_folder), TASTEMAKER_SERVING__PORT="0")
        assert done.code == 0, done.out + done.err
        assert "Traceback" not in done.err
        places = [done.out.index(act) for act in ACTS]
        assert places == sorted(places)
        told.append(done.out)
    first, second = told
    assert "100,000 interactions in" in first
    assert "0 interactions in" in second
    assert "100,000 were there already" in second
    for out in told:
        assert "the gate is open for" in out
        assert "published: " in out
        before, after = re.split(r"[\d.]+ ms later:", out.partition("5. A click")[0][-4000:] + out.partition("5. A click")[2])
        gone = re.search(r"gone: (.+?); new: (.+)", after)
        assert gone
        assert gone[1] in before
        assert "als: the truth is +" in out
        assert float(re.findall(r"([\d.]+) ms later", out)[0]) < 5000
    assert (tmp_path / "home" / "demo-ml-100k").is_dir()
