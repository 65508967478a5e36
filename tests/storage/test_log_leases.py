"""How members of a group share partitions: fair, without moving more than needed, and agreed on without a leader."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tastemaker.storage.log.leases import Terms, View, shares

TERMS = Terms()


def view(members: str, holders: list[str | None], left: float = 8.0) -> View:
    return View(frozenset(members), {partition: (holder, left) for partition, holder in enumerate(holders)})


@given(st.integers(1, 7), st.lists(st.sampled_from("abcdefgh") | st.none(), min_size=1, max_size=20))
def test_shares_are_even_and_complete(count: int, holders: list[str | None]) -> None:
    found = shares("abcdefg"[:count], holders)
    assert sum(found.values()) == len(holders)
    assert max(found.values()) - min(found.values()) <= 1


@given(st.integers(1, 7), st.lists(st.sampled_from("abcdefgh") | st.none(), min_size=1, max_size=20), st.randoms())
def test_members_in_any_order_come_to_rest_and_move_no_more_than_needed(
    count: int, holders: list[str | None], rng: object
) -> None:
    members = "abcdefg"[:count]
    now = list(holders)
    for partition, holder in enumerate(now):  # those of members that ended
        now[partition] = holder if holder is not None and holder in members else None
    owned = {member: now.count(member) for member in members}
    moved = 0
    for _ in range(2 * count + 2):
        turns = list(members)
        rng.shuffle(turns)  # type: ignore[attr-defined]  # it is a Random
        for member in turns:
            seen = view(members, now)
            share, held = seen.share(member), sorted(seen.held(member))
            for partition in held[share:]:
                now[partition] = None
                moved += 1
            for partition in seen.free()[: max(0, share - len(held))]:
                now[partition] = member
    assert None not in now
    sizes = sorted(now.count(member) for member in members)
    assert sizes[-1] - sizes[0] <= 1
    least, more = divmod(len(now), count)
    kept = sum(min(each, least) for each in owned.values()) + min(more, sum(each > least for each in owned.values()))
    assert moved == sum(owned.values()) - kept


def test_a_lease_is_free_after_its_end_and_its_holder_is_silent_before() -> None:
    assert view("ab", ["a", None]).free() == [1]
    assert view("ab", ["a", None], 0.0).free() == [0, 1]
    assert view("ab", ["a", None], 0.0).held("a") == {0}
    fresh, late = view("ab", ["a"], TERMS.lease - 1), view("ab", ["a"], TERMS.lease - TERMS.silent - 0.1)
    assert (fresh.silent("b", TERMS), late.silent("b", TERMS), late.silent("a", TERMS)) == (False, True, False)


def test_whoever_is_not_listed_yet_has_a_share_all_the_same() -> None:
    assert view("", ["a", "a"]).share("b") == 2
