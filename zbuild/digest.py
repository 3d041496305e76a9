"""The digest of a blob: its BLAKE3 hash and its size.

The pair is the Remote Execution API's ``Digest``. The size travels with the hash
so that a receiver knows how many chunks to ask for before the first byte arrives.
"""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from blake3 import blake3

from zbuild.errors import BadInput

HASH_BYTES = 32
"""BLAKE3's default output length: https://github.com/BLAKE3-team/BLAKE3-specs, section 2.6."""

READ_BYTES = 1 << 20
"""One read per MiB: BLAKE3 reaches full speed from 128 KiB up, larger gains nothing."""

_TEXT = re.compile(r"([0-9a-f]{64})/([0-9]{1,16})")


class Digest(NamedTuple):
    """``hash``: 32 bytes of BLAKE3; ``size_bytes``: the length of the blob."""

    hash: bytes
    size_bytes: int

    def __str__(self) -> str:
        return f"{self.hash.hex()}/{self.size_bytes}"

    @property
    def short(self) -> str:
        """The first 4 bytes of the hash and the size, for messages: ``9f2c01aa.../1204``."""
        return f"{self.hash[:4].hex()}.../{self.size_bytes}"


EMPTY = Digest(blake3(b"").digest(), 0)


def of_bytes(data: bytes | bytearray | memoryview) -> Digest:
    return Digest(blake3(data).digest(), len(data))


def of_file(path: str | os.PathLike[str]) -> Digest:
    """Hash one file by streaming it.

    Raises:
        OSError: the file cannot be opened or read.
    """
    hasher = blake3()
    size_bytes = 0
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        while data := os.read(descriptor, READ_BYTES):
            hasher.update(data)
            size_bytes += len(data)
    finally:
        os.close(descriptor)
    return Digest(hasher.digest(), size_bytes)


def parse(text: str) -> Digest:
    """The inverse of ``str(digest)``.

    Raises:
        BadInput: the text is not ``<64 hex digits>/<size>``.
    """
    match = _TEXT.fullmatch(text)
    if match is None:
        raise BadInput(f"not a digest: {text[:100]!r} (expected 64 hex digits, a slash, a size)")
    return Digest(bytes.fromhex(match[1]), int(match[2]))
