"""Which queued action goes to which worker.

Actions that require the same properties share one queue, a PlatformClass, because they are
eligible on the same workers. The next action is the one of the highest priority, then of the
longest remaining path; it goes to the least loaded eligible worker.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable

from zbuild.coordinator.action_record import ActionRecord, ActionState
from zbuild.coordinator.registry import WorkerSession
from zbuild.limits import PLATFORM_CLASSES, PREFETCH_S, STALE_ENTRIES
from zbuild.model.action import ActionHeader
from zbuild.model.capabilities import Capabilities

ClassKey = tuple[str, tuple[tuple[str, str], ...], Capabilities]
"""(sandbox level, required properties, capabilities)."""

QueueEntry = tuple[int, float, int, ActionRecord, int]
"""(-priority, -weight_s, arrival, record, attempts at the time of queueing)."""

EVALUABLE_PREFIXES = ("tool:", "file:")
"""Properties whose value a worker computes when asked. Every other one is part of its Hello."""


def class_key(header: ActionHeader) -> ClassKey:
    """What a worker must have and grant for an action."""
    return header.sandbox, header.platform, header.capabilities


class PlatformClass:
    """The queue of all actions with equal requirements, and which workers meet them.

    Attributes:
        verdicts: worker's routing id -> True, False, or None while the worker has not told a value.
    """

    def __init__(self, key: ClassKey) -> None:
        self.sandbox, self.platform, self.capabilities = key
        self.queue: list[QueueEntry] = []
        self.queued = 0
        self.verdicts: dict[bytes, bool | None] = {}

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

    def unknown(self, worker: WorkerSession) -> list[str]:
        """The evaluable properties that ``worker`` has not spoken of."""
        return [name for name, _ in self.platform if not self._is_settled(worker, name)]

    def judge(self, worker: WorkerSession) -> bool | None:
        """Whether ``worker`` can run these actions; None while that depends on an unanswered question."""
        if self.unmet(worker):
            return False
        return None if self.unknown(worker) else True

    @staticmethod
    def _is_settled(worker: WorkerSession, name: str) -> bool:
        return name in worker.platform or not name.startswith(EVALUABLE_PREFIXES)


class Scheduler:
    """The queues. It holds no clock and sends nothing."""

    def __init__(self) -> None:
        self.classes: dict[ClassKey, PlatformClass] = {}
        self.queued = 0
        self._arrivals = 0

    def enqueue(self, record: ActionRecord) -> tuple[PlatformClass, bool]:
        """Queue an action; its class, and whether that is new and no worker has been judged for it."""
        count = len(self.classes)
        platform_class = self.class_of(record)
        is_new = len(self.classes) != count or not platform_class.verdicts
        self._arrivals += 1
        entry = (-record.priority, -record.weight_s, self._arrivals, record, record.attempt)
        heapq.heappush(platform_class.queue, entry)
        platform_class.queued += 1
        self.queued += 1
        return platform_class, is_new

    def class_of(self, record: ActionRecord) -> PlatformClass:
        """The class of the record's requirements, made if it is new."""
        key = class_key(record.header)
        platform_class = self.classes.get(key)
        if platform_class is None:
            if len(self.classes) >= PLATFORM_CLASSES:
                self._drop_idle_classes()
            platform_class = self.classes[key] = PlatformClass(key)
        return platform_class

    def leave_queue(self, record: ActionRecord) -> None:
        """Account for a record that was taken, finished or abandoned while QUEUED.

        Its entry stays in the heap and is skipped, because a heap cannot delete in the middle; but
        entries that are no more than that never outnumber the others by much.
        """
        platform_class = self.class_of(record)
        platform_class.queued -= 1
        self.queued -= 1
        if not platform_class.queued:
            platform_class.queue.clear()
        elif len(platform_class.queue) > 2 * platform_class.queued + STALE_ENTRIES:
            platform_class.queue = [entry for entry in platform_class.queue if _is_current(entry)]
            heapq.heapify(platform_class.queue)

    def judge_workers(self, platform_class: PlatformClass, workers: Iterable[WorkerSession]) -> None:
        platform_class.verdicts = {worker.peer: platform_class.judge(worker) for worker in workers}

    def worker_changed(self, worker: WorkerSession) -> None:
        for platform_class in self.classes.values():
            platform_class.verdicts[worker.peer] = platform_class.judge(worker)

    def worker_left(self, peer: bytes) -> None:
        for platform_class in self.classes.values():
            platform_class.verdicts.pop(peer, None)

    def next_assignment(
        self, workers: dict[bytes, WorkerSession], slots: int
    ) -> tuple[ActionRecord, WorkerSession] | None:
        """Take the best action that some worker has room for, or None.

        Workers hold actions beyond their slots only while more actions wait than the farm has
        slots: near the end of a build a queued action is better kept where any worker can get it.
        """
        can_prefetch = self.queued > slots
        best: tuple[QueueEntry, WorkerSession, PlatformClass] | None = None
        for platform_class in self.classes.values():
            if not platform_class.queued:
                continue
            entry = self._peek(platform_class)
            if best is not None and entry[:3] >= best[0][:3]:
                continue
            worker = self._least_loaded(platform_class, entry[3], workers, can_prefetch)
            if worker is not None:
                best = (entry, worker, platform_class)
        if best is None:
            return None
        entry, worker, platform_class = best
        heapq.heappop(platform_class.queue)
        return entry[3], worker

    def _peek(self, platform_class: PlatformClass) -> QueueEntry:
        queue = platform_class.queue
        while True:
            entry = queue[0]
            if _is_current(entry):
                return entry
            heapq.heappop(queue)

    def _least_loaded(
        self,
        platform_class: PlatformClass,
        record: ActionRecord,
        workers: dict[bytes, WorkerSession],
        can_prefetch: bool,
    ) -> WorkerSession | None:
        best: WorkerSession | None = None
        best_rank: tuple[bool, float] = (True, math.inf)
        for peer, is_eligible in platform_class.verdicts.items():
            if not is_eligible:
                continue
            worker = workers[peer]
            if worker.is_draining or len(worker.held) >= capacity(worker, record.expected_s, can_prefetch):
                continue
            rank = (worker.worker_id in record.lost_on, worker.load)
            if rank < best_rank:
                best, best_rank = worker, rank
        return best

    def _drop_idle_classes(self) -> None:
        for key in [key for key, platform_class in self.classes.items() if not platform_class.queued]:
            del self.classes[key]


def _is_current(entry: QueueEntry) -> bool:
    """Whether the record still waits in this place."""
    record = entry[3]
    return record.state is ActionState.QUEUED and record.attempt == entry[4] and -entry[0] == record.priority


def capacity(worker: WorkerSession, expected_s: float, can_prefetch: bool) -> int:
    """Leases that a worker may hold when the next one is expected to take ``expected_s``."""
    if not can_prefetch:
        return min(worker.slots, worker.queue_limit)
    ahead = max(1, int(worker.slots * PREFETCH_S / max(expected_s, 1e-6)))
    return min(worker.slots + ahead, worker.queue_limit)
