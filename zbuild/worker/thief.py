"""When to steal, from whom, and what to do when that fails. It decides; stealing.py takes what comes of it."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass

from zbuild.fsm import TransitionTable
from zbuild.limits import BROKER_SILENT_S, STEAL_HANG_UP_S, STEAL_IDLE_MAX_S, STEAL_IDLE_MIN_S
from zbuild.protocol.steal_messages import StealAccept, StealAnswer, StealRequest, StealResponse
from zbuild.worker.effects import Ask, HangUp, WorkerEffect
from zbuild.worker.peers import Peer, PeerTable
from zbuild.worker.steal_settings import StealSettings
from zbuild.worker.steal_strategy import CHOOSERS, Chance, StealStrategy, StrategySwitch
from zbuild.worker.steal_telemetry import StealTelemetry


class ThiefState(enum.Enum):
    """BUSY: there is enough to do. WAITING: for the next attempt. ASKING: an attempt is under way."""

    BUSY = "busy"
    WAITING = "waiting"
    ASKING = "asking"


class ThiefEvent(enum.Enum):
    """What can happen to a thief."""

    IDLE = "idle"
    WORK = "work"
    ASK = "ask"
    END = "end"


THIEF_TABLE: TransitionTable[ThiefState, ThiefEvent] = TransitionTable(
    "thief",
    {
        (ThiefState.BUSY, ThiefEvent.IDLE): ThiefState.WAITING,
        (ThiefState.WAITING, ThiefEvent.WORK): ThiefState.BUSY,
        (ThiefState.WAITING, ThiefEvent.ASK): ThiefState.ASKING,
        (ThiefState.ASKING, ThiefEvent.END): ThiefState.WAITING,
    },
)


@dataclass
class _Question:
    """One question that has no answer yet. ``strategy``: None for an acceptance, which is no attempt."""

    peer: Peer
    sent_s: float
    strategy: StealStrategy | None
    is_late: bool = False


class Thief:
    """At most one attempt at a time; at most one question to each endpoint, because REQ is in lock-step."""

    def __init__(self, settings: StealSettings, peers: PeerTable, chance: Chance, telemetry: StealTelemetry) -> None:
        self.state = ThiefState.BUSY
        self._settings = settings
        self._peers = peers
        self._chance = chance
        self._telemetry = telemetry
        self._switch = StrategySwitch(settings.strategy)
        self._questions: dict[str, _Question] = {}
        self._accepts: dict[str, list[StealAccept]] = {}
        self._due_s = math.inf
        self._failures = 0
        self._idle_s = STEAL_IDLE_MIN_S

    def next_deadline_s(self) -> float:
        """When ``tick`` has something to do."""
        times = [self._due_s] if self.state is ThiefState.WAITING else []
        for question in self._questions.values():
            is_attempt = question.strategy is not None and not question.is_late
            times.append(question.sent_s + (self._settings.timeout_s if is_attempt else STEAL_HANG_UP_S))
        return min(times, default=math.inf)

    def tick(self, now_s: float, *, is_idle: bool, is_blind: bool) -> tuple[list[WorkerEffect], Peer | None]:
        """Give up what was not answered; whom to ask now, if anybody.

        Args:
            is_idle: there is a free slot, and next to nothing waits.
            is_blind: nobody tells who has work, because the broker is gone.
        """
        effects = self._expire(now_s)
        if self.state is ThiefState.ASKING:
            return effects, None
        if not is_idle:
            if self.state is ThiefState.WAITING:
                self._apply(ThiefEvent.WORK)
                self._failures, self._idle_s = 0, STEAL_IDLE_MIN_S
            return effects, None
        if self.state is ThiefState.BUSY:
            self._apply(ThiefEvent.IDLE)
            self._due_s = now_s + self._jittered(STEAL_IDLE_MIN_S)
        if now_s < self._due_s:
            return effects, None
        victim = self._choose(now_s, is_blind=is_blind)
        if victim is None and is_blind:
            self._wait_longer(now_s)
        elif victim is None:
            # Whoever gets work is told of, unless the broker has fallen silent.
            self._due_s = now_s + BROKER_SILENT_S
        return effects, victim

    def ask(self, peer: Peer, message: StealRequest, now_s: float) -> Ask:
        """Begin an attempt with the question that ``tick`` has named a peer for."""
        self._apply(ThiefEvent.ASK)
        self._questions[peer.endpoint] = _Question(peer, now_s, self._switch.current)
        self._telemetry.asked(peer.worker_id, self._switch.current)
        return Ask(peer.endpoint, message)

    def accept(self, peer: Peer, message: StealAccept, now_s: float) -> list[WorkerEffect]:
        """Tell a victim what has arrived; after its present answer, if there is none yet."""
        if peer.endpoint in self._questions:
            self._accepts.setdefault(peer.endpoint, []).append(message)
            return []
        self._questions[peer.endpoint] = _Question(peer, now_s, None)
        return [Ask(peer.endpoint, message)]

    def answered(self, endpoint: str, answer: StealAnswer, now_s: float) -> tuple[Peer | None, list[WorkerEffect]]:
        """Take in an answer; the peer that gave it, or None if it was not asked for leases."""
        question = self._questions.pop(endpoint, None)
        if question is None:
            return None, []
        peer, latency_s = question.peer, now_s - question.sent_s
        peer.answered(latency_s, now_s)
        if question.strategy is not None:
            if isinstance(answer, StealResponse):
                self._responded(question, answer, latency_s, now_s)
            else:
                self._fail(question, now_s)
        accepts = self._accepts.pop(endpoint, [])
        effects = self.accept(peer, accepts[0], now_s) if accepts else []
        if accepts[1:]:
            self._accepts[endpoint] = accepts[1:]
        return (peer if question.strategy is not None else None), effects

    def came_to_nothing(self, now_s: float) -> None:
        """Nothing of what was stolen could be taken. Asking at once would bring the same again."""
        if self.state is ThiefState.WAITING:
            self._wait_longer(now_s)

    def heard_of_work(self, now_s: float) -> None:
        """Somebody is said to have a queue: there is no reason to wait longer."""
        if self.state is ThiefState.WAITING and self._failures == 0:
            self._idle_s = STEAL_IDLE_MIN_S
            self._due_s = min(self._due_s, now_s + self._jittered(STEAL_IDLE_MIN_S))

    def _responded(self, question: _Question, response: StealResponse, latency_s: float, now_s: float) -> None:
        peer, strategy = question.peer, question.strategy
        self._peers.responded(peer, response, now_s)
        assert strategy is not None
        if not response.grants:
            if not question.is_late:
                self._telemetry.refused(peer.worker_id, response.refusal, latency_s)
                self._fail(question, now_s)
            return
        self._telemetry.succeeded(peer.worker_id, strategy, latency_s)
        if question.is_late:
            self._telemetry.count("late")
            return
        self._switch.ended(is_success=True)
        self._apply(ThiefEvent.END)
        self._failures = 0
        self._due_s = now_s

    def _fail(self, question: _Question, now_s: float) -> None:
        """An attempt has brought nothing. A late answer ends none: its attempt has ended before."""
        if question.is_late:
            return
        self._switch.ended(is_success=False)
        self._apply(ThiefEvent.END)
        self._failures += 1
        if self._failures > self._settings.max_retries:
            self._failures = 0
            self._wait_longer(now_s)
        else:
            backoff_s = self._settings.retry_backoff_s * 2 ** (self._failures - 1)
            self._due_s = now_s + self._jittered(backoff_s)

    def _expire(self, now_s: float) -> list[WorkerEffect]:
        effects: list[WorkerEffect] = []
        for endpoint, question in list(self._questions.items()):
            age_s = now_s - question.sent_s
            if question.strategy is not None and not question.is_late and age_s >= self._settings.timeout_s:
                self._telemetry.timed_out(question.peer.worker_id)
                question.peer.timed_out(now_s)
                self._fail(question, now_s)
                question.is_late = True
            if age_s >= STEAL_HANG_UP_S:
                del self._questions[endpoint]
                self._accepts.pop(endpoint, None)
                effects.append(HangUp(endpoint))
        return effects

    def _choose(self, now_s: float, *, is_blind: bool) -> Peer | None:
        found = self._peers.candidates(now_s, is_blind=is_blind)
        # A single one in a queue is gone as a rule before anybody who heard of it can ask.
        found = [peer for peer in found if peer.load.queue_depth > 1] or found
        by_id = {peer.worker_id: peer for peer in found if peer.endpoint not in self._questions}
        if not by_id:
            return None
        loads = {worker_id: peer.load for worker_id, peer in by_id.items()}
        return by_id[CHOOSERS[self._switch.current](sorted(by_id), loads, self._chance)]

    def _wait_longer(self, now_s: float) -> None:
        self._due_s = now_s + self._jittered(self._idle_s)
        self._idle_s = min(STEAL_IDLE_MAX_S, 2 * self._idle_s)

    def _jittered(self, time_s: float) -> float:
        """Half to one and a half of it: the seed's jitter, which keeps thieves from asking in step."""
        return time_s * (0.5 + self._chance.random())

    def _apply(self, event: ThiefEvent) -> None:
        self.state = THIEF_TABLE.after(self.state, event)
