"""What a core asks its shell to do. A core performs nothing itself."""

from __future__ import annotations

import msgspec

from zbuild.protocol.messages import Message


class Send(msgspec.Struct, frozen=True):
    """Send a message. ``peer`` is the routing id on a ROUTER, and empty on a DEALER."""

    message: Message
    peer: bytes = b""


class Note(msgspec.Struct, frozen=True):
    """Something an operator wants in the log: an event name and its fields."""

    event: str
    fields: tuple[tuple[str, object], ...] = ()
