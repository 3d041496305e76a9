"""Leases that go from worker to worker: defect 7 of the original, the broker follows them and loses none."""

from __future__ import annotations

import pytest

from tests.unit.coordinator.driver import CLIENT, EPOCH, Farm, action, answers, grants, messages, success
from zbuild.coordinator.action_record import ANOTHER
from zbuild.coordinator.journal import Granted, replay
from zbuild.limits import RECOVERY_S
from zbuild.model.action import ActionResult, ResultStatus
from zbuild.protocol.effects import Send
from zbuild.protocol.messages import Acknowledge, Claim, Complete, LeaseId, Outcome, Report, Revoke, StolenLease

A = action("a")
NEXT = EPOCH + 1
VICTIM, THIEF, THIRD = b"w1", b"w2", b"w3"


def stolen_farm() -> tuple[Farm, LeaseId]:
    """Worker w1 has a lease; w2 and w3 are there and idle."""
    farm = Farm()
    farm.join()
    farm.add_worker(slots=1)
    (grant,) = grants(farm.submit(A))
    farm.add_worker(THIEF, worker_id=2)
    farm.add_worker(THIRD, worker_id=3)
    return farm, grant.lease


def next_life(farm: Farm) -> Farm:
    following = Farm(former=replay(farm.journal), epoch=NEXT)
    following.store, following.results = farm.store, farm.results
    following.core.farm.results = farm.results
    return following


def claim(farm: Farm, lease: LeaseId, thief: bytes = THIEF, hops: int = 1) -> list[Send]:
    return farm.receive(thief, Claim(leases=(StolenLease(lease, hops),)))


def holder(farm: Farm, lease: LeaseId) -> bytes:
    return farm.core.farm.actions[lease.action].holdings[lease.attempt].peer


def revoked(sends: list[Send], peer: bytes) -> list[LeaseId]:
    return [lease for message in messages(sends, Revoke, peer) for lease in message.leases]


def test_a_claim_moves_the_lease_and_revokes_it_at_the_victim() -> None:
    farm, lease = stolen_farm()
    sends = claim(farm, lease)
    assert holder(farm, lease) == THIEF
    assert revoked(sends, VICTIM) == [lease]
    assert not messages(sends, Revoke, THIEF)
    assert replay(farm.journal).actions[lease.action].leases == {1: Granted(lease, 2, 2, 1)}
    (finished,) = answers(farm.complete(lease, success(), THIEF))
    assert (finished.stolen_from, finished.attempts) == ("w1", 1)


def test_the_victim_s_own_result_is_fenced_after_the_claim_and_good_before_it() -> None:
    farm, lease = stolen_farm()
    claim(farm, lease)
    assert not answers(farm.complete(lease, success(), VICTIM))
    farm, lease = stolen_farm()
    assert answers(farm.complete(lease, success(), VICTIM))
    assert revoked(claim(farm, lease), THIEF) == [lease]


def test_a_stolen_result_is_its_own_claim() -> None:
    farm, lease = stolen_farm()
    sends = farm.receive(THIEF, Complete(outcomes=(Outcome(lease, success(), 1),)))
    (finished,) = answers(sends)
    assert finished.stolen_from == "w1"
    assert revoked(sends, VICTIM) == [lease]
    assert not answers(farm.receive(THIRD, Complete(outcomes=(Outcome(lease, success(), 2),))))


def test_a_result_of_a_lease_that_was_not_stolen_claims_nothing() -> None:
    farm, lease = stolen_farm()
    assert not answers(farm.complete(lease, success(), THIEF))
    assert holder(farm, lease) == VICTIM


@pytest.mark.parametrize("hops", [-1, 0, 1])
def test_a_claim_of_no_more_hops_is_refused(hops: int) -> None:
    farm, lease = stolen_farm()
    claim(farm, lease, THIRD, 1)
    assert revoked(claim(farm, lease, THIEF, hops), THIEF) == [lease]
    assert holder(farm, lease) == THIRD
    assert farm.core.farm.counters["claims_refused"] == 1


def test_claims_that_come_in_another_order_than_the_thefts_move_nothing_back() -> None:
    """w1 to w2 to w3; w3 is faster."""
    farm, lease = stolen_farm()
    claim(farm, lease, THIRD, 2)
    assert revoked(claim(farm, lease, THIEF, 1), THIEF) == [lease]
    (finished,) = answers(farm.complete(lease, success(), THIRD))
    assert finished.stolen_from == "w1"


def test_a_claim_that_is_repeated_changes_nothing() -> None:
    farm, lease = stolen_farm()
    claim(farm, lease)
    length = len(farm.journal)
    assert not messages(claim(farm, lease), Revoke)
    assert len(farm.journal) == length
    assert farm.core.farm.counters["leases_stolen"] == 1


@pytest.mark.parametrize("lease", [LeaseId(A[0], 2, EPOCH), LeaseId(A[0], 1, EPOCH - 1), LeaseId(bytes(32), 1, EPOCH)])
def test_a_lease_that_is_not_known_is_revoked(lease: LeaseId) -> None:
    farm, real = stolen_farm()
    assert revoked(claim(farm, lease), THIEF) == [lease]
    assert holder(farm, real) == VICTIM


def test_a_worker_that_has_a_copy_cannot_have_the_lease_too() -> None:
    farm, lease = stolen_farm()
    record = farm.core.farm.actions[lease.action]
    thief = farm.core.farm.registry.workers[THIEF]
    farm.core._lifecycle.grant(record, thief)
    sends = claim(farm, lease)
    assert revoked(sends, THIEF) == revoked(sends, VICTIM) == [lease]
    assert set(record.holdings) == {2}


def test_an_action_whose_thief_loses_its_copy_is_granted_again() -> None:
    """The victim has given it away, and goes on saying that it keeps it for the thief."""
    farm, lease = stolen_farm()
    farm.core._lifecycle.grant(farm.core.farm.actions[lease.action], farm.core.farm.registry.workers[THIEF])
    claim(farm, lease)
    (again,) = grants(farm.disconnect(THIEF))
    assert again.lease.attempt == 3


def test_a_victim_that_is_lost_after_the_claim_takes_nothing_with_it_as_in_defect_7() -> None:
    farm, lease = stolen_farm()
    claim(farm, lease)
    assert not grants(farm.disconnect(VICTIM))
    assert farm.core.farm.counters["retried"] == 0
    assert answers(farm.complete(lease, success(), THIEF))


def test_a_thief_that_is_lost_after_the_claim_loses_nothing_as_in_defect_7() -> None:
    farm, lease = stolen_farm()
    claim(farm, lease)
    (again,) = grants(farm.disconnect(THIEF))
    assert (again.lease.action, again.lease.attempt) == (lease.action, 2)
    assert revoked(claim(farm, lease, THIRD, 2), THIRD) == [lease], "it is fenced"


def test_a_victim_that_was_lost_before_the_claim_has_fenced_the_lease() -> None:
    farm, lease = stolen_farm()
    (again,) = grants(farm.disconnect(VICTIM))
    assert again.lease.attempt == 2
    assert revoked(claim(farm, lease), THIEF) == [lease]


def test_a_victim_that_still_reports_the_lease_is_told_again() -> None:
    """Its Revoke was lost."""
    farm, lease = stolen_farm()
    claim(farm, lease)
    assert revoked(farm.report(lease, sequence=1), VICTIM) == [lease]


def test_a_victim_that_reports_it_no_more_has_not_lost_it() -> None:
    farm, lease = stolen_farm()
    claim(farm, lease)
    farm.report(sequence=1)
    assert holder(farm, lease) == THIEF


def test_a_thief_that_reports_without_the_lease_has_lost_it() -> None:
    farm, lease = stolen_farm()
    claim(farm, lease)
    (again,) = grants(farm.report(sequence=0, worker=THIEF))
    assert again.lease.attempt == 2


def test_a_thief_that_drains_gives_it_back() -> None:
    farm, lease = stolen_farm()
    given_back = ActionResult(status=ResultStatus.CANCELLED)
    (again,) = grants(farm.receive(THIEF, Complete(outcomes=(Outcome(lease, given_back, 1),))))
    assert again.lease.attempt == 2
    assert farm.core.farm.counters["given_back"] == 1


def test_a_claim_before_the_client_of_a_former_life_moves_the_journalled_lease() -> None:
    farm, lease = stolen_farm()
    farm = next_life(farm)
    farm.add_worker(THIEF, worker_id=2)
    assert not messages(claim(farm, lease), Revoke)
    assert farm.core.journal_state().actions[lease.action].leases[1] == Granted(lease, 2, 2, 1)
    assert farm.core.farm.counters["leases_stolen"] == 1
    assert revoked(claim(farm, lease, THIEF, 1), THIEF) == [], "it is still good"
    farm.add_worker(VICTIM, slots=1)
    assert revoked(farm.report(lease, sequence=0), VICTIM) == [lease]
    farm.join()
    assert not grants(farm.submit(A))
    assert holder(farm, lease) == THIEF
    assert answers(farm.complete(lease, success(), THIEF))


def test_a_claim_after_the_client_of_a_former_life_moves_a_lease_whose_victim_is_not_back() -> None:
    farm, lease = stolen_farm()
    farm = next_life(farm)
    farm.join()
    farm.submit(A)
    farm.add_worker(THIEF, worker_id=2)
    claim(farm, lease)
    assert holder(farm, lease) == THIEF
    assert not farm.core.farm.recovery.unheld
    assert not grants(farm.tick(RECOVERY_S + 1))
    (finished,) = answers(farm.complete(lease, success(), THIEF))
    assert finished.stolen_from == ANOTHER


def test_a_stolen_result_before_the_client_of_a_former_life_waits_for_it() -> None:
    farm, lease = stolen_farm()
    farm = next_life(farm)
    farm.add_worker(THIEF, worker_id=2)
    outcome = Outcome(lease, success(), 1)
    (acknowledge,) = messages(farm.receive(THIEF, Complete(outcomes=(outcome,))), Acknowledge)
    assert acknowledge.leases == ()
    farm.join()
    (finished,) = answers(farm.submit(A), CLIENT)
    assert finished.result.status is ResultStatus.SUCCESS


def test_a_journalled_claim_outlives_the_broker() -> None:
    """The victim comes back to the next life with the lease still on its list."""
    farm, lease = stolen_farm()
    claim(farm, lease)
    farm = next_life(farm)
    farm.add_worker(VICTIM, slots=1)
    farm.add_worker(THIEF, worker_id=2)
    assert revoked(farm.report(lease, sequence=0), VICTIM) == [lease]
    assert not messages(farm.report(lease, sequence=0, worker=THIEF), Revoke)
    farm.join()
    farm.submit(A)
    assert not answers(farm.complete(lease, success(), VICTIM))
    (finished,) = answers(farm.complete(lease, success(), THIEF))
    assert finished.stolen_from == ANOTHER, "the journal has no names"


def test_a_former_lease_is_not_claimed_with_fewer_hops_either() -> None:
    farm, lease = stolen_farm()
    claim(farm, lease, THIEF, 2)
    farm = next_life(farm)
    farm.add_worker(THIRD, worker_id=3)
    assert revoked(claim(farm, lease, THIRD, 2), THIRD) == [lease]
    assert farm.core.journal_state().actions[lease.action].leases[1].worker_id == 2


def test_a_thief_that_does_not_come_back_loses_it_within_the_bound() -> None:
    farm, lease = stolen_farm()
    claim(farm, lease)
    farm = next_life(farm)
    farm.join()
    farm.add_worker(VICTIM, slots=1)
    farm.receive(VICTIM, Report(sequence=0, held=(), running=0, is_draining=False))
    farm.submit(A)
    (again,) = grants(farm.tick(RECOVERY_S + 1))
    assert (again.lease.attempt, again.lease.epoch) == (2, NEXT)
