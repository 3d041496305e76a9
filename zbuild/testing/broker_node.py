"""The broker's shell in a simulation: an inbox, a tick, and the real core in between."""

from __future__ import annotations

from functools import partial

from zbuild.coordinator.core import BrokerCore
from zbuild.coordinator.reassign import ReassignStrategy
from zbuild.errors import ProtocolError
from zbuild.limits import BROKER_TICK_S
from zbuild.protocol.codec import encode, to_broker
from zbuild.protocol.effects import Publish, Send
from zbuild.protocol.messages import PROTOCOL_VERSION, Shutdown, Welcome
from zbuild.testing.journal import MemoryJournal
from zbuild.testing.network import Network
from zbuild.testing.world import World

WORKER_TIMEOUT_S = 30.0
TURN_S = 0.0005
"""The broker takes all that has come within about this and then dispatches once, as the real shell does."""


class BrokerNode:
    """A broker that can be killed and started again. Its action cache and its journal survive, its sessions do not."""

    def __init__(self, world: World, strategy: ReassignStrategy) -> None:
        self.network: Network
        self.core: BrokerCore
        self._world = world
        self._inbox: list[tuple[bytes, bytes | None]] = []
        self._is_step_due = False
        self._life = 0
        self._strategy = strategy
        self._journal = MemoryJournal()

    def start(self) -> None:
        """Begin a life with an epoch of its own."""
        self._life += 1
        welcome = Welcome(
            protocol_version=PROTOCOL_VERSION,
            epoch=self._world.random.getrandbits(63) + 1,
            blob_endpoint="tcp://*:9003",
            heartbeat_endpoint="tcp://*:9001",
            heartbeat_interval_s=5.0,
        )
        self.core = BrokerCore(
            welcome,
            self._world.results,
            self._journal.restore(),
            worker_timeout_s=WORKER_TIMEOUT_S,
            max_workers=100,
            now_s=self._now_s(),
            strategy=self._strategy,
        )
        self._world.checker.broker_started(self.core, self._journal)
        self._tick(self._life)

    def crash(self, *, is_orderly: bool, is_power_cut: bool) -> None:
        """End this life. In order: the workers are told. A power cut tears the journal."""
        if is_power_cut:
            self._journal.tear(self._world.random)
        if is_orderly:
            for peer in self.core.farm.registry.workers:
                self.network.send_to_peer(peer, encode(Shutdown(reason="the broker stops")))
        self._life += 1
        self._inbox = []
        self._is_step_due = False

    def receive(self, peer: bytes, data: bytes) -> None:
        """A message has come."""
        self._put((peer, data))

    def notice(self, peer: bytes) -> None:
        """A connection has closed."""
        self._put((peer, None))

    def _now_s(self) -> float:
        return self._world.now_s("broker")

    def _put(self, event: tuple[bytes, bytes | None]) -> None:
        if not self.network.is_broker_up:
            return
        self._inbox.append(event)
        if not self._is_step_due:
            self._is_step_due = True
            self._world.clock.call_later(TURN_S, partial(self._step, self._life))

    def _tick(self, life: int) -> None:
        if life != self._life:
            return
        now_s = self._now_s()
        self.core.tick(now_s)
        self._dispatch(now_s)
        self._world.clock.call_later(BROKER_TICK_S, partial(self._tick, life))

    def _step(self, life: int) -> None:
        if life != self._life:
            return
        self._is_step_due = False
        inbox, self._inbox = self._inbox, []
        now_s = self._now_s()
        for peer, data in inbox:
            self._take(peer, data, now_s)
        self._dispatch(now_s)

    def _take(self, peer: bytes, data: bytes | None, now_s: float) -> None:
        if data is None:
            self._world.tell("broker", "gone", peer, peer)
            self.core.disconnected(peer, now_s)
            self._world.checker.check(now_s)
            return
        if not data:
            self.core.connected(peer)
            return
        try:
            message = to_broker.decode(data)
        except ProtocolError as error:
            self.core.undecodable(peer, error)
            return
        self._world.tell("broker", "receives", (peer, message), data)
        self._world.checker.before(peer, message)
        self.core.receive(peer, message, now_s)
        self._world.checker.after()
        self._world.checker.check(now_s)

    def _dispatch(self, now_s: float) -> None:
        self._world.checker.dispatching()
        effects = self.core.dispatch(now_s)
        self._world.checker.dispatched(effects, now_s)
        self._journal.keep(self.core)
        self._world.checker.check(now_s)
        for effect in effects:
            if isinstance(effect, Send):
                data = encode(effect.message)
                self._world.tell("broker", "sends", effect, data)
                self.network.send_to_peer(effect.peer, data)
            elif isinstance(effect, Publish):
                data = encode(effect.message)
                self._world.tell("broker", "publishes", effect, data)
                self.network.publish(data)
            else:
                self._world.tell("broker", effect.event, effect.fields, repr(effect.fields).encode())
