"""Faults to plant in what workers steal by, as those of mutants.py."""

from __future__ import annotations

import pytest

from tests.sim.mutants import Mutant
from zbuild.coordinator.action_record import ActionRecord
from zbuild.coordinator.journal import Granted
from zbuild.coordinator.lifecycle import Lifecycle
from zbuild.coordinator.recovery import Recovery
from zbuild.coordinator.registry import WorkerSession
from zbuild.protocol.messages import Outcome, StolenLease
from zbuild.protocol.steal_messages import StealRequest, StealResponse
from zbuild.worker.lease import HeldLease, LeaseEvent
from zbuild.worker.lease_book import LeaseBook
from zbuild.worker.stealing import Stealing
from zbuild.worker.victim import Victim


def no_hop_fencing(patch: pytest.MonkeyPatch) -> None:
    """A claim of a thief that was robbed itself takes the lease back from who has it."""
    original = Lifecycle.claim
    original_moved = Recovery.moved

    def moved(self: Recovery, stolen: StolenLease, worker: WorkerSession) -> Granted | None:
        return original_moved(self, StolenLease(stolen.lease, 1000), worker)

    def claim(self: Lifecycle, worker: WorkerSession, stolen: StolenLease) -> None:
        record = self._farm.actions.get(stolen.lease.action)
        holding = record.holdings.get(stolen.lease.attempt) if record is not None else None
        if record is not None and holding is not None and record.holding_of(worker.peer) is None:
            holding.hops = min(holding.hops, stolen.hops - 1)
        original(self, worker, stolen)

    patch.setattr(Lifecycle, "claim", claim)
    patch.setattr(Recovery, "moved", moved)


def claim_is_not_journalled(patch: pytest.MonkeyPatch) -> None:
    original = Lifecycle.claim

    def claim(self: Lifecycle, worker: WorkerSession, stolen: StolenLease) -> None:
        count = len(self._farm.journal)
        original(self, worker, stolen)
        del self._farm.journal[count:]

    patch.setattr(Lifecycle, "claim", claim)


def hops_are_forgotten_by_a_restart(patch: pytest.MonkeyPatch) -> None:
    original = Recovery.claim

    def claim(self: Recovery, record: ActionRecord, now_s: float) -> list[tuple[bytes, Outcome]]:
        outcomes = original(self, record, now_s)
        for holding in record.holdings.values():
            holding.hops = 0
        return outcomes

    patch.setattr(Recovery, "claim", claim)


def victim_forgets_what_it_gives(patch: pytest.MonkeyPatch) -> None:
    original = LeaseBook.give

    def give(self: LeaseBook, held: HeldLease) -> list[object]:
        effects = original(self, held)
        self.apply(held, LeaseEvent.REVOKE)
        return list(effects)

    patch.setattr(LeaseBook, "give", give)


def victim_never_takes_back(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("zbuild.worker.victim.STEAL_CONFIRM_S", 1e9)
    patch.setattr("zbuild.worker.victim.GIVEN_REPORTS", 1e9)


def given_lease_runs_here_too(patch: pytest.MonkeyPatch) -> None:
    """A victim takes back at once what it gives."""
    original = Victim.answer

    def answer(self: Victim, request: StealRequest, now_s: float) -> tuple[StealResponse, list[object]]:
        response, effects = original(self, request, now_s)
        return response, [*effects, *self._retake(list(self._book.given.values()))]

    patch.setattr(Victim, "answer", answer)


def thief_runs_what_it_cannot(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Stealing, "_can_run", lambda _self, _grant: True)


def stolen_lease_stays_on_the_victim_s_list(patch: pytest.MonkeyPatch) -> None:
    original = Lifecycle.claim

    def claim(self: Lifecycle, worker: WorkerSession, stolen: StolenLease) -> None:
        held = [(each, stolen.lease.action in each.held) for each in self._farm.registry.workers.values()]
        original(self, worker, stolen)
        for each, was_held in held:
            if was_held:
                each.hold(stolen.lease.action)

    patch.setattr(Lifecycle, "claim", claim)


def stolen_result_is_no_claim(patch: pytest.MonkeyPatch) -> None:
    """A thief whose Claim was lost is not believed."""
    original = Lifecycle.complete

    def complete(self: Lifecycle, worker: WorkerSession, outcome: Outcome) -> bool:
        return original(self, worker, Outcome(outcome.lease, outcome.result))

    patch.setattr(Lifecycle, "complete", complete)


STEAL_MUTANTS = (
    Mutant(no_hop_fencing, "moved back by a claim"),
    Mutant(claim_is_not_journalled, "another state"),
    Mutant(hops_are_forgotten_by_a_restart, "another state"),
    Mutant(victim_forgets_what_it_gives, "has dropped its lease"),
    Mutant(victim_never_takes_back, "has not ended"),
    Mutant(given_lease_runs_here_too, "under one lease"),
    Mutant(thief_runs_what_it_cannot, "which lacks a property"),
    Mutant(stolen_lease_stays_on_the_victim_s_list, "without being leased"),
    Mutant(stolen_result_is_no_claim, "it is not over|was retried"),
)
