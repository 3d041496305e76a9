"""How far each worker is trusted: a circuit breaker for every worker id, which outlives the worker's sessions."""

from __future__ import annotations

import enum
from collections.abc import Callable

from zbuild.fsm import TransitionTable
from zbuild.limits import (
    FAILURE_THRESHOLD,
    HEALTH_RECORDS,
    QUARANTINE_FORGOTTEN_S,
    QUARANTINE_MAX_S,
    QUARANTINE_MIN_S,
    STRAINED_CPU,
    STRAINED_MEMORY,
)


class HealthState(enum.Enum):
    """The seed's HealthState. FAILED is quarantine: nothing is granted until the back-off is over."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    FAILING = "failing"
    FAILED = "failed"
    RECOVERING = "recovering"


class HealthEvent(enum.Enum):
    """What the broker sees of a worker's health."""

    STRAIN = "strain"
    RELIEF = "relief"
    FAILURE = "failure"
    BREAK = "break"
    RETRY = "retry"
    SUCCESS = "success"


HEALTH_TABLE: TransitionTable[HealthState, HealthEvent] = TransitionTable(
    "health",
    {
        (HealthState.HEALTHY, HealthEvent.STRAIN): HealthState.DEGRADED,
        (HealthState.DEGRADED, HealthEvent.RELIEF): HealthState.HEALTHY,
        (HealthState.HEALTHY, HealthEvent.FAILURE): HealthState.FAILING,
        (HealthState.DEGRADED, HealthEvent.FAILURE): HealthState.FAILING,
        (HealthState.FAILING, HealthEvent.FAILURE): HealthState.FAILING,
        (HealthState.FAILING, HealthEvent.SUCCESS): HealthState.HEALTHY,
        (HealthState.FAILING, HealthEvent.BREAK): HealthState.FAILED,
        (HealthState.FAILED, HealthEvent.RETRY): HealthState.RECOVERING,
        (HealthState.RECOVERING, HealthEvent.SUCCESS): HealthState.HEALTHY,
        (HealthState.RECOVERING, HealthEvent.BREAK): HealthState.FAILED,
    },
)


class WorkerHealth:
    """The breaker of one worker.

    Attributes:
        failures: in a row.
        breaks: times that the breaker opened, each of which doubles the back-off.
        retry_s: when a FAILED worker may try again.
        on_change: called after each change of ``state``.
    """

    def __init__(self) -> None:
        self.state = HealthState.HEALTHY
        self.failures = 0
        self.breaks = 0
        self.retry_s = 0.0
        self.on_change: Callable[[], None] | None = None

    def failed(self, now_s: float) -> bool:
        """An attempt was lost to the worker itself. True when this opened the breaker."""
        if self.state is HealthState.FAILED:
            return False
        self.failures += 1
        if self.state is not HealthState.RECOVERING:
            self._apply(HealthEvent.FAILURE)
            if self.failures < FAILURE_THRESHOLD:
                return False
        self._apply(HealthEvent.BREAK)
        if now_s - self.retry_s > QUARANTINE_FORGOTTEN_S:
            self.breaks = 0
        self.retry_s = now_s + min(QUARANTINE_MIN_S * 2**self.breaks, QUARANTINE_MAX_S)
        self.breaks += 1
        return True

    def succeeded(self) -> None:
        """An attempt ended with a result, whatever its exit code."""
        self.failures = 0
        if self.state in (HealthState.FAILING, HealthState.RECOVERING):
            self._apply(HealthEvent.SUCCESS)

    def loaded(self, cpu_usage: float, memory_usage: float) -> None:
        """What a heartbeat says of the machine, each from 0.0 to 1.0."""
        self.strained(is_strained=cpu_usage > STRAINED_CPU or memory_usage > STRAINED_MEMORY)

    def strained(self, *, is_strained: bool) -> None:
        """The worker has too much to do, or answers late."""
        if is_strained and self.state is HealthState.HEALTHY:
            self._apply(HealthEvent.STRAIN)
        elif not is_strained and self.state is HealthState.DEGRADED:
            self._apply(HealthEvent.RELIEF)

    def tick(self, now_s: float) -> None:
        """Let a worker whose back-off is over try one action."""
        if self.state is HealthState.FAILED and now_s >= self.retry_s:
            self._apply(HealthEvent.RETRY)

    def _apply(self, event: HealthEvent) -> None:
        before, self.state = self.state, HEALTH_TABLE.after(self.state, event)
        if self.state is not before and self.on_change is not None:
            self.on_change()


class HealthRecords:
    """The breakers of all workers that are here or have failed, by worker id."""

    def __init__(self) -> None:
        self._records: dict[int, WorkerHealth] = {}

    def of(self, worker_id: int) -> WorkerHealth:
        """The worker's breaker; beyond HEALTH_RECORDS the one that was made first is forgotten."""
        health = self._records.get(worker_id)
        if health is None:
            if len(self._records) >= HEALTH_RECORDS:
                del self._records[next(iter(self._records))]
            health = self._records[worker_id] = WorkerHealth()
        return health

    def tick(self, now_s: float) -> None:
        for health in self._records.values():
            health.tick(now_s)
