"""Time that passes only when the simulation says so."""

from __future__ import annotations

import heapq
from collections.abc import Callable


class Clock:
    """A queue of calls in the order of their instants; equal instants keep the order of scheduling.

    Attributes:
        now_s: seconds since the simulation began.
    """

    def __init__(self) -> None:
        self.now_s = 0.0
        self._calls: list[tuple[float, int, Callable[[], None]]] = []
        self._scheduled = 0

    def call_at(self, at_s: float, call: Callable[[], None]) -> None:
        """Have ``call`` made at an instant; one in the past is now."""
        self._scheduled += 1
        heapq.heappush(self._calls, (max(at_s, self.now_s), self._scheduled, call))

    def call_later(self, delay_s: float, call: Callable[[], None]) -> None:
        self.call_at(self.now_s + delay_s, call)

    def advance(self, until_s: float) -> bool:
        """Make the next call that is due by ``until_s``; otherwise move there and say that there is none."""
        if not self._calls or self._calls[0][0] > until_s:
            self.now_s = max(self.now_s, until_s)
            return False
        self.now_s, _, call = heapq.heappop(self._calls)
        call()
        return True
