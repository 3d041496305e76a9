"""``zbuild-ninja``: ``zbuild build`` under a name that CMake, Meson and others can be given as their ninja."""

from __future__ import annotations

import os
import re
import sys

from zbuild.cli.real_ninja import find_ninja, run_ninja

_PROBE = re.compile(r"/CMakeFiles/(?:CMakeTmp|CMakeScratch|_CMakeLTOTest-\w+)(?:/|\Z)")


def main(arguments: list[str] | None = None) -> int:
    """What CMake tries while it configures, one tiny compile at a time, is done by the ninja that is installed."""
    given = sys.argv[1:] if arguments is None else arguments
    directory = given[given.index("-C") + 1] if "-C" in given[:-1] else "."
    if _PROBE.search(os.path.abspath(directory)) and find_ninja() is not None:
        run_ninja(given, "a probe")
    from zbuild.cli.build import main as build

    return build(given)


if __name__ == "__main__":
    sys.exit(main())
