"""Questions put to a gcc or clang driver by running it: what it searches, what it runs, what ``native`` means.

A build of known tools asks none, so what only the asking needs is imported then.
"""

from __future__ import annotations

import itertools
import os
import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

from zbuild import limits

STANDARD_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""PATH of every action and every probe: what Debian gives root."""

PROBE_ENVIRONMENT = {"PATH": STANDARD_PATH, "LC_ALL": "C", "CCACHE_DISABLE": "1"}

Run = Callable[[Sequence[str]], tuple[int, str, str]]
"""Runs argv with PROBE_ENVIRONMENT; returns (exit code, stdout, stderr); 127: it could not be started."""

_INCLUDE_BLOCK = re.compile(
    r"#include \"\.\.\.\" search starts here:\n(.*?)^End of search list", re.DOTALL | re.MULTILINE
)
_IGNORED = re.compile(r"^ignoring nonexistent directory \"([^\"]+)\"", re.MULTILINE)

STARTUP_FILES = ("crt1.o", "Scrt1.o", "rcrt1.o", "gcrt1.o", "crti.o", "crtn.o", "specs")
IMPLICIT_LIBRARIES = (
    *(
        "libc.so",
        "libc.so.6",
        "libc.a",
        "libc_nonshared.a",
        "libm.so",
        "libm.so.6",
        "libm.a",
        "libmvec.so.1",
        "libmvec.a",
    ),
    *(
        "libpthread.a",
        "libpthread.so.0",
        "libdl.a",
        "librt.a",
        "libgcc_s.so.1",
        "libstdc++.so.6",
        "ld-linux-x86-64.so.2",
    ),
    *("ld-linux-aarch64.so.1", "libm-2.36.a"),
)
"""What the driver links without being asked, or what the linker scripts of those name."""

PROGRAMS = ("as", "ld", "collect2", "cc1", "cc1plus", "lto1", "lto-wrapper", "objcopy", "dwp")


class SearchDirectories(NamedTuple):
    """``include``: in order, after the user's. ``absent``: include directories it would search if they existed."""

    include: tuple[str, ...]
    absent: tuple[str, ...]
    library: tuple[str, ...]


def run_program(argv: Sequence[str]) -> tuple[int, str, str]:
    """The default ``Run``. The standard library starts programs with vfork, which is safe beside other threads."""
    import subprocess

    try:
        completed = subprocess.run(
            argv,
            env=PROBE_ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=limits.PROBE_TIMEOUT_S,
            check=False,
            cwd="/",
        )
    except (OSError, subprocess.TimeoutExpired) as problem:
        return 127, "", str(problem)
    return completed.returncode, os.fsdecode(completed.stdout), os.fsdecode(completed.stderr)


def search_directories(run: Run, compiler: str, language: str, flags: Sequence[str]) -> SearchDirectories | None:
    """``language``: a value of ``-x``. None: the driver does not answer, as when it has no such language."""
    code, _, text = run([compiler, *flags, "-E", "-v", "-x", language, "/dev/null"])
    block = _INCLUDE_BLOCK.search(text)
    if code != 0 or block is None:
        return None
    lines = [line[1:] for line in block[1].splitlines() if line.startswith(" ")]
    include = [os.path.normpath(line.removesuffix(" (framework directory)")) for line in lines]
    absent = [os.path.normpath(path) for path in _IGNORED.findall(text)]
    return SearchDirectories(
        tuple(include), tuple(absent), tuple(_listed_directories(run, compiler, flags, "libraries"))
    )


def install_directories(run: Run, compiler: str) -> list[str]:
    """Where the driver's own programs, headers and start files lie."""
    found = []
    for question in ("-print-libgcc-file-name", "-print-resource-dir"):
        code, text, _ = run([compiler, question])
        path = text.strip()
        if code == 0 and path.startswith("/") and os.path.exists(path):
            found.append(os.path.realpath(path if os.path.isdir(path) else os.path.dirname(path)))
    return found


def programs(run: Run, compiler: str) -> list[str]:
    """The programs that the driver starts, absolute, symbolic links kept."""
    import shutil

    found = []
    for name in PROGRAMS:
        code, text, _ = run([compiler, f"-print-prog-name={name}"])
        path = text.strip() if code == 0 else ""
        located = path if path.startswith("/") else shutil.which(path, path=STANDARD_PATH) if path else None
        if located is not None and os.path.isfile(located):
            found.append(os.path.normpath(located))
    return found


def startup_files(run: Run, compiler: str) -> list[str]:
    """Start files and the libraries linked without being asked for, as far as they exist."""
    found = []
    for name in (*STARTUP_FILES, *IMPLICIT_LIBRARIES):
        code, text, _ = run([compiler, f"-print-file-name={name}"])
        path = os.path.normpath(text.strip())
        if code == 0 and path.startswith("/") and os.path.isfile(path):
            found.append(path)
    return found


def native_flags(run: Run, compiler: str, flags: Sequence[str]) -> list[str] | None:
    """The explicit flags that ``flags`` (``-march=native`` and the like) stand for on this machine.

    gcc's driver replaces them when it starts cc1, so they are what ``-###`` shows more of than without them.
    """
    with_native = _compiler_words(run, compiler, flags)
    without = _compiler_words(run, compiler, ())
    if with_native is None or without is None:
        return None
    added = list((Counter(with_native) - Counter(without)).elements())
    if "-target-cpu" in with_native:
        return _clang_flags(with_native)
    kept = [word for word in added if word.startswith(("-m", "--param"))]
    return kept if kept and not any(word.endswith("=native") for word in kept) else None


def _compiler_words(run: Run, compiler: str, flags: Sequence[str]) -> list[str] | None:
    code, _, text = run([compiler, *flags, "-###", "-c", "-x", "c", "/dev/null", "-o", "/dev/null"])
    lines = [line for line in text.splitlines() if "cc1" in line]
    if code != 0 or not lines:
        return None
    import shlex

    words = shlex.split(lines[0])
    joined: list[str] = []
    for word in words:
        if joined and joined[-1] == "--param":
            joined[-1] = f"--param={word}"
        else:
            joined.append(word)
    return joined


def _clang_flags(words: list[str]) -> list[str]:
    pairs = list(itertools.pairwise(words))
    cpu = [f"-march={value}" for flag, value in pairs if flag == "-target-cpu"]
    features = [value for flag, value in pairs if flag == "-target-feature"]
    return cpu + [part for value in features for part in ("-Xclang", "-target-feature", "-Xclang", value)]


def _listed_directories(run: Run, compiler: str, flags: Sequence[str], what: str) -> list[str]:
    code, text, _ = run([compiler, *flags, "-print-search-dirs"])
    lines = [line for line in text.splitlines() if line.startswith(f"{what}: =")]
    if code != 0 or not lines:
        return []
    spelled = lines[0].partition("=")[2].split(":")
    found = dict.fromkeys(os.path.realpath(path) for path in spelled if path.startswith("/") and os.path.isdir(path))
    return list(found)
