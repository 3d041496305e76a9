"""A whole farm in one thread: the real cores, a simulated network, and the faults that a seed stands for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from random import Random

from zbuild.coordinator.reassign import ReassignStrategy
from zbuild.limits import CLIENT_TIMEOUT_S, KEEPALIVE_INTERVAL_S, REPORT_INTERVAL_S
from zbuild.model.action import ActionId, Priority
from zbuild.testing.broker_node import WORKER_TIMEOUT_S, BrokerNode
from zbuild.testing.checkers import Checker, check_nothing_left
from zbuild.testing.client_node import ClientNode
from zbuild.testing.clock import Clock
from zbuild.testing.faults import SPIKES_S, Fault, FaultKind, FaultPlan, draw_faults
from zbuild.testing.network import CALM, Network
from zbuild.testing.orphans import OrphanWatch
from zbuild.testing.store import MemoryResults, MemoryStore
from zbuild.testing.story import Story
from zbuild.testing.violation import Violation
from zbuild.testing.worker_node import WorkerNode
from zbuild.testing.workload import COMPILER, LIBRARY, ModelledAction, draw_workload
from zbuild.testing.world import World
from zbuild.worker.steal_settings import StealSettings
from zbuild.worker.steal_strategy import StealStrategy

RECOVERY_S = (
    2 * (WORKER_TIMEOUT_S + CLIENT_TIMEOUT_S) + 4 * (REPORT_INTERVAL_S + KEEPALIVE_INTERVAL_S) + 2 * SPIKES_S[-1]
)
"""What the farm may need after the last fault besides the work itself: every time-out twice in a row, and messages
that were sent before and are late in both directions."""

STRANDED_S = 3 * KEEPALIVE_INTERVAL_S + 2 * SPIKES_S[-1]
"""A client notices within this that the broker does not know an action that it awaits, and the broker then does.

What was sent before the last fault was over may be late in both directions, and whatever follows it comes after it."""

LEAVES_S = 20.0
"""Some builds are given up within this after the last fault, so that it is seen that what they had running ends."""

SKEW_S = 7200.0
"""How far the clocks of two nodes may be apart: an hour either way. No node shows less than 0, as no machine does."""

TOO_SHORT = 0.01
"""What some clients take for the duration of their actions, so that workers get long queues."""

UNKNOWN = 0.0
"""The same where clients do not know it: nobody then runs a copy of what takes long, which would make good for a lease
that has got lost between a victim and its thief."""

GATHERING_S = 20.0
"""How long it takes in some farms until all workers are there. Those that come first have all the work by then."""

LARGE = 0.04
"""The share of simulations with up to 12 workers, 300 actions and 4 clients. Each takes as long as ten others, and most
faults need no more than two workers to matter."""

QUEUES = (8, 64)
"""Leases that a worker takes beyond its slots: some to fill up, or nearly all that there are."""

SLOWEST = 4.0
"""A slow worker takes this many times as long."""


@dataclass(frozen=True)
class Outcome:
    """A simulation that has ended well.

    Attributes:
        simulated_s: how much time has passed in it.
        checks: how often all invariants were checked.
    """

    trace_hash: str
    events: int
    checks: int
    simulated_s: float
    counters: dict[str, int]


class Simulation:
    """One farm and its history, all of it drawn from ``seed``.

    Attributes:
        story: what has happened so far; of use when ``run`` raises.
        plan: what goes wrong.
    """

    def __init__(self, seed: int) -> None:
        random = Random(seed)
        self.story = Story()
        self._random = random
        compilers = random.choice((("gcc12",), ("gcc12",), ("gcc12", "gcc13")))
        is_large = random.random() < LARGE
        others = random.randint(*(2, 11) if is_large else (0, 4))
        platforms = [self._draw_platform(compilers) for _ in range(others)]
        platforms.append({"os": "linux", COMPILER: compilers[0], LIBRARY: "z1"})
        self.plan: FaultPlan = draw_faults(random, len(platforms))
        self._workload = draw_workload(random, random.choice((150, 300) if is_large else (10, 30, 60, 100)), compilers)
        by_id = {action.action: action for action in self._workload}
        self.story.names.update((action.action, action.name) for action in self._workload)
        store = MemoryStore()
        results = MemoryResults(store)
        checker = Checker(results, dict(enumerate(platforms, 1)), by_id)
        checker.has_faults = not self.plan.is_empty
        self._world = World(Clock(), random, self.story, store, results, checker)
        self._broker = BrokerNode(self._world, random.choice(list(ReassignStrategy)))
        self._network = Network(self._world.clock, random, self.story, self._broker.receive, self._broker.notice)
        self._broker.network = self._network
        if random.random() < 0.3:
            for name in (
                "broker",
                *(f"w{number}" for number in range(1, 13)),
                *(f"c{number}" for number in range(1, 5)),
            ):
                self._world.skew_s[name] = random.uniform(0.0, SKEW_S)
        self._estimate = random.choice((1.0, TOO_SHORT, TOO_SHORT, UNKNOWN))
        self._gathering_s = random.choice((1.0, GATHERING_S))
        steals = StealSettings(
            is_enabled=random.random() < 0.9,
            strategy=random.choice(list(StealStrategy)),
            threshold=random.choice((0.25, 0.5, 1.0)),
        )
        self._workers = [
            WorkerNode(
                self._world,
                self._network,
                by_id,
                worker_id=number,
                slots=random.choice((1, 1, 2, 4)),
                queue=random.choice(QUEUES),
                platform=platform,
                slowness=random.choice((1.0, 1.0, 1.0, SLOWEST)),
                flakiness=self.plan.flakiness,
                steals=steals,
            )
            for number, platform in enumerate(platforms, 1)
        ]
        for number in self.plan.late_answers:
            self._workers[number].answers_late = True
        self._twins: list[WorkerNode] = []
        self._clients = [
            self._draw_client(number) for number in range(1, 5 if is_large else random.choice((2, 2, 3, 4)))
        ]

    def run(self) -> Outcome:
        """Run to the end.

        Raises:
            Violation: an invariant did not hold, or the farm did not recover.
        """
        world = self._world
        self._network.weather = self.plan.weather
        self._broker.start()
        for worker in self._workers:
            world.clock.call_later(self._random.uniform(0.0, self._gathering_s), worker.start)
        for client in self._clients:
            world.clock.call_later(self._random.uniform(0.0, 0.3) * self.plan.until_s, client.start)
        for fault in self.plan.faults:
            world.clock.call_at(fault.at_s, partial(self._happen, fault))
        self._run_until(self.plan.over_s)
        self._recover()
        return Outcome(
            trace_hash=self.story.trace_hash(),
            events=self.story.events,
            checks=world.checker.checks,
            simulated_s=world.clock.now_s,
            counters=dict(self._broker.core.farm.counters),
        )

    def _recover(self) -> None:
        """No fault happens any more: every build must end in time, and nothing may be left of any."""
        world = self._world
        world.is_calm = True
        world.tell("simulation", "fault", "the last fault is over")
        self._network.weather = CALM
        for twin in self._twins:
            twin.crash(is_seen=True)
        work_s = sum(action.run_s for action in self._workload) * SLOWEST * len(self._clients)
        bound_s = world.clock.now_s + RECOVERY_S + work_s
        stranded_since_s: dict[tuple[bytes, ActionId], float] = {}
        orphans = OrphanWatch(self._network, world.clock.now_s)
        if self._random.random() < 0.3:
            leaving = self._random.choice(self._clients)
            world.clock.call_later(self._random.uniform(0.0, LEAVES_S), leaving.interrupt)
        while world.clock.now_s < bound_s:
            for worker in self._workers:
                worker.start()
            if not any(client.is_alive for client in self._clients):
                break
            self._check_stranded(stranded_since_s)
            orphans.check(self._broker.core, self._workers, world.clock.now_s)
            self._run_until(world.clock.now_s + 1.0)
        for client in self._clients:
            if client.is_alive:
                awaited = client.awaited()
                names = [action.name for action in awaited]
                text = f"build {client.name} has not ended {RECOVERY_S + work_s:.0f} s after the last fault"
                raise Violation(f"{text}; it awaits {names}", awaited[0].action if awaited else None)
        self._run_until(world.clock.now_s + CLIENT_TIMEOUT_S + 3 * REPORT_INTERVAL_S + SLOWEST * 10)
        check_nothing_left(
            self._broker.core, [(worker.name, worker.core) for worker in self._workers if worker.is_alive]
        )

    def _check_stranded(self, since_s: dict[tuple[bytes, ActionId], float]) -> None:
        """``since_s``: since when a client awaits an action that the broker does not have for it."""
        now_s = self._world.clock.now_s
        stranded: dict[tuple[bytes, ActionId], float] = {}
        for client in self._clients:
            for action in client.awaited() if client.is_alive else ():
                session = self._broker.core.farm.registry.clients.get(client.link.peer)
                if session is None or not any(action.action in actions for actions in session.builds.values()):
                    key = (client.link.peer, action.action)
                    stranded[key] = since_s.get(key, now_s)
                    if now_s - stranded[key] > STRANDED_S:
                        raise Violation(f"{client.name} awaits it, and the broker does not know it", action.action)
        since_s.clear()
        since_s.update(stranded)

    def _run_until(self, until_s: float) -> None:
        while self._world.clock.advance(until_s):
            continue

    def _happen(self, fault: Fault) -> None:
        self._world.tell("simulation", "fault", fault)
        worker = self._workers[fault.target % len(self._workers)]
        client = self._clients[fault.target % len(self._clients)]
        clock = self._world.clock
        match fault.kind:
            case FaultKind.WORKER_CRASH:
                worker.crash(is_seen=fault.is_seen)
                clock.call_later(fault.for_s, worker.start)
            case FaultKind.WORKER_DRAIN:
                worker.drain()
                clock.call_later(20.0 + fault.for_s, worker.start)
            case FaultKind.CLIENT_CRASH:
                client.crash(is_seen=fault.is_seen)
            case FaultKind.CLIENT_INTERRUPT:
                client.interrupt()
            case FaultKind.TWIN if worker.is_alive:
                self._start_twin(worker)
            case FaultKind.BROKER_RESTART if self._network.is_broker_up:
                self._broker.crash(is_orderly=fault.target % 4 == 0, is_power_cut=fault.target % 4 == 1)
                self._network.broker_went()
                clock.call_later(fault.for_s, self._restart_broker)
            case FaultKind.BLOB_LOSS:
                self._lose_blobs(fault)
            case FaultKind.DISK_FULL:
                self._world.results.is_full = True
                clock.call_later(fault.for_s, self._free_disk)
            case _:
                self._happen_to_links(fault, worker, client)

    def _happen_to_links(self, fault: Fault, worker: WorkerNode, client: ClientNode) -> None:
        clock = self._world.clock
        match fault.kind:
            case FaultKind.WORKER_CUT if worker.is_alive:
                self._network.cut(worker.link, down_s=fault.for_s, is_seen=fault.is_seen)
            case FaultKind.CLIENT_CUT if client.is_alive:
                self._network.cut(client.link, down_s=fault.for_s, is_seen=fault.is_seen)
            case FaultKind.WORKER_PARTITION if worker.is_alive:
                self._network.hold(worker.link, clock.now_s + fault.for_s)
            case FaultKind.CLIENT_PARTITION if client.is_alive:
                self._network.hold(client.link, clock.now_s + fault.for_s)
            case FaultKind.ONE_WAY if worker.is_alive:
                self._network.hold(worker.link, clock.now_s + fault.for_s, (fault.is_seen,))
            case FaultKind.FLAPPING if worker.is_alive:
                for flap in range(int(fault.for_s) + 1):
                    clock.call_later(float(flap), partial(self._cut, worker, is_seen=fault.is_seen))
            case FaultKind.SWIZZLE:
                self._swizzle(fault)
            case _:
                return

    def _cut(self, worker: WorkerNode, *, is_seen: bool) -> None:
        if worker.is_alive:
            self._network.cut(worker.link, down_s=0.5, is_seen=is_seen)

    def _swizzle(self, fault: Fault) -> None:
        """Every link is held from an instant of its own to another, so that each pair is cut off at some time."""
        for link in list(self._network.links.values()):
            if not link.is_closed:
                until_s = self._world.clock.now_s + self._random.uniform(0.0, fault.for_s)
                begin = partial(self._network.hold, link, until_s)
                self._world.clock.call_later(self._random.uniform(0.0, fault.for_s), begin)

    def _start_twin(self, worker: WorkerNode) -> None:
        """What a copied cache directory does. It asks for a while, and then ends with the reason."""
        twin = worker.twin()
        self._twins.append(twin)
        twin.start()

    def _restart_broker(self) -> None:
        self._world.tell("broker", "starts")
        self._network.broker_came()
        self._broker.start()

    def _free_disk(self) -> None:
        self._world.results.is_full = False

    def _lose_blobs(self, fault: Fault) -> None:
        """Now a few, and for a while one after the other: some go between a report and its check."""
        for step in range(1 + int(fault.for_s)):
            self._world.clock.call_later(0.3 * step, self._lose_blob)

    def _lose_blob(self) -> None:
        digest = self._world.store.lose_one(self._random)
        self._world.tell("store", "loses", digest)

    def _draw_platform(self, compilers: tuple[str, ...]) -> dict[str, str]:
        platform = {"os": "linux"}
        if self._random.random() < 0.95:
            platform[COMPILER] = self._random.choice(compilers)
        if self._random.random() < 0.9:
            platform[LIBRARY] = "z1"
        return platform

    def _draw_client(self, number: int) -> ClientNode:
        wanted: set[int] = set()
        for position in self._random.sample(range(len(self._workload)), self._random.randint(1, len(self._workload))):
            _add_with_dependencies(position, self._workload, wanted)
        return ClientNode(
            self._world,
            self._network,
            self._workload,
            sorted(wanted),
            number=number,
            priority=int(self._random.choice(list(Priority))),
            keeps_going=self._random.random() < 0.8,
            estimate=self._estimate,
        )


def _add_with_dependencies(position: int, workload: list[ModelledAction], wanted: set[int]) -> None:
    if position not in wanted:
        wanted.add(position)
        for dependency in workload[position].dependencies:
            _add_with_dependencies(dependency, workload, wanted)
