"""The bytes of a journal: a header, then records, each with its length and a checksum over all before it.

Because every checksum continues the one before, a record that is torn, flipped, repeated or left out ends
the journal there: what is read is always a prefix of what was written.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from zlib import crc32

from zbuild.limits import JOURNAL_RECORD_BYTES

HEADER = b"zbuild journal 1\n"

_PREFIX = struct.Struct("<II")
"""Length of the payload, and the checksum."""


@dataclass(frozen=True)
class JournalContent:
    """What could be read of a journal.

    Attributes:
        payloads: of the records, in order.
        checksum: what the next record's continues.
        lost_bytes: what follows the last sound record; 0 for a journal that is whole.
    """

    payloads: tuple[bytes, ...]
    checksum: int
    lost_bytes: int


def framed(payloads: Iterable[bytes], checksum: int) -> tuple[bytes, int]:
    """The bytes of these records after ``checksum``, and the checksum after them.

    Raises:
        ValueError: a record is longer than JOURNAL_RECORD_BYTES, which no reader would take.
    """
    parts: list[bytes] = []
    for payload in payloads:
        if len(payload) > JOURNAL_RECORD_BYTES:
            raise ValueError(f"a journal record of {len(payload)} B")
        checksum = crc32(payload, crc32(len(payload).to_bytes(4, "little"), checksum))
        parts += (_PREFIX.pack(len(payload), checksum), payload)
    return b"".join(parts), checksum


def first_checksum() -> int:
    """What the first record's checksum continues."""
    return crc32(HEADER)


def unframed(data: bytes) -> JournalContent:
    """All records up to the first that is not whole. No bytes whatever make it fail."""
    checksum = first_checksum()
    payloads: list[bytes] = []
    if not data.startswith(HEADER):
        return JournalContent((), checksum, len(data))
    place = len(HEADER)
    while place + _PREFIX.size <= len(data):
        length, expected = _PREFIX.unpack_from(data, place)
        payload = data[place + _PREFIX.size : place + _PREFIX.size + length]
        if length > JOURNAL_RECORD_BYTES or len(payload) < length:
            break
        following = crc32(payload, crc32(data[place : place + 4], checksum))
        if following != expected:
            break
        checksum = following
        payloads.append(payload)
        place += _PREFIX.size + length
    return JournalContent(tuple(payloads), checksum, len(data) - place)
