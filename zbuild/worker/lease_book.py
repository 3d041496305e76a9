"""All leases of one worker: what waits in which order, what runs, what is away at a thief."""

from __future__ import annotations

import bisect
from collections import deque

from zbuild.protocol.messages import Grant, LeaseId
from zbuild.worker.effects import Discard, Prepare, Start, WorkerEffect
from zbuild.worker.lease import LEASE_TABLE, HeldLease, LeaseEvent, LeaseState

_Place = tuple[int, float, int, LeaseId]
"""(-priority, -weight_s, arrival, lease): the order of running."""


class LeaseBook:
    """Applies LEASE_TABLE, and keeps the queue and the slots in step with it.

    Args:
        slots: commands at once.
        limit: leases held at most.

    Attributes:
        held: every lease that is not GONE.
        given: those of them that are GIVEN.
        running: slots that are taken.
        is_closed: nothing is started any more; what waits is to be given back.
    """

    def __init__(self, slots: int, limit: int) -> None:
        self.slots = slots
        self.limit = limit
        self.held: dict[LeaseId, HeldLease] = {}
        self.given: dict[LeaseId, HeldLease] = {}
        self.running = 0
        self.is_closed = False
        self._queue: list[_Place] = []
        self._ahead: deque[LeaseId] = deque()
        self._arrivals = 0
        self._expected_s = 0.0
        self._unknown = 0

    @property
    def free_slots(self) -> int:
        return self.slots - self.running

    @property
    def room(self) -> int:
        """Leases that can still be taken."""
        return max(0, self.limit - len(self.held))

    @property
    def queued(self) -> int:
        """Leases that wait for a slot, the prepared ones included."""
        return len(self._queue) + len(self._ahead)

    @property
    def load_factor(self) -> float:
        """0.0 to 1.0, by the seed's weights: the queue's share of its room, and the slots in use."""
        queue_share = min(1.0, self.queued / max(1, self.limit - self.slots))
        return 0.7 * queue_share + 0.3 * self.running / self.slots

    def backlog_s(self, usual_s: float) -> float:
        """How long the queue lasts if nobody takes from it. ``usual_s`` stands for durations that are not known."""
        return max(0.0, self._expected_s + self._unknown * usual_s) / self.slots

    def unprepared(self, count: int) -> list[HeldLease]:
        """The first ``count`` leases of the queue for which nothing has been done yet."""
        return [self.held[place[3]] for place in self._queue[:count]]

    def prepared(self) -> list[HeldLease]:
        """Those whose inputs are staged already; the last one has the longest to wait."""
        return [self.held[lease] for lease in self._ahead]

    def add(self, grant: Grant) -> HeldLease:
        """Take a lease that is not held, QUEUED."""
        held = self.held[grant.lease] = HeldLease(grant)
        self._enqueue(held)
        return held

    def has_action_of(self, lease: LeaseId) -> bool:
        """Whether this or another lease of the same action is held."""
        return lease in self.held or any(other.action == lease.action for other in self.held)

    def start_next(self) -> list[WorkerEffect]:
        """Fill the slots, first with what is prepared; then prepare as many more as there are slots."""
        effects: list[WorkerEffect] = []
        if self.is_closed:
            return effects
        while self.running < self.slots and (self._ahead or self._queue):
            held = self.held[self._ahead.popleft() if self._ahead else self._queue.pop(0)[3]]
            self._count_waiting(held, -1)
            self.apply(held, LeaseEvent.START)
            held.has_slot = True
            held.is_prepared = False
            self.running += 1
            effects.append(Start(held.grant, held.peer_blobs))
        while len(self._ahead) < self.slots and self._queue:
            held = self.held[self._queue.pop(0)[3]]
            held.is_prepared = True
            self._ahead.append(held.grant.lease)
            effects.append(Prepare(held.grant, held.peer_blobs))
        return effects

    def free_slot(self, held: HeldLease) -> None:
        """The command of a lease has ended."""
        if held.has_slot:
            held.has_slot = False
            self.running -= 1

    def leave_queue(self, held: HeldLease) -> list[WorkerEffect]:
        """A QUEUED lease waits no longer, for whatever reason."""
        self._count_waiting(held, -1)
        if not held.is_prepared:
            del self._queue[bisect.bisect_left(self._queue, held.place)]
            return []
        held.is_prepared = False
        self._ahead.remove(held.grant.lease)
        return [Discard(held.grant.lease)]

    def give(self, held: HeldLease) -> list[WorkerEffect]:
        """A QUEUED lease goes to a thief."""
        effects = self.leave_queue(held)
        self.apply(held, LeaseEvent.GIVE)
        self.given[held.grant.lease] = held
        return effects

    def retake(self, held: HeldLease) -> None:
        """A GIVEN lease is not at its thief, or may not be: it waits here again."""
        self.apply(held, LeaseEvent.RETAKE)
        self._enqueue(held)

    def apply(self, held: HeldLease, event: LeaseEvent) -> None:
        """Take one step of LEASE_TABLE; what is GONE is not held."""
        if held.state is LeaseState.GIVEN:
            del self.given[held.grant.lease]
        held.state = LEASE_TABLE.after(held.state, event)
        if held.state is LeaseState.GONE:
            del self.held[held.grant.lease]

    def _enqueue(self, held: HeldLease) -> None:
        self._arrivals += 1
        held.place = (-held.grant.priority, -held.grant.weight_s, self._arrivals, held.grant.lease)
        bisect.insort(self._queue, held.place)
        self._count_waiting(held, 1)

    def _count_waiting(self, held: HeldLease, by: int) -> None:
        """Keep the backlog in step with the queue: a thief is not to wait until it is added up."""
        if held.grant.expected_s:
            self._expected_s += by * held.grant.expected_s
        else:
            self._unknown += by
