"""Numbers that nobody can guess."""

from __future__ import annotations

import os


def random_number() -> int:
    """63 random bits, for what must not occur twice. Importing ``secrets`` for them takes 3 to 5 ms."""
    return int.from_bytes(os.urandom(8)) >> 1
