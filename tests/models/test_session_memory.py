"""Cutting histories into sessions and finding them by item, against loops."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tastemaker.models.interactions import Histories
from tastemaker.models.sessions import HOUR, cut, posted

ROWS = st.lists(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 4)), max_size=14), max_size=5)


def histories_of(rows: list[list[tuple[int, int]]]) -> Histories:
    """Rows of (item, hours since the event before it)."""
    made = []
    for row in rows:
        clock, times = 0, []
        for _, pause in row:
            clock += pause * HOUR
            times.append(clock)
        made.append(([item for item, _ in row], [1.0] * len(row), times))
    return Histories.of(made)


def sessions_of(histories: Histories, gap: float | None, length: int) -> list[tuple[int, list[int]]]:
    """(time of the end, items) of each session, by the definition."""
    found = []
    for row in range(len(histories)):
        items = histories.row(row).tolist()
        times = histories.times[histories.indptr[row] : histories.indptr[row + 1]].tolist()
        pieces: list[list[int]] = []
        for place in range(len(items)):
            paused = place > 0 and gap is not None and times[place] - times[place - 1] > gap * HOUR
            if place == 0 or paused:
                pieces.append([])
            pieces[-1].append(place)
        for piece in pieces:
            odd = len(piece) % length
            parts = ([piece[:odd]] if odd else []) + [piece[at : at + length] for at in range(odd, len(piece), length)]
            found += [(times[part[-1]], [items[place] for place in part]) for part in parts if len(part) >= 2]
    return sorted(found, key=lambda session: session[0])


@settings(deadline=None)  # the first call compiles
@given(ROWS, st.sampled_from([None, 1.0, 2.5]), st.integers(2, 5), st.integers(1, 8))
def test_sessions_end_at_pauses_are_cut_from_their_end_and_the_newest_stay(
    rows: list[list[tuple[int, int]]], gap: float | None, length: int, newest: int
) -> None:
    histories = histories_of(rows)
    found = cut(histories, gap, length, newest)
    expected = sessions_of(histories, gap, length)[-newest:]
    assert [found.row(number).tolist() for number in range(len(found))] == [items for _, items in expected]


@settings(deadline=None)
@given(ROWS, st.integers(1, 4))
def test_items_lead_to_their_newest_sessions_once_each(rows: list[list[tuple[int, int]]], recent: int) -> None:
    sessions = cut(histories_of(rows), None, 4, 100)
    index = posted(sessions, 7, recent)
    for item in range(7):
        holding = [number for number in range(len(sessions)) if item in sessions.row(number).tolist()]
        assert index.row(item).tolist() == holding[-recent:]
