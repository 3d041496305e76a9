"""Which queued action goes to which worker.

Actions that require the same properties form a PlatformClass, because they are eligible on the same
workers; within it each build has a queue of its own. The next action is the one of the highest
priority, then of the build that holds the fewest leases, then of the longest remaining path: builds of
equal priority share the farm equally, however large they are. A ReassignStrategy names its worker.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator

from zbuild.coordinator.action_record import ActionRecord, ActionState, Waiter
from zbuild.coordinator.health import HealthState
from zbuild.coordinator.reassign import STRATEGIES, Rank, ReassignStrategy
from zbuild.coordinator.registry import WorkerSession
from zbuild.limits import PLATFORM_CLASSES, PREFETCH_S, STALE_ENTRIES, UNKNOWN_DURATION_S
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
    """

    def __init__(self, key: ClassKey) -> None:
        self.sandbox, self.platform, self.capabilities = key
        self.queues: dict[Waiter, list[QueueEntry]] = {}
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

    def entries(self) -> Iterator[QueueEntry]:
        """All entries, those that are no more than that included."""
        for queue in self.queues.values():
            yield from queue

    @staticmethod
    def _is_settled(worker: WorkerSession, name: str) -> bool:
        return name in worker.platform or not name.startswith(EVALUABLE_PREFIXES)


class Scheduler:
    """The queues. It holds no clock and sends nothing.

    Attributes:
        leased: build -> leases of the actions that it owns.
    """

    def __init__(self, strategy: ReassignStrategy) -> None:
        self.classes: dict[ClassKey, PlatformClass] = {}
        self.queued = 0
        self.leased: Counter[Waiter] = Counter()
        self._strategy = STRATEGIES[strategy]
        self._arrivals = 0
        self._turns = 0

    def enqueue(self, record: ActionRecord) -> tuple[PlatformClass, bool]:
        """Queue an action; its class, and whether that is new and no worker has been judged for it."""
        count = len(self.classes)
        platform_class = self.class_of(record)
        is_new = len(self.classes) != count or not platform_class.verdicts
        self._arrivals += 1
        record.arrival = self._arrivals
        entry = (-record.priority, -record.weight_s, self._arrivals, record)
        heapq.heappush(platform_class.queues.setdefault(record.owner, []), entry)
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
            platform_class.queues.clear()
        elif sum(map(len, platform_class.queues.values())) > 2 * platform_class.queued + STALE_ENTRIES:
            for owner, queue in list(platform_class.queues.items()):
                queue[:] = [entry for entry in queue if is_current(entry)]
                heapq.heapify(queue)
                if not queue:
                    del platform_class.queues[owner]

    def granted(self, record: ActionRecord, worker: WorkerSession) -> None:
        """Count a lease of the record's build, and the worker's turn."""
        self.leased[record.owner] += 1
        self._turns += 1
        worker.last_turn = self._turns

    def returned(self, record: ActionRecord) -> None:
        """One lease fewer for the record's build."""
        self.leased[record.owner] -= 1
        if not self.leased[record.owner]:
            del self.leased[record.owner]

    def pass_on(self, record: ActionRecord, owner: Waiter) -> None:
        """The build that asked first has left; the action is now another's."""
        is_queued = record.state is ActionState.QUEUED
        if is_queued:
            self.leave_queue(record)
        for _ in record.holdings:
            self.returned(record)
        record.owner = owner
        if record.holdings:
            self.leased[owner] += len(record.holdings)
        if is_queued:
            self.enqueue(record)

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
        best: tuple[tuple[float, ...], ActionRecord, WorkerSession, PlatformClass] | None = None
        for platform_class in self.classes.values():
            if not platform_class.queued:
                continue
            rank, record = self._peek(platform_class)
            if best is not None and rank >= best[0]:
                continue
            worker = self._choose(platform_class, record, workers, can_prefetch=can_prefetch)
            if worker is not None:
                best = (rank, record, worker, platform_class)
        if best is None:
            return None
        _, record, worker, platform_class = best
        queue = platform_class.queues[record.owner]
        heapq.heappop(queue)
        if not queue:
            del platform_class.queues[record.owner]
        return record, worker

    def worker_for_copy(self, record: ActionRecord, workers: dict[bytes, WorkerSession]) -> WorkerSession | None:
        """An idle worker in good health that does not hold the action already."""
        holders = {holding.peer for holding in record.holdings.values()}
        idle = {
            peer: worker
            for peer, worker in workers.items()
            if peer not in holders
            and len(worker.held) < worker.slots
            and worker.health.state in (HealthState.HEALTHY, HealthState.DEGRADED)
            and not record.has_failed_on(worker.worker_id)
        }
        platform_class = self.class_of(record)
        self.judge_workers(platform_class, workers.values())
        return self._choose(platform_class, record, idle, can_prefetch=False) if idle else None

    def _peek(self, platform_class: PlatformClass) -> tuple[tuple[float, ...], ActionRecord]:
        """The entry that is next, with its rank."""
        best: tuple[tuple[float, ...], ActionRecord] | None = None
        for owner, queue in list(platform_class.queues.items()):
            while queue and not is_current(queue[0]):
                heapq.heappop(queue)
            if not queue:
                del platform_class.queues[owner]
                continue
            entry = queue[0]
            rank = (entry[0], self.leased[owner], entry[1], entry[2])
            if best is None or rank < best[0]:
                best = (rank, entry[3])
        assert best is not None  # the class counts a queued action
        return best

    def _choose(
        self,
        platform_class: PlatformClass,
        record: ActionRecord,
        workers: dict[bytes, WorkerSession],
        *,
        can_prefetch: bool,
    ) -> WorkerSession | None:
        """The worker for an action, or None when all that are trusted are full.

        A quarantined worker gets nothing, except one action at a time where there is no other that could do it:
        a farm whose only worker has failed thrice is still better than none.
        """
        best: WorkerSession | None = None
        best_rank: tuple[bool, Rank] | None = None
        quarantined: list[WorkerSession] = []
        is_any_trusted = False
        for peer, is_eligible in platform_class.verdicts.items():
            worker = workers.get(peer)
            if not is_eligible or worker is None or not worker.is_open:
                continue
            if worker.health.state is HealthState.FAILED:
                quarantined.append(worker)
                continue
            is_any_trusted = True
            if len(worker.held) >= capacity(worker, record.expected_s, can_prefetch):
                continue
            rank = (record.has_failed_on(worker.worker_id), self._strategy(record, worker))
            if best_rank is None or rank < best_rank:
                best, best_rank = worker, rank
        if is_any_trusted:
            return best
        return next((worker for worker in quarantined if not worker.held), None)

    def _drop_idle_classes(self) -> None:
        for key in [key for key, platform_class in self.classes.items() if not platform_class.queued]:
            del self.classes[key]


def is_current(entry: QueueEntry) -> bool:
    """Whether the record still waits in this place."""
    record = entry[3]
    return record.state is ActionState.QUEUED and record.arrival == entry[2]


def capacity(worker: WorkerSession, expected_s: float, can_prefetch: bool) -> int:
    """Leases that a worker may hold when the next one is expected to take ``expected_s``; 0.0 stands for unknown.

    One whose breaker has just closed again holds one, until that has a result.
    """
    if worker.health.state is HealthState.RECOVERING:
        return 1
    if not can_prefetch:
        return min(worker.slots, worker.queue_limit)
    ahead = max(1, int(worker.slots * PREFETCH_S / (expected_s or UNKNOWN_DURATION_S)))
    return min(worker.slots + ahead, worker.queue_limit)
