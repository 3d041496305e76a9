"""The two directories of a build, as the user and as the sandbox spell them.

In the sandbox the source root is ``/zb/src``. A build directory below it is ``/zb/src/zb-build`` (one
``zb-build`` per component of its relative path), so that relative paths between the two stay as they
are; one elsewhere is ``/zb/build``, and relative paths from it into the sources are spelled anew, or,
where the build uses such paths, the two lie to each other as the user's do.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

from zbuild.errors import BadInput
from zbuild.inputs.kept_paths import map_words
from zbuild.inputs.paths import absolute, is_below, is_system
from zbuild.inputs.respelling import Respelling
from zbuild.inputs.source_root import find_source_root

__all__ = ["CANONICAL_BUILD", "CANONICAL_SOURCE", "Roots", "find_source_root"]

CANONICAL_ROOT = "/zb"
CANONICAL_SOURCE = f"{CANONICAL_ROOT}/src"
CANONICAL_BUILD = f"{CANONICAL_ROOT}/build"
BUILD_COMPONENT = "zb-build"

_SHELL_SPECIAL = re.compile(r"([^\w./+~%@:,=-])")
_MAKE_SPECIAL = re.compile(r"([ \t#])")


class Roots:
    """Maps paths and texts between the user's spelling and the canonical one.

    ``source_root``, ``build_dir``: absolute, as the user spells them; their real paths are mapped as well.
    ``is_canonical``: False keeps the user's own real paths in the sandbox: for commands whose outputs name them. Such
    results are shared only between checkouts at one path.
    ``keeps_relative_paths``: relative paths into sources beside the build directory keep their text, which compilers
    put into programs (``__FILE__``). The name of the source directory is part of it.

    Raises:
        BadInput: one of them is not absolute, or is ``/``.
    """

    def __init__(
        self, source_root: str, build_dir: str, *, is_canonical: bool = True, keeps_relative_paths: bool = False
    ) -> None:
        for path in (source_root, build_dir):
            if not path.startswith("/") or absolute(path, "/") == "/":
                raise BadInput(f"cannot use {path!r} as a source or build directory: need an absolute path below /")
        self.source_root = absolute(source_root, "/")
        self.build_dir = absolute(build_dir, "/")
        self.is_canonical = is_canonical
        real_source, real_build = os.path.realpath(self.source_root), os.path.realpath(self.build_dir)
        if is_canonical:
            pair = _canonical_pair(real_source, real_build, keeps_relative_paths)
            self.canonical_source, self.canonical_build = pair
        else:
            self.canonical_source, self.canonical_build = real_source, real_build
        pairs: dict[str, str] = {}
        for source, build in ((self.source_root, self.build_dir), (real_source, real_build)):
            for user, canonical in self._pairs(source, build):
                pairs.setdefault(user, canonical)
        self._prefixes = sorted(pairs.items(), key=lambda pair: -len(pair[0]))
        self._exact = dict(self._prefixes)
        self._user_prefixes = self._user_pairs()
        self._directories: dict[str, str] = {}
        self._real: dict[str, str] = {}
        self._to_canonical = Respelling(_with_escapes(self._prefixes), self.to_canonical, makes_outside_absolute=True)
        depfile_prefixes = [(canonical, _escaped_for_make(user)) for canonical, user in self._user_prefixes]
        self._to_user = Respelling(self._user_prefixes, self.to_user, makes_outside_absolute=False)
        self._to_depfile = Respelling(depfile_prefixes, self.to_user, makes_outside_absolute=False)

    def to_canonical(self, path: str) -> str:
        """An absolute, normalised path; one outside the two roots stays as it is."""
        exact = self._exact.get(path)
        if exact is not None:
            return exact
        directory, slash, name = path.rpartition("/")
        canonical = self._directories.get(directory)
        if canonical is None:
            canonical = self._directories[directory] = _replaced(directory, self._prefixes)
        return canonical + slash + name

    def to_user(self, path: str) -> str:
        """The inverse of ``to_canonical``; the real path of a root comes back as the user spelled the root."""
        return _replaced(path, self._user_prefixes)

    def map_command(self, text: str, working_directory: str | None = None, *, keeps_paths: bool = False) -> str:
        """User to canonical, in a command line or in the content of a response file.

        A root is replaced where it stands at the start of a path and ends at the end of a component. Relative paths
        are seen from ``working_directory`` (default: the build directory) and are spelled anew only if they would lead
        elsewhere. ``keeps_paths``: those that become part of what a compiler makes stay the user's: see kept_paths.
        """
        directory = self._real_directory(working_directory or self.build_dir)
        if not keeps_paths:
            return self._to_canonical.apply(text, directory)
        return map_words(text, lambda piece: self._to_canonical.apply(piece, directory))

    def map_absolute(self, content: bytes) -> bytes:
        """User to canonical, in a file: absolute paths only, as what relative ones are seen from is not known."""
        text = content.decode("utf-8", "surrogateescape")
        return self._to_canonical.apply_absolute(text).encode("utf-8", "surrogateescape")

    def unmap_output(self, data: bytes, working_directory: str | None = None) -> bytes:
        """Canonical to user, in what a command printed. ``working_directory`` is a user path."""
        return self._unmap(data, self._to_user, working_directory)

    def unmap_depfile(self, data: bytes, working_directory: str | None = None) -> bytes:
        """Canonical to user, in a Makefile fragment: spaces and ``$`` of the user's paths are escaped for make."""
        return self._unmap(data, self._to_depfile, working_directory)

    def is_inside(self, path: str) -> bool:
        """Whether an absolute user path lies below one of the roots."""
        return any(is_below(path, prefix) for prefix, _ in self._prefixes)

    def is_in_build(self, path: str) -> bool:
        """Whether an absolute user path lies below the build directory."""
        return is_below(self.to_canonical(path), self.canonical_build)

    def is_system(self, path: str) -> bool:
        """Whether every worker shows ``path`` by itself: below a system directory, and in none of the roots."""
        return is_system(path) and not self.is_inside(path)

    def _real_directory(self, path: str) -> str:
        found = self._real.get(path)
        if found is None:
            found = self._real[path] = os.path.realpath(path)
        return found

    def _unmap(self, data: bytes, respelling: Respelling, working_directory: str | None) -> bytes:
        if b"zb" not in data and b"../" not in data:
            return data
        directory = self.canonical_build if working_directory is None else self.to_canonical(working_directory)
        text = data.decode("utf-8", "surrogateescape")
        return respelling.apply(text, directory).encode("utf-8", "surrogateescape")

    def _pairs(self, source: str, build: str) -> list[tuple[str, str]]:
        pairs = [(build, self.canonical_build), (source, self.canonical_source)]
        if is_below(build, source) and is_below(self.canonical_build, self.canonical_source):
            pairs += zip(_between(source, build), _between(self.canonical_source, self.canonical_build), strict=True)
        return pairs

    def _user_pairs(self) -> list[tuple[str, str]]:
        """canonical -> user, the longest canonical path first."""
        source, build = self.source_root, self.build_dir
        pairs = {self.canonical_source: source, self.canonical_build: build}
        if not is_below(build, source) and is_below(os.path.realpath(build), os.path.realpath(source)):
            source, build = os.path.realpath(source), os.path.realpath(build)
        for user, canonical in self._pairs(source, build):
            pairs.setdefault(canonical, user)
        return sorted(pairs.items(), key=lambda pair: -len(pair[0]))


def _canonical_pair(source: str, build: str, keeps_relative_paths: bool) -> tuple[str, str]:
    if source == build:
        return CANONICAL_SOURCE, CANONICAL_SOURCE
    if is_below(build, source):
        components = build[len(source) + 1 :].split("/")
        component = BUILD_COMPONENT
        while components[0] != component and os.path.lexists(f"{source}/{component}"):
            component += "_"
        return CANONICAL_SOURCE, CANONICAL_SOURCE + f"/{component}" * len(components)
    if is_below(source, build):
        return CANONICAL_BUILD + source[len(build) :], CANONICAL_BUILD
    if keeps_relative_paths:
        climb, _, down = os.path.relpath(source, build).rpartition("../")
        component = BUILD_COMPONENT
        while down.split("/")[0] == component:
            component += "_"
        return f"{CANONICAL_ROOT}/{down}", CANONICAL_ROOT + f"/{component}" * (climb.count("..") + 1)
    return CANONICAL_SOURCE, CANONICAL_BUILD


def _between(ancestor: str, path: str) -> list[str]:
    """The directories strictly between the two, the deepest first."""
    found = []
    path = os.path.dirname(path)
    while len(path) > len(ancestor):
        found.append(path)
        path = os.path.dirname(path)
    return found


def _replaced(path: str, pairs: Iterable[tuple[str, str]]) -> str:
    for prefix, replacement in pairs:
        if is_below(path, prefix):
            return replacement + path[len(prefix) :]
    return path


def _with_escapes(pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Adds the spelling with backslashes of those prefixes that a shell needs them for."""
    escaped = [(_SHELL_SPECIAL.sub(r"\\\1", prefix), replacement) for prefix, replacement in pairs]
    return pairs + [pair for pair in escaped if pair not in pairs]


def _escaped_for_make(path: str) -> str:
    return _MAKE_SPECIAL.sub(r"\\\1", path.replace("$", "$$"))
