"""What a core asks its shell to do. A core performs nothing itself."""

from __future__ import annotations

import msgspec

from zbuild.protocol.messages import Message
from zbuild.protocol.steal_messages import Announcement


class Send(msgspec.Struct, frozen=True):
    """Send a message. ``peer`` is the routing id on a ROUTER, and empty on a DEALER."""

    message: Message
    peer: bytes = b""


class Publish(msgspec.Struct, frozen=True):
    """Publish an announcement to all workers."""

    message: Announcement


class Note(msgspec.Struct, frozen=True):
    """Something an operator wants in the log: an event name and its fields."""

    event: str
    fields: tuple[tuple[str, object], ...] = ()
