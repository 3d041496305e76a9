"""What of the user's environment an action sees.

ninja passes everything on; an action that saw everything would have another key for every user and every
terminal. So it is an allow-list: variables that change what compilers and generators make, reduced to what exists for
the action.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from zbuild.inputs.compiler_probe import STANDARD_PATH
from zbuild.inputs.paths import absolute
from zbuild.inputs.roots import Roots

PASSED = ("SOURCE_DATE_EPOCH", "ZERO_AR_DATE")
"""Dates that tools write into outputs. A project's own date goes before the sandbox's."""

PATH_LISTS = ("CPATH", "C_INCLUDE_PATH", "CPLUS_INCLUDE_PATH", "OBJC_INCLUDE_PATH", "LIBRARY_PATH")
"""Directories that gcc and clang search besides the flags': GCC 12 manual, 3.21."""

REDUCED_PATH_LISTS = ("LD_LIBRARY_PATH", "PYTHONPATH", "PERL5LIB")
"""Directories for programs of the build; those outside the project and the system do not exist for an action."""

GAMES = ("/usr/games", "/usr/local/games")
"""Debian puts them into some users' PATH; no build takes a tool from there."""

FIXED = {"LC_ALL": "C.UTF-8", "PERL_HASH_SEED": "0", "PYTHONHASHSEED": "0"}
"""The language of messages and the order of sorting, and the order of Perl's hashes and Python's sets: the same for
everybody. Perl does not perturb the order any further with this seed: perlrun(1), PERL_PERTURB_KEYS."""


def action_environment(environment: Mapping[str, str], roots: Roots) -> dict[str, str]:
    """name -> value, in the user's spelling."""
    result = dict(FIXED)
    result["PATH"] = ":".join(program_directories(environment, roots))
    for name in PASSED:
        if name in environment:
            result[name] = environment[name]
    for name in (*PATH_LISTS, *REDUCED_PATH_LISTS):
        directories = path_list(environment, name, roots)
        if directories:
            result[name] = ":".join(directories)
    return result


def canonical_environment(environment: Mapping[str, str], roots: Roots) -> dict[str, str]:
    """The same with the paths of the sandbox."""
    return {name: ":".join(map(roots.to_canonical, value.split(":"))) for name, value in environment.items()}


def program_directories(environment: Mapping[str, str], roots: Roots) -> list[str]:
    """Those of PATH that belong to the system or the project, in its order.

    The standard ones are always all there, as one block: root and other users differ in them without meaning to.
    """
    standard = STANDARD_PATH.split(":")
    before: dict[str, None] = {}
    after: dict[str, None] = {}
    for spelled in environment.get("PATH", "").split(":"):
        path = absolute(spelled, "/") if spelled.startswith("/") else ""
        if path in standard:
            after.setdefault(standard[0], None)
        elif path and path not in GAMES and os.path.isdir(path) and (roots.is_inside(path) or roots.is_system(path)):
            (after if after else before)[path] = None
    return [*before, *standard, *(path for path in after if path not in standard)]


def path_list(environment: Mapping[str, str], name: str, roots: Roots) -> list[str]:
    """The directories of one variable; for those that gcc reads, an empty one is the working directory."""
    value = environment.get(name)
    if not value:
        return []
    directories = [absolute(path or ".", roots.build_dir) for path in value.split(":") if path or name in PATH_LISTS]
    return [path for path in directories if name in PATH_LISTS or roots.is_inside(path) or roots.is_system(path)]
