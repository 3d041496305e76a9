"""What exists below the source and build directories, asked once per directory and kept until told otherwise."""

from __future__ import annotations

import os
from typing import NamedTuple, Protocol

from zbuild.inputs.file_digests import FileDigests


class Listing(NamedTuple):
    """The names in one directory; a symbolic link counts as what it leads to. The sets grow as edges make files."""

    files: set[str]
    directories: set[str]
    identity: tuple[int, int]
    """Device and inode: two spellings of one directory are equal here."""
    has_dangling: bool = False
    """Whether a symbolic link here leads nowhere: what an edge makes may be what it leads to."""


class Filesystem(Protocol):
    """What the scan needs of a disk."""

    def list(self, directory: str) -> Listing | None:
        """None: there is no such directory."""

    def read(self, path: str) -> bytes:
        """Raises OSError."""

    def content_hash(self, path: str) -> bytes:
        """Equal for equal contents. Raises OSError."""


class Disk:
    """The Filesystem that the operating system shows."""

    def __init__(self, digests: FileDigests) -> None:
        self._digests = digests

    def list(self, directory: str) -> Listing | None:
        files: set[str] = set()
        directories: set[str] = set()
        has_dangling = False
        try:
            status = os.stat(directory)
            with os.scandir(directory) as entries:
                for entry in entries:
                    if entry.is_dir():
                        directories.add(entry.name)
                    elif entry.is_file():
                        files.add(entry.name)
                    elif entry.is_symlink():
                        has_dangling = True
        except OSError:
            return None
        return Listing(files, directories, (status.st_dev, status.st_ino), has_dangling)

    def read(self, path: str) -> bytes:
        with open(path, "rb") as stream:
            return stream.read()

    def content_hash(self, path: str) -> bytes:
        return self._digests.digest(path).hash


class SourceTree:
    """Listings of directories, with what edges of the build make added as it appears."""

    def __init__(self, filesystem: Filesystem) -> None:
        self._filesystem = filesystem
        self._listings: dict[str, Listing | None] = {}

    def list(self, directory: str) -> Listing | None:
        try:
            return self._listings[directory]
        except KeyError:
            listing = self._listings[directory] = self._filesystem.list(directory)
            return listing

    def has_file(self, path: str) -> bool:
        directory, _, name = path.rpartition("/")
        listing = self.list(directory or "/")
        return listing is not None and name in listing.files

    def has_directory(self, path: str) -> bool:
        return self.list(path) is not None

    def read(self, path: str) -> bytes:
        return self._filesystem.read(path)

    def content_hash(self, path: str) -> bytes:
        return self._filesystem.content_hash(path)

    def has_come(self, path: str) -> bool:
        """Whether there is a file by now that was absent when its directory was listed: nobody tells of what a command
        of this machine makes without declaring it."""
        directory, _, name = path.rpartition("/")
        listing = self._filesystem.list(directory or "/")
        return listing is not None and name in listing.files

    def note_made(self, path: str) -> tuple[bool, bool]:
        """An edge has made ``path``. Returns (it was not known to exist, one of its directories was thought absent)."""
        directory, _, name = path.rpartition("/")
        listing = self._listings.get(directory)
        if listing is not None:
            is_new = name not in listing.files
            listing.files.add(name)
            if is_new and listing.has_dangling:
                # Meson makes libx.so.1 before there is a libx.so.1.2 that it leads to.
                del self._listings[directory]
            return is_new, False
        was_absent = False
        while directory:
            if directory in self._listings:
                listing = self._listings[directory]
                if listing is not None:
                    listing.directories.add(name)
                    break
                del self._listings[directory]
                was_absent = True
            directory, _, name = directory.rpartition("/")
        return True, was_absent
