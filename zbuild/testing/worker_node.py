"""A worker's shell in a simulation: slots whose runs only take time, and the real core."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import msgspec

from zbuild.errors import BlobMissing, SandboxFailed
from zbuild.model.action import ActionId, ActionResult, ResultStatus
from zbuild.protocol.codec import announcement, encode, to_thief, to_victim, to_worker
from zbuild.protocol.effects import Note, Send
from zbuild.protocol.messages import PROTOCOL_VERSION, Grant, Hello, LeaseId, Role
from zbuild.protocol.steal_messages import StealResponse
from zbuild.testing.network import NOISE, Answering, Link, Network
from zbuild.testing.workload import ModelledAction
from zbuild.testing.world import World
from zbuild.worker.core import WorkerCore
from zbuild.worker.effects import Ask, Discard, Evaluate, HangUp, Kill, Prepare, Start, Stop, WorkerEffect
from zbuild.worker.steal_settings import StealSettings

COLLECT_S = (0.001, 0.1)
"""From the end of a command to the end of its run: its outputs are collected and uploaded."""

KILL_S = 0.01
"""From the decision to kill a run to its end."""


class WorkerNode:
    """A worker that can be killed, drained and started again under the same worker id.

    Args:
        queue: leases that it takes beyond its slots.
        platform: the properties of its machine; those with a prefix are told only when asked for.
        slowness: what every run's modelled time is multiplied by.
        flakiness: how likely a run fails for want of the sandbox.
        steals: how it steals.
    """

    def __init__(
        self,
        world: World,
        network: Network,
        workload: dict[ActionId, ModelledAction],
        *,
        worker_id: int,
        slots: int,
        queue: int,
        platform: dict[str, str],
        slowness: float,
        flakiness: float,
        steals: StealSettings,
    ) -> None:
        self.name = f"w{worker_id}"
        self.worker_id = worker_id
        self.slots = slots
        self.queue = queue
        self.platform = platform
        self.is_alive = False
        self.answers_late = False
        self.runs: dict[LeaseId, None] = {}
        self.core: WorkerCore
        self.link: Link
        self._world = world
        self._network = network
        self._workload = workload
        self._slowness = slowness
        self._flakiness = flakiness
        self._steals = steals
        self._sockets: dict[str, int] = {}
        self._life = 0
        self._timer_s = float("inf")
        self._prepared: set[LeaseId] = set()
        self._collecting: set[LeaseId] = set()
        self._killed: set[LeaseId] = set()

    @property
    def begun(self) -> list[LeaseId]:
        """Leases that it has prepared or runs."""
        return [*self.runs, *sorted(self._prepared, key=lambda lease: (lease.action, lease.attempt))]

    def start(self) -> None:
        """Begin a life with a fresh incarnation, routing id, and endpoint for its peers."""
        if self.is_alive:
            return
        self._life += 1
        self.is_alive = True
        self.runs = {}
        self._prepared = set()
        self._collecting = set()
        self._killed = set()
        incarnation = self._world.random.getrandbits(63) + 1
        endpoint = f"tcp://{self.name}:{incarnation}"
        hello = Hello(
            protocol_version=PROTOCOL_VERSION,
            role=Role.WORKER,
            name=self.name,
            incarnation=incarnation,
            worker_id=self.worker_id,
            slots=self.slots,
            queue_limit=self.slots + self.queue,
            sandbox="hermetic",
            platform=(("os", "linux"),),
            steal_endpoint=endpoint,
        )
        self._timer_s = float("inf")
        self.core = WorkerCore(hello, self._steals, self._world.random, self._now_s())
        self.link = self._network.connect(self.name, partial(self._receive, self._life))
        self.link.subscriber = partial(self._announced, self._life)
        self._network.answering[endpoint] = Answering(self.link, self._answer)
        self._world.tell(self.name, "starts", self.link.peer)
        self._turn(())

    def twin(self) -> WorkerNode:
        """Another worker with the same worker id."""
        return WorkerNode(
            self._world,
            self._network,
            self._workload,
            worker_id=self.worker_id,
            slots=self.slots,
            queue=self.queue,
            platform=self.platform,
            slowness=self._slowness,
            flakiness=self._flakiness,
            steals=self._steals,
        )

    def crash(self, *, is_seen: bool) -> None:
        """The process, or its whole machine, is gone, and with it all runs."""
        if self.is_alive:
            self._end()
            self._network.close(self.link, is_orderly=False, is_seen=is_seen)

    def drain(self) -> None:
        """What SIGTERM does."""
        if self.is_alive:
            self._turn(self.core.drain(self._now_s()))

    def _now_s(self) -> float:
        return self._world.now_s(self.name)

    def _end(self) -> None:
        self.is_alive = False
        self._life += 1

    def _receive(self, life: int, data: bytes) -> None:
        if life == self._life and data != NOISE:
            self._turn(self.core.receive(to_worker.decode(data), self._now_s()))

    def _announced(self, life: int, data: bytes) -> None:
        if life == self._life:
            self.core.announced(announcement.decode(data), self._now_s())
            self._turn(())

    def _answer(self, data: bytes) -> bytes:
        question = to_victim.decode(data)
        self._world.tell(self.name, "is asked", question, data)
        answer, effects = self.core.requested(question, self._now_s())
        if isinstance(answer, StealResponse):
            for grant in answer.grants:
                self._world.tell(self.name, "gives", (grant.lease, answer.thief), grant.lease.action)
                self._world.checker.gave(grant.lease, grant.hops, answer.thief)
        self._turn(effects)
        return encode(answer)

    def _answered(self, life: int, endpoint: str, socket: int, data: bytes) -> None:
        if life == self._life and self._sockets.get(endpoint, 0) == socket:
            answer = to_thief.decode(data)
            self._world.tell(self.name, "is answered", answer, data)
            self._turn(self.core.answered(endpoint, answer, self._now_s()))

    def _wake(self, life: int, deadline_s: float) -> None:
        """``deadline_s``: what it was set for; an earlier one has taken its place otherwise."""
        if life == self._life and deadline_s == self._timer_s:
            self._timer_s = float("inf")
            self._turn(())

    def _turn(self, effects: Iterable[WorkerEffect]) -> None:
        """One step of the shell: it ticks after whatever has come, so that a worker steals as soon as it is idle."""
        self._perform(effects)
        if self.is_alive:
            self._perform(self.core.tick(self._now_s()))
        self._arm()

    def _arm(self) -> None:
        deadline_s = self.core.next_deadline_s()
        if self.is_alive and deadline_s < self._timer_s:
            self._timer_s = deadline_s
            wake = partial(self._wake, self._life, deadline_s)
            self._world.clock.call_at(self._world.instant(self.name, deadline_s), wake)

    def _perform(self, effects: Iterable[WorkerEffect]) -> None:
        for effect in effects:
            match effect:
                case Send():
                    self.link.send(encode(effect.message))
                case Prepare():
                    self._world.tell(self.name, "prepares", effect.grant.lease)
                    self._prepared.add(effect.grant.lease)
                case Discard():
                    self._world.checker.discarded(self.name, effect.lease, self._prepared)
                    self._prepared.discard(effect.lease)
                case Start():
                    self._start_run(effect.grant)
                case Kill():
                    self._world.tell(self.name, "kills", effect.lease)
                    self._killed.add(effect.lease)
                    self._world.clock.call_later(KILL_S, partial(self._command_ends, self._life, effect.lease))
                case Evaluate():
                    self._evaluate(effect.names)
                case Ask():
                    data = encode(effect.message)
                    self._world.tell(self.name, "asks", effect, data)
                    take = partial(self._answered, self._life, effect.endpoint, self._sockets.get(effect.endpoint, 0))
                    self._network.ask(self.link, effect.endpoint, data, take)
                case HangUp():
                    self._sockets[effect.endpoint] = self._sockets.get(effect.endpoint, 0) + 1
                case Note():
                    self._world.tell(self.name, effect.event)
                case Stop():
                    self._world.tell(self.name, "stops", effect.error)
                    self._world.checker.worker_stopped(self.name, effect.error)
                    self._end()
                    self._network.close(self.link, is_orderly=True, is_seen=True)
        if self.is_alive:
            self._world.checker.worker(self.name, self.link.peer, self.core, len(self.runs), self.slots)

    def _start_run(self, grant: Grant) -> None:
        action = self._workload[grant.lease.action]
        self._world.tell(self.name, "runs", grant.lease, grant.lease.action)
        self._world.checker.runs(self.name, grant.lease)
        self._prepared.discard(grant.lease)
        self.runs[grant.lease] = None
        missing = [digest for digest in action.inputs if digest not in self._world.store]
        run_s = 0.02 if missing else action.run_s * self._slowness * self._world.random.uniform(0.9, 1.1)
        end = self._run_ends if missing else self._command_ends
        self._world.clock.call_later(run_s, partial(end, self._life, grant.lease))

    def _command_ends(self, life: int, lease: LeaseId) -> None:
        """The slot is free; the outputs are still to be collected."""
        if life != self._life or lease not in self.runs:
            return
        del self.runs[lease]
        self._collecting.add(lease)
        self._turn(self.core.exited(lease, self._workload[lease.action].run_s))
        collect_s = self._world.random.uniform(*COLLECT_S)
        self._world.clock.call_later(collect_s, partial(self._run_ends, self._life, lease))

    def _run_ends(self, life: int, lease: LeaseId) -> None:
        if life != self._life or not (lease in self.runs or lease in self._collecting):
            return
        self.runs.pop(lease, None)
        self._collecting.discard(lease)
        result = self._result(lease)
        self._killed.discard(lease)
        self._world.tell(self.name, "ended", (lease, result), lease.action)
        self._turn(self.core.finished([(lease, result)]))

    def _result(self, lease: LeaseId) -> ActionResult:
        action = self._workload[lease.action]
        if lease in self._killed:
            return ActionResult(status=ResultStatus.FAILURE, exit_code=137, worker=self.name)
        missing = tuple(digest for digest in action.inputs if digest not in self._world.store)
        if missing:
            text = f"{missing[0].short} is not in the store"
            return ActionResult(status=ResultStatus.ERROR, code=BlobMissing.code, message=text, missing=missing)
        if not self._world.is_calm and self._world.random.random() < self._flakiness:
            return ActionResult(status=ResultStatus.ERROR, code=SandboxFailed.code, message="no sandbox today")
        for digest in action.result.blobs():
            self._world.store.add(digest)
        return msgspec.structs.replace(action.result, worker=self.name)

    def _evaluate(self, names: tuple[str, ...]) -> None:
        values = {name: self.platform.get(name, "") for name in names}
        delay_s = self._world.random.uniform(0.01, 0.5)
        if self.answers_late and not self._world.is_calm:
            chance = self._world.random.random()
            if chance < 0.2:
                return
            delay_s *= 20
        self._world.clock.call_later(delay_s, partial(self._evaluated, self._life, values))

    def _evaluated(self, life: int, values: dict[str, str]) -> None:
        if life == self._life:
            self._turn(self.core.evaluated(values, self._now_s()))
