"""Eviction in idle moments: begun when nothing happens, carried on in small steps between other work."""

from __future__ import annotations

from collections.abc import Iterator

from zbuild.storage.eviction import EvictionTotals, Evictor


class IdleEviction:
    """Drives an Evictor step by step. ``is_under_way``: call ``step`` again soon."""

    def __init__(self, evictor: Evictor) -> None:
        self._evictor = evictor
        self._steps: Iterator[EvictionTotals] | None = None
        self._totals = EvictionTotals()

    @property
    def is_under_way(self) -> bool:
        return self._steps is not None

    def step(self) -> EvictionTotals | None:
        """Begin if it is due, or do a little more; the totals when it has just ended.

        Raises:
            StoreFailed: a file can be neither read nor removed; the run is given up.
        """
        if self._steps is None:
            if not self._evictor.is_due:
                return None
            self._steps = self._evictor.run()
        steps, self._steps = self._steps, None
        totals = next(steps, None)
        if totals is None:
            return self._totals
        self._totals = totals
        self._steps = steps
        return None
