"""Collecting the outputs of an action: from its stage into the blobs.

The writable root is hostile ground. Every component of an output's path is opened from its parent's
descriptor without following symlinks, so nothing outside the root can be read by way of an output; a
symlink that is itself an output is recorded, never followed. Files are moved, not copied: 25 ms for
100 MB, all of it hashing, where copying takes 50 ms.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence

from zbuild.digest import EMPTY
from zbuild.errors import BadInput, OutputMissing, StoreFailed
from zbuild.limits import COLLECTED_DEPTH, COLLECTED_FILES, NAMES_IN_MESSAGE, STAGED_PATH_BYTES
from zbuild.model.action import OutputFile, OutputKind, OutputSpec
from zbuild.storage.blob_directory import BlobDirectory
from zbuild.storage.staging import StagePlan

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

_SWAPPED = frozenset({errno.ELOOP, errno.ENOENT, errno.ENXIO})
"""What opening says when there is a symlink, nothing or a socket where there was a regular file."""

_REFUSED_KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
}


def collect(
    plan: StagePlan,
    outputs: Sequence[OutputSpec],
    blobs: BlobDirectory,
    *,
    max_bytes: int = 0,
    is_moved: bool = True,
) -> tuple[OutputFile, ...]:
    """Move the declared outputs into ``blobs``, in the order of ``outputs``.

    A declared output that is a directory stands for all files and symlinks below it, sorted by path.

    Args:
        max_bytes: what they may hold together, holes included: each byte is read. 0 sets no bound.
        is_moved: False makes blobs of copies. Only they are safe from a descriptor that the action has passed to a
            process which outlives it (CVE-2024-27297).

    Raises:
        OutputMissing: naming every output that was not made and is not optional, and every one that is no
            regular file, symlink or filled directory, or is set-user-id, or lies behind a symlink.
        StoreFailed: the disk refused.
    """
    collection = _Collection(blobs, max_bytes, is_moved)
    try:
        root = _open_directory(plan.location(plan.writable_root), None)
        try:
            for output in outputs:
                collection.add(output, root, output.path[len(plan.writable_root) + 1 :].split("/"))
        finally:
            os.close(root)
    except OSError as error:
        raise StoreFailed(f"cannot collect outputs below {plan.writable_root}: {error.strerror}") from error
    collection.check()
    return tuple(collection.found)


class _Collection:
    def __init__(self, blobs: BlobDirectory, max_bytes: int, is_moved: bool) -> None:
        self.found: list[OutputFile] = []
        self._blobs = blobs
        self._max_bytes = max_bytes
        self._is_moved = is_moved
        self._size_bytes = 0
        self._directories = 0
        self._missing: list[str] = []
        self._refused: list[str] = []

    def add(self, output: OutputSpec, root: int, components: Sequence[str]) -> None:
        """Collect one declared output, ``components`` below ``root``, or note why it cannot be."""
        try:
            parent = _open_chain(root, components[:-1], output.path)
            try:
                self._add_entry(parent, components[-1], output.path)
            finally:
                os.close(parent)
        except FileNotFoundError:
            if not output.optional:
                self._missing.append(output.path)
        except _Refused as refusal:
            self._refused.append(str(refusal))

    def check(self) -> None:
        """Raises OutputMissing when anything was noted."""
        problems: list[str] = []
        if self._missing:
            problems.append(f"the command did not make {_listed(self._missing)}")
        if self._refused:
            problems.append(f"refused as outputs: {_listed(self._refused)}")
        if problems:
            raise OutputMissing("; ".join(problems))

    def _add_entry(self, parent: int, name: str, path: str) -> None:
        status = os.stat(name, dir_fd=parent, follow_symlinks=False)
        kind = stat.S_IFMT(status.st_mode)
        if len(self.found) >= COLLECTED_FILES:
            raise _Refused(f"{path} (more than {COLLECTED_FILES} files)")
        if len(os.fsencode(path)) > STAGED_PATH_BYTES:
            raise _Refused(f"{path} (a path of more than {STAGED_PATH_BYTES} B)")
        if kind == stat.S_IFREG:
            self._add_file(parent, name, path, status)
        elif kind == stat.S_IFLNK:
            target = os.readlink(name, dir_fd=parent)
            self.found.append(OutputFile(path, OutputKind.SYMLINK, EMPTY, False, _text(target, path)))
        elif kind == stat.S_IFDIR:
            self._add_directory(parent, name, path)
        else:
            raise _Refused(f"{path} ({_REFUSED_KINDS.get(kind, 'no file')})")

    def _add_file(self, parent: int, name: str, path: str, status: os.stat_result) -> None:
        if status.st_mode & (stat.S_ISUID | stat.S_ISGID):
            raise _Refused(f"{path} (set-user-id or set-group-id)")
        self._size_bytes += status.st_size
        if self._max_bytes and self._size_bytes > self._max_bytes:
            raise _Refused(f"{path} (its {status.st_size} B make more than {self._max_bytes} B of outputs)")
        if not status.st_mode & stat.S_IRUSR:
            _make_readable(parent, name)
        try:
            # The kernel resolves this to the very directory that is open, whatever its path is by now.
            digest = self._blobs.put_file(f"/proc/self/fd/{parent}/{name}", is_moved=self._is_moved)
        except (OSError, BadInput) as error:
            if isinstance(error, OSError) and error.errno not in _SWAPPED:
                raise
            raise _Refused(f"{path} (replaced while it was collected)") from error
        self.found.append(OutputFile(path, OutputKind.FILE, digest, bool(status.st_mode & stat.S_IXUSR)))

    def _add_directory(self, parent: int, name: str, path: str) -> None:
        before = len(self.found)
        pending = [(path, [name])]
        while pending:
            directory_path, components = pending.pop()
            self._directories += 1
            if self._directories > COLLECTED_FILES:
                raise _Refused(f"{directory_path} (more than {COLLECTED_FILES} directories)")
            if len(components) > COLLECTED_DEPTH:
                raise _Refused(f"{directory_path} (more than {COLLECTED_DEPTH} directories inside one another)")
            descriptor = _open_chain(parent, components, directory_path)
            try:
                for entry in sorted(os.listdir(descriptor)):
                    entry_path = f"{directory_path}/{_text(entry, directory_path)}"
                    if stat.S_ISDIR(os.stat(entry, dir_fd=descriptor, follow_symlinks=False).st_mode):
                        pending.append((entry_path, [*components, entry]))
                    else:
                        self._add_entry(descriptor, entry, entry_path)
            finally:
                os.close(descriptor)
        if len(self.found) == before:
            raise _Refused(f"{path} (an empty directory)")
        self.found[before:] = sorted(self.found[before:], key=lambda output: output.path)


class _Refused(Exception):
    """An output that is there and cannot be collected; the text names it and the reason."""


def _open_chain(root: int, components: Sequence[str], path: str) -> int:
    """The directory ``components`` below ``root``, each opened from the one above; ``path`` is for the message."""
    descriptor = os.dup(root)
    for name in components:
        above = descriptor
        try:
            descriptor = _open_directory(name, above)
        except NotADirectoryError:
            raise _Refused(f"{path} ({name} on its way is a symlink or a file)") from None
        finally:
            os.close(above)
    return descriptor


def _open_directory(name: str, above: int | None) -> int:
    """Open it, with all that its owner needs to take outputs out of it: to root modes say nothing, so to nobody.

    Raises:
        NotADirectoryError, FileNotFoundError
    """
    try:
        descriptor = os.open(name, _DIRECTORY, dir_fd=above)
    except PermissionError:
        handle = os.open(name, os.O_PATH | _DIRECTORY, dir_fd=above)
        try:
            os.chmod(f"/proc/self/fd/{handle}", stat.S_IRWXU)
        finally:
            os.close(handle)
        descriptor = os.open(name, _DIRECTORY, dir_fd=above)
    try:
        if os.fstat(descriptor).st_mode & stat.S_IRWXU != stat.S_IRWXU:
            os.fchmod(descriptor, stat.S_IRWXU)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _make_readable(parent: int, name: str) -> None:
    """Let the owner read a file; never what a symlink in its place leads to."""
    descriptor = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.chmod(f"/proc/self/fd/{descriptor}", 0o600)
    finally:
        os.close(descriptor)


def _text(name: str, path: str) -> str:
    try:
        name.encode()
    except UnicodeEncodeError:
        raise _Refused(f"{path} (a name or symlink target that is not UTF-8: {name!r})") from None
    return name


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMES_IN_MESSAGE} more" if len(names) > NAMES_IN_MESSAGE else ""
    return ", ".join(names[:NAMES_IN_MESSAGE]) + more
