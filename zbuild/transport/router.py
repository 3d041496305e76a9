"""A ROUTER that knows when a peer has gone: the native shell of the broker and of the store.

libzmq tells of a closed connection on a monitor socket by its file descriptor, and of the
descriptor that a message came by (SRCFD). Joining the two, a killed peer is known within
milliseconds; heartbeats are left for hangs and partitions.
"""

from __future__ import annotations

import struct
from collections import Counter, deque

import zmq

from zbuild.limits import RECEIVE_BATCH
from zbuild.transport.loop import Poller, Socket

_EVENT = struct.Struct("=Hi")
"""The first frame of an event: its number and its value, here a descriptor (zmq_socket_monitor(3)).

To import zmq.utils.monitor for it takes 17 ms and 6 MiB: it brings asyncio.
"""


class Router:
    """Owns a bound ROUTER socket and its monitor."""

    def __init__(self, socket: Socket) -> None:
        self.socket = socket
        self.counters: Counter[str] = Counter()
        self._monitor = socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        self._peers: dict[int, bytes] = {}
        self._descriptors: dict[bytes, int] = {}
        self._closed: deque[int] = deque()

    def register(self, poller: Poller) -> None:
        poller.register(self.socket)
        poller.register(self._monitor)

    def receive(self, limit: int = RECEIVE_BATCH) -> tuple[list[tuple[bytes, list[bytes]]], list[bytes]]:
        """At most ``limit`` messages that have come, and peers that have gone, which were there when they sent them.

        A descriptor is reused by the next connection only after its event was queued. So events are looked at
        when no message is left, and a descriptor that is found with a new peer has an event for the old one.
        """
        messages: list[tuple[bytes, list[bytes]]] = []
        gone: list[bytes] = []
        while len(messages) < limit:
            try:
                first = self.socket.recv(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                gone += self._disconnected()
                break
            peer = bytes(first.bytes)
            frames = self.socket.recv_multipart(zmq.NOBLOCK) if first.more else []
            if peer not in self._descriptors:
                gone += self._remember(peer, first)
            messages.append((peer, frames))
        return messages, gone

    def send(self, peer: bytes, frames: list[bytes]) -> bool:
        """Send, or count why not: a message to a peer that is gone, or that does not read, is dropped."""
        try:
            self.socket.send_multipart([peer, *frames], zmq.NOBLOCK)
        except zmq.ZMQError as error:
            if error.errno == zmq.EHOSTUNREACH:
                self.counters["send_unreachable"] += 1
            elif error.errno == zmq.EAGAIN:
                self.counters["send_blocked"] += 1
            else:
                raise
            return False
        return True

    def close(self) -> None:
        self.socket.disable_monitor()
        self._monitor.close(0)
        self.socket.close()

    def _remember(self, peer: bytes, frame: zmq.Frame) -> list[bytes]:
        """Note whose descriptor it is now; the peer that had it before, which is gone."""
        descriptor = int(frame.get(zmq.SRCFD))
        gone: list[bytes] = []
        if descriptor in self._peers:
            self._read_events()
            if descriptor in self._closed:
                self._closed.remove(descriptor)
            gone = self._forget(descriptor)
        self._peers[descriptor] = peer
        self._descriptors[peer] = descriptor
        return gone

    def _forget(self, descriptor: int) -> list[bytes]:
        peer = self._peers.pop(descriptor, None)
        if peer is None:
            return []
        del self._descriptors[peer]
        return [peer]

    def _disconnected(self) -> list[bytes]:
        self._read_events()
        gone: list[bytes] = []
        while self._closed:
            gone += self._forget(self._closed.popleft())
        return gone

    def _read_events(self) -> None:
        while True:
            try:
                event = self._monitor.recv_multipart(zmq.NOBLOCK)[0]
            except zmq.Again:
                return
            _, descriptor = _EVENT.unpack(event)
            self._closed.append(descriptor)
