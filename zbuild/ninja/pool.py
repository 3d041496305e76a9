"""A limit on how many edges of a kind run at once."""

from __future__ import annotations

import heapq

TYPE_CHECKING = False
if TYPE_CHECKING:
    from zbuild.ninja.edge import Edge

Ranked = tuple[int, int, "Edge"]
"""(-priority, edge number, edge): a heap of these yields the most urgent edge, oldest first."""


class Pool:
    """``depth``: how many edges may run at once; 0 means any number."""

    __slots__ = ("_delayed", "depth", "name", "running")

    def __init__(self, name: str, depth: int) -> None:
        self.name = name
        self.depth = depth
        self.running = 0
        self._delayed: list[Ranked] = []

    def schedule(self, ranked: Ranked) -> None:
        """Queue an edge whose inputs are ready."""
        heapq.heappush(self._delayed, ranked)

    def release(self) -> list[Ranked]:
        """The queued edges that may start now, most urgent first; they count as running."""
        released = []
        while self._delayed and (self.depth == 0 or self.running < self.depth):
            released.append(heapq.heappop(self._delayed))
            self.running += 1
        return released

    def finish(self) -> None:
        """One running edge ended."""
        self.running -= 1

    def reset(self) -> None:
        self.running = 0
        self._delayed.clear()
