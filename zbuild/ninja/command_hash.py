"""The two hashes that build logs have identified commands by.

MurmurHash64A up to log version 6 (``src/build_log.cc`` of ninja 1.11), rapidhash v1 since version 7
(``src/third_party/rapidhash`` of ninja 1.13, with its default seed and secret).
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Sequence

_MASK = (1 << 64) - 1
_WORD_BYTES = 8
_LANE_BITS = 128
"""Two words: as much as the product of two words needs."""

_MURMUR_MULTIPLIER = 0xC6A4A7935BD1E995
_MURMUR_SHIFT = 47
_MURMUR_SEED = 0xDECAFBADDECAFBAD

_RAPID_SEED = 0xBDD89AA982704029
_RAPID_SECRET = (0x2D358DCCAA6C78A5, 0x8BB84B93962EACC9, 0x4B33A62ED433D4A3)

FIRST_RAPIDHASH_VERSION = 7


def command_hash(command: str, log_version: int) -> int:
    """The 64-bit hash under which a log of that version knows the command."""
    data = command.encode("utf-8", "surrogateescape")
    return rapidhash(data) if log_version >= FIRST_RAPIDHASH_VERSION else murmurhash64a(data)


def command_hashes(commands: Sequence[str], log_version: int) -> list[int]:
    """``command_hash`` of each; much faster than one by one if they are of similar length."""
    datas = [command.encode("utf-8", "surrogateescape") for command in commands]
    if log_version >= FIRST_RAPIDHASH_VERSION:
        return list(map(rapidhash, datas))
    return murmurhash64a_all(datas)


def murmurhash64a_all(datas: Sequence[bytes]) -> list[int]:
    """``murmurhash64a`` of each, all at once: each has a lane of 128 bits in a few huge integers.

    From 64 texts up, a text of 1 KB takes a quarter of the time that it takes alone, since one operation
    of the interpreter serves all lanes. The longest text has the lowest lane, so that those that are
    through fall off at the top.
    """
    order = sorted(range(len(datas)), key=lambda index: -len(datas[index]))
    counts = [len(datas[index]) // _WORD_BYTES for index in order]
    row_words = counts[0] if counts else 0
    row_bytes = row_words * _WORD_BYTES
    words = array("Q", b"".join([datas[index][:row_bytes].ljust(row_bytes, b"\0") for index in order]))
    hashed = 0
    for lane, index in enumerate(order):
        hashed |= (_MURMUR_SEED ^ (len(datas[index]) * _MURMUR_MULTIPLIER & _MASK)) << lane * _LANE_BITS
    results = [0] * len(datas)
    lanes = len(order)
    mask = _lane_mask(lanes)
    for column in range(row_words + 1):
        if lanes and counts[lanes - 1] == column:
            while lanes and counts[lanes - 1] == column:
                lanes -= 1
                index = order[lanes]
                results[index] = _murmur_end(hashed >> lanes * _LANE_BITS & _MASK, datas[index])
            mask = _lane_mask(lanes)
            hashed &= mask
        if not lanes:
            break
        spread = array("Q", bytes(2 * _WORD_BYTES * lanes))
        spread[::2] = words[column : lanes * row_words : row_words]
        mixed = int.from_bytes(spread.tobytes(), "little") * _MURMUR_MULTIPLIER & mask
        mixed = (mixed ^ (mixed >> _MURMUR_SHIFT & mask)) * _MURMUR_MULTIPLIER & mask
        hashed = (hashed ^ mixed) * _MURMUR_MULTIPLIER & mask
    return results


def _lane_mask(lanes: int) -> int:
    """The lower word of each lane."""
    return int.from_bytes((b"\xff" * _WORD_BYTES + bytes(_WORD_BYTES)) * lanes, "little")


def murmurhash64a(data: bytes) -> int:
    """Austin Appleby's 64-bit MurmurHash2 for 64-bit machines, with ninja's seed."""
    size = len(data)
    multiplier = _MURMUR_MULTIPLIER
    hashed = _MURMUR_SEED ^ (size * multiplier & _MASK)
    whole = size // 8
    for word in struct.unpack_from(f"<{whole}Q", data):
        mixed = word * multiplier & _MASK
        hashed = (hashed ^ ((mixed ^ (mixed >> _MURMUR_SHIFT)) * multiplier & _MASK)) * multiplier & _MASK
    return _murmur_end(hashed, data)


def _murmur_end(hashed: int, data: bytes) -> int:
    """Add the bytes after the last whole word, and stir once more."""
    rest = len(data) % _WORD_BYTES
    if rest:
        hashed = (hashed ^ int.from_bytes(data[-rest:], "little")) * _MURMUR_MULTIPLIER & _MASK
    hashed = (hashed ^ (hashed >> _MURMUR_SHIFT)) * _MURMUR_MULTIPLIER & _MASK
    return hashed ^ (hashed >> _MURMUR_SHIFT)


def rapidhash(data: bytes) -> int:
    """Nicolas De Carli's rapidhash, first version."""
    size = len(data)
    first, second, third = _RAPID_SECRET
    seed = _RAPID_SEED ^ _mix(_RAPID_SEED ^ first, second) ^ size
    if size <= 16:
        low, high = _rapid_ends(data)
    else:
        words = struct.unpack_from(f"<{size // 8}Q", data)
        rest = size
        index = 0
        if size > 48:
            seed_1 = seed_2 = seed
            while rest >= 48:
                product = (words[index] ^ first) * (words[index + 1] ^ seed)
                seed = (product & _MASK) ^ (product >> 64)
                product = (words[index + 2] ^ second) * (words[index + 3] ^ seed_1)
                seed_1 = (product & _MASK) ^ (product >> 64)
                product = (words[index + 4] ^ third) * (words[index + 5] ^ seed_2)
                seed_2 = (product & _MASK) ^ (product >> 64)
                index += 6
                rest -= 48
            seed ^= seed_1 ^ seed_2
        if rest > 16:
            seed = _mix(words[index] ^ third, words[index + 1] ^ seed ^ second)
            if rest > 32:
                seed = _mix(words[index + 2] ^ third, words[index + 3] ^ seed)
        low, high = struct.unpack_from("<2Q", data, size - 16)
    product = (low ^ second) * (high ^ seed)
    return _mix((product & _MASK) ^ first ^ size, (product >> 64) ^ second)


def _mix(left: int, right: int) -> int:
    product = left * right
    return (product & _MASK) ^ (product >> 64)


def _rapid_ends(data: bytes) -> tuple[int, int]:
    """The two words that stand for up to 16 bytes."""
    size = len(data)
    if size >= 4:
        delta = (size & 24) >> (size >> 3)
        last = size - 4
        return (
            _word32(data, 0) << 32 | _word32(data, last),
            _word32(data, delta) << 32 | _word32(data, last - delta),
        )
    if size:
        return data[0] << 56 | data[size >> 1] << 32 | data[size - 1], 0
    return 0, 0


def _word32(data: bytes, offset: int) -> int:
    return int.from_bytes(data[offset : offset + 4], "little")
