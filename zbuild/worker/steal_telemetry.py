"""What a worker counts of its steals, by the names that ``zbuild status`` shows after ``worker_``."""

from __future__ import annotations

import bisect
from collections import Counter

from zbuild.protocol.steal_messages import StealRefusal
from zbuild.worker.steal_strategy import StealStrategy

LATENCY_BOUNDS_US = (100, 500, 1_000, 5_000, 10_000, 50_000, 100_000, 500_000, 1_000_000)
"""The seed's histogram: from the request to its response, upper bounds; what is above the last has no bound."""

_BUCKETS = (*(f"steal_us_to_{bound}" for bound in LATENCY_BOUNDS_US), "steal_us_above")


class PeerSteals:
    """The same of one peer, for the worker's log.

    Attributes:
        latency_us: attempts by bucket of the histogram.
    """

    def __init__(self) -> None:
        self.attempts = 0
        self.successes = 0
        self.timeouts = 0
        self.actions = 0
        self.latency_us = [0] * len(_BUCKETS)


class StealTelemetry:
    """Counts into the worker's counters, and for each peer."""

    def __init__(self, counters: Counter[str]) -> None:
        self._counters = counters
        self.peers: dict[int, PeerSteals] = {}

    def asked(self, peer: int, strategy: StealStrategy) -> None:
        """An attempt begins."""
        self._counters["steal_attempts"] += 1
        self._counters[f"steal_attempts_{_name(strategy)}"] += 1
        self._of(peer).attempts += 1

    def succeeded(self, peer: int, strategy: StealStrategy, latency_s: float) -> None:
        """It was answered, with actions."""
        self._counters["steal_successes"] += 1
        self._counters[f"steal_successes_{_name(strategy)}"] += 1
        self._of(peer).successes += 1
        self._answered(peer, latency_s)

    def took(self, peer: int, actions: int) -> None:
        """So many of what a peer gave are here now."""
        self._counters["steal_actions"] += actions
        self._of(peer).actions += actions

    def refused(self, peer: int, refusal: StealRefusal, latency_s: float) -> None:
        """It was answered, with nothing."""
        self._counters[f"steal_refused_{refusal.name.lower()}"] += 1
        self._answered(peer, latency_s)

    def timed_out(self, peer: int) -> None:
        """It was not answered in time."""
        self._counters["steal_timeouts"] += 1
        self._of(peer).timeouts += 1

    def count(self, name: str, by: int = 1) -> None:
        """Whatever else happens to stolen leases."""
        self._counters[f"steal_{name}"] += by

    def forget(self, peer: int) -> None:
        """The peer is gone."""
        self.peers.pop(peer, None)

    def _answered(self, peer: int, latency_s: float) -> None:
        bucket = bisect.bisect_left(LATENCY_BOUNDS_US, latency_s * 1e6)
        self._counters[_BUCKETS[bucket]] += 1
        self._of(peer).latency_us[bucket] += 1

    def _of(self, peer: int) -> PeerSteals:
        return self.peers.setdefault(peer, PeerSteals())


def _name(strategy: StealStrategy) -> str:
    return strategy.value.replace("-", "_")
