"""The broker's shell in simulated time: one server with a queue, as slow as its work is in this process."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from tests.sim.scale_costs import Costs, SocketCost
from zbuild.coordinator.core import BrokerCore
from zbuild.coordinator.journal_keeper import JournalKeeper
from zbuild.coordinator.published_results import PublishedResults
from zbuild.limits import BROKER_TICK_S, RECEIVE_BATCH
from zbuild.log import Level, Log, LogFormat
from zbuild.protocol.codec import announcement, encode, heartbeat, to_broker
from zbuild.protocol.effects import Publish, Send
from zbuild.protocol.messages import PROTOCOL_VERSION, Welcome
from zbuild.protocol.steal_messages import Announcement
from zbuild.storage.action_cache import ActionCache
from zbuild.storage.blob_directory import BlobDirectory
from zbuild.storage.journal_file import JournalFile
from zbuild.testing.clock import Clock

HEARTBEAT_INTERVAL_S = 5.0
EPOCH = 1


class Arrival(NamedTuple):
    """A message in the queue. ``peer``: None for a heartbeat."""

    at_s: float
    peer: bytes | None
    data: bytes


class ScaleBroker:
    """Takes all that has come, dispatches once, and sends when the time that this took has passed.

    Args:
        deliver: takes what goes to a peer.
        publish: takes what goes to all workers.

    Attributes:
        busy_s: simulated seconds of work.
        waited_s: of all messages together, in the queue.
        longest_wait_s: of one message.
    """

    def __init__(
        self,
        clock: Clock,
        directory: Path,
        socket_cost: SocketCost,
        max_workers: int,
        deliver: Callable[[bytes, bytes], None],
        publish: Callable[[Announcement], None],
    ) -> None:
        self.costs = Costs()
        self._clock = clock
        self._socket_cost = socket_cost
        self._deliver = deliver
        self._publish = publish
        cache = ActionCache(str(directory / "results.sqlite"))
        self._results = PublishedResults(cache, BlobDirectory(str(directory / "blobs"), is_durable=False))
        log = Log(sys.stderr.buffer, lambda: clock.now_s, LogFormat.LOGFMT, Level.WARNING)
        self._journal = JournalKeeper(JournalFile(str(directory / "journal")), log)
        welcome = Welcome(
            protocol_version=PROTOCOL_VERSION,
            epoch=EPOCH,
            blob_endpoint="tcp://*:9003",
            heartbeat_endpoint="tcp://*:9001",
            heartbeat_interval_s=HEARTBEAT_INTERVAL_S,
        )
        self.core = BrokerCore(
            welcome,
            self._results,
            self._journal.restore(),
            worker_timeout_s=30.0,
            max_workers=max_workers,
            now_s=clock.now_s,
        )
        self._inbox: deque[Arrival] = deque()
        self._is_busy = False
        self._is_tick_due = False
        self.begin_account()
        clock.call_later(BROKER_TICK_S, self._tick)

    def begin_account(self) -> None:
        """Forget what was measured so far."""
        self.costs.by_kind.clear()
        self.busy_s = self.waited_s = self.longest_wait_s = 0.0
        self.longest_queue = 0

    def receive(self, peer: bytes | None, data: bytes) -> None:
        """A message has come; None for ``peer``: a heartbeat."""
        self._inbox.append(Arrival(self._clock.now_s, peer, data))
        self.longest_queue = max(self.longest_queue, len(self._inbox))
        self._wake()

    def close(self) -> None:
        self._results.close()
        self._journal.close()

    def _tick(self) -> None:
        self._is_tick_due = True
        self._clock.call_later(BROKER_TICK_S, self._tick)
        self._wake()

    def _wake(self) -> None:
        if not self._is_busy:
            self._is_busy = True
            self._clock.call_later(0.0, self._turn)

    def _turn(self) -> None:
        now_s, costs = self._clock.now_s, self.costs
        costs.turn_s = 0.0
        for _ in range(min(RECEIVE_BATCH, len(self._inbox))):
            arrival = self._inbox.popleft()
            self.waited_s += now_s - arrival.at_s
            self.longest_wait_s = max(self.longest_wait_s, now_s - arrival.at_s)
            self._take(arrival, now_s)
        if self._is_tick_due:
            self._is_tick_due = False
            costs.measured("tick", partial(self.core.tick, now_s))
        effects = costs.measured("dispatch: place and lease", partial(self.core.dispatch, now_s))
        costs.measured("journal and action cache", self._keep)
        outgoing: list[Callable[[], None]] = []
        for effect in effects:
            if isinstance(effect, Send):
                data = self._encoded(effect)
                outgoing.append(partial(self._deliver, effect.peer, data))
            elif isinstance(effect, Publish):
                data = self._encoded(effect)
                outgoing.append(partial(self._publish, announcement.decode(data)))
        self.busy_s += costs.turn_s
        self._clock.call_later(costs.turn_s, partial(self._end_turn, outgoing))

    def _end_turn(self, outgoing: list[Callable[[], None]]) -> None:
        for send in outgoing:
            send()
        if self._inbox or self._is_tick_due:
            self._turn()
        else:
            self._is_busy = False

    def _take(self, arrival: Arrival, now_s: float) -> None:
        if arrival.peer is None:
            self.costs.measured(
                "HeartBeat in", partial(self._take_heartbeat, arrival.data), self._socket_cost.receive_s
            )
            return
        began_s = time.thread_time()
        message = to_broker.decode(arrival.data)
        self.core.receive(arrival.peer, message, now_s)
        spent_s = time.thread_time() - began_s + self._socket_cost.receive_s
        self.costs.add(f"{type(message).__name__} in", spent_s)

    def _take_heartbeat(self, data: bytes) -> None:
        self.core.receive_heartbeat(heartbeat.decode(data))

    def _keep(self) -> None:
        self._results.commit()
        self._journal.keep(self.core)

    def _encoded(self, effect: Send | Publish) -> bytes:
        kind = f"{type(effect.message).__name__} out"
        return self.costs.measured(kind, partial(encode, effect.message), self._socket_cost.send_s)
