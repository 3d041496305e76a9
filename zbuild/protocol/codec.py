"""Bytes to messages and back. The only place that encodes or decodes a message that is not about blobs."""

from __future__ import annotations

from typing import Generic, TypeVar

import msgspec

from zbuild.errors import ProtocolError
from zbuild.limits import CONTROL_MESSAGE_BYTES
from zbuild.model.action import UNDECODABLE
from zbuild.protocol.messages import HeartBeat, Message, ToBroker, ToClient, ToWorker
from zbuild.protocol.steal_messages import Announcement, StealAnswer, StealQuestion

T = TypeVar("T")

Encodable = Message | StealQuestion | StealAnswer | Announcement
"""Every message that is not about blobs."""

_encoder = msgspec.msgpack.Encoder()


def encode(message: Encodable) -> bytes:
    """One frame.

    Raises:
        ProtocolError: the message is larger than any receiver accepts.
    """
    data = _encoder.encode(message)
    if len(data) > CONTROL_MESSAGE_BYTES:
        raise ProtocolError(
            f"a {type(message).__name__} of {len(data)} B is larger than the {CONTROL_MESSAGE_BYTES} B of one message"
        )
    return data


class Decoder(Generic[T]):
    """Decodes what one direction of the control channel may carry, and refuses the rest."""

    def __init__(self, kind: object) -> None:
        self._decode = msgspec.msgpack.Decoder(kind).decode

    def decode(self, data: bytes) -> T:
        """
        Raises:
            ProtocolError: too large, no msgpack, or no message of this direction.
        """
        if len(data) > CONTROL_MESSAGE_BYTES:
            raise ProtocolError(f"a message of {len(data)} B is larger than {CONTROL_MESSAGE_BYTES} B")
        try:
            return self._decode(data)  # type: ignore[no-any-return]  # a Decoder of a union is untyped
        except UNDECODABLE as error:
            raise ProtocolError(f"a message of {len(data)} B cannot be decoded: {error}") from error


to_broker: Decoder[ToBroker] = Decoder(ToBroker)
to_client: Decoder[ToClient] = Decoder(ToClient)
to_worker: Decoder[ToWorker] = Decoder(ToWorker)
heartbeat: Decoder[HeartBeat] = Decoder(HeartBeat)
announcement: Decoder[Announcement] = Decoder(Announcement)
to_victim: Decoder[StealQuestion] = Decoder(StealQuestion)
to_thief: Decoder[StealAnswer] = Decoder(StealAnswer)
