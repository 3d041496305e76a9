"""Leases that are fenced, and that workers run or are about to run all the same."""

from __future__ import annotations

from collections.abc import Iterable

from zbuild.coordinator.core import BrokerCore
from zbuild.limits import RECOVERY_S, REPORT_INTERVAL_S
from zbuild.protocol.messages import LeaseId
from zbuild.testing.network import Network
from zbuild.testing.violation import Violation
from zbuild.testing.worker_node import WorkerNode

ORPHANED_S = REPORT_INTERVAL_S + 2.0
"""A fenced lease is given up by its worker within this: the worker reports it and is told. It may have to introduce
itself first."""

REVOKED_S = 0.5
"""One that was good when the links had become calm: its revocation goes out with the decision that fences it."""


class OrphanWatch:
    """Sees that fenced leases are given up, once no fault happens any more.

    Args:
        network: what is still on its way in it, or behind that, may come late. A broker that has just restarted
            keeps what its journal says for RECOVERY_S.
    """

    def __init__(self, network: Network, now_s: float) -> None:
        links = [link for link in network.links.values() if not link.is_closed]
        late_s = [at_s for link in links for each in (link.last_arrival_s, link.held_until_s) for at_s in each.values()]
        self._begins_s = max([now_s, *late_s]) + RECOVERY_S
        self._since_s: dict[tuple[str, LeaseId], float] = {}
        self._good: set[tuple[str, LeaseId]] = set()

    def check(self, core: BrokerCore, workers: Iterable[WorkerNode], now_s: float) -> None:
        """
        Raises:
            Violation: a lease has been fenced for more than REVOKED_S, or ORPHANED_S.
        """
        if now_s < self._begins_s:
            return
        orphaned: dict[tuple[str, LeaseId], float] = {}
        for worker in workers:
            for lease in worker.begun if worker.is_alive else ():
                record = core.farm.actions.get(lease.action)
                key = (worker.name, lease)
                if record is not None and record.held_under(lease, worker.link.peer) is not None:
                    self._good.add(key)
                    continue
                orphaned[key] = self._since_s.get(key, now_s)
                if now_s - orphaned[key] > (REVOKED_S if key in self._good else ORPHANED_S):
                    raise Violation(f"{worker.name} works on it under a lease that has long been fenced", lease.action)
        self._since_s = orphaned
