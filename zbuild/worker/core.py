"""The worker's decisions: which lease runs next, what is reported when. No socket, clock or process."""

from __future__ import annotations

import math
from collections import Counter

from zbuild.errors import BadInput, ProtocolError, VersionMismatch, WorkerIdTaken, ZbuildError
from zbuild.limits import (
    BATCH_ACTIONS,
    BROKER_SILENT_S,
    DRAIN_REPORTS,
    DRAIN_S,
    PROPERTY_QUERY_NAMES,
    REFUSALS_IN_A_ROW,
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
    Claim,
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
    StolenLease,
    ToWorker,
    Welcome,
    WorkerState,
)
from zbuild.protocol.steal_messages import Announcement, StealAnswer, StealQuestion
from zbuild.worker.effects import Connect, Evaluate, Kill, Stop, WorkerEffect
from zbuild.worker.lease import HeldLease, LeaseEvent, LeaseState
from zbuild.worker.lease_book import LeaseBook
from zbuild.worker.steal_settings import StealSettings
from zbuild.worker.steal_strategy import Chance
from zbuild.worker.stealing import Stealing

_GIVEN_BACK = ActionResult(status=ResultStatus.CANCELLED, message="the worker drains")


class WorkerCore:
    """One worker. Each method returns what the shell must do, in order.

    Args:
        chance: what steals are drawn from.
        counters: of all parts of the worker; new ones if there are none.
        blob_endpoint: where the worker serves blobs to its peers; empty: nowhere.
    """

    def __init__(
        self,
        hello: Hello,
        settings: StealSettings,
        chance: Chance,
        now_s: float,
        blob_endpoint: str = "",
        counters: Counter[str] | None = None,
    ) -> None:
        self.counters: Counter[str] = Counter() if counters is None else counters
        self.epoch = 0
        self._hello = hello
        self._platform = dict(hello.platform)
        self._book = LeaseBook(hello.slots, hello.queue_limit)
        self.stealing = Stealing(hello, self._book, self._platform, settings, chance, self.counters, blob_endpoint)
        self._sequence = 0
        self._is_welcome = False
        self._is_draining = False
        self._is_stopped = False
        self._next_report_s = now_s
        self._unheard_reports = 0
        self._heard_s = now_s
        self._taken_since_s: float | None = None
        self._refusals = 0
        self._drain_ends_s = math.inf

    @property
    def state(self) -> WorkerState:
        if self._is_draining:
            return WorkerState.DRAINING
        if self._book.running:
            return WorkerState.EXECUTING
        return WorkerState.STEALING if self.stealing.is_asking else WorkerState.IDLE

    @property
    def active_actions(self) -> int:
        return self._book.running

    @property
    def held_leases(self) -> int:
        """Leases that wait, run, are at a thief, or have a result that is not acknowledged."""
        return len(self._book.held)

    def is_blind(self, now_s: float) -> bool:
        """Whether the broker is not there, or is not heard."""
        return not self._is_welcome or now_s - self._heard_s >= BROKER_SILENT_S

    def lease_states(self) -> dict[LeaseId, LeaseState]:
        """Each of them, and where it is."""
        return {lease: held.state for lease, held in self._book.held.items()}

    @property
    def queue_depth(self) -> int:
        return self._book.queued

    @property
    def load_factor(self) -> float:
        return self._book.load_factor

    def receive(self, message: ToWorker, now_s: float) -> list[WorkerEffect]:
        """Take in one decoded message of the broker."""
        self._unheard_reports = 0
        self._heard_s = now_s
        match message:
            case Welcome():
                return self._welcomed(message, now_s)
            case Refused():
                return self._refused(message, now_s)
            case Lease():
                return self._granted(message)
            case Revoke():
                revoked = [effect for lease in message.leases for effect in self._revoked(lease)]
                return [*revoked, *self._book.start_next(), *self._stop_if_drained()]
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

    def requested(self, question: StealQuestion, now_s: float) -> tuple[StealAnswer, list[WorkerEffect]]:
        """A peer asks: what to answer it, at once, and what else to do."""
        return self.stealing.requested(question, now_s)

    def answered(self, endpoint: str, answer: StealAnswer, now_s: float) -> list[WorkerEffect]:
        """The peer that answers at ``endpoint`` has answered."""
        return self._with_claims(self.stealing.answered(endpoint, answer, now_s))

    def announced(self, announcement: Announcement, now_s: float) -> None:
        """The broker has published who is there, or who has work."""
        self._heard_s = now_s
        self.stealing.announced(announcement, now_s)

    def exited(self, lease: LeaseId, run_s: float = 0.0) -> list[WorkerEffect]:
        """The command of a lease has ended after ``run_s``: its slot is free while its outputs are collected."""
        held = self._book.held[lease]
        self._book.apply(held, LeaseEvent.EXIT)
        self._book.free_slot(held)
        self.stealing.ran(run_s)
        return self._book.start_next()

    def finished(self, outcomes: list[tuple[LeaseId, ActionResult]]) -> list[WorkerEffect]:
        """Runs have ended: report their results, and start what waits."""
        ended: list[Outcome] = []
        for lease, result in outcomes:
            held = self._book.held[lease]
            self._book.free_slot(held)
            held.result = _GIVEN_BACK if held.is_cut_short else _bounded(result)
            self._book.apply(held, LeaseEvent.FINISH)
            if held.state is LeaseState.ENDED:
                ended.append(Outcome(lease, held.result, held.grant.hops))
        effects: list[WorkerEffect] = []
        if self._is_welcome:
            effects += _completions(ended)
        return effects + self._book.start_next() + self._stop_if_drained()

    def evaluated(self, values: dict[str, str], now_s: float) -> list[WorkerEffect]:
        """Property values have been found; "" stands for none."""
        self._platform.update(values)
        effects: list[WorkerEffect] = []
        if self._is_welcome:
            effects.append(Send(Properties(values=tuple(sorted(values.items())))))
        return effects + self._with_claims(self.stealing.evaluated(now_s))

    def drain(self, now_s: float) -> list[WorkerEffect]:
        """Take no more leases, give back the queue, finish what runs, then stop."""
        if self._is_draining:
            return []
        self._is_draining = True
        self._drain_ends_s = now_s + DRAIN_S
        self._book.is_closed = True
        self.stealing.drain()
        effects: list[WorkerEffect] = []
        for held in self._book.held.values():
            if held.state is LeaseState.QUEUED:
                effects += self._book.leave_queue(held)
                self._given_back(held)
        return [*effects, *self._report(now_s), *self._stop_if_drained()]

    def tick(self, now_s: float) -> list[WorkerEffect]:
        """Introduce ourselves until welcome, then report at the interval."""
        effects: list[WorkerEffect] = []
        if now_s >= self._drain_ends_s:
            self._drain_ends_s = math.inf
            effects += self._cut_drain_short()
        if now_s >= self._next_report_s:
            effects += [*self._report(now_s), *self._stop_if_drained()]
        steals = self.stealing.tick(now_s, is_open=not self._is_draining, is_blind=self.is_blind(now_s))
        if self._is_draining:
            steals += self._give_back_retaken()
        return effects + self._with_claims(steals)

    def _cut_drain_short(self) -> list[WorkerEffect]:
        """What still runs is ended, and given back."""
        effects: list[WorkerEffect] = []
        for lease, held in self._book.held.items():
            if held.state is LeaseState.RUNNING:
                held.is_cut_short = True
                effects.append(Kill(lease))
        return effects

    def next_deadline_s(self) -> float:
        return min(self._next_report_s, self._drain_ends_s, self.stealing.next_deadline_s())

    def _report(self, now_s: float) -> list[WorkerEffect]:
        retakes = self.stealing.reported() if self._is_welcome and not self._unheard_reports else []
        self._unheard_reports += 1
        if not self._is_welcome:
            self._next_report_s = now_s + UNSTARTED_REPEAT_S
            return [Send(self._hello)]
        self._next_report_s = now_s + REPORT_INTERVAL_S
        counters = tuple(sorted(self.counters.items()))
        report = Report(
            sequence=self._sequence,
            held=tuple(self._book.held),
            running=self._book.running,
            is_draining=self._is_draining,
            counters=counters,
        )
        ended = [
            Outcome(lease, each.result, each.grant.hops)
            for lease, each in self._book.held.items()
            if each.state is LeaseState.ENDED and each.result is not None
        ]
        return [*retakes, *_claims(self.stealing.all_claims()), *_completions(ended), Send(report)]

    def _welcomed(self, welcome: Welcome, now_s: float) -> list[WorkerEffect]:
        if self._is_welcome and welcome.epoch == self.epoch:
            return []
        effects: list[WorkerEffect] = [Connect(welcome)]
        if welcome.epoch != self.epoch:
            self._sequence = 0
        self.epoch = welcome.epoch
        self._is_welcome = True
        self._taken_since_s = None
        self._refusals = 0
        evaluated = {name: value for name, value in self._platform.items() if (name, value) not in self._hello.platform}
        if evaluated:
            effects.append(Send(Properties(values=tuple(sorted(evaluated.items())))))
        return effects + self._report(now_s)

    def _with_claims(self, effects: list[WorkerEffect]) -> list[WorkerEffect]:
        """The broker learns of what was stolen before it can learn what became of it."""
        claims = self.stealing.take_claims() if self._is_welcome else ()
        return [*_claims(claims), *effects]

    def _give_back_retaken(self) -> list[WorkerEffect]:
        """What a thief has not taken while this worker drains goes back, too."""
        effects: list[WorkerEffect] = []
        for held in [each for each in self._book.held.values() if each.state is LeaseState.QUEUED]:
            effects += self._book.leave_queue(held)
            effects += _completions([self._given_back(held)])
        return effects

    def _refused(self, refusal: Refused, now_s: float) -> list[WorkerEffect]:
        if refusal.code == UNKNOWN_PEER:
            self._is_welcome = False
            return self._report(now_s)
        if refusal.code == WorkerIdTaken.code:
            return self._taken(refusal, now_s)
        if refusal.code == VersionMismatch.code:
            return self._stop(VersionMismatch(refusal.message))
        if not self._is_welcome:
            self._refusals += 1
            if refusal.code != ProtocolError.code or self._refusals > REFUSALS_IN_A_ROW:
                return self._stop(ProtocolError(f"the broker refuses this worker: {refusal.message}"))
        self.counters["refused"] += 1
        return [Note("refused", (("message", refusal.message),))]

    def _taken(self, refusal: Refused, now_s: float) -> list[WorkerEffect]:
        """Another process has our id. Our own former life is gone before TAKEN_REPEAT_S are over; a twin is not."""
        self._is_welcome = False
        self._refusals = 0
        since_s = self._taken_since_s
        if since_s is None:
            self._taken_since_s = now_s
            return [Note("worker_id_taken", (("message", refusal.message),))]
        return self._stop(WorkerIdTaken(refusal.message)) if now_s - since_s > TAKEN_REPEAT_S else []

    def _granted(self, message: Lease) -> list[WorkerEffect]:
        self._sequence = max(self._sequence, message.sequence)
        given_back: list[Outcome] = []
        for grant in message.grants:
            if grant.lease in self._book.held or grant.lease.epoch != self.epoch:
                self.counters["leases_ignored"] += 1
                continue
            held = self._book.add(grant)
            if self._is_draining:
                self._book.leave_queue(held)
                given_back.append(self._given_back(held))
            else:
                self.stealing.granted(grant)
        return [*_completions(given_back), *self._book.start_next()]

    def _given_back(self, held: HeldLease) -> Outcome:
        held.result = _GIVEN_BACK
        self._book.apply(held, LeaseEvent.FINISH)
        return Outcome(held.grant.lease, held.result, held.grant.hops)

    def _revoked(self, lease: LeaseId) -> list[WorkerEffect]:
        held = self._book.held.get(lease)
        if held is None:
            return []
        was = held.state
        discards = self._book.leave_queue(held) if was is LeaseState.QUEUED else []
        self._book.apply(held, LeaseEvent.REVOKE)
        return [Kill(lease)] if was is LeaseState.RUNNING else discards

    def _acknowledged(self, lease: LeaseId) -> None:
        held = self._book.held.get(lease)
        if held is not None and held.state is LeaseState.ENDED:
            self._book.apply(held, LeaseEvent.ACKNOWLEDGE)

    def _stop_if_drained(self) -> list[WorkerEffect]:
        """A drain waits for what runs, and for a broker that answers to take the results and to hear of thieves."""
        is_heard = self._unheard_reports <= DRAIN_REPORTS
        if self._is_draining and not any(is_heard or each.state not in _KEPT for each in self._book.held.values()):
            return [Send(Goodbye()), *self._stop(None)]
        return []

    def _stop(self, error: ZbuildError | None) -> list[WorkerEffect]:
        if self._is_stopped:
            return []
        self._is_stopped = True
        return [Stop(error)]


_KEPT = frozenset({LeaseState.ENDED, LeaseState.GIVEN})
"""Leases with nothing left to do here but to tell the broker."""


def _claims(leases: tuple[StolenLease, ...]) -> list[Send]:
    return [Send(Claim(leases=leases[start : start + BATCH_ACTIONS])) for start in range(0, len(leases), BATCH_ACTIONS)]


def _completions(outcomes: list[Outcome]) -> list[Send]:
    return [Send(Complete(outcomes=batch)) for batch in batches(outcomes, lambda outcome: result_bytes(outcome.result))]


def _bounded(result: ActionResult) -> ActionResult:
    """The result, or in place of one that no message can carry, the reason why there is none."""
    if not is_too_large(result):
        return result
    text = f"its {len(result.outputs)} outputs cannot be named in one message of {RESULT_BYTES} B"
    return ActionResult(status=ResultStatus.ERROR, code=BadInput.code, message=text, worker=result.worker)
