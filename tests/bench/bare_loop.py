"""What ZeroMQ alone can do here: client -> broker -> worker -> broker -> client, and nothing decided on the way.

Native sockets and pollers, one message each way for each action, no encoding. Usage, each in a process of its own:

    python -m tests.bench.bare_loop broker CLIENTS WORKERS
    python -m tests.bench.bare_loop worker WORKERS RESULT_BYTES
    python -m tests.bench.bare_loop client CLIENTS COUNT ACTION_BYTES
"""

from __future__ import annotations

import sys
import time
from itertools import cycle

import zmq

READY = b"ready"
STOP = b"stop"
WORKER_COUNT = 2
IN_FLIGHT = 1000
"""Messages of the client under way: plenty for both workers."""


def broker(clients: str, workers: str) -> None:
    """Hand each request to the workers in turn, and each answer to its client. STOP from a client ends all."""
    context = _context()
    front, back = context.socket(zmq.ROUTER), context.socket(zmq.ROUTER)
    front.bind(clients)
    back.bind(workers)
    identities = [back.recv_multipart()[0] for _ in range(WORKER_COUNT)]
    turn = cycle(identities)
    poller = zmq.Poller()
    poller.register(front, zmq.POLLIN)
    poller.register(back, zmq.POLLIN)
    while True:
        events = dict(poller.poll())
        if front in events:
            for client, body in _waiting(front):
                if body == STOP:
                    for identity in identities:
                        back.send_multipart([identity, STOP])
                    context.destroy(linger=1000)
                    return
                back.send_multipart([next(turn), client, body])
        if back in events:
            for _, client, body in _waiting(back):
                front.send_multipart([client, body])


def worker(endpoint: str, result_bytes: int) -> None:
    """Answer every request at once."""
    context = _context()
    socket = context.socket(zmq.DEALER)
    socket.connect(endpoint)
    socket.send(READY)
    result = b"r" * result_bytes
    poller = zmq.Poller()
    poller.register(socket, zmq.POLLIN)
    while poller.poll():
        for frames in _waiting(socket):
            if frames == [STOP]:
                context.destroy()
                return
            socket.send_multipart([frames[0], result])


def client(endpoint: str, count: int, action_bytes: int) -> None:
    """Print the seconds from the first request to the last answer."""
    context = _context()
    socket = context.socket(zmq.DEALER)
    socket.connect(endpoint)
    action = b"a" * action_bytes
    poller = zmq.Poller()
    poller.register(socket, zmq.POLLIN)
    # The first one waits until the broker and its workers have found each other.
    socket.send(action)
    socket.recv()
    sent = received = 0
    began_s = time.perf_counter()
    while received < count:
        while sent < count and sent - received < IN_FLIGHT:
            socket.send(action)
            sent += 1
        poller.poll()
        received += len(_waiting(socket))
    print(time.perf_counter() - began_s)
    socket.send(STOP)
    context.destroy(linger=1000)


def _context() -> zmq.Context[zmq.Socket[bytes]]:
    """Without high-water marks, at which a ROUTER drops messages."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    context.setsockopt(zmq.SNDHWM, 0)
    context.setsockopt(zmq.RCVHWM, 0)
    return context


def _waiting(socket: zmq.Socket[bytes]) -> list[list[bytes]]:
    messages = []
    while True:
        try:
            messages.append(socket.recv_multipart(zmq.NOBLOCK))
        except zmq.Again:
            return messages


def main(role: str, words: list[str]) -> None:
    match role:
        case "broker":
            broker(*words)
        case "worker":
            worker(words[0], int(words[1]))
        case "client":
            client(words[0], int(words[1]), int(words[2]))
        case _:
            raise SystemExit(f"no such role: {role}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
