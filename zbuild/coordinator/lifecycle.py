"""The life of an action at the coordinator: submitted, leased, lost, finished, cancelled.

At-least-once execution, exactly-once publication: a result is accepted only under a lease that is
not fenced, and is written to the action cache at most once.
"""

from __future__ import annotations

from zbuild.coordinator.action_record import ANOTHER, ActionEvent, ActionRecord, ActionState, Holding, Waiter
from zbuild.coordinator.farm_state import FarmState
from zbuild.coordinator.journal import Ended, Granted, Loss, Over
from zbuild.coordinator.placement import Placement
from zbuild.coordinator.registry import ClientSession, WorkerSession
from zbuild.coordinator.submission import checked_header
from zbuild.coordinator.verdict import BLAMELESS_CODES, verdict_on
from zbuild.errors import BadInput, BlobMissing, StoreFailed, WorkerLost
from zbuild.limits import ATTEMPTS_BY_PRIORITY, RESULT_BYTES
from zbuild.model.action import ActionResult, ResultStatus, is_too_large
from zbuild.protocol.messages import (
    Acknowledge,
    FinishedAction,
    LeaseId,
    Outcome,
    Report,
    StolenLease,
    Submission,
)


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
            header = checked_header(submission, priority, self._farm.scheduler.queued)
        except BadInput as error:
            self._answer(waiter, FinishedAction(submission.action, _failure(error.code, str(error)), False, 0))
            return
        if header.is_shareable:
            cached = self._farm.results.get(submission.action)
            if cached is not None:
                self._farm.counters["cache_hits"] += 1
                self._answer(waiter, FinishedAction(submission.action, cached, True, 0))
                return
            self._farm.counters["cache_misses"] += 1
        record = ActionRecord(
            submission.action, submission.body, header, waiter, priority, submission.weight_s, submission.expected_s
        )
        self._farm.actions[submission.action] = record
        client.builds.setdefault(build, set()).add(submission.action)
        outcomes = self._farm.recovery.claim(record, self._farm.now_s)
        if record.holdings:
            record.apply(ActionEvent.GRANT)
            self._farm.scheduler.leased[record.owner] += len(record.holdings)
            self._farm.counters["leases_recovered"] += 1
            self._bring_back(record)
        else:
            self.placement.enqueue(record)
            self._gives_up(record, "the last of them before the broker started again")
        for peer, outcome in outcomes:
            worker = self._farm.registry.workers.get(peer)
            if worker is not None and self.complete(worker, outcome):
                self._farm.outbox.send(peer, Acknowledge(leases=(outcome.lease,), sequence=worker.grant_sequence))

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
        """Lease a queued action, or a copy of one that is leased already."""
        if record.state is ActionState.QUEUED:
            self._farm.scheduler.leave_queue(record)
            record.apply(ActionEvent.GRANT)
        else:
            record.apply(ActionEvent.COPY)
            self._farm.counters["copies_granted"] += 1
        record.attempt += 1
        lease = LeaseId(record.action, record.attempt, self._farm.epoch)
        holding = Holding(lease, worker.worker_id, worker.incarnation, worker.peer, self._farm.now_s)
        record.holdings[record.attempt] = holding
        worker.hold(record.action)
        self._farm.scheduler.granted(record, worker)
        self._farm.journal.append(Granted(lease, worker.worker_id, worker.incarnation))
        holding.grant_sequence = self._farm.outbox.grant(worker, lease, record)
        self._farm.counters["leases_granted"] += 1

    def complete(self, worker: WorkerSession, outcome: Outcome) -> bool:
        """Take a result, or drop a fenced one. False: it is kept for its client, and the worker keeps it, too."""
        if outcome.hops:
            self.claim(worker, StolenLease(outcome.lease, outcome.hops))
        record = self._farm.actions.get(outcome.lease.action)
        holding = record.held_under(outcome.lease, worker.peer) if record is not None else None
        if record is None or holding is None:
            if self._farm.recovery.stash(outcome, worker):
                return False
            self._farm.counters["fenced_results"] += 1
            self._compare_with_published(worker, outcome)
            return True
        result = outcome.result
        if result.status is ResultStatus.SUCCESS or result.status is ResultStatus.FAILURE:
            worker.health.succeeded()
        if is_too_large(result):
            text = f"its result of {len(result.outputs)} outputs is larger than the {RESULT_BYTES} B of one message"
            self._finish(record, _failure(BadInput.code, text))
        elif result.status is ResultStatus.CANCELLED:
            self._farm.counters["given_back"] += 1
            self._end(record, holding, None)
            self._requeue_if_unheld(record)
        elif result.status is ResultStatus.ERROR and result.missing:
            self._finish(record, result)
        elif result.status is ResultStatus.ERROR:
            if result.code not in BLAMELESS_CODES:
                self._fail_worker(worker)
            self._retry(record, holding, result.code, result.message or f"worker {worker.name} failed")
        else:
            self._accept(record, holding, worker, result)
        return True

    def claim(self, worker: WorkerSession, stolen: StolenLease) -> None:
        """``worker`` has a lease from another worker: it is the holder now, unless the lease is fenced or has gone on.

        Each theft counts one hop, so that claims which come in another order than the thefts move nothing back.
        """
        lease = stolen.lease
        record = self._farm.actions.get(lease.action)
        if record is None:
            moved = self._farm.recovery.moved(stolen, worker)
            if moved is not None:
                self._farm.journal.append(moved)
                self._farm.counters["leases_stolen"] += 1
            elif not self._farm.recovery.is_kept(lease, worker):
                self._farm.outbox.revoke(worker.peer, lease)
            return
        if record.held_under(lease, worker.peer) is not None:
            return
        holding = record.holdings.get(lease.attempt)
        is_good = holding is not None and holding.lease == lease and stolen.hops > holding.hops
        has_copy = record.holding_of(worker.peer) is not None
        if holding is None or not is_good or has_copy:
            self._farm.counters["claims_refused"] += 1
            self._farm.outbox.revoke(worker.peer, lease)
            if holding is not None and is_good:
                # The victim will never run it: were the copy lost, nobody else must seem to have the action.
                if holding.peer in self._farm.registry.workers:
                    self._farm.outbox.revoke(holding.peer, lease)
                self._end(record, holding, None)
            return
        victim = self._farm.registry.workers.get(holding.peer)
        holding.stolen_from = holding.stolen_from or (victim.name if victim is not None else ANOTHER)
        if victim is not None:
            victim.release(record.action)
            self._farm.outbox.revoke(holding.peer, lease)
        holding.peer, holding.worker_id, holding.incarnation = worker.peer, worker.worker_id, worker.incarnation
        holding.hops, holding.grant_sequence, holding.since_s = stolen.hops, 0, self._farm.now_s
        worker.hold(record.action)
        if all(each.peer for each in record.holdings.values()):
            self._farm.recovery.unheld.discard(record.action)
        self._farm.journal.append(Granted(lease, worker.worker_id, worker.incarnation, stolen.hops))
        self._farm.counters["leases_stolen"] += 1

    def _accept(self, record: ActionRecord, holding: Holding, worker: WorkerSession, result: ActionResult) -> None:
        absent = self._farm.results.absent(result.blobs())
        if absent:
            text = f"worker {worker.name} reported {absent[0].short}, which is not in the store"
            self._retry(record, holding, BlobMissing.code, text)
            return
        self._end(record, holding, None)
        if result.status is ResultStatus.SUCCESS and record.header.is_shareable:
            try:
                self._farm.results.put(record.action, result)
            except StoreFailed as error:
                self._farm.counters["cache_write_failed"] += 1
                self._farm.outbox.note("cache_write_failed", action=record.action.hex(), error=str(error))
        self._farm.counters["executed"] += 1
        self._finish(record, result, stolen_from=holding.stolen_from)

    def _compare_with_published(self, worker: WorkerSession, outcome: Outcome) -> None:
        """A second run of an action should have made the same; the first result stays whatever it made."""
        if outcome.result.status is not ResultStatus.SUCCESS or outcome.lease.action in self._farm.actions:
            return
        published = self._farm.results.get(outcome.lease.action)
        if published is None or published.outputs == outcome.result.outputs:
            return
        self._farm.counters["nondeterministic"] += 1
        first = {output.path: output for output in published.outputs}
        differing = [output.path for output in outcome.result.outputs if first.get(output.path) != output]
        self._farm.outbox.note(
            "nondeterministic",
            action=outcome.lease.action.hex(),
            outputs=", ".join(differing[:3]) or "fewer",
            worker=worker.name,
            first_worker=published.worker,
        )

    def _end(self, record: ActionRecord, holding: Holding, loss: Loss | None) -> None:
        """Fence one lease."""
        del record.holdings[holding.lease.attempt]
        worker = self._farm.registry.workers.get(holding.peer)
        if worker is not None:
            worker.release(record.action)
        self._farm.scheduler.returned(record)
        if loss is not None:
            record.losses.append(loss)
        self._farm.journal.append(Ended(holding.lease, loss))

    def _fail_worker(self, worker: WorkerSession) -> None:
        if worker.health.failed(self._farm.now_s):
            self._farm.counters["workers_quarantined"] += 1
            for_s = f"{worker.health.retry_s - self._farm.now_s:g}"
            self._farm.outbox.note("worker_quarantined", name=worker.name, worker=worker.worker_id, for_s=for_s)

    def _retry(self, record: ActionRecord, holding: Holding, code: int, text: str) -> None:
        """A lease is lost or has failed: queue the action again within the bound, unless a copy still runs."""
        self._end(record, holding, Loss(holding.worker_id, code))
        verdict = verdict_on(record, code, text, has_copy=bool(record.holdings))
        if verdict is not None:
            self._finish(record, _failure(*verdict))
            return
        self._farm.counters["retried"] += 1
        self._farm.outbox.note("retried", action=record.action.hex(), attempt=holding.lease.attempt, reason=text)
        self._requeue_if_unheld(record)

    def _requeue_if_unheld(self, record: ActionRecord) -> None:
        """Queue it again when no lease is left, unless attempts that failed beside the last one were all it had."""
        if record.holdings or self._gives_up(record, "the last lease of it was given back"):
            return
        self._requeue(record)

    def _requeue(self, record: ActionRecord) -> None:
        record.apply(ActionEvent.LOSE)
        self.placement.enqueue(record)

    def _gives_up(self, record: ActionRecord, text: str) -> bool:
        """Finish an action that nobody has a lease of, if its attempts are used up."""
        code = record.losses[-1].code if record.losses else 0
        verdict = verdict_on(record, code, text, has_copy=False)
        if verdict is not None:
            self._finish(record, _failure(*verdict))
        return verdict is not None

    def _finish(self, record: ActionRecord, result: ActionResult, *, stolen_from: str = "") -> None:
        self._forget(record, ActionEvent.FINISH)
        for waiter in sorted(record.waiters):
            answer = FinishedAction(record.action, result, False, record.attempt, stolen_from)
            self._answer(waiter, answer)

    def _forget(self, record: ActionRecord, event: ActionEvent) -> None:
        """The action is over, and whoever still runs it is told to stop."""
        if record.state is ActionState.QUEUED:
            self._farm.scheduler.leave_queue(record)
        for holding in record.holdings.values():
            worker = self._farm.registry.workers.get(holding.peer)
            self._farm.scheduler.returned(record)
            if worker is not None:
                worker.release(record.action)
                self._farm.outbox.revoke(holding.peer, holding.lease)
        record.holdings.clear()
        record.apply(event)
        self._farm.recovery.unheld.discard(record.action)
        if record.attempt:
            self._farm.journal.append(Over(record.action))
        del self._farm.actions[record.action]

    def _answer(self, waiter: Waiter, finished: FinishedAction) -> None:
        peer, build = waiter
        client = self._farm.registry.clients.get(peer)
        if client is None:
            return
        awaited = client.builds.get(build)
        if awaited is not None:
            awaited.discard(finished.action)
        self._farm.outbox.finished(peer, build, finished)

    def cancel(self, client: ClientSession, build: int) -> None:
        for action in sorted(client.builds.pop(build, ())):
            self._leave(self._farm.actions[action], (client.peer, build))

    def cancel_queued(self, client: ClientSession, build: int) -> None:
        waiter = (client.peer, build)
        for action in sorted(client.builds.get(build, ())):
            record = self._farm.actions[action]
            if record.state is not ActionState.QUEUED:
                continue
            cancelled = ActionResult(status=ResultStatus.CANCELLED, message="the build gave it up")
            self._answer(waiter, FinishedAction(action, cancelled, False, record.attempt))
            self._leave(record, waiter)

    def _leave(self, record: ActionRecord, waiter: Waiter) -> None:
        """One build waits for it no more. Without any that does it is stopped; otherwise it becomes another's."""
        record.waiters.discard(waiter)
        if not record.waiters:
            self._farm.counters["cancelled"] += 1
            self._forget(record, ActionEvent.ABANDON)
        elif record.owner == waiter:
            self._farm.scheduler.pass_on(record, min(record.waiters))

    def compare(self, worker: WorkerSession, report: Report) -> None:
        """Level-triggered repair: leases the worker lacks are lost, leases it should not have are revoked."""
        worker.running = report.running
        if worker.is_draining != report.is_draining:
            worker.is_draining = report.is_draining
            self._farm.outbox.note("worker_draining", name=worker.name, is_draining=report.is_draining)
        reported = {lease.action: lease for lease in report.held}
        for action in sorted(worker.held - reported.keys()):
            record = self._farm.actions[action]
            holding = record.holding_of(worker.peer)
            if holding is not None and holding.grant_sequence <= report.sequence:
                self._retry(record, holding, WorkerLost.code, f"worker {worker.name} does not hold its lease")
        for lease in report.held:
            held = self._farm.actions.get(lease.action)
            is_good = held is not None and held.held_under(lease, worker.peer) is not None
            if not is_good and not self._farm.recovery.is_kept(lease, worker):
                self._farm.outbox.revoke(worker.peer, lease)

    def lose(self, worker: WorkerSession, reason: str) -> None:
        """The worker is gone, and with it every lease that it held."""
        if worker.held:
            self._fail_worker(worker)
        for action in sorted(worker.held):
            record = self._farm.actions[action]
            holding = record.holding_of(worker.peer)
            if holding is not None:
                self._retry(record, holding, WorkerLost.code, f"worker {worker.name} was lost: {reason}")

    def welcome_back(self, worker: WorkerSession) -> None:
        """A worker has come: it may be what a restart of the broker has left open actions for."""
        for action in sorted(self._farm.recovery.awaiting(worker.worker_id)):
            self._bring_back(self._farm.actions[action])

    def bring_back(self) -> None:
        """Time has passed: settle what a restart of the broker has left open."""
        recovery = self._farm.recovery
        for action in sorted(recovery.unheld):
            self._bring_back(self._farm.actions[action])
        self._farm.journal.extend(recovery.forget(self._farm.now_s))

    def _bring_back(self, record: ActionRecord) -> None:
        for holding in self._farm.recovery.bring_back(record, self._farm.registry, self._farm.now_s):
            self._end(record, holding, None)
        self._requeue_if_unheld(record)

    def _give_up(self, record: ActionRecord, code: int, text: str) -> None:
        self._finish(record, _failure(code, text))


def _failure(code: int, message: str) -> ActionResult:
    """The result of an action that the farm, not the command, has failed."""
    return ActionResult(status=ResultStatus.ERROR, code=code, message=message)
