"""Programs that run the program named in their arguments: env, ccache, ``cmake -E env``, ``ctest --launch``, sh -c."""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from zbuild.inputs.compile_command import is_compiler

COMPILER_LAUNCHERS = frozenset({"ccache", "sccache", "distcc", "icecc", "buildcache", "fastbuild-fbuild"})

_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")

_VALUE_FLAGS = {
    "env": ("-u", "-C", "-S"),
    "nice": ("-n",),
    "timeout": ("-s", "-k"),
    "time": ("-f", "-o"),
    "stdbuf": ("-i", "-o", "-e"),
    "ionice": ("-c", "-n"),
    "nohup": (),
    "setsid": (),
    "command": (),
}
"""Launchers of coreutils and util-linux, with their flags whose value is the next word."""

_SHELLS = ("sh", "bash", "dash", "ksh", "zsh")


class Unwrapped(NamedTuple):
    """Attributes:
    argv: the program that does the work; empty when the launcher runs nothing.
    launchers: the programs on the way to it, which the action runs as well.
    dropped: compiler caches and distributors in front, which the action must not run: the farm does their work.
    script: the text of ``sh -c``; then ``argv`` is the shell.
    """

    argv: tuple[str, ...]
    launchers: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    script: str | None = None


def unwrap(argv: tuple[str, ...]) -> Unwrapped:
    launchers: list[str] = []
    dropped: list[str] = []
    while argv:
        program = os.path.basename(argv[0])
        if program in COMPILER_LAUNCHERS and _launches_compiler(argv):
            dropped.append(argv[0])
            argv = argv[1:]
        elif program in _VALUE_FLAGS and len(argv) > 1:
            launchers.append(argv[0])
            argv = _after_flags(argv, program)
        elif program == "cmake" and argv[1:3] in (("-E", "env"), ("-E", "time")):
            launchers.append(argv[0])
            argv = _after_flags(argv[2:], "env")
        elif program == "cmake" and argv[1:3] == ("-E", "__run_co_compile") and "--" in argv:
            launchers.append(argv[0])
            launchers += [word.partition("=")[2].split(";")[0] for word in argv if _is_co_compiler(word)]
            argv = argv[argv.index("--") + 1 :]
        elif is_ctest_launch(argv):
            launchers.append(argv[0])
            argv = argv[argv.index("--") + 1 :]
        elif program in _SHELLS and (script := _script_of(argv)) is not None:
            return Unwrapped(argv, tuple(launchers), tuple(dropped), script)
        else:
            break
    return Unwrapped(argv, tuple(launchers), tuple(dropped))


def is_ctest_launch(argv: tuple[str, ...]) -> bool:
    """What CTEST_USE_LAUNCHERS of CMake puts in front of each command; it only runs it, unless a dashboard asks."""
    return os.path.basename(argv[0]) == "ctest" and argv[1:2] == ("--launch",) and "--" in argv


def wrapped_compile(argv: tuple[str, ...]) -> int:
    """Where the compiler is that an unknown program, as a project's own script, is given to run; 0: nowhere.

    It is told from a tool that is given a compiler's name by its place: first, behind a script, or behind ``--``.
    """
    if is_compiler(argv[0]):
        return 0
    for position, word in enumerate(argv[1:], 1):
        if is_compiler(word):
            is_place = position == 1 or argv[position - 1] == "--" or (position == 2 and not argv[1].startswith("-"))
            return position if is_place and "-c" in argv[position:] else 0
    return 0


def _launches_compiler(argv: tuple[str, ...]) -> bool:
    behind = next((word for word in argv if os.path.basename(word) not in COMPILER_LAUNCHERS), "")
    return is_compiler(behind)


def _after_flags(argv: tuple[str, ...], program: str) -> tuple[str, ...]:
    position = 1
    while position < len(argv):
        word = argv[position]
        if word == "--":
            position += 1
            break
        if word in _VALUE_FLAGS[program]:
            position += 2
        elif word.startswith("-") or (program == "env" and _ASSIGNMENT.match(word)):
            position += 1
        else:
            break
    if program == "timeout":
        position += 1
    return argv[position:]


def _is_co_compiler(word: str) -> bool:
    return word.startswith(("--launcher=", "--tidy=", "--cppcheck=", "--cpplint=", "--iwyu=", "--lwyu="))


def _script_of(argv: tuple[str, ...]) -> str | None:
    for position, word in enumerate(argv[1:-1], 1):
        if word in ("-c", "-ec", "-euc", "-xc", "-cx", "-ce", "-exc"):
            return argv[position + 1]
        if not word.startswith("-"):
            return None
    return None
