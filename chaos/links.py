"""The fault proxy as a run uses it: one link for each peer, with an address of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from chaos.condition import CLEAR, Condition
from chaos.history import History
from tests.integration.tree import client_environment

PORTS = (9000, 9001, 9003)
"""Control, heartbeats, blobs: zbuild's own, for each run has addresses of its own."""


class Links:
    """Opens links to the broker at ``broker_host`` and changes their conditions.

    All addresses are of 127.0.0.0/8, which is all loopback. A peer that reaches the broker at its link's address
    finds heartbeats and blobs there as well: it keeps the host and takes the ports that the broker tells it.
    """

    def __init__(self, broker_host: str, seed: int, directory: Path, history: History) -> None:
        self._broker_host = broker_host
        self._network = broker_host.rpartition(".")[0]
        self._history = history
        self._hosts: dict[str, str] = {}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "chaos.proxy", str(seed)],
            env=client_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=open(directory / "proxy.log", "ab"),  # noqa: SIM115  # the child's
            text=True,
            process_group=0,
        )

    def host_of(self, name: str) -> str:
        """The address at which the peer of that name finds the broker."""
        if name not in self._hosts:
            host = self._hosts[name] = f"{self._network}.{10 + len(self._hosts)}"
            listen = [[host, port] for port in PORTS]
            self._command({"link": name, "listen": listen, "to": [[self._broker_host, port] for port in PORTS]})
        return self._hosts[name]

    def set(self, name: str, condition: Condition) -> None:
        """From now on, the link of that peer is like this."""
        self.host_of(name)
        self._history.write("link", link=name, condition=json.loads(condition.to_json()))
        self._command({"link": name, "condition": json.loads(condition.to_json())})

    def flicker(self, name: str, condition: Condition) -> None:
        """Reset the connections that exist, and let new ones be like ``condition``."""
        self.set(name, replace(condition, refuses=True))
        self.set(name, condition)

    def clear(self) -> None:
        """Make all links good."""
        for name in self._hosts:
            self.set(name, CLEAR)

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _command(self, command: dict[str, object]) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(command), file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline().strip()
        if answer != "ok":
            raise OSError(f"the fault proxy: {answer or 'ended'}")
