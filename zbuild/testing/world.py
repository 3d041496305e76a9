"""What all nodes of a simulation share."""

from __future__ import annotations

from dataclasses import dataclass
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
    """

    clock: Clock
    random: Random
    story: Story
    store: MemoryStore
    results: MemoryResults
    checker: Checker
    is_calm: bool = False

    def tell(self, who: str, what: str, detail: object = "", data: bytes = b"") -> None:
        """Add an event of this instant to the story."""
        self.story.tell(self.clock.now_s, who, what, detail, data)
