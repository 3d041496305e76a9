"""What a worker counts of its steals."""

from __future__ import annotations

from collections import Counter

import pytest

from zbuild.protocol.steal_messages import StealRefusal
from zbuild.worker.steal_strategy import StealStrategy
from zbuild.worker.steal_telemetry import LATENCY_BOUNDS_US, StealTelemetry

PEER = 7


@pytest.mark.parametrize(
    ("latency_us", "bucket"),
    [
        (0, "steal_us_to_100"),
        (100, "steal_us_to_100"),
        (101, "steal_us_to_500"),
        (999, "steal_us_to_1000"),
        (5_000, "steal_us_to_5000"),
        (9_999, "steal_us_to_10000"),
        (50_000, "steal_us_to_50000"),
        (100_000, "steal_us_to_100000"),
        (300_000, "steal_us_to_500000"),
        (1_000_000, "steal_us_to_1000000"),
        (1_000_001, "steal_us_above"),
    ],
)
def test_the_histogram_has_the_seed_s_bounds(latency_us: int, bucket: str) -> None:
    counters: Counter[str] = Counter()
    StealTelemetry(counters).refused(PEER, StealRefusal.EMPTY, latency_us / 1e6)
    assert counters == {bucket: 1, "steal_refused_empty": 1}


def test_every_bound_has_a_bucket_and_so_has_what_is_above() -> None:
    telemetry = StealTelemetry(Counter())
    for bound in (*LATENCY_BOUNDS_US, 10 * LATENCY_BOUNDS_US[-1]):
        telemetry.succeeded(PEER, StealStrategy.RANDOM, bound / 1e6)
    assert telemetry.peers[PEER].latency_us == [1] * (len(LATENCY_BOUNDS_US) + 1)


def test_attempts_end_in_successes_refusals_or_timeouts_per_strategy_and_per_peer() -> None:
    counters: Counter[str] = Counter()
    telemetry = StealTelemetry(counters)
    for _ in range(3):
        telemetry.asked(PEER, StealStrategy.LEAST_LOADED)
    telemetry.succeeded(PEER, StealStrategy.LEAST_LOADED, 0.0002)
    telemetry.took(PEER, 4)
    telemetry.refused(PEER, StealRefusal.NOT_ELIGIBLE, 0.0002)
    telemetry.timed_out(PEER)
    assert counters == {
        "steal_attempts": 3,
        "steal_attempts_least_loaded": 3,
        "steal_successes": 1,
        "steal_successes_least_loaded": 1,
        "steal_actions": 4,
        "steal_refused_not_eligible": 1,
        "steal_timeouts": 1,
        "steal_us_to_500": 2,
    }
    peer = telemetry.peers[PEER]
    assert (peer.attempts, peer.successes, peer.timeouts, peer.actions) == (3, 1, 1, 4)


def test_a_peer_that_is_gone_is_forgotten() -> None:
    telemetry = StealTelemetry(Counter())
    telemetry.timed_out(PEER)
    telemetry.forget(PEER)
    telemetry.forget(PEER)
    assert not telemetry.peers
