"""The worker's shell: gevent, one greenlet that owns the sockets, one for each running action."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from random import Random
from typing import Protocol

import gevent
import msgspec

from zbuild.errors import ProtocolError, SandboxFailed, StoreFailed, ZbuildError
from zbuild.limits import EVICTION_IDLE_S
from zbuild.log import Log
from zbuild.model.action import ActionId, ActionResult
from zbuild.protocol.codec import encode, to_worker
from zbuild.protocol.effects import Note, Send
from zbuild.protocol.messages import PROPERTY_ERROR, Grant, HeartBeat, Hello, LeaseId, Welcome, WorkerState
from zbuild.storage.idle_eviction import IdleEviction
from zbuild.transport.green import Wakeup
from zbuild.transport.loop import Socket, descriptor_of, discard_unsent, drain, has_input, new_context, try_send
from zbuild.transport.sockets import blob_dealer, control_dealer, heartbeat_publisher, peer_endpoint
from zbuild.worker.blob_link import BlobLink
from zbuild.worker.core import WorkerCore
from zbuild.worker.effects import Ask, Connect, Discard, Evaluate, HangUp, Kill, Prepare, Start, Stop, WorkerEffect
from zbuild.worker.machine_load import MachineLoad
from zbuild.worker.peer_blobs import PeerBlobs
from zbuild.worker.platform import Platform
from zbuild.worker.processes import Processes
from zbuild.worker.steal_link import StealLink
from zbuild.worker.steal_settings import StealSettings


class Attempt(Protocol):
    """One attempt at an action; the steps of execution.py. No step raises."""

    def prepare(self) -> None:
        """Have every input here."""

    def run(self, started: Callable[[int], None]) -> None:
        """Run the command; ``started`` is told the id by which it can be killed."""

    def collect(self) -> ActionResult:
        """Bring home what it made."""

    def discard(self) -> None:
        """Undo ``prepare``."""


class Executor(Protocol):
    """What begins attempts."""

    def begin(self, action_id: ActionId, body: bytes, peer_blobs: str = "") -> Attempt:
        """An attempt at the action of these bytes; its steps are called in a greenlet of its own.

        ``peer_blobs``: where a worker serves blobs that probably has its inputs; "" for none.
        """


class Agent:
    """Drives a WorkerCore.

    Args:
        broker: the broker's control endpoint.
        executor: what runs the actions.
        eviction: of the worker's own blobs; None when it has none.
        steals: how it steals.
        listen: endpoints to answer peers at, the first that is free; none: it takes no part in stealing.
        lifeline: a descriptor; when it becomes readable the worker ends at once, with all it runs.
        blob_listen: endpoints to serve this worker's blobs to its peers at, the first that is free; none: nowhere.

    Raises:
        FarmUnreachable: it cannot listen there.
    """

    def __init__(
        self,
        hello: Hello,
        broker: str,
        executor: Executor,
        blob_link: BlobLink,
        processes: Processes,
        platform: Platform,
        load: MachineLoad,
        eviction: IdleEviction | None,
        wakeup: Wakeup,
        steals: StealSettings,
        listen: Sequence[str],
        lifeline: int | None,
        log: Log,
        peer_blobs: PeerBlobs,
        blob_listen: Sequence[str] = (),
    ) -> None:
        self._context = new_context()
        counters: Counter[str] = Counter()
        self._peer_blobs = peer_blobs
        self._peer_blobs.open(self._context, blob_listen, counters)
        self._steal_link = StealLink(self._context, wakeup, listen, counters)
        hello = msgspec.structs.replace(hello, steal_endpoint=self._steal_link.endpoint)
        self._core = WorkerCore(hello, steals, Random(), time.monotonic(), peer_blobs.endpoint, counters)
        self._hello = hello
        self._broker = broker
        self._executor = executor
        self._blob_link = blob_link
        self._processes = processes
        self._platform = platform
        self._load = load
        self._eviction = eviction
        self._busy_s = time.monotonic()
        self._wakeup = wakeup
        self._lifeline = lifeline
        self._log = log
        self._control = control_dealer(self._context, broker)
        self._blobs: Socket | None = None
        self._blob_endpoint = ""
        self._is_blind = False
        self._epoch = 0
        self._heartbeats: Socket | None = None
        self._heartbeat_interval_s = 0.0
        self._next_heartbeat_s = 0.0
        self._heartbeat_sequence = 0
        self._prepared: dict[LeaseId, gevent.Greenlet[[], Attempt]] = {}
        self._exited: list[tuple[LeaseId, float]] = []
        self._spawn_ids: dict[LeaseId, int] = {}
        self._killed: set[LeaseId] = set()
        self._finished: list[tuple[LeaseId, ActionResult]] = []
        self._is_drain_requested = False
        self._is_stopping = False
        self._error: ZbuildError | None = None

    def request_drain(self) -> None:
        """Finish what runs, give back the rest, then end. The second request ends at once."""
        self._is_stopping = self._is_drain_requested
        self._is_drain_requested = True
        self._wakeup.set()

    def serve(self) -> None:
        """Work until drained, cut off from the lifeline, or refused.

        Raises:
            ZbuildError: the broker refuses this worker, or the spawner has died.
        """
        self._wakeup.watch(descriptor_of(self._control))
        self._wakeup.watch(self._processes.fileno())
        if self._lifeline is not None:
            self._wakeup.watch(self._lifeline, self._lifeline_cut)
        self._platform.recall()
        try:
            while not self._is_stopping:
                self._step()
        finally:
            self._close()
        if self._error is not None:
            raise self._error

    def _lifeline_cut(self) -> None:
        self._is_stopping = True
        # The broker ends by the same line: what is to be sent to it would keep this process for SOCKET_LINGER_MS.
        for link in (self._control, self._blobs):
            if link is not None:
                discard_unsent(link)
        self._wakeup.set()

    def _step(self) -> None:
        now_s = time.monotonic()
        # Peers first: a thief has an idle slot, and its time-out runs.
        self._perform(self._steal_link.serve(self._core))
        self._receive_control(now_s)
        self._receive_blobs()
        self._receive_exits()
        while self._exited:
            self._perform(self._core.exited(*self._exited.pop(0)))
        if self._finished:
            finished, self._finished = self._finished, []
            self._perform(self._core.finished(finished))
        if self._platform.news:
            news, self._platform.news = self._platform.news, {}
            errors = sum(value.startswith(PROPERTY_ERROR) for value in news.values())
            if errors:
                self._core.counters["property_errors"] += errors
            self._perform(self._core.evaluated(news, now_s))
        if self._is_drain_requested:
            self._perform(self._core.drain(now_s))
        self._perform(self._core.tick(time.monotonic()))
        self._send_blobs(now_s)
        self._peer_blobs.step(now_s)
        self._send_heartbeat(now_s)
        self._evict(now_s)
        if not (self._is_stopping or self._has_work()):
            self._wakeup.wait(min(self._core.next_deadline_s(), self._peer_blobs.next_deadline_s()) - now_s)
        else:
            gevent.sleep(0)

    def _has_work(self) -> bool:
        return bool(
            self._finished
            or self._exited
            or self._platform.news
            or (self._eviction is not None and self._eviction.is_under_way)
            or has_input(self._control)
            or self._steal_link.has_input()
            or (self._blobs is not None and has_input(self._blobs))
            or self._peer_blobs.has_work()
        )

    def _receive_control(self, now_s: float) -> None:
        for frames in drain(self._control):
            try:
                if len(frames) != 1:
                    raise ProtocolError(f"a control message of {len(frames)} frames, expected 1")
                message = to_worker.decode(frames[0])
            except ProtocolError as error:
                self._log.warning("bad_message", error=str(error))
            else:
                self._perform(self._core.receive(message, now_s))

    def _receive_blobs(self) -> None:
        if self._blobs is None:
            return
        for frames in drain(self._blobs):
            try:
                self._blob_link.settle(self._blob_link.transfer.receive(frames))
            except ProtocolError as error:
                self._log.warning("bad_blob_message", error=str(error))
                self._blob_link.settle(self._blob_link.transfer.reset(str(error)))

    def _receive_exits(self) -> None:
        try:
            self._processes.settle()
        except SandboxFailed as error:
            self._error = error
            self._is_stopping = True

    def _send_blobs(self, now_s: float) -> None:
        if self._blobs is None:
            return
        is_draining = self._core.state is WorkerState.DRAINING
        was_blind, self._is_blind = self._is_blind, self._core.is_blind(now_s) and not is_draining
        if was_blind and not self._is_blind:
            self._blob_link.transfer.restart()
        # A store goes down with its broker: what is to go there waits for the next one, or the results would be lost.
        # A worker that is to end does not wait for ever.
        self._blob_link.settle(self._blob_link.transfer.expire(-math.inf if self._is_blind else now_s))
        for frames in self._blob_link.transfer.outgoing(now_s):
            if not try_send(self._blobs, frames):
                self._blob_link.settle(self._blob_link.transfer.reset("the link to the store is blocked"))

    def _evict(self, now_s: float) -> None:
        """Only while nothing runs: then no action refers to any blob here."""
        if self._eviction is None:
            return
        if self._core.active_actions:
            self._busy_s = now_s
        elif now_s - self._busy_s >= EVICTION_IDLE_S:
            try:
                totals = self._eviction.step()
            except StoreFailed as error:
                self._log.warning("eviction_failed", error=str(error))
                self._busy_s = now_s
                return
            if totals is not None:
                self._log.info("evicted", bytes=totals.evicted_bytes, blobs=totals.evicted_blobs)

    def _send_heartbeat(self, now_s: float) -> None:
        if self._heartbeats is None or now_s < self._next_heartbeat_s:
            return
        self._next_heartbeat_s = now_s + self._heartbeat_interval_s
        self._heartbeat_sequence += 1
        usage = self._load.sample()
        message = HeartBeat(
            worker_id=self._hello.worker_id,
            incarnation=self._hello.incarnation,
            sequence=self._heartbeat_sequence,
            state=self._core.state,
            queue_depth=self._core.queue_depth,
            active_actions=self._core.active_actions,
            cpu_usage=usage.cpu,
            memory_usage=usage.memory,
            disk_usage=usage.disk,
            load_factor=self._core.load_factor,
        )
        try_send(self._heartbeats, [encode(message)])

    def _perform(self, effects: Iterable[WorkerEffect]) -> None:
        for effect in effects:
            match effect:
                case Send():
                    if not try_send(self._control, [encode(effect.message)]):
                        self._core.counters["send_blocked"] += 1
                case Prepare():
                    self._prepared[effect.grant.lease] = gevent.spawn(self._prepare, effect.grant, effect.peer_blobs)
                case Start():
                    gevent.spawn(self._run, effect, self._prepared.pop(effect.grant.lease, None))
                case Discard():
                    gevent.spawn(self._discard, self._prepared.pop(effect.lease))
                case Kill():
                    self._kill(effect.lease)
                case Connect():
                    self._connect(effect.welcome)
                case Ask():
                    self._steal_link.ask(effect)
                case HangUp():
                    self._steal_link.hang_up(effect.endpoint)
                case Evaluate():
                    gevent.spawn(self._platform.evaluate, effect.names)
                case Note():
                    self._log.info(effect.event, **{name: str(value) for name, value in effect.fields})
                case Stop():
                    self._error = effect.error
                    self._is_stopping = True

    def _prepare(self, grant: Grant, peer_blobs: str) -> Attempt:
        attempt = self._executor.begin(grant.lease.action, grant.body, peer_blobs)
        attempt.prepare()
        return attempt

    @staticmethod
    def _discard(prepared: gevent.Greenlet[[], Attempt]) -> None:
        prepared.get().discard()

    def _run(self, start: Start, prepared: gevent.Greenlet[[], Attempt] | None) -> None:
        lease = start.grant.lease

        def started(spawn_id: int) -> None:
            self._spawn_ids[lease] = spawn_id

        attempt = self._prepare(start.grant, start.peer_blobs) if prepared is None else prepared.get()
        began_s = time.monotonic()
        if lease not in self._killed:
            attempt.run(started)
        self._spawn_ids.pop(lease, None)
        self._killed.discard(lease)
        self._exited.append((lease, time.monotonic() - began_s))
        self._wakeup.set()
        result = attempt.collect()
        self._finished.append((lease, result))
        self._wakeup.set()

    def _kill(self, lease: LeaseId) -> None:
        self._killed.add(lease)
        spawn_id = self._spawn_ids.get(lease)
        if spawn_id is not None:
            self._processes.kill(spawn_id)

    def _connect(self, welcome: Welcome) -> None:
        blob_endpoint = peer_endpoint(welcome.blob_endpoint, self._broker)
        self._log.info("welcome", epoch=str(welcome.epoch), blobs=blob_endpoint)
        announcements = welcome.announcement_endpoint
        self._steal_link.subscribe(peer_endpoint(announcements, self._broker) if announcements else "")
        is_same_store, self._epoch = welcome.epoch == self._epoch, welcome.epoch
        if not (is_same_store and blob_endpoint == self._blob_endpoint):
            self._blob_link.transfer.restart()
        if blob_endpoint == self._blob_endpoint:
            return
        self._disconnect()
        self._blob_endpoint = blob_endpoint
        self._blobs = blob_dealer(self._context, blob_endpoint)
        self._wakeup.watch(descriptor_of(self._blobs))
        heartbeat_endpoint = peer_endpoint(welcome.heartbeat_endpoint, self._broker)
        self._heartbeats = heartbeat_publisher(self._context, heartbeat_endpoint)
        self._heartbeat_interval_s = welcome.heartbeat_interval_s

    def _disconnect(self) -> None:
        if self._blobs is not None:
            self._wakeup.ignore(descriptor_of(self._blobs))
            self._blobs.close()
            self._blobs = None
        if self._heartbeats is not None:
            self._heartbeats.close()
            self._heartbeats = None

    def _close(self) -> None:
        self._blob_link.settle(self._blob_link.transfer.reset("the worker ends"))
        self._disconnect()
        self._steal_link.close()
        self._peer_blobs.close()
        self._wakeup.close()
        self._control.close()
        self._context.term()
        self._processes.close()
        try:
            self._platform.close()
        except OSError as error:
            self._log.warning("toolchain_not_kept", error=str(error))
