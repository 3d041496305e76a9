"""How things are cut into messages."""

from __future__ import annotations

from zbuild.limits import BATCH_ACTIONS, BATCH_BYTES
from zbuild.protocol.batches import batches


def sizes_of(sizes: list[int]) -> list[list[int]]:
    return [list(batch) for batch in batches(sizes, lambda size: size)]


def test_nothing_makes_no_message() -> None:
    assert sizes_of([]) == []


def test_small_things_travel_together_up_to_a_count() -> None:
    assert [len(batch) for batch in sizes_of([1] * (2 * BATCH_ACTIONS + 1))] == [BATCH_ACTIONS, BATCH_ACTIONS, 1]


def test_a_message_stays_within_its_bytes() -> None:
    half = BATCH_BYTES // 2
    assert sizes_of([half, half, 1]) == [[half, half], [1]]


def test_one_that_is_larger_travels_alone() -> None:
    assert sizes_of([1, 2 * BATCH_BYTES, 1]) == [[1], [2 * BATCH_BYTES], [1]]
