"""Links that close: what is kept for a peer that comes back, and what it costs when it does not."""

from __future__ import annotations

from tests.unit.coordinator.driver import CLIENT, Farm, action, answers, grants, messages, success
from zbuild.coordinator.health import HealthState
from zbuild.errors import WorkerIdTaken
from zbuild.limits import RECONNECT_GRACE_S, SUSPENDED_S, WORKER_TAKEN_S
from zbuild.protocol.messages import UNKNOWN_PEER, Refused, Revoke, Welcome

A = action("a")


def test_a_worker_that_comes_back_in_time_keeps_its_lease() -> None:
    farm = Farm()
    farm.join()
    farm.add_worker(slots=1)
    (grant,) = grants(farm.submit(A))
    farm.cut(b"w1")
    assert not grants(farm.tick(RECONNECT_GRACE_S - 0.1))
    farm.core.connected(b"w1")
    (refused,) = messages(farm.dispatch(), Refused)
    assert refused.code == UNKNOWN_PEER, "it says at once what it holds"
    farm.add_worker(slots=1)
    farm.tick(3.0)
    farm.report(grant.lease, sequence=1)
    (finished,) = answers(farm.complete(grant.lease, success()))
    assert finished.attempts == 1
    assert not farm.core.farm.counters["retried"]


def test_a_worker_that_is_away_is_granted_nothing_and_given_up_after_the_grace() -> None:
    farm = Farm()
    farm.join()
    farm.add_worker(slots=2)
    farm.cut(b"w1")
    assert not grants(farm.submit(A))
    farm.tick(RECONNECT_GRACE_S + 0.6)
    assert not farm.core.farm.registry.workers


def test_an_idle_worker_begins_a_copy_at_once_and_the_first_result_wins() -> None:
    farm = Farm()
    farm.join()
    farm.add_worker(b"w1", worker_id=1, slots=1)
    (first,) = grants(farm.submit(A))
    farm.add_worker(b"w2", worker_id=2, slots=1)
    (copy,) = grants(farm.cut(b"w1"), b"w2")
    assert copy.lease.attempt == 2
    farm.add_worker(b"w1", worker_id=1, slots=1)
    sends = farm.complete(first.lease, success(), b"w1")
    assert len(answers(sends)) == 1
    assert messages(sends, Revoke, b"w2")[0].leases == (copy.lease,)
    assert not answers(farm.complete(copy.lease, success(), b"w2"))
    assert farm.core.farm.counters["executed"] == 1


def test_a_client_whose_link_flaps_loses_nothing() -> None:
    farm = Farm()
    farm.join()
    farm.add_worker(slots=1)
    (grant,) = grants(farm.submit(A))
    assert not farm.cut(CLIENT)
    farm.join()
    assert not messages(farm.tick(RECONNECT_GRACE_S + 0.6), Revoke)
    assert len(answers(farm.complete(grant.lease, success()))) == 1


def test_a_twin_of_a_living_worker_is_refused_by_name_and_takes_the_place_of_a_silent_one() -> None:
    farm = Farm()
    farm.add_worker(b"w1", worker_id=7)
    (refused,) = messages(farm.add_worker(b"twin", worker_id=7, incarnation=8), Refused)
    assert refused.code == WorkerIdTaken.code
    assert "worker id 7 belongs to w1" in refused.message
    assert list(farm.core.farm.registry.workers) == [b"w1"]
    farm.tick(WORKER_TAKEN_S - 0.1)
    assert not messages(farm.add_worker(b"twin", worker_id=7, incarnation=8), Welcome)
    farm.now_s = WORKER_TAKEN_S + 0.1
    assert messages(farm.add_worker(b"twin", worker_id=7, incarnation=8), Welcome)
    assert list(farm.core.farm.registry.workers) == [b"twin"]


def test_a_broker_that_stood_still_blames_nobody() -> None:
    """SIGSTOP, a suspended laptop: the messages of that time wait in the socket."""
    farm = Farm()
    farm.join()
    farm.add_worker(slots=1)
    farm.submit(A)
    farm.core.tick(0.5)
    farm.core.tick(0.5 + 10 * SUSPENDED_S)
    assert len(farm.core.farm.registry.workers) == 1
    assert len(farm.core.farm.registry.clients) == 1
    assert farm.core.farm.counters["suspensions"] == 1


def test_a_worker_lost_with_leases_thrice_in_a_row_is_quarantined_and_then_tried_with_one() -> None:
    farm = Farm()
    farm.join()
    farm.add_worker(b"good", worker_id=2, slots=1)
    for number in range(10):
        farm.submit(action(f"{number}"), expected_s=0.0, priority=200)
    for life in range(3):
        peer = b"life %d" % life
        assert grants(farm.add_worker(peer, worker_id=1, slots=2, incarnation=life + 10), peer)
        farm.disconnect(peer)
    assert not grants(farm.add_worker(b"back", worker_id=1, slots=2, incarnation=99)), "nothing in quarantine"
    health = farm.core.farm.health.of(1)
    state, retry_s = health.state, health.retry_s
    assert state is HealthState.FAILED
    assert farm.core.farm.counters["workers_quarantined"] == 1
    farm.tick(retry_s - 0.1)
    assert len(grants(farm.tick(retry_s + 0.5), b"back")) == 1, "one action tries it"
