"""Where the sources of a build directory are."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable

from zbuild.inputs.paths import absolute, is_below, is_system

VERSION_CONTROL_MARKERS = (".git", ".hg", ".svn", ".bzr", ".jj", "_darcs", ".fslckout")

MANIFEST_HEAD_BYTES = 64 * 1024
"""GN writes its own command line, with ``--root=``, in the first rule of build.ninja."""

SHARED_DIRECTORIES = frozenset({"/var/tmp", "/var/lib", "/var/cache", "/home/linuxbrew", "/run/user"})
"""Directories of two components that hold the things of many owners; all of one component do."""

_CMAKE_HOME = re.compile(r"^CMAKE_HOME_DIRECTORY:INTERNAL=(.+)$", re.MULTILINE)
_GN_ROOT = re.compile(r"--root=(?:\"([^\"\n]+)\"|((?:\$ |[^\s$])+))")


def find_source_root(build_dir: str, leaf_inputs: Iterable[str]) -> str:
    """The directory below which the sources of ``build_dir`` lie.

    What the generator recorded wins (CMakeCache.txt, meson-info.json, GN's ``--root=``); it is widened to the
    common ancestor with sources outside it, as projects whose CMakeLists.txt is in ``build/cmake`` need. Without
    a record it is the checkout around the build directory, else the common ancestor of the sources.
    ``leaf_inputs``: the inputs that no edge makes, relative to ``build_dir`` or absolute. A directory shared by many
    owners (``/``, ``/tmp``, the home directory) is never guessed; then the answer is the build directory itself.
    """
    build_dir = os.path.abspath(build_dir)
    directories = {os.path.dirname(absolute(path, build_dir)) for path in leaf_inputs}
    directories = {path for path in directories if not is_system(path) and not is_below(path, build_dir)}
    recorded = _recorded_root(build_dir)
    if recorded is not None:
        return _widened(recorded, directories)
    checkout = _checkout_around(build_dir)
    if checkout is not None:
        return _widened(checkout, directories)
    for group in ([*directories, build_dir], list(directories)):
        ancestor = os.path.commonpath(group) if group else "/"
        if not _is_shared(ancestor):
            return _checkout_around(ancestor) or ancestor
    return build_dir


def _recorded_root(build_dir: str) -> str | None:
    for read in (_cmake_root, _meson_root, _gn_root):
        try:
            root = read(build_dir)
        except (OSError, ValueError):
            continue
        if root is not None and root.startswith("/") and root != "/" and os.path.isdir(root):
            return absolute(root, "/")
    return None


def _cmake_root(build_dir: str) -> str | None:
    with open(os.path.join(build_dir, "CMakeCache.txt"), encoding="utf-8", errors="surrogateescape") as stream:
        match = _CMAKE_HOME.search(stream.read())
    return match[1] if match else None


def _meson_root(build_dir: str) -> str | None:
    with open(os.path.join(build_dir, "meson-info", "meson-info.json"), encoding="utf-8") as stream:
        info = json.load(stream)
    directories = info.get("directories") if isinstance(info, dict) else None
    source = directories.get("source") if isinstance(directories, dict) else None
    return source if isinstance(source, str) else None


def _gn_root(build_dir: str) -> str | None:
    if not os.path.isfile(os.path.join(build_dir, "args.gn")):
        return None
    with open(os.path.join(build_dir, "build.ninja"), encoding="utf-8", errors="surrogateescape") as stream:
        match = _GN_ROOT.search(stream.read(MANIFEST_HEAD_BYTES))
    if match is None:
        return None
    root = match[1] or re.sub(r"\$(.)", r"\1", match[2])
    return absolute(root, build_dir)


def _checkout_around(directory: str) -> str | None:
    while not _is_shared(directory):
        if any(os.path.exists(os.path.join(directory, marker)) for marker in VERSION_CONTROL_MARKERS):
            return directory
        directory = os.path.dirname(directory)
    return None


def _widened(root: str, directories: set[str]) -> str:
    """The nearest unshared ancestor of ``root`` that holds as many of ``directories`` as such an ancestor can."""
    widest = root
    for directory in directories:
        if not is_below(directory, widest):
            ancestor = os.path.commonpath([widest, directory])
            if not _is_shared(ancestor):
                widest = ancestor
    return widest


def _is_shared(directory: str) -> bool:
    home = os.path.expanduser("~")
    return directory.count("/") < 2 or directory in SHARED_DIRECTORIES or is_below(home, directory)
