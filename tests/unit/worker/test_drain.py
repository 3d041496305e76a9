"""A drain ends: whatever the broker does, and if it does nothing any more."""

from __future__ import annotations

from tests.unit.worker.test_core import DONE, EPOCH, granted, lease, new_core, sent, welcome, welcomed
from zbuild.errors import WorkerIdTaken
from zbuild.limits import DRAIN_REPORTS, DRAIN_S, REPORT_INTERVAL_S, TAKEN_REPEAT_S
from zbuild.model.action import ResultStatus
from zbuild.protocol.messages import Acknowledge, Complete, Goodbye, Hello, Refused, Revoke
from zbuild.worker.core import WorkerCore
from zbuild.worker.effects import Kill, Stop, WorkerEffect


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
    assert not is_over(core.tick(1.0 + REPORT_INTERVAL_S))
    assert is_over(core.receive(Revoke(leases=(lease("a"),)), 7.0))


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


def test_a_drain_is_bounded_and_what_then_still_runs_is_given_back() -> None:
    core = welcomed()
    granted(core, "endless")
    core.drain(0.0)
    assert core.next_deadline_s() <= DRAIN_S
    assert not [effect for effect in core.tick(DRAIN_S - 0.1) if isinstance(effect, Kill)]
    assert Kill(lease("endless")) in core.tick(DRAIN_S)
    (complete,) = sent(core.finished([(lease("endless"), DONE)]), Complete)
    assert complete.outcomes[0].result.status is ResultStatus.CANCELLED
    assert is_over(core.receive(Acknowledge(leases=(lease("endless"),), sequence=1), DRAIN_S + 1.0))


def test_a_worker_whose_id_is_taken_asks_again_for_a_while_and_then_says_why_it_ends() -> None:
    """Its own former life is given up within that time; a twin is not."""
    core = new_core()
    core.tick(0.0)
    taken = Refused(code=WorkerIdTaken.code, message="worker id 7 belongs to w1")
    assert not [effect for effect in core.receive(taken, 0.1) if isinstance(effect, Stop)]
    assert sent(core.tick(1.1), Hello)
    assert not core.receive(taken, TAKEN_REPEAT_S)
    (stop,) = core.receive(taken, TAKEN_REPEAT_S + 0.2)
    assert isinstance(stop, Stop)
    assert str(stop.error) == "worker id 7 belongs to w1"
