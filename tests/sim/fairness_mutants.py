"""Faults to plant in what the broker shares its workers by, as those of mutants.py."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.sim.mutants import Mutant
from zbuild.coordinator.action_record import ActionRecord
from zbuild.coordinator.lifecycle import Lifecycle
from zbuild.coordinator.platform_class import PlatformClass
from zbuild.coordinator.registry import ClientSession, WorkerSession
from zbuild.coordinator.scheduler import Scheduler
from zbuild.coordinator.worker_index import WorkerIndex

Rank = tuple[float, ...]


def _rank_by(patch: pytest.MonkeyPatch, rank: Callable[[Scheduler, ActionRecord], Rank]) -> None:
    """Order the next actions of all builds by another rank than the scheduler's."""
    original = Scheduler._peek

    def peek(self: Scheduler, platform_class: PlatformClass) -> tuple[Rank, ActionRecord]:
        original(self, platform_class)  # it drops the entries that count no more
        records = [queue[0][3] for queue in platform_class.queues.values()]
        return min(((rank(self, record), record) for record in records), key=lambda ranked: ranked[0])

    patch.setattr(Scheduler, "_peek", peek)


def urgency_is_not_in_the_rank(patch: pytest.MonkeyPatch) -> None:
    _rank_by(patch, lambda self, record: (self.leased[record.owner], -record.weight_s, record.arrival))


def leases_of_a_build_are_not_in_the_rank(patch: pytest.MonkeyPatch) -> None:
    """The build with the longest paths gets all workers."""
    _rank_by(patch, lambda _self, record: (-record.priority, -record.weight_s, record.arrival))


def only_the_first_lease_of_a_build_is_in_the_rank(patch: pytest.MonkeyPatch) -> None:
    _rank_by(
        patch,
        lambda self, record: (-record.priority, min(self.leased[record.owner], 1), -record.weight_s, record.arrival),
    )


def longest_path_is_not_in_the_rank(patch: pytest.MonkeyPatch) -> None:
    """Within a build actions are taken in the order in which they came."""
    original = Scheduler.enqueue

    def enqueue(self: Scheduler, record: ActionRecord) -> PlatformClass:
        weight_s, record.weight_s = record.weight_s, 0.0
        platform_class = original(self, record)
        record.weight_s = weight_s
        return platform_class

    patch.setattr(Scheduler, "enqueue", enqueue)


def classes_are_not_compared(patch: pytest.MonkeyPatch) -> None:
    """What requires other properties than the first class waits until that is empty."""
    original = Scheduler._peek

    def peek(self: Scheduler, platform_class: PlatformClass) -> tuple[Rank, ActionRecord]:
        return (), original(self, platform_class)[1]

    patch.setattr(Scheduler, "_peek", peek)


def joining_does_not_hurry(patch: pytest.MonkeyPatch) -> None:
    """An action that is in flight stays as urgent as it was, whoever asks for it, too."""
    original = Lifecycle._join

    def join(self: Lifecycle, record: ActionRecord, client: ClientSession, build: int, _priority: int) -> None:
        original(self, record, client, build, 0)

    patch.setattr(Lifecycle, "_join", join)


def losses_are_forgotten(patch: pytest.MonkeyPatch) -> None:
    """An action goes again to the worker on which it has just failed."""
    original = WorkerIndex.choose

    def choose(self: WorkerIndex, record: ActionRecord, *, can_prefetch: bool) -> WorkerSession | None:
        losses, record.losses = record.losses, []
        found = original(self, record, can_prefetch=can_prefetch)
        record.losses = losses
        return found

    patch.setattr(WorkerIndex, "choose", choose)


def nothing_is_held_ahead(patch: pytest.MonkeyPatch) -> None:
    _choose_with(patch, can_prefetch=False)


def last_actions_are_held_ahead(patch: pytest.MonkeyPatch) -> None:
    """At the end of a build actions wait behind others, where idle workers cannot get at them."""
    _choose_with(patch, can_prefetch=True)


def _choose_with(patch: pytest.MonkeyPatch, *, can_prefetch: bool) -> None:
    original = WorkerIndex.choose

    def choose(self: WorkerIndex, record: ActionRecord, **_asked: bool) -> WorkerSession | None:
        return original(self, record, can_prefetch=can_prefetch)

    patch.setattr(WorkerIndex, "choose", choose)


FAIRNESS_MUTANTS = (
    Mutant(urgency_is_not_in_the_rank, "was more urgent"),
    Mutant(leases_of_a_build_are_not_in_the_rank, "leases of its build"),
    Mutant(only_the_first_lease_of_a_build_is_in_the_rank, "leases of its build"),
    Mutant(longest_path_is_not_in_the_rank, "was longer"),
    Mutant(classes_are_not_compared, "for which w.* had room"),
    Mutant(joining_does_not_hurry, "asked for with priority"),
    Mutant(losses_are_forgotten, "on which it has failed"),
    Mutant(nothing_is_held_ahead, "waits, and w.* has room for it"),
    Mutant(last_actions_are_held_ahead, "had no room for it"),
)
