"""Workers and clients of a large simulated farm: the production cores, whose own time costs nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from random import Random
from typing import Protocol

from tests.sim.scale_broker import HEARTBEAT_INTERVAL_S
from zbuild.client.farm import ActionFinished, FarmCore
from zbuild.model.action import ActionId, ActionResult, ResultStatus
from zbuild.protocol.codec import encode, to_client, to_thief, to_victim, to_worker
from zbuild.protocol.effects import Send
from zbuild.protocol.messages import PROTOCOL_VERSION, Grant, HeartBeat, Hello, LeaseId, Role, Submission
from zbuild.protocol.steal_messages import Announcement
from zbuild.testing.clock import Clock
from zbuild.worker.core import WorkerCore
from zbuild.worker.effects import Ask, Start, WorkerEffect
from zbuild.worker.steal_settings import StealSettings

LATENCY_S = 0.0002
"""From socket to socket on a LAN."""

STEP_S = 0.0003
"""What a worker's shell takes from the end of a command to its result being sent."""

QUEUE = 256
DONE = ActionResult(status=ResultStatus.SUCCESS)


class Wire(Protocol):
    """What the nodes know of the farm."""

    def to_broker(self, peer: bytes | None, data: bytes) -> None:
        """Takes LATENCY_S. None for ``peer``: a heartbeat."""

    def to_worker(self, endpoint: str, data: bytes, take: Callable[[bytes], None]) -> None:
        """A question to another worker, and the answer back."""


class ScaleWorker:
    """One worker. ``waits``: how long each action takes."""

    def __init__(
        self,
        clock: Clock,
        wire: Wire,
        random: Random,
        waits: dict[ActionId, float],
        number: int,
        slots: int,
        *,
        is_stealing: bool,
    ) -> None:
        self.peer = b"w%d" % number
        self.endpoint = f"tcp://worker-{number:05}.farm.example:9100" if is_stealing else ""
        self._clock = clock
        self._wire = wire
        self._waits = waits
        self._hello = Hello(
            protocol_version=PROTOCOL_VERSION,
            role=Role.WORKER,
            name=f"worker-{number:05}",
            incarnation=random.getrandbits(63) + 1,
            worker_id=random.getrandbits(63) + 1,
            slots=slots,
            queue_limit=slots + QUEUE,
            sandbox="hermetic",
            platform=(("os", "linux"),),
            steal_endpoint=self.endpoint,
        )
        self.core = WorkerCore(self._hello, StealSettings(is_enabled=is_stealing), random, clock.now_s)
        self._timer_s = math.inf
        self._sequence = 0

    def start(self) -> None:
        """Introduce itself, and begin its heartbeats."""
        self._after([])
        self._beat()

    def deliver(self, data: bytes) -> None:
        """A message of the broker has come."""
        self._after(self.core.receive(to_worker.decode(data), self._clock.now_s))

    def announced(self, message: Announcement) -> None:
        """The broker has published something."""
        self.core.announced(message, self._clock.now_s)
        self._after([])

    def answer(self, data: bytes) -> bytes:
        """A peer asks."""
        answer, effects = self.core.requested(to_victim.decode(data), self._clock.now_s)
        self._after(effects)
        return encode(answer)

    def _answered(self, endpoint: str, data: bytes) -> None:
        self._after(self.core.answered(endpoint, to_thief.decode(data), self._clock.now_s))

    def _after(self, effects: Iterable[WorkerEffect]) -> None:
        """As the shell does: perform, and look at the time."""
        self._perform(effects)
        now_s = self._clock.now_s
        self._perform(self.core.tick(now_s))
        deadline_s = self.core.next_deadline_s()
        if deadline_s < self._timer_s:
            self._timer_s = deadline_s
            self._clock.call_at(deadline_s + 1e-6, partial(self._wake, deadline_s))

    def _wake(self, deadline_s: float) -> None:
        if deadline_s == self._timer_s:
            self._timer_s = math.inf
            self._after([])

    def _perform(self, effects: Iterable[WorkerEffect]) -> None:
        for effect in effects:
            match effect:
                case Send():
                    self._wire.to_broker(self.peer, encode(effect.message))
                case Start():
                    self._run(effect.grant)
                case Ask():
                    take = partial(self._answered, effect.endpoint)
                    self._wire.to_worker(effect.endpoint, encode(effect.message), take)
                case _:
                    continue

    def _run(self, grant: Grant) -> None:
        wait_s = self._waits[grant.lease.action]
        self._clock.call_later(wait_s, partial(self._ended, grant.lease, wait_s))

    def _ended(self, lease: LeaseId, run_s: float) -> None:
        self._after(self.core.exited(lease, run_s))
        self._clock.call_later(STEP_S, partial(self._finished, lease))

    def _finished(self, lease: LeaseId) -> None:
        self._after(self.core.finished([(lease, DONE)]))

    def _beat(self) -> None:
        self._sequence += 1
        message = HeartBeat(
            worker_id=self._hello.worker_id,
            incarnation=self._hello.incarnation,
            sequence=self._sequence,
            state=self.core.state,
            queue_depth=self.core.queue_depth,
            active_actions=self.core.active_actions,
            cpu_usage=0.5,
            memory_usage=0.5,
            disk_usage=0.5,
            load_factor=self.core.load_factor,
        )
        self._wire.to_broker(None, encode(message))
        self._clock.call_later(HEARTBEAT_INTERVAL_S, self._beat)


class ScaleClient:
    """One build that submits all it has at once.

    Attributes:
        ended_s: the instant of its last result; None before.
    """

    def __init__(
        self,
        clock: Clock,
        wire: Wire,
        number: int,
        submissions: Sequence[Submission],
    ) -> None:
        self.peer = b"c%d" % number
        self.ended_s: float | None = None
        self._clock = clock
        self._wire = wire
        self._submissions = submissions
        self._has_submitted = False
        hello = Hello(
            protocol_version=PROTOCOL_VERSION, role=Role.CLIENT, name=f"client-{number}", incarnation=number + 1
        )
        self._core = FarmCore(hello, number + 1, 50, clock.now_s)

    def connect(self) -> None:
        """Introduce itself."""
        self._pump()

    def submit(self) -> None:
        self._has_submitted = True
        for submission in self._submissions:
            self._core.submit(submission)
        self._flush()

    def deliver(self, data: bytes) -> None:
        """A message of the broker has come.

        Raises:
            AssertionError: an action was not executed.
        """
        for event in self._core.receive(to_client.decode(data), self._clock.now_s):
            if isinstance(event, ActionFinished):
                assert event.finished.result.status is ResultStatus.SUCCESS, event.finished
        if self._has_submitted and not self._core.awaited and self.ended_s is None:
            self.ended_s = self._clock.now_s
        self._flush()

    def _pump(self) -> None:
        if self.ended_s is None:
            self._core.tick(self._clock.now_s)
            self._flush()
            self._clock.call_at(max(self._core.next_deadline_s(), self._clock.now_s + 0.05), self._pump)

    def _flush(self) -> None:
        for send in self._core.outgoing():
            self._wire.to_broker(self.peer, encode(send.message))
