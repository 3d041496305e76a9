"""What all parts of the coordinator share: who is there, what is in flight, what is about to be sent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Protocol

from zbuild.coordinator.action_record import ActionRecord
from zbuild.coordinator.delivery import Outbox
from zbuild.coordinator.health import HealthRecords
from zbuild.coordinator.journal import Granted, JournalRecord, JournalState, Standing
from zbuild.coordinator.reassign import ReassignStrategy
from zbuild.coordinator.recovery import Recovery
from zbuild.coordinator.registry import Registry
from zbuild.coordinator.scheduler import Scheduler
from zbuild.digest import Digest
from zbuild.model.action import ActionId, ActionResult


class ResultCache(Protocol):
    """Where results are published."""

    def get(self, action: ActionId) -> ActionResult | None:
        """A published result whose every blob is in the store."""

    def put(self, action: ActionId, result: ActionResult) -> None:
        """Publish a result; raises StoreFailed when the cache cannot be written."""

    def absent(self, digests: list[Digest]) -> list[Digest]:
        """Those of ``digests`` that the store does not have."""

    def entries(self) -> int:
        """Published results."""

    def free_bytes(self) -> int:
        """Free space of the disk that the store is on."""


class FarmState:
    """The mutable state of one broker.

    Attributes:
        epoch: names this life of the broker.
        actions: everything that somebody waits for, by id.
        counters: every event that is worth counting, by name.
        journal: what is to be written down before anything of it is told to anyone.
        now_s: the instant of the event that is being dealt with.
        counted_by: the counters of the broker's other parts, by the prefix that ``zbuild status`` gives them.
    """

    def __init__(
        self, epoch: int, results: ResultCache, former: JournalState, strategy: ReassignStrategy, started_s: float
    ) -> None:
        self.epoch = epoch
        self.results = results
        self.started_s = started_s
        self.now_s = started_s
        self.journal: list[JournalRecord] = []
        self.recovery = Recovery(former, started_s)
        self.health = HealthRecords()
        self.registry = Registry()
        self.scheduler = Scheduler(self.registry, strategy)
        self.actions: dict[ActionId, ActionRecord] = {}
        self.outbox = Outbox()
        self.counters: Counter[str] = Counter()
        self.counted_by: dict[str, Mapping[str, int]] = {}

    def journal_state(self) -> JournalState:
        """What a replay of everything that was journalled must come to."""
        state = JournalState()
        for action, former in self.recovery.former.items():
            state.actions[action] = former.journaled
        for action, record in self.actions.items():
            if record.attempt:
                leases = tuple(
                    Granted(holding.lease, holding.worker_id, holding.incarnation, holding.hops)
                    for holding in record.holdings.values()
                )
                state.apply(Standing(action, record.attempt, leases, tuple(record.losses)))
        return state
