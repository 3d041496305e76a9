"""What a worker process notes while it works: its steals, and the sizes of all its messages."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
import zmq

from zbuild.protocol.steal_messages import StealResponse
from zbuild.testing.failpoints import wrap
from zbuild.transport.loop import Socket
from zbuild.worker import agent, steal_link

OUT, IN = "out", "in"


class Traffic(msgspec.Struct):
    """Frames of one kind of socket in one direction, without what ZeroMQ and the kernel put around them."""

    frames: int = 0
    size_bytes: int = 0
    largest_bytes: int = 0


class StealSample(NamedTuple):
    """One steal that has brought something: from before its request is encoded until its response is decoded."""

    latency_s: float
    actions: int


class WorkerRecord:
    """Attributes: ``traffic``: by socket type and direction, such as ``PUB out``; ``steals`` that succeeded."""

    def __init__(self) -> None:
        self.traffic: dict[str, Traffic] = {}
        self.steals: list[StealSample] = []

    def install(self) -> None:
        """Wrap this process's sockets and its thief; before its Agent is made."""
        wrap("zbuild.worker.thief:Thief._responded", self._noting_steals)
        for module in (agent, steal_link):
            for name, wrapper in (("try_send", self._sending), ("drain", self._draining), ("receive", self._receiving)):
                original = getattr(module, name, None)
                if original is not None:
                    setattr(module, name, wrapper(original))

    def _noting_steals(self, original: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(original)
        def responded(thief: Any, question: Any, response: StealResponse, latency_s: float, now_s: float) -> None:
            if response.grants:
                self.steals.append(StealSample(latency_s, len(response.grants)))
            original(thief, question, response, latency_s, now_s)

        return responded

    def _sending(self, original: Callable[[Socket, list[bytes]], bool]) -> Callable[[Socket, list[bytes]], bool]:
        def try_send(socket: Socket, frames: list[bytes]) -> bool:
            self._note(socket, OUT, frames)
            return original(socket, frames)

        return try_send

    def _draining(self, original: Callable[[Socket], Any]) -> Callable[[Socket], Any]:
        def drain(socket: Socket) -> Any:
            for frames in original(socket):
                self._note(socket, IN, frames)
                yield frames

        return drain

    def _receiving(self, original: Callable[[Socket], Any]) -> Callable[[Socket], Any]:
        def receive(socket: Socket) -> Any:
            frames = original(socket)
            if frames is not None:
                self._note(socket, IN, frames)
            return frames

        return receive

    def _note(self, socket: Socket, direction: str, frames: list[bytes]) -> None:
        traffic = self.traffic.setdefault(f"{zmq.SocketType(socket.socket_type).name} {direction}", Traffic())
        for frame in frames:
            traffic.frames += 1
            traffic.size_bytes += len(frame)
            traffic.largest_bytes = max(traffic.largest_bytes, len(frame))
