"""The disk, as far as ninja's rules need one. Tests put a dictionary in its place."""

from __future__ import annotations

import errno
import os
from typing import Protocol

from zbuild.errors import ManifestError


class Disk(Protocol):
    """Paths are relative to the build directory or absolute."""

    def stat(self, path: str) -> int:
        """The modification time in ns; 0 when there is no such file.

        Raises:
            ManifestError: the disk would not say.
        """

    def read(self, path: str) -> bytes:
        """
        Raises:
            OSError: the file cannot be read; FileNotFoundError when it is not there.
        """

    def write(self, path: str, data: bytes) -> None:
        """Make or replace a file.

        Raises:
            OSError: it cannot be written.
        """

    def append(self, path: str, data: bytes) -> None:
        """Add to the end of a file in one piece; make the file if need be.

        Raises:
            OSError: it cannot be written.
        """

    def truncate(self, path: str, size_bytes: int) -> None:
        """
        Raises:
            OSError: it cannot be shortened.
        """

    def replace(self, source: str, target: str) -> None:
        """Rename ``source`` over ``target``.

        Raises:
            OSError: it cannot be renamed.
        """

    def remove(self, path: str) -> None:
        """Remove a file; none being there is no error.

        Raises:
            OSError: it is there and cannot be removed.
        """

    def make_dirs(self, path: str) -> None:
        """Make the directories that lead to ``path``.

        Raises:
            OSError: one cannot be made.
        """


class RealDisk:
    """The file system of the process, relative to its working directory."""

    def stat(self, path: str) -> int:
        try:
            # A time of 0, which Flatpak sets on purpose, is not "missing"; ninja makes it 1 too.
            return os.stat(path).st_mtime_ns or 1
        except (FileNotFoundError, NotADirectoryError):
            return 0
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise ManifestError(f"stat({path}): {reason}") from error

    def read(self, path: str) -> bytes:
        with open(path, "rb") as file:
            return file.read()

    def write(self, path: str, data: bytes) -> None:
        with open(path, "wb") as file:
            file.write(data)

    def append(self, path: str, data: bytes) -> None:
        # Unbuffered, so that one write call adds the whole record and no reader sees half of it.
        with open(path, "ab", buffering=0) as file:
            if file.write(data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)

    def truncate(self, path: str, size_bytes: int) -> None:
        os.truncate(path, size_bytes)

    def replace(self, source: str, target: str) -> None:
        os.replace(source, target)

    def remove(self, path: str) -> None:
        try:
            os.remove(path)
        except FileNotFoundError:
            return

    def make_dirs(self, path: str) -> None:
        directory = os.path.dirname(path)
        if directory:
            os.makedirs(directory, exist_ok=True)
