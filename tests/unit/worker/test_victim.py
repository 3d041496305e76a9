"""What a worker gives to whom, and what it takes back."""

from __future__ import annotations

import math
from typing import Any

import pytest

from tests.unit.worker.steal_driver import (
    THIEF,
    VICTIM,
    GivingWorker,
    action_ids,
    grant,
    grant_with_inputs,
    grants,
    request,
)
from zbuild.digest import of_bytes
from zbuild.limits import BATCH_BYTES, GIVEN_REPORTS, STEAL_CANDIDATES, STEAL_CONFIRM_S, STEAL_HOPS, STEAL_LONG_S
from zbuild.model.action import InputSpec
from zbuild.protocol.messages import Grant
from zbuild.protocol.steal_messages import StealAccept, StealRefusal, StealResponse
from zbuild.worker.input_mask import encode_mask, mask_of
from zbuild.worker.lease import LeaseEvent
from zbuild.worker.steal_settings import StealSettings

PREPARED = 1
"""Leases of GivingWorker's queue whose inputs it stages already: they count, and are not given."""


def accept(response: StealResponse, **changes: Any) -> StealAccept:
    fields: dict[str, Any] = {"thief": THIEF, "incarnation": 1, "victim": VICTIM, "transfer": response.transfer}
    return StealAccept(**(fields | changes))


def names(count: int) -> list[str]:
    return [f"a{number:03}" for number in range(count)]


@pytest.mark.parametrize(("waiting", "given"), [(1, 1), (2, 1), (3, 2), (7, 4), (9, 5), (120, 60), (200, 64)])
def test_it_gives_half_of_its_queue_up_to_what_it_looks_at(waiting: int, given: int) -> None:
    worker = GivingWorker(*grants(*names(waiting)))
    assert worker.book.queued == waiting + PREPARED
    response = worker.give()
    assert len(response.grants) == given <= STEAL_CANDIDATES
    assert (response.queue_depth, response.refusal) == (waiting + PREPARED - given, StealRefusal.NONE)
    assert response.blob_endpoint == "tcp://blobs"


@pytest.mark.parametrize(("threshold", "given"), [(0.01, 1), (0.25, 2), (1.0, 8)])
def test_the_threshold_is_a_setting(threshold: float, given: int) -> None:
    worker = GivingWorker(*grants(*names(8)), settings=StealSettings(threshold=threshold))
    assert len(worker.give().grants) == given


def test_long_actions_go_one_by_one() -> None:
    assert len(GivingWorker(*grants(*names(8), expected_s=STEAL_LONG_S)).give().grants) == 1
    assert len(GivingWorker(*grants(*names(8), expected_s=0.0), usual_s=STEAL_LONG_S).give().grants) == 1
    assert len(GivingWorker(*grants(*names(8), expected_s=0.0), usual_s=0.1).give().grants) > 1


def test_it_gives_no_more_than_the_thief_has_room_for() -> None:
    worker = GivingWorker(*grants(*names(8)))
    assert len(worker.give(request(room=2)).grants) == 2
    assert worker.give(request(room=0)).refusal is StealRefusal.NO_ROOM
    assert worker.give(request(room=-1)).refusal is StealRefusal.NO_ROOM


def test_what_would_run_next_here_goes_first_and_passes_one_hop_more() -> None:
    low, first, urgent = grant("low", priority=0), grant("first", hops=3), grant("urgent", priority=100)
    worker = GivingWorker(low, first, urgent)
    response = worker.give()
    assert action_ids(response.grants) == action_ids([urgent, first])
    assert [each.hops for each in response.grants] == [1, 4]
    assert response.grants[1].body == first.body


def test_what_is_prepared_goes_only_when_nothing_else_is_left_and_the_last_of_it_first() -> None:
    worker = GivingWorker(slots=4)
    ahead = [held.grant for held in worker.book.prepared()]
    response = worker.give(request(room=1))
    assert action_ids(response.grants) == action_ids(ahead[-1:])
    assert len(worker.book.prepared()) == len(ahead) - 1


def test_the_last_one_goes_too() -> None:
    worker = GivingWorker()
    assert worker.book.queued == PREPARED
    assert len(worker.give().grants) == 1
    empty = worker.give()
    assert (empty.refusal, empty.queue_depth, empty.transfer) == (StealRefusal.EMPTY, 0, 0)


def test_it_gives_first_what_the_thief_has_the_inputs_for() -> None:
    here, there = InputSpec("/zb/a.h", of_bytes(b"here")), InputSpec("/zb/b.h", of_bytes(b"there"))
    elsewhere = [grant_with_inputs(f"here {n}", (here,)) for n in range(3)]
    fitting = [grant_with_inputs(f"there {n}", (there,)) for n in range(2)]
    worker = GivingWorker(*elsewhere, *fitting)
    asked = request(room=2, inputs=encode_mask(mask_of([there.digest])))
    assert action_ids(worker.give(asked).grants) == action_ids(fitting[:1]) + action_ids(elsewhere[:1])


def test_priority_goes_before_inputs() -> None:
    there = InputSpec("/zb/b.h", of_bytes(b"there"))
    urgent = grant_with_inputs("urgent", (InputSpec("/zb/a.h", of_bytes(b"here")),), priority=100)
    worker = GivingWorker(urgent, grant_with_inputs("fitting", (there,)))
    asked = request(room=1, inputs=encode_mask(mask_of([there.digest])))
    assert action_ids(worker.give(asked).grants) == action_ids([urgent])


@pytest.mark.parametrize("mask", [b"", b"\xff", b"\xff" * 5000])
def test_a_mask_of_another_size_says_nothing(mask: bytes) -> None:
    assert len(GivingWorker(*grants(*names(3))).give(request(inputs=mask)).grants) == 2


def test_a_thief_may_want_nothing_of_low_priority() -> None:
    worker = GivingWorker(grant("low", priority=0), grant("high", priority=100))
    response = worker.give(request(min_priority=100))
    assert len(response.grants) == 1
    assert worker.give(request(min_priority=100)).refusal is StealRefusal.LOW_PRIORITY


@pytest.mark.parametrize(
    ("asked", "refusal"),
    [
        (request(victim=9), StealRefusal.NOT_ME),
        (request(thief=VICTIM), StealRefusal.NOT_ME),
    ],
)
def test_another_worker_s_questions_are_not_answered_with_leases(asked: Any, refusal: StealRefusal) -> None:
    assert GivingWorker(*grants(*names(3))).give(asked).refusal is refusal


def test_it_gives_nothing_while_it_drains_or_is_not_to_steal() -> None:
    worker = GivingWorker(*grants(*names(3)))
    worker.victim.is_draining = True
    assert worker.give().refusal is StealRefusal.DRAINING
    disabled = GivingWorker(*grants(*names(3)), settings=StealSettings(is_enabled=False))
    assert disabled.give().refusal is StealRefusal.DISABLED


def test_a_lease_makes_a_bounded_number_of_hops() -> None:
    worker = GivingWorker(grant("tired", hops=STEAL_HOPS), grant("fresh", hops=STEAL_HOPS - 1))
    response = worker.give()
    assert [each.hops for each in response.grants] == [STEAL_HOPS]
    assert worker.give().refusal is StealRefusal.NOT_ELIGIBLE


def test_one_answer_has_a_bounded_size() -> None:
    def big(name: str, size_bytes: int) -> Grant:
        return Grant(grant(name).lease, bytes(size_bytes), 50, 1.0, 0.1)

    half = BATCH_BYTES // 2
    worker = GivingWorker(*(big(name, half) for name in names(8)))
    assert len(worker.give().grants) == 2
    worker = GivingWorker(big("one", BATCH_BYTES), big("two", BATCH_BYTES))
    assert len(worker.give().grants) == 1
    worker = GivingWorker(big("too big", BATCH_BYTES + 1))
    assert worker.give().refusal is StealRefusal.NOT_ELIGIBLE


def test_what_a_thief_cannot_run_it_is_not_offered_again_until_it_is_another_process() -> None:
    gcc, clang = {"os": "linux", "tool:/usr/bin/cc": "gcc"}, {"os": "linux", "tool:/usr/bin/cc": "clang"}
    worker = GivingWorker(*(grant(name, platform=gcc) for name in names(3)), grant("b", platform=clang))
    response = worker.give(request(room=1))
    worker.victim.accepted(accept(response, declined=(response.grants[0].lease,)))
    assert not worker.book.given
    offered = worker.give(request(room=9))
    assert action_ids(offered.grants) == action_ids([grant("b", platform=clang)])
    assert worker.give(request(room=9)).refusal is StealRefusal.NOT_ELIGIBLE
    assert worker.give(request(room=9, incarnation=2)).grants
    assert worker.counters["steal_declined"] == 1


def test_what_thieves_cannot_run_is_remembered_within_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zbuild.worker.victim.UNFIT_PAIRS", 3)
    settings = StealSettings(threshold=1.0)
    worker = GivingWorker(*(grant(name, platform={"os": name}) for name in names(5)), settings=settings)
    for _ in range(4):
        response = worker.give(request(room=1))
        worker.victim.accepted(accept(response, declined=(response.grants[0].lease,)))
    assert len(worker.give(request(room=9)).grants) == 4, "the fourth made it begin anew, and is remembered"


def test_what_a_thief_returns_it_may_be_offered_again() -> None:
    worker = GivingWorker(*grants("a"))
    response = worker.give()
    worker.victim.accepted(accept(response, returned=(response.grants[0].lease,)))
    assert not worker.book.given
    assert action_ids(worker.give().grants) == action_ids(response.grants)


def test_what_nobody_accepts_it_takes_back_in_time() -> None:
    worker = GivingWorker(*grants(*names(4)))
    worker.give(now_s=10.0)
    assert worker.victim.next_deadline_s() == 10.0 + STEAL_CONFIRM_S
    worker.victim.tick(10.0 + STEAL_CONFIRM_S - 0.001)
    assert len(worker.book.given) == 2
    worker.victim.tick(10.0 + STEAL_CONFIRM_S)
    assert not worker.book.given
    assert worker.book.queued == 4 + PREPARED
    assert worker.counters["steal_retaken"] == 2


def test_what_is_accepted_stays_away_until_the_broker_revokes_it() -> None:
    worker = GivingWorker(*grants("a"))
    response = worker.give()
    worker.victim.accepted(accept(response))
    assert worker.victim.next_deadline_s() == math.inf
    worker.victim.tick(1e6)
    (held,) = worker.book.given.values()
    worker.book.apply(held, LeaseEvent.REVOKE)
    assert response.grants[0].lease not in worker.book.held


def test_what_the_broker_does_not_revoke_it_takes_back_after_some_reports() -> None:
    worker = GivingWorker(*grants("a"))
    response = worker.give()
    worker.victim.accepted(accept(response))
    for _ in range(GIVEN_REPORTS):
        worker.victim.reported()
        assert worker.book.given
    worker.victim.reported()
    assert not worker.book.given


def test_reports_do_not_count_before_the_thief_has_accepted() -> None:
    worker = GivingWorker(*grants("a"))
    response = worker.give()
    for _ in range(9):
        worker.victim.reported()
    worker.victim.accepted(accept(response))
    worker.victim.reported()
    assert worker.book.given


@pytest.mark.parametrize("changes", [{"thief": 9}, {"victim": 9}, {"transfer": 99}])
def test_an_acceptance_of_somebody_else_s_grants_changes_nothing(changes: dict[str, int]) -> None:
    worker = GivingWorker(*grants("a"))
    response = worker.give()
    worker.victim.accepted(accept(response, **changes))
    worker.victim.accepted(accept(response, **changes, declined=(response.grants[0].lease,)))
    assert worker.victim.next_deadline_s() == STEAL_CONFIRM_S
    assert worker.book.given


def test_an_acceptance_that_comes_after_the_lease_was_given_to_another_is_of_no_use() -> None:
    worker = GivingWorker(*grants("a"))
    first = worker.give(now_s=0.0)
    worker.victim.tick(STEAL_CONFIRM_S)
    second = worker.give(request(thief=3), now_s=STEAL_CONFIRM_S)
    assert action_ids(first.grants) == action_ids(second.grants)
    worker.victim.accepted(accept(first))
    assert worker.victim.next_deadline_s() == 2 * STEAL_CONFIRM_S


def test_a_doubled_request_gets_other_leases() -> None:
    worker = GivingWorker(*grants(*names(8)))
    first, second = worker.give(), worker.give()
    assert not {*action_ids(first.grants)} & {*action_ids(second.grants)}
    assert first.transfer != second.transfer


def test_bytes_that_are_no_action_can_be_given_and_declined() -> None:
    worker = GivingWorker(Grant(grant("a").lease, b"no action", 50, 1.0, 0.1))
    response = worker.give(request(inputs=encode_mask(1)))
    worker.victim.accepted(accept(response, declined=(response.grants[0].lease,)))
    assert worker.give().refusal is StealRefusal.NOT_ELIGIBLE
