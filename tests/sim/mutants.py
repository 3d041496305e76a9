"""Faults to plant in the cores, one line each, and the invariant that each one breaks: tests of the simulator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from zbuild.client.farm import FarmCore
from zbuild.coordinator import platform_class, verdict
from zbuild.coordinator.action_record import ActionEvent, ActionRecord, ActionState, Holding
from zbuild.coordinator.delivery import Outbox
from zbuild.coordinator.health import HEALTH_TABLE, WorkerHealth
from zbuild.coordinator.journal import Loss
from zbuild.coordinator.lifecycle import Lifecycle
from zbuild.coordinator.placement import Placement
from zbuild.coordinator.registry import ClientSession, WorkerSession
from zbuild.coordinator.scheduler import Scheduler
from zbuild.model.action import ActionResult, ResultStatus
from zbuild.protocol.messages import Acknowledge, LeaseId, Refused, Report
from zbuild.testing.store import MemoryResults
from zbuild.worker.core import WorkerCore
from zbuild.worker.lease_book import LeaseBook


def no_fencing(patch: pytest.MonkeyPatch) -> None:
    def held_under(self: ActionRecord, _lease: LeaseId, _peer: bytes) -> Holding | None:
        return next(iter(self.holdings.values()), None)

    patch.setattr(ActionRecord, "held_under", held_under)


def any_holder_is_accepted(patch: pytest.MonkeyPatch) -> None:
    def held_under(self: ActionRecord, lease: LeaseId, _peer: bytes) -> Holding | None:
        return self.holdings.get(lease.attempt)

    patch.setattr(ActionRecord, "held_under", held_under)


def published_twice(patch: pytest.MonkeyPatch) -> None:
    original = Lifecycle._accept

    def accept(
        self: Lifecycle, record: ActionRecord, holding: Holding, worker: WorkerSession, result: ActionResult
    ) -> None:
        original(self, record, holding, worker, result)
        if self._farm.results.get(record.action) is not None:
            self._farm.results.put(record.action, result)

    patch.setattr(Lifecycle, "_accept", accept)


def blobs_not_checked(patch: pytest.MonkeyPatch) -> None:
    original = Lifecycle._accept

    def accept(
        self: Lifecycle, record: ActionRecord, holding: Holding, worker: WorkerSession, result: ActionResult
    ) -> None:
        with pytest.MonkeyPatch.context() as unchecked:
            unchecked.setattr(MemoryResults, "absent", lambda _self, _digests: [])
            original(self, record, holding, worker, result)

    patch.setattr(Lifecycle, "_accept", accept)


def lost_lease_not_noticed(patch: pytest.MonkeyPatch) -> None:
    original = Lifecycle.compare

    def compare(self: Lifecycle, worker: WorkerSession, report: Report) -> None:
        held = worker._held
        worker._held = set()
        original(self, worker, report)
        worker._held = held

    patch.setattr(Lifecycle, "compare", compare)


def last_lease_not_told_of(patch: pytest.MonkeyPatch) -> None:
    """The worker learns of Lease messages only by receiving one, so that the loss of the last stays unnoticed."""
    original = Outbox.send

    def send(self: Outbox, peer: bytes, message: object) -> None:
        if isinstance(message, Acknowledge):
            message = Acknowledge(leases=message.leases, sequence=0)
        original(self, peer, message)  # type: ignore[arg-type]  # the message came in as one

    patch.setattr(Outbox, "send", send)


def too_many_slots(patch: pytest.MonkeyPatch) -> None:
    original = LeaseBook.start_next

    def start_next(self: LeaseBook) -> list[object]:
        running, self.running = self.running, 0
        effects = original(self)
        self.running += running
        return list(effects)

    patch.setattr(LeaseBook, "start_next", start_next)


def cancel_leaks(patch: pytest.MonkeyPatch) -> None:
    def cancel(_self: Lifecycle, client: ClientSession, build: int) -> None:
        client.builds.pop(build, None)

    patch.setattr(Lifecycle, "cancel", cancel)


def failure_is_retried(patch: pytest.MonkeyPatch) -> None:
    original = Lifecycle._accept

    def accept(
        self: Lifecycle, record: ActionRecord, holding: Holding, worker: WorkerSession, result: ActionResult
    ) -> None:
        if result.status is ResultStatus.FAILURE:
            self._retry(record, holding, 1, "it failed")
        else:
            original(self, record, holding, worker, result)

    patch.setattr(Lifecycle, "_accept", accept)


def attempts_not_bounded(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(verdict, "ATTEMPTS_BY_PRIORITY", dict.fromkeys((0, 50, 100, 200), 1000))
    patch.setattr(verdict, "POISON_LOSSES", 1000)


def lost_worker_keeps_its_leases(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Lifecycle, "lose", lambda _self, _worker, _reason: None)


def given_back_lease_stays_on_the_list(patch: pytest.MonkeyPatch) -> None:
    original = Lifecycle._end

    def end(self: Lifecycle, record: ActionRecord, holding: Holding, loss: Loss | None) -> None:
        worker = self._farm.registry.workers.get(holding.peer)
        original(self, record, holding, loss)
        if worker is not None:
            worker.hold(record.action)

    patch.setattr(Lifecycle, "_end", end)


def queue_is_miscounted(patch: pytest.MonkeyPatch) -> None:
    def leave_queue(self: Scheduler, record: ActionRecord) -> None:
        self.class_of(record).queued -= 1

    patch.setattr(Scheduler, "leave_queue", leave_queue)


def no_grace_for_a_lost_worker(patch: pytest.MonkeyPatch) -> None:
    def worker_left(self: Placement, worker: WorkerSession) -> None:
        self._farm.scheduler.worker_left(worker)
        self._watch_queued()

    patch.setattr(Placement, "worker_left", worker_left)


def question_not_repeated(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("zbuild.coordinator.placement.PROPERTY_QUERY_REPEAT_S", 1e9)


def properties_ignored(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(platform_class.PlatformClass, "judge", lambda _self, _worker: True)


def client_ignores_a_stranger_broker(patch: pytest.MonkeyPatch) -> None:
    def refused(_self: FarmCore, _refusal: Refused, _now_s: float) -> None:
        return

    patch.setattr(FarmCore, "_refused", refused)


def result_reported_once(patch: pytest.MonkeyPatch) -> None:
    """A Complete that is lost is not repeated with the next Report."""

    def finished(self: WorkerCore, outcomes: list[tuple[LeaseId, ActionResult]]) -> list[object]:
        effects = original(self, outcomes)
        for lease, _ in outcomes:
            held = self._book.held.get(lease)
            if held is not None:
                held.result = None
        return list(effects)

    original = WorkerCore.finished
    patch.setattr(WorkerCore, "finished", finished)


def abandoned_action_stays(patch: pytest.MonkeyPatch) -> None:
    def forget(self: Lifecycle, record: ActionRecord, event: ActionEvent) -> None:
        if record.state is ActionState.QUEUED:
            self._farm.scheduler.leave_queue(record)
        record.apply(event)
        if event is not ActionEvent.ABANDON:
            del self._farm.actions[record.action]

    patch.setattr(Lifecycle, "_forget", forget)


def lost_attempt_is_a_success(patch: pytest.MonkeyPatch) -> None:
    """An action whose worker failed is reported as made."""

    def retry(self: Lifecycle, record: ActionRecord, _holding: Holding, code: int, text: str) -> None:
        self._finish(record, ActionResult(status=ResultStatus.SUCCESS, code=code, message=text))

    patch.setattr(Lifecycle, "_retry", retry)


def fenced_lease_stays_in_the_journal(patch: pytest.MonkeyPatch) -> None:
    """The journal does not learn that a lease was lost: after a restart its holder would be believed."""
    original = Lifecycle._end

    def end(self: Lifecycle, record: ActionRecord, holding: Holding, loss: Loss | None) -> None:
        original(self, record, holding, loss)
        self._farm.journal.pop()

    patch.setattr(Lifecycle, "_end", end)


def grant_is_not_journalled(patch: pytest.MonkeyPatch) -> None:
    original = Lifecycle.grant

    def grant(self: Lifecycle, record: ActionRecord, worker: WorkerSession) -> None:
        original(self, record, worker)
        self._farm.journal.pop()

    patch.setattr(Lifecycle, "grant", grant)


def a_restart_waits_for_ever(patch: pytest.MonkeyPatch) -> None:
    """Leases whose holders do not come back are never given up."""
    patch.setattr("zbuild.coordinator.recovery.RECOVERY_S", 1e9)


def away_for_ever(patch: pytest.MonkeyPatch) -> None:
    """A peer that came back is still taken for away."""
    patch.setattr(WorkerSession, "is_open", property(lambda _self: False))


def losing_copy_is_not_revoked(patch: pytest.MonkeyPatch) -> None:
    original = Lifecycle._forget

    def forget(self: Lifecycle, record: ActionRecord, event: ActionEvent) -> None:
        original(self, record, event)
        self._farm.outbox._revoked.clear()

    patch.setattr(Lifecycle, "_forget", forget)
    patch.setattr(Lifecycle, "compare", lambda _self, _worker, _report: None)


def copy_goes_to_the_same_worker(patch: pytest.MonkeyPatch) -> None:
    original = Scheduler.worker_for_copy

    def worker_for_copy(self: Scheduler, record: ActionRecord) -> WorkerSession | None:
        found = original(self, record)
        return found and self._registry.workers[next(iter(record.holdings.values())).peer]

    patch.setattr(Scheduler, "worker_for_copy", worker_for_copy)


def a_build_s_leases_are_miscounted(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Scheduler, "returned", lambda _self, _record: None)


def a_freed_slot_is_not_noticed(patch: pytest.MonkeyPatch) -> None:
    """The classes go on taking a worker for as full as it was."""
    patch.setattr(WorkerSession, "release", lambda self, action: self._held.discard(action))


def a_trusted_worker_is_mistaken(patch: pytest.MonkeyPatch) -> None:
    """The classes do not learn that a worker has come into quarantine, or out of it."""
    patch.setattr(
        WorkerHealth, "_apply", lambda self, event: setattr(self, "state", HEALTH_TABLE.after(self.state, event))
    )


def result_is_acknowledged_and_dropped(patch: pytest.MonkeyPatch) -> None:
    """Nothing would be lost for good: the worker's next report has the action run again."""
    original = Lifecycle._accept

    def accept(
        self: Lifecycle, record: ActionRecord, holding: Holding, worker: WorkerSession, result: ActionResult
    ) -> None:
        if len(self._farm.actions) % 5:
            original(self, record, holding, worker, result)

    patch.setattr(Lifecycle, "_accept", accept)


def hit_is_served_without_its_blobs(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(MemoryResults, "get", lambda self, action: self.results.get(action))


def nothing_is_revoked(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Outbox, "revoke", lambda _self, _peer, _lease: None)


@dataclass(frozen=True)
class Mutant:
    """A fault to plant, and a pattern of the violation that must be found."""

    plant: Callable[[pytest.MonkeyPatch], None]
    found: str


def noise_ends_a_client(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("zbuild.client.farm.REFUSALS_IN_A_ROW", 0)


def noise_ends_a_worker(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("zbuild.worker.core.REFUSALS_IN_A_ROW", 0)


MUTANTS = (
    Mutant(no_fencing, "fenced result"),
    Mutant(any_holder_is_accepted, "fenced result|long been fenced"),
    Mutant(published_twice, "published twice"),
    Mutant(blobs_not_checked, "whose blobs are (not )?all there"),
    Mutant(lost_lease_not_noticed, "has not ended"),
    Mutant(last_lease_not_told_of, "has not ended"),
    Mutant(too_many_slots, "slots"),
    Mutant(cancel_leaks, "waiters differ"),
    Mutant(failure_is_retried, "was retried"),
    Mutant(attempts_not_bounded, "lost attempts"),
    Mutant(lost_worker_keeps_its_leases, "does not have it on its list"),
    Mutant(given_back_lease_stays_on_the_list, "without being leased"),
    Mutant(queue_is_miscounted, "scheduler counts"),
    Mutant(no_grace_for_a_lost_worker, "can ever run it"),
    Mutant(question_not_repeated, "has not ended"),
    Mutant(properties_ignored, "lacks a property|has not told that it can run it"),
    Mutant(client_ignores_a_stranger_broker, "does not know it"),
    Mutant(abandoned_action_stays, "state|another state"),
    Mutant(lost_attempt_is_a_success, "a client was told"),
    Mutant(result_reported_once, "has not ended|leases"),
    Mutant(fenced_lease_stays_in_the_journal, "another state"),
    Mutant(grant_is_not_journalled, "the journal does not have it|another state"),
    Mutant(a_restart_waits_for_ever, "has not ended|after all builds"),
    Mutant(away_for_ever, "has not ended"),
    Mutant(losing_copy_is_not_revoked, "has not ended|after all builds"),
    Mutant(copy_goes_to_the_same_worker, "does not have it on its list|all there can be"),
    Mutant(a_build_s_leases_are_miscounted, "counts of leases"),
    Mutant(a_freed_slot_is_not_noticed, "the index has it as"),
    Mutant(a_trusted_worker_is_mistaken, "the index has it as|waits, and w. has room"),
    Mutant(result_is_acknowledged_and_dropped, "it is not over"),
    Mutant(hit_is_served_without_its_blobs, "success whose blobs"),
    Mutant(noise_ends_a_client, "c. gave up"),
    Mutant(noise_ends_a_worker, "w. gave up"),
    Mutant(nothing_is_revoked, "long been fenced|under one lease"),
)
