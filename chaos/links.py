"""The fault proxies as a run uses them: one link for each peer, with an address of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from chaos.condition import CLEAR, Condition
from chaos.history import History
from tests.integration.tree import client_environment

CONTROL = 9000
PORTS = (CONTROL, 9001, 9003)
"""Control, heartbeats, blobs: zbuild's own, for each run has addresses of its own."""


class _Process:
    """A proxy that is driven through its stdin."""

    def __init__(self, module: str, arguments: list[str], log: Path) -> None:
        with open(log, "ab") as stderr:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                env=client_environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                process_group=0,
            )
        self._name = module

    def command(self, **fields: object) -> None:
        """Have it do something, and wait until it has.

        Raises:
            OSError: it did not.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(fields), file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline().strip()
        if answer != "ok":
            raise OSError(f"{self._name}: {answer or 'it has ended'}")

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()


class Links:
    """Opens links to the broker at ``broker_host`` and changes what they do.

    All addresses are of 127.0.0.0/8, which is all loopback. A peer that reaches the broker at its link's address
    finds heartbeats and blobs there as well: it keeps the host and takes the ports that the broker tells it.

    Args:
        has_messages: the control channel goes through the proxy of messages, the rest through that of bytes.
    """

    def __init__(
        self, broker_host: str, seed: int, directory: Path, history: History, *, has_messages: bool = False
    ) -> None:
        self._broker_host = broker_host
        self._history = history
        self._hosts: dict[str, str] = {}
        self._bytes = _Process("chaos.proxy", [str(seed)], directory / "proxy.log")
        self._messages: _Process | None = None
        if has_messages:
            arguments = [str(seed), str(CONTROL), f"tcp://{broker_host}:{CONTROL}"]
            self._messages = _Process("chaos.message_proxy", arguments, directory / "message_proxy.log")

    def host_of(self, name: str) -> str:
        """The address at which the peer of that name finds the broker."""
        if name not in self._hosts:
            host = self._hosts[name] = f"{self._broker_host.rpartition('.')[0]}.{10 + len(self._hosts)}"
            ports: tuple[int, ...] = PORTS
            if self._messages is not None:
                self._messages.command(link=name, listen=host)
                ports = tuple(port for port in PORTS if port != CONTROL)
            to = [[self._broker_host, port] for port in ports]
            self._bytes.command(link=name, listen=[[host, port] for port in ports], to=to)
        return self._hosts[name]

    def set(self, name: str, condition: Condition) -> None:
        """From now on, the link of that peer is like this."""
        self.host_of(name)
        self._history.write("link", link=name, condition=json.loads(condition.to_json()))
        self._bytes.command(link=name, condition=json.loads(condition.to_json()))

    def spoil(self, name: str, **chances: float) -> None:
        """From now on, this becomes of the control messages of that peer; see chaos/message_proxy.py."""
        self.host_of(name)
        self._history.write("spoil", link=name, **chances)
        assert self._messages is not None, "the farm was started without the proxy of messages"
        self._messages.command(link=name, spoil=chances)

    def flicker(self, name: str, condition: Condition) -> None:
        """Reset the connections that exist, and let new ones be like ``condition``."""
        self.set(name, replace(condition, refuses=True))
        self.set(name, condition)

    def clear(self) -> None:
        """Make all links good."""
        for name in self._hosts:
            self.set(name, CLEAR)
            if self._messages is not None:
                self.spoil(name)

    def close(self) -> None:
        """End the proxies."""
        self._bytes.close()
        if self._messages is not None:
            self._messages.close()
