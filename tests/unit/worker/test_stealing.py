"""A worker among its peers: what it takes of what it is given, what it says of it, and hostile answers."""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random

import pytest

from tests.unit.worker.steal_driver import (
    EPOCH,
    HELD_AT_MOST,
    THIEF,
    TakingWorker,
    announcement,
    endpoint,
    grant,
    grants,
    hello,
    request,
    response,
)
from tests.unit.worker.test_core import DONE, new_core, welcome
from zbuild.limits import BATCH_ACTIONS, PROPERTY_QUERY_NAMES, STEAL_CONFIRM_S, STEAL_IDLE_MIN_S
from zbuild.model.action import ResultStatus
from zbuild.protocol.effects import Send
from zbuild.protocol.messages import Claim, Complete, Grant, Lease, LeaseId, Report, Revoke, StolenLease
from zbuild.protocol.steal_messages import StealAccept, StealNoted, StealRequest, StealResponse
from zbuild.worker.core import WorkerCore, _claims
from zbuild.worker.effects import Ask, Evaluate, Prepare, Start, WorkerEffect
from zbuild.worker.lease import LeaseEvent
from zbuild.worker.steal_settings import StealSettings

VICTIM = 1
OTHER = 3
CC = "tool:/usr/bin/cc"


class Thieving(TakingWorker):
    """A worker that has asked VICTIM for work, and gets what a test makes up."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self.stealing.announced(announcement(VICTIM), 0.0)
        self.ask()

    def ask(self) -> StealRequest:
        """Let time pass until it asks."""
        while True:
            asked = questions(self.stealing.tick(self.now_s, is_open=True, is_blind=False))
            if asked:
                assert isinstance(asked[0], StealRequest)
                return asked[0]
            self.now_s = max(self.now_s, self.stealing.next_deadline_s())

    def get(self, *given: Grant, answer: StealResponse | None = None) -> list[WorkerEffect]:
        return self.stealing.answered(endpoint(VICTIM), answer or response(*given), self.now_s)


def questions(effects: list[WorkerEffect]) -> list[StealRequest | StealAccept]:
    return [effect.message for effect in effects if isinstance(effect, Ask)]


def the_accept(effects: list[WorkerEffect]) -> StealAccept:
    (message,) = questions(effects)
    assert isinstance(message, StealAccept)
    return message


def stolen(name: str, **options: object) -> Grant:
    return grant(name, hops=1, **options)  # type: ignore[arg-type]  # options are grant's


def test_it_starts_what_it_gets_and_accepts_it() -> None:
    worker = Thieving()
    a, b = stolen("a"), stolen("b")
    effects = worker.get(a, b)
    assert the_accept(effects) == StealAccept(thief=THIEF, incarnation=102, victim=VICTIM, transfer=1)
    assert [effect for effect in effects if isinstance(effect, Start | Prepare)] == [Start(a), Prepare(b)]
    assert worker.stealing.take_claims() == (StolenLease(a.lease, 1), StolenLease(b.lease, 1))
    assert worker.stealing.take_claims() == ()
    assert worker.stealing.all_claims() == (StolenLease(a.lease, 1), StolenLease(b.lease, 1))
    assert worker.counters["steal_actions"] == 2
    assert worker.stealing.by_peer[VICTIM].actions == 2


def test_it_tells_its_room_and_the_inputs_that_it_has() -> None:
    worker = Thieving()
    worker.get(stolen("a"))
    (held,) = worker.book.held.values()
    worker.book.apply(held, LeaseEvent.FINISH)
    worker.book.free_slot(held)
    asked = worker.ask()
    assert (asked.room, asked.min_priority) == (HELD_AT_MOST - 1, 0)
    assert asked.inputs


@pytest.mark.parametrize(
    "bad",
    [
        grant("a", hops=1, platform={"os": "plan9"}),
        grant("a", hops=1, weight_s=math.nan),
        grant("a", hops=1, weight_s=math.inf),
        grant("a", hops=1, expected_s=math.nan),
        grant("a", hops=0),
        grant("a", hops=-3),
        Grant(grant("a").lease, b"no action", 50, 1.0, 0.1, 1),
        Grant(grant("a").lease, b"", 50, 1.0, 0.1, 1),
    ],
    ids=["another system", "NaN weight", "infinite weight", "NaN duration", "no hop", "hops below 0", "bytes", "none"],
)
def test_it_declines_what_it_cannot_run_and_what_no_worker_would_send(bad: Grant) -> None:
    worker = Thieving()
    good = stolen("good")
    accept = the_accept(worker.get(bad, good))
    assert (accept.declined, accept.returned) == ((bad.lease,), ())
    assert list(worker.book.held) == [good.lease]


def test_it_returns_what_it_has_already() -> None:
    worker = Thieving()
    worker.get(stolen("a"))
    worker.stealing.answered(endpoint(VICTIM), StealNoted(victim=VICTIM), worker.now_s)
    (held,) = worker.book.held.values()
    worker.book.apply(held, LeaseEvent.FINISH)
    worker.book.free_slot(held)
    worker.ask()
    accept = the_accept(worker.get(stolen("a", attempt=2)))
    assert (accept.declined, accept.returned) == ((), (grant("a", attempt=2).lease,))
    assert worker.counters["steal_returned"] == 1


def test_it_returns_what_it_has_no_room_for() -> None:
    worker = Thieving()
    given = [stolen(f"a{number}") for number in range(HELD_AT_MOST + 2)]
    accept = the_accept(worker.get(*given))
    assert accept.returned == tuple(each.lease for each in given[HELD_AT_MOST:])
    assert worker.counters["steal_actions"] == HELD_AT_MOST


def test_it_does_not_ask_at_once_again_where_it_could_take_nothing() -> None:
    worker = Thieving()
    worker.get(grant("a", hops=1, platform={"os": "plan9"}))
    worker.stealing.answered(endpoint(VICTIM), StealNoted(victim=VICTIM), worker.now_s)
    assert worker.stealing.next_deadline_s() >= worker.now_s + 0.5 * STEAL_IDLE_MIN_S


@pytest.mark.parametrize("answer", [response(stolen("a"), victim=OTHER), response(stolen("a"), thief=OTHER)])
def test_grants_of_or_for_somebody_else_are_dropped(answer: StealResponse) -> None:
    worker = Thieving()
    assert questions(worker.get(answer=answer)) == []
    assert not worker.book.held
    assert worker.counters["steal_misdirected"] == 1


def test_an_answer_that_comes_twice_counts_once() -> None:
    worker = Thieving()
    worker.get(stolen("a"))
    assert worker.get(stolen("a")) == []
    assert len(worker.book.held) == 1


def test_leases_in_a_receipt_are_not_taken() -> None:
    worker = Thieving()
    worker.get(stolen("a"))
    assert questions(worker.get(stolen("b"))) == []
    assert len(worker.book.held) == 1


def test_answers_from_where_nothing_was_asked_are_dropped() -> None:
    worker = Thieving()
    assert worker.stealing.answered("tcp://10.0.0.9:1", response(stolen("a")), 0.0) == []
    assert not worker.book.held


def test_unknown_properties_are_evaluated_before_anything_is_taken() -> None:
    worker = Thieving()
    fitting, other = stolen("a", platform={CC: "gcc"}), stolen("b", platform={CC: "clang"})
    assert worker.get(fitting, other) == [Evaluate((CC,))]
    assert not worker.book.held
    assert questions(worker.stealing.tick(worker.now_s + 0.5, is_open=True, is_blind=False)) == [], "one at a time"
    worker.platform[CC] = "gcc"
    effects = worker.stealing.evaluated(worker.now_s + 0.5)
    assert the_accept(effects).declined == (other.lease,)
    assert list(worker.book.held) == [fitting.lease]


def test_what_cannot_be_evaluated_in_time_is_declined_before_the_victim_takes_it_back() -> None:
    worker = Thieving()
    unclear = stolen("a", platform={CC: "gcc"})
    worker.get(unclear)
    worker.stealing.tick(worker.now_s, is_open=True, is_blind=False)
    deadline_s = worker.stealing.next_deadline_s()
    effects = worker.stealing.tick(deadline_s, is_open=True, is_blind=False)
    assert the_accept(effects).declined == (unclear.lease,)
    assert deadline_s < worker.now_s + STEAL_CONFIRM_S


def test_questions_about_properties_are_bounded() -> None:
    worker = Thieving()
    platform = {f"file:/usr/lib/{number}.so": "1" for number in range(PROPERTY_QUERY_NAMES + 5)}
    (evaluate,) = worker.get(stolen("a", platform=platform))
    assert isinstance(evaluate, Evaluate)
    assert len(evaluate.names) == PROPERTY_QUERY_NAMES


@pytest.mark.parametrize(
    "occupy",
    [
        lambda worker: worker.book.add(grant("x")),
        lambda worker: [worker.book.add(grant(f"x{n}")) for n in range(3)],
        lambda worker: setattr(worker.book, "limit", 0),
    ],
    ids=["its slot is taken", "it has a queue", "it has no room"],
)
def test_it_asks_nobody_while_it_has_enough(occupy: Callable[[TakingWorker], object]) -> None:
    worker = TakingWorker()
    worker.stealing.announced(announcement(VICTIM), 0.0)
    occupy(worker)
    worker.book.start_next()
    for now_s in range(10):
        assert not questions(worker.stealing.tick(float(now_s), is_open=True, is_blind=False))


def test_it_asks_nobody_while_it_takes_no_leases() -> None:
    worker = TakingWorker()
    worker.stealing.announced(announcement(VICTIM), 0.0)
    for now_s in range(10):
        assert not questions(worker.stealing.tick(float(now_s), is_open=False, is_blind=False))


def core_with_claim() -> tuple[WorkerCore, Grant, list[WorkerEffect]]:
    """A whole worker that has stolen one lease."""
    core = WorkerCore(hello(1), StealSettings(), Random(0), 0.0)
    core.receive(welcome(), 0.0)
    core.announced(announcement(2), 0.0)
    now_s = 0.0
    while not (asked := [each for each in core.tick(now_s) if isinstance(each, Ask)]):
        now_s = core.next_deadline_s()
    lease = stolen("a")
    answer = StealResponse(victim=2, thief=1, transfer=1, grants=(lease,), queue_depth=9, backlog_s=60.0)
    return core, lease, core.answered(asked[0].endpoint, answer, now_s)


def sent(effects: list[WorkerEffect]) -> list[object]:
    return [effect.message for effect in effects if isinstance(effect, Send)]


def test_the_broker_hears_of_a_steal_before_its_result_and_with_each_report_again() -> None:
    core, lease, effects = core_with_claim()
    claim = Claim(leases=(StolenLease(lease.lease, 1),))
    assert isinstance(effects[0], Send)
    assert effects[0].message == claim
    (complete,) = sent(core.finished([(lease.lease, DONE)]))
    assert isinstance(complete, Complete)
    assert complete.outcomes[0].hops == 1
    repeated = sent(core.tick(100.0))
    assert [type(message) for message in repeated] == [Claim, Complete, Report]


def test_a_steal_without_a_broker_is_told_to_the_next_one() -> None:
    core, lease, _ = core_with_claim()
    told = sent(core.receive(welcome(EPOCH + 1), 1.0))
    assert told[0] == Claim(leases=(StolenLease(lease.lease, 1),))
    assert isinstance(told[-1], Report)
    assert told[-1].held == (lease.lease,)


def test_many_claims_go_in_several_messages() -> None:
    leases = tuple(StolenLease(LeaseId(bytes(32), number, EPOCH), 1) for number in range(BATCH_ACTIONS + 1))
    messages = sent(list(_claims(leases)))
    assert [len(message.leases) for message in messages if isinstance(message, Claim)] == [BATCH_ACTIONS, 1]


def test_a_claim_that_is_refused_ends_the_run() -> None:
    core, lease, _ = core_with_claim()
    core.receive(Revoke(leases=(lease.lease,)), 1.0)
    assert not sent(core.finished([(lease.lease, DONE)]))
    assert core.held_leases == 0


def test_a_worker_that_drains_gives_back_to_the_broker_what_no_thief_has_taken() -> None:
    core = new_core(slots=1)
    core.receive(welcome(), 0.0)
    leases = grants("running", "ahead", "a", "b")
    core.receive(Lease(sequence=1, grants=tuple(leases)), 0.0)
    answer, _ = core.requested(request(victim=1), 0.0)
    assert isinstance(answer, StealResponse)
    assert len(answer.grants) == 1
    core.drain(0.5)
    core.finished([(leases[0].lease, DONE)])
    assert core.state.name == "DRAINING"
    effects = core.tick(STEAL_CONFIRM_S)
    assert not [effect for effect in effects if isinstance(effect, Start | Prepare)]
    returned = [each for message in sent(effects) if isinstance(message, Complete) for each in message.outcomes]
    assert [(each.lease, each.result.status) for each in returned if each.lease == answer.grants[0].lease] == [
        (answer.grants[0].lease, ResultStatus.CANCELLED)
    ]
