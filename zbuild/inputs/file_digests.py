"""The digests of files, remembered from one build to the next by what ``stat`` says of them.

An entry holds while device, inode, mtime, ctime and size of the file are what they were when it was
read. ctime catches edits that put the mtime back (``touch -r``, ``tar -x``), the inode a replaced file.
"""

from __future__ import annotations

import os
import stat
import struct
import time
from collections.abc import Iterable, Mapping

from zbuild import limits
from zbuild.digest import HASH_BYTES, READ_BYTES, Digest, of_bytes, of_file
from zbuild.inputs import cache_file

FORMAT = "zbuild-file-digests-1"

RACY_WINDOW_NS = 50_000_000
"""50 ms: five ticks of a 100 Hz kernel. File times advance by ticks, so a file changed that shortly
before it was read can be changed again without its times showing it (git calls such an entry racy)."""

COARSE_RACY_WINDOW_NS = 2_000_000_000
"""2 s, the coarsest file times in use (FAT), for files whose mtime is a whole second."""

_SIGNATURE = struct.Struct("<QQqqQ")
_SIZE_AT = _SIGNATURE.size + HASH_BYTES


def signature_of(status: os.stat_result) -> bytes:
    """40 bytes that change when the file does: device, inode, mtime, ctime and size."""
    return _SIGNATURE.pack(status.st_dev, status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_size)


def is_racy(status: os.stat_result, now_ns: int) -> bool:
    """Whether a file read at ``now_ns`` could change once more without a change of its times."""
    newest_ns = max(status.st_mtime_ns, status.st_ctime_ns)
    window_ns = RACY_WINDOW_NS if status.st_mtime_ns % 1_000_000_000 else COARSE_RACY_WINDOW_NS
    return newest_ns > now_ns - window_ns


class FileDigests:
    """path -> Digest. ``cache_path`` None keeps everything in memory.

    An entry is one byte string, signature + hash + executable flag: ten thousand of them load in a few milliseconds.
    """

    def __init__(self, cache_path: str | None = None) -> None:
        self._cache_path = cache_path
        self._entries: dict[str, bytes] = {}
        self._racy: set[str] = set()
        self._used: set[str] = set()
        self._is_changed = False
        if cache_path is not None:
            self._entries = _decoded(cache_file.read(cache_path, FORMAT))

    def digest(self, path: str) -> Digest:
        """Raises OSError when the file cannot be read, or is none."""
        return self.examine(path)[0]

    def examine(self, path: str) -> tuple[Digest, bool]:
        """The digest of a regular file, and whether it is executable.

        Raises:
            OSError: the file cannot be read, or is not a regular file.
        """
        status = os.stat(path)
        entry = self._entries.get(path)
        if entry is None or path in self._racy or not entry.startswith(signature_of(status)):
            entry = self._read(path)
        self._used.add(path)
        return Digest(entry[_SIGNATURE.size : _SIZE_AT], _SIGNATURE.unpack_from(entry)[4]), entry[_SIZE_AT] != 0

    def seed(self, path: str, digest: Digest) -> None:
        """Record the digest of a file that this process has just written, so that it is never read.

        Raises:
            OSError: there is no such file.
        """
        status = os.stat(path)
        self._racy.discard(path)
        if status.st_size != digest.size_bytes:
            self.forget(path)
            return
        self._store(path, status, digest)

    def forget(self, path: str) -> None:
        if self._entries.pop(path, None) is not None:
            self._is_changed = True
        self._racy.discard(path)

    def snapshot(self, paths: Iterable[str]) -> dict[str, bytes]:
        """What the files looked like when their digests were last taken; for ``changed_since``."""
        entries = self._entries
        return {path: entries[path][: _SIGNATURE.size] for path in paths if path in entries}

    def changed_since(self, snapshot: Mapping[str, bytes]) -> list[str]:
        """The files that were edited, replaced or removed since the snapshot. Costs one ``stat`` per file."""
        changed = []
        for path, signature in snapshot.items():
            try:
                status = os.stat(path)
            except OSError:
                changed.append(path)
                continue
            if signature_of(status) != signature:
                changed.append(path)
        return changed

    def save(self) -> None:
        """Write the cache file if there is news.

        Raises:
            OSError: the disk refuses.
        """
        if self._cache_path is None or not self._is_changed:
            return
        entries = {path: entry for path, entry in self._entries.items() if path not in self._racy}
        if len(entries) > limits.MAX_FILE_DIGESTS:
            unused = [path for path in entries if path not in self._used]
            for path in unused[: len(entries) - limits.MAX_FILE_DIGESTS]:
                del entries[path]
            entries = dict(list(entries.items())[-limits.MAX_FILE_DIGESTS :])
        cache_file.write(self._cache_path, FORMAT, entries)
        self._is_changed = False

    def _read(self, path: str) -> bytes:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            raise IsADirectoryError(f"not a regular file: {path}")
        for _ in range(limits.FILE_READ_ATTEMPTS):
            digest = of_file(path) if status.st_size > READ_BYTES else _of_small_file(path)
            after = os.stat(path)
            if signature_of(after) == signature_of(status):
                break
            status = after
        else:
            raise OSError(f"{path} kept changing while it was read")
        self._note_race(path, status)
        return self._store(path, status, digest)

    def _note_race(self, path: str, status: os.stat_result) -> None:
        if is_racy(status, time.time_ns()):
            self._racy.add(path)
        else:
            self._racy.discard(path)

    def _store(self, path: str, status: os.stat_result, digest: Digest) -> bytes:
        entry = signature_of(status) + digest.hash + (b"\1" if status.st_mode & 0o111 else b"\0")
        self._entries[path] = entry
        self._is_changed = True
        return entry


def _of_small_file(path: str) -> Digest:
    """As ``of_file``, in three system calls: most headers are smaller than one read."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = os.read(descriptor, READ_BYTES + 1)
    finally:
        os.close(descriptor)
    return of_bytes(data)


def _decoded(value: object) -> dict[str, bytes]:
    if not isinstance(value, dict):
        return {}
    size = _SIZE_AT + 1
    is_sound = all(type(path) is str and type(entry) is bytes and len(entry) == size for path, entry in value.items())
    return value if is_sound else {}
