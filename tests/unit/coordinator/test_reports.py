"""Repair by comparison: what a worker says it holds against what the broker thinks."""

from __future__ import annotations

from tests.unit.coordinator.driver import EPOCH, Farm, action, answers, grants, messages, success
from zbuild.model.action import ActionResult, ResultStatus
from zbuild.protocol.messages import Acknowledge, LeaseId, Revoke


def farm_with_worker(slots: int = 2) -> Farm:
    farm = Farm()
    farm.join()
    farm.add_worker(slots=slots)
    return farm


def test_a_lease_that_never_arrived_is_granted_anew() -> None:
    farm = farm_with_worker()
    (grant,) = grants(farm.submit(action("a")))
    (again,) = grants(farm.report(sequence=1))
    assert again.lease == LeaseId(grant.lease.action, 2, EPOCH)


def test_a_lease_that_is_on_its_way_is_left_alone() -> None:
    farm = farm_with_worker()
    farm.submit(action("a"))
    assert not grants(farm.report(sequence=0))


def test_the_worker_is_told_of_the_last_lease_so_that_its_loss_is_noticed() -> None:
    """Without another Lease message the worker could never say that it has missed this one."""
    farm = farm_with_worker()
    farm.submit(action("a"))
    (acknowledge,) = messages(farm.report(sequence=0), Acknowledge)
    assert acknowledge.sequence == 1
    assert len(grants(farm.report(sequence=acknowledge.sequence))) == 1


def test_a_report_of_an_earlier_session_does_not_lose_the_leases_of_this_one() -> None:
    """The worker's link was cut and is back; what it says of the past concerns the past."""
    farm = farm_with_worker(slots=1)
    for _ in range(3):
        (grant,) = grants(farm.submit(action("a")))
        farm.complete(grant.lease, ActionResult(status=ResultStatus.FAILURE, exit_code=1))
    last_seen = 3
    farm.disconnect(b"w1")
    farm.submit(action("b"))
    assert len(grants(farm.add_worker(slots=1))) == 1
    assert not grants(farm.report(sequence=last_seen))


def test_a_held_lease_stays() -> None:
    farm = farm_with_worker()
    (grant,) = grants(farm.submit(action("a")))
    assert not messages(farm.report(grant.lease, sequence=1), Revoke)
    assert len(answers(farm.complete(grant.lease, success()))) == 1


def test_a_lease_that_the_worker_should_not_have_is_revoked() -> None:
    farm = farm_with_worker()
    (grant,) = grants(farm.submit(action("a")))
    old = LeaseId(grant.lease.action, 0, EPOCH)
    foreign = LeaseId(action("b")[0], 1, EPOCH - 1)
    (revoke,) = messages(farm.report(grant.lease, old, foreign, sequence=1), Revoke)
    assert revoke.leases == (old, foreign)


def test_a_draining_worker_is_granted_nothing() -> None:
    farm = farm_with_worker()
    farm.report(sequence=0, is_draining=True)
    farm.report(sequence=0, is_draining=True)
    assert [note.event for note in farm.notes].count("worker_draining") == 1
    assert not grants(farm.submit(action("a")))
    assert len(grants(farm.add_worker(b"w2", worker_id=2), b"w2")) == 1


def test_what_a_draining_worker_gives_back_goes_elsewhere() -> None:
    farm = farm_with_worker()
    (grant,) = grants(farm.submit(action("a")))
    farm.add_worker(b"w2", worker_id=2)
    farm.report(grant.lease, sequence=1, is_draining=True)
    sends = farm.complete(grant.lease, ActionResult(status=ResultStatus.CANCELLED))
    assert len(grants(sends, b"w2")) == 1


def test_every_report_is_acknowledged() -> None:
    assert messages(farm_with_worker().report(sequence=0), Acknowledge) == [Acknowledge(leases=(), sequence=0)]


def test_many_revocations_travel_in_messages_of_bounded_size() -> None:
    """Reports of leases that do not exist must not make a message that cannot be sent."""
    farm = farm_with_worker()
    unknown = [LeaseId(bytes([number % 256, number // 256]) + bytes(30), 1, EPOCH) for number in range(1000)]
    revokes = messages(farm.report(*unknown, sequence=0), Revoke)
    assert [len(revoke.leases) for revoke in revokes] == [256, 256, 256, 232]
