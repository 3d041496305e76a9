"""Which action goes where, and when."""

from __future__ import annotations

import pytest

from tests.unit.coordinator.driver import Farm, action, grants, messages, success
from zbuild.limits import BATCH_BYTES, STALE_ENTRIES
from zbuild.model.action import Priority
from zbuild.protocol.messages import Cancel, Lease


def order(farm: Farm) -> list[bytes]:
    """What a worker of one slot that comes now is granted, one after the other."""
    found = []
    waiting = grants(farm.add_worker(b"late", worker_id=99, slots=1, queue_limit=1))
    while waiting:
        (grant,) = waiting
        found.append(grant.lease.action)
        waiting = grants(farm.complete(grant.lease, success(), worker=b"late"))
    return found


def test_a_higher_priority_goes_first_whatever_its_path() -> None:
    farm = Farm()
    farm.join()
    farm.submit(action("low"), priority=Priority.LOW, weight_s=1000.0)
    farm.submit(action("normal"), priority=Priority.NORMAL, weight_s=100.0)
    farm.submit(action("critical"), priority=Priority.CRITICAL, weight_s=0.1)
    farm.submit(action("high"), priority=Priority.HIGH, weight_s=1.0)
    assert order(farm) == [action(name)[0] for name in ("critical", "high", "normal", "low")]


def test_within_a_priority_the_longest_remaining_path_goes_first() -> None:
    farm = Farm()
    farm.join()
    for weight_s in (1.0, 9.0, 3.0, 27.0):
        farm.submit(action(str(weight_s)), weight_s=weight_s)
    assert order(farm) == [action(name)[0] for name in ("27.0", "9.0", "3.0", "1.0")]


def test_equal_actions_go_in_the_order_of_arrival() -> None:
    farm = Farm()
    farm.join()
    names = [f"a{number}" for number in range(20)]
    for name in names:
        farm.submit(action(name))
    assert order(farm) == [action(name)[0] for name in names]


def test_priority_counts_across_platform_classes() -> None:
    farm = Farm()
    farm.join()
    farm.submit(action("plain"), priority=Priority.LOW)
    urgent = action("urgent", {"os": "linux", "arch": "x86_64"})
    farm.submit(urgent, priority=Priority.HIGH)
    sends = farm.add_worker(slots=1, queue_limit=1, platform={"os": "linux", "arch": "x86_64"})
    assert [grant.lease.action for grant in grants(sends)] == [urgent[0]]


def test_a_later_client_raises_the_priority_of_an_action_that_waits() -> None:
    farm = Farm()
    farm.join()
    farm.join(b"second")
    farm.submit(action("first"), priority=Priority.LOW)
    farm.submit(action("wanted"), priority=Priority.LOW)
    farm.submit(action("wanted"), priority=Priority.HIGH, peer=b"second")
    assert order(farm) == [action("wanted")[0], action("first")[0]]


def test_a_later_client_does_not_lower_it() -> None:
    farm = Farm()
    farm.join()
    farm.join(b"second")
    farm.submit(action("first"), priority=Priority.NORMAL)
    farm.submit(action("wanted"), priority=Priority.HIGH)
    farm.submit(action("wanted"), priority=Priority.LOW, peer=b"second")
    assert order(farm) == [action("wanted")[0], action("first")[0]]


def test_the_least_loaded_worker_is_chosen() -> None:
    farm = Farm()
    farm.join()
    farm.add_worker(b"big", worker_id=1, slots=4)
    farm.add_worker(b"small", worker_id=2, slots=1)
    peers = [send.peer for number in range(5) for send in farm.submit(action(str(number)))]
    assert sorted(peers) == [b"big"] * 4 + [b"small"]
    assert peers[:2] == [b"big", b"small"], "one lease in four slots is less than one in one"


def test_no_more_than_the_slots_without_a_backlog() -> None:
    farm = Farm()
    farm.join()
    farm.add_worker(slots=2)
    sent = [grants(farm.submit(action(str(number)))) for number in range(4)]
    assert [len(each) for each in sent] == [1, 1, 0, 0]


def test_prefetch_with_a_backlog_and_only_of_short_actions() -> None:
    farm = Farm()
    farm.join()
    farm.add_worker(slots=2, queue_limit=64)
    actions = [action(str(number)) for number in range(100)]
    granted = grants(farm.submit(*actions, expected_s=0.01))
    assert len(granted) == 2 + 20, "two slots run 20 actions of 10 ms in PREFETCH_S"

    farm = Farm()
    farm.join()
    farm.add_worker(slots=2, queue_limit=64)
    assert len(grants(farm.submit(*actions, expected_s=60.0))) == 3, "one ahead hides the round trip"


def test_prefetch_ends_where_the_backlog_does() -> None:
    farm = Farm()
    farm.join()
    farm.add_worker(slots=4)
    assert len(grants(farm.submit(*[action(str(number)) for number in range(6)], expected_s=0.001))) == 4


def test_the_queue_limit_of_a_worker_holds() -> None:
    farm = Farm()
    farm.join()
    farm.add_worker(slots=2, queue_limit=5)
    assert len(grants(farm.submit(*[action(str(number)) for number in range(100)], expected_s=1e-9))) == 5


@pytest.mark.parametrize("expected_s", [0.0, -1.0, 1e-300, 1e300])
def test_any_expectation_is_survived(expected_s: float) -> None:
    farm = Farm()
    farm.join()
    farm.add_worker(slots=2)
    assert grants(farm.submit(*[action(str(number)) for number in range(10)], expected_s=expected_s))


def test_grants_of_one_dispatch_travel_together() -> None:
    farm = Farm()
    farm.join()
    farm.submit(*[action(str(number)) for number in range(3)])
    assert len(messages(farm.add_worker(slots=8), Lease)) == 1


def test_large_bodies_are_not_put_into_one_message() -> None:
    farm = Farm()
    farm.join()
    farm.submit(*[action(f"{number}" + "x" * (BATCH_BYTES * 2 // 3)) for number in range(3)])
    leases = messages(farm.add_worker(slots=8), Lease)
    assert [len(lease.grants) for lease in leases] == [1, 1, 1]
    assert [lease.sequence for lease in leases] == [1, 2, 3]


def test_given_up_actions_leave_the_queue_s_memory() -> None:
    """A client that submits and cancels for ever must not fill the broker."""
    farm = Farm()
    farm.join()
    farm.submit(action("kept"), build=1)
    for round_number in range(10):
        actions = [action(f"{round_number}/{number}") for number in range(STALE_ENTRIES // 2)]
        farm.submit(*actions, build=2)
        farm.receive(b"client", Cancel(build=2))
    (platform_class,) = farm.core.farm.scheduler.classes.values()
    assert platform_class.queued == 1
    assert len(list(platform_class.entries())) <= STALE_ENTRIES + 2
    assert order(farm) == [action("kept")[0]]


def test_the_order_survives_a_sweep_of_what_was_given_up() -> None:
    farm = Farm()
    farm.join()
    weights = [float(number * 7919 % 101) for number in range(101)]
    for weight_s in weights:
        farm.submit(action(f"kept {weight_s}"), build=1, weight_s=weight_s)
    for round_number in range(4):
        actions = [action(f"{round_number}/{number}") for number in range(STALE_ENTRIES // 2)]
        farm.submit(*actions, build=2, weight_s=50.5)
        farm.receive(b"client", Cancel(build=2))
    assert order(farm) == [action(f"kept {weight_s}")[0] for weight_s in sorted(weights, reverse=True)]
