"""Waiting for sockets and descriptors, and moving messages without blocking. Native, for every shell."""

from __future__ import annotations

from collections.abc import Iterator

import zmq

from zbuild.limits import RECEIVE_BATCH

_EVENTS, _READABLE = int(zmq.EVENTS), int(zmq.POLLIN)
"""As plain numbers: the arithmetic of enumerations costs as much as asking a socket."""

Socket = zmq.Socket[bytes]
Context = zmq.Context[Socket]


def new_context() -> Context:
    """A context of its own: one for each shell, ended with ``term``."""
    return zmq.Context()


class Poller:
    """Waits for sockets and descriptors to become readable."""

    def __init__(self) -> None:
        self._poller = zmq.Poller()

    def register(self, source: Socket | int) -> None:
        self._poller.register(source, zmq.POLLIN)

    def unregister(self, source: Socket | int) -> None:
        self._poller.unregister(source)

    def wait(self, timeout_s: float) -> dict[Socket | int, int]:
        """The readable ones; none when ``timeout_s`` have passed. Rounded up to ms: a wait is never cut to a spin."""
        return dict(self._poller.poll(max(0, int(timeout_s * 1000) + (timeout_s > 0))))


def receive(socket: Socket) -> list[bytes] | None:
    """The message that has come, or None. A REQ has no second one before it has asked again."""
    try:
        return socket.recv_multipart(zmq.NOBLOCK)
    except zmq.Again:
        return None


def drain(socket: Socket, limit: int = RECEIVE_BATCH) -> Iterator[list[bytes]]:
    """The messages that have come, ``limit`` at the most. Fewer than that: the socket would block."""
    # The exception at the end costs 6 us, the question 2. Mostly nothing has come.
    for _ in range(limit if has_input(socket) else 0):
        try:
            yield socket.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            return


def try_send(socket: Socket, frames: list[bytes]) -> bool:
    """Send unless the socket is at its high-water mark."""
    try:
        socket.send_multipart(frames, zmq.NOBLOCK)
    except zmq.Again:
        return False
    return True


def has_input(socket: Socket) -> bool:
    """Whether a message waits. Reading EVENTS re-arms the edge of the descriptor."""
    return bool(int(socket.getsockopt(_EVENTS)) & _READABLE)


def descriptor_of(socket: Socket) -> int:
    """The descriptor that becomes readable when something happens to ``socket``."""
    return int(socket.getsockopt(zmq.FD))


def discard_unsent(socket: Socket) -> None:
    """Have ``socket``, when it is closed, send nothing more: nobody is there to take it."""
    socket.setsockopt(zmq.LINGER, 0)
