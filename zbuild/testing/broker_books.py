"""That the broker's tables agree with each other: every fact is kept twice for speed, and must be the same twice."""

from __future__ import annotations

from collections import Counter

from zbuild.coordinator.action_record import ActionState, Waiter
from zbuild.coordinator.farm_state import FarmState
from zbuild.coordinator.health import HealthState
from zbuild.coordinator.platform_class import PlatformClass, class_key, is_current
from zbuild.coordinator.registry import WorkerSession
from zbuild.coordinator.worker_index import capacity
from zbuild.limits import STALE_ENTRIES
from zbuild.model.action import ActionId
from zbuild.testing.violation import Violation


def check_books(farm: FarmState) -> None:
    """
    Raises:
        Violation: two tables disagree.
    """
    _check_leases(farm)
    _check_queues(farm)
    _check_waiters(farm)
    for platform_class in farm.scheduler.classes.values():
        _check_workers(farm, platform_class)
    slots = sum(worker.slots for worker in farm.registry.workers.values())
    if farm.registry.slots != slots:
        raise Violation(f"the broker counts {farm.registry.slots} slots, its workers have {slots}")


def _check_leases(farm: FarmState) -> None:
    held: set[tuple[ActionId, bytes]] = set()
    for peer, worker in farm.registry.workers.items():
        if len(worker.held) > worker.queue_limit and _granted(farm, worker) > worker.queue_limit:
            raise Violation(f"worker {worker.name} was granted {_granted(farm, worker)} leases, more than its limit")
        held.update((action, peer) for action in worker.held)
        if worker.asked.keys() & worker.platform.keys():
            raise Violation(f"worker {worker.name} is still being asked for what it has told")
    leased: Counter[Waiter] = Counter()
    for action, record in farm.actions.items():
        if (record.state is ActionState.LEASED) != bool(record.holdings):
            raise Violation(f"in state {record.state} with {len(record.holdings)} leases", action)
        leased[record.owner] += len(record.holdings)
        for attempt, holding in record.holdings.items():
            if holding.lease.attempt != attempt or attempt > record.attempt:
                raise Violation(f"lease {holding.lease} on the list as attempt {attempt} of {record.attempt}", action)
            if holding.peer and (action, holding.peer) not in held:
                raise Violation("leased to a worker that does not have it on its list", action)
            if not holding.peer and action not in farm.recovery.unheld:
                raise Violation("leased to nobody, and nobody is waited for", action)
            held.discard((action, holding.peer))
        peers = [holding.peer for holding in record.holdings.values() if holding.peer]
        if len(peers) > 2 or len(set(peers)) != len(peers):
            raise Violation(f"leased to {peers}: one lease and one copy at two workers are all there can be", action)
    for action, _ in held:
        raise Violation("on a worker's list without being leased to it", action)
    if leased != farm.scheduler.leased:
        raise Violation("the scheduler's counts of leases of each build are wrong")


def _granted(farm: FarmState, worker: WorkerSession) -> int:
    """Leases that this life of the broker has granted it: not those it has stolen, or was found with."""
    holdings = (farm.actions[action].holding_of(worker.peer) for action in worker.held)
    return sum(each is not None and each.hops == 0 and each.lease.epoch == farm.epoch for each in holdings)


def _check_queues(farm: FarmState) -> None:
    queued: Counter[int] = Counter()
    for record in farm.actions.values():
        if record.state is ActionState.QUEUED:
            queued[id(farm.scheduler.classes.get(class_key(record.header)))] += 1
    if farm.scheduler.queued != queued.total():
        raise Violation(f"the scheduler counts {farm.scheduler.queued} queued actions, there are {queued.total()}")
    for platform_class in farm.scheduler.classes.values():
        if platform_class.queued != queued[id(platform_class)]:
            text = f"a class counts {platform_class.queued} queued actions, there are {queued[id(platform_class)]}"
            raise Violation(text)
        _check_entries(farm, platform_class)
        if bool(platform_class.queued) != (platform_class in farm.scheduler.waiting):
            raise Violation(f"a class with {platform_class.queued} queued actions is on the wrong list")


def _check_entries(farm: FarmState, platform_class: PlatformClass) -> None:
    entries = list(platform_class.entries())
    if len(entries) > 2 * platform_class.queued + STALE_ENTRIES:
        raise Violation(f"heaps of {len(entries)} entries for {platform_class.queued} queued actions")
    live: Counter[ActionId] = Counter()
    for entry in entries:
        record = entry[3]
        if is_current(entry):
            if farm.actions.get(record.action) is not record or entry[0] != -record.priority:
                raise Violation("an entry of another record or priority counts", record.action)
            live[record.action] += 1
    if len(live) != platform_class.queued or live.total() != platform_class.queued:
        raise Violation(f"{live.total()} live entries of {len(live)} actions for {platform_class.queued} queued ones")


def _check_workers(farm: FarmState, platform_class: PlatformClass) -> None:
    """Every worker is found where an action for it would look, unless its change has not been taken in yet."""
    verdicts, index = platform_class.verdicts, platform_class.index
    if verdicts.keys() != farm.registry.workers.keys():
        raise Violation("a class has not judged every worker")
    for verdict, workers in ((True, platform_class.eligible), (None, platform_class.unknown)):
        if workers != {peer: farm.registry.workers[peer] for peer in verdicts if verdicts[peer] is verdict}:
            raise Violation(f"the workers that a class lists for the verdict {verdict} are not those that have it")
    if not platform_class.unasked.keys() <= platform_class.unknown.keys():
        raise Violation("a class is about to ask a worker that has told everything")
    pending = set(index.pending())
    for peer, worker in farm.registry.workers.items():
        place = _place(worker) if verdicts[peer] else ""
        if worker not in pending and index.place_of(worker) != place:
            text = f"worker {worker.name} is {place or 'not to be given anything'}"
            raise Violation(f"{text}, and the index has it as {index.place_of(worker) or 'absent'}")


def _place(worker: WorkerSession) -> str:
    if not worker.is_open:
        return ""
    if worker.health.state is HealthState.FAILED:
        return "" if worker.held else "spare"
    if len(worker.held) < capacity(worker, 0.0, can_prefetch=False):
        return "free"
    return "ahead" if len(worker.held) < capacity(worker, 1e-9, can_prefetch=True) else "full"


def _check_waiters(farm: FarmState) -> None:
    awaited = {
        (action, peer, build)
        for peer, client in farm.registry.clients.items()
        for build, actions in client.builds.items()
        for action in actions
    }
    waiting = {(action, peer, build) for action, record in farm.actions.items() for peer, build in record.waiters}
    for action, _, _ in awaited ^ waiting:
        raise Violation("the clients' lists and the records' waiters differ", action)
    for action, record in farm.actions.items():
        if not record.waiters:
            raise Violation("nobody waits for it, and it is not given up", action)
