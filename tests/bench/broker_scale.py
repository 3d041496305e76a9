"""What the broker's core costs per action, per report and per tick, by the number of workers.

In CPU time and in calls of functions. More workers have more data, which the processor's caches do not hold; calls
tell that from more work.

The production core and codec, without sockets: what peers send is encoded beforehand or outside of the measured
time, and every message is followed by a dispatch. The real shell dispatches once for all that has come, which
costs less. Backlog: all actions are submitted before the first worker has a result. Light: each action is
submitted when the one before was leased, and every second slot of the farm is busy.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from types import FrameType

from tests.bench.dispatch_client import no_op
from tests.bench.report import Aim, Report, Row
from tests.bench.workspace import Workspace
from zbuild.coordinator.core import BrokerCore
from zbuild.coordinator.journal import JournalState, encode_record
from zbuild.coordinator.reassign import ReassignStrategy
from zbuild.limits import BATCH_ACTIONS, BROKER_TICK_S
from zbuild.model.action import ActionResult, ResultStatus, encode_action
from zbuild.protocol import messages
from zbuild.protocol.codec import encode, heartbeat, to_broker
from zbuild.protocol.effects import Send
from zbuild.protocol.messages import (
    PROTOCOL_VERSION,
    Complete,
    HeartBeat,
    Hello,
    Lease,
    LeaseId,
    Message,
    Outcome,
    Role,
    Submission,
    Submit,
    Welcome,
    WorkerState,
)
from zbuild.testing.store import MemoryResults, MemoryStore

CLIENT = b"client"
TICKS = 20
DONE = ActionResult(status=ResultStatus.SUCCESS)
COUNTED_ACTIONS = 2000
"""Calls are the same for each action, and counting them takes ten times as long."""
MEASURES = ("backlog", "light", "report", "heartbeat", "tick_per_worker")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workers", type=int, nargs="+", default=[10, 100, 1000, 3000])
    parser.add_argument("--actions", type=int, default=20_000, help="actions for each number of workers")
    parser.add_argument("--slots", type=int, default=4, help="slots of each worker")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--strategy", choices=[each.value for each in ReassignStrategy], default="priority")


def run(arguments: argparse.Namespace, _workspace: Workspace) -> Report:
    report = Report("broker_scale")
    found: dict[int, list[dict[str, float]]] = {workers: [] for workers in arguments.workers}
    for _ in range(arguments.rounds):
        for workers, rows in found.items():
            rows.append(_measure(workers, arguments))
    least = {workers: {name: min(row[name] for row in rows) for name in MEASURES} for workers, rows in found.items()}
    calls = {workers: _measure(workers, arguments, counts_calls=True) for workers in arguments.workers}
    for title, values in (("CPU microseconds of the broker's core", least), ("Calls of Python and C functions", calls)):
        report.tables[title] = [_row(workers, costs) for workers, costs in values.items()]
    few, many = min(least, key=lambda workers: abs(workers - 10)), min(least, key=lambda each: abs(each - 1000))
    report.aims = [
        Aim(f"{unit}, {name}: {many} to {few} workers", round(values[many][name] / values[few][name], 2), "<=", 1.5)
        for unit, values in (("CPU", least), ("calls", calls))
        for name in MEASURES
    ]
    report.notes.append(f"strategy {arguments.strategy}, {arguments.actions} actions")
    report.notes.append(f"the least of {arguments.rounds} rounds: whoever else is at work takes caches, not only time")
    return report


def _row(workers: int, values: dict[str, float]) -> Row:
    return {"workers": workers, **{name: round(values[name], 2) for name in MEASURES}}


def _measure(workers: int, arguments: argparse.Namespace, *, counts_calls: bool = False) -> dict[str, float]:
    farm = _Farm(workers, arguments.slots, ReassignStrategy(arguments.strategy), counts_calls=counts_calls)
    actions = COUNTED_ACTIONS if counts_calls else arguments.actions
    costs = [farm.backlog(actions), farm.light(actions), farm.reports(actions), farm.heartbeats(actions)]
    return dict(zip(MEASURES, [*costs, farm.ticks() / workers], strict=True))


class _Farm:
    """One broker core, and what its peers would send. It is measured in CPU microseconds, or in calls.

    Attributes:
        leases: granted ones in the order in which they end, with the worker's routing id.
    """

    def __init__(self, workers: int, slots: int, strategy: ReassignStrategy, *, counts_calls: bool) -> None:
        self.leases: deque[tuple[bytes, LeaseId]] = deque()
        self._slots = slots
        self._now_s = 0.0
        self._cost = 0.0
        self._counts_calls = counts_calls
        self._submitted = 0
        welcome = Welcome(
            protocol_version=PROTOCOL_VERSION,
            epoch=1,
            blob_endpoint="tcp://*:9003",
            heartbeat_endpoint="tcp://*:9001",
            heartbeat_interval_s=5.0,
        )
        self.core = BrokerCore(
            welcome,
            MemoryResults(MemoryStore()),
            JournalState(),
            worker_timeout_s=30.0,
            max_workers=workers,
            now_s=0.0,
            strategy=strategy,
        )
        self._peers = [b"worker %d" % number for number in range(1, workers + 1)]
        for number, peer in enumerate(self._peers, 1):
            self._exchange(peer, _hello(Role.WORKER, number, slots))
        self._exchange(CLIENT, _hello(Role.CLIENT, 0, 0))

    def backlog(self, actions: int) -> float:
        """The cost of an action when all wait at once."""
        submits = [self._submit(min(BATCH_ACTIONS, actions - first)) for first in range(0, actions, BATCH_ACTIONS)]
        return self._measured(actions, lambda: self._run_all(submits))

    def light(self, actions: int) -> float:
        """The cost of an action when each is leased as soon as it comes."""
        busy = max(1, len(self._peers) * self._slots // 2)
        self._exchange(CLIENT, self._submit(busy))
        submits = [self._submit(1) for _ in range(actions)]
        return self._measured(actions, lambda: self._run_each(submits))

    def reports(self, count: int) -> float:
        """The cost of a report, of workers that hold as much as they have slots."""
        wanted = len(self._peers) * self._slots
        self._exchange(CLIENT, self._submit(wanted - len(self.leases)))
        held: dict[bytes, list[LeaseId]] = {peer: [] for peer in self._peers}
        for peer, lease in self.leases:
            held[peer].append(lease)
        reports = [
            (peer, encode(messages.Report(sequence=0, held=tuple(leases), running=len(leases), is_draining=False)))
            for peer, leases in held.items()
        ]

        def send() -> None:
            for number in range(count):
                self._feed(*reports[number % len(reports)])

        return self._measured(count, send)

    def heartbeats(self, count: int) -> float:
        """The cost of a heartbeat."""
        beats = [
            encode(
                HeartBeat(
                    worker_id=number,
                    incarnation=number,
                    sequence=1,
                    active_actions=1,
                    queue_depth=0,
                    cpu_usage=0.5,
                    memory_usage=0.5,
                    disk_usage=0.5,
                    state=WorkerState.EXECUTING,
                )
            )
            for number in range(1, len(self._peers) + 1)
        ]

        def send() -> None:
            with self._metered():
                for number in range(count):
                    self.core.receive_heartbeat(heartbeat.decode(beats[number % len(beats)]))

        return self._measured(count, send)

    def ticks(self) -> float:
        """The cost of a tick, with every slot busy."""

        def tick() -> None:
            for _ in range(TICKS):
                self._now_s += BROKER_TICK_S
                with self._metered():
                    self.core.tick(self._now_s)
                    self.core.dispatch(self._now_s)

        return self._measured(TICKS, tick)

    def _measured(self, count: int, work: Callable[[], None]) -> float:
        gc.collect()
        self._cost = 0.0
        work()
        return self._cost / count

    @contextlib.contextmanager
    def _metered(self) -> Iterator[None]:
        if self._counts_calls:
            sys.setprofile(self._count_call)
            yield
            sys.setprofile(None)
        else:
            began_s = time.process_time()
            yield
            self._cost += (time.process_time() - began_s) * 1e6

    def _count_call(self, _frame: FrameType, event: str, _argument: object) -> None:
        self._cost += event in ("call", "c_call")

    def _run_all(self, submits: list[Submit]) -> None:
        for submit in submits:
            self._exchange(CLIENT, submit)
        while self.leases:
            self._end_one()

    def _run_each(self, submits: list[Submit]) -> None:
        for submit in submits:
            self._exchange(CLIENT, submit)
            self._end_one()

    def _end_one(self) -> None:
        peer, lease = self.leases.popleft()
        self._exchange(peer, Complete(outcomes=(Outcome(lease, DONE),)))

    def _submit(self, count: int) -> Submit:
        first, self._submitted = self._submitted, self._submitted + count
        bodies = [encode_action(no_op(number, "scale")) for number in range(first, first + count)]
        return Submit(build=1, priority=50, actions=tuple(Submission(*each, 1.0, 1.0) for each in bodies))

    def _exchange(self, peer: bytes, message: Message) -> None:
        self._feed(peer, encode(message))

    def _feed(self, peer: bytes, data: bytes) -> None:
        """One message and what the shell does for it, journal and encoding included."""
        with self._metered():
            self.core.receive(peer, to_broker.decode(data), self._now_s)
            effects = self.core.dispatch(self._now_s)
            for record in self.core.take_journal():
                encode_record(record)
            for effect in effects:
                if isinstance(effect, Send):
                    encode(effect.message)
        for effect in effects:
            if isinstance(effect, Send) and isinstance(effect.message, Lease):
                self.leases.extend((effect.peer, grant.lease) for grant in effect.message.grants)


def _hello(role: Role, worker_id: int, slots: int) -> Hello:
    return Hello(
        protocol_version=PROTOCOL_VERSION,
        role=role,
        name=f"bench {worker_id}",
        incarnation=worker_id,
        worker_id=worker_id,
        slots=slots,
        queue_limit=64 if slots else 0,
        sandbox="hermetic" if slots else "",
        platform=(("os", "linux"),) if slots else (),
    )
