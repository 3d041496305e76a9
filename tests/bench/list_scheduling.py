"""What no schedule can beat, and what a good one that knows everything reaches."""

from __future__ import annotations

import heapq
from collections.abc import Sequence


def bound_s(waits: Sequence[float], slots_from_s: Sequence[float]) -> float:
    """No schedule ends earlier: the longest action from the first slot on, or all slots busy from their start.

    Args:
        slots_from_s: for each slot the instant from which it is there.
    """
    return max(min(slots_from_s) + max(waits), (sum(waits) + sum(slots_from_s)) / len(slots_from_s))


def longest_first_s(waits: Sequence[float], slots_from_s: Sequence[float]) -> float:
    """The makespan of list scheduling by falling length (LPT, Graham 1969: at most 4/3 of the best).

    Each action goes to the slot that is free first, and nothing takes any time but the actions.
    """
    free_s = list(slots_from_s)
    heapq.heapify(free_s)
    end_s = 0.0
    for wait_s in sorted(waits, reverse=True):
        ends_s = heapq.heappop(free_s) + wait_s
        heapq.heappush(free_s, ends_s)
        end_s = max(end_s, ends_s)
    return end_s
