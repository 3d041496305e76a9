"""What all parts of the coordinator share: who is there, what is in flight, what is about to be sent."""

from __future__ import annotations

from collections import Counter
from typing import Protocol

from zbuild.coordinator.action_record import ActionRecord
from zbuild.coordinator.delivery import Outbox
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
    """

    def __init__(self, epoch: int, results: ResultCache, started_s: float) -> None:
        self.epoch = epoch
        self.results = results
        self.started_s = started_s
        self.registry = Registry()
        self.scheduler = Scheduler()
        self.actions: dict[ActionId, ActionRecord] = {}
        self.outbox = Outbox()
        self.counters: Counter[str] = Counter()
