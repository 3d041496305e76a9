"""Sockets that are closed while their peer is away: what nobody can want any more delays nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from zbuild.limits import SOCKET_LINGER_MS
from zbuild.transport.loop import Context, Socket, discard_unsent, new_context, try_send
from zbuild.transport.sockets import announcement_subscriber, control_dealer

DEADLINE_MS = 10_000

PROMPT_S = 0.8 * SOCKET_LINGER_MS / 1000
"""Less than a socket lingers, which is measured as 0.495 s."""


@pytest.fixture
def context() -> Iterator[Context]:
    """One that the test has to end."""
    context = new_context()
    yield context
    context.term()


@pytest.fixture
def absent(tmp_path: Path) -> str:
    """An endpoint that nobody listens at."""
    return f"ipc://{tmp_path}/absent"


def end_s(context: Context, socket: Socket) -> float:
    """How long it takes to close ``socket`` and end its context."""
    began_s = time.monotonic()
    socket.close()
    context.term()
    return time.monotonic() - began_s


def test_a_subscription_to_a_broker_that_has_gone_does_not_delay_the_end(context: Context, absent: str) -> None:
    """Many builds on a farm of their own ended half a second late."""
    others = new_context()
    publisher = others.socket(zmq.XPUB)
    publisher.bind(absent)
    subscriber = announcement_subscriber(context, absent)
    monitor = subscriber.get_monitor_socket(zmq.EVENT_DISCONNECTED)
    assert publisher.poll(DEADLINE_MS), "the subscription has come"
    publisher.close(0)
    others.term()
    assert monitor.poll(DEADLINE_MS), "the broker has gone"
    assert not subscriber.poll(1), "it takes in that it is to subscribe anew"
    subscriber.disable_monitor()
    monitor.close(0)
    assert end_s(context, subscriber) < PROMPT_S


@pytest.mark.parametrize("is_discarded", [True, False])
def test_an_unsent_message_delays_the_end_unless_it_is_discarded(
    context: Context, absent: str, is_discarded: bool
) -> None:
    socket = control_dealer(context, absent)
    assert try_send(socket, [b"a report"])
    if is_discarded:
        discard_unsent(socket)
    assert (end_s(context, socket) < PROMPT_S) is is_discarded
