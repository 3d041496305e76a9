"""Where a worker is reached by its peers."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from typing import NamedTuple

from zbuild.cli.farm_files import STEAL_SOCKET
from zbuild.config import WorkerConfig
from zbuild.errors import BadInput

_DISCARD_PORT = 9
"""RFC 863. Connecting a UDP socket sends nothing: it only has the kernel choose the route and the own address."""


class PeerEndpoints(NamedTuple):
    """Endpoints to listen at, the first that is free; none where this worker takes no part.

    Attributes:
        steals: where peers ask for actions.
        blobs: where they fetch the inputs of these. On Unix sockets all workers work in the store's own directory.
    """

    steals: list[str]
    blobs: list[str]


@contextlib.contextmanager
def peer_endpoints(config: WorkerConfig, broker: str) -> Iterator[PeerEndpoints]:
    """Where this worker is to be reached.

    A worker of a broker on Unix sockets is reached the same way, in the same directory; its socket goes in the end. Its
    name is drawn, because libzmq takes over a path that is there already, and another process may have the same
    worker id; and it is no longer than the broker's own, because paths of sockets are short.

    Raises:
        BadInput: the broker's host or ``listen_host`` has no address.
    """
    if not config.enable_work_stealing:
        yield PeerEndpoints([], [])
    elif broker.startswith("ipc://"):
        directory = os.path.dirname(broker.removeprefix("ipc://"))
        path = os.path.join(directory, STEAL_SOCKET + os.urandom(3).hex())
        try:
            yield PeerEndpoints([f"ipc://{path}"], [])
        finally:
            with contextlib.suppress(OSError):
                os.unlink(path)
            with contextlib.suppress(OSError):
                os.rmdir(directory)
    else:
        host = config.listen_host or _address_towards(broker)
        address = _address_of(host)
        bracketed = f"[{address}]" if ":" in address else address
        yield PeerEndpoints(_at(bracketed, config.listen_port), _at(bracketed, config.listen_blob_port))


def _at(address: str, port: int) -> list[str]:
    return [f"tcp://{address}:{each}" for each in (port, "*") if each]


def _address_towards(broker: str) -> str:
    """The address that this machine has on its way to the broker: where the broker is, peers are."""
    host = broker.removeprefix("tcp://").rpartition(":")[0].strip("[]")
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, _DISCARD_PORT, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind) as probe:
            probe.connect(address)
            return str(probe.getsockname()[0])
    except OSError as error:
        raise BadInput(f"cannot reach {host!r}, the host of the broker: {error.strerror}") from error


def _address_of(host: str) -> str:
    """ZeroMQ binds to addresses, not to names."""
    try:
        return str(socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][4][0])
    except OSError as error:
        raise BadInput(f"peers cannot reach this worker at {host!r}: {error.strerror}") from error
