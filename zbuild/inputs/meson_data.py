"""The ``*.dat`` files that Meson's generated commands read: pickles, taken apart here without ever being loaded.

``pickletools`` only tokenises; nothing is imported or called. The strings in them are command lines and paths,
so they are mapped as the command line itself is. Format: PEP 3154, opcodes of Python's ``pickletools``.
"""

from __future__ import annotations

import pickletools
import struct
from collections.abc import Callable

_SHORT, _LONG = "SHORT_BINUNICODE", "BINUNICODE"


def strings_in(data: bytes) -> list[str] | None:
    """All strings of a pickle. None: not a well-formed pickle."""
    try:
        return [argument for _, argument, _ in pickletools.genops(data) if isinstance(argument, str)]
    except (ValueError, IndexError, UnicodeError):
        return None


def mapped(data: bytes, respell: Callable[[str], str]) -> bytes | None:
    """The same pickle with ``respell`` applied to its strings. None: not a well-formed pickle.

    Frames are left out: they only help a reader to buffer. Memo indices count objects, so they stay right.
    """
    pieces: list[bytes] = []
    start = 0
    pending: str | None = None
    try:
        for opcode, argument, position in pickletools.genops(data):
            assert position is not None
            if pending is not None:
                pieces.append(_encoded(pending, respell, data[start:position]))
            elif start < position:
                pieces.append(b"" if data[start : start + 1] == b"\x95" else data[start:position])
            start = position
            is_text = opcode.name in (_SHORT, _LONG) and isinstance(argument, str)
            pending = argument if is_text else None
    except (ValueError, IndexError, UnicodeError):
        return None
    return b"".join([*pieces, data[start:]])


def _encoded(text: str, respell: Callable[[str], str], original: bytes) -> bytes:
    new = respell(text)
    if new == text:
        return original
    body = new.encode("utf-8", "surrogatepass")
    if len(body) < 256:
        return b"\x8c" + bytes([len(body)]) + body
    return b"X" + struct.pack("<I", len(body)) + body
