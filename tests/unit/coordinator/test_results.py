"""The end of an attempt: accepted, fenced, published, retried, or passed on."""

from __future__ import annotations

import pytest

from tests.unit.coordinator.driver import (
    BUILD,
    CLIENT,
    EPOCH,
    Farm,
    action,
    answers,
    broken,
    failure,
    grants,
    messages,
    success,
)
from zbuild.digest import of_bytes
from zbuild.errors import BadInput, BlobMissing, OutputMissing, WorkerLost
from zbuild.limits import (
    ACTION_BYTES,
    ATTEMPTS_BY_PRIORITY,
    BATCH_BYTES,
    CONTROL_MESSAGE_BYTES,
    ONE_WORKER_FACTOR,
    RESULT_BYTES,
)
from zbuild.model.action import ActionResult, OutputFile, OutputKind, ResultStatus
from zbuild.model.capabilities import Capabilities
from zbuild.protocol.codec import encode
from zbuild.protocol.messages import Acknowledge, Complete, Finished, LeaseId, Outcome, Submission, Submit

ONE = action("one")
TWO = action("two")


@pytest.fixture
def farm() -> Farm:
    """A client and two workers of one slot."""
    farm = Farm()
    farm.join()
    farm.add_worker(b"w1", worker_id=1, slots=1)
    farm.add_worker(b"w2", worker_id=2, slots=1)
    return farm


def lease_of(farm: Farm, submitted: tuple[bytes, bytes] = ONE, priority: int = 50) -> tuple[LeaseId, bytes]:
    """Submit an action; its lease, and the worker that has it."""
    sends = farm.submit(submitted, priority=priority)
    (grant,) = grants(sends)
    (peer,) = {send.peer for send in sends if grants([send])}
    return grant.lease, peer


def test_a_result_comes_back_to_who_asked(farm: Farm) -> None:
    """Defect 2 of the original: a request that is never answered."""
    lease, worker = lease_of(farm)
    sends = farm.complete(lease, success(), worker)
    (finished,) = messages(sends, Finished, CLIENT)
    assert finished.build == BUILD
    assert finished.actions[0].result == success()
    assert (finished.actions[0].is_cached, finished.actions[0].attempts) == (False, 1)
    assert messages(sends, Acknowledge, worker)[0].leases == (lease,)


def test_the_second_time_is_a_cache_hit(farm: Farm) -> None:
    """Defect 17 of the original: no look-up."""
    lease, worker = lease_of(farm)
    farm.complete(lease, success(), worker)
    sends = farm.submit(ONE)
    assert not grants(sends)
    (finished,) = answers(sends)
    assert (finished.is_cached, finished.attempts, finished.result) == (True, 0, success())


def test_a_hit_without_its_blobs_is_none(farm: Farm) -> None:
    lease, worker = lease_of(farm)
    farm.complete(lease, success(), worker)
    for digest in success().blobs():
        farm.store.lose(digest)
    assert len(grants(farm.submit(ONE))) == 1


def test_an_action_that_must_not_be_cached_is_not(farm: Farm) -> None:
    private = action("private", is_cacheable=False)
    lease, worker = lease_of(farm, private)
    farm.complete(lease, success(), worker)
    assert not farm.results.results
    assert len(grants(farm.submit(private))) == 1


def test_a_result_that_may_depend_on_more_than_its_key_is_not_cached(farm: Farm) -> None:
    farm.add_worker(b"open", worker_id=7, ceiling=Capabilities(network=True))
    networked = action("networked", capabilities=Capabilities(network=True))
    lease, worker = lease_of(farm, networked)
    farm.complete(lease, success(), worker)
    assert not farm.results.results
    assert len(grants(farm.submit(networked))) == 1


def test_equal_actions_in_flight_run_once(farm: Farm) -> None:
    farm.join(b"second")
    lease, worker = lease_of(farm)
    assert not grants(farm.submit(ONE, peer=b"second", build=9))
    sends = farm.complete(lease, success(), worker)
    assert {(send.peer, len(answers([send]))) for send in sends if answers([send])} == {(CLIENT, 1), (b"second", 1)}


def test_the_same_action_twice_of_one_build_is_answered_once(farm: Farm) -> None:
    lease, worker = lease_of(farm)
    farm.submit(ONE)
    assert len(answers(farm.complete(lease, success(), worker))) == 1


@pytest.mark.parametrize("result", [failure(1), failure(139), ActionResult(status=ResultStatus.TIMEOUT)])
def test_what_the_command_did_is_a_result_and_never_retried(farm: Farm, result: ActionResult) -> None:
    """Defect 9 of the original: a compile error was retried three times."""
    lease, worker = lease_of(farm)
    sends = farm.complete(lease, result, worker)
    assert not grants(sends)
    assert [finished.result for finished in answers(sends)] == [result]
    assert not farm.results.results, "only a success is cached"


@pytest.mark.parametrize(
    "fenced",
    [
        LeaseId(ONE[0], 1, EPOCH + 1),
        LeaseId(ONE[0], 2, EPOCH),
        LeaseId(ONE[0], 0, EPOCH),
        LeaseId(action("other")[0], 1, EPOCH),
    ],
)
def test_a_result_under_another_lease_is_fenced(farm: Farm, fenced: LeaseId) -> None:
    """Defect 8 of the original: two runs, two results."""
    _, worker = lease_of(farm)
    sends = farm.complete(fenced, success(), worker)
    assert not answers(sends)
    assert not farm.results.results
    assert messages(sends, Acknowledge)[0].leases == (fenced,), "or the worker would repeat it for ever"
    assert farm.core.farm.counters["fenced_results"] == 1


def test_a_result_of_another_worker_is_fenced(farm: Farm) -> None:
    lease, worker = lease_of(farm)
    other = b"w2" if worker == b"w1" else b"w1"
    assert not answers(farm.complete(lease, success(), other))
    assert not farm.results.results


def test_the_second_report_of_a_result_is_nothing(farm: Farm) -> None:
    lease, worker = lease_of(farm)
    farm.complete(lease, success(), worker)
    assert not answers(farm.complete(lease, success(), worker))
    assert farm.results.puts == [(ONE[0], False)]


def test_the_late_result_of_a_worker_that_was_given_up_is_fenced(farm: Farm) -> None:
    lease, worker = lease_of(farm)
    (second,) = grants(farm.disconnect(worker))
    farm.add_worker(worker, worker_id=7, slots=1)
    assert not answers(farm.complete(lease, success(), worker))
    assert second.lease.attempt == 2


def test_a_broken_worker_is_avoided(farm: Farm) -> None:
    lease, worker = lease_of(farm)
    sends = farm.complete(lease, broken(), worker)
    (grant,) = grants(sends)
    assert grant.lease.attempt == 2
    assert not grants(sends, worker), "the other one is free"


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(("priority", "attempts"), ATTEMPTS_BY_PRIORITY.items())
def test_attempts_are_bounded_by_priority(priority: int, attempts: int, workers: int) -> None:
    farm = Farm()
    farm.join()
    for number in range(workers):
        farm.add_worker(b"w%d" % number, worker_id=number + 1, slots=1)
    if workers == 1:
        attempts *= ONE_WORKER_FACTOR
    sends = farm.submit(ONE, priority=priority)
    made = 0
    while granted := [(send.peer, grant.lease) for send in sends for grant in grants([send])]:
        made += 1
        ((worker, lease),) = granted
        sends = farm.complete(lease, broken(), worker)
    assert made == attempts
    (finished,) = answers(sends)
    assert finished.attempts == attempts
    assert f"given up after {attempts} attempts: no sandbox" in finished.result.message


@pytest.mark.parametrize("priority", ATTEMPTS_BY_PRIORITY)
def test_a_broken_worker_does_not_use_up_the_attempts_while_a_sound_one_is_busy(priority: int) -> None:
    farm = Farm()
    farm.join()
    farm.add_worker(b"sound", worker_id=1, slots=1)
    (other,) = grants(farm.submit(TWO, priority=priority))
    farm.add_worker(b"bad", worker_id=2, slots=1)
    waiting = grants(farm.submit(ONE, priority=priority), b"bad")
    while waiting:
        sends = farm.complete(waiting[0].lease, broken(), b"bad")
        assert not answers(sends)
        waiting = grants(sends, b"bad")
    sends = farm.complete(other.lease, success(), b"sound")
    (grant,) = grants(sends, b"sound")
    (finished,) = answers(farm.complete(grant.lease, success(), b"sound"))
    assert finished.result.status is ResultStatus.SUCCESS


@pytest.mark.parametrize("code", [OutputMissing.code, BadInput.code])
def test_an_error_of_the_action_itself_is_not_retried(farm: Farm, code: int) -> None:
    lease, worker = lease_of(farm)
    (finished,) = answers(farm.complete(lease, broken(code), worker))
    assert finished.result.code == code


def test_missing_inputs_are_passed_on_to_the_client(farm: Farm) -> None:
    lease, worker = lease_of(farm)
    lost = of_bytes(b"an input")
    (finished,) = answers(farm.complete(lease, broken(BlobMissing.code, (lost,)), worker))
    assert finished.result.missing == (lost,)


def test_a_result_whose_blobs_are_not_in_the_store_is_not_believed(farm: Farm) -> None:
    lease, worker = lease_of(farm)
    sends = farm.complete(lease, success(of_bytes(b"never uploaded")), worker)
    assert not answers(sends)
    assert not farm.results.results
    assert len(grants(sends)) == 1


def test_a_full_disk_costs_the_cache_entry_and_not_the_result(farm: Farm) -> None:
    farm.results.is_full = True
    lease, worker = lease_of(farm)
    assert len(answers(farm.complete(lease, success(), worker))) == 1
    assert [note.event for note in farm.notes if note.event == "cache_write_failed"]


def test_a_lease_that_was_given_back_is_not_an_attempt(farm: Farm) -> None:
    lease, worker = lease_of(farm, priority=0)
    for _ in range(5):
        sends = farm.complete(lease, ActionResult(status=ResultStatus.CANCELLED), worker)
        (grant,) = grants(sends)
        lease = grant.lease
        (worker,) = {send.peer for send in sends if grants([send])}
    assert len(answers(farm.complete(lease, success(), worker))) == 1


def test_a_copy_that_is_given_back_does_not_start_an_attempt_beyond_the_bound() -> None:
    """While a copy runs nothing is given up; when it brings nothing, the attempts that failed meanwhile count."""
    farm = Farm(worker_timeout_s=1000.0)
    farm.join()
    for number in (1, 2, 3):
        farm.add_worker(b"w%d" % number, worker_id=number, slots=1)
    sends = farm.submit(ONE, priority=0)
    holders: list[tuple[bytes, LeaseId]] = []
    for at_s in (10.0, 20.0):
        holders += [(send.peer, grant.lease) for send in sends for grant in grants([send])]
        sends = farm.tick(at_s)
        if at_s == 10.0:
            farm.complete(holders[0][1], broken(), holders[0][0])
    holders += [(send.peer, grant.lease) for send in sends for grant in grants([send])]
    (_, (kept_by, kept), (failing, lease)) = holders
    assert not answers(farm.complete(lease, broken(), failing)), "the copy may bring a result"

    sends = farm.complete(kept, ActionResult(status=ResultStatus.CANCELLED), kept_by)

    assert not grants(sends)
    (finished,) = answers(sends)
    assert "given up after 2 attempts" in finished.result.message


def test_a_lost_worker_s_action_runs_elsewhere(farm: Farm) -> None:
    lease, worker = lease_of(farm)
    sends = farm.disconnect(worker)
    (grant,) = grants(sends)
    assert grant.lease == LeaseId(lease.action, 2, EPOCH)


def test_an_action_that_loses_every_worker_names_the_loss() -> None:
    """Whatever kills three workers may be the action itself."""
    farm = Farm()
    farm.join()
    farm.submit(ONE)
    for number in range(1, 4):
        peer = b"w%d" % number
        assert len(grants(farm.add_worker(peer, worker_id=number))) == 1
        sends = farm.disconnect(peer)
    (finished,) = answers(sends)
    assert finished.result.code == WorkerLost.code
    assert finished.result.message.startswith(
        "given up: 3 attempts lost their workers, 3 different ones; last, worker w3 was lost"
    )


@pytest.mark.parametrize(
    "submission",
    [
        Submission(ONE[0], b"other bytes", 1.0, 1.0),
        Submission(action("x")[0], action("x")[1][:-1], 1.0, 1.0),
        Submission(ONE[0], ONE[1], float("nan"), 1.0),
        Submission(ONE[0], ONE[1], 1.0, float("nan")),
        Submission(ONE[0], ONE[1], float("inf"), 1.0),
    ],
)
def test_a_bad_submission_is_answered_and_not_queued(farm: Farm, submission: Submission) -> None:
    sends = farm.receive(CLIENT, Submit(build=BUILD, priority=50, actions=(submission,)))
    (finished,) = answers(sends)
    assert finished.result.code == BadInput.code
    assert not farm.core.farm.actions


def test_an_unknown_priority_is_refused(farm: Farm) -> None:
    (finished,) = answers(farm.submit(ONE, priority=51))
    assert "priority 51" in finished.result.message


def test_a_full_queue_refuses_what_is_too_much_and_keeps_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zbuild.coordinator.submission.QUEUED_ACTIONS", 2)
    farm = Farm()
    farm.join()
    (refused,) = answers(farm.submit(*[action(str(number)) for number in range(3)]))
    assert "the broker's queue is full: 2 actions wait" in refused.result.message
    assert farm.core.farm.scheduler.queued == 2


def test_an_action_that_no_lease_message_could_carry_is_refused(farm: Farm) -> None:
    large = action("x" * (ACTION_BYTES + 1))
    (finished,) = answers(farm.submit(large))
    assert finished.result.code == BadInput.code
    assert str(len(large[1])) in finished.result.message


def with_outputs(count: int, path_chars: int) -> ActionResult:
    return ActionResult(
        status=ResultStatus.SUCCESS,
        outputs=tuple(
            OutputFile(f"/zb/build/{number:0{path_chars}}", OutputKind.FILE, success().outputs[0].digest)
            for number in range(count)
        ),
    )


def test_many_large_results_at_once_fit_their_messages(farm: Farm) -> None:
    """A client that asks for many cached actions with many outputs must not end the broker."""
    result = with_outputs(2000, 100)
    actions = [action(str(number)) for number in range(60)]
    for each, _ in actions:
        farm.results.results[each] = result
    finished = messages(farm.submit(*actions), Finished)
    assert sum(len(message.actions) for message in finished) == 60
    assert len(finished) > 1
    for message in finished:
        assert len(encode(message)) <= max(BATCH_BYTES, 2 * len(encode(Finished(build=1, actions=message.actions[:1]))))


def test_a_result_that_no_message_could_carry_ends_the_action_with_a_reason(farm: Farm) -> None:
    lease, worker = lease_of(farm)
    huge = with_outputs(40_000, 100)
    (finished,) = answers(farm.receive(worker, Complete(outcomes=(Outcome(lease, huge),))))
    assert finished.result.code == BadInput.code
    assert "40000 outputs" in finished.result.message
    assert RESULT_BYTES < CONTROL_MESSAGE_BYTES
