"""The client's link to a broker that sends what is no message."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import zmq

from zbuild.client.farm import Connected, FarmCore
from zbuild.client.link import FarmLink
from zbuild.protocol.codec import encode
from zbuild.protocol.messages import PROTOCOL_VERSION, Hello, Role, Welcome

WELCOME = Welcome(
    protocol_version=PROTOCOL_VERSION,
    epoch=1,
    blob_endpoint="tcp://127.0.0.1:1",
    heartbeat_endpoint="tcp://127.0.0.1:1",
    heartbeat_interval_s=5.0,
)


@pytest.fixture
def router() -> Iterator[zmq.Socket[bytes]]:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    made = context.socket(zmq.ROUTER)
    made.setsockopt(zmq.LINGER, 0)
    made.setsockopt(zmq.RCVTIMEO, 20_000)
    yield made
    made.close()
    context.term()


def test_what_does_not_decode_is_counted_and_costs_no_more(router: zmq.Socket[bytes]) -> None:
    """It used to end the build."""
    endpoint = f"tcp://127.0.0.1:{router.bind_to_random_port('tcp://127.0.0.1')}"
    hello = Hello(protocol_version=PROTOCOL_VERSION, role=Role.CLIENT, name="c", incarnation=1)
    link = FarmLink(endpoint, FarmCore(hello, 1, 50, time.monotonic()), None)
    try:
        link.pump(time.monotonic())
        peer = router.recv_multipart()[0]
        for bad in ([b"\xc1"], [b"\x80"], [encode(WELCOME), b"and more"]):
            router.send_multipart([peer, *bad])
        router.send_multipart([peer, encode(WELCOME)])
        deadline_s = time.monotonic() + 20
        events = link.pump(time.monotonic())
        while not events and time.monotonic() < deadline_s:
            events = link.pump(time.monotonic())
        assert [type(event) for event in events] == [Connected]
        assert link.trouble().startswith(
            "; 3 of its messages could not be decoded, the last one: a control message of 2"
        )
    finally:
        link.close()
