"""What a build waits for at its farm, and for how long already."""

from __future__ import annotations

from zbuild.limits import BROKER_SILENCE_S, CONNECT_S, KEEPALIVE_INTERVAL_S
from zbuild.protocol.messages import BuildState


class FarmWait:
    """What the broker has said of this build, and when it began to say so.

    Attributes:
        is_connected: whether the broker has ever accepted this client.
    """

    def __init__(self, broker: str, began_s: float) -> None:
        self.is_connected = False
        self._broker = broker
        self._began_s = began_s
        self._state: BuildState | None = None
        self._workerless_since_s: float | None = None

    def told(self, state: BuildState, now_s: float) -> None:
        """The broker has answered a keepalive."""
        self._state = state
        if state.workers:
            self._workerless_since_s = None
        elif self._workerless_since_s is None:
            self._workerless_since_s = now_s

    def unconnected_s(self, now_s: float) -> float:
        """How long no broker has answered at all; 0 when one has."""
        return 0.0 if self.is_connected else now_s - self._began_s

    def workerless_s(self, now_s: float) -> float:
        """How long the farm has had no workers, as far as its broker has said."""
        return 0.0 if self._workerless_since_s is None else now_s - self._workerless_since_s

    def text(self, actions: int, silence_s: float, now_s: float) -> str:
        """For a person.

        Args:
            actions: how many are with the farm.
            silence_s: how long the broker has owed an answer.
        """
        if not self.is_connected:
            unanswered = f"which has not answered for {now_s - self._began_s:.0f} s"
            return f"for the broker at {self._broker}, {unanswered}; it is given up after {CONNECT_S:g} s"
        waiting = f"{actions} actions with the farm"
        if silence_s > KEEPALIVE_INTERVAL_S:
            given_up = f"it is given up after {BROKER_SILENCE_S:g} s"
            return f"{waiting}, whose broker at {self._broker} has not answered for {silence_s:.0f} s; {given_up}"
        if self._workerless_since_s is not None:
            return f"{waiting}, which has had no workers for {self.workerless_s(now_s):.0f} s"
        if self._state is None:
            return waiting
        state = self._state
        return f"{waiting} ({state.running} leased, {state.queued} queued, {state.workers} workers)"
