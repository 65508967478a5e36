"""The arithmetic of ``session_knn``: which sessions share items with a history, which of them are nearest, what they had next.

The last ``window`` events of a history have a slot each, event number n the slot n mod window. A table holds, for each session
that shares an item with them, one bit a slot. An event sets its bit in the sessions of its item and takes the bit of the event
that leaves the window out of that one's sessions: nothing else is touched, and since bits do not round, a history that grew
event by event has the very table of one that was read at once.

The table is open addressing in two arrays, keys and masks; an entry without a bit is dropped when the table grows.
"""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

from tastemaker.models.interactions import Floats, Ints, Longs
from tastemaker.models.topk import push, unheap

Masks = npt.NDArray[np.uint64]

SMALLEST = 256  # entries of a new table
SLOTS = 64  # bits of a mask


@numba.njit(cache=True, nogil=True)
def find(keys: Ints, session: int) -> int:
    """Where the session is, or the free entry where it would be."""
    mask = len(keys) - 1
    place = (np.int64(session) * 2_654_435_761) & mask
    while keys[place] != session and keys[place] >= 0:
        place = (place + 1) & mask
    return int(place)


@numba.njit(cache=True, nogil=True)
def with_room(keys: Ints, masks: Masks, used: int, more: int) -> tuple[Ints, Masks, int]:
    """A table that is at most half full with ``more`` entries: the same, or one without the entries that have no bit."""
    if 2 * (used + more) <= len(keys):
        return keys, masks, used
    alive = 0
    for place in range(len(keys)):
        alive += masks[place] != 0
    size = SMALLEST
    while size < 2 * (alive + more):
        size *= 2
    wider, moved = np.full(size, -1, np.int32), np.zeros(size, np.uint64)
    for place in range(len(keys)):
        if masks[place] != 0:
            at = find(wider, keys[place])
            wider[at], moved[at] = keys[place], masks[place]
    return wider, moved, alive


@numba.njit(cache=True, nogil=True)
def take_in(
    number: int,
    item: int,
    reward: np.float32,
    slot_items: Ints,
    slot_rewards: Floats,
    keys: Ints,
    masks: Masks,
    used: int,
    starts: Longs,
    sessions: Ints,
) -> tuple[Ints, Masks, int]:
    """Event ``number`` of a history takes its slot. Returns the table, which may have moved."""
    slot = number % len(slot_items)
    bit = np.uint64(1) << np.uint64(slot)
    gone = slot_items[slot]
    if gone >= 0:
        for place in range(starts[gone], starts[gone + 1]):
            at = find(keys, sessions[place])
            masks[at] &= ~bit
    slot_items[slot], slot_rewards[slot] = item, reward
    keys, masks, used = with_room(keys, masks, used, starts[item + 1] - starts[item])
    for place in range(starts[item], starts[item + 1]):
        at = find(keys, sessions[place])
        if keys[at] < 0:
            keys[at] = sessions[place]
            used += 1
        masks[at] |= bit
    return keys, masks, used


@numba.njit(cache=True, nogil=True)
def slot_weights(count: int, slot_items: Ints, slot_rewards: Floats, powers: Floats, item_damp: Floats) -> Floats:
    """How much each slot says after ``count`` events: reward, decay by its place from the end, damping; 0 for a free slot."""
    weights = np.zeros(len(slot_items), np.float32)
    for back in range(min(count, len(slot_items))):
        slot = (count - 1 - back) % len(slot_items)
        if slot_items[slot] >= 0:
            weights[slot] = slot_rewards[slot] * powers[back] * item_damp[slot_items[slot]]
    return weights


@numba.njit(cache=True, nogil=True)
def nearest(keys: Ints, masks: Masks, weights: Floats, length_damp: Floats, width: int) -> tuple[Ints, Floats]:
    """The ``width`` most similar sessions, best first, the newer of two alike, and their similarities.

    Masks are summed up a byte at a time, by tables of the sums of all bytes.
    """
    parts = (len(weights) + 7) // 8
    sums = np.zeros((parts, 256), np.float32)
    for part in range(parts):
        for byte in range(1, 256):
            low = 0
            while not (byte >> low) & 1:
                low += 1
            slot = 8 * part + low
            sums[part, byte] = sums[part, byte & (byte - 1)] + (weights[slot] if slot < len(weights) else np.float32(0))
    values, found, size = np.empty(width, np.float32), np.empty(width, np.int32), 0
    for place in range(len(keys)):
        if masks[place] == 0:
            continue
        total = np.float32(0)
        for part in range(parts):
            total += sums[part, np.int64((masks[place] >> np.uint64(8 * part)) & np.uint64(255))]
        session = keys[place]
        value, key = np.float32(total * length_damp[session]), np.int32(-session)
        if value > 0 and (size < width or value > values[0] or (value == values[0] and key < found[0])):
            size = push(values, found, size, value, key)
    unheap(values, found, size)
    return -found[:size], values[:size]


@numba.njit(cache=True, nogil=True)
def anchor(mask: np.uint64, count: int, slot_items: Ints, items: Ints) -> int:
    """The place in a session, ``items``, of the newest event of the history that it shares; the last one of several."""
    slot = (count - 1) % len(slot_items)
    while not (mask >> np.uint64(slot)) & np.uint64(1):
        slot = (slot - 1) % len(slot_items)
    place = len(items) - 1
    while items[place] != slot_items[slot]:
        place -= 1
    return place


@numba.njit(cache=True, nogil=True)
def add_votes(
    count: int,
    slot_items: Ints,
    keys: Ints,
    masks: Masks,
    near: Ints,
    similarities: Floats,
    indptr: Longs,
    items: Ints,
    ahead: Floats,
    behind: Floats,
    target_damp: Floats,
    scores: Floats,
) -> None:
    """Adds what the near sessions say of each item to its score: similarity times weight by distance from the anchor."""
    for number in range(len(near)):
        session = items[indptr[near[number]] : indptr[near[number] + 1]]
        centre = anchor(masks[find(keys, near[number])], count, slot_items, session)
        for place in range(len(session)):
            gap = place - centre
            share = ahead[gap] if gap > 0 else behind[-gap]
            scores[session[place]] += similarities[number] * share * target_damp[session[place]]


@numba.njit(cache=True, nogil=True)
def share_votes(
    count: int,
    slot_items: Ints,
    weights: Floats,
    keys: Ints,
    masks: Masks,
    near: Ints,
    length_damp: Floats,
    indptr: Longs,
    items: Ints,
    ahead: Floats,
    behind: Floats,
    wanted: Ints,
    parts: Floats,
) -> None:
    """parts[i, slot] = what the slot adds to the votes for wanted[i]: ``add_votes`` with each similarity left as its terms."""
    for number in range(len(near)):
        session = items[indptr[near[number]] : indptr[near[number] + 1]]
        mask = masks[find(keys, near[number])]
        centre = anchor(mask, count, slot_items, session)
        for line in range(len(wanted)):
            votes = np.float32(0)
            for place in range(len(session)):
                if session[place] == wanted[line]:
                    gap = place - centre
                    votes += ahead[gap] if gap > 0 else behind[-gap]
            for slot in range(len(weights)):
                if (mask >> np.uint64(slot)) & np.uint64(1):
                    parts[line, slot] += votes * weights[slot] * length_damp[near[number]]


@numba.njit(cache=True, nogil=True)
def read(history: Ints, rewards: Floats, window: int, starts: Longs, sessions: Ints) -> tuple[int, Ints, Floats, Ints, Masks]:
    """Takes a whole history in: (count, slot_items, slot_rewards, keys, masks), as event by event."""
    slot_items, slot_rewards = np.full(window, -1, np.int32), np.zeros(window, np.float32)
    keys, masks, used = np.full(SMALLEST, -1, np.int32), np.zeros(SMALLEST, np.uint64), 0
    count, number = 0, 0
    for entry in range(len(history)):
        count += rewards[entry] > 0
    for entry in range(len(history)):
        if rewards[entry] > 0:
            if number >= count - window:
                keys, masks, used = take_in(
                    number, history[entry], rewards[entry], slot_items, slot_rewards, keys, masks, used, starts, sessions
                )
            number += 1
    return count, slot_items, slot_rewards, keys, masks


@numba.njit(cache=True, nogil=True)
def score_row(
    history: Ints,
    rewards: Floats,
    starts: Longs,
    sessions: Ints,
    indptr: Longs,
    items: Ints,
    powers: Floats,
    item_damp: Floats,
    length_damp: Floats,
    ahead: Floats,
    behind: Floats,
    target_damp: Floats,
    width: int,
    scores: Floats,
) -> None:
    """Scores of a whole history, (items,)."""
    count, slot_items, slot_rewards, keys, masks = read(history, rewards, len(powers), starts, sessions)
    weights = slot_weights(count, slot_items, slot_rewards, powers, item_damp)
    near, alike = nearest(keys, masks, weights, length_damp, width)
    add_votes(count, slot_items, keys, masks, near, alike, indptr, items, ahead, behind, target_damp, scores)


@numba.njit(cache=True, nogil=True, parallel=True)
def score_together(
    histories_indptr: Longs,
    history_items: Ints,
    rewards: Floats,
    starts: Longs,
    sessions: Ints,
    indptr: Longs,
    items: Ints,
    powers: Floats,
    item_damp: Floats,
    length_damp: Floats,
    ahead: Floats,
    behind: Floats,
    target_damp: Floats,
    width: int,
    scores: Floats,
) -> None:
    """Scores of many histories, (rows, items); each row is the work of one thread."""
    for row in numba.prange(len(scores)):
        start, stop = histories_indptr[row], histories_indptr[row + 1]
        score_row(
            history_items[start:stop],
            rewards[start:stop],
            starts,
            sessions,
            indptr,
            items,
            powers,
            item_damp,
            length_damp,
            ahead,
            behind,
            target_damp,
            width,
            scores[row],
        )
