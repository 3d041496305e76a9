"""Sockets with every option set before bind or connect, where alone options take effect.

Each option answers a failure that was observed; see the socket rules in ARCHITECTURE.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import zmq

from zbuild.errors import FarmUnreachable
from zbuild.limits import (
    ANNOUNCEMENT_BYTES,
    BLOB_MESSAGE_BYTES,
    CONTROL_MESSAGE_BYTES,
    HEARTBEAT_BYTES,
    PEER_BLOB_MESSAGES,
    PEER_BLOB_REQUEST_BYTES,
    SOCKET_HANDSHAKE_MS,
    SOCKET_HEARTBEAT_MS,
    SOCKET_HIGH_WATER_MARK,
    SOCKET_LINGER_MS,
    SOCKET_TIMEOUT_MS,
    STEAL_MESSAGE_BYTES,
)
from zbuild.transport.loop import Context, Socket


def control_router(context: Context, endpoint: str) -> Socket:
    """The broker's end of the control channel, bound."""
    socket = _socket(context, zmq.ROUTER, CONTROL_MESSAGE_BYTES)
    socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
    return _bound(socket, endpoint)


def control_dealer(context: Context, endpoint: str) -> Socket:
    """A client's or worker's end of the control channel, connecting.

    PROBE_ROUTER has it send an empty message whenever a link comes up, so that a broker which has been
    restarted, or whose peer was cut off, knows within milliseconds that the peer is there.
    """
    socket = _socket(context, zmq.DEALER, CONTROL_MESSAGE_BYTES)
    socket.setsockopt(zmq.PROBE_ROUTER, 1)
    return _connected(socket, endpoint)


def blob_router(context: Context, endpoint: str) -> Socket:
    """The store's end of the blob channel, bound."""
    socket = _socket(context, zmq.ROUTER, BLOB_MESSAGE_BYTES)
    socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
    return _bound(socket, endpoint)


def blob_dealer(context: Context, endpoint: str) -> Socket:
    """A client's or worker's end of the blob channel, connecting."""
    return _connected(_socket(context, zmq.DEALER, BLOB_MESSAGE_BYTES), endpoint)


def peer_blob_router(context: Context, endpoint: str) -> Socket:
    """A worker's end of the blob channel to other workers, bound. They only ask: no frame carries a blob to it."""
    socket = _socket(context, zmq.ROUTER, PEER_BLOB_REQUEST_BYTES, PEER_BLOB_MESSAGES)
    socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
    return _bound(socket, endpoint)


def peer_blob_dealer(context: Context, endpoint: str) -> Socket:
    """The asking end of it, connecting. What it has not sent when it is closed is of no use to anybody.

    Peers choose the endpoint: it must not lead to a socket of this process, such as a monitor's.
    """
    if not endpoint.startswith(("tcp://", "ipc://")):
        raise FarmUnreachable(f"cannot connect to {endpoint}: neither tcp:// nor ipc://")
    socket = _socket(context, zmq.DEALER, BLOB_MESSAGE_BYTES, PEER_BLOB_MESSAGES)
    socket.setsockopt(zmq.LINGER, 0)
    return _connected(socket, endpoint)


def heartbeat_subscriber(context: Context, endpoint: str) -> Socket:
    """The broker's end of the heartbeats, bound and subscribed to everything."""
    socket = _socket(context, zmq.SUB, HEARTBEAT_BYTES)
    socket.setsockopt(zmq.SUBSCRIBE, b"")
    return _bound(socket, endpoint)


def announcement_publisher(context: Context, endpoint: str) -> Socket:
    """The broker's end of the announcements, bound."""
    return _bound(_socket(context, zmq.PUB, ANNOUNCEMENT_BYTES), endpoint)


def announcement_subscriber(context: Context, endpoint: str) -> Socket:
    """A worker's end of the announcements, connecting and subscribed to everything.

    While the broker is away it keeps its subscription to be sent, which must not delay the worker's end.
    """
    socket = _socket(context, zmq.SUB, ANNOUNCEMENT_BYTES)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.SUBSCRIBE, b"")
    return _connected(socket, endpoint)


def steal_reply(context: Context, endpoint: str) -> Socket:
    """A victim's end of a steal, bound."""
    return _bound(_socket(context, zmq.REP, STEAL_MESSAGE_BYTES), endpoint)


def steal_request(context: Context, endpoint: str) -> Socket:
    """A thief's end of its steals from one victim, connecting.

    REQ_CORRELATE lets no answer of an earlier question through, REQ_RELAXED lets the next one be asked all the same.
    """
    socket = _socket(context, zmq.REQ, STEAL_MESSAGE_BYTES)
    socket.setsockopt(zmq.REQ_CORRELATE, 1)
    socket.setsockopt(zmq.REQ_RELAXED, 1)
    socket.setsockopt(zmq.LINGER, 0)
    return _connected(socket, endpoint)


def heartbeat_publisher(context: Context, endpoint: str) -> Socket:
    """A worker's end of the heartbeats, connecting."""
    return _connected(_socket(context, zmq.PUB, HEARTBEAT_BYTES), endpoint)


def first_free(bind: Callable[[str], Socket], endpoints: Sequence[str]) -> Socket:
    """The socket at the first of ``endpoints`` at which it can be bound.

    Raises:
        FarmUnreachable: none of them is free.
    """
    for endpoint in endpoints[:-1]:
        try:
            return bind(endpoint)
        except FarmUnreachable:
            continue
    return bind(endpoints[-1])


def bound_endpoint(socket: Socket) -> str:
    """Where the socket really listens: the port is the one that the system chose."""
    return socket.getsockopt_string(zmq.LAST_ENDPOINT)


def peer_endpoint(advertised: str, broker: str) -> str:
    """Where to connect: the host of an advertised ``tcp://*:9003`` is the one the broker was reached at."""
    wildcard = "tcp://*:"
    if not advertised.startswith(wildcard):
        return advertised
    host = broker.removeprefix("tcp://").rpartition(":")[0]
    return f"tcp://{host}:{advertised.removeprefix(wildcard)}"


def _socket(context: Context, kind: int, message_bytes: int, high_water_mark: int = SOCKET_HIGH_WATER_MARK) -> Socket:
    socket = context.socket(kind)
    socket.setsockopt(zmq.LINGER, SOCKET_LINGER_MS)
    socket.setsockopt(zmq.SNDHWM, high_water_mark)
    socket.setsockopt(zmq.RCVHWM, high_water_mark)
    socket.setsockopt(zmq.MAXMSGSIZE, message_bytes)
    socket.setsockopt(zmq.HANDSHAKE_IVL, SOCKET_HANDSHAKE_MS)
    socket.setsockopt(zmq.HEARTBEAT_IVL, SOCKET_HEARTBEAT_MS)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, SOCKET_TIMEOUT_MS)
    socket.setsockopt(zmq.IPV6, 1)
    return socket


def _bound(socket: Socket, endpoint: str) -> Socket:
    try:
        socket.bind(endpoint)
    except zmq.ZMQError as error:
        socket.close()
        raise FarmUnreachable(f"cannot listen on {endpoint}: {error.strerror}") from error
    return socket


def _connected(socket: Socket, endpoint: str) -> Socket:
    try:
        socket.connect(endpoint)
    except zmq.ZMQError as error:
        socket.close()
        raise FarmUnreachable(f"cannot connect to {endpoint}: {error.strerror}") from error
    return socket
