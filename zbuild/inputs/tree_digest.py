"""One digest for a set of files and directory trees of the system, and a cheap test that it still holds.

The digest covers paths and contents only, so machines with the same packages agree. The test compares what
``stat`` says of every file and directory: adding and removing changes a directory, an edit in place changes a file.
"""

from __future__ import annotations

import os
import stat
import struct
import time
from collections.abc import Iterable
from typing import NamedTuple

from blake3 import blake3

from zbuild import limits
from zbuild.inputs.file_digests import COARSE_RACY_WINDOW_NS

SKIPPED_DIRECTORIES = frozenset({"__pycache__", ".git"})
"""Byte code is made from the sources beside it, at any time, and carries times."""

_READ_BYTES = 1 << 20

_SIGNATURE = struct.Struct("<QqQ")
"""Inode, ctime and size: the kernel sets ctime with every write, also when a program puts the mtime back."""


class TreeDigest(NamedTuple):
    """Attributes:
    digest: 32 bytes over the sorted (path, content).
    paths: every file and directory that was looked at, NUL between them.
    signature: 32 bytes over what ``stat`` said of ``paths``.
    is_racy: a file was changed within the 2 s before it was read, so its times might not show another change.
    """

    digest: bytes
    paths: str
    signature: bytes
    is_racy: bool

    def is_current(self) -> bool:
        """About 2 us for each path."""
        return not self.is_racy and _signature(self.paths.split("\0")) == self.signature


def digest_of_trees(roots: Iterable[str]) -> TreeDigest | None:
    """Files and directories, symbolic links followed. None: there are more files than a fingerprint may cover.

    Raises:
        OSError: something cannot be read.
    """
    walk = _Walk()
    for root in sorted(set(roots)):
        walk.add(root)
    if len(walk.contents) > limits.FINGERPRINT_FILES:
        return None
    paths = [*walk.contents, *walk.directories]
    signature = _signature(paths)
    is_fresh = _has_news_since(paths, time.time_ns() - COARSE_RACY_WINDOW_NS)
    hasher = blake3()
    for path in sorted(walk.contents):
        hasher.update(os.fsencode(path) + b"\0" + _content_hash(path))
    return TreeDigest(hasher.digest(), "\0".join(paths), signature, is_fresh)


def _signature(paths: list[str]) -> bytes:
    """What ``stat`` says of each. A path that does not exist counts as such, so that its appearing is a change."""
    signatures = []
    status_of, pack = os.stat, _SIGNATURE.pack
    for path in paths:
        try:
            status = status_of(path)
        except OSError:
            signatures.append(b"-")
            continue
        signatures.append(pack(status.st_ino, status.st_ctime_ns, status.st_size))
    return blake3(b"".join(signatures)).digest()


def _has_news_since(paths: list[str], instant_ns: int) -> bool:
    statuses = [os.stat(path) for path in paths if os.path.exists(path)]
    return any(max(status.st_mtime_ns, status.st_ctime_ns) > instant_ns for status in statuses)


class _Walk:
    def __init__(self) -> None:
        self.contents: dict[str, None] = {}
        self.directories: dict[str, None] = {}
        self._visited: set[tuple[int, int]] = set()

    def add(self, path: str) -> None:
        try:
            status = os.stat(path)
        except OSError:
            self.directories[path] = None
            return
        if stat.S_ISREG(status.st_mode):
            self.contents[path] = None
        elif stat.S_ISDIR(status.st_mode):
            self._add_directory(path, status)

    def _add_directory(self, path: str, status: os.stat_result) -> None:
        identity = (status.st_dev, status.st_ino)
        if identity in self._visited or len(self.contents) > limits.FINGERPRINT_FILES:
            return
        self._visited.add(identity)
        self.directories[path] = None
        below = []
        with os.scandir(path) as entries:
            for entry in entries:
                if entry.is_file():
                    self.contents[entry.path] = None
                elif entry.is_dir() and entry.name not in SKIPPED_DIRECTORIES:
                    below.append(entry.path)
        for directory in sorted(below):
            self._add_directory(directory, os.stat(directory))


def _content_hash(path: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = os.read(descriptor, _READ_BYTES)
        hasher = blake3(data)
        while len(data) == _READ_BYTES:
            data = os.read(descriptor, _READ_BYTES)
            hasher.update(data)
    finally:
        os.close(descriptor)
    return hasher.digest()
