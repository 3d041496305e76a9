"""The life of an action at the coordinator: submitted, leased, lost, finished, cancelled.

At-least-once execution, exactly-once publication: a result is accepted only under the lease that is
current for its action, and is written to the action cache at most once.
"""

from __future__ import annotations

import math

from zbuild.coordinator.action_record import ActionEvent, ActionRecord, ActionState
from zbuild.coordinator.farm_state import FarmState
from zbuild.coordinator.placement import Placement
from zbuild.coordinator.registry import ClientSession, WorkerSession
from zbuild.errors import BadInput, BlobMissing, OutputMissing, StoreFailed, WorkerLost
from zbuild.limits import ACTION_BYTES, ATTEMPTS_BY_PRIORITY, PROPERTY_VALUE_BYTES, QUEUED_ACTIONS, RESULT_BYTES
from zbuild.model.action import (
    ActionId,
    ActionResult,
    Priority,
    ResultStatus,
    action_id_of,
    decode_header,
    is_too_large,
)
from zbuild.protocol.messages import FinishedAction, LeaseId, Outcome, Report, Submission

FINAL_CODES = frozenset({BadInput.code, OutputMissing.code})
"""Errors of a worker that lie in the action itself: another worker would report the same."""


class Lifecycle:
    """Moves action records through ACTION_TABLE, and tells those whom it concerns."""

    def __init__(self, farm: FarmState) -> None:
        self._farm = farm
        self.placement = Placement(farm, self._give_up)

    def submit(self, client: ClientSession, build: int, priority: int, submission: Submission) -> None:
        waiter = (client.peer, build)
        self._farm.counters["submitted"] += 1
        record = self._farm.actions.get(submission.action)
        if record is not None:
            self._join(record, client, build, priority)
            return
        try:
            if action_id_of(submission.body) != submission.action:
                raise BadInput(f"action {submission.action.hex()[:8]}: its bytes have another hash")
            if priority not in ATTEMPTS_BY_PRIORITY:
                raise BadInput(f"priority {priority}: expected one of {sorted(ATTEMPTS_BY_PRIORITY)}")
            if not (math.isfinite(submission.weight_s) and math.isfinite(submission.expected_s)):
                raise BadInput(f"action {submission.action.hex()[:8]}: its durations are not numbers")
            if len(submission.body) > ACTION_BYTES:
                text = f"action {submission.action.hex()[:8]} has {len(submission.body)} B, more than {ACTION_BYTES}"
                raise BadInput(text)
            if self._farm.scheduler.queued >= QUEUED_ACTIONS:
                raise BadInput(f"the broker's queue is full: {QUEUED_ACTIONS} actions wait")
            header = decode_header(submission.body)
            if any(len(name) + len(value) > PROPERTY_VALUE_BYTES for name, value in header.platform):
                text = f"action {submission.action.hex()[:8]} requires a property of more than {PROPERTY_VALUE_BYTES} B"
                raise BadInput(text)
        except BadInput as error:
            self._answer(waiter, submission.action, _failure(error.code, str(error)), is_cached=False, attempts=0)
            return
        if header.is_shareable:
            cached = self._farm.results.get(submission.action)
            if cached is not None:
                self._farm.counters["cache_hits"] += 1
                self._answer(waiter, submission.action, cached, is_cached=True, attempts=0)
                return
            self._farm.counters["cache_misses"] += 1
        record = ActionRecord(
            submission.action, submission.body, header, priority, submission.weight_s, submission.expected_s
        )
        self._farm.actions[submission.action] = record
        record.waiters.add(waiter)
        client.builds.setdefault(build, set()).add(submission.action)
        self.placement.enqueue(record)

    def _join(self, record: ActionRecord, client: ClientSession, build: int, priority: int) -> None:
        """Equal actions in flight run once: the newcomer waits for the run that is under way."""
        if (client.peer, build) not in record.waiters:
            self._farm.counters["joined"] += 1
            record.waiters.add((client.peer, build))
            client.builds.setdefault(build, set()).add(record.action)
        if priority > record.priority and priority in ATTEMPTS_BY_PRIORITY:
            record.priority = priority
            if record.state is ActionState.QUEUED:
                self._farm.scheduler.leave_queue(record)
                self.placement.enqueue(record)

    def grant(self, record: ActionRecord, worker: WorkerSession) -> None:
        self._farm.scheduler.leave_queue(record)
        record.apply(ActionEvent.GRANT)
        record.attempt += 1
        record.worker = worker.peer
        worker.held.add(record.action)
        lease = LeaseId(record.action, record.attempt, self._farm.epoch)
        record.grant_sequence = self._farm.outbox.grant(worker, lease, record)
        self._farm.counters["leases_granted"] += 1

    def complete(self, worker: WorkerSession, outcome: Outcome) -> None:
        record = self._farm.actions.get(outcome.lease.action)
        if record is None or not record.is_held_under(outcome.lease, worker.peer, self._farm.epoch):
            self._farm.counters["fenced_results"] += 1
            return
        result = outcome.result
        if is_too_large(result):
            text = f"its result of {len(result.outputs)} outputs is larger than the {RESULT_BYTES} B of one message"
            result = _failure(BadInput.code, text)
            self._release(record)
            self._finish(record, result)
        elif result.status is ResultStatus.CANCELLED:
            self._farm.counters["given_back"] += 1
            self._release(record)
            self._requeue(record)
        elif result.status is ResultStatus.ERROR and result.missing:
            self._release(record)
            self._finish(record, result)
        elif result.status is ResultStatus.ERROR:
            self._retry(record, worker, result.code, result.message or f"worker {worker.name} failed")
        else:
            self._accept(record, worker, result)

    def _accept(self, record: ActionRecord, worker: WorkerSession, result: ActionResult) -> None:
        absent = self._farm.results.absent(result.blobs())
        if absent:
            text = f"worker {worker.name} reported {absent[0].short}, which is not in the store"
            self._retry(record, worker, BlobMissing.code, text)
            return
        self._release(record)
        if result.status is ResultStatus.SUCCESS and record.header.is_shareable:
            try:
                self._farm.results.put(record.action, result)
            except StoreFailed as error:
                self._farm.counters["cache_write_failed"] += 1
                self._farm.outbox.note("cache_write_failed", action=record.action.hex(), error=str(error))
        self._farm.counters["executed"] += 1
        self._finish(record, result)

    def _release(self, record: ActionRecord) -> None:
        worker = self._farm.registry.workers.get(record.worker)
        if worker is not None:
            worker.held.discard(record.action)

    def _retry(self, record: ActionRecord, worker: WorkerSession, code: int, text: str) -> None:
        """Queue a lost or failed attempt again, on another worker if there is one, within the bound."""
        self._release(record)
        record.lost_on.append(worker.worker_id)
        if code in FINAL_CODES:
            self._finish(record, _failure(code, text))
            return
        if len(record.lost_on) >= ATTEMPTS_BY_PRIORITY[Priority(record.priority)]:
            self._finish(record, _failure(code, f"given up after {len(record.lost_on)} attempts: {text}"))
            return
        self._farm.counters["retried"] += 1
        self._farm.outbox.note("retried", action=record.action.hex(), attempt=record.attempt, reason=text)
        self._requeue(record)

    def _requeue(self, record: ActionRecord) -> None:
        record.apply(ActionEvent.LOSE)
        record.worker = b""
        self.placement.enqueue(record)

    def _finish(self, record: ActionRecord, result: ActionResult) -> None:
        self._forget(record, ActionEvent.FINISH)
        for waiter in sorted(record.waiters):
            self._answer(waiter, record.action, result, is_cached=False, attempts=record.attempt)

    def _forget(self, record: ActionRecord, event: ActionEvent) -> None:
        if record.state is ActionState.QUEUED:
            self._farm.scheduler.leave_queue(record)
        record.apply(event)
        del self._farm.actions[record.action]

    def _answer(
        self, waiter: tuple[bytes, int], action: ActionId, result: ActionResult, *, is_cached: bool, attempts: int
    ) -> None:
        peer, build = waiter
        client = self._farm.registry.clients.get(peer)
        if client is None:
            return
        awaited = client.builds.get(build)
        if awaited is not None:
            awaited.discard(action)
        self._farm.outbox.finished(peer, build, FinishedAction(action, result, is_cached, attempts))

    def cancel(self, client: ClientSession, build: int) -> None:
        for action in sorted(client.builds.pop(build, ())):
            record = self._farm.actions[action]
            record.waiters.discard((client.peer, build))
            if not record.waiters:
                self._abandon(record)

    def cancel_queued(self, client: ClientSession, build: int) -> None:
        waiter = (client.peer, build)
        for action in sorted(client.builds.get(build, ())):
            record = self._farm.actions[action]
            if record.state is not ActionState.QUEUED:
                continue
            record.waiters.discard(waiter)
            cancelled = ActionResult(status=ResultStatus.CANCELLED, message="the build gave it up")
            self._answer(waiter, action, cancelled, is_cached=False, attempts=record.attempt)
            if not record.waiters:
                self._abandon(record)

    def _abandon(self, record: ActionRecord) -> None:
        """Nobody waits for it any more: stop it wherever it is."""
        self._farm.counters["cancelled"] += 1
        if record.state is ActionState.LEASED:
            self._release(record)
            self._farm.outbox.revoke(record.worker, LeaseId(record.action, record.attempt, self._farm.epoch))
        self._forget(record, ActionEvent.ABANDON)

    def compare(self, worker: WorkerSession, report: Report) -> None:
        """Level-triggered repair: leases the worker lacks are lost, leases it should not have are revoked."""
        worker.running = report.running
        if worker.is_draining != report.is_draining:
            worker.is_draining = report.is_draining
            self._farm.outbox.note("worker_draining", name=worker.name, is_draining=report.is_draining)
        reported = {lease.action: lease for lease in report.held}
        for action in sorted(worker.held):
            record = self._farm.actions[action]
            lease = reported.get(action)
            if lease is None and record.grant_sequence <= report.sequence:
                self._retry(record, worker, WorkerLost.code, f"worker {worker.name} does not hold its lease")
        for lease in report.held:
            held = self._farm.actions.get(lease.action)
            if held is None or not held.is_held_under(lease, worker.peer, self._farm.epoch):
                self._farm.outbox.revoke(worker.peer, lease)

    def lose(self, worker: WorkerSession, reason: str) -> None:
        """The worker is gone, and with it every lease that it held."""
        for action in sorted(worker.held):
            self._retry(self._farm.actions[action], worker, WorkerLost.code, f"worker {worker.name} was lost: {reason}")

    def _give_up(self, record: ActionRecord, code: int, text: str) -> None:
        self._finish(record, _failure(code, text))


def _failure(code: int, message: str) -> ActionResult:
    """The result of an action that the farm, not the command, has failed."""
    return ActionResult(status=ResultStatus.ERROR, code=code, message=message)
