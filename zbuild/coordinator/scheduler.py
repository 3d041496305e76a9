"""Which queued action goes to which worker.

Actions that require the same properties form a PlatformClass, because they are eligible on the same
workers; within it each build has a queue of its own. The next action is the one of the highest
priority, then of the build that holds the fewest leases, then of the longest remaining path: builds of
equal priority share the farm equally, however large they are. A ReassignStrategy names its worker.
"""

from __future__ import annotations

import heapq
from collections import Counter

from zbuild.coordinator.action_record import ActionRecord, ActionState, Waiter
from zbuild.coordinator.platform_class import ClassKey, PlatformClass, class_key, is_current
from zbuild.coordinator.reassign import ReassignStrategy
from zbuild.coordinator.registry import Registry, WorkerSession
from zbuild.limits import CLASS_WORKERS, PLATFORM_CLASSES, STALE_ENTRIES


class Scheduler:
    """The queues. It holds no clock and sends nothing.

    Attributes:
        classes: every one has judged every worker.
        waiting: those of them with queued actions; nothing that is done for each action looks at another.
        leased: build -> leases of the actions that it owns.
    """

    def __init__(self, registry: Registry, strategy: ReassignStrategy) -> None:
        self.classes: dict[ClassKey, PlatformClass] = {}
        self.waiting: dict[PlatformClass, None] = {}
        self.queued = 0
        self.leased: Counter[Waiter] = Counter()
        self._registry = registry
        self._strategy = strategy
        self._arrivals = 0
        self._turns = 0

    def enqueue(self, record: ActionRecord) -> PlatformClass:
        """Queue an action in its class."""
        platform_class = self.class_of(record)
        self._arrivals += 1
        record.arrival = self._arrivals
        entry = (-record.priority, -record.weight_s, self._arrivals, record)
        heapq.heappush(platform_class.queues.setdefault(record.owner, []), entry)
        platform_class.queued += 1
        self.waiting[platform_class] = None
        self.queued += 1
        return platform_class

    def class_of(self, record: ActionRecord) -> PlatformClass:
        """The class of the record's requirements, made if it is new."""
        key = class_key(record.header)
        platform_class = self.classes.get(key)
        if platform_class is None:
            count = len(self.classes) + 1
            if count > PLATFORM_CLASSES or count * len(self._registry.workers) > CLASS_WORKERS:
                self._drop_idle_classes()
            platform_class = self.classes[key] = PlatformClass(key, self._registry.changes, self._strategy)
            for worker in self._registry.workers.values():
                platform_class.consider(worker)
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
            del self.waiting[platform_class]
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

    def worker_changed(self, worker: WorkerSession) -> None:
        for platform_class in self.classes.values():
            platform_class.consider(worker)

    def worker_left(self, worker: WorkerSession) -> None:
        for platform_class in self.classes.values():
            platform_class.forget_worker(worker)

    def next_assignment(self) -> tuple[ActionRecord, WorkerSession] | None:
        """Take the best action that some worker has room for, or None.

        Workers hold actions beyond their slots only while more actions wait than the farm has
        slots: near the end of a build a queued action is better kept where any worker can get it.
        """
        can_prefetch = self.queued > self._registry.slots
        best: tuple[tuple[float, ...], ActionRecord, WorkerSession, PlatformClass] | None = None
        for platform_class in self.waiting:
            if not platform_class.queued:
                continue
            rank, record = self._peek(platform_class)
            if best is not None and rank >= best[0]:
                continue
            worker = platform_class.index.choose(record, can_prefetch=can_prefetch)
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

    def worker_for_copy(self, record: ActionRecord) -> WorkerSession | None:
        """An idle worker in good health that does not hold the action already."""
        return self.class_of(record).index.choose_for_copy(record)

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

    def _drop_idle_classes(self) -> None:
        for key in [key for key, platform_class in self.classes.items() if not platform_class.queued]:
            del self.classes[key]
