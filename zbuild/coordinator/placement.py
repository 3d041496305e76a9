"""Whether queued actions can run anywhere: asks workers what they have, and gives up what none can ever run."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice

from zbuild.coordinator.action_record import ActionRecord, ActionState
from zbuild.coordinator.farm_state import FarmState
from zbuild.coordinator.platform_class import PlatformClass
from zbuild.coordinator.registry import WorkerSession
from zbuild.errors import NoEligibleWorker
from zbuild.limits import BROKER_TICK_S, ELIGIBILITY_GRACE_S, PROPERTY_FRESH_S, PROPERTY_QUERY_REPEAT_S, WORKERS_NAMED
from zbuild.protocol.messages import QueryProperties


class Placement:
    """Watches the platform classes of which it is not yet known that a worker will do.

    What is done after each message costs the same however many workers there are: questions that were not
    answered, and doubts in what workers have told, are gone through once in BROKER_TICK_S.

    Args:
        give_up: ends a queued action with an error code and a text.
    """

    def __init__(self, farm: FarmState, give_up: Callable[[ActionRecord, int, str], None]) -> None:
        self._farm = farm
        self._give_up = give_up
        self._unplaced: dict[PlatformClass, None] = {}
        self._repeated_s = farm.started_s
        self._grace_ends_s = farm.started_s + ELIGIBILITY_GRACE_S
        self._has_lost_worker = False

    def __len__(self) -> int:
        return len(self._unplaced)

    def enqueue(self, record: ActionRecord) -> None:
        """Queue an action, and watch its class if no worker is known to do."""
        platform_class = self._farm.scheduler.enqueue(record)
        if platform_class.unknown or not platform_class.eligible:
            self._watch(platform_class)

    def worker_changed(self, worker: WorkerSession) -> None:
        """A worker has come, or has told of a property."""
        self._farm.scheduler.worker_changed(worker)
        self._watch_queued()

    def worker_left(self, worker: WorkerSession) -> None:
        self._farm.scheduler.worker_left(worker)
        self._has_lost_worker = True
        self._watch_queued()

    def settle(self, now_s: float) -> None:
        """Ask the workers what they have not told; fail the queues that all have told they cannot serve."""
        if self._has_lost_worker:
            self._has_lost_worker = False
            self._grace_ends_s = max(self._grace_ends_s, now_s + ELIGIBILITY_GRACE_S)
        is_repeating = now_s - self._repeated_s >= BROKER_TICK_S
        if is_repeating:
            self._repeated_s = now_s
        for platform_class in list(self._unplaced):
            self._place(platform_class, now_s, is_repeating=is_repeating)

    def _watch_queued(self) -> None:
        for platform_class in self._farm.scheduler.waiting:
            self._watch(platform_class)

    def _watch(self, platform_class: PlatformClass) -> None:
        if platform_class not in self._unplaced:
            self._unplaced[platform_class] = None
            platform_class.doubted_s = None

    def _place(self, platform_class: PlatformClass, now_s: float, *, is_repeating: bool) -> None:
        """Ask the workers what they have not told; fail the queue once all have told, and none will do."""
        if not platform_class.queued:
            del self._unplaced[platform_class]
            return
        asked = platform_class.unknown if is_repeating else platform_class.unasked
        for worker in list(asked.values()):
            self._ask(worker, platform_class, now_s)
        platform_class.unasked.clear()
        if platform_class.unknown:
            return
        if platform_class.eligible:
            del self._unplaced[platform_class]
        elif self._ask_again(platform_class, now_s):
            return
        elif self._farm.registry.workers and now_s >= self._grace_ends_s:
            self._fail_queue(platform_class)
            del self._unplaced[platform_class]

    def _ask_again(self, platform_class: PlatformClass, now_s: float) -> bool:
        """Before a queue is failed, every worker that does not fit must have said so lately.

        What counts is when the queue was first found to fit nobody: however slowly the workers
        answer, each is asked at most once. True while it is not known yet that all have.
        """
        has_all = platform_class.asked_joined == self._farm.registry.joined
        is_recent = now_s - platform_class.asked_s < BROKER_TICK_S
        is_settled = has_all and (is_recent or platform_class.doubted_s is not None)
        if platform_class.doubted_s is None:
            platform_class.doubted_s = now_s
        if is_settled or is_recent:
            return not is_settled
        is_asked = False
        for worker in self._farm.registry.workers.values():
            if platform_class.forget_unmet(worker, platform_class.doubted_s - PROPERTY_FRESH_S):
                self._farm.scheduler.worker_changed(worker)
                self._ask(worker, platform_class, now_s)
                is_asked = True
        platform_class.asked_joined, platform_class.asked_s = self._farm.registry.joined, now_s
        return is_asked

    def _ask(self, worker: WorkerSession, platform_class: PlatformClass, now_s: float) -> None:
        names = [
            name
            for name in platform_class.untold(worker)
            if now_s - worker.asked.get(name, -PROPERTY_QUERY_REPEAT_S) >= PROPERTY_QUERY_REPEAT_S
        ]
        if names:
            worker.asked.update(dict.fromkeys(names, now_s))
            self._farm.outbox.send(worker.peer, QueryProperties(names=tuple(names)))

    def _fail_queue(self, platform_class: PlatformClass) -> None:
        workers = self._farm.registry.workers
        reasons = [
            f"{worker.name} lacks {', '.join(platform_class.unmet(worker))}"
            for worker in islice(workers.values(), WORKERS_NAMED)
        ]
        text = f"none of {len(workers)} workers can ever run it: {'; '.join(reasons)}"
        for record in [entry[3] for entry in platform_class.entries()]:
            if record.state is ActionState.QUEUED:
                self._farm.counters["unplaceable"] += 1
                self._give_up(record, NoEligibleWorker.code, text)
