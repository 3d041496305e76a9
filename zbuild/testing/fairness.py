"""That the broker shares the farm as it promises: the urgent first, then the build with the fewest leases."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from zbuild.coordinator.action_record import ActionRecord, ActionState, Waiter
from zbuild.coordinator.core import BrokerCore
from zbuild.coordinator.farm_state import FarmState
from zbuild.coordinator.health import HealthState
from zbuild.coordinator.journal import Granted
from zbuild.coordinator.registry import WorkerSession
from zbuild.coordinator.worker_index import capacity
from zbuild.model.action import ActionId
from zbuild.protocol.messages import LeaseId, Submit, ToBroker
from zbuild.testing.violation import Violation
from zbuild.testing.workload import ModelledAction

Kind = frozenset[tuple[str, str]]
"""The properties that an action requires, with their values. Actions of one kind can run on the same workers."""

Order = tuple[int, float, int]
"""(-priority, -weight_s, arrival): the lower, the sooner within a build, whose leases are the same for all of it."""

SHORTEST_S = 1e-9
"""Of such actions a worker is given as many as it takes at all."""


class Fairness:
    """Judges every grant of a queued action by the farm as it was at that instant.

    The broker's own ranks, queues, counts of leases and lists of workers are not asked. What is asked is the records
    with their waiters and leases, what each worker has told, the rule of how many leases a worker may hold, and how
    many actions are queued, a number that broker_books.py checks. The farm is taken as a dispatch leaves it, and grant
    by grant back to how the dispatch found it; the order of the grants is that of the journal, which must have them
    all.

    What holds exactly, of every grant:

    - the worker has told that it has what the action requires, and had room for it;
    - no queued action of a higher priority had a place, that is a worker with room that could run it;
    - none of equal priority, of a build with fewer leases, had one; nor, in a build with as many, a longer one, or one
      as long that has waited longer.

    And after every dispatch no queued action has a place.

    What may look like an exception, and is in the rule:

    - Losses keep nothing waiting: a worker on which the action has failed is given it all the same where no other has
      room.
    - Of actions of one kind only the next one has a place or not. Which leases a worker may hold beyond its slots
      depends on how long the action will take, and one that is too long waits for a slot with all that is behind it.
    - Beyond slots nothing is given unless more actions wait than the farm has slots, those included that nobody can
      run; a worker on probation holds one lease; one in quarantine has room while it holds nothing and no other is
      there.
    - Leases that were stolen, recovered from a former life, or are copies count for their builds and their holders like
      any other, and are no grants of the queue: thieves and the dead have their own rules, and a copy is made by a
      message that finds nothing queued, before another one of the same turn may bring something.
    - Within a turn of the broker all messages are taken in before anything is granted, so what came last in the turn
      counts as much as what came first.

    After how many grants an action is the next one cannot be said: what is more urgent may come for ever, and so may
    builds with as few leases and longer paths. The bound on starvation is one of builds, and follows from the above:
    whoever is given a place that a build of the same priority could have used has at most one lease more than that
    build afterwards. So a build without a lease is passed over only by builds that had none, either.
    """

    def __init__(self, workload: Mapping[ActionId, ModelledAction]) -> None:
        self._names = {action: modelled.name for action, modelled in workload.items()}
        kinds = {kind: kind for kind in (frozenset(modelled.platform.items()) for modelled in workload.values())}
        self._kinds = {action: kinds[frozenset(modelled.platform.items())] for action, modelled in workload.items()}
        self._peer = b""
        self._submit: Submit | None = None
        self._told: dict[bytes, dict[str, str]] = {}
        self._queued = 0
        self._journalled = 0

    def before(self, peer: bytes, message: ToBroker) -> None:
        """The broker is about to take a message."""
        self._peer = peer
        self._submit = message if isinstance(message, Submit) else None

    def after(self, core: BrokerCore) -> None:
        """It has: an action is as urgent as the most urgent build that waits for it."""
        if self._submit is None:
            return
        priority, waiter = self._submit.priority, (self._peer, self._submit.build)
        for submission in self._submit.actions:
            record = core.farm.actions.get(submission.action)
            if record is not None and waiter in record.waiters and record.priority < priority:
                raise Violation(f"asked for with priority {priority}, and has {record.priority}", record.action)

    def dispatching(self, core: BrokerCore) -> None:
        """The broker is about to grant. What workers have told is noted, because it may doubt that afterwards."""
        farm = core.farm
        self._journalled = len(farm.journal)
        self._queued = farm.scheduler.queued
        if self._queued:
            self._told = {peer: dict(worker.platform) for peer, worker in farm.registry.workers.items()}

    def dispatched(self, core: BrokerCore, leases: Iterable[LeaseId]) -> None:
        """It has granted, and the journal has not been taken yet.

        Args:
            leases: all that workers are told of, copies included.
        """
        farm = core.farm
        granted = {record.lease for record in farm.journal if isinstance(record, Granted)}
        for lease in leases:
            if lease not in granted:
                raise Violation("granted, and the journal does not have it", lease.action)
        if not self._queued:
            return
        grants = [record for record in farm.journal[self._journalled :] if isinstance(record, Granted)]
        if not grants and not _has_any_room(farm, self._queued):
            return
        moment = _Moment(farm, self._kinds, self._told, self._queued - len(grants))
        for record, worker in moment.places():
            raise Violation(f"waits, and {worker.name} has room for it", record.action)
        for grant in reversed(grants):
            self._judge(moment, farm.actions[grant.lease.action], farm.registry.session_of(grant.worker_id))

    def _judge(self, moment: _Moment, record: ActionRecord, worker: WorkerSession | None) -> None:
        assert worker is not None  # nobody leaves while the broker grants
        moment.take_back(record, worker)
        if not moment.is_able(worker, record):
            raise Violation(f"granted to {worker.name}, which has not told that it can run it", record.action)
        if not moment.has_room(worker, record):
            raise Violation(f"granted to {worker.name}, which had no room for it", record.action)
        if record.has_failed_on(worker.worker_id):
            for other_worker in moment.workers_with_room(record):
                if not record.has_failed_on(other_worker.worker_id):
                    text = f"granted to {worker.name}, on which it has failed, while {other_worker.name} had room"
                    raise Violation(text, record.action)
        rank = moment.rank(record)
        for other, elsewhere in moment.places():
            if moment.rank(other) >= rank:
                continue
            reason = "was longer or had waited longer"
            if other.priority > record.priority:
                reason = "was more urgent"
            elif moment.leased[other.owner] < moment.leased[record.owner]:
                reason = f"had {moment.leased[other.owner]} leases of its build, not {moment.leased[record.owner]}"
            text = f"granted while {self._names[other.action]}, for which {elsewhere.name} had room, {reason}"
            raise Violation(text, record.action)


def _has_any_room(farm: FarmState, queued: int) -> bool:
    """Whether some worker could be given an action, if that were as short as an action can be."""
    can_prefetch = queued > sum(worker.slots for worker in farm.registry.workers.values())
    return any(
        len(worker.held) < capacity(worker, SHORTEST_S, can_prefetch=can_prefetch)
        for worker in farm.registry.workers.values()
        if worker.is_open
    )


class _Moment:
    """The farm between two grants.

    Attributes:
        leased: build -> leases of the actions that it owns.
    """

    def __init__(
        self, farm: FarmState, kinds: Mapping[ActionId, Kind], told: Mapping[bytes, Mapping[str, str]], queued: int
    ) -> None:
        self.leased: Counter[Waiter] = Counter()
        self._farm = farm
        self._kinds = kinds
        self._told = told
        self._queued = queued
        self._slots = sum(worker.slots for worker in farm.registry.workers.values())
        self._next: dict[Kind, dict[Waiter, tuple[Order, ActionRecord]]] = {}
        self._held = {peer: len(worker.held) for peer, worker in farm.registry.workers.items()}
        self._able: dict[Kind, list[WorkerSession]] = {}
        for record in farm.actions.values():
            if record.owner not in record.waiters:
                raise Violation("counts as the action of a build that does not wait for it", record.action)
            if record.state is ActionState.QUEUED:
                self._wait(record)
            else:
                self.leased[record.owner] += len(record.holdings)

    def take_back(self, record: ActionRecord, worker: WorkerSession) -> None:
        """Undo the grant that was the last one."""
        self.leased[record.owner] -= 1
        self._held[worker.peer] -= 1
        self._queued += 1
        self._wait(record)

    def rank(self, record: ActionRecord) -> tuple[int, int, float, int]:
        """The lower, the sooner."""
        return -record.priority, self.leased[record.owner], -record.weight_s, record.arrival

    def places(self) -> Iterator[tuple[ActionRecord, WorkerSession]]:
        """The next action of each kind that has a place, and a worker that has room for it."""
        for builds in self._next.values():
            record = min((record for _, record in builds.values()), key=self.rank)
            worker = next(self.workers_with_room(record), None)
            if worker is not None:
                yield record, worker

    def workers_with_room(self, record: ActionRecord) -> Iterator[WorkerSession]:
        """Those that could be given it."""
        return (worker for worker in self._able_for(record) if self.has_room(worker, record))

    def is_able(self, worker: WorkerSession, record: ActionRecord) -> bool:
        """Whether ``worker`` takes leases at the moment, and has told that it has what the action requires."""
        return worker in self._able_for(record)

    def has_room(self, worker: WorkerSession, record: ActionRecord) -> bool:
        """Whether ``worker``, which is able to run it, may hold one more lease."""
        held = self._held[worker.peer]
        if worker.health.state is HealthState.FAILED:
            return not held and all(each.health.state is HealthState.FAILED for each in self._able_for(record))
        return held < capacity(worker, record.expected_s, can_prefetch=self._queued > self._slots)

    def _wait(self, record: ActionRecord) -> None:
        """Only one action for each kind and build can be the next."""
        order = (-record.priority, -record.weight_s, record.arrival)
        builds = self._next.setdefault(self._kinds[record.action], {})
        first = builds.get(record.owner)
        if first is None or order < first[0]:
            builds[record.owner] = (order, record)

    def _able_for(self, record: ActionRecord) -> list[WorkerSession]:
        kind = self._kinds[record.action]
        able = self._able.get(kind)
        if able is None:
            able = self._able[kind] = [
                worker
                for peer, worker in self._farm.registry.workers.items()
                if worker.is_open and kind <= self._told[peer].items()
            ]
        return able
