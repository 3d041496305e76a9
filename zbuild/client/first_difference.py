"""Where two files differ first, and what stands there."""

from __future__ import annotations

from dataclasses import dataclass

from zbuild.client.byte_place import place_of
from zbuild.limits import DIFFERENCE_BLOCK_BYTES, DIFFERENCE_EXCERPT_BYTES

Bytes = bytes | memoryview


@dataclass(frozen=True, slots=True)
class FirstDifference:
    """One place of two files.

    Attributes:
        offset: of the first byte that differs, or the length of the shorter file if it is the beginning of the other.
        place: ``line 3`` of a text, or what ``place_of`` knows; may be empty.
        first, second: what the files have there: a line of text, or bytes as hexadecimal digits; empty at the end of
            a file.
    """

    offset: int
    place: str
    first: str
    second: str


def first_difference(first: Bytes, second: Bytes) -> FirstDifference | None:
    """None for equal bytes."""
    offset = _offset(memoryview(first), memoryview(second))
    if offset is None:
        return None
    excerpts = [bytes(memoryview(data)[offset : offset + DIFFERENCE_EXCERPT_BYTES]) for data in (first, second)]
    before = bytes(memoryview(first)[max(0, offset - DIFFERENCE_BLOCK_BYTES) : offset])
    if _is_text(before) and all(map(_is_text, excerpts)):
        begin = before.rpartition(b"\n")[2][-DIFFERENCE_EXCERPT_BYTES:]
        lines = [(begin + excerpt).partition(b"\n")[0].decode(errors="replace") for excerpt in excerpts]
        number = bytes(memoryview(first)[:offset]).count(b"\n") + 1
        return FirstDifference(offset, f"line {number}", lines[0], lines[1])
    longer = first if offset < len(first) else second
    return FirstDifference(offset, place_of(longer, offset), excerpts[0].hex(" "), excerpts[1].hex(" "))


def _offset(first: memoryview, second: memoryview) -> int | None:
    shorter = min(len(first), len(second))
    for start in range(0, shorter, DIFFERENCE_BLOCK_BYTES):
        end = min(start + DIFFERENCE_BLOCK_BYTES, shorter)
        if first[start:end] != second[start:end]:
            return next(place for place in range(start, end) if first[place] != second[place])
    return shorter if len(first) != len(second) else None


def _is_text(data: bytes) -> bool:
    return not any(byte < 0x20 and byte not in b"\t\n\r\f" for byte in data)
