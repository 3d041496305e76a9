"""Actions that require the same: their queues, and which workers meet the requirements."""

from __future__ import annotations

import math
from collections.abc import Iterator

from zbuild.coordinator.action_record import ActionRecord, ActionState, Waiter
from zbuild.coordinator.reassign import ReassignStrategy
from zbuild.coordinator.registry import WorkerSession
from zbuild.coordinator.worker_changes import WorkerChanges
from zbuild.coordinator.worker_index import WorkerIndex
from zbuild.model.action import ActionHeader
from zbuild.model.capabilities import Capabilities
from zbuild.protocol.messages import EVALUABLE_PREFIXES

ClassKey = tuple[str, tuple[tuple[str, str], ...], Capabilities]
"""(sandbox level, required properties, capabilities)."""

QueueEntry = tuple[int, float, int, ActionRecord]
"""(-priority, -weight_s, arrival, record). It is current while the record is QUEUED and has that arrival."""


def class_key(header: ActionHeader) -> ClassKey:
    """What a worker must have and grant for an action."""
    return header.sandbox, header.platform, header.capabilities


class PlatformClass:
    """The queues of all actions with equal requirements, and which workers meet them.

    Attributes:
        queues: build -> its heap; a build without entries has none.
        verdicts: worker's routing id -> True, False, or None while the worker has not told a value.
        eligible, unknown: the workers with the verdicts True and None, by routing id.
        unasked: those of ``unknown`` that have become so since they were asked last.
        index: the eligible workers by what they have room for.
        doubted_s: when it was first found to fit nobody; None while that is not the case.
        asked_joined, asked_s: the Registry's ``joined``, and the instant, when those that do not fit were last asked
            again.
    """

    def __init__(self, key: ClassKey, changes: WorkerChanges[WorkerSession], strategy: ReassignStrategy) -> None:
        self.sandbox, self.platform, self.capabilities = key
        self.queues: dict[Waiter, list[QueueEntry]] = {}
        self.queued = 0
        self.verdicts: dict[bytes, bool | None] = {}
        self.eligible: dict[bytes, WorkerSession] = {}
        self.unknown: dict[bytes, WorkerSession] = {}
        self.unasked: dict[bytes, WorkerSession] = {}
        self.doubted_s: float | None = None
        self.asked_joined = 0
        self.asked_s = -math.inf
        self.index = WorkerIndex(self.eligible, changes, strategy)

    def consider(self, worker: WorkerSession) -> None:
        """Judge a worker that is new, or that has told of a property."""
        verdict = self.judge(worker)
        self.verdicts[worker.peer] = verdict
        if verdict is None:
            if worker.peer not in self.unknown:
                self.unknown[worker.peer] = self.unasked[worker.peer] = worker
        elif self.unknown.pop(worker.peer, None) is not None:
            self.unasked.pop(worker.peer, None)
        if verdict:
            self.eligible[worker.peer] = worker
            self.index.update(worker)
        elif self.eligible.pop(worker.peer, None) is not None:
            self.index.forget(worker)

    def forget_worker(self, worker: WorkerSession) -> None:
        """It has left."""
        for workers in (self.verdicts, self.eligible, self.unknown, self.unasked):
            workers.pop(worker.peer, None)
        self.index.forget(worker)

    def unmet(self, worker: WorkerSession) -> list[str]:
        """What ``worker`` is known not to have or not to grant, as ``name=value (it has other)``."""
        found = [
            f"{name}={value} (it has {worker.platform.get(name) or 'none'})"
            for name, value in self.platform
            if self._is_settled(worker, name) and worker.platform.get(name) != value
        ]
        if worker.sandbox != self.sandbox:
            found.append(f"sandbox={self.sandbox} (it has {worker.sandbox})")
        return found + self.capabilities.beyond(worker.ceiling)

    def forget_unmet(self, worker: WorkerSession, told_before_s: float) -> bool:
        """Drop the values that do not fit and are old: the tool may have been upgraded since. True if any was."""
        stale = [
            name
            for name, value in self.platform
            if name.startswith(EVALUABLE_PREFIXES)
            and worker.platform.get(name, value) != value
            and worker.told_s.get(name, told_before_s) <= told_before_s
        ]
        for name in stale:
            del worker.platform[name]
        return bool(stale)

    def untold(self, worker: WorkerSession) -> list[str]:
        """The evaluable properties that ``worker`` has not spoken of."""
        return [name for name, _ in self.platform if not self._is_settled(worker, name)]

    def judge(self, worker: WorkerSession) -> bool | None:
        """Whether ``worker`` can run these actions; None while that depends on an unanswered question."""
        if self.unmet(worker):
            return False
        return None if self.untold(worker) else True

    def entries(self) -> Iterator[QueueEntry]:
        """All entries, those that are no more than that included."""
        for queue in self.queues.values():
            yield from queue

    @staticmethod
    def _is_settled(worker: WorkerSession, name: str) -> bool:
        return name in worker.platform or not name.startswith(EVALUABLE_PREFIXES)


def is_current(entry: QueueEntry) -> bool:
    """Whether the record still waits in this place."""
    record = entry[3]
    return record.state is ActionState.QUEUED and record.arrival == entry[2]
