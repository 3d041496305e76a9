"""A ROUTER that knows when a peer has gone: the native shell of the broker and of the store.

libzmq tells of a closed connection on a monitor socket by its file descriptor, and of the
descriptor that a message came by (SRCFD). Joining the two, a killed peer is known within
milliseconds; heartbeats are left for hangs and partitions.
"""

from __future__ import annotations

from collections import Counter

import zmq
from zmq.utils.monitor import parse_monitor_message

from zbuild.limits import RECEIVE_BATCH
from zbuild.transport.loop import Poller, Socket


class Router:
    """Owns a bound ROUTER socket and its monitor."""

    def __init__(self, socket: Socket) -> None:
        self.socket = socket
        self.counters: Counter[str] = Counter()
        self._monitor = socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        self._peers: dict[int, bytes] = {}
        self._descriptors: dict[bytes, int] = {}

    def register(self, poller: Poller) -> None:
        poller.register(self.socket)
        poller.register(self._monitor)

    def receive(self) -> tuple[list[tuple[bytes, list[bytes]]], list[bytes]]:
        """Messages that have come, and peers that have gone, which were still there when they sent them.

        A descriptor is reused by the next connection only after its event was queued, so events
        are read after the messages: none of these can then belong to the connection that closed.
        """
        messages: list[tuple[bytes, list[bytes]]] = []
        while len(messages) < RECEIVE_BATCH:
            try:
                first = self.socket.recv(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                break
            peer = bytes(first.bytes)
            frames = self.socket.recv_multipart(zmq.NOBLOCK) if first.more else []
            if peer not in self._descriptors:
                self._remember(peer, first)
            messages.append((peer, frames))
        return messages, self._disconnected()

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

    def _remember(self, peer: bytes, frame: zmq.Frame) -> None:
        descriptor = int(frame.get(zmq.SRCFD))
        self._peers[descriptor] = peer
        self._descriptors[peer] = descriptor

    def _disconnected(self) -> list[bytes]:
        gone: list[bytes] = []
        while True:
            try:
                event = parse_monitor_message(self._monitor.recv_multipart(zmq.NOBLOCK))
            except zmq.Again:
                return gone
            peer = self._peers.pop(int(event["value"]), None)
            if peer is not None:
                self._descriptors.pop(peer, None)
                gone.append(peer)
