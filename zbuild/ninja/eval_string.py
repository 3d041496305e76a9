"""Text with variable references in it, as parsed from a manifest and expanded later.

An ``EvalString`` alternates literal text and variable names and starts and ends with text:
``-c $in -o $out`` is ``("-c ", "in", " -o ", "out", "")``. A plain text is a tuple of one.
"""

from __future__ import annotations

from collections.abc import Callable

from zbuild import limits
from zbuild.errors import ManifestError

EvalString = tuple[str, ...]

EMPTY: EvalString = ("",)


def evaluate(parts: EvalString, lookup: Callable[[str], str]) -> str:
    """Replace every variable by what ``lookup`` returns for its name.

    Raises:
        ManifestError: the result is longer than ``limits.NINJA_TEXT_CHARS``.
    """
    if len(parts) == 1:
        return parts[0]
    values = list(parts)
    for index in range(1, len(values), 2):
        values[index] = lookup(values[index])
    return joined(values)


def joined(values: list[str]) -> str:
    """Concatenate, but refuse a text that only repeated self-reference can have made so long."""
    if sum(map(len, values)) > limits.NINJA_TEXT_CHARS:
        raise ManifestError(f"a variable expands to more than {limits.NINJA_TEXT_CHARS} characters")
    return "".join(values)
