"""Every message of the blob channel. All are requests to the store, or its replies.

A message is a header frame, then one frame of raw bytes per part where the type says so: bytes of
a blob are never copied into a msgpack object. Parts of one blob travel in order and one peer's
requests are answered in order, so a receiver only ever appends.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import TypeVar

import msgspec

from zbuild.digest import HASH_BYTES, Digest
from zbuild.errors import ProtocolError
from zbuild.limits import BLOB_MESSAGE_BYTES, BLOB_MESSAGE_PARTS, FIND_MISSING_DIGESTS
from zbuild.model.action import UNDECODABLE


class BlobMessageType(enum.IntEnum):
    """The first element of every header."""

    FIND_MISSING = 0
    MISSING = 1
    PUT = 2
    STORED = 3
    GET = 4
    PARTS = 5


class BlobPart(msgspec.Struct, frozen=True, array_like=True):
    """``length`` bytes of a blob from ``offset``."""

    digest: Digest
    offset: int
    length: int


class BlobFailure(msgspec.Struct, frozen=True, array_like=True):
    """A blob that could not be stored or read; ``code`` is the wire code of an error class."""

    digest: Digest
    code: int
    message: str


class FindMissing(msgspec.Struct, frozen=True, array_like=True, tag=int(BlobMessageType.FIND_MISSING)):
    """peer -> store: which of these do you not have? Losing it costs the transfer time-out."""

    request: int
    digests: tuple[Digest, ...]


class Missing(msgspec.Struct, frozen=True, array_like=True, tag=int(BlobMessageType.MISSING)):
    """store -> peer, in answer to FindMissing."""

    request: int
    digests: tuple[Digest, ...]


class Put(msgspec.Struct, frozen=True, array_like=True, tag=int(BlobMessageType.PUT)):
    """peer -> store, with a data frame per part. Losing it costs the transfer time-out."""

    request: int
    parts: tuple[BlobPart, ...]


class Stored(msgspec.Struct, frozen=True, array_like=True, tag=int(BlobMessageType.STORED)):
    """store -> peer, in answer to Put: all blobs whose last part it carried are stored, but for ``failures``."""

    request: int
    failures: tuple[BlobFailure, ...]


class Get(msgspec.Struct, frozen=True, array_like=True, tag=int(BlobMessageType.GET)):
    """peer -> store: send these parts. Losing it costs the transfer time-out."""

    request: int
    parts: tuple[BlobPart, ...]


class Parts(msgspec.Struct, frozen=True, array_like=True, tag=int(BlobMessageType.PARTS)):
    """store -> peer, in answer to Get, with a data frame per part that is not in ``failures``."""

    request: int
    parts: tuple[BlobPart, ...]
    failures: tuple[BlobFailure, ...]


ToStore = FindMissing | Put | Get
FromStore = Missing | Stored | Parts

_M = TypeVar("_M")

_encode = msgspec.msgpack.Encoder().encode
_decode_to_store = msgspec.msgpack.Decoder(ToStore).decode
_decode_from_store = msgspec.msgpack.Decoder(FromStore).decode


def encode_header(message: ToStore | FromStore) -> bytes:
    return _encode(message)


def decode_to_store(frames: list[bytes]) -> tuple[ToStore, list[bytes]]:
    """A request and its data frames, one per part of a Put.

    Raises:
        ProtocolError: no such message, or data that does not fit its parts.
    """
    message = _decode(frames, _decode_to_store)
    if isinstance(message, FindMissing):
        _check_digests(message.digests)
    else:
        _check_parts(message.parts)
    _check_data(frames, message.parts if isinstance(message, Put) else ())
    return message, frames[1:]


def decode_from_store(frames: list[bytes]) -> tuple[FromStore, list[bytes]]:
    """A reply and its data frames, one per part of a Parts.

    Raises:
        ProtocolError: no such message, or data that does not fit its parts.
    """
    message = _decode(frames, _decode_from_store)
    if isinstance(message, Missing):
        _check_digests(message.digests)
    elif isinstance(message, Parts):
        _check_parts(message.parts)
    _check_data(frames, message.parts if isinstance(message, Parts) else ())
    return message, frames[1:]


def _decode(frames: list[bytes], decode: Callable[[bytes], _M]) -> _M:
    if not frames or len(frames) > 1 + BLOB_MESSAGE_PARTS or len(frames[0]) > BLOB_MESSAGE_BYTES:
        raise ProtocolError(f"a blob message of {len(frames)} frames: expected 1 to {1 + BLOB_MESSAGE_PARTS}")
    try:
        return decode(frames[0])
    except UNDECODABLE as error:
        raise ProtocolError(f"a blob message cannot be decoded: {error}") from error


def _check_digests(digests: tuple[Digest, ...]) -> None:
    if len(digests) > FIND_MISSING_DIGESTS:
        raise ProtocolError(f"a question of {len(digests)} digests, expected at most {FIND_MISSING_DIGESTS}")
    for digest in digests:
        _check_digest(digest)


def _check_parts(parts: tuple[BlobPart, ...]) -> None:
    if len(parts) > BLOB_MESSAGE_PARTS:
        raise ProtocolError(f"a blob message of {len(parts)} parts, expected at most {BLOB_MESSAGE_PARTS}")
    for part in parts:
        _check_digest(part.digest)
        if part.offset < 0 or part.length < 0 or part.offset + part.length > part.digest.size_bytes:
            raise ProtocolError(f"a part of {part.digest.short} does not fit: {part.offset}+{part.length} B")


def _check_digest(digest: Digest) -> None:
    if len(digest.hash) != HASH_BYTES or digest.size_bytes < 0:
        raise ProtocolError(
            f"not a digest: {len(digest.hash)} B of hash, expected {HASH_BYTES}, size {digest.size_bytes}"
        )


def _check_data(frames: list[bytes], parts: tuple[BlobPart, ...]) -> None:
    if len(frames) - 1 != len(parts):
        raise ProtocolError(f"a blob message with {len(parts)} parts and {len(frames) - 1} data frames")
    for part, data in zip(parts, frames[1:], strict=True):
        if len(data) != part.length:
            raise ProtocolError(f"a part of {part.digest.short} of {part.length} B came with {len(data)} B")
