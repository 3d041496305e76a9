"""Who is there: greetings, refusals, silence, and what a snapshot says of it."""

from __future__ import annotations

import msgspec
import pytest

from tests.unit.coordinator.driver import CLIENT, EPOCH, Farm, action, broken, grants, messages, success
from zbuild.errors import BadInput, ProtocolError, VersionMismatch
from zbuild.limits import CLIENT_TIMEOUT_S, PROPERTY_VALUE_BYTES, SESSIONS
from zbuild.model.action import ActionResult, ResultStatus
from zbuild.protocol.messages import (
    PROTOCOL_VERSION,
    UNKNOWN_PEER,
    BuildState,
    Cancel,
    Complete,
    Finished,
    Goodbye,
    HeartBeat,
    Hello,
    Keepalive,
    Outcome,
    Properties,
    Refused,
    Report,
    Revoke,
    Role,
    Submit,
    ToBroker,
    Welcome,
    WorkerState,
)
from zbuild.protocol.status_messages import Status, StatusRequest

WORKER = Hello(
    protocol_version=PROTOCOL_VERSION,
    role=Role.WORKER,
    name="w",
    incarnation=1,
    worker_id=1,
    slots=1,
    queue_limit=1,
    sandbox="hermetic",
)


def test_a_peer_is_welcomed_with_the_epoch() -> None:
    farm = Farm()
    (welcome,) = messages(farm.add_worker(), Welcome)
    assert welcome.epoch == EPOCH


@pytest.mark.parametrize("role", Role)
def test_another_protocol_version_is_refused_by_both_numbers(role: Role) -> None:
    farm = Farm()
    hello = msgspec.structs.replace(WORKER, protocol_version=PROTOCOL_VERSION + 1, role=role, name="new")
    (refused,) = messages(farm.receive(b"p", hello), Refused)
    assert refused.code == VersionMismatch.code
    assert refused.message == f"new speaks protocol version {PROTOCOL_VERSION + 1}, this broker {PROTOCOL_VERSION}"
    assert not farm.core.farm.registry.count()


@pytest.mark.parametrize("wrong", [{"slots": 0}, {"queue_limit": 0}, {"worker_id": 0}, {"slots": -1}])
def test_a_worker_without_slots_or_id_is_refused(wrong: dict[str, int]) -> None:
    farm = Farm()
    (refused,) = messages(farm.receive(b"p", msgspec.structs.replace(WORKER, **wrong)), Refused)
    assert refused.code == BadInput.code
    assert not farm.core.farm.registry.workers


def test_one_worker_too_many_is_refused() -> None:
    farm = Farm(max_workers=1)
    farm.add_worker(b"w1", worker_id=1)
    (refused,) = messages(farm.add_worker(b"w2", worker_id=2), Refused)
    assert "1 workers" in refused.message


def test_a_worker_that_comes_back_to_a_full_farm_takes_its_own_place() -> None:
    farm = Farm(max_workers=1)
    farm.add_worker(b"first life", worker_id=1)
    farm.cut(b"first life")
    assert messages(farm.add_worker(b"second life", worker_id=1, incarnation=2), Welcome)
    assert list(farm.core.farm.registry.workers) == [b"second life"]


def test_one_peer_too_many_is_refused() -> None:
    farm = Farm()
    for number in range(SESSIONS):
        farm.join(b"c%d" % number)
    farm.join(b"one more")
    assert farm.core.farm.registry.count() == SESSIONS
    assert b"one more" not in farm.core.farm.registry.clients


@pytest.mark.parametrize(
    "message",
    [
        Report(sequence=0, held=(), running=0, is_draining=False),
        Keepalive(build=1, awaited=()),
        Submit(build=1, priority=50, actions=()),
    ],
)
def test_a_stranger_is_asked_to_introduce_itself(message: ToBroker) -> None:
    (refused,) = messages(Farm().receive(b"stranger", message), Refused)
    assert refused.code == UNKNOWN_PEER


def test_a_stranger_s_goodbye_needs_no_answer() -> None:
    assert not Farm().receive(b"stranger", Goodbye())


def test_a_message_of_the_other_role_is_refused_and_changes_nothing() -> None:
    farm = Farm()
    farm.join()
    farm.add_worker()
    (refused,) = messages(farm.receive(b"w1", Submit(build=1, priority=50, actions=())), Refused)
    assert refused.code == ProtocolError.code
    (refused,) = messages(farm.receive(CLIENT, Report(sequence=0, held=(), running=0, is_draining=True)), Refused)
    assert "a client cannot send Report" in refused.message


def test_bytes_that_are_no_message_are_answered() -> None:
    farm = Farm()
    farm.core.undecodable(b"p", ProtocolError("no such message"))
    (refused,) = messages(farm.dispatch(), Refused, b"p")
    assert (refused.code, refused.message) == (ProtocolError.code, "no such message")


def test_a_silent_worker_is_lost_and_its_action_runs_elsewhere() -> None:
    """Defect 11 of the original: silence was never noticed."""
    farm = Farm(worker_timeout_s=15.0)
    farm.join()
    farm.add_worker(b"w1", worker_id=1, slots=1)
    farm.submit(action("a"), expected_s=100.0)
    farm.tick(10.0)
    farm.receive(CLIENT, Keepalive(build=1, awaited=()))
    farm.add_worker(b"w2", worker_id=2)
    assert not farm.tick(14.9)
    assert len(grants(farm.tick(15.1), b"w2")) == 1
    assert list(farm.core.farm.registry.workers) == [b"w2"]


def test_a_report_keeps_a_worker_and_a_heartbeat_does_not() -> None:
    farm = Farm(worker_timeout_s=15.0)
    farm.add_worker()
    farm.now_s = 10.0
    farm.report(sequence=0)
    farm.tick(24.0)
    assert farm.core.farm.registry.workers
    farm.core.receive_heartbeat(heartbeat(sequence=1))
    farm.tick(25.1)
    assert not farm.core.farm.registry.workers


def test_a_silent_client_s_actions_are_given_up() -> None:
    farm = Farm(worker_timeout_s=1000.0)
    farm.join()
    farm.add_worker()
    (grant,) = grants(farm.submit(action("a")))
    sends = farm.tick(CLIENT_TIMEOUT_S + 1.0, keeps_clients=False)
    assert messages(sends, Revoke, b"w1")[0].leases == (grant.lease,)
    assert not farm.core.farm.actions
    assert not farm.core.farm.registry.clients


def test_a_keepalive_keeps_a_client() -> None:
    farm = Farm()
    farm.join()
    farm.now_s = CLIENT_TIMEOUT_S - 1.0
    farm.receive(CLIENT, Keepalive(build=1, awaited=()))
    farm.tick(2 * CLIENT_TIMEOUT_S - 2.0)
    assert farm.core.farm.registry.clients


def test_a_peer_that_is_gone_is_sent_nothing() -> None:
    """What was meant for it in the same turn is dropped: its action goes to another worker, its result to nobody."""
    farm = Farm()
    farm.join()
    farm.join(b"second")
    farm.add_worker(slots=2)
    first, second = grants(farm.submit(action("a"), action("b")))
    farm.submit(action("a"), peer=b"second")
    farm.core.receive(b"w1", Complete(outcomes=(Outcome(first.lease, success()),)), farm.now_s)
    farm.core.receive(CLIENT, Cancel(build=5), farm.now_s)
    farm.core.receive(CLIENT, Goodbye(), farm.now_s)
    farm.core.receive(b"w1", Goodbye(), farm.now_s)
    sends = farm.dispatch()
    assert second.lease.action not in farm.core.farm.actions
    assert not messages(sends, Finished, CLIENT)
    assert len(messages(sends, Finished, b"second")) == 1
    assert not messages(sends, Revoke)


def test_nothing_is_sent_twice() -> None:
    farm = Farm()
    farm.join()
    farm.add_worker()
    farm.submit(action("a"))
    assert messages(farm.receive(CLIENT, Cancel(build=5)), Revoke)
    assert farm.dispatch() == []


def test_a_property_that_is_too_long_is_not_kept() -> None:
    farm = Farm()
    farm.add_worker()
    values = (("n" * (PROPERTY_VALUE_BYTES + 1), "v"), ("n", "v" * (PROPERTY_VALUE_BYTES + 1)), ("kept", "v"))
    farm.receive(b"w1", Properties(values=values))
    assert farm.core.farm.registry.workers[b"w1"].platform == {"os": "linux", "kept": "v"}


def test_a_second_hello_on_the_same_link_changes_nothing() -> None:
    farm = Farm()
    farm.join()
    farm.add_worker(slots=1)
    farm.submit(action("a"))
    assert messages(farm.add_worker(slots=1), Welcome)
    assert len(farm.core.farm.registry.workers[b"w1"].held) == 1
    assert farm.core.farm.registry.slots == 1


def test_the_slots_of_a_worker_go_with_it() -> None:
    farm = Farm()
    farm.add_worker(slots=8)
    farm.receive(b"w1", Goodbye())
    assert farm.core.farm.registry.slots == 0


def test_a_keepalive_tells_what_is_known_and_what_is_not() -> None:
    farm = Farm()
    farm.join()
    farm.add_worker(slots=1, queue_limit=1)
    running, waiting, unknown = (action(name)[0] for name in ("running", "waiting", "unknown"))
    farm.submit(action("running"), build=3)
    farm.submit(action("waiting"), action("waiting, too"), build=3)
    (state,) = messages(farm.receive(CLIENT, Keepalive(build=3, awaited=(running, waiting, unknown))), BuildState)
    assert state == BuildState(build=3, unknown=(unknown,), running=1, queued=2, workers=1)


def heartbeat(sequence: int, incarnation: int = 1, cpu_usage: float = 0.5) -> HeartBeat:
    return HeartBeat(
        worker_id=1,
        incarnation=incarnation,
        sequence=sequence,
        state=WorkerState.IDLE,
        queue_depth=0,
        active_actions=0,
        cpu_usage=cpu_usage,
        memory_usage=0.25,
        disk_usage=0.125,
    )


def test_the_latest_heartbeat_wins_and_one_of_an_earlier_life_is_ignored() -> None:
    farm = Farm()
    farm.add_worker()
    farm.core.receive_heartbeat(heartbeat(sequence=2, cpu_usage=0.2))
    farm.core.receive_heartbeat(heartbeat(sequence=1, cpu_usage=0.1))
    farm.core.receive_heartbeat(heartbeat(sequence=9, cpu_usage=0.9, incarnation=8))
    (status,) = messages(farm.receive(b"anyone", StatusRequest()), Status)
    assert status.workers[0].cpu_usage == 0.2


def test_status_counts_what_there_is() -> None:
    farm = Farm()
    farm.join()
    farm.add_worker(slots=1, queue_limit=1)
    farm.submit(action("running"))
    farm.submit(action("waiting"))
    farm.now_s = 12.0
    farm.report(sequence=0, running=1)
    (status,) = messages(farm.receive(b"anyone", StatusRequest()), Status)
    assert (status.queued, status.leased, status.clients, status.uptime_s) == (1, 1, 1, 12.0)
    (worker,) = status.workers
    assert (worker.name, worker.slots, worker.held, worker.running, worker.cpu_usage) == ("w1", 1, 1, 1, -1.0)


def test_what_happens_is_counted() -> None:
    farm = Farm()
    farm.join()
    farm.join(b"second")
    farm.add_worker(slots=8)
    first, second, third = grants(farm.submit(*[action(name) for name in "abc"]))
    farm.submit(action("a"), peer=b"second")
    farm.complete(first.lease, success())
    farm.submit(action("a"))
    (again,) = grants(farm.complete(second.lease, broken()))
    farm.complete(second.lease, success())
    (back,) = grants(farm.complete(again.lease, ActionResult(status=ResultStatus.CANCELLED)))
    farm.complete(back.lease, success())
    farm.receive(CLIENT, Cancel(build=5))
    farm.receive(b"stranger", Keepalive(build=1, awaited=()))
    farm.disconnect(b"w1")
    assert third.lease.attempt == 1
    (status,) = messages(farm.receive(b"anyone", StatusRequest()), Status)
    assert dict(status.counters) == {
        "cache_hits": 1,
        "cache_misses": 3,
        "cancelled": 1,
        "executed": 2,
        "fenced_results": 1,
        "given_back": 1,
        "joined": 1,
        "leases_granted": 5,
        "retried": 1,
        "submitted": 5,
        "unknown_peer": 1,
        "workers_joined": 1,
        "workers_left": 1,
    }
    events = [note.event for note in farm.notes]
    assert events == ["worker_joined", "retried", "worker_left"]


def test_a_worker_that_comes_again_as_another_loses_what_it_held() -> None:
    farm = Farm()
    farm.join()
    farm.add_worker(b"w1", worker_id=1)
    assert len(grants(farm.submit(action("a")))) == 1
    assert len(grants(farm.add_worker(b"w1", worker_id=2))) == 1, "under a new lease"
