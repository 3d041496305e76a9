"""What the store process has counted, on its lifeline to the broker: one line of JSON at a time, absolute figures."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from zbuild.errors import ProtocolError
from zbuild.limits import COUNTERS_BYTES
from zbuild.model.action import UNDECODABLE

_decoder = msgspec.json.Decoder(dict[str, int])


def encode_counters(counters: Mapping[str, int]) -> bytes:
    """One line, its newline included."""
    return msgspec.json.encode(dict(counters)) + b"\n"


def decode_counters(line: bytes) -> dict[str, int]:
    """
    Raises:
        ProtocolError: the line is too long, or no object of whole numbers.
    """
    if len(line) > COUNTERS_BYTES:
        raise ProtocolError(f"counters of {len(line)} B are more than {COUNTERS_BYTES} B")
    try:
        return _decoder.decode(line)
    except UNDECODABLE as error:
        raise ProtocolError(f"counters of {len(line)} B cannot be decoded: {error}") from error
