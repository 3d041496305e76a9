"""Which of the workers that could take an action gets it: the seed's ReassignStrategy, as pure functions.

A strategy ranks a worker for an action; the lowest rank wins. Before any strategy, a worker on which
the action has failed already comes after all others.
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


class ReassignStrategy(enum.Enum):
    """The names that the broker's configuration takes."""

    ROUND_ROBIN = "round-robin"
    LEAST_LOADED = "least-loaded"
    AFFINITY = "affinity"
    PRIORITY = "priority"


def round_robin(_record: ActionRecord, worker: WorkerSession) -> Rank:
    """The worker whose last turn is the longest ago."""
    return (worker.last_turn,)


def least_loaded(_record: ActionRecord, worker: WorkerSession) -> Rank:
    """The worker with the fewest leases per slot."""
    return (worker.load,)


def affinity(record: ActionRecord, worker: WorkerSession) -> Rank:
    """Among workers with a free slot the same one each time, because it has the inputs of the last time.

    Rendezvous hashing (Thaler and Ravishankar 1998): when a worker leaves, only its own actions move.
    """
    return (worker.load >= 1.0, crc32(record.action, worker.worker_id & 0xFFFF_FFFF))


def by_priority(record: ActionRecord, worker: WorkerSession) -> Rank:
    """What is urgent goes to a worker in good health before a strained one; the rest to the least loaded."""
    is_unwell = worker.health.state is not HealthState.HEALTHY
    if record.priority >= Priority.HIGH:
        return (is_unwell, worker.load)
    return (worker.load, is_unwell)


STRATEGIES: dict[ReassignStrategy, Strategy] = {
    ReassignStrategy.ROUND_ROBIN: round_robin,
    ReassignStrategy.LEAST_LOADED: least_loaded,
    ReassignStrategy.AFFINITY: affinity,
    ReassignStrategy.PRIORITY: by_priority,
}
