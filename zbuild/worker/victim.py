"""What a worker gives to a thief, and what it takes back."""

from __future__ import annotations

import math
from collections.abc import Callable

from zbuild.errors import BadInput
from zbuild.limits import (
    BATCH_BYTES,
    GIVEN_REPORTS,
    STEAL_CANDIDATES,
    STEAL_CONFIRM_S,
    STEAL_HOPS,
    STEAL_LONG_S,
    STEAL_READS,
    UNFIT_PAIRS,
)
from zbuild.model.action import decode_header
from zbuild.model.capabilities import Capabilities
from zbuild.protocol.messages import Grant, Hello
from zbuild.protocol.steal_messages import StealAccept, StealRefusal, StealRequest, StealResponse
from zbuild.worker.effects import WorkerEffect
from zbuild.worker.input_mask import absent, decode_mask, mask_of_action
from zbuild.worker.lease import HeldLease
from zbuild.worker.lease_book import LeaseBook
from zbuild.worker.steal_settings import StealSettings
from zbuild.worker.steal_telemetry import StealTelemetry

Requirements = tuple[str, tuple[tuple[str, str], ...], Capabilities]
"""(sandbox level, properties, capabilities): whoever cannot run one action cannot run any with the same."""


class Victim:
    """Gives leases of the book away. A lease stays held, GIVEN, until the broker knows where it is.

    Args:
        usual_s: how long an action of this worker takes as a rule.
        blob_endpoint: where this worker serves the inputs that it has.
    """

    def __init__(
        self,
        hello: Hello,
        book: LeaseBook,
        settings: StealSettings,
        telemetry: StealTelemetry,
        usual_s: Callable[[], float],
        blob_endpoint: str,
    ) -> None:
        self.is_draining = False
        self._hello = hello
        self._book = book
        self._settings = settings
        self._telemetry = telemetry
        self._usual_s = usual_s
        self._blob_endpoint = blob_endpoint
        self._transfer = 0
        self._is_asked = False
        self._unfit: dict[tuple[int, int], set[Requirements]] = {}

    def answer(self, request: StealRequest, now_s: float) -> tuple[StealResponse, list[WorkerEffect]]:
        """The response, and what giving entails here. Every request has one: REP is in lock-step."""
        refusal = self._refusal(request)
        if refusal is not StealRefusal.NONE:
            return self._response(request, refusal=refusal), []
        stealable, refusal = self._stealable(request)
        chosen = self._chosen(stealable, request)
        if not chosen:
            return self._response(request, refusal=refusal), []
        self._transfer += 1
        self._is_asked = True
        effects: list[WorkerEffect] = []
        grants: list[Grant] = []
        for held in chosen:
            effects += self._book.give(held)
            held.transfer, held.thief, held.unclaimed = self._transfer, request.thief, 0
            held.retake_s = now_s + STEAL_CONFIRM_S
            grants.append(_passed_on(held.grant))
        self._telemetry.count("given", len(grants))
        response = self._response(request, transfer=self._transfer, grants=tuple(grants))
        return response, [*effects, *self._book.start_next()]

    def accepted(self, accept: StealAccept) -> list[WorkerEffect]:
        """The thief has the leases of a transfer, but for those that it declines."""
        if accept.victim != self._hello.worker_id:
            return []
        declined, returned = set(accept.declined), set(accept.returned)
        for held in list(self._book.given.values()):
            if held.transfer != accept.transfer or held.thief != accept.thief:
                continue
            if held.grant.lease in declined:
                self._remember_unfit((accept.thief, accept.incarnation), held.grant)
                self._telemetry.count("declined")
                self._book.retake(held)
            elif held.grant.lease in returned:
                self._book.retake(held)
            else:
                held.retake_s = math.inf
        return self._book.start_next()

    def tick(self, now_s: float) -> list[WorkerEffect]:
        """Take back what no thief has accepted. After a steal read the inputs of what the next one may choose from."""
        if self._is_asked:
            self._is_asked = False
            for held in self._book.unprepared(STEAL_READS):
                _mask(held)
        return self._retake([held for held in self._book.given.values() if now_s >= held.retake_s])

    def next_deadline_s(self) -> float:
        return min((held.retake_s for held in self._book.given.values()), default=math.inf)

    def reported(self) -> list[WorkerEffect]:
        """The broker has heard another report. What it lets us keep so often was never claimed: its thief is gone."""
        given = [held for held in self._book.given.values() if held.retake_s == math.inf]
        for held in given:
            held.unclaimed += 1
        return self._retake([held for held in given if held.unclaimed > GIVEN_REPORTS])

    def _refusal(self, request: StealRequest) -> StealRefusal:
        if not self._settings.is_enabled:
            return StealRefusal.DISABLED
        if request.victim != self._hello.worker_id or request.thief == self._hello.worker_id:
            return StealRefusal.NOT_ME
        if self.is_draining:
            return StealRefusal.DRAINING
        return StealRefusal.NO_ROOM if request.room < 1 else StealRefusal.NONE

    def _stealable(self, request: StealRequest) -> tuple[list[HeldLease], StealRefusal]:
        """What may go, in the order of the queue, and why nothing may if so.

        What is prepared goes only when nothing else is left, the last of it first: its inputs are here.
        """
        waiting = self._book.unprepared(STEAL_CANDIDATES) or self._book.prepared()[::-1]
        if not waiting:
            return [], StealRefusal.EMPTY
        urgent = [held for held in waiting if held.grant.priority >= request.min_priority]
        if not urgent:
            return [], StealRefusal.LOW_PRIORITY
        unfit = self._unfit.get((request.thief, request.incarnation), set())
        return [held for held in urgent if _may_go(held.grant, unfit)], StealRefusal.NOT_ELIGIBLE

    def _chosen(self, stealable: list[HeldLease], request: StealRequest) -> list[HeldLease]:
        """Up to the threshold's share of the queue, one if actions are long; first what the thief has the inputs for.

        The last one goes, too: all slots here are busy, and the thief has one that is not.
        """
        if not stealable:
            return []
        queued = max(self._book.queued, len(stealable))
        count = min(request.room, max(1, int(queued * self._settings.threshold)))
        if (stealable[0].grant.expected_s or self._usual_s()) >= STEAL_LONG_S:
            count = 1
        present = decode_mask(request.inputs)
        if present and len(stealable) > count:
            considered = stealable[: 2 * count]
            stealable = sorted(considered, key=lambda held: (-held.grant.priority, absent(_mask(held), present)))
        chosen: list[HeldLease] = []
        size_bytes = 0
        for held in stealable[:count]:
            size_bytes += len(held.grant.body)
            if chosen and size_bytes > BATCH_BYTES:
                break
            chosen.append(held)
        return chosen

    def _response(
        self,
        request: StealRequest,
        *,
        transfer: int = 0,
        grants: tuple[Grant, ...] = (),
        refusal: StealRefusal = StealRefusal.NONE,
    ) -> StealResponse:
        return StealResponse(
            victim=self._hello.worker_id,
            thief=request.thief,
            transfer=transfer,
            grants=grants,
            refusal=refusal,
            queue_depth=self._book.queued,
            load_factor=self._book.load_factor,
            backlog_s=self._book.backlog_s(self._usual_s()),
            blob_endpoint=self._blob_endpoint if grants else "",
        )

    def _retake(self, given: list[HeldLease]) -> list[WorkerEffect]:
        for held in given:
            self._book.retake(held)
        if not given:
            return []
        self._telemetry.count("retaken", len(given))
        return self._book.start_next()

    def _remember_unfit(self, thief: tuple[int, int], grant: Grant) -> None:
        if sum(map(len, self._unfit.values())) >= UNFIT_PAIRS:
            self._unfit.clear()
        self._unfit.setdefault(thief, set()).add(_requirements(grant))


def _may_go(grant: Grant, unfit: set[Requirements]) -> bool:
    """Whether a lease may be given to a thief that is unfit for those requirements."""
    is_small = len(grant.body) <= BATCH_BYTES
    return is_small and grant.hops < STEAL_HOPS and not (unfit and _requirements(grant) in unfit)


def _passed_on(grant: Grant) -> Grant:
    return Grant(grant.lease, grant.body, grant.priority, grant.weight_s, grant.expected_s, grant.hops + 1)


def _requirements(grant: Grant) -> Requirements:
    try:
        header = decode_header(grant.body)
    except BadInput:
        return ("", (), Capabilities())
    return header.sandbox, header.platform, header.capabilities


def _mask(held: HeldLease) -> int:
    if held.mask is None:
        held.mask = mask_of_action(held.grant.body)
    return held.mask
