"""One msgpack file that holds what can be computed again: replaced atomically, and empty when it is damaged."""

from __future__ import annotations

import contextlib
import os
from typing import Any

import msgpack
from blake3 import blake3

CHECKSUM_BYTES = 16
"""Half of a BLAKE3 hash: against damage, not against an attacker, who could replace the whole file."""


def read(path: str, format_name: str) -> Any:
    """The value that ``write`` stored, or None: no such file, another format, or a file that is damaged."""
    try:
        with open(path, "rb") as stream:
            data = stream.read()
    except OSError:
        return None
    header = format_name.encode() + b"\n"
    body = memoryview(data)[len(header) + CHECKSUM_BYTES :]
    if not data.startswith(header) or data[len(header) : len(header) + CHECKSUM_BYTES] != _checksum(body):
        return None
    try:
        return msgpack.unpackb(body, use_list=False, strict_map_key=False, unicode_errors="surrogateescape")
    except (ValueError, msgpack.UnpackException):
        return None


def write(path: str, format_name: str, value: Any) -> None:
    """Replace the file.

    Raises:
        OSError: the directory cannot be made, or the disk refuses; it names the file.
    """
    body = msgpack.packb(value, unicode_errors="surrogateescape")
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    temporary = f"{path}.{os.getpid()}.tmp"
    try:
        with open(temporary, "wb") as stream:
            stream.write(format_name.encode() + b"\n" + _checksum(body))
            stream.write(body)
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise OSError(error.errno, error.strerror, path) from error


def _checksum(body: bytes | memoryview) -> bytes:
    return blake3(body).digest(CHECKSUM_BYTES)
