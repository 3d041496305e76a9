"""What a steal is measured against: REQ/REP of the same sizes between two processes, with nothing decided.

``native`` blocks in the socket. ``green`` is how the workers do it: native sockets, gevent watches the descriptor.
``zmq.green`` is pyzmq's own way with gevent.

Usage, each in a process of its own:

    python -m tests.bench.echo serve FLAVOUR ENDPOINT             prints where it listens
    python -m tests.bench.echo ask FLAVOUR ENDPOINT COUNT REQUEST_BYTES REPLY_BYTES PAUSE_S
                                                                  prints the seconds of each round trip as JSON
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any, NoReturn

import gevent

NATIVE, GREEN, ZMQ_GREEN = "native", "green", "zmq.green"
FLAVOURS = (NATIVE, GREEN, ZMQ_GREEN)

SIZE_BYTES = 8
"""A request begins with the size of the reply that it wants."""

WARM_UP = 20
"""Round trips before the first one that counts."""


def serve(flavour: str, endpoint: str) -> NoReturn:
    """Answer until killed."""
    zmq = _zmq(flavour)
    socket = zmq.Context().socket(zmq.REP)
    socket.bind(endpoint)
    print(socket.getsockopt_string(zmq.LAST_ENDPOINT), flush=True)
    receive = _receiver(flavour, socket)
    while True:
        socket.send(bytes(int.from_bytes(receive()[:SIZE_BYTES], "big")))


def ask(flavour: str, endpoint: str, count: int, request_bytes: int, reply_bytes: int, pause_s: float) -> list[float]:
    """The seconds of ``count`` round trips, ``pause_s`` apart."""
    zmq = _zmq(flavour)
    socket = zmq.Context().socket(zmq.REQ)
    socket.connect(endpoint)
    request = reply_bytes.to_bytes(SIZE_BYTES, "big") + bytes(max(0, request_bytes - SIZE_BYTES))
    receive = _receiver(flavour, socket)
    sleep = time.sleep if flavour == NATIVE else gevent.sleep
    found = []
    for _ in range(WARM_UP + count):
        if pause_s:
            sleep(pause_s)
        began_s = time.perf_counter()
        socket.send(request)
        receive()
        found.append(time.perf_counter() - began_s)
    socket.close(0)
    return found[WARM_UP:]


def _zmq(flavour: str) -> Any:
    if flavour == ZMQ_GREEN:
        import zmq.green

        return zmq.green
    import zmq

    return zmq


def _receiver(flavour: str, socket: Any) -> Callable[[], bytes]:
    if flavour != GREEN:
        receive: Callable[[], bytes] = socket.recv
        return receive
    from zbuild.transport.green import Wakeup
    from zbuild.transport.loop import descriptor_of
    from zbuild.transport.loop import receive as receive_now

    wakeup = Wakeup()
    wakeup.watch(descriptor_of(socket))

    def receive_green() -> bytes:
        while (frames := receive_now(socket)) is None:
            wakeup.wait(1.0)
        return frames[0]

    return receive_green


if __name__ == "__main__":
    role, chosen, where, *numbers = sys.argv[1:]
    if role == "serve":
        serve(chosen, where)
    times, request_size, reply_size = map(int, numbers[:3])
    print(json.dumps(ask(chosen, where, times, request_size, reply_size, float(numbers[3]))))
