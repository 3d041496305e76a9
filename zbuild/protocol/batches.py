"""How many things travel in one message."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from zbuild.limits import BATCH_ACTIONS, BATCH_BYTES

T = TypeVar("T")


def batches(items: Iterable[T], size_bytes: Callable[[T], int]) -> Iterator[tuple[T, ...]]:
    """Cut ``items`` into tuples of BATCH_ACTIONS and BATCH_BYTES at most; one that is larger travels alone."""
    batch: list[T] = []
    batch_bytes = 0
    for item in items:
        item_bytes = size_bytes(item)
        if batch and (batch_bytes + item_bytes > BATCH_BYTES or len(batch) >= BATCH_ACTIONS):
            yield tuple(batch)
            batch, batch_bytes = [], 0
        batch.append(item)
        batch_bytes += item_bytes
    if batch:
        yield tuple(batch)
