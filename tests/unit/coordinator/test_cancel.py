"""Builds that are given up, as a whole or only what has not begun."""

from __future__ import annotations

from tests.unit.coordinator.driver import CLIENT, Farm, action, answers, grants, messages, success
from zbuild.model.action import ResultStatus
from zbuild.protocol.messages import Cancel, Goodbye, Revoke


def farm_with_one_slot() -> Farm:
    farm = Farm()
    farm.join()
    farm.add_worker(slots=1, queue_limit=1)
    return farm


def test_cancel_stops_what_runs_and_forgets_what_waits() -> None:
    farm = farm_with_one_slot()
    (grant,) = grants(farm.submit(action("running")))
    farm.submit(action("waiting"))
    sends = farm.receive(CLIENT, Cancel(build=5))
    assert messages(sends, Revoke, b"w1") == [Revoke(leases=(grant.lease,))]
    assert not answers(sends)
    assert not farm.core.farm.actions
    assert farm.core.farm.scheduler.queued == 0
    assert len(grants(farm.submit(action("next")))) == 1, "the slot is free at once"


def test_cancel_of_one_build_leaves_the_others() -> None:
    farm = farm_with_one_slot()
    farm.submit(action("mine"), build=1)
    farm.submit(action("other"), build=2)
    farm.receive(CLIENT, Cancel(build=1))
    assert list(farm.core.farm.actions) == [action("other")[0]]


def test_an_action_that_somebody_else_awaits_runs_on() -> None:
    farm = farm_with_one_slot()
    farm.join(b"second")
    (grant,) = grants(farm.submit(action("shared")))
    farm.submit(action("shared"), peer=b"second")
    assert not messages(farm.receive(CLIENT, Cancel(build=5)), Revoke)
    sends = farm.complete(grant.lease, success())
    assert [send.peer for send in sends if answers([send])] == [b"second"]


def test_a_client_that_leaves_or_vanishes_cancels() -> None:
    for end in ("goodbye", "disconnect"):
        farm = farm_with_one_slot()
        (grant,) = grants(farm.submit(action("running")))
        sends = farm.receive(CLIENT, Goodbye()) if end == "goodbye" else farm.disconnect(CLIENT)
        assert messages(sends, Revoke, b"w1") == [Revoke(leases=(grant.lease,))]


def test_cancel_of_the_queued_answers_them_and_lets_the_rest_end() -> None:
    farm = farm_with_one_slot()
    (grant,) = grants(farm.submit(action("running")))
    farm.submit(action("waiting"))
    sends = farm.receive(CLIENT, Cancel(build=5, is_queued_only=True))
    (finished,) = answers(sends)
    assert finished.action == action("waiting")[0]
    assert finished.result.status is ResultStatus.CANCELLED
    assert not messages(sends, Revoke)
    assert len(answers(farm.complete(grant.lease, success()))) == 1


def test_cancel_of_the_queued_leaves_what_another_client_awaits() -> None:
    farm = farm_with_one_slot()
    farm.join(b"second")
    (grant,) = grants(farm.submit(action("running")))
    farm.submit(action("shared"))
    farm.submit(action("shared"), peer=b"second")
    farm.receive(CLIENT, Cancel(build=5, is_queued_only=True))
    assert [each.lease.action for each in grants(farm.complete(grant.lease, success()))] == [action("shared")[0]]


def test_cancel_of_an_unknown_build_is_nothing() -> None:
    farm = farm_with_one_slot()
    assert not farm.receive(CLIENT, Cancel(build=404))
    assert not farm.receive(CLIENT, Cancel(build=404, is_queued_only=True))
