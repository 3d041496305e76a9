"""Whom to steal from: the seed's StealStrategy, as functions of who is there, how loaded they are, and chance."""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from zbuild.limits import ADAPTIVE_SHARE, ADAPTIVE_WINDOW


class Chance(Protocol):
    """Where randomness comes from; ``random.Random`` is one."""

    def random(self) -> float:
        """From 0.0, included, to 1.0, excluded."""


class Load(NamedTuple):
    """What is known of a peer's load; see protocol/steal_messages.py."""

    queue_depth: int
    load_factor: float

    @property
    def score(self) -> float:
        """How good a victim it is: the seed's weights."""
        return self.queue_depth * 10 - self.load_factor * 5


class StealStrategy(enum.Enum):
    """The names that the worker's configuration takes."""

    RANDOM = "random"
    LEAST_LOADED = "least-loaded"
    MOST_LOADED = "most-loaded"
    POWER_OF_TWO = "power-of-two"
    ADAPTIVE = "adaptive"


Choose = Callable[[Sequence[int], Mapping[int, Load], Chance], int]
"""(worker ids, at least one; their loads; chance) -> one of the ids."""


def pick(peers: Sequence[int], chance: Chance) -> int:
    """Each equally likely."""
    return peers[int(chance.random() * len(peers))]


def choose_random(peers: Sequence[int], _loads: Mapping[int, Load], chance: Chance) -> int:
    """Any of them."""
    return pick(peers, chance)


def choose_least_loaded(peers: Sequence[int], loads: Mapping[int, Load], _chance: Chance) -> int:
    """The worst victim: of use where the longest queues are besieged."""
    return min(peers, key=lambda peer: (loads[peer].score, peer))


def choose_most_loaded(peers: Sequence[int], loads: Mapping[int, Load], _chance: Chance) -> int:
    """The best victim, whom all thieves that know the same choose."""
    return max(peers, key=lambda peer: (loads[peer].score, peer))


def choose_power_of_two(peers: Sequence[int], loads: Mapping[int, Load], chance: Chance) -> int:
    """The better of two drawn at random (Mitzenmacher 2001): nearly as good as the best, and no two rush to it."""
    first = pick(peers, chance)
    if len(peers) == 1:
        return first
    second = pick([peer for peer in peers if peer != first], chance)
    return choose_most_loaded((first, second), loads, chance)


CHOOSERS: dict[StealStrategy, Choose] = {
    StealStrategy.RANDOM: choose_random,
    StealStrategy.LEAST_LOADED: choose_least_loaded,
    StealStrategy.MOST_LOADED: choose_most_loaded,
    StealStrategy.POWER_OF_TWO: choose_power_of_two,
}
"""ADAPTIVE has none of its own: it is one of the others at any time."""


class StrategySwitch:
    """Which strategy is in force: the configured one, or what ADAPTIVE comes to after its last attempts."""

    def __init__(self, configured: StealStrategy) -> None:
        self._configured = configured
        self._recent: deque[bool] = deque(maxlen=ADAPTIVE_WINDOW)

    @property
    def current(self) -> StealStrategy:
        """ADAPTIVE is MOST_LOADED while fewer than ADAPTIVE_SHARE of its attempts succeed, else POWER_OF_TWO."""
        if self._configured is not StealStrategy.ADAPTIVE:
            return self._configured
        is_failing = len(self._recent) == ADAPTIVE_WINDOW and sum(self._recent) < ADAPTIVE_SHARE * ADAPTIVE_WINDOW
        return StealStrategy.MOST_LOADED if is_failing else StealStrategy.POWER_OF_TWO

    def ended(self, *, is_success: bool) -> None:
        """An attempt is over."""
        self._recent.append(is_success)
