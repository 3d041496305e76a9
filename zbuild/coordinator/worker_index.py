"""The workers of one platform class by what they have room for, so that none is looked at in vain.

A worker is in exactly one of these places, or in none when it is not eligible, not open, or full:

- a free shelf: it is trusted and has a free slot;
- an ahead shelf: it is trusted and may only prefetch;
- among the spares: it is in quarantine and idle.

There are shelves of their own for each degree of health, because strategies and copies part them, and the ahead
shelves for each number of slots: among workers of equal slots those with fewer leases are the last to be full,
so the first one stands for its shelf. An assignment costs as much as there are shelves, a few, and the
logarithm of the workers. Changes are taken in when the class is asked the next time.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from zbuild.coordinator.action_record import ActionRecord
from zbuild.coordinator.health import HealthState
from zbuild.coordinator.reassign import FREE_ORDERS, STRATEGIES, Rank, ReassignStrategy
from zbuild.coordinator.registry import WorkerSession
from zbuild.coordinator.worker_changes import WorkerChanges
from zbuild.coordinator.worker_shelf import HeapShelf, RingShelf, Shelf
from zbuild.limits import UNKNOWN_DURATION_S

_FREE = 0
"""In a ShelfKey, the number of slots of every worker that has a free one."""

ShelfKey = tuple[int, int]
"""(_FREE, or the slots of workers that may only prefetch; degree of health)."""

_DEGREES = {HealthState.HEALTHY: 0, HealthState.DEGRADED: 1, HealthState.FAILING: 2, HealthState.RECOVERING: 2}
_SOUND = 1
"""The last degree of health that a copy is given to."""

_NOBODY: frozenset[int] = frozenset()


class WorkerIndex:
    """
    Args:
        eligible: the workers of the class by routing id; its owner calls ``update`` and ``forget`` with each change.
        changes: which workers have changed otherwise.

    Attributes:
        looks: how often a worker was looked at, be it to place it or to choose it: the measure of its work.
    """

    def __init__(
        self,
        eligible: Mapping[bytes, WorkerSession],
        changes: WorkerChanges[WorkerSession],
        strategy: ReassignStrategy,
    ) -> None:
        self.looks = 0
        self._eligible = eligible
        self._changes = changes
        self._position = changes.end
        self._strategy = STRATEGIES[strategy]
        self._free_order = FREE_ORDERS[strategy]
        self._versions: dict[WorkerSession, int] = {}
        self._shelves: dict[ShelfKey, Shelf] = {}
        self._places: dict[WorkerSession, Shelf] = {}
        self._trusted: set[WorkerSession] = set()
        self._spares: dict[WorkerSession, None] = {}

    def choose(self, record: ActionRecord, *, can_prefetch: bool) -> WorkerSession | None:
        """The worker for an action, or None when all that are trusted are full.

        One on which the action has failed comes after all others. A quarantined worker gets nothing, except one
        action at a time where there is no other that could do it: a farm whose only worker has failed thrice is
        still better than none.
        """
        self._catch_up()
        shelves = [(key, shelf) for key, shelf in self._shelves.items() if can_prefetch or key[0] == _FREE]
        best: WorkerSession | None = None
        if record.losses:
            best = self._best(record, shelves, {loss.worker_id for loss in record.losses})
        if best is None:
            best = self._best(record, shelves, _NOBODY)
        if best is not None or self._trusted:
            return best
        untried = (worker for worker in self._spares if not record.has_failed_on(worker.worker_id))
        return next(untried, next(iter(self._spares), None))

    def choose_for_copy(self, record: ActionRecord) -> WorkerSession | None:
        """A worker in good health with a free slot that neither holds the action nor has failed with it."""
        self._catch_up()
        shelves = [(key, shelf) for key, shelf in self._shelves.items() if key[0] == _FREE and key[1] <= _SOUND]
        avoided = {loss.worker_id for loss in record.losses}
        return self._best(record, shelves, avoided.union(holding.worker_id for holding in record.holdings.values()))

    def update(self, worker: WorkerSession) -> None:
        """Put an eligible worker where it belongs."""
        self.looks += 1
        if self._versions.get(worker) == worker.version:
            return
        self.forget(worker)
        self._versions[worker] = worker.version
        if not worker.is_open:
            return
        if worker.health.state is HealthState.FAILED:
            if not worker.held:
                self._spares[worker] = None
            return
        self._trusted.add(worker)
        key = _shelf_key(worker)
        if key is not None:
            shelf = self._shelves.get(key)
            if shelf is None:
                shelf = self._shelves[key] = self._new_shelf(key)
            shelf.add(worker)
            self._places[worker] = shelf

    def forget(self, worker: WorkerSession) -> None:
        """The worker has left, or is not eligible any more."""
        self._versions.pop(worker, None)
        self._trusted.discard(worker)
        self._spares.pop(worker, None)
        shelf = self._places.pop(worker, None)
        if shelf is not None:
            shelf.remove(worker)

    def pending(self) -> Collection[WorkerSession]:
        """Those of whom a change is not taken in yet, and perhaps others."""
        behind = self._changes.end - self._position
        changed = self._changes.since(self._position) if behind <= len(self._eligible) else None
        return self._eligible.values() if changed is None else changed

    def place_of(self, worker: WorkerSession) -> str:
        """Where it is: ``free``, ``ahead``, ``spare``, ``full``; "" when nothing is given to it."""
        if worker in self._spares:
            return "spare"
        if worker not in self._trusted:
            return ""
        shelf = self._places.get(worker)
        key = next((key for key, each in self._shelves.items() if each is shelf and worker in each), None)
        if key is None:
            return "full"
        return "free" if key[0] == _FREE else "ahead"

    def _catch_up(self) -> None:
        """Take in what has changed. More changes than there are workers: all are looked at instead, which is less."""
        if self._position != self._changes.end:
            changed = self.pending()
            self._position = self._changes.end
            for worker in changed:
                if self._eligible.get(worker.peer) is worker:
                    self.update(worker)

    def _best(
        self, record: ActionRecord, shelves: Iterable[tuple[ShelfKey, Shelf]], avoided: Collection[int]
    ) -> WorkerSession | None:
        best: WorkerSession | None = None
        best_rank: tuple[Rank, int] | None = None
        for (slots, _), shelf in shelves:
            worker = shelf.first(record, avoided) if len(shelf) else None
            if worker is None:
                continue
            self.looks += 1
            if slots != _FREE and len(worker.held) >= capacity(worker, record.expected_s, can_prefetch=True):
                continue
            rank = (self._strategy(record, worker), worker.number)
            if best_rank is None or rank < best_rank:
                best, best_rank = worker, rank
        return best

    def _new_shelf(self, key: ShelfKey) -> Shelf:
        if key[0] != _FREE:
            return HeapShelf(lambda worker: worker.load)
        return RingShelf() if self._free_order is None else HeapShelf(self._free_order)


def _shelf_key(worker: WorkerSession) -> ShelfKey | None:
    held = len(worker.held)
    degree = _DEGREES[worker.health.state]
    if held < capacity(worker, 0.0, can_prefetch=False):
        return _FREE, degree
    is_full = held >= worker.queue_limit or worker.health.state is HealthState.RECOVERING
    return None if is_full else (worker.slots, degree)


def capacity(worker: WorkerSession, expected_s: float, *, can_prefetch: bool) -> int:
    """Leases that a worker may hold when the next one is expected to take ``expected_s``; 0.0 stands for unknown.

    One whose breaker has just closed again holds one, until that has a result.
    """
    if worker.health.state is HealthState.RECOVERING:
        return 1
    if not can_prefetch:
        return min(worker.slots, worker.queue_limit)
    ahead = max(1.0, worker.slots * worker.prefetch_s / (expected_s or UNKNOWN_DURATION_S))
    return int(min(worker.slots + ahead, worker.queue_limit))
