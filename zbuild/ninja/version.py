"""ninja's version numbers, and what follows from them."""

from __future__ import annotations

import re
from collections.abc import Callable

from zbuild.errors import ManifestError

COMPATIBLE_VERSION = "1.13.0"
"""The ninja whose rules this package follows; ``ninja_required_version`` is compared with it."""

_LEADING_INTEGER = re.compile(r"\s*[+-]?[0-9]{1,9}")


def parse_version(version: str) -> tuple[int, int]:
    """(major, minor); what is not a number counts as 0, as in ninja's ``ParseVersion``."""
    major, _, rest = version.partition(".")
    return _integer(major), _integer(rest.partition(".")[0])


def check_required_version(required: str, warn: Callable[[str], None]) -> None:
    """Judge a manifest's ``ninja_required_version``.

    Raises:
        ManifestError: the manifest needs a newer ninja.
    """
    ours, needed = parse_version(COMPATIBLE_VERSION), parse_version(required)
    if ours[0] > needed[0]:
        warn(
            f"ninja executable version ({COMPATIBLE_VERSION}) greater than build file "
            f"ninja_required_version ({required}); versions may be incompatible."
        )
    elif ours < needed:
        raise ManifestError(
            f"ninja version ({COMPATIBLE_VERSION}) incompatible with build file "
            f"ninja_required_version version ({required})."
        )


def build_log_version(ninja_version: str) -> int:
    """The version of ``.ninja_log`` that a ninja writes, from what ``ninja --version`` prints.

    5 up to 1.11, 6 in 1.12 (https://github.com/ninja-build/ninja/pull/2240), 7 since 1.13, which
    hashes commands differently (https://github.com/ninja-build/ninja/pull/2519).
    """
    version = parse_version(ninja_version)
    if version >= (1, 13):
        return 7
    return 6 if version == (1, 12) else 5


def _integer(text: str) -> int:
    match = _LEADING_INTEGER.match(text)
    return int(match[0]) if match else 0
