"""Which peer a closed connection is charged to, whatever the order in which libzmq tells of things."""

from __future__ import annotations

import struct
from collections import deque
from typing import cast

import pytest
import zmq

from zbuild.limits import RECEIVE_BATCH
from zbuild.transport.loop import Socket
from zbuild.transport.router import Router


class FakeFrame:
    """The first frame of a message: the peer's routing id, and the descriptor that it came by."""

    more = False

    def __init__(self, peer: bytes, descriptor: int) -> None:
        self.bytes = peer
        self._descriptor = descriptor

    def get(self, option: int) -> int:
        assert option == zmq.SRCFD
        return self._descriptor


class FakeMonitor:
    """Events of closed descriptors."""

    def __init__(self) -> None:
        self.closed: deque[int] = deque()

    def recv_multipart(self, _flags: int) -> list[bytes]:
        if not self.closed:
            raise zmq.Again
        return [struct.pack("=HI", zmq.EVENT_DISCONNECTED, self.closed.popleft()), b"tcp://endpoint"]


class FakeSocket:
    """Messages of peers, and the monitor."""

    def __init__(self) -> None:
        self.monitor = FakeMonitor()
        self.waiting: deque[FakeFrame] = deque()

    def get_monitor_socket(self, _events: int) -> FakeMonitor:
        return self.monitor

    def recv(self, _flags: int, *, copy: bool) -> FakeFrame:
        assert not copy
        if not self.waiting:
            raise zmq.Again
        return self.waiting.popleft()

    def send(self, peer: bytes, descriptor: int) -> None:
        self.waiting.append(FakeFrame(peer, descriptor))


@pytest.fixture
def fake() -> FakeSocket:
    return FakeSocket()


@pytest.fixture
def router(fake: FakeSocket) -> Router:
    return Router(cast(Socket, fake))


def test_a_descriptor_reused_within_one_batch_is_charged_to_its_old_owner(fake: FakeSocket, router: Router) -> None:
    fake.send(b"old", 7)
    fake.send(b"new", 7)
    fake.monitor.closed.append(7)

    messages, gone = router.receive()

    assert [peer for peer, _ in messages] == [b"old", b"new"]
    assert gone == [b"old"]
    fake.monitor.closed.append(7)
    assert router.receive() == ([], [b"new"])


def test_two_owners_of_one_descriptor_may_both_have_gone(fake: FakeSocket, router: Router) -> None:
    fake.send(b"old", 7)
    fake.send(b"new", 7)
    fake.monitor.closed.extend((7, 7))

    assert router.receive()[1] == [b"old", b"new"]


def test_an_event_waits_for_the_messages_that_came_before_it(fake: FakeSocket, router: Router) -> None:
    """More than one batch waits, and the peer at its end has gone already."""
    for _ in range(RECEIVE_BATCH):
        fake.send(b"busy", 5)
    fake.send(b"brief", 6)
    fake.monitor.closed.append(6)

    assert router.receive()[1] == []
    messages, gone = router.receive()
    assert [peer for peer, _ in messages] == [b"brief"]
    assert gone == [b"brief"]
