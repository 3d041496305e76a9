"""The room that the files below a directory take, measured piece by piece while a command may be changing them.

A command has made the tree: it may be a chain of directories that no path and no recursion reaches the end of, or so
wide that reading it at once would hold up everybody else's commands.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Generator, Iterable

from zbuild.limits import BRANCHING_DEPTH

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_BLOCK_BYTES = 512
"""The unit of st_blocks: stat(2)."""
_CLOCK_ENTRIES = 64
"""How many entries are looked at between two looks at the clock: 0.2 ms."""


_Step = tuple[int, int]
"""Bytes and entries that were found."""


class TreeSize:
    """Of the tree below ``path``. Measured: 3 us for each entry.

    Attributes:
        size_bytes: allocated to files; while a measurement goes on, at least what it has found so far.
        entries: files and directories, likewise.
        is_too_deep: more than BRANCHING_DEPTH directories with several directories in them lie inside one another.
            What is below was not measured.
    """

    def __init__(self, path: str) -> None:
        self.size_bytes = 0
        self.entries = 0
        self.is_too_deep = False
        self._path = path
        self._found_bytes = 0
        self._found_entries = 0
        self._walk: Generator[_Step, None, bool] | None = None

    @property
    def is_measuring(self) -> bool:
        return self._walk is not None

    def begin(self, processes: Iterable[int] = ()) -> None:
        """Measure anew. An earlier measurement must have ended.

        Args:
            processes: whose open files count as well where they have no name any more.
        """
        self._found_bytes = self._found_entries = 0
        self._walk = _walk(self._path, processes)

    def advance(self, duration_s: float) -> None:
        """Go on measuring for about that long, or to the end."""
        if self._walk is None:
            return
        end_s = time.monotonic() + duration_s
        steps = 0
        try:
            while steps % _CLOCK_ENTRIES or steps == 0 or time.monotonic() < end_s:
                found_bytes, found_entries = next(self._walk)
                self._found_bytes += found_bytes
                self._found_entries += found_entries
                steps += 1
        except StopIteration as end:
            self.is_too_deep = not end.value
            self._walk = None
            self.size_bytes, self.entries = self._found_bytes, self._found_entries
            return
        self.size_bytes = max(self.size_bytes, self._found_bytes)
        self.entries = max(self.entries, self._found_entries)

    def close(self) -> None:
        """Give up what is being measured."""
        if self._walk is not None:
            self._walk.close()
            self._walk = None


def _walk(path: str, processes: Iterable[int]) -> Generator[_Step, None, bool]:
    """What is below ``path``, with and without a name; returns whether all of the tree was seen."""
    yield from _unlinked(path, processes)
    return (yield from _named(path))


def _unlinked(path: str, processes: Iterable[int]) -> Generator[_Step, None, None]:
    """Files of the same file system that are open and were removed. Step by step, as there can be millions."""
    seen: set[int] = set()
    with contextlib.suppress(OSError):
        device = os.stat(path).st_dev
        for pid in processes:
            with contextlib.suppress(OSError):
                for name in os.listdir(f"/proc/{pid}/fd"):
                    with contextlib.suppress(OSError):
                        status = os.stat(f"/proc/{pid}/fd/{name}")
                        is_unlinked = stat.S_ISREG(status.st_mode) and not status.st_nlink
                        if not is_unlinked or status.st_ino in seen:
                            continue
                        yield 0, 0
                        if status.st_dev == device or _mount_device(pid, name) == device:
                            seen.add(status.st_ino)
                            yield status.st_blocks * _BLOCK_BYTES, 1
                    yield 0, 0


def _mount_device(pid: int, name: str) -> int:
    """The device of the mount by which a process has opened a file; -1 for a file that is in none, as memory files are.

    In an overlay whose layers lie on several file systems a file's own st_dev is another than its directory's
    (filesystems/overlayfs.rst of Linux, "Inode properties").
    """
    with open(f"/proc/{pid}/fdinfo/{name}", encoding="ascii") as information:
        mount = next((line.split()[1] for line in information if line.startswith("mnt_id:")), "")
    with open(f"/proc/{pid}/mountinfo", encoding="utf-8", errors="replace") as mounts:
        for line in mounts:
            words = line.split(None, 3)
            if words[0] == mount:
                major, minor = words[2].split(":")
                return os.makedev(int(major), int(minor))
    return -1


def _named(path: str) -> Generator[_Step, None, bool]:
    """Each entry below ``path``; returns whether all of the tree was seen.

    Each directory is opened from the one above it, which is closed once it has no other directory left to open.
    """
    pending: list[tuple[int, list[str]]] = []
    is_whole = True
    try:
        directory = _opened(path, None)
        while True:
            if directory >= 0:
                names: list[str] = []
                pending.append((directory, names))
                yield from _read(directory, names)
            while pending and not pending[-1][1]:
                os.close(pending.pop()[0])
            if not pending:
                return is_whole
            parent, names = pending[-1]
            directory = _opened(names.pop(), parent)
            if not names:
                os.close(pending.pop()[0])
            if len(pending) > BRANCHING_DEPTH and directory >= 0:
                os.close(directory)
                directory, is_whole = -1, False
    finally:
        for descriptor, _ in pending:
            os.close(descriptor)


def _read(directory: int, names: list[str]) -> Generator[_Step, None, None]:
    """Each entry; the directories among them are added to ``names``."""
    with contextlib.suppress(OSError), os.scandir(directory) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                if entry.is_dir(follow_symlinks=False):
                    names.append(entry.name)
                yield entry.stat(follow_symlinks=False).st_blocks * _BLOCK_BYTES, 1


def _opened(name: str, parent: int | None) -> int:
    """-1 for what is gone, or is no directory any more, or may not be read."""
    try:
        return os.open(name, _DIRECTORY, dir_fd=parent)
    except OSError:
        return -1
