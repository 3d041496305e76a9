"""Workers of one kind, in the order in which a strategy takes them."""

from __future__ import annotations

import heapq
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterator
from typing import Protocol

from zbuild.coordinator.action_record import ActionRecord
from zbuild.coordinator.reassign import POINT_BITS, point_of_action, point_of_worker
from zbuild.coordinator.registry import WorkerSession
from zbuild.limits import STALE_WORKER_ENTRIES


class Shelf(Protocol):
    """A worker is added as it is; one that changes is removed and added again."""

    def __len__(self) -> int: ...

    def __contains__(self, worker: WorkerSession) -> bool: ...

    def add(self, worker: WorkerSession) -> None: ...

    def remove(self, worker: WorkerSession) -> None: ...

    def first(self, record: ActionRecord, avoided: Collection[int]) -> WorkerSession | None:
        """The best one whose worker id is not in ``avoided``."""


class HeapShelf:
    """Ordered by a number that does not depend on the action. All steps take logarithmic time, amortised.

    A heap cannot delete in the middle, so an entry counts only while ``_serials`` has its serial. The others
    outnumber those by no more than STALE_WORKER_ENTRIES.

    Args:
        order: the lower the better; among equals the worker that came first.
    """

    def __init__(self, order: Callable[[WorkerSession], float]) -> None:
        self._order = order
        self._heap: list[tuple[float, int, int, WorkerSession]] = []
        self._serials: dict[WorkerSession, int] = {}
        self._last_serial = 0

    def __len__(self) -> int:
        return len(self._serials)

    def __contains__(self, worker: WorkerSession) -> bool:
        return worker in self._serials

    @property
    def entries(self) -> int:
        """All, those that do not count included."""
        return len(self._heap)

    def add(self, worker: WorkerSession) -> None:
        self._last_serial += 1
        self._serials[worker] = self._last_serial
        heapq.heappush(self._heap, (self._order(worker), worker.number, self._last_serial, worker))

    def remove(self, worker: WorkerSession) -> None:
        del self._serials[worker]
        if len(self._heap) > 2 * len(self._serials) + STALE_WORKER_ENTRIES:
            self._heap = [entry for entry in self._heap if self._serials.get(entry[3]) == entry[2]]
            heapq.heapify(self._heap)

    def first(self, _record: ActionRecord, avoided: Collection[int]) -> WorkerSession | None:
        passed: list[tuple[float, int, int, WorkerSession]] = []
        found: WorkerSession | None = None
        while self._heap:
            entry = self._heap[0]
            worker = entry[3]
            if self._serials.get(worker) != entry[2]:
                heapq.heappop(self._heap)
            elif worker.worker_id in avoided:
                passed.append(heapq.heappop(self._heap))
            else:
                found = worker
                break
        for entry in passed:
            heapq.heappush(self._heap, entry)
        return found


class RingShelf:
    """Ordered by the distance from the action: sorted points, which are searched bit by bit.

    Points that share their leading bits are neighbours in the list, so the nearest by XOR is found by as many
    bisections as the points of the whole list differ in bits: about the logarithm of their number.
    """

    def __init__(self) -> None:
        self._keys: list[tuple[int, int]] = []
        self._workers: list[WorkerSession] = []

    def __len__(self) -> int:
        return len(self._keys)

    def __contains__(self, worker: WorkerSession) -> bool:
        place = bisect_left(self._keys, _key(worker))
        return place < len(self._workers) and self._workers[place] is worker

    def add(self, worker: WorkerSession) -> None:
        key = _key(worker)
        place = bisect_left(self._keys, key)
        self._keys.insert(place, key)
        self._workers.insert(place, worker)

    def remove(self, worker: WorkerSession) -> None:
        place = bisect_left(self._keys, _key(worker))
        del self._keys[place]
        del self._workers[place]

    def first(self, record: ActionRecord, avoided: Collection[int]) -> WorkerSession | None:
        places = self._nearest(point_of_action(record), 0, len(self._keys), POINT_BITS - 1)
        return next((self._workers[place] for place in places if self._workers[place].worker_id not in avoided), None)

    def _nearest(self, point: int, low: int, high: int, bit: int) -> Iterator[int]:
        """The places from ``low`` to ``high``, whose points have the bits above ``bit`` in common, nearest first."""
        if high - low <= 1 or bit < 0:
            yield from range(low, high)
            return
        upper = ((self._keys[low][0] >> bit) | 1) << bit
        middle = bisect_left(self._keys, (upper, 0), low, high)
        halves = [(low, middle), (middle, high)]
        for start, end in reversed(halves) if point >> bit & 1 else halves:
            yield from self._nearest(point, start, end, bit - 1)


def _key(worker: WorkerSession) -> tuple[int, int]:
    return point_of_worker(worker), worker.number
