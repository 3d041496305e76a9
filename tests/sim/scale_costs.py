"""What the broker's work costs: processor time of this very process, by kind of work."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from zbuild.transport.loop import drain, new_context
from zbuild.transport.router import Router
from zbuild.transport.sockets import control_dealer, control_router

T = TypeVar("T")

MESSAGES = 100
"""Messages at once: what a busy broker finds when it looks."""

ROUNDS = 50
MESSAGE_BYTES = 200
"""Most are results and acknowledgements of one action."""


@dataclass(frozen=True)
class SocketCost:
    """Processor seconds of the broker's thread for one message; those of ZeroMQ's own thread are not its."""

    receive_s: float
    send_s: float


@dataclass
class Spent:
    """How often something was done, and for how many processor seconds."""

    count: int = 0
    seconds: float = 0.0


@dataclass
class Costs:
    """By kind of work. ``turn_s``: what the turn under way has cost so far."""

    by_kind: dict[str, Spent] = field(default_factory=dict)
    turn_s: float = 0.0

    def measured(self, kind: str, work: Callable[[], T], more_s: float = 0.0) -> T:
        """Do it. ``more_s``: what it costs beside, which is not done here."""
        began_s = time.thread_time()
        result = work()
        self.add(kind, time.thread_time() - began_s + more_s)
        return result

    def add(self, kind: str, seconds: float) -> None:
        spent = self.by_kind.setdefault(kind, Spent())
        spent.count += 1
        spent.seconds += seconds
        self.turn_s += seconds


def measured_socket_cost(directory: Path) -> SocketCost:
    """Of the product's own sockets over a Unix socket, the least of ROUNDS: whoever else is at work takes caches."""
    context = new_context()
    endpoint = f"ipc://{directory}/cost"
    router = Router(control_router(context, endpoint))
    dealer = control_dealer(context, endpoint)
    frame = bytes(MESSAGE_BYTES)
    receive_s, send_s = [], []
    dealer.poll(0)
    peer = _first_peer(router)
    for _ in range(ROUNDS):
        for _ in range(MESSAGES):
            dealer.send(frame)
        time.sleep(0.005)
        began_s = time.thread_time()
        messages, _ = router.receive()
        receive_s.append((time.thread_time() - began_s) / max(1, len(messages)))
        began_s = time.thread_time()
        for _ in range(MESSAGES):
            router.send(peer, [frame])
        send_s.append((time.thread_time() - began_s) / MESSAGES)
        dealer.poll(1000)
        for _ in drain(dealer):
            continue
    dealer.close(0)
    router.close()
    context.term()
    return SocketCost(min(receive_s), min(send_s))


def _first_peer(router: Router) -> bytes:
    """The routing id of the dealer, whose link probes when it is up."""
    deadline_s = time.monotonic() + 10.0
    while time.monotonic() < deadline_s:
        messages, _ = router.receive()
        if messages:
            return messages[0][0]
        time.sleep(0.001)
    raise TimeoutError("no link has come up between two sockets of this process")
