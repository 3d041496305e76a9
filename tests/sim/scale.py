"""A large farm in simulated time: the production cores of all roles, and a broker that takes the time it really takes.

The broker's core, codec, journal and action cache run in this process, and each turn takes as much simulated time
as it took processor time here, plus what its sockets cost, measured at the start. Workers and clients take none:
they are as many machines. No invariant is checked; that is what the seeds are for.
"""

from __future__ import annotations

import argparse
import gc
import resource
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random
from unittest import mock

from tests.bench.list_scheduling import bound_s, longest_first_s
from tests.bench.report import Aim, Report, Row
from tests.bench.waiting_action import INPUT_COUNT, draw_waits, waiting_action
from tests.bench.workspace import Workspace
from tests.sim.scale_broker import HEARTBEAT_INTERVAL_S, ScaleBroker
from tests.sim.scale_costs import SocketCost, measured_socket_cost
from tests.sim.scale_nodes import LATENCY_S, STEP_S, ScaleClient, ScaleWorker
from zbuild.limits import MAX_PEERS, SESSIONS
from zbuild.model.action import ActionId, encode_action
from zbuild.protocol.messages import Submission
from zbuild.protocol.steal_messages import Announcement
from zbuild.testing.clock import Clock

WAITS_S = (0.5, 2.0)
GATHERING_S = 10.0
"""Before the builds begin all workers come, one after the other."""

WORKERS_PER_CLIENT = 100
"""A build for each so many workers: with 20 actions for each slot none awaits more than a large project has."""

SLACK = 20.0
"""A farm that takes so many times as long as the bound is stuck."""


class ScaleFarm:
    """All nodes, and the wires between them."""

    def __init__(self, arguments: argparse.Namespace, directory: Path, socket_cost: SocketCost) -> None:
        count: int = arguments.workers
        random = Random(arguments.seed)
        self.clock = Clock()
        self.waits = draw_waits(
            arguments.seed, count * arguments.slots * arguments.actions, *WAITS_S, is_logarithmic=False
        )
        self.messages: Counter[str] = Counter()
        self._random = random
        self._by_action: dict[ActionId, float] = {}
        self.broker = ScaleBroker(self.clock, directory, socket_cost, count, self._deliver, self._publish)
        self.workers = [
            ScaleWorker(
                self.clock, self, random, self._by_action, number, arguments.slots, is_stealing=arguments.stealing
            )
            for number in range(count)
        ]
        submissions = [self._submission(number, wait_s) for number, wait_s in enumerate(self.waits)]
        clients = max(1, count // WORKERS_PER_CLIENT)
        self.clients = [
            ScaleClient(self.clock, self, number, submissions[number::clients]) for number in range(clients)
        ]
        nodes: list[ScaleWorker | ScaleClient] = [*self.workers, *self.clients]
        self._nodes = {node.peer: node for node in nodes}
        self._by_endpoint = {worker.endpoint: worker for worker in self.workers}

    def run(self) -> float:
        """The makespan: from the first submission to the last result.

        Raises:
            RuntimeError: the farm is stuck.
        """
        for worker in self.workers:
            self.clock.call_later(self._random.uniform(0.0, HEARTBEAT_INTERVAL_S), worker.start)
        for client in self.clients:
            self.clock.call_later(self._random.uniform(0.0, 1.0), client.connect)
        self._run_until(GATHERING_S)
        self.broker.begin_account()
        for client in self.clients:
            client.submit()
        give_up_s = GATHERING_S + SLACK * bound_s(self.waits, [0.0] * self.slots)
        while any(client.ended_s is None for client in self.clients):
            if self.clock.now_s > give_up_s:
                raise RuntimeError(f"the farm is stuck: {dict(self.broker.core.farm.counters)}")
            self._run_until(self.clock.now_s + 0.1)
        self.broker.close()
        return max(client.ended_s or 0.0 for client in self.clients) - GATHERING_S

    @property
    def slots(self) -> int:
        return sum(worker.core._hello.slots for worker in self.workers)

    def to_broker(self, peer: bytes | None, data: bytes) -> None:
        self.clock.call_later(LATENCY_S, partial(self.broker.receive, peer, data))

    def to_worker(self, endpoint: str, data: bytes, take: Callable[[bytes], None]) -> None:
        self.clock.call_later(LATENCY_S, partial(self._ask, endpoint, data, take))

    def _ask(self, endpoint: str, data: bytes, take: Callable[[bytes], None]) -> None:
        answer = self._by_endpoint[endpoint].answer(data)
        self.clock.call_later(LATENCY_S, partial(take, answer))

    def _deliver(self, peer: bytes, data: bytes) -> None:
        self.clock.call_later(LATENCY_S, partial(self._nodes[peer].deliver, data))

    def _publish(self, message: Announcement) -> None:
        for worker in self.workers:
            self.clock.call_later(LATENCY_S, partial(worker.announced, message))

    def _submission(self, number: int, wait_s: float) -> Submission:
        submission = Submission(
            *encode_action(waiting_action(number, "scale", wait_s, INPUT_COUNT)), weight_s=wait_s, expected_s=wait_s
        )
        self._by_action[submission.action] = wait_s
        return submission

    def _run_until(self, until_s: float) -> None:
        while self.clock.advance(until_s):
            continue


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workers", type=int, default=1000)
    parser.add_argument("--slots", type=int, default=1, help="slots of each worker")
    parser.add_argument("--actions", type=int, default=20, help="actions for each slot")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--stealing", action=argparse.BooleanOptionalAction, help=f"default: up to {MAX_PEERS} workers")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of tables")


def run(arguments: argparse.Namespace, workspace: Workspace) -> Report:
    """Simulate one farm; the garbage collector is off meanwhile, as it would look at all nodes in the broker's time."""
    began_s = time.monotonic()
    if arguments.stealing is None:
        arguments.stealing = arguments.workers <= MAX_PEERS
    report = Report("sim scale")
    socket_cost = measured_socket_cost(workspace.path)
    gc.disable()
    try:
        sessions = max(SESSIONS, 2 * arguments.workers)
        with mock.patch("zbuild.coordinator.core.SESSIONS", sessions):
            farm = ScaleFarm(arguments, workspace.path, socket_cost)
            makespan_s = farm.run()
    finally:
        gc.enable()
    _add_tables(report, farm, makespan_s)
    report.notes += [
        f"sockets: {socket_cost.receive_s * 1e6:.1f} us for each message received, {socket_cost.send_s * 1e6:.1f} for"
        f" each sent; latency {LATENCY_S * 1e3:g} ms one way, a worker's step {STEP_S * 1e3:g} ms",
        f"{len(farm.clients)} builds begin at once; workers steal: {'yes' if arguments.stealing else 'no'}",
        f"simulated within {time.monotonic() - began_s:.0f} s and"
        f" {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10} MiB",
    ]
    if arguments.workers >= SESSIONS:
        report.notes.append(f"the broker itself takes {SESSIONS} peers; that bound was raised for this run")
    return report


def _add_tables(report: Report, farm: ScaleFarm, makespan_s: float) -> None:
    broker = farm.broker
    actions, workers = len(farm.waits), len(farm.workers)
    slots_from_s = [0.0] * farm.slots
    bound, longest_first = bound_s(farm.waits, slots_from_s), longest_first_s(farm.waits, slots_from_s)
    incoming = {kind: spent for kind, spent in broker.costs.by_kind.items() if kind.endswith(" in")}
    outgoing = {kind: spent for kind, spent in broker.costs.by_kind.items() if kind.endswith(" out")}
    received = sum(spent.count for spent in incoming.values())
    messages = received + sum(spent.count for spent in outgoing.values())
    # With fewer slots the same work would be offered in proportion; at full use the queue begins to grow.
    utilisation = broker.busy_s / makespan_s
    offered = broker.busy_s / bound
    report.tables[f"{actions} actions of {WAITS_S[0]} to {WAITS_S[1]} s by {workers} workers"] = [
        {
            "bound_s": round(bound, 2),
            "lpt_s": round(longest_first, 2),
            "makespan_s": round(makespan_s, 2),
            "to_bound": round(makespan_s / bound, 3),
            "efficiency_percent": round(100 * sum(farm.waits) / farm.slots / makespan_s, 1),
            "messages_per_action": round(messages / actions, 2),
            "stolen": broker.core.farm.counters["leases_stolen"],
            "broker_us_per_action": round(1e6 * broker.busy_s / actions, 1),
            "broker_use_percent": round(100 * utilisation, 1),
            "mean_wait_ms": round(1e3 * broker.waited_s / max(1, received), 2),
            "longest_wait_ms": round(1e3 * broker.longest_wait_s, 1),
            "longest_queue": broker.longest_queue,
            "saturates_at_workers": round(workers / offered),
        }
    ]
    total_s = sum(spent.seconds for spent in broker.costs.by_kind.values())
    rows: list[Row] = [
        {
            "work": kind,
            "times": spent.count,
            "per_action": round(spent.count / actions, 3),
            "us_each": round(1e6 * spent.seconds / spent.count, 1),
            "share_percent": round(100 * spent.seconds / total_s, 1),
        }
        for kind, spent in sorted(broker.costs.by_kind.items(), key=lambda each: -each[1].seconds)
    ]
    report.tables["where the broker's time goes"] = rows
    report.aims = [Aim(f"efficiency at {workers} workers, %", round(100 * bound / makespan_s, 1), ">=", 90)]
    report.notes.append(
        f"first to saturate: {rows[0]['work']}; saturates_at_workers: the number at which the broker would be busy all"
        " the time, if its work per worker stays what it is here"
    )


def main(words: list[str]) -> int:
    """``python -m tests.sim scale``; an aim that is not met is no error."""
    parser = argparse.ArgumentParser(prog="python -m tests.sim scale", description=__doc__)
    add_arguments(parser)
    arguments = parser.parse_args(words)
    with Workspace() as workspace:
        report = run(arguments, workspace)
    print(report.to_json() if arguments.json else report.to_text())
    return 0
