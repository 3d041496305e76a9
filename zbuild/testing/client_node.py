"""A client's shell in a simulation: one build, in the order of its dependencies, and the real core."""

from __future__ import annotations

from functools import partial

from zbuild.client.farm import ActionFinished, FarmCore
from zbuild.digest import Digest
from zbuild.errors import ProtocolError
from zbuild.limits import INPUT_UPLOAD_ROUNDS
from zbuild.model.action import ActionId, ActionResult, ResultStatus
from zbuild.protocol.codec import encode, to_client
from zbuild.protocol.messages import PROTOCOL_VERSION, FinishedAction, Hello, Role, Submission
from zbuild.testing.network import NOISE, Link, Network
from zbuild.testing.violation import Violation
from zbuild.testing.workload import ModelledAction
from zbuild.testing.world import World


class ClientNode:
    """One build of some of the workload's actions.

    Args:
        wanted: positions in ``workload``, ascending, each with all that it depends on.
        keeps_going: what ``-k 0`` means; without it the first failure ends the build.
        estimate: what the client expects an action to take, as a share of what it does.

    Attributes:
        ended_s: when the build ended; None before.
        results: what became of each action that was submitted.
    """

    def __init__(
        self,
        world: World,
        network: Network,
        workload: list[ModelledAction],
        wanted: list[int],
        *,
        number: int,
        priority: int,
        keeps_going: bool,
        estimate: float,
    ) -> None:
        self.name = f"c{number}"
        self.ended_s: float | None = None
        self.is_alive = False
        self.has_failed = False
        self.wanted = [workload[position] for position in wanted]
        self.results: dict[ActionId, ActionResult] = {}
        self.core: FarmCore
        self.link: Link
        self._number = number
        self._priority = priority
        self._keeps_going = keeps_going
        self._estimate = estimate
        self._world = world
        self._network = network
        self._workload = workload
        self._rounds: dict[ActionId, int] = {}
        self._succeeded: set[ActionId] = set()
        self._submitted: set[ActionId] = set()
        self._timer_s = float("inf")

    def start(self) -> None:
        """Begin the build."""
        hello = Hello(
            protocol_version=PROTOCOL_VERSION,
            role=Role.CLIENT,
            name=self.name,
            incarnation=self._world.random.getrandbits(63) + 1,
        )
        self.is_alive = True
        self.core = FarmCore(hello, self._number, self._priority, self._now_s())
        self.link = self._network.connect(self.name, self._receive)
        self._world.tell(self.name, "starts", [action.name for action in self.wanted])
        self._submit_ready()
        self._pump()

    def crash(self, *, is_seen: bool) -> None:
        """The client is killed, or its machine is."""
        if self.is_alive:
            self.is_alive = False
            self._network.close(self.link, is_orderly=False, is_seen=is_seen)

    def interrupt(self) -> None:
        """What Ctrl-C does."""
        if self.is_alive:
            self._world.tell(self.name, "interrupted")
            self.core.cancel()
            self._leave()

    def awaited(self) -> list[ModelledAction]:
        """The actions that were asked for and have no result yet."""
        return [each for each in self.wanted if each.action in self._submitted and each.action not in self.results]

    def _receive(self, data: bytes) -> None:
        if not self.is_alive or data == NOISE:
            return
        try:
            events = self.core.receive(to_client.decode(data), self._now_s())
        except ProtocolError as error:
            raise Violation(f"{self.name} gave up: {error}") from error
        for event in events:
            if isinstance(event, ActionFinished):
                self._finished(event.finished)
        self._pump()

    def _wake(self) -> None:
        self._timer_s = float("inf")
        if self.is_alive:
            self._pump()

    def _pump(self) -> None:
        if not self.core.awaited:
            self._leave()
            return
        self.core.tick(self._now_s())
        self._flush()
        deadline_s = self.core.next_deadline_s()
        if deadline_s < self._timer_s:
            self._timer_s = deadline_s
            self._world.clock.call_at(self._world.instant(self.name, deadline_s), partial(self._wake))

    def _flush(self) -> None:
        for send in self.core.outgoing():
            self.link.send(encode(send.message))

    def _now_s(self) -> float:
        return self._world.now_s(self.name)

    def _cancel_queued(self) -> None:
        for event in self.core.cancel_queued():
            self._finished(event.finished)

    def _leave(self) -> None:
        self.core.leave()
        self._flush()
        self._world.tell(self.name, "leaves")
        self.is_alive = False
        self.ended_s = self._world.clock.now_s
        self._network.close(self.link, is_orderly=True, is_seen=True)

    def _finished(self, finished: FinishedAction) -> None:
        result = finished.result
        self._world.tell(self.name, "is told", finished, finished.action)
        absent = result.missing or self._absent(result)
        if absent and self._rounds.get(finished.action, 0) < INPUT_UPLOAD_ROUNDS:
            self._rounds[finished.action] = self._rounds.get(finished.action, 0) + 1
            self._submit(self._of(finished.action))
            return
        self.results[finished.action] = result
        self._world.checker.told(self._of(finished.action), finished, is_again=bool(absent))
        if result.status is ResultStatus.SUCCESS:
            self._succeeded.add(finished.action)
        elif not self.has_failed and not self._keeps_going:
            self.has_failed = True
            self._cancel_queued()
        self._submit_ready()

    def _absent(self, result: ActionResult) -> list[Digest]:
        return [digest for digest in result.blobs() if digest not in self._world.store]

    def _of(self, action: ActionId) -> ModelledAction:
        return next(each for each in self.wanted if each.action == action)

    def _submit_ready(self) -> None:
        if self.has_failed:
            return
        for action in self.wanted:
            if action.action in self._submitted:
                continue
            if all(self._workload[position].action in self._succeeded for position in action.dependencies):
                self._submit(action)

    def _submit(self, action: ModelledAction) -> None:
        self._submitted.add(action.action)
        for digest in action.inputs:
            self._world.store.add(digest)
        expected_s = action.run_s * self._estimate
        self.core.submit(Submission(action.action, action.body, weight_s=action.run_s, expected_s=expected_s))
