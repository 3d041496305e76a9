"""Tells systemd, or whatever else set NOTIFY_SOCKET, that a daemon is ready or stopping.

The protocol is that of sd_notify(3): datagrams of ``KEY=value`` lines to a Unix socket.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping


class Readiness:
    """Speaks to the service manager that started the process, and is silent when there is none."""

    def __init__(self, address: str | None) -> None:
        self._address = address

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Readiness:
        """The service manager named by NOTIFY_SOCKET; a leading ``@`` is a name in the abstract namespace."""
        return cls(environ.get("NOTIFY_SOCKET") or None)

    def ready(self) -> None:
        """The sockets are bound: clients may come.

        Raises:
            OSError: NOTIFY_SOCKET is set and nobody listens there. Staying silent would let the service
                manager kill a healthy daemon at its start time-out.
        """
        self._send("READY=1")

    def stopping(self) -> None:
        """The drain has begun."""
        self._send("STOPPING=1")

    def _send(self, line: str) -> None:
        if self._address is None:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as datagrams:
            datagrams.sendto(line.encode(), address)
