"""A drain ends: whatever the broker does, and if it does nothing any more."""

from __future__ import annotations

from tests.unit.worker.test_core import DONE, EPOCH, granted, lease, sent, welcome, welcomed
from zbuild.limits import DRAIN_REPORTS, REPORT_INTERVAL_S
from zbuild.protocol.messages import Acknowledge, Goodbye, Revoke
from zbuild.worker.core import Stop, WorkerCore, WorkerEffect


def draining_with_a_result() -> WorkerCore:
    core = welcomed()
    granted(core, "a")
    core.drain(0.0)
    core.finished([(lease("a"), DONE)])
    return core


def is_over(effects: list[WorkerEffect]) -> bool:
    return bool(sent(effects, Goodbye)) and Stop(None) in effects


def test_it_ends_when_its_last_lease_is_revoked() -> None:
    """It went on for ever: only an acknowledged result ended it."""
    core = draining_with_a_result()
    assert is_over(core.receive(Revoke(leases=(lease("a"),)), 1.0))


def test_it_ends_when_a_new_broker_wants_none_of_its_leases() -> None:
    core = draining_with_a_result()
    core.receive(welcome(EPOCH + 1), 1.0)
    assert is_over(core.tick(1.0 + REPORT_INTERVAL_S))


def test_it_ends_when_the_broker_is_gone_for_good() -> None:
    """Its result was kept for a broker that never came, until somebody killed it."""
    core = draining_with_a_result()
    for number in range(1, DRAIN_REPORTS):
        assert not is_over(core.tick(number * REPORT_INTERVAL_S))
    assert is_over(core.tick(DRAIN_REPORTS * REPORT_INTERVAL_S))


def test_a_broker_that_answers_is_given_the_result() -> None:
    core = draining_with_a_result()
    for number in range(1, 3 * DRAIN_REPORTS):
        assert not is_over(core.tick(number * REPORT_INTERVAL_S))
        core.receive(Acknowledge(leases=(), sequence=1), number * REPORT_INTERVAL_S)


def test_what_still_runs_is_waited_for() -> None:
    core = welcomed()
    granted(core, "a")
    core.drain(0.0)
    for number in range(1, 3 * DRAIN_REPORTS):
        assert not is_over(core.tick(number * REPORT_INTERVAL_S))
    assert is_over(core.finished([(lease("a"), DONE)])), "nobody has answered meanwhile"
