"""What all nodes of a simulation share."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from random import Random

from zbuild.testing.checkers import Checker
from zbuild.testing.clock import Clock
from zbuild.testing.store import MemoryResults, MemoryStore
from zbuild.testing.story import Story


@dataclass
class World:
    """One simulation's clock, chance and memory.

    Attributes:
        is_calm: no fault happens any more; what was stuck on purpose moves on.
        skew_s: node -> how far its clock is off. No two nodes ever compare theirs.
    """

    clock: Clock
    random: Random
    story: Story
    store: MemoryStore
    results: MemoryResults
    checker: Checker
    is_calm: bool = False
    skew_s: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))

    def now_s(self, node: str) -> float:
        """What the node's clock shows."""
        return self.clock.now_s + self.skew_s[node]

    def instant(self, node: str, shown_s: float) -> float:
        """When the node's clock shows ``shown_s``, or a microsecond later: a sum may be rounded down."""
        return shown_s - self.skew_s[node] + 1e-6

    def tell(self, who: str, what: str, detail: object = "", data: bytes = b"") -> None:
        """Add an event of this instant to the story."""
        self.story.tell(self.clock.now_s, who, what, detail, data)
