"""Finding a broker on the LAN: the client asks by one UDP datagram, brokers answer to the sender.

It only finds; nothing is trusted for having answered. A question is padded to the length of an
answer, so that a forged sender address gains an attacker nothing.
"""

from __future__ import annotations

import errno
import socket
import struct
import time

from zbuild.errors import FarmUnreachable
from zbuild.limits import BEACON_BATCH

_MAGIC = b"ZBLD"
_QUESTION = 1
_ANSWER = 2
_FORMAT = struct.Struct("!4sBBHQ")
"""magic, protocol version, kind, control port (0 in a question), epoch of the broker (0 in a question)."""


class BeaconResponder:
    """The broker's side: a bound UDP socket."""

    def __init__(self, host: str, port: int, version: int, control_port: int, epoch: int) -> None:
        """
        Raises:
            FarmUnreachable: the port is taken.
        """
        self._version = version
        self._answer = _FORMAT.pack(_MAGIC, version, _ANSWER, control_port, epoch)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            self._socket.bind((host, port))
        except OSError as error:
            self._socket.close()
            raise FarmUnreachable(f"cannot answer beacons at {host}:{port}: {error.strerror}") from error

    def fileno(self) -> int:
        return self._socket.fileno()

    @property
    def port(self) -> int:
        return int(self._socket.getsockname()[1])

    def answer(self) -> int:
        """Answer the questions that have come, BEACON_BATCH at the most; how many were answered."""
        answered = 0
        for _ in range(BEACON_BATCH):
            try:
                data, sender = self._socket.recvfrom(_FORMAT.size + 1)
            except BlockingIOError:
                break
            if _kind(data, self._version) != _QUESTION:
                continue
            try:
                self._socket.sendto(self._answer, sender)
            except OSError:
                continue
            answered += 1
        return answered

    def close(self) -> None:
        self._socket.close()


def find_broker(addresses: list[str], port: int, version: int, timeout_s: float) -> str:
    """The control endpoint of the first broker that answers.

    Args:
        addresses: where to ask, broadcast addresses as a rule.
        version: the protocol version; brokers of another one do not answer.

    Raises:
        FarmUnreachable: nobody has answered; the text says what was tried.
    """
    tried: list[str] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as asker:
        asker.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        for address in addresses:
            tried.append(_ask(asker, address, port, version))
        deadline_s = time.monotonic() + timeout_s
        while (remaining_s := deadline_s - time.monotonic()) > 0:
            asker.settimeout(remaining_s)
            try:
                data, sender = asker.recvfrom(_FORMAT.size + 1)
            except TimeoutError:
                break
            except ConnectionRefusedError:
                continue
            if _kind(data, version) == _ANSWER:
                return f"tcp://{sender[0]}:{_FORMAT.unpack(data)[3]}"
    raise FarmUnreachable(
        f"no broker has answered within {timeout_s:g} s; asked {', '.join(tried)}; name one with --coordinator"
    )


def _ask(asker: socket.socket, address: str, port: int, version: int) -> str:
    try:
        asker.sendto(_FORMAT.pack(_MAGIC, version, _QUESTION, 0, 0), (address, port))
    except OSError as error:
        return f"{address}:{port} ({errno.errorcode.get(error.errno or 0, 'error')})"
    return f"{address}:{port}"


def _kind(data: bytes, version: int) -> int | None:
    if len(data) != _FORMAT.size:
        return None
    magic, their_version, kind, _, _ = _FORMAT.unpack(data)
    return int(kind) if magic == _MAGIC and their_version == version else None
