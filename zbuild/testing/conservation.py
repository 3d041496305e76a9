"""That stealing neither loses nor doubles a lease."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from zbuild.coordinator.core import BrokerCore
from zbuild.protocol.messages import LeaseId
from zbuild.testing.violation import Violation
from zbuild.worker.lease import LeaseState

_WORKED_ON = frozenset({LeaseState.QUEUED, LeaseState.RUNNING, LeaseState.COLLECTING, LeaseState.ENDED})
"""A lease that is GIVEN is on its way or at its thief; one that is STOPPING is fenced."""


class Conservation:
    """The lists of all workers beside each other, by lease and so by epoch.

    It holds while no message is lost and nobody ends: otherwise a victim takes back what its thief has, too, or a
    lease goes down with its worker, and the broker finds that out later.
    """

    def __init__(self) -> None:
        self._lists: dict[str, set[LeaseId]] = {}
        self._workers: defaultdict[LeaseId, set[str]] = defaultdict(set)

    def check(self, name: str, peer: bytes, states: Mapping[LeaseId, LeaseState], core: BrokerCore) -> None:
        """A worker has taken a step.

        Args:
            peer: its routing id.
            states: its leases, all but those that it is rid of.

        Raises:
            Violation: it has dropped a lease that the broker counts on, or works on what another worker works on.
        """
        for lease in self._lists.get(name, set()) - states.keys():
            record = core.farm.actions.get(lease.action)
            if record is not None and record.held_under(lease, peer) is not None:
                raise Violation(f"{name} has dropped its lease, and the broker counts on it", lease.action)
            self._workers[lease].discard(name)
        for lease, state in states.items():
            at = self._workers[lease]
            if state in _WORKED_ON:
                at.add(name)
                if len(at) > 1:
                    raise Violation(f"worked on by {' and by '.join(sorted(at))} under one lease", lease.action)
            else:
                at.discard(name)
        self._lists[name] = set(states)
