"""Whether queued actions can run anywhere: asks workers what they have, and gives up what none can ever run."""

from __future__ import annotations

from collections.abc import Callable

from zbuild.coordinator.action_record import ActionRecord, ActionState
from zbuild.coordinator.farm_state import FarmState
from zbuild.coordinator.registry import WorkerSession
from zbuild.coordinator.scheduler import PlatformClass
from zbuild.errors import NoEligibleWorker
from zbuild.limits import ELIGIBILITY_GRACE_S, PROPERTY_FRESH_S, PROPERTY_QUERY_REPEAT_S, WORKERS_NAMED
from zbuild.protocol.messages import QueryProperties


class Placement:
    """Watches the platform classes of which it is not yet known that a worker will do.

    ``_unplaced`` has for each the instant at which it was first found to fit no worker, or None.

    Args:
        give_up: ends a queued action with an error code and a text.
    """

    def __init__(self, farm: FarmState, give_up: Callable[[ActionRecord, int, str], None]) -> None:
        self._farm = farm
        self._give_up = give_up
        self._unplaced: dict[PlatformClass, float | None] = {}
        self._grace_ends_s = farm.started_s + ELIGIBILITY_GRACE_S
        self._has_lost_worker = False

    def __len__(self) -> int:
        return len(self._unplaced)

    def enqueue(self, record: ActionRecord) -> None:
        """Queue an action, and watch its class if no worker is known to do."""
        platform_class, is_new = self._farm.scheduler.enqueue(record)
        if is_new:
            self._farm.scheduler.judge_workers(platform_class, self._farm.registry.workers.values())
        verdicts = platform_class.verdicts.values()
        if True not in verdicts or None in verdicts:
            self._unplaced.setdefault(platform_class, None)

    def worker_changed(self, worker: WorkerSession) -> None:
        """A worker has come, or has told of a property."""
        self._farm.scheduler.worker_changed(worker)
        self._watch_queued()

    def worker_left(self, worker: WorkerSession) -> None:
        self._farm.scheduler.worker_left(worker.peer)
        self._has_lost_worker = True
        self._watch_queued()

    def settle(self, now_s: float) -> None:
        """Ask the workers what they have not told; fail the queues that all have told they cannot serve."""
        if self._has_lost_worker:
            self._has_lost_worker = False
            self._grace_ends_s = max(self._grace_ends_s, now_s + ELIGIBILITY_GRACE_S)
        for platform_class in list(self._unplaced):
            self._place(platform_class, now_s)

    def _watch_queued(self) -> None:
        for platform_class in self._farm.scheduler.classes.values():
            if platform_class.queued:
                self._unplaced.setdefault(platform_class, None)

    def _place(self, platform_class: PlatformClass, now_s: float) -> None:
        """Ask the workers what they have not told; fail the queue once all have told, and none will do."""
        if not platform_class.queued:
            del self._unplaced[platform_class]
            return
        for peer, verdict in platform_class.verdicts.items():
            if verdict is None:
                self._ask(self._farm.registry.workers[peer], platform_class, now_s)
        verdicts = platform_class.verdicts.values()
        if None in verdicts:
            return
        if True in verdicts:
            del self._unplaced[platform_class]
        elif self._ask_again(platform_class, now_s):
            return
        elif self._farm.registry.workers and now_s >= self._grace_ends_s:
            self._fail_queue(platform_class)
            del self._unplaced[platform_class]

    def _ask_again(self, platform_class: PlatformClass, now_s: float) -> bool:
        """Before a queue is failed, every worker that does not fit must have said so lately.

        What counts is when the queue was first found to fit nobody: however slowly the workers
        answer, each is asked at most once.
        """
        doubted_s = self._unplaced[platform_class]
        if doubted_s is None:
            doubted_s = self._unplaced[platform_class] = now_s
        is_asked = False
        for worker in self._farm.registry.workers.values():
            if platform_class.forget_unmet(worker, doubted_s - PROPERTY_FRESH_S):
                self._farm.scheduler.worker_changed(worker)
                self._ask(worker, platform_class, now_s)
                is_asked = True
        return is_asked

    def _ask(self, worker: WorkerSession, platform_class: PlatformClass, now_s: float) -> None:
        names = [
            name
            for name in platform_class.unknown(worker)
            if now_s - worker.asked.get(name, -PROPERTY_QUERY_REPEAT_S) >= PROPERTY_QUERY_REPEAT_S
        ]
        if names:
            worker.asked.update(dict.fromkeys(names, now_s))
            self._farm.outbox.send(worker.peer, QueryProperties(names=tuple(names)))

    def _fail_queue(self, platform_class: PlatformClass) -> None:
        workers = list(self._farm.registry.workers.values())
        reasons = [
            f"{worker.name} lacks {', '.join(platform_class.unmet(worker))}" for worker in workers[:WORKERS_NAMED]
        ]
        text = f"none of {len(workers)} workers can ever run it: {'; '.join(reasons)}"
        for record in [entry[3] for entry in platform_class.entries()]:
            if record.state is ActionState.QUEUED:
                self._farm.counters["unplaceable"] += 1
                self._give_up(record, NoEligibleWorker.code, text)
