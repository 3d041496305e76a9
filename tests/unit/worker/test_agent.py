"""The worker's shell over real sockets: a fake broker and a fake store on loopback, and attempts that run nothing."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar, cast

import gevent
import gevent.event
import pytest

from tests.unit.worker.scripted_peer import Thief
from zbuild.digest import of_bytes
from zbuild.inputs.toolchain import Toolchain
from zbuild.log import Log
from zbuild.model.action import ActionId, ActionResult, ResultStatus
from zbuild.protocol.blob_messages import Get, Parts, decode_to_store, encode_header
from zbuild.protocol.codec import encode, heartbeat, to_broker
from zbuild.protocol.messages import (
    PROPERTY_ERROR,
    PROTOCOL_VERSION,
    Acknowledge,
    Complete,
    Goodbye,
    Grant,
    Hello,
    Lease,
    LeaseId,
    Outcome,
    Properties,
    QueryProperties,
    Report,
    Revoke,
    Role,
    ToBroker,
    ToWorker,
    Welcome,
)
from zbuild.storage.blob_directory import BlobDirectory
from zbuild.transport.green import Wakeup
from zbuild.transport.loop import drain, new_context
from zbuild.transport.sockets import blob_router, bound_endpoint, control_router, heartbeat_subscriber
from zbuild.worker.agent import Agent
from zbuild.worker.blob_link import BlobLink
from zbuild.worker.machine_load import MachineLoad
from zbuild.worker.peer_blobs import PeerBlobs
from zbuild.worker.platform import Platform
from zbuild.worker.processes import Processes
from zbuild.worker.steal_settings import StealSettings

T = TypeVar("T", bound=ToBroker)

EPOCH = 9
ANYWHERE = "tcp://127.0.0.1:*"
PATIENCE_S = 30.0
BLOB = b"an input"


class BrokenToolchain(Toolchain):
    """Fails in a way that nobody has thought of."""

    def evaluate_property(self, name: str) -> str | None:
        if name.startswith("tool:"):
            raise RuntimeError("no such luck")
        return "linux"


class FakeProcesses:
    """No process runs; what is killed is noted."""

    def __init__(self) -> None:
        self.killed: list[int] = []
        self._pipe = os.pipe()

    def fileno(self) -> int:
        return self._pipe[0]

    def settle(self) -> None:
        """Nothing has ended."""

    def kill(self, spawn_id: int) -> None:
        self.killed.append(spawn_id)

    def close(self) -> None:
        for descriptor in self._pipe:
            os.close(descriptor)


class FakeAttempt:
    """Fetches BLOB, and runs until it is told to end."""

    def __init__(self, executor: FakeExecutor) -> None:
        self._executor = executor

    def prepare(self) -> None:
        self._executor.blob_link.fetch([of_bytes(BLOB)])

    def run(self, started: Callable[[int], None]) -> None:
        started(17)
        self._executor.started += 1
        self._executor.may_end.wait()

    def collect(self) -> ActionResult:
        return ActionResult(status=ResultStatus.SUCCESS)

    def discard(self) -> None:
        """Nothing is held."""


class FakeExecutor:
    """Begins attempts that end when ``may_end`` is set."""

    def __init__(self, blob_link: BlobLink) -> None:
        self.blob_link = blob_link
        self.may_end = gevent.event.Event()
        self.started = 0

    def begin(self, action_id: ActionId, body: bytes, peer_blobs: str = "") -> FakeAttempt:
        del action_id, body, peer_blobs
        return FakeAttempt(self)


class FakeFarm:
    """The broker's and the store's ends of all sockets of one agent, which runs in a greenlet of this thread."""

    def __init__(self, directory: Path) -> None:
        self._context = new_context()
        self._control = control_router(self._context, ANYWHERE)
        self._store = blob_router(self._context, ANYWHERE)
        self._heartbeats = heartbeat_subscriber(self._context, ANYWHERE)
        self._peer = b""
        self._received: list[ToBroker] = []
        self.heartbeats = 0
        self.is_store_down = False
        wakeup = Wakeup()
        self.blobs = BlobDirectory(directory, is_durable=False)
        blob_link = BlobLink(self.blobs, wakeup)
        self.executor = FakeExecutor(blob_link)
        self.peer_blobs = PeerBlobs(self.blobs, blob_link.arrivals, wakeup)
        self.processes = FakeProcesses()
        self.lifeline, lifeline = os.pipe()[::-1]
        self.log = io.BytesIO()
        self.agent = Agent(
            Hello(
                protocol_version=PROTOCOL_VERSION,
                role=Role.WORKER,
                name="w",
                incarnation=1,
                worker_id=2,
                slots=1,
                queue_limit=4,
                sandbox="hermetic",
            ),
            bound_endpoint(self._control),
            self.executor,
            blob_link,
            cast(Processes, self.processes),
            Platform(BrokenToolchain(), wakeup, {}),
            MachineLoad(str(directory)),
            None,
            wakeup,
            StealSettings(),
            (),
            lifeline,
            Log(self.log, time.time),
            self.peer_blobs,
            [ANYWHERE],
        )
        self._other_end = lifeline
        self._serving = gevent.spawn(self.agent.serve)

    def close(self) -> None:
        self.executor.may_end.set()
        self.cut_lifeline()
        self.wait_for_end()
        os.close(self._other_end)
        for socket in (self._control, self._store, self._heartbeats):
            socket.close()
        self._context.term()

    def cut_lifeline(self) -> None:
        if self.lifeline >= 0:
            os.close(self.lifeline)
            self.lifeline = -1

    def wait_for_end(self) -> None:
        """The agent ends by itself; an error of its own is raised here."""
        self._serving.get(timeout=PATIENCE_S)

    def welcome(self, epoch: int = EPOCH) -> Report:
        """Be the broker that accepts the worker; what it reports then."""
        if epoch == EPOCH:
            self.next(Hello)
        self.send(
            Welcome(
                protocol_version=PROTOCOL_VERSION,
                epoch=epoch,
                blob_endpoint=bound_endpoint(self._store),
                heartbeat_endpoint=bound_endpoint(self._heartbeats),
                heartbeat_interval_s=0.05,
            )
        )
        return self.next(Report)

    def send(self, message: ToWorker) -> None:
        self.send_bytes(encode(message))

    def send_bytes(self, frame: bytes) -> None:
        self._control.send_multipart([self._peer, frame])

    def next(self, kind: type[T]) -> T:
        """The next message of one kind; others that come before it are dropped."""
        found: list[T] = []

        def has_come() -> bool:
            while self._received and not found:
                message = self._received.pop(0)
                if isinstance(message, kind):
                    found.append(message)
            return bool(found)

        self.until(has_come, f"a {kind.__name__}")
        return found[0]

    def until(self, is_true: Callable[[], bool], what: str) -> None:
        deadline_s = time.monotonic() + PATIENCE_S
        while not is_true():
            assert time.monotonic() < deadline_s, f"waited {PATIENCE_S:g} s for {what}"
            gevent.sleep(0.005)
            self._pump()

    def _pump(self) -> None:
        for peer, frame in drain(self._control):
            self._peer = peer
            if frame:  # an empty one says no more than that the link is there
                self._received.append(to_broker.decode(frame))
        for peer, *frames in drain(self._store):
            if not self.is_store_down:
                self._answer(peer, frames)
        for frames in drain(self._heartbeats):
            heartbeat.decode(frames[0])
            self.heartbeats += 1

    def _answer(self, peer: bytes, frames: list[bytes]) -> None:
        request, _ = decode_to_store(frames)
        assert isinstance(request, Get)
        self._store.send_multipart([peer, encode_header(Parts(request.request, request.parts, ())), BLOB])


@pytest.fixture
def farm(tmp_path: Path) -> Iterator[FakeFarm]:
    fake = FakeFarm(tmp_path / "blobs")
    yield fake
    fake.close()


def lease(name: str) -> LeaseId:
    return LeaseId(of_bytes(name.encode()).hash, 1, EPOCH)


def grant(farm: FakeFarm, *names: str) -> None:
    farm.send(Lease(sequence=1, grants=tuple(Grant(lease(name), b"body", 50, 1.0) for name in names)))


def test_a_lease_is_fetched_for_run_and_reported(farm: FakeFarm) -> None:
    farm.welcome()
    grant(farm, "a")
    farm.until(lambda: farm.executor.started == 1, "the run")
    assert farm.blobs.read(of_bytes(BLOB)) == BLOB
    farm.executor.may_end.set()

    complete = farm.next(Complete)

    assert complete.outcomes == (Outcome(lease("a"), ActionResult(status=ResultStatus.SUCCESS)),)
    farm.until(lambda: farm.heartbeats >= 2, "two heartbeats")


def test_it_serves_its_blobs_to_a_peer(farm: FakeFarm, tmp_path: Path) -> None:
    farm.welcome()
    digest = farm.blobs.put_bytes(b"an output")
    context = new_context()
    thief = Thief(tmp_path / "thief", context)
    greenlet = thief.begin(farm.peer_blobs.endpoint, digest)
    thief.until(greenlet.ready)
    thief.peers.close()
    context.term()
    assert (greenlet.get(), thief.blobs.read(digest)) == ([], b"an output")
    assert dict(farm.welcome(EPOCH + 1).counters)["peer_bytes_sent"] == len(b"an output")


def test_one_slot_runs_one_lease_after_the_other(farm: FakeFarm) -> None:
    farm.welcome()
    grant(farm, "a", "b")
    farm.until(lambda: farm.executor.started == 1, "the first run")
    farm.executor.may_end.set()

    ended: set[LeaseId] = set()
    while len(ended) < 2:
        ended |= {outcome.lease for outcome in farm.next(Complete).outcomes}
    assert ended == {lease("a"), lease("b")}


def test_a_revoked_run_is_killed_and_not_reported(farm: FakeFarm) -> None:
    farm.welcome()
    grant(farm, "a")
    farm.until(lambda: farm.executor.started == 1, "the run")
    farm.send(Revoke(leases=(lease("a"),)))
    farm.until(lambda: farm.processes.killed == [17], "the kill")
    farm.executor.may_end.set()

    grant(farm, "b")

    assert [outcome.lease for outcome in farm.next(Complete).outcomes] == [lease("b")]


def test_bytes_that_are_no_message_are_logged_and_cost_nothing_else(farm: FakeFarm) -> None:
    farm.welcome()
    farm.send_bytes(b"\xc1 nonsense")
    farm.executor.may_end.set()
    grant(farm, "a")

    assert farm.next(Complete).outcomes[0].lease == lease("a")
    assert b"bad_message" in farm.log.getvalue()


def test_a_property_that_cannot_be_found_out_is_answered_with_an_error(farm: FakeFarm) -> None:
    """Without an answer the broker asked every five seconds for ever."""
    farm.welcome()
    farm.send(QueryProperties(names=("os", "tool:/usr/bin/cc")))

    values = dict(farm.next(Properties).values)

    assert values["os"] == "linux"
    assert values["tool:/usr/bin/cc"].startswith(PROPERTY_ERROR)
    assert "no such luck" in values["tool:/usr/bin/cc"]
    assert dict(farm.welcome(EPOCH + 1).counters) == {"property_errors": 1}


def test_a_drain_finishes_what_runs_and_says_goodbye(farm: FakeFarm) -> None:
    farm.welcome()
    grant(farm, "a")
    farm.until(lambda: farm.executor.started == 1, "the run")
    farm.agent.request_drain()
    assert farm.next(Report).is_draining
    farm.executor.may_end.set()
    ended = farm.next(Complete).outcomes[0].lease
    farm.send(Acknowledge(leases=(ended,), sequence=1))

    farm.next(Goodbye)
    farm.wait_for_end()


def test_a_cut_lifeline_ends_it_at_once_whatever_runs(farm: FakeFarm) -> None:
    farm.welcome()
    grant(farm, "a")
    farm.until(lambda: farm.executor.started == 1, "the run")

    farm.cut_lifeline()

    farm.wait_for_end()


def test_blobs_wait_for_a_store_that_is_down_with_its_broker(farm: FakeFarm, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long that takes: otherwise results of the time without a broker would be lost."""
    timeout_s = 0.1
    monkeypatch.setattr("zbuild.worker.core.BROKER_SILENT_S", timeout_s / 2)
    monkeypatch.setattr(farm.executor.blob_link.transfer, "_timeout_s", timeout_s)
    farm.welcome()
    farm.is_store_down = True
    grant(farm, "a")
    down_s = time.monotonic()
    farm.until(lambda: time.monotonic() > down_s + 5 * timeout_s, "several time-outs to pass")
    assert farm.executor.started == 0
    farm.is_store_down = False
    farm.executor.may_end.set()
    farm.welcome(EPOCH + 1)

    assert farm.next(Complete).outcomes == (Outcome(lease("a"), ActionResult(status=ResultStatus.SUCCESS)),)
