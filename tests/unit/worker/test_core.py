"""What a worker decides: which lease runs, what is reported, when it ends."""

from __future__ import annotations

from random import Random
from typing import TypeVar

import pytest

from zbuild.digest import EMPTY
from zbuild.errors import BadInput, ProtocolError, VersionMismatch
from zbuild.limits import CONTROL_MESSAGE_BYTES, REFUSALS_IN_A_ROW, REPORT_INTERVAL_S, UNSTARTED_REPEAT_S
from zbuild.model.action import ActionResult, OutputFile, OutputKind, ResultStatus
from zbuild.protocol.codec import encode
from zbuild.protocol.effects import Note, Send
from zbuild.protocol.messages import (
    PROTOCOL_VERSION,
    UNKNOWN_PEER,
    Acknowledge,
    Complete,
    Goodbye,
    Grant,
    Hello,
    Lease,
    LeaseId,
    Properties,
    QueryProperties,
    Refused,
    Report,
    Revoke,
    Role,
    Shutdown,
    Welcome,
    WorkerState,
)
from zbuild.worker.core import WorkerCore
from zbuild.worker.effects import Connect, Discard, Evaluate, Kill, Prepare, Start, Stop, WorkerEffect
from zbuild.worker.steal_settings import StealSettings

M = TypeVar("M")
EPOCH = 77
DONE = ActionResult(status=ResultStatus.SUCCESS)


def welcome(epoch: int = EPOCH) -> Welcome:
    return Welcome(
        protocol_version=PROTOCOL_VERSION,
        epoch=epoch,
        blob_endpoint="tcp://*:9003",
        heartbeat_endpoint="tcp://*:9001",
        heartbeat_interval_s=5.0,
    )


def new_core(slots: int = 2) -> WorkerCore:
    hello = Hello(
        protocol_version=PROTOCOL_VERSION,
        role=Role.WORKER,
        name="w",
        incarnation=1,
        worker_id=1,
        slots=slots,
        queue_limit=64,
        platform=(("os", "linux"),),
    )
    return WorkerCore(hello, StealSettings(), Random(0), 0.0)


def welcomed(slots: int = 2) -> WorkerCore:
    core = new_core(slots)
    core.receive(welcome(), 0.0)
    return core


def lease(name: str, attempt: int = 1, epoch: int = EPOCH) -> LeaseId:
    return LeaseId(name.encode().ljust(32, b"\0"), attempt, epoch)


def granted(core: WorkerCore, *names: str, sequence: int = 1, priority: int = 50) -> list[WorkerEffect]:
    grants = tuple(Grant(lease(name), name.encode(), priority, 1.0) for name in names)
    return core.receive(Lease(sequence=sequence, grants=grants), 0.0)


def started(effects: list[WorkerEffect]) -> list[LeaseId]:
    return [effect.grant.lease for effect in effects if isinstance(effect, Start)]


def prepared(effects: list[WorkerEffect]) -> list[LeaseId]:
    return [effect.grant.lease for effect in effects if isinstance(effect, Prepare)]


def sent(effects: list[WorkerEffect], kind: type[M]) -> list[M]:
    return [effect.message for effect in effects if isinstance(effect, Send) and isinstance(effect.message, kind)]


def report(core: WorkerCore, now_s: float) -> Report:
    (found,) = sent(core.tick(now_s), Report)
    return found


def test_it_introduces_itself_until_it_is_welcome() -> None:
    core = new_core()
    assert sent(core.tick(0.0), Hello)
    assert not core.tick(UNSTARTED_REPEAT_S / 2)
    assert sent(core.tick(UNSTARTED_REPEAT_S), Hello)
    effects = core.receive(welcome(), 1.0)
    assert effects[0] == Connect(welcome())
    assert sent(effects, Report)
    assert not sent(core.tick(100.0), Hello)


def test_a_second_welcome_of_the_same_broker_changes_nothing() -> None:
    assert not welcomed().receive(welcome(), 1.0)


def test_it_runs_as_many_as_it_has_slots() -> None:
    """Defect 16 of the original: one at a time."""
    core = welcomed(slots=8)
    assert len(started(granted(core, *"abcdefghij"))) == 8
    assert (core.active_actions, core.queue_depth, core.state) == (8, 2, WorkerState.EXECUTING)
    assert started(core.finished([(lease("a"), DONE), (lease("b"), DONE)])) == [lease("i"), lease("j")]


def test_what_waits_goes_by_priority_then_by_path_then_by_arrival() -> None:
    core = welcomed(slots=1)
    granted(core, "running", "prepared")
    order = [("late", 50, 1.0), ("long", 50, 9.0), ("urgent", 200, 0.1), ("later", 50, 1.0)]
    for name, priority, weight_s in order:
        core.receive(Lease(sequence=2, grants=(Grant(lease(name), b"", priority, weight_s),)), 0.0)
    found, running = [], lease("running")
    while next_up := started(core.finished([(running, DONE)])):
        (running,) = next_up
        found.append(running)
    assert found == [lease(name) for name in ("prepared", "urgent", "long", "late", "later")]


def test_a_result_is_sent_at_once_and_again_until_it_is_acknowledged() -> None:
    """A Complete that is lost costs a report interval, never the result."""
    core = welcomed()
    granted(core, "a")
    (complete,) = sent(core.finished([(lease("a"), DONE)]), Complete)
    assert complete.outcomes[0].lease == lease("a")
    assert sent(core.tick(REPORT_INTERVAL_S), Complete) == [complete]
    core.receive(Acknowledge(leases=(lease("a"),), sequence=1), 6.0)
    effects = core.tick(2 * REPORT_INTERVAL_S)
    assert not sent(effects, Complete)
    assert sent(effects, Report)[0].held == ()


def test_a_report_names_everything_that_is_held() -> None:
    core = welcomed(slots=1)
    granted(core, "ended", "running", "queued", sequence=4)
    core.finished([(lease("ended"), DONE)])
    found = report(core, REPORT_INTERVAL_S)
    assert set(found.held) == {lease("ended"), lease("running"), lease("queued")}
    assert (found.sequence, found.running, found.is_draining) == (4, 1, False)


def test_an_acknowledge_tells_of_leases_that_did_not_come() -> None:
    core = welcomed()
    core.receive(Acknowledge(leases=(), sequence=7), 0.0)
    assert report(core, REPORT_INTERVAL_S).sequence == 7


def test_a_new_broker_is_told_what_was_leased_by_the_old_one_and_decides() -> None:
    core = welcomed(slots=1)
    granted(core, "running", "queued", sequence=9)
    effects = core.receive(welcome(EPOCH + 1), 1.0)
    assert not [effect for effect in effects if isinstance(effect, Kill)]
    assert sent(effects, Report)[0].held == (lease("running"), lease("queued"))
    assert sent(effects, Report)[0].sequence == 0, "Lease messages are counted anew by each life of the broker"
    assert Kill(lease("running")) in core.receive(Revoke(leases=(lease("running"),)), 1.1)


def test_the_same_broker_after_a_lost_link_keeps_the_leases() -> None:
    core = welcomed(slots=1)
    granted(core, "running", sequence=9)
    core.receive(Refused(code=UNKNOWN_PEER, message="introduce yourself"), 1.0)
    effects = core.receive(welcome(), 1.1)
    assert not [effect for effect in effects if isinstance(effect, Kill)]
    assert sent(effects, Report)[0].held == (lease("running"),)


def test_a_grant_of_another_epoch_or_of_a_held_lease_is_ignored() -> None:
    core = welcomed()
    granted(core, "a")
    foreign = Grant(lease("b", epoch=EPOCH + 1), b"", 50, 1.0)
    again = Grant(lease("a"), b"", 50, 1.0)
    assert not core.receive(Lease(sequence=2, grants=(foreign, again)), 0.0)
    assert core.counters["leases_ignored"] == 2


def test_revoke_kills_what_runs_and_forgets_what_waits() -> None:
    core = welcomed(slots=1)
    granted(core, "running", "queued", "next")
    effects = core.receive(Revoke(leases=(lease("running"), lease("queued"), lease("unknown"))), 0.0)
    assert not started(effects), "the slot is busy until the process has gone"
    assert [effect for effect in effects if isinstance(effect, Kill)] == [Kill(lease("running"))]
    assert started(core.finished([(lease("running"), DONE)])) == [lease("next")]


def test_inputs_are_prepared_for_as_many_as_there_are_slots() -> None:
    core = welcomed(slots=2)
    assert prepared(granted(core, *"abcdef")) == [lease("c"), lease("d")]
    effects = core.finished([(lease("a"), DONE)])
    assert (started(effects), prepared(effects)) == ([lease("c")], [lease("e")])


def test_a_prepared_lease_that_is_revoked_or_given_back_is_discarded() -> None:
    core = welcomed(slots=1)
    granted(core, "running", "prepared", "queued")
    effects = core.receive(Revoke(leases=(lease("prepared"),)), 0.0)
    assert effects[0] == Discard(lease("prepared"))
    assert Discard(lease("queued")) in core.drain(0.0), "it was next in line, and prepared instead"


def test_a_slot_is_free_when_the_command_has_ended_though_its_outputs_are_not_collected() -> None:
    core = welcomed(slots=1)
    granted(core, "a", "b")
    assert started(core.exited(lease("a"))) == [lease("b")]
    assert core.active_actions == 1
    assert set(report(core, REPORT_INTERVAL_S).held) == {lease("a"), lease("b")}
    assert not started(core.finished([(lease("a"), DONE)])), "its slot was freed before"
    assert core.active_actions == 1


def test_a_lease_revoked_while_its_outputs_are_collected_needs_no_kill() -> None:
    core = welcomed(slots=1)
    granted(core, "a")
    core.exited(lease("a"))
    assert not core.receive(Revoke(leases=(lease("a"),)), 0.0)
    assert not sent(core.finished([(lease("a"), DONE)]), Complete)
    assert core.held_leases == 0


def test_a_killed_run_frees_its_slot_once() -> None:
    core = welcomed(slots=1)
    granted(core, "a", "b", "c")
    core.receive(Revoke(leases=(lease("a"),)), 0.0)
    assert started(core.exited(lease("a"))) == [lease("b")]
    assert not started(core.finished([(lease("a"), DONE)]))


def test_what_was_not_prepared_is_not_discarded() -> None:
    core = welcomed(slots=1)
    granted(core, "running", "prepared", "queued")
    assert not core.receive(Revoke(leases=(lease("queued"),)), 0.0)
    core.finished([(lease("running"), DONE)])
    assert core.receive(Revoke(leases=(lease("prepared"),)), 0.0) == [Kill(lease("prepared"))]


def test_it_stops_once() -> None:
    core = welcomed()
    assert Stop(None) in core.drain(0.0)
    assert not [effect for effect in core.receive(Acknowledge(leases=(), sequence=0), 0.0) if isinstance(effect, Stop)]


def test_an_acknowledged_lease_that_runs_again_is_left_alone() -> None:
    """An acknowledgement is for a result; a lease that has none yet keeps running."""
    core = welcomed(slots=1)
    granted(core, "running")
    core.receive(Acknowledge(leases=(lease("running"), lease("unknown")), sequence=1), 0.0)
    assert core.held_leases == 1


def test_a_second_revoke_kills_once() -> None:
    core = welcomed(slots=1)
    granted(core, "running")
    core.receive(Revoke(leases=(lease("running"),)), 0.0)
    assert not core.receive(Revoke(leases=(lease("running"),)), 0.0)


def test_a_revoked_result_is_not_sent_again() -> None:
    core = welcomed()
    granted(core, "a")
    core.finished([(lease("a"), DONE)])
    core.receive(Revoke(leases=(lease("a"),)), 0.0)
    assert not sent(core.tick(REPORT_INTERVAL_S), Complete)
    assert core.held_leases == 0


def test_a_result_made_while_nobody_knows_us_waits_for_the_welcome() -> None:
    core = welcomed()
    granted(core, "a")
    core.receive(Refused(code=UNKNOWN_PEER, message="introduce yourself"), 0.0)
    assert not sent(core.finished([(lease("a"), DONE)]), Complete)
    assert sent(core.receive(welcome(), 1.0), Complete)


def test_drain_gives_back_the_queue_finishes_the_rest_and_says_goodbye() -> None:
    core = welcomed(slots=1)
    granted(core, "running", "queued")
    effects = core.drain(1.0)
    (given_back,) = sent(effects, Complete)[0].outcomes
    assert (given_back.lease, given_back.result.status) == (lease("queued"), ResultStatus.CANCELLED)
    assert sent(effects, Report)[0].is_draining
    assert core.state is WorkerState.DRAINING
    core.receive(Acknowledge(leases=(lease("queued"),), sequence=1), 1.0)
    assert not started(core.finished([(lease("running"), DONE)]))
    effects = core.receive(Acknowledge(leases=(lease("running"),), sequence=1), 2.0)
    assert effects == [Send(Goodbye()), Stop(None)]


def test_an_idle_worker_drains_at_once() -> None:
    assert Stop(None) in welcomed().drain(0.0)


def test_a_lease_that_crosses_a_drain_is_given_back_at_once() -> None:
    """Waiting for the next report would keep the action from other workers for five seconds."""
    core = welcomed(slots=1)
    granted(core, "running")
    core.drain(0.0)
    effects = granted(core, "late", sequence=2)
    assert not started(effects)
    (given_back,) = sent(effects, Complete)[0].outcomes
    assert (given_back.lease, given_back.result.status) == (lease("late"), ResultStatus.CANCELLED)


def test_properties_are_evaluated_when_asked_and_told_again_to_a_new_broker() -> None:
    core = welcomed()
    assert core.receive(QueryProperties(names=("tool:/usr/bin/cc",)), 0.0) == [Evaluate(("tool:/usr/bin/cc",))]
    expected = Properties(values=(("tool:/usr/bin/cc", "gcc12"),))
    assert sent(core.evaluated({"tool:/usr/bin/cc": "gcc12"}, 0.0), Properties) == [expected]
    assert sent(core.receive(welcome(EPOCH + 1), 1.0), Properties) == [expected]


def test_a_refused_version_ends_the_worker_with_the_reason() -> None:
    (stop,) = new_core().receive(Refused(code=VersionMismatch.code, message="speaks 2, not 1"), 0.0)
    assert isinstance(stop, Stop)
    assert isinstance(stop.error, VersionMismatch)
    assert "speaks 2, not 1" in str(stop.error)


def test_a_worker_that_is_not_let_in_ends_with_the_reason() -> None:
    (stop,) = new_core().receive(Refused(code=BadInput.code, message="the farm is full"), 0.0)
    assert isinstance(stop, Stop)
    assert isinstance(stop.error, ProtocolError)
    assert "the farm is full" in str(stop.error)


def test_a_hello_that_became_noise_is_said_again_and_one_that_is_never_read_ends_the_worker() -> None:
    core = new_core()
    unread = Refused(code=ProtocolError.code, message="a message of 9 B cannot be decoded")
    for number in range(REFUSALS_IN_A_ROW):
        assert isinstance(core.receive(unread, float(number))[0], Note)
        assert sent(core.tick(number + UNSTARTED_REPEAT_S), Hello)
    (stop,) = core.receive(unread, 20.0)
    assert isinstance(stop, Stop)
    assert "cannot be decoded" in str(stop.error)


def test_a_refusal_of_one_message_is_noted_and_no_more() -> None:
    (note,) = welcomed().receive(Refused(code=ProtocolError.code, message="what?"), 0.0)
    assert isinstance(note, Note)


def test_a_broker_that_stops_is_looked_for_again() -> None:
    core = welcomed()
    granted(core, "a")
    core.receive(Shutdown(reason="the broker stops"), 0.0)
    assert core.active_actions == 1
    assert sent(core.tick(REPORT_INTERVAL_S), Hello)


def test_a_result_that_no_message_can_carry_becomes_its_own_error() -> None:
    """An action with too many outputs must not end one worker after the other."""
    core = welcomed()
    granted(core, "a", "b")
    outputs = tuple(OutputFile(f"/zb/build/{number:0100}", OutputKind.FILE, EMPTY) for number in range(40_000))
    huge = ActionResult(status=ResultStatus.SUCCESS, outputs=outputs)
    completes = sent(core.finished([(lease("a"), huge), (lease("b"), DONE)]), Complete)
    assert all(len(encode(complete)) <= CONTROL_MESSAGE_BYTES for complete in completes)
    outcomes = {outcome.lease: outcome.result for complete in completes for outcome in complete.outcomes}
    assert outcomes[lease("a")].code == BadInput.code
    assert "40000 outputs" in outcomes[lease("a")].message
    assert outcomes[lease("b")] == DONE


def test_many_large_results_are_repeated_in_several_messages() -> None:
    core = welcomed(slots=64)
    names = [f"a{number}" for number in range(64)]
    granted(core, *names)
    outputs = tuple(OutputFile(f"/zb/build/{number:0100}", OutputKind.FILE, EMPTY) for number in range(2000))
    large = ActionResult(status=ResultStatus.SUCCESS, outputs=outputs)
    core.finished([(lease(name), large) for name in names])
    completes = sent(core.tick(REPORT_INTERVAL_S), Complete)
    assert sum(len(complete.outcomes) for complete in completes) == 64
    assert all(len(encode(complete)) <= CONTROL_MESSAGE_BYTES for complete in completes)


@pytest.mark.parametrize("count", [0, 3])
def test_next_deadline_is_the_next_report(count: int) -> None:
    core = welcomed()
    granted(core, *"abc"[:count])
    assert core.next_deadline_s() == REPORT_INTERVAL_S
