"""A broker that is started again goes on where its journal says that the last life ended."""

from __future__ import annotations

import pytest

from tests.unit.coordinator.driver import CLIENT, EPOCH, Farm, action, answers, failure, grants, messages, success
from zbuild.coordinator.action_record import ActionRecord, Holding
from zbuild.coordinator.journal import replay
from zbuild.coordinator.recovery import Recovery
from zbuild.coordinator.registry import Registry
from zbuild.errors import SandboxFailed
from zbuild.limits import RECOVERY_S
from zbuild.model.action import ActionId, ActionResult, ResultStatus
from zbuild.protocol.messages import Acknowledge, LeaseId, Revoke

NEXT = EPOCH + 1
A = action("a")


def leased(*, slots: int = 1) -> tuple[Farm, LeaseId]:
    """A farm whose worker w1 has a lease of action a."""
    farm = Farm()
    farm.join()
    farm.add_worker(slots=slots)
    (grant,) = grants(farm.submit(A))
    return farm, grant.lease


def next_life(farm: Farm) -> Farm:
    """The broker is killed, and started with its journal, cache and store."""
    following = Farm(former=replay(farm.journal), epoch=NEXT)
    following.store, following.results = farm.store, farm.results
    following.core.farm.results = farm.results
    return following


def test_a_worker_that_comes_back_first_keeps_its_lease_and_its_result_is_accepted() -> None:
    farm, lease = leased()
    farm = next_life(farm)
    farm.add_worker(slots=1)
    assert not messages(farm.report(lease, sequence=0), Revoke)
    farm.join()
    assert not grants(farm.submit(A)), "it runs already"
    (finished,) = answers(farm.complete(lease, success()))
    assert (finished.result.status, finished.attempts) == (ResultStatus.SUCCESS, 1)
    assert A[0] in farm.results.results


def test_a_client_that_comes_back_first_waits_for_the_worker() -> None:
    farm, lease = leased()
    farm = next_life(farm)
    farm.join()
    farm.add_worker(b"w2", worker_id=2)
    assert not grants(farm.submit(A)), "its worker may come back"
    assert not grants(farm.add_worker(slots=1))
    assert len(answers(farm.complete(lease, success()))) == 1


def test_a_result_that_comes_before_its_client_is_kept_and_acknowledged_only_then() -> None:
    farm, lease = leased()
    farm = next_life(farm)
    farm.add_worker(slots=1)
    (acknowledge,) = messages(farm.complete(lease, failure()), Acknowledge)
    assert acknowledge.leases == (), "a third life must be able to ask for it again"
    farm.join()
    sends = farm.submit(A)
    (finished,) = answers(sends)
    assert finished.result.exit_code == 1
    assert messages(sends, Acknowledge)[0].leases == (lease,)


def test_a_worker_that_comes_back_is_asked_about_its_own_leases_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand workers with a thousand leases would make a million looks in the second after a restart."""
    farm = Farm()
    farm.join()
    for number in range(1, 21):
        farm.add_worker(b"w%d" % number, worker_id=number, slots=1)
    actions = [action(str(number)) for number in range(20)]
    farm.submit(*actions)
    farm = next_life(farm)
    farm.join()
    farm.submit(*actions)
    looked_at: list[ActionId] = []
    original = Recovery.bring_back

    def bring_back(self: Recovery, record: ActionRecord, registry: Registry, now_s: float) -> list[Holding]:
        looked_at.append(record.action)
        return original(self, record, registry, now_s)

    monkeypatch.setattr(Recovery, "bring_back", bring_back)
    for number in range(1, 21):
        farm.add_worker(b"w%d" % number, worker_id=number, slots=1)
    assert sorted(looked_at) == sorted(each for each, _ in actions)
    assert not farm.core.farm.recovery.unheld


def test_a_worker_that_does_not_come_back_loses_its_lease_within_the_bound() -> None:
    farm, lease = leased()
    farm = next_life(farm)
    farm.join()
    farm.add_worker(b"w2", worker_id=2)
    farm.submit(A)
    assert not grants(farm.tick(RECOVERY_S - 0.1))
    (grant,) = grants(farm.tick(RECOVERY_S))
    assert grant.lease == LeaseId(lease.action, 2, NEXT)
    farm.add_worker(slots=1)
    assert not answers(farm.complete(lease, success())), "its lease is fenced now"


def test_a_successor_of_the_worker_has_not_its_leases() -> None:
    farm, _ = leased()
    farm = next_life(farm)
    farm.join()
    farm.submit(A)
    (grant,) = grants(farm.add_worker(slots=1, incarnation=99))
    assert grant.lease.attempt == 2


def test_a_worker_that_comes_back_without_its_lease_is_given_it_anew() -> None:
    farm, lease = leased()
    farm = next_life(farm)
    farm.join()
    farm.submit(A)
    farm.add_worker(slots=1)
    (grant,) = grants(farm.report(sequence=0))
    assert (grant.lease.action, grant.lease.attempt) == (lease.action, 2)


def test_what_no_client_names_again_is_revoked() -> None:
    farm, lease = leased()
    farm = next_life(farm)
    farm.add_worker(slots=1)
    farm.tick(RECOVERY_S)
    (revoke,) = messages(farm.report(lease, sequence=0), Revoke)
    assert revoke.leases == (lease,)
    assert not farm.core.journal_state().actions


def test_a_lease_that_was_lost_before_is_not_good_after() -> None:
    """A worker that was given up comes back to the next life with a lease that another has by now."""
    farm, first = leased()
    farm.add_worker(b"w2", worker_id=2)
    (second,) = grants(farm.report(sequence=9))
    farm = next_life(farm)
    farm.join()
    farm.submit(A)
    farm.add_worker(b"w1", worker_id=1, slots=1)
    assert not answers(farm.complete(first, success()))
    farm.add_worker(b"w2", worker_id=2)
    assert len(answers(farm.complete(second.lease, success(), b"w2"))) == 1


def test_losses_before_a_restart_count_after_it() -> None:
    farm, lease = leased()
    farm.report(sequence=9)
    farm = next_life(farm)
    farm.join()
    farm.add_worker(b"w3", worker_id=3)
    farm.submit(A)
    farm.tick(RECOVERY_S)
    assert [loss.worker_id for loss in farm.core.farm.actions[lease.action].losses] == [1]


def test_losses_before_a_restart_may_be_more_than_who_asks_after_it_is_granted() -> None:
    """A build of high priority had joined, and does not come back."""
    farm = Farm()
    farm.join()
    farm.add_worker(slots=1)
    waiting = grants(farm.submit(A, priority=100))
    broken = ActionResult(status=ResultStatus.ERROR, code=SandboxFailed.code, message="no sandbox")
    for _ in range(4):
        waiting = grants(farm.complete(waiting[0].lease, broken))
    farm.report(waiting[0].lease, sequence=9, is_draining=True)
    farm.complete(waiting[0].lease, ActionResult(status=ResultStatus.CANCELLED))
    farm = next_life(farm)
    farm.join()
    farm.add_worker(slots=1)
    (finished,) = answers(farm.submit(A, priority=0))
    assert "given up after 4 attempts" in finished.result.message


def test_a_finished_action_leaves_nothing_in_the_journal() -> None:
    farm, lease = leased()
    farm.complete(lease, success())
    assert not replay(farm.journal).actions
    farm = next_life(farm)
    farm.join()
    (finished,) = answers(farm.submit(A), CLIENT)
    assert finished.is_cached
