"""Which running actions may get a second copy on an idle worker. The first result wins; the other is cancelled."""

from __future__ import annotations

from zbuild.coordinator.action_record import ActionRecord
from zbuild.coordinator.registry import Registry
from zbuild.limits import STRAGGLER_FACTOR, STRAGGLER_MARGIN_S


def needs_copy(record: ActionRecord, registry: Registry, now_s: float) -> bool:
    """Whether its one lease takes far longer than the action took before, or the link to its holder is down.

    An action without a recorded duration gets none: nobody can tell whether it is late.
    """
    if len(record.holdings) != 1:
        return False
    holding = next(iter(record.holdings.values()))
    worker = registry.workers.get(holding.peer)
    if worker is not None and worker.away_since_s is not None:
        return True
    late_s = max(STRAGGLER_FACTOR * record.expected_s, record.expected_s + STRAGGLER_MARGIN_S)
    return worker is not None and record.expected_s > 0.0 and now_s - holding.since_s > late_s
