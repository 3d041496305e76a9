"""The sockets by which a worker meets its peers: REP for those that ask, REQ for whom it asks, SUB for the news."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Protocol

from zbuild.errors import FarmUnreachable, ProtocolError
from zbuild.limits import STEAL_SOCKETS
from zbuild.protocol.codec import announcement, encode, to_thief, to_victim
from zbuild.protocol.steal_messages import Announcement, StealAnswer, StealQuestion
from zbuild.transport.green import Wakeup
from zbuild.transport.loop import Context, Socket, descriptor_of, drain, has_input, receive, try_send
from zbuild.transport.sockets import (
    announcement_subscriber,
    bound_endpoint,
    first_free,
    steal_reply,
    steal_request,
)
from zbuild.worker.effects import Ask, WorkerEffect


class Steals(Protocol):
    """What decides: the worker's core."""

    def requested(self, question: StealQuestion, now_s: float) -> tuple[StealAnswer, list[WorkerEffect]]:
        """A peer asks."""

    def answered(self, endpoint: str, answer: StealAnswer, now_s: float) -> list[WorkerEffect]:
        """A peer has answered."""

    def announced(self, announcement: Announcement, now_s: float) -> None:
        """The broker has published something."""


class StealLink:
    """Driven by the one greenlet that owns all sockets of the worker.

    Args:
        listen: endpoints to answer at, the first that is free; none: this worker neither steals nor is stolen from.
        counters: the worker's.

    Attributes:
        endpoint: where it answers; empty: nowhere.

    Raises:
        FarmUnreachable: none of them is free.
    """

    def __init__(self, context: Context, wakeup: Wakeup, listen: Sequence[str], counters: Counter[str]) -> None:
        self.counters = counters
        self._context = context
        self._wakeup = wakeup
        self._replies = first_free(partial(steal_reply, context), listen) if listen else None
        self.endpoint = bound_endpoint(self._replies) if self._replies is not None else ""
        self._requests: dict[str, Socket] = {}
        self._asked: set[str] = set()
        self._announcements: Socket | None = None
        self._announced_at = ""
        if self._replies is not None:
            wakeup.watch(descriptor_of(self._replies))

    def subscribe(self, endpoint: str) -> None:
        """Listen to the announcements that are published at ``endpoint``; empty: to none."""
        if endpoint == self._announced_at:
            return
        self._announced_at = endpoint
        if self._announcements is not None:
            self._wakeup.ignore(descriptor_of(self._announcements))
            self._announcements.close()
            self._announcements = None
        if endpoint and self._replies is not None:
            self._announcements = announcement_subscriber(self._context, endpoint)
            self._wakeup.watch(descriptor_of(self._announcements))

    def serve(self, steals: Steals) -> list[WorkerEffect]:
        """Answer who asks, and hand in what has come; what is to be done about it."""
        effects: list[WorkerEffect] = []
        if self._replies is not None:
            for frames in drain(self._replies):
                effects += self._reply(self._replies, frames, steals)
        for endpoint in list(self._asked):
            answer = receive(self._requests[endpoint])
            if answer is not None:
                effects += self._answered(endpoint, answer, steals)
        if self._announcements is not None:
            for frames in drain(self._announcements):
                self._announced(frames, steals)
        return effects

    def ask(self, ask: Ask) -> None:
        """Send a question. The socket is kept for the next one, STEAL_SOCKETS of them."""
        socket = self._requests.pop(ask.endpoint, None)
        if socket is None:
            try:
                socket = steal_request(self._context, ask.endpoint)
            except FarmUnreachable:
                self.counters["steal_bad_endpoint"] += 1
                return
            self._wakeup.watch(descriptor_of(socket))
        self._requests[ask.endpoint] = socket
        if try_send(socket, [encode(ask.message)]):
            self._asked.add(ask.endpoint)
        else:
            self.counters["steal_send_blocked"] += 1
        for endpoint in [each for each in self._requests if each not in self._asked][:-STEAL_SOCKETS]:
            self.hang_up(endpoint)

    def hang_up(self, endpoint: str) -> None:
        """Close the socket to a peer. An answer that was on its way is lost."""
        self._asked.discard(endpoint)
        socket = self._requests.pop(endpoint, None)
        if socket is not None:
            self._wakeup.ignore(descriptor_of(socket))
            socket.close()

    def has_input(self) -> bool:
        """Whether a message waits. It must be asked after each use: the descriptors tell of edges only."""
        sockets = [self._requests[endpoint] for endpoint in self._asked]
        sockets += [socket for socket in (self._replies, self._announcements) if socket is not None]
        return any(has_input(socket) for socket in sockets)

    def close(self) -> None:
        """Close every socket."""
        for endpoint in list(self._requests):
            self.hang_up(endpoint)
        self.subscribe("")
        if self._replies is not None:
            self._wakeup.ignore(descriptor_of(self._replies))
            self._replies.close()

    def _reply(self, socket: Socket, frames: list[bytes], steals: Steals) -> list[WorkerEffect]:
        """REP must answer whatever has come, or nobody is heard any more."""
        try:
            question = to_victim.decode(_only(frames))
        except ProtocolError:
            self.counters["steal_bad_message"] += 1
            try_send(socket, [b""])
            return []
        answer, effects = steals.requested(question, time.monotonic())
        if not try_send(socket, [encode(answer)]):
            self.counters["steal_send_blocked"] += 1
        return effects

    def _answered(self, endpoint: str, frames: list[bytes], steals: Steals) -> list[WorkerEffect]:
        self._asked.discard(endpoint)
        try:
            answer = to_thief.decode(_only(frames))
        except ProtocolError:
            self.counters["steal_bad_message"] += 1
            return []
        return steals.answered(endpoint, answer, time.monotonic())

    def _announced(self, frames: list[bytes], steals: Steals) -> None:
        try:
            steals.announced(announcement.decode(_only(frames)), time.monotonic())
        except ProtocolError:
            self.counters["steal_bad_message"] += 1


def _only(frames: list[bytes]) -> bytes:
    if len(frames) != 1:
        raise ProtocolError(f"a message of {len(frames)} frames, expected 1")
    return frames[0]
