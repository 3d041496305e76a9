"""The leases of the broker's former life, until their clients and workers have come back."""

from __future__ import annotations

from zbuild.coordinator.action_record import ANOTHER, ActionRecord, Holding
from zbuild.coordinator.journal import Granted, JournaledAction, JournalState, Over
from zbuild.coordinator.registry import Registry, WorkerSession
from zbuild.limits import RECOVERY_S
from zbuild.model.action import ActionId
from zbuild.protocol.messages import LeaseId, Outcome, StolenLease


class Former:
    """An action of the former life that no client has named yet.

    Attributes:
        outcomes: results that its workers have reported meanwhile, with the worker's routing id.
    """

    def __init__(self, journaled: JournaledAction) -> None:
        self.journaled = journaled
        self.outcomes: list[tuple[bytes, Outcome]] = []

    def granted(self, lease: LeaseId, worker: WorkerSession) -> Granted | None:
        """The record of ``lease``, if it is not fenced and this process holds it."""
        granted = self.journaled.leases.get(lease.attempt)
        is_held = granted is not None and granted.lease == lease and worker.is_process(granted)
        return granted if is_held else None


class Recovery:
    """Brings together the clients and the workers of one action after a restart.

    Whoever comes first waits for the other, but no longer than RECOVERY_S: a client that does not come
    back has no use for the result, and what a worker does not come back with is run anew.

    Attributes:
        former: actions that no client has named yet.
        unheld: actions that a client has named, with a lease whose worker has not come back.
        ends_s: when nobody is waited for any longer.
    """

    def __init__(self, state: JournalState, started_s: float) -> None:
        self.former = {action: Former(journaled) for action, journaled in state.actions.items()}
        self.unheld: set[ActionId] = set()
        self._holders: dict[int, set[ActionId]] = {}
        self.ends_s = started_s + RECOVERY_S

    def claim(self, record: ActionRecord, now_s: float) -> list[tuple[bytes, Outcome]]:
        """A client has named the action: its leases go to the record. Returns the results that came before."""
        former = self.former.pop(record.action, None)
        if former is None:
            return []
        record.attempt = former.journaled.attempt
        record.losses = list(former.journaled.losses)
        for attempt, granted in former.journaled.leases.items():
            holding = Holding(granted.lease, granted.worker_id, granted.incarnation, b"", now_s)
            holding.hops = granted.hops
            holding.stolen_from = ANOTHER if granted.hops else ""
            record.holdings[attempt] = holding
            self._holders.setdefault(granted.worker_id, set()).add(record.action)
        if record.holdings:
            self.unheld.add(record.action)
        return former.outcomes

    def is_kept(self, lease: LeaseId, worker: WorkerSession) -> bool:
        """Whether ``worker`` is right to hold ``lease`` of an action that no client has named yet."""
        former = self.former.get(lease.action)
        return former is not None and former.granted(lease, worker) is not None

    def moved(self, stolen: StolenLease, worker: WorkerSession) -> Granted | None:
        """``worker`` has stolen a lease of an action that no client has named yet; None: not a good one."""
        former = self.former.get(stolen.lease.action)
        granted = former.journaled.leases.get(stolen.lease.attempt) if former is not None else None
        if former is None or granted is None or granted.lease != stolen.lease or stolen.hops <= granted.hops:
            return None
        moved = Granted(stolen.lease, worker.worker_id, worker.incarnation, stolen.hops)
        former.journaled.leases[stolen.lease.attempt] = moved
        return moved

    def stash(self, outcome: Outcome, worker: WorkerSession) -> bool:
        """Keep a result for the client that has not come back yet; False when the lease is not good."""
        if not self.is_kept(outcome.lease, worker):
            return False
        outcomes = self.former[outcome.lease.action].outcomes
        if all(outcome.lease != kept.lease for _, kept in outcomes):
            outcomes.append((worker.peer, outcome))
        return True

    def awaiting(self, worker_id: int) -> set[ActionId]:
        """The actions of ``unheld`` with a lease of this worker, which has come. They are told of once."""
        return self._holders.pop(worker_id, set()) & self.unheld

    def bring_back(self, record: ActionRecord, registry: Registry, now_s: float) -> list[Holding]:
        """Give the leases to those holders that are back. Returns those whose holders are not coming.

        A holder that is back reports next whether it has the lease still.
        """
        lost: list[Holding] = []
        is_waiting = False
        for holding in record.holdings.values():
            worker = registry.session_of(holding.worker_id)
            if holding.peer:
                continue
            if worker is not None and worker.is_process(holding):
                holding.peer = worker.peer
                worker.hold(record.action)
            elif worker is not None or now_s >= self.ends_s:
                lost.append(holding)
            else:
                is_waiting = True
        if not is_waiting:
            self.unheld.discard(record.action)
        return lost

    def forget(self, now_s: float) -> list[Over]:
        """Once nobody is waited for any longer: the actions that no client has named."""
        if now_s < self.ends_s:
            return []
        overs = [Over(action) for action in self.former]
        self.former.clear()
        self._holders.clear()
        return overs
