"""The client's side of the control channel: what it sends, and what a lost message costs it."""

from __future__ import annotations

from typing import TypeVar

import pytest

from zbuild.client.farm import ActionFinished, Connected, FarmCore, FarmState
from zbuild.errors import NoEligibleWorker, ProtocolError, VersionMismatch
from zbuild.limits import BATCH_ACTIONS, BATCH_BYTES, KEEPALIVE_INTERVAL_S, REFUSALS_IN_A_ROW, UNSTARTED_REPEAT_S
from zbuild.model.action import ActionResult, ResultStatus
from zbuild.protocol.messages import (
    PROTOCOL_VERSION,
    UNKNOWN_PEER,
    BuildState,
    Cancel,
    Finished,
    FinishedAction,
    Goodbye,
    Hello,
    Keepalive,
    Refused,
    Role,
    Submission,
    Submit,
    Welcome,
)

M = TypeVar("M")
BUILD = 5
WELCOME = Welcome(
    protocol_version=PROTOCOL_VERSION,
    epoch=1,
    blob_endpoint="tcp://*:9003",
    heartbeat_endpoint="tcp://*:9001",
    heartbeat_interval_s=5.0,
)
UNREAD = Refused(code=ProtocolError.code, message="a message of 9 B cannot be decoded")
STRANGER = Refused(code=UNKNOWN_PEER, message="introduce yourself")


def new_core() -> FarmCore:
    hello = Hello(protocol_version=PROTOCOL_VERSION, role=Role.CLIENT, name="c", incarnation=1)
    return FarmCore(hello, BUILD, 100, 0.0)


def connected() -> FarmCore:
    core = new_core()
    core.receive(WELCOME, 0.0)
    return core


def submission(name: str, size_bytes: int = 10) -> Submission:
    return Submission(name.encode().ljust(32, b"\0"), b"x" * size_bytes, 2.0, 1.0)


def finished(name: str) -> Finished:
    action = FinishedAction(submission(name).action, ActionResult(status=ResultStatus.SUCCESS), False, 1)
    return Finished(build=BUILD, actions=(action,))


def sent(core: FarmCore, kind: type[M]) -> list[M]:
    return [send.message for send in core.outgoing() if isinstance(send.message, kind)]


def names(submits: list[Submit]) -> list[str]:
    return [each.action.rstrip(b"\0").decode() for submit in submits for each in submit.actions]


def test_nothing_is_submitted_before_the_welcome() -> None:
    core = new_core()
    core.submit(submission("a"))
    core.tick(0.0)
    assert [type(send.message) for send in core.outgoing()] == [Hello]
    core.tick(UNSTARTED_REPEAT_S / 2)
    assert not list(core.outgoing())
    core.tick(UNSTARTED_REPEAT_S)
    assert sent(core, Hello)
    assert core.receive(WELCOME, 1.0) == [Connected(WELCOME)]
    (submit,) = sent(core, Submit)
    assert (submit.build, submit.priority, submit.actions) == (BUILD, 100, (submission("a"),))


def test_what_is_submitted_together_travels_together() -> None:
    core = connected()
    for number in range(BATCH_ACTIONS + 1):
        core.submit(submission(str(number)))
    assert [len(submit.actions) for submit in sent(core, Submit)] == [BATCH_ACTIONS, 1]
    assert not list(core.outgoing())


def test_large_actions_are_spread_over_messages() -> None:
    core = connected()
    for name in "abc":
        core.submit(submission(name, BATCH_BYTES // 2))
    core.submit(submission("huge", 2 * BATCH_BYTES))
    assert [len(submit.actions) for submit in sent(core, Submit)] == [2, 1, 1]


def test_a_result_is_told_once() -> None:
    core = connected()
    core.submit(submission("a"))
    (event,) = core.receive(finished("a"), 1.0)
    assert isinstance(event, ActionFinished)
    assert core.awaited == 0
    assert not core.receive(finished("a"), 1.0)
    assert not core.receive(finished("never asked for"), 1.0)


def test_a_keepalive_names_what_is_awaited() -> None:
    core = connected()
    for name in "ab":
        core.submit(submission(name))
    list(core.outgoing())
    core.receive(finished("a"), 1.0)
    core.tick(KEEPALIVE_INTERVAL_S - 0.1)
    assert not list(core.outgoing())
    core.tick(KEEPALIVE_INTERVAL_S)
    assert sent(core, Keepalive) == [Keepalive(build=BUILD, awaited=(submission("b").action,))]
    assert core.next_deadline_s() == 2 * KEEPALIVE_INTERVAL_S


def test_a_lost_submit_or_a_lost_result_costs_one_interval() -> None:
    core = connected()
    for name in "ab":
        core.submit(submission(name))
    list(core.outgoing())
    ended = submission("ended").action
    state = BuildState(build=BUILD, unknown=(submission("b").action, ended), running=1, queued=0, workers=1)
    assert core.receive(state, 5.0) == [FarmState(state)]
    assert names(sent(core, Submit)) == ["b"]


def test_a_broker_that_does_not_know_us_is_told_everything_again() -> None:
    core = connected()
    for name in "ab":
        core.submit(submission(name))
    list(core.outgoing())
    core.receive(finished("a"), 1.0)
    core.receive(STRANGER, 2.0)
    core.tick(2.0)
    assert [type(send.message) for send in core.outgoing()] == [Hello]
    assert core.receive(WELCOME, 2.1) == [Connected(WELCOME)]
    assert names(sent(core, Submit)) == ["b"]


def test_a_message_that_the_broker_could_not_read_is_made_up_for_at_the_next_keepalive() -> None:
    core = connected()
    core.submit(submission("a"))
    list(core.outgoing())
    assert core.receive(UNREAD, 1.0) == []
    core.receive(BuildState(build=BUILD, unknown=(submission("a").action,), running=0, queued=0, workers=1), 2.5)
    assert names(sent(core, Submit)) == ["a"]


def test_a_broker_that_reads_none_of_our_messages_is_given_up_with_its_words() -> None:
    core = connected()
    core.submit(submission("a"))
    unknown = BuildState(build=BUILD, unknown=(submission("a").action,), running=0, queued=0, workers=1)
    for _ in range(REFUSALS_IN_A_ROW):
        core.receive(UNREAD, 1.0)
        core.receive(unknown, 2.0)
    with pytest.raises(ProtocolError, match="cannot be decoded"):
        core.receive(UNREAD, 3.0)


@pytest.mark.parametrize("sign", [finished("a"), BuildState(build=BUILD, unknown=(), running=1, queued=0, workers=1)])
def test_a_sign_that_the_broker_reads_us_forgets_what_it_could_not_read(sign: Finished | BuildState) -> None:
    core = connected()
    core.submit(submission("a"))
    for _ in range(3):
        for _ in range(REFUSALS_IN_A_ROW):
            core.receive(UNREAD, 1.0)
        core.receive(sign, 2.0)


@pytest.mark.parametrize("kind", [VersionMismatch, NoEligibleWorker])
def test_a_refusal_is_raised_with_the_broker_s_words(kind: type[ProtocolError]) -> None:
    with pytest.raises(kind, match="because so"):
        new_core().receive(Refused(code=kind.code, message="because so"), 0.0)


def test_a_refusal_of_an_unknown_kind_is_raised_too() -> None:
    with pytest.raises(ProtocolError, match="newer than us"):
        new_core().receive(Refused(code=999, message="newer than us"), 0.0)


def test_cancel_gives_up_everything() -> None:
    core = connected()
    core.submit(submission("a"))
    core.cancel()
    assert [send.message for send in core.outgoing()] == [Cancel(build=BUILD)]
    assert core.awaited == 0
    assert not core.receive(finished("a"), 1.0)


def test_cancel_of_the_queued_still_awaits_answers() -> None:
    core = connected()
    core.submit(submission("a"))
    list(core.outgoing())
    core.cancel_queued()
    assert sent(core, Cancel) == [Cancel(build=BUILD, is_queued_only=True)]
    assert core.awaited == 1


def test_silence_counts_from_the_first_question_that_was_not_answered() -> None:
    core = connected()
    assert core.silence_s(100.0) == 0.0, "nothing was asked"
    core.tick(KEEPALIVE_INTERVAL_S)
    core.tick(2 * KEEPALIVE_INTERVAL_S)
    assert core.silence_s(3 * KEEPALIVE_INTERVAL_S) == 2 * KEEPALIVE_INTERVAL_S
    core.receive(finished("anything"), 3 * KEEPALIVE_INTERVAL_S)
    assert core.silence_s(4 * KEEPALIVE_INTERVAL_S) == 0.0


def test_a_result_that_comes_before_the_action_is_sent_again_cancels_the_sending() -> None:
    core = connected()
    core.submit(submission("a"))
    list(core.outgoing())
    state = BuildState(build=BUILD, unknown=(submission("a").action,), running=0, queued=0, workers=1)
    core.receive(state, 5.0)
    core.receive(finished("a"), 5.0)
    assert not sent(core, Submit)


def test_leave_says_goodbye() -> None:
    core = connected()
    core.leave()
    assert sent(core, Goodbye) == [Goodbye()]


def test_silence_counts_from_the_first_beat_that_nobody_answers() -> None:
    """A build whose broker was gone for good used to wait for ever."""
    core = connected()
    assert core.silence_s(KEEPALIVE_INTERVAL_S) == 0.0
    core.tick(KEEPALIVE_INTERVAL_S)
    core.tick(2 * KEEPALIVE_INTERVAL_S)
    assert core.silence_s(3 * KEEPALIVE_INTERVAL_S) == 2 * KEEPALIVE_INTERVAL_S
    core.receive(BuildState(build=BUILD, unknown=(), running=0, queued=0, workers=0), 3 * KEEPALIVE_INTERVAL_S)
    assert core.silence_s(4 * KEEPALIVE_INTERVAL_S) == 0.0
