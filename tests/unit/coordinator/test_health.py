"""Trust in workers: the breaker, phi accrual, the strategies, and the verdict on an action."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest

from tests.unit.coordinator.driver import Farm, action, answers, broken, grants, success
from zbuild.coordinator.action_record import ActionRecord
from zbuild.coordinator.health import HealthState, WorkerHealth
from zbuild.coordinator.journal import Loss
from zbuild.coordinator.reassign import STRATEGIES, ReassignStrategy
from zbuild.coordinator.silence import SilenceDetector
from zbuild.coordinator.verdict import verdict_on
from zbuild.errors import BadInput, NoEligibleWorker, OutputMissing, SandboxFailed, WorkerLost
from zbuild.limits import FAILURE_THRESHOLD, QUARANTINE_MAX_S, QUARANTINE_MIN_S, REPORT_INTERVAL_S
from zbuild.model.action import Priority, decode_header

BODY = action("a")


def record(priority: int = 50) -> ActionRecord:
    return ActionRecord(BODY[0], BODY[1], decode_header(BODY[1]), (b"c", 1), priority, 1.0, 1.0)


def state_of(health: WorkerHealth) -> HealthState:
    return health.state


def break_it(health: WorkerHealth, now_s: float) -> None:
    while not health.failed(now_s):
        continue


def test_the_breaker_opens_at_the_third_failure_in_a_row() -> None:
    health = WorkerHealth()
    for _ in range(FAILURE_THRESHOLD - 1):
        assert not health.failed(0.0)
    assert state_of(health) is HealthState.FAILING
    health.succeeded()
    assert state_of(health) is HealthState.HEALTHY
    assert [health.failed(0.0) for _ in range(3)] == [False, False, True]
    assert state_of(health) is HealthState.FAILED


def test_the_back_off_doubles_from_5_s_to_300_s_and_one_failure_opens_a_breaker_that_recovers() -> None:
    health, now_s, waits = WorkerHealth(), 0.0, []
    for _ in range(9):
        break_it(health, now_s)
        waits.append(health.retry_s - now_s)
        health.tick(health.retry_s - 0.01)
        assert state_of(health) is HealthState.FAILED
        now_s = health.retry_s
        health.tick(now_s)
        assert state_of(health) is HealthState.RECOVERING
    assert waits[0] == QUARANTINE_MIN_S
    assert waits[-1] == QUARANTINE_MAX_S
    assert all(later == min(2 * earlier, QUARANTINE_MAX_S) for earlier, later in pairwise(waits))
    health.succeeded()
    assert state_of(health) is HealthState.HEALTHY


@pytest.mark.parametrize(("cpu", "memory", "state"), [
    (0.96, 0.1, HealthState.DEGRADED), (0.1, 0.91, HealthState.DEGRADED), (0.95, 0.90, HealthState.HEALTHY),
])  # fmt: skip  # a table
def test_a_strained_machine_is_degraded_until_it_is_relieved(cpu: float, memory: float, state: HealthState) -> None:
    health = WorkerHealth()
    health.loaded(cpu, memory)
    assert state_of(health) is state
    health.loaded(0.1, 0.1)
    assert state_of(health) is HealthState.HEALTHY


def detector(*intervals_s: float) -> SilenceDetector:
    now_s = 0.0
    made = SilenceDetector(30.0, now_s)
    for interval_s in intervals_s:
        now_s += interval_s
        made.reported(now_s)
    return made


def test_phi_grows_with_silence_as_1_minus_cdf_does_and_not_as_cdf() -> None:
    """Defect 11 of the original had the CDF itself, which is largest for a worker that was heard of just now."""
    regular = detector(*[REPORT_INTERVAL_S] * 20)
    phis = [regular.phi(silence_s) for silence_s in (1.0, 5.0, 8.0, 12.0)]
    assert phis == sorted(phis)
    assert phis[1] == pytest.approx(-math.log10(0.5))
    assert regular.phi(1000.0) == math.inf


def test_a_regular_worker_is_lost_sooner_than_one_that_is_often_late_and_both_within_the_bound() -> None:
    regular, irregular = detector(*[5.0] * 20), detector(*[1.0, 12.0] * 10)
    assert not regular.is_lost(14.9)
    assert regular.is_lost(15.1)
    assert not irregular.is_lost(25.0)
    assert irregular.is_lost(30.1)
    assert not detector(5.0).is_lost(29.9), "too little is known of it"


@pytest.mark.parametrize("strategy", ReassignStrategy)
def test_every_strategy_runs_everything_and_avoids_where_it_failed(strategy: ReassignStrategy) -> None:
    farm = Farm(strategy=strategy)
    farm.join()
    for number in (1, 2, 3):
        farm.add_worker(b"w%d" % number, worker_id=number, slots=2)
    granted = grants(farm.submit(*[action(str(number)) for number in range(6)]))
    assert len(granted) == 6
    holding = farm.core.farm.actions[granted[0].lease.action].holdings[1]
    tried = record()
    tried.losses.append(Loss(holding.worker_id, SandboxFailed.code))
    farm.complete(holding.lease, success(), holding.peer)
    worker = farm.core.farm.scheduler.class_of(tried)
    assert worker.verdicts


def test_what_each_strategy_prefers() -> None:
    farm = Farm()
    farm.add_worker(b"w1", worker_id=1, slots=4)
    farm.add_worker(b"w2", worker_id=2, slots=4)
    one, two = farm.core.farm.registry.workers.values()
    one.last_turn, two.last_turn = 5, 4
    one.hold(BODY[0])

    def preferred(strategy: ReassignStrategy, priority: int = 50) -> int:
        ranks = STRATEGIES[strategy]
        return min((one, two), key=lambda worker: ranks(record(priority), worker)).worker_id

    assert preferred(ReassignStrategy.ROUND_ROBIN) == 2
    assert preferred(ReassignStrategy.LEAST_LOADED) == 2
    before = preferred(ReassignStrategy.AFFINITY)
    one.release(BODY[0])
    two.hold(BODY[0])
    assert preferred(ReassignStrategy.AFFINITY) == before, "load does not matter while slots are free"
    assert preferred(ReassignStrategy.PRIORITY) == 1
    one.health.loaded(1.0, 0.1)
    assert preferred(ReassignStrategy.PRIORITY) == 1
    assert preferred(ReassignStrategy.PRIORITY, Priority.CRITICAL) == 2, "what is urgent avoids a strained machine"


def test_an_action_that_kills_its_workers_is_given_up_with_that_verdict() -> None:
    tried = record(Priority.CRITICAL)
    tried.losses = [Loss(1, WorkerLost.code), Loss(1, WorkerLost.code), Loss(1, WorkerLost.code)]
    assert verdict_on(tried, WorkerLost.code, "gone", has_copy=False) is None, "one worker may be its own fault"
    tried.losses.append(Loss(2, WorkerLost.code))
    verdict = verdict_on(tried, WorkerLost.code, "gone", has_copy=False)
    assert verdict is not None
    assert "4 attempts lost their workers, 2 different ones" in verdict[1]
    assert verdict_on(tried, WorkerLost.code, "gone", has_copy=True) is None, "the copy may bring a result"


@pytest.mark.parametrize("code", [OutputMissing.code, BadInput.code, NoEligibleWorker.code])
def test_a_worker_is_not_blamed_for_what_lies_in_the_action(code: int) -> None:
    """Three edges that did not make their outputs put a good worker into quarantine."""
    farm = Farm()
    farm.join()
    farm.add_worker(slots=1)
    for number in range(2 * FAILURE_THRESHOLD):
        (grant,) = grants(farm.submit(action(f"bad{number}")))
        farm.complete(grant.lease, broken(code))
        for _ in range(3):
            for again in grants(farm.sent):
                farm.complete(again.lease, broken(code))
    assert state_of(farm.core.farm.health.of(1)) is HealthState.HEALTHY


def test_a_worker_is_blamed_for_a_sandbox_that_fails() -> None:
    farm = Farm()
    farm.join()
    farm.add_worker(slots=1)
    (grant,) = grants(farm.submit(action("a")))
    farm.complete(grant.lease, broken(SandboxFailed.code))
    assert state_of(farm.core.farm.health.of(1)) is not HealthState.HEALTHY


def test_builds_of_equal_priority_share_the_farm_however_large_one_is() -> None:
    farm = Farm()
    farm.join(b"large")
    farm.join(b"small")
    farm.add_worker(slots=4, queue_limit=4)
    farm.submit(*[action(f"large {number}") for number in range(50)], peer=b"large", build=1, weight_s=1000.0)
    running = [holding.lease for each in farm.core.farm.actions.values() for holding in each.holdings.values()]
    farm.submit(*[action(f"small {number}") for number in range(10)], peer=b"small", build=2, weight_s=1.0)
    for lease in running[:2]:
        farm.complete(lease, success())
    assert farm.core.farm.scheduler.leased == {(b"large", 1): 2, (b"small", 2): 2}


def test_a_higher_priority_goes_first_whatever_it_holds() -> None:
    farm = Farm()
    farm.join(b"urgent")
    farm.join(b"calm")
    farm.add_worker(slots=2, queue_limit=2)
    farm.submit(*[action(f"u{number}") for number in range(5)], peer=b"urgent", build=1, priority=100)
    (first, *_) = [holding.lease for each in farm.core.farm.actions.values() for holding in each.holdings.values()]
    farm.submit(action("c"), peer=b"calm", build=2, weight_s=1000.0)
    assert not answers(farm.complete(first, success()), b"calm")
    assert farm.core.farm.scheduler.leased == {(b"urgent", 1): 2}


def test_an_action_far_beyond_its_recorded_duration_gets_one_copy_and_one_of_unknown_duration_none() -> None:
    farm = Farm(worker_timeout_s=1000.0)
    farm.join()
    farm.add_worker(b"w1", worker_id=1, slots=2)
    farm.submit(action("known"), expected_s=2.0)
    farm.submit(action("unknown"), expected_s=0.0)
    farm.add_worker(b"w2", worker_id=2, slots=2)
    assert not grants(farm.tick(7.9))
    (copy,) = grants(farm.tick(9.0))
    assert copy.lease.action == action("known")[0]
    assert not grants(farm.tick(60.0))
