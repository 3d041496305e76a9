"""When a worker asks whom, how long it waits in between, and what it makes of the answers."""

from __future__ import annotations

import itertools
from collections import Counter
from random import Random

import pytest

from tests.unit.worker.steal_driver import announcement, endpoint, grant, request, response
from zbuild.limits import BROKER_SILENT_S, STEAL_HANG_UP_S, STEAL_IDLE_MAX_S, STEAL_IDLE_MIN_S
from zbuild.protocol.steal_messages import StealAccept, StealNoted, StealRefusal, StealResponse
from zbuild.worker.effects import Ask, HangUp, WorkerEffect
from zbuild.worker.peers import Peer, PeerTable
from zbuild.worker.steal_settings import StealSettings
from zbuild.worker.steal_telemetry import StealTelemetry
from zbuild.worker.thief import Thief, ThiefState

OWN = 2
LONG_S = 1000.0


class Middle(Random):
    """Chance without jitter: half to one and a half of a pause is the pause."""

    def random(self) -> float:
        return 0.5


class Idler:
    """A thief with time on its hands, among peers with long queues."""

    def __init__(self, *peers: int, chance: Random | None = None, settings: StealSettings | None = None) -> None:
        self.counters: Counter[str] = Counter()
        self.peers = PeerTable(OWN)
        self.peers.announced(announcement(*peers), 0.0)
        self.telemetry = StealTelemetry(self.counters)
        self.thief = Thief(settings or StealSettings(), self.peers, chance or Middle(), self.telemetry)
        self.effects: list[WorkerEffect] = []

    def tick(self, now_s: float, *, is_idle: bool = True, is_blind: bool = False) -> Peer | None:
        """Whom it asks now; it is asked at once."""
        self.effects, victim = self.thief.tick(now_s, is_idle=is_idle, is_blind=is_blind)
        if victim is not None:
            self.thief.ask(victim, request(thief=OWN, victim=victim.worker_id), now_s)
        return victim

    def asks_at(self, now_s: float, *, is_blind: bool = False) -> float:
        """When it asks next, if it wakes when it wants to."""
        while self.tick(now_s, is_blind=is_blind) is None:
            later_s = self.thief.next_deadline_s()
            assert now_s < later_s < LONG_S, "it sleeps for ever, or not at all"
            now_s = later_s
        return now_s

    def refused(self, worker_id: int, now_s: float) -> None:
        answer = StealResponse(
            victim=worker_id, thief=OWN, refusal=StealRefusal.NOT_ELIGIBLE, queue_depth=9, backlog_s=60.0
        )
        self.thief.answered(endpoint(worker_id), answer, now_s)


def test_it_asks_a_moment_after_it_has_become_idle() -> None:
    idler = Idler(1)
    assert idler.tick(5.0, is_idle=False) is None
    assert idler.asks_at(10.0) == 10.0 + STEAL_IDLE_MIN_S
    assert idler.thief.state is ThiefState.ASKING


def test_work_that_comes_meanwhile_ends_the_wait() -> None:
    idler = Idler(1)
    idler.tick(10.0)
    assert idler.tick(11.0, is_idle=False) is None
    assert (idler.thief.state, idler.thief.next_deadline_s()) == (ThiefState.BUSY, float("inf"))


def test_an_attempt_that_fails_is_repeated_three_times_at_doubling_distances() -> None:
    idler = Idler(1)
    asked_s = [idler.asks_at(0.0)]
    for _ in range(3):
        idler.refused(1, asked_s[-1])
        asked_s.append(idler.asks_at(asked_s[-1]))
    gaps = [later - earlier for earlier, later in itertools.pairwise(asked_s)]
    assert gaps == pytest.approx([0.05, 0.1, 0.2])


def test_between_rounds_of_attempts_it_waits_ever_longer_up_to_a_second() -> None:
    idler = Idler(1)
    now_s = idler.asks_at(0.0)
    pauses = []
    for _ in range(10):
        for attempt in range(4):
            idler.refused(1, now_s)
            later_s = idler.asks_at(now_s)
            if attempt == 3:
                pauses.append(later_s - now_s)
            now_s = later_s
    assert pauses[:4] == pytest.approx([0.01, 0.02, 0.04, 0.08])
    assert pauses[-1] == pytest.approx(STEAL_IDLE_MAX_S)


def test_pauses_are_jittered_by_half() -> None:
    idler = Idler(1, chance=Random(3))
    pauses = []
    for _ in range(300):
        idler.tick(0.0, is_idle=False)
        idler.tick(0.0)
        pauses.append(idler.thief.next_deadline_s())
    assert 0.5 * STEAL_IDLE_MIN_S <= min(pauses) < 0.55 * STEAL_IDLE_MIN_S
    assert 1.45 * STEAL_IDLE_MIN_S < max(pauses) < 1.5 * STEAL_IDLE_MIN_S


def test_without_anybody_who_has_work_it_waits_to_be_told() -> None:
    idler = Idler(1)
    idler.peers.announced(announcement(1, queue_depth=0), 0.0)
    idler.tick(0.0)
    assert idler.tick(1.0) is None
    assert idler.thief.next_deadline_s() == 1.0 + BROKER_SILENT_S
    idler.peers.announced(announcement(1), 2.0)
    idler.thief.heard_of_work(2.0)
    assert idler.asks_at(2.0) == 2.0 + STEAL_IDLE_MIN_S


def test_news_of_work_does_not_shorten_the_pause_after_a_failure() -> None:
    idler = Idler(1)
    now_s = idler.asks_at(0.0)
    idler.refused(1, now_s)
    idler.thief.heard_of_work(now_s)
    assert idler.asks_at(now_s) == now_s + 0.05


def test_without_a_broker_it_asks_anybody() -> None:
    idler = Idler(1)
    idler.peers.announced(announcement(1, queue_depth=0), 0.0)
    idler.tick(0.0)
    assert idler.asks_at(1.0, is_blind=True) == 1.0


def test_without_a_broker_and_without_peers_it_goes_on_looking() -> None:
    idler = Idler()
    idler.tick(0.0)
    assert idler.tick(1.0, is_blind=True) is None
    assert 1.0 < idler.thief.next_deadline_s() < 1.0 + STEAL_IDLE_MAX_S


def test_a_peer_that_does_not_answer_in_time_is_left_alone_and_another_is_asked() -> None:
    idler = Idler(1, 3)
    now_s = idler.asks_at(0.0)
    first = next(peer for peer in idler.peers if peer.timeouts == 0 and idler.telemetry.peers.get(peer.worker_id))
    assert idler.thief.next_deadline_s() == now_s + 0.1
    assert idler.tick(now_s + 0.1) is None
    assert (first.timeouts, idler.counters["steal_timeouts"]) == (1, 1)
    second = None
    while second is None:
        now_s = idler.thief.next_deadline_s()
        second = idler.tick(now_s)
    assert second is not first


def test_a_late_answer_is_welcome_until_it_hangs_up() -> None:
    idler = Idler(1)
    now_s = idler.asks_at(0.0)
    idler.tick(now_s + 0.1)
    peer, _ = idler.thief.answered(endpoint(1), response(grant("a"), victim=1), now_s + 0.9)
    assert peer is not None
    assert peer is idler.peers.get(1)
    assert idler.counters["steal_late"] == 1
    assert peer.timeouts == 0, "it is there after all"


def test_it_hangs_up_in_time_and_knows_no_answer_after_that() -> None:
    idler = Idler(1)
    now_s = idler.asks_at(0.0)
    idler.tick(now_s + 0.1)
    idler.tick(now_s + STEAL_HANG_UP_S, is_idle=False)
    assert idler.effects == [HangUp(endpoint(1))]
    peer, effects = idler.thief.answered(endpoint(1), response(grant("a"), victim=1), now_s + 1.1)
    assert (peer, effects) == (None, [])


def test_an_endpoint_has_one_question_at_a_time() -> None:
    """REQ is in lock-step: while a late answer is awaited nothing else is asked there."""
    idler = Idler(1)
    now_s = idler.asks_at(0.0)
    idler.tick(now_s + 0.1)
    peer = idler.peers.get(1)
    assert peer is not None
    peer.quiet_until_s = 0.0
    assert idler.tick(now_s + 0.5) is None
    idler.tick(now_s + STEAL_HANG_UP_S)
    assert idler.asks_at(now_s + STEAL_HANG_UP_S) < LONG_S


def test_an_acceptance_waits_for_the_answer_that_is_under_way_and_they_go_one_by_one() -> None:
    idler = Idler(1)
    now_s = idler.asks_at(0.0)
    peer = idler.peers.get(1)
    assert peer is not None
    accepts = [StealAccept(thief=OWN, incarnation=1, victim=1, transfer=number) for number in (1, 2)]
    for accept in accepts:
        assert idler.thief.accept(peer, accept, now_s) == []
    _, first = idler.thief.answered(endpoint(1), response(victim=1), now_s)
    _, second = idler.thief.answered(endpoint(1), StealNoted(victim=1), now_s)
    assert first + second == [Ask(endpoint(1), accept) for accept in accepts]
    assert idler.thief.answered(endpoint(1), StealNoted(victim=1), now_s)[1] == []


def test_a_success_is_followed_up_at_once_unless_nothing_of_it_could_be_taken() -> None:
    idler = Idler(1)
    now_s = idler.asks_at(0.0)
    idler.thief.answered(endpoint(1), response(grant("a"), victim=1), now_s)
    assert idler.thief.next_deadline_s() == now_s
    pauses = []
    for _ in range(8):
        idler.thief.came_to_nothing(now_s)
        later_s = idler.asks_at(now_s)
        pauses.append(later_s - now_s)
        now_s = later_s
        idler.thief.answered(endpoint(1), response(grant("a"), victim=1), now_s)
    assert pauses[:3] == pytest.approx([0.01, 0.02, 0.04])
    assert pauses[-1] == pytest.approx(STEAL_IDLE_MAX_S)


def test_an_answer_of_the_wrong_kind_is_a_failed_attempt() -> None:
    idler = Idler(1)
    now_s = idler.asks_at(0.0)
    idler.thief.answered(endpoint(1), StealNoted(victim=1), now_s)
    assert idler.thief.state is ThiefState.WAITING
    assert idler.asks_at(now_s) == now_s + 0.05


def test_leases_in_the_receipt_of_an_acceptance_were_not_asked_for() -> None:
    idler = Idler(1)
    peer = idler.peers.get(1)
    assert peer is not None
    idler.thief.accept(peer, StealAccept(thief=OWN, incarnation=1, victim=1, transfer=1), 0.0)
    assert idler.thief.answered(endpoint(1), response(grant("a"), victim=1), 0.0) == (None, [])


def test_the_strategy_is_counted_that_was_in_force_when_it_asked() -> None:
    idler = Idler(1)
    now_s = idler.asks_at(0.0)
    idler.thief.answered(endpoint(1), response(grant("a"), victim=1), now_s)
    assert idler.counters["steal_attempts_power_of_two"] == idler.counters["steal_successes_power_of_two"] == 1
