"""The broker's shell: one thread, one native poller, the core in the middle."""

from __future__ import annotations

import socket
import time

from zbuild.coordinator.core import BrokerCore
from zbuild.coordinator.journal_keeper import JournalKeeper
from zbuild.coordinator.published_results import PublishedResults
from zbuild.errors import ProtocolError, StoreFailed
from zbuild.limits import BROKER_TICK_S, COUNTERS_BYTES
from zbuild.log import Log
from zbuild.protocol.codec import encode, heartbeat, to_broker
from zbuild.protocol.counters import decode_counters
from zbuild.protocol.effects import Note, Publish, Send
from zbuild.protocol.messages import Refused, Shutdown
from zbuild.transport.beacon import BeaconResponder
from zbuild.transport.loop import Poller, Socket, discard_unsent, drain, try_send
from zbuild.transport.router import Router


class Broker:
    """Drives a BrokerCore until it is to stop.

    Args:
        router: the control channel.
        heartbeats: the SUB socket.
        announcements: the PUB socket.
        stop_descriptor: becomes readable when a signal ends the broker.
        lifeline: the descriptor, if any, whose closing ends the broker and all its peers at once.
        store_lifeline: the store's counters come by it, a line at a time; it ends when the store has died.
    """

    def __init__(
        self,
        core: BrokerCore,
        results: PublishedResults,
        journal: JournalKeeper,
        router: Router,
        heartbeats: Socket,
        announcements: Socket,
        stop_descriptor: int,
        lifeline: int | None,
        store_lifeline: socket.socket,
        beacon: BeaconResponder | None,
        log: Log,
    ) -> None:
        self._core = core
        self._results = results
        self._journal = journal
        self._router = router
        self._heartbeats = heartbeats
        self._announcements = announcements
        self._stop_descriptor = stop_descriptor
        self._lifeline = lifeline
        self._store_lifeline = store_lifeline
        self._beacon = beacon
        self._log = log
        self._store_line = b""
        core.farm.counted_by.update(control=router.counters, results=results.counters)

    def run(self) -> None:
        """Serve until stopped.

        Raises:
            StoreFailed: the store process has died; without it no action can run.
        """
        poller = Poller()
        self._router.register(poller)
        poller.register(self._heartbeats)
        poller.register(self._stop_descriptor)
        if self._lifeline is not None:
            poller.register(self._lifeline)
        poller.register(self._store_lifeline.fileno())
        if self._beacon is not None:
            poller.register(self._beacon.fileno())
        next_tick_s = 0.0
        while True:
            events = poller.wait(next_tick_s - time.monotonic())
            now_s = time.monotonic()
            if self._lifeline in events:
                self._discard_unsent()
                break
            if self._stop_descriptor in events:
                self._say_goodbye()
                break
            if self._store_lifeline.fileno() in events and not self._store_lives():
                self._say_goodbye()
                self._close()
                raise StoreFailed("the store process has died; its own last words are above")
            self._receive(now_s)
            if self._heartbeats in events:
                self._receive_heartbeats()
            if self._beacon is not None and self._beacon.fileno() in events:
                self._beacon.answer()
            if now_s >= next_tick_s:
                self._core.tick(now_s)
                next_tick_s = now_s + BROKER_TICK_S
            self._perform(self._core.dispatch(now_s))
        self._close()

    def _store_lives(self) -> bool:
        """Take in what the store has counted; False at the end of its lifeline."""
        try:
            data = self._store_lifeline.recv(COUNTERS_BYTES)
        except OSError:
            return False
        lines = (self._store_line + data).splitlines(keepends=True)
        self._store_line = b"" if not lines or lines[-1].endswith(b"\n") else lines.pop()[-COUNTERS_BYTES:]
        if lines:
            try:
                self._core.farm.counted_by["store"] = decode_counters(lines[-1])
            except ProtocolError as error:
                self._log.warning("bad_store_counters", error=str(error))
        return bool(data)

    def _receive(self, now_s: float) -> None:
        messages, gone = self._router.receive()
        for peer, frames in messages:
            if frames == [b""]:
                self._core.connected(peer)
                continue
            try:
                if len(frames) != 1:
                    raise ProtocolError(f"a control message of {len(frames)} frames, expected 1")
                message = to_broker.decode(frames[0])
            except ProtocolError as error:
                self._core.undecodable(peer, error)
            else:
                self._core.receive(peer, message, now_s)
        for peer in gone:
            self._core.disconnected(peer, now_s)

    def _receive_heartbeats(self) -> None:
        for frames in drain(self._heartbeats):
            try:
                self._core.receive_heartbeat(heartbeat.decode(frames[0]))
            except ProtocolError as error:
                self._log.warning("bad_heartbeat", error=str(error))

    def _perform(self, effects: list[Send | Note | Publish]) -> None:
        """Commit what was published, journal the leases, then tell of both: nothing is sent before it is kept.

        Results go first: between the two a crash leaves a lease of an action that the next life finds in the cache.
        """
        try:
            self._results.commit()
        except StoreFailed as error:
            self._log.warning("cache_write_failed", error=str(error))
        self._journal.keep(self._core)
        for effect in effects:
            if isinstance(effect, Send):
                self._send(effect)
            elif isinstance(effect, Publish):
                try_send(self._announcements, [encode(effect.message)])
            else:
                self._log.info(effect.event, **{name: str(value) for name, value in effect.fields})

    def _send(self, send: Send) -> None:
        """A message that no peer would take becomes a refusal: one peer's excess does not end the broker."""
        try:
            data = encode(send.message)
        except ProtocolError as error:
            self._log.warning("message_too_large", peer=send.peer.hex(), error=str(error))
            data = encode(Refused(code=error.code, message=str(error)))
        self._router.send(send.peer, [data])

    def _say_goodbye(self) -> None:
        for peer in self._core.farm.registry.workers:
            self._router.send(peer, [encode(Shutdown(reason="the broker stops"))])

    def _discard_unsent(self) -> None:
        """Nobody is left to take it, and the sockets would try for SOCKET_LINGER_MS."""
        for each in (self._router.socket, self._heartbeats, self._announcements):
            discard_unsent(each)

    def _close(self) -> None:
        if self._beacon is not None:
            self._beacon.close()
        self._router.close()
        self._heartbeats.close()
        self._announcements.close()
        self._results.close()
        self._journal.close()
