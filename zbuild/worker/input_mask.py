"""Which inputs somebody has, in one kilobyte: good enough to prefer actions whose inputs need not travel.

One bit for each input, by the first bytes of its hash: a Bloom filter with one hash function. With 1,500 inputs
set, the files of some 100 compiles of one project, a sixth of all others look as if they were there, too.
"""

from __future__ import annotations

from collections.abc import Iterable

from zbuild.digest import Digest
from zbuild.errors import BadInput
from zbuild.limits import INPUT_MASK_BYTES
from zbuild.model.action import decode_action

_BITS = 8 * INPUT_MASK_BYTES


def mask_of(digests: Iterable[Digest]) -> int:
    """A bit for each of them."""
    mask = 0
    for digest in digests:
        mask |= 1 << int.from_bytes(digest.hash[:4], "big") % _BITS
    return mask


def mask_of_action(body: bytes) -> int:
    """The mask of an encoded action's inputs; 0 if it cannot be decoded, which whoever runs it will say."""
    try:
        return mask_of(spec.digest for spec in decode_action(body).inputs)
    except BadInput:
        return 0


def encode_mask(mask: int) -> bytes:
    return mask.to_bytes(INPUT_MASK_BYTES, "little")


def decode_mask(data: bytes) -> int:
    """The inverse; anything of another length says nothing."""
    return int.from_bytes(data, "little") if len(data) == INPUT_MASK_BYTES else 0


def absent(mask: int, present: int) -> int:
    """About how many inputs of ``mask`` are not in ``present``."""
    return (mask & ~present).bit_count()
