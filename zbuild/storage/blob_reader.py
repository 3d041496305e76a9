"""The reading half of the blob channel's serving side: what FindMissing and Get are answered with.

It holds no socket. The farm's store serves from it beside its uploads; a worker serves its peers from nothing else.
"""

from __future__ import annotations

from collections import Counter
from typing import Protocol

from zbuild.digest import Digest
from zbuild.errors import ProtocolError, ZbuildError
from zbuild.limits import BLOB_CHUNK_BYTES
from zbuild.protocol.blob_messages import BlobFailure, BlobPart, FindMissing, FromStore, Get, Missing, Parts, ToStore


class ReadableBlobs(Protocol):
    """The blobs on disk. Each method raises a ZbuildError that names the blob."""

    def contains(self, digest: Digest) -> bool: ...

    def read(self, digest: Digest, offset: int, length: int) -> bytes: ...


class BlobReader:
    """Answers the requests that change nothing, one reply each.

    Args:
        counters: where ``bytes_sent``, ``gets_failed`` and ``looks_failed`` are counted.
    """

    def __init__(self, blobs: ReadableBlobs, counters: Counter[str]) -> None:
        self._blobs = blobs
        self._counters = counters

    def answer(self, message: ToStore) -> tuple[FromStore, list[bytes]]:
        """The reply to one decoded request, with its data frames.

        Raises:
            ProtocolError: the request asks for more than one reply can carry, or is a Put.
        """
        match message:
            case FindMissing():
                return self._find_missing(message), []
            case Get():
                return self._get(message)
        raise ProtocolError(f"{type(message).__name__} of {len(message.parts)} parts to one who only serves")

    def _find_missing(self, message: FindMissing) -> Missing:
        return Missing(message.request, tuple(d for d in message.digests if not self._is_present(d)))

    def _is_present(self, digest: Digest) -> bool:
        """A blob that the disk cannot even look for is asked for again: storing it then says what is wrong."""
        try:
            return self._blobs.contains(digest)
        except ZbuildError:
            self._counters["looks_failed"] += 1
            return False

    def _get(self, message: Get) -> tuple[Parts, list[bytes]]:
        if sum(part.length for part in message.parts) > BLOB_CHUNK_BYTES:
            raise ProtocolError(f"a Get of more than {BLOB_CHUNK_BYTES} B")
        parts: list[BlobPart] = []
        frames: list[bytes] = []
        failures: dict[Digest, BlobFailure] = {}
        for part in message.parts:
            if part.digest in failures:
                continue
            try:
                chunk = self._blobs.read(part.digest, part.offset, part.length)
            except ZbuildError as error:
                self._counters["gets_failed"] += 1
                failures[part.digest] = BlobFailure(part.digest, error.code, str(error))
                continue
            parts.append(part)
            frames.append(chunk)
            self._counters["bytes_sent"] += len(chunk)
        return Parts(message.request, tuple(parts), tuple(failures.values())), frames
