"""What a core asks its shell to do. A core performs nothing itself."""

from __future__ import annotations

from dataclasses import dataclass

from zbuild.protocol.messages import Message


@dataclass(frozen=True, slots=True)
class Send:
    """Send a message. ``peer`` is the routing id on a ROUTER, and empty on a DEALER."""

    message: Message
    peer: bytes = b""


@dataclass(frozen=True, slots=True)
class Note:
    """Something an operator wants in the log: an event name and its fields."""

    event: str
    fields: tuple[tuple[str, object], ...] = ()
