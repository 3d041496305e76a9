"""Where an action can run: properties known, asked for, missing."""

from __future__ import annotations

import pytest

from tests.unit.coordinator.driver import AFTER_GRACE_S, CLIENT, Farm, action, answers, grants, messages, success
from zbuild.coordinator.platform_class import PlatformClass
from zbuild.coordinator.registry import WorkerSession
from zbuild.errors import NoEligibleWorker
from zbuild.limits import ELIGIBILITY_GRACE_S, PROPERTY_FRESH_S, PROPERTY_QUERY_REPEAT_S
from zbuild.model.capabilities import Capabilities
from zbuild.protocol.messages import Cancel, Properties, QueryProperties

COMPILED = action("cc", {"os": "linux", "tool:/usr/bin/cc": "gcc12"})


def test_a_property_of_the_hello_decides_at_once() -> None:
    farm = Farm()
    farm.join()
    farm.add_worker(b"arm", worker_id=1, platform={"arch": "aarch64"})
    farm.add_worker(b"x86", worker_id=2, platform={"arch": "x86_64"})
    sends = farm.submit(action("a", {"arch": "x86_64"}))
    assert [send.peer for send in sends] == [b"x86"]


def test_a_worker_is_asked_what_it_has_not_told_and_waits_for_the_answer() -> None:
    farm = Farm()
    farm.join()
    farm.add_worker()
    sends = farm.submit(COMPILED)
    assert messages(sends, QueryProperties) == [QueryProperties(names=("tool:/usr/bin/cc",))]
    assert not grants(sends)
    assert len(grants(farm.receive_properties("w1", "gcc12"))) == 1


def test_the_question_is_repeated_until_it_is_answered() -> None:
    farm = Farm()
    farm.join()
    farm.add_worker()
    farm.submit(COMPILED)
    assert not messages(farm.tick(PROPERTY_QUERY_REPEAT_S - 0.1), QueryProperties)
    assert messages(farm.tick(PROPERTY_QUERY_REPEAT_S + 0.1), QueryProperties)
    farm.receive_properties("w1", "gcc13")
    assert not messages(farm.tick(3 * PROPERTY_QUERY_REPEAT_S), QueryProperties)


def test_what_no_worker_can_run_fails_and_names_the_property() -> None:
    farm = Farm()
    farm.now_s = AFTER_GRACE_S
    farm.join()
    farm.add_worker()
    farm.submit(COMPILED)
    (finished,) = answers(farm.receive_properties("w1", "gcc13"))
    assert finished.result.code == NoEligibleWorker.code
    assert "tool:/usr/bin/cc=gcc12 (it has gcc13)" in finished.result.message
    assert "w1" in finished.result.message
    assert not farm.core.farm.actions


def test_a_tool_that_is_not_there_is_named_as_none() -> None:
    farm = Farm()
    farm.now_s = AFTER_GRACE_S
    farm.join()
    farm.add_worker()
    farm.submit(COMPILED)
    (finished,) = answers(farm.receive_properties("w1", ""))
    assert "tool:/usr/bin/cc=gcc12 (it has none)" in finished.result.message


def test_a_weaker_sandbox_does_not_do() -> None:
    farm = Farm()
    farm.now_s = AFTER_GRACE_S
    farm.join()
    farm.add_worker(sandbox="none")
    (finished,) = answers(farm.submit(action("a")))
    assert "sandbox=hermetic (it has none)" in finished.result.message


NETWORKED = Capabilities(network=True)


@pytest.mark.parametrize(("level", "asked"), [("process", "hermetic"), ("none", "hermetic"), ("none", "process")])
def test_a_result_of_a_weaker_level_never_answers_for_a_stricter_one(level: str, asked: str) -> None:
    farm = Farm()
    farm.now_s = AFTER_GRACE_S
    farm.join()
    farm.add_worker(sandbox=level)
    weaker, stricter = action("a", sandbox=level), action("a", sandbox=asked)
    lease = grants(farm.submit(weaker))[0].lease
    farm.complete(lease, success())
    assert answers(farm.submit(weaker))[0].is_cached, "the same level is answered for"
    (finished,) = answers(farm.submit(stricter))
    assert not finished.is_cached
    assert f"sandbox={asked} (it has {level})" in finished.result.message


def test_what_no_worker_grants_is_refused_and_named() -> None:
    farm = Farm()
    farm.now_s = AFTER_GRACE_S
    farm.join()
    farm.add_worker()
    (finished,) = answers(farm.submit(action("a", capabilities=NETWORKED)))
    assert finished.result.code == NoEligibleWorker.code
    assert "w1 lacks network=true (it grants false)" in finished.result.message


def test_an_action_goes_to_the_worker_that_grants_what_it_asks_for() -> None:
    farm = Farm()
    farm.join()
    farm.add_worker(b"sealed", worker_id=1, slots=8)
    farm.add_worker(b"open", worker_id=2, slots=1, ceiling=NETWORKED)
    sends = farm.submit(action("a", capabilities=NETWORKED))
    assert [send.peer for send in sends] == [b"open"]


def test_after_a_start_the_broker_waits_for_workers_to_come_back() -> None:
    farm = Farm()
    farm.join()
    farm.add_worker(platform={"os": "plan9"})
    assert not answers(farm.submit(action("a")))
    assert not answers(farm.tick(ELIGIBILITY_GRACE_S - 0.1))
    assert len(answers(farm.tick(ELIGIBILITY_GRACE_S + 0.1))) == 1


def test_after_a_loss_the_broker_waits_for_the_worker_to_come_back() -> None:
    farm = Farm()
    farm.now_s = AFTER_GRACE_S
    farm.join()
    farm.add_worker(b"other", worker_id=1, platform={"os": "plan9"})
    farm.add_worker(b"able", worker_id=2)
    assert len(grants(farm.submit(action("a")))) == 1
    assert not answers(farm.disconnect(b"able"))
    assert not answers(farm.tick(AFTER_GRACE_S + ELIGIBILITY_GRACE_S - 0.1))
    assert len(grants(farm.add_worker(b"able again", worker_id=2))) == 1


def test_a_worker_that_stays_away_is_given_up_after_the_grace() -> None:
    farm = Farm()
    farm.now_s = AFTER_GRACE_S
    farm.join()
    farm.add_worker(b"other", worker_id=1, platform={"os": "plan9"})
    farm.add_worker(b"able", worker_id=2)
    farm.submit(action("a"))
    farm.disconnect(b"able")
    assert len(answers(farm.tick(farm.now_s + ELIGIBILITY_GRACE_S + 0.1))) == 1


def test_without_any_worker_nothing_is_final() -> None:
    farm = Farm()
    farm.join()
    farm.submit(action("a"))
    assert not answers(farm.tick(29.0))
    assert len(grants(farm.add_worker())) == 1


def test_a_late_worker_with_the_property_gets_what_waits() -> None:
    farm = Farm()
    farm.join()
    farm.add_worker(platform={"os": "plan9"})
    farm.submit(action("a"))
    assert len(grants(farm.add_worker(b"w2", worker_id=2))) == 1


def test_a_changed_toolchain_is_believed() -> None:
    farm = Farm()
    farm.join()
    farm.add_worker()
    farm.submit(COMPILED)
    farm.receive_properties("w1", "gcc13")
    assert len(grants(farm.receive_properties("w1", "gcc12"))) == 1


def test_before_it_gives_up_the_broker_asks_again_what_it_heard_long_ago() -> None:
    """A compiler that was upgraded on the worker must not fail the first build after it."""
    farm = Farm()
    farm.now_s = AFTER_GRACE_S
    farm.join()
    farm.add_worker()
    farm.submit(COMPILED)
    farm.receive_properties("w1", "gcc13")
    farm.now_s += PROPERTY_FRESH_S + 1.0
    farm.receive(b"w1", Properties(values=()))
    sends = farm.submit(COMPILED)
    assert messages(sends, QueryProperties) == [QueryProperties(names=("tool:/usr/bin/cc",))]
    assert not answers(sends)
    assert len(grants(farm.receive_properties("w1", "gcc12"))) == 1


def test_what_it_has_just_heard_it_believes() -> None:
    farm = Farm()
    farm.now_s = AFTER_GRACE_S
    farm.join()
    farm.add_worker()
    farm.submit(COMPILED)
    assert len(answers(farm.receive_properties("w1", "gcc13"))) == 1
    farm.now_s += PROPERTY_FRESH_S - 0.1
    sends = farm.submit(COMPILED)
    assert not messages(sends, QueryProperties)
    assert len(answers(sends)) == 1


def test_a_value_that_fits_is_not_asked_again_however_old() -> None:
    farm = Farm(worker_timeout_s=1e9)
    farm.join()
    farm.add_worker()
    farm.submit(COMPILED)
    farm.receive_properties("w1", "gcc12")
    farm.now_s = 1e6
    assert len(grants(farm.submit(action("more", {"os": "linux", "tool:/usr/bin/cc": "gcc12"})))) == 1


def test_each_worker_is_asked_once_for_what_two_classes_require() -> None:
    farm = Farm()
    farm.join()
    farm.add_worker()
    farm.submit(COMPILED)
    other = action("arm", {"os": "linux", "arch": "arm", "tool:/usr/bin/cc": "gcc12"})
    assert not messages(farm.submit(other), QueryProperties)


def test_classes_without_actions_are_dropped_beyond_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zbuild.coordinator.scheduler.PLATFORM_CLASSES", 4)
    farm = Farm()
    farm.join()
    farm.submit(action("kept", {"os": "linux", "arch": "kept"}))
    for number in range(20):
        farm.submit(action("a", {"os": "linux", "arch": str(number)}), build=2)
        farm.receive(CLIENT, Cancel(build=2))
    assert len(farm.core.farm.scheduler.classes) <= 4
    sends = farm.add_worker(platform={"os": "linux", "arch": "kept"})
    assert len(grants(sends)) == 1


def test_workers_that_answer_slowly_do_not_make_each_other_stale() -> None:
    """Each answers later than the other's word counts; still each is asked a bounded number of times."""
    farm = Farm(worker_timeout_s=1e9)
    farm.now_s = AFTER_GRACE_S
    farm.join()
    farm.add_worker(b"w1", worker_id=1)
    farm.add_worker(b"w2", worker_id=2)
    asked = messages(farm.submit(COMPILED), QueryProperties)
    finished = []
    for number in range(20):
        farm.now_s += 2 * PROPERTY_FRESH_S
        worker = ("w1", "w2")[number % 2]
        sends = farm.receive_properties(worker, "gcc13")
        asked += messages(sends, QueryProperties)
        finished += answers(sends)
    assert len(finished) == 1
    assert len(asked) <= 4


def test_an_answer_costs_the_same_however_many_workers_are_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    farm = Farm()
    farm.join()
    for number in range(1, 41):
        farm.add_worker(b"w%d" % number, worker_id=number)
    judged: list[str] = []
    original = PlatformClass.untold

    def untold(self: PlatformClass, worker: WorkerSession) -> list[str]:
        judged.append(worker.name)
        return original(self, worker)

    monkeypatch.setattr(PlatformClass, "untold", untold)
    assert len(messages(farm.submit(COMPILED), QueryProperties)) == 40
    assert len(judged) == 2 * 40, "each is judged, and asked"
    for number in range(1, 41):
        farm.receive_properties(f"w{number}", "gcc12")
    assert len(judged) == 3 * 40


def test_actions_that_nobody_can_run_cost_the_same_however_many_workers_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    farm = Farm()
    farm.now_s = AFTER_GRACE_S
    farm.join()
    for number in range(1, 41):
        farm.add_worker(b"w%d" % number, worker_id=number)
    asked: list[str] = []
    original = PlatformClass.forget_unmet

    def forget_unmet(self: PlatformClass, worker: WorkerSession, told_before_s: float) -> bool:
        asked.append(worker.name)
        return original(self, worker, told_before_s)

    monkeypatch.setattr(PlatformClass, "forget_unmet", forget_unmet)
    for number in range(20):
        (finished,) = answers(farm.submit(action(str(number), {"os": "plan9"})))
        assert finished.result.code == NoEligibleWorker.code
    assert len(asked) == 40
