"""The worker's decisions: which lease runs next, what is reported when. No socket, clock or process."""

from __future__ import annotations

import heapq
import math
from collections import Counter, deque

from zbuild.errors import BadInput, ProtocolError, VersionMismatch, WorkerIdTaken, ZbuildError
from zbuild.limits import (
    DRAIN_REPORTS,
    DRAIN_S,
    PROPERTY_QUERY_NAMES,
    REPORT_INTERVAL_S,
    RESULT_BYTES,
    TAKEN_REPEAT_S,
    UNSTARTED_REPEAT_S,
)
from zbuild.model.action import ActionResult, ResultStatus, is_too_large, result_bytes
from zbuild.protocol.batches import batches
from zbuild.protocol.effects import Note, Send
from zbuild.protocol.messages import (
    UNKNOWN_PEER,
    Acknowledge,
    Complete,
    Goodbye,
    Hello,
    Lease,
    LeaseId,
    Outcome,
    Properties,
    QueryProperties,
    Refused,
    Report,
    Revoke,
    Shutdown,
    ToWorker,
    Welcome,
    WorkerState,
)
from zbuild.worker.effects import Connect, Discard, Evaluate, Kill, Prepare, Start, Stop, WorkerEffect
from zbuild.worker.lease import LEASE_TABLE, HeldLease, LeaseEvent, LeaseState

_GIVEN_BACK = ActionResult(status=ResultStatus.CANCELLED, message="the worker drains")


class WorkerCore:
    """One worker. Each method returns what the shell must do, in order."""

    def __init__(self, hello: Hello, now_s: float) -> None:
        self.counters: Counter[str] = Counter()
        self.epoch = 0
        self._hello = hello
        self._platform = dict(hello.platform)
        self._held: dict[LeaseId, HeldLease] = {}
        self._queue: list[tuple[int, float, int, LeaseId]] = []
        self._ahead: deque[LeaseId] = deque()
        self._arrivals = 0
        self._running = 0
        self._sequence = 0
        self._is_welcome = False
        self._is_draining = False
        self._is_stopped = False
        self._next_report_s = now_s
        self._unheard_reports = 0
        self._taken_since_s: float | None = None
        self._drain_ends_s = math.inf

    @property
    def state(self) -> WorkerState:
        if self._is_draining:
            return WorkerState.DRAINING
        return WorkerState.EXECUTING if self._running else WorkerState.IDLE

    @property
    def active_actions(self) -> int:
        return self._running

    @property
    def held_leases(self) -> int:
        """Leases that wait, run, or have a result that is not acknowledged."""
        return len(self._held)

    @property
    def queue_depth(self) -> int:
        return sum(held.state is LeaseState.QUEUED for held in self._held.values())

    def receive(self, message: ToWorker, now_s: float) -> list[WorkerEffect]:
        """Take in one decoded message of the broker."""
        self._unheard_reports = 0
        match message:
            case Welcome():
                return self._welcomed(message, now_s)
            case Refused():
                return self._refused(message, now_s)
            case Lease():
                return self._granted(message)
            case Revoke():
                revoked = [effect for lease in message.leases for effect in self._revoked(lease)]
                return [*revoked, *self._start_next(), *self._stop_if_drained()]
            case Acknowledge():
                self._sequence = max(self._sequence, message.sequence)
                for lease in message.leases:
                    self._acknowledged(lease)
                return self._stop_if_drained()
            case QueryProperties():
                return [Evaluate(message.names[:PROPERTY_QUERY_NAMES])]
            case Shutdown():
                self._is_welcome = False
                return [Note("broker_stopping", (("reason", message.reason),))]

    def exited(self, lease: LeaseId) -> list[WorkerEffect]:
        """The command of a lease has ended: its slot is free while its outputs are collected."""
        held = self._held[lease]
        self._apply(held, LeaseEvent.EXIT)
        self._free_slot(held)
        return self._start_next()

    def finished(self, outcomes: list[tuple[LeaseId, ActionResult]]) -> list[WorkerEffect]:
        """Runs have ended: report their results, and start what waits."""
        ended: list[Outcome] = []
        for lease, result in outcomes:
            held = self._held[lease]
            self._free_slot(held)
            held.result = _GIVEN_BACK if held.is_cut_short else _bounded(result)
            self._apply(held, LeaseEvent.FINISH)
            if held.state is LeaseState.ENDED:
                ended.append(Outcome(lease, held.result))
        effects: list[WorkerEffect] = []
        if self._is_welcome:
            effects += _completions(ended)
        return effects + self._start_next() + self._stop_if_drained()

    def evaluated(self, values: dict[str, str]) -> list[WorkerEffect]:
        """Property values have been found; "" stands for none. Only what the broker asked for is told."""
        self._platform.update(values)
        return [Send(Properties(values=tuple(sorted(values.items()))))] if self._is_welcome else []

    def drain(self, now_s: float) -> list[WorkerEffect]:
        """Take no more leases, give back the queue, finish what runs, then stop."""
        if self._is_draining:
            return []
        self._is_draining = True
        self._drain_ends_s = now_s + DRAIN_S
        effects: list[WorkerEffect] = []
        for held in self._held.values():
            if held.state is LeaseState.QUEUED:
                self._given_back(held)
                effects += self._discarded(held)
        return [*effects, *self._report(now_s), *self._stop_if_drained()]

    def tick(self, now_s: float) -> list[WorkerEffect]:
        """Introduce ourselves until welcome, then report at the interval."""
        effects: list[WorkerEffect] = []
        if now_s >= self._drain_ends_s:
            self._drain_ends_s = math.inf
            effects += self._cut_drain_short()
        if now_s >= self._next_report_s:
            effects += [*self._report(now_s), *self._stop_if_drained()]
        return effects

    def _cut_drain_short(self) -> list[WorkerEffect]:
        """What still runs is ended, and given back."""
        effects: list[WorkerEffect] = []
        for lease, held in self._held.items():
            if held.state is LeaseState.RUNNING:
                held.is_cut_short = True
                effects.append(Kill(lease))
        return effects

    def next_deadline_s(self) -> float:
        return min(self._next_report_s, self._drain_ends_s)

    def _report(self, now_s: float) -> list[WorkerEffect]:
        self._unheard_reports += 1
        if not self._is_welcome:
            self._next_report_s = now_s + UNSTARTED_REPEAT_S
            return [Send(self._hello)]
        self._next_report_s = now_s + REPORT_INTERVAL_S
        counters = tuple(sorted(self.counters.items()))
        report = Report(
            sequence=self._sequence,
            held=tuple(self._held),
            running=self._running,
            is_draining=self._is_draining,
            counters=counters,
        )
        ends = [(lease, each.result) for lease, each in self._held.items() if each.state is LeaseState.ENDED]
        ended = [Outcome(lease, result) for lease, result in ends if result is not None]
        return [*_completions(ended), Send(report)]

    def _welcomed(self, welcome: Welcome, now_s: float) -> list[WorkerEffect]:
        if self._is_welcome and welcome.epoch == self.epoch:
            return []
        effects: list[WorkerEffect] = [Connect(welcome)]
        if welcome.epoch != self.epoch:
            self._sequence = 0
        self.epoch = welcome.epoch
        self._is_welcome = True
        self._taken_since_s = None
        evaluated = {name: value for name, value in self._platform.items() if (name, value) not in self._hello.platform}
        if evaluated:
            effects.append(Send(Properties(values=tuple(sorted(evaluated.items())))))
        return effects + self._report(now_s)

    def _refused(self, refusal: Refused, now_s: float) -> list[WorkerEffect]:
        if refusal.code == UNKNOWN_PEER:
            self._is_welcome = False
            return self._report(now_s)
        if refusal.code == WorkerIdTaken.code:
            return self._taken(refusal, now_s)
        if refusal.code == VersionMismatch.code:
            return self._stop(VersionMismatch(refusal.message))
        if not self._is_welcome:
            return self._stop(ProtocolError(f"the broker refuses this worker: {refusal.message}"))
        self.counters["refused"] += 1
        return [Note("refused", (("message", refusal.message),))]

    def _taken(self, refusal: Refused, now_s: float) -> list[WorkerEffect]:
        """Another process has our id. Our own former life is gone before TAKEN_REPEAT_S are over; a twin is not."""
        self._is_welcome = False
        since_s = self._taken_since_s
        if since_s is None:
            self._taken_since_s = now_s
            return [Note("worker_id_taken", (("message", refusal.message),))]
        return self._stop(WorkerIdTaken(refusal.message)) if now_s - since_s > TAKEN_REPEAT_S else []

    def _granted(self, message: Lease) -> list[WorkerEffect]:
        self._sequence = max(self._sequence, message.sequence)
        given_back: list[Outcome] = []
        for grant in message.grants:
            if grant.lease in self._held or grant.lease.epoch != self.epoch:
                self.counters["leases_ignored"] += 1
                continue
            held = self._held[grant.lease] = HeldLease(grant)
            if self._is_draining:
                given_back.append(self._given_back(held))
                continue
            self._arrivals += 1
            heapq.heappush(self._queue, (-grant.priority, -grant.weight_s, self._arrivals, grant.lease))
        return [*_completions(given_back), *self._start_next()]

    def _given_back(self, held: HeldLease) -> Outcome:
        held.result = _GIVEN_BACK
        self._apply(held, LeaseEvent.FINISH)
        return Outcome(held.grant.lease, held.result)

    def _revoked(self, lease: LeaseId) -> list[WorkerEffect]:
        held = self._held.get(lease)
        if held is None:
            return []
        was_running = held.state is LeaseState.RUNNING
        self._apply(held, LeaseEvent.REVOKE)
        return [Kill(lease)] if was_running else self._discarded(held)

    def _acknowledged(self, lease: LeaseId) -> None:
        held = self._held.get(lease)
        if held is not None and held.state is LeaseState.ENDED:
            self._apply(held, LeaseEvent.ACKNOWLEDGE)

    def _start_next(self) -> list[WorkerEffect]:
        """Fill the slots, first with what is prepared; then prepare as many more as there are slots."""
        effects: list[WorkerEffect] = []
        while self._running < self._hello.slots and (held := self._next_queued()) is not None:
            self._apply(held, LeaseEvent.START)
            held.has_slot = True
            held.is_prepared = False
            self._running += 1
            effects.append(Start(held.grant))
        while len(self._ahead) < self._hello.slots and self._queue:
            held = self._held.get(heapq.heappop(self._queue)[3])
            if held is not None and held.state is LeaseState.QUEUED:
                held.is_prepared = True
                self._ahead.append(held.grant.lease)
                effects.append(Prepare(held.grant))
        return effects

    def _next_queued(self) -> HeldLease | None:
        while self._ahead or self._queue:
            lease = self._ahead.popleft() if self._ahead else heapq.heappop(self._queue)[3]
            held = self._held.get(lease)
            if held is not None and held.state is LeaseState.QUEUED:
                return held
        return None

    def _free_slot(self, held: HeldLease) -> None:
        if held.has_slot:
            held.has_slot = False
            self._running -= 1

    def _discarded(self, held: HeldLease) -> list[WorkerEffect]:
        if not held.is_prepared:
            return []
        held.is_prepared = False
        self._ahead.remove(held.grant.lease)
        return [Discard(held.grant.lease)]

    def _apply(self, held: HeldLease, event: LeaseEvent) -> None:
        held.state = LEASE_TABLE.after(held.state, event)
        if held.state is LeaseState.GONE:
            del self._held[held.grant.lease]

    def _stop_if_drained(self) -> list[WorkerEffect]:
        """A drain waits for what runs, and for a broker that answers to take the results."""
        is_heard = self._unheard_reports <= DRAIN_REPORTS
        if self._is_draining and not any(
            is_heard or each.state is not LeaseState.ENDED for each in self._held.values()
        ):
            return [Send(Goodbye()), *self._stop(None)]
        return []

    def _stop(self, error: ZbuildError | None) -> list[WorkerEffect]:
        if self._is_stopped:
            return []
        self._is_stopped = True
        return [Stop(error)]


def _completions(outcomes: list[Outcome]) -> list[Send]:
    return [Send(Complete(outcomes=batch)) for batch in batches(outcomes, lambda outcome: result_bytes(outcome.result))]


def _bounded(result: ActionResult) -> ActionResult:
    """The result, or in place of one that no message can carry, the reason why there is none."""
    if not is_too_large(result):
        return result
    text = f"its {len(result.outputs)} outputs cannot be named in one message of {RESULT_BYTES} B"
    return ActionResult(status=ResultStatus.ERROR, code=BadInput.code, message=text, worker=result.worker)
