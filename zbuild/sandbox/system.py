"""The read-only part of every sandbox: the worker's /usr, its library directories, and a small /etc.

The /etc is a directory of zbuild's own with what toolchains read there: alternatives (/usr/bin/cc leads
through it), the linker's search paths, and an account database of one user. One mount of it costs 0.1 ms
less than each single file would, so it is copied, and copied again when an original changes.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Iterable, Iterator

from zbuild import digest as digests
from zbuild.errors import SandboxUnavailable
from zbuild.model.source_date import SOURCE_DATE_NS
from zbuild.sandbox.spec import HOME_PATH, SystemPath

USER_ID = 1000
GROUP_ID = 1000
"""The first ordinary account of most distributions; the same on every worker, whoever runs it."""

_MERGED = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
"""Symlinks into /usr on a merged system, directories elsewhere: Filesystem Hierarchy Standard 3.0, section 3."""

_COPIED = ("alternatives", "ld.so.cache", "ld.so.conf", "ld.so.conf.d")
"""ld reads ld.so.conf as well, to find what a shared library needs: ld(1), -rpath-link."""

_WRITTEN = {
    "passwd": f"zbuild:x:{USER_ID}:{GROUP_ID}:zbuild:{HOME_PATH}:/bin/sh\n",
    "group": f"zbuild:x:{GROUP_ID}:\n",
    "hosts": "127.0.0.1 localhost zbuild\n::1 localhost\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
}


_ABANDONED_S = 24 * 3600.0
"""An /etc that has been replaced is removed after this: no action takes so long."""


class SystemTree:
    """What a worker shows of itself.

    Args:
        directory: the tree's own place on disk. Workers of one machine may share it.
        extra: further directories of the worker, for toolchains outside /usr.

    Raises:
        SandboxUnavailable: the directory cannot be written, or a system directory cannot be read.
    """

    def __init__(self, directory: str | os.PathLike[str], extra: Iterable[str] = ()) -> None:
        self._directory = os.path.abspath(directory)
        self._stamp: tuple[object, ...] = ()
        self._paths: tuple[SystemPath, ...] = ()
        with self._reporting():
            self._fixed = (*_system_directories(), *(SystemPath(path, source=path) for path in extra))
            os.makedirs(self._directory, 0o755, exist_ok=True)

    def paths(self) -> tuple[SystemPath, ...]:
        """What to mount now: 10 us when nothing has changed. An /etc that an action still uses stays as it is.

        Raises:
            SandboxUnavailable: see the class.
        """
        stamp = tuple(_stamp(f"/etc/{name}") for name in _COPIED)
        if stamp != self._stamp or not self._paths:
            with self._reporting():
                etc = self._etc(stamp)
            self._paths = (*self._fixed, SystemPath("/etc", source=etc))
            self._stamp = stamp
        return self._paths

    def _etc(self, stamp: tuple[object, ...]) -> str:
        """The /etc for the originals of that stamp, made if it is not there from an earlier start."""
        name = f"etc.{digests.of_bytes(repr((stamp, _WRITTEN)).encode()).hash.hex()[:16]}"
        path = os.path.join(self._directory, name)
        self._remove_abandoned(name)
        if not os.path.isdir(path):
            unfinished = f"{path}.{os.urandom(4).hex()}"
            _make_etc(unfinished)
            try:
                os.rename(unfinished, path)
            except OSError:
                shutil.rmtree(unfinished)
                if not os.path.isdir(path):
                    raise
        os.utime(path, ns=(time.time_ns(), SOURCE_DATE_NS))
        return path

    def _remove_abandoned(self, current: str) -> None:
        for entry in list(os.scandir(self._directory)):
            if entry.name != current and entry.stat(follow_symlinks=False).st_atime < time.time() - _ABANDONED_S:
                shutil.rmtree(entry.path)

    @contextlib.contextmanager
    def _reporting(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = f"{error.strerror} ({error.filename})"
            raise SandboxUnavailable(f"cannot prepare {self._directory}: {reason}") from error


def _make_etc(directory: str) -> None:
    os.mkdir(directory, 0o755)
    for name in _COPIED:
        source, target = f"/etc/{name}", f"{directory}/{name}"
        if os.path.isdir(source):
            os.mkdir(target, 0o755)
            for entry in os.scandir(source):
                if entry.is_symlink():
                    os.symlink(os.readlink(entry.path), f"{target}/{entry.name}")
                elif entry.is_file():
                    shutil.copyfile(entry.path, f"{target}/{entry.name}")
        elif os.path.exists(source):
            shutil.copyfile(source, target)
    for name, text in _WRITTEN.items():
        with open(f"{directory}/{name}", "w", encoding="ascii") as file:
            file.write(text)
    for parent, _, names in os.walk(directory):
        for path in (parent, *(f"{parent}/{name}" for name in names)):
            os.utime(path, ns=(time.time_ns(), SOURCE_DATE_NS), follow_symlinks=False)


def _system_directories() -> list[SystemPath]:
    found = [SystemPath("/usr", source="/usr")]
    for path in _MERGED:
        if os.path.islink(path):
            found.append(SystemPath(path, link_target=os.readlink(path)))
        elif os.path.isdir(path):
            found.append(SystemPath(path, source=path))
    return found


def _stamp(path: str) -> tuple[int, int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size
