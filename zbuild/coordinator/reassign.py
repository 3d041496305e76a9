"""Which of the workers that could take an action gets it: the seed's ReassignStrategy, as pure functions.

A strategy ranks a worker for an action; the lowest rank wins. Before any strategy, a worker on which
the action has failed already comes after all others. So that not every worker need be ranked, those with a
free slot are kept in an order that agrees with the strategy for every action, and those that may only
prefetch in the order of their load.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from zlib import crc32

from zbuild.coordinator.action_record import ActionRecord
from zbuild.coordinator.health import HealthState
from zbuild.coordinator.registry import WorkerSession
from zbuild.model.action import Priority

Rank = tuple[float, ...]
Strategy = Callable[[ActionRecord, WorkerSession], Rank]
FreeOrder = Callable[[WorkerSession], float]

POINT_BITS = 32
"""Actions and workers are points of so many bits for ``affinity``."""


class ReassignStrategy(enum.Enum):
    """The names that the broker's configuration takes."""

    ROUND_ROBIN = "round-robin"
    LEAST_LOADED = "least-loaded"
    AFFINITY = "affinity"
    PRIORITY = "priority"


def round_robin(_record: ActionRecord, worker: WorkerSession) -> Rank:
    """Among workers with a free slot the one whose last turn is the longest ago."""
    return (worker.load >= 1.0, worker.last_turn if worker.load < 1.0 else worker.load)


def least_loaded(_record: ActionRecord, worker: WorkerSession) -> Rank:
    """The worker with the fewest leases per slot."""
    return (worker.load,)


def affinity(record: ActionRecord, worker: WorkerSession) -> Rank:
    """Among workers with a free slot the same one each time, because it has the inputs of the last time.

    The nearest by XOR, the metric of Kademlia (Maymounkov and Mazieres 2002): when a worker leaves, only its own
    actions move, and a sorted list finds the nearest in logarithmic time.
    """
    if worker.load >= 1.0:
        return (True, worker.load)
    return (False, point_of_action(record) ^ point_of_worker(worker))


def by_priority(record: ActionRecord, worker: WorkerSession) -> Rank:
    """What is urgent goes to a worker in good health before a strained one; the rest to the least loaded."""
    is_unwell = worker.health.state is not HealthState.HEALTHY
    if record.priority >= Priority.HIGH:
        return (is_unwell, worker.load)
    return (worker.load, is_unwell)


def point_of_action(record: ActionRecord) -> int:
    """Its id is a hash already."""
    return int.from_bytes(record.action[: POINT_BITS // 8], "big")


def point_of_worker(worker: WorkerSession) -> int:
    """Spreads worker ids that follow one another."""
    return crc32(worker.worker_id.to_bytes(8, "big"))


STRATEGIES: dict[ReassignStrategy, Strategy] = {
    ReassignStrategy.ROUND_ROBIN: round_robin,
    ReassignStrategy.LEAST_LOADED: least_loaded,
    ReassignStrategy.AFFINITY: affinity,
    ReassignStrategy.PRIORITY: by_priority,
}

FREE_ORDERS: dict[ReassignStrategy, FreeOrder | None] = {
    ReassignStrategy.ROUND_ROBIN: lambda worker: worker.last_turn,
    ReassignStrategy.LEAST_LOADED: lambda worker: worker.load,
    ReassignStrategy.AFFINITY: None,
    ReassignStrategy.PRIORITY: lambda worker: worker.load,
}
"""The order of workers of equal health that have a free slot; None: by their distance from the action."""
