"""Keeping a blob directory within its capacity: the least recently used blobs go first.

The order is the files' access times, written by BlobDirectory in batches. So it survives restarts, is
shared by all processes of one directory, and costs no memory between runs. One run reads the whole
directory: 4 us for each blob, and 60 ms for the names alone of a subdirectory of 60,000; hence the generator, which
lets a server answer between its steps.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from zbuild.digest import HASH_BYTES, Digest
from zbuild.errors import StoreFailed
from zbuild.limits import EVICTION_KEEP, EVICTION_STEP_BLOBS
from zbuild.storage.blob_directory import BlobDirectory
from zbuild.storage.blob_files import BLOB_DIRECTORIES, EXECUTABLE_SUFFIX


@dataclass(slots=True)
class EvictionTotals:
    """What a run has found and done so far. Bytes and blobs include the executable copies."""

    found_bytes: int = 0
    evicted_bytes: int = 0
    evicted_blobs: int = 0
    pinned_bytes: int = 0
    """Of blobs that were old enough to go and are in use."""


@dataclass(slots=True)
class _Candidate:
    digest: Digest
    used_ns: int
    total_bytes: int
    paths: list[str]


class Evictor:
    """Evicts from one directory down to EVICTION_KEEP of ``capacity_bytes``.

    Args:
        is_pinned: whether a running build refers to the blob; such a blob stays.
    """

    def __init__(self, blobs: BlobDirectory, capacity_bytes: int, is_pinned: Callable[[Digest], bool]) -> None:
        self._blobs = blobs
        self._capacity_bytes = capacity_bytes
        self._is_pinned = is_pinned
        self._known_bytes: int | None = None
        self._stored_bytes_then = 0

    @property
    def is_due(self) -> bool:
        """Whether the directory may be over its capacity. True until a run has measured it."""
        if self._known_bytes is None:
            return True
        return self._known_bytes + self._blobs.stored_bytes - self._stored_bytes_then > self._capacity_bytes

    def run(self) -> Iterator[EvictionTotals]:
        """Measure, then evict if over capacity, yielding between the steps; the last yield is the result.

        Raises:
            StoreFailed: a file can be neither read nor removed.
        """
        totals = EvictionTotals()
        stored_bytes_then = self._blobs.stored_bytes
        self._blobs.flush_uses()
        found: dict[bytes, _Candidate] = {}
        for directory in _entries(self._blobs.path):
            if directory.name not in BLOB_DIRECTORIES:
                continue
            entries = _entries(directory.path)
            for start in range(0, len(entries), EVICTION_STEP_BLOBS):
                yield totals
                _add_candidates(found, entries[start : start + EVICTION_STEP_BLOBS])
        candidates = list(found.values())
        totals.found_bytes = sum(candidate.total_bytes for candidate in candidates)
        if totals.found_bytes > self._capacity_bytes:
            candidates.sort(key=lambda candidate: candidate.used_ns)
            yield from self._evict(candidates, totals)
        self._known_bytes = totals.found_bytes - totals.evicted_bytes
        self._stored_bytes_then = stored_bytes_then
        yield totals

    def _evict(self, candidates: list[_Candidate], totals: EvictionTotals) -> Iterator[EvictionTotals]:
        surplus_bytes = totals.found_bytes - int(self._capacity_bytes * EVICTION_KEEP)
        for number, candidate in enumerate(candidates):
            if totals.evicted_bytes >= surplus_bytes:
                return
            if self._is_pinned(candidate.digest):
                totals.pinned_bytes += candidate.total_bytes
                continue
            for path in candidate.paths:
                _remove(path)
            self._blobs.forget(candidate.digest.hash)
            totals.evicted_bytes += candidate.total_bytes
            totals.evicted_blobs += 1
            if number % EVICTION_STEP_BLOBS == 0:
                yield totals


def _entries(path: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(path) as entries:
            return list(entries)
    except OSError as error:
        raise StoreFailed(f"cannot list {path}: {error.strerror}") from error


def _add_candidates(found: dict[bytes, _Candidate], entries: list[os.DirEntry[str]]) -> None:
    """Look at some files of a directory of blobs. One that has vanished meanwhile is none."""
    for entry in entries:
        try:
            blob_hash = bytes.fromhex(entry.name.removesuffix(EXECUTABLE_SUFFIX))
            status = entry.stat(follow_symlinks=False)
        except (ValueError, FileNotFoundError):
            continue
        if len(blob_hash) != HASH_BYTES:
            continue
        candidate = found.get(blob_hash)
        if candidate is None:
            candidate = found[blob_hash] = _Candidate(Digest(blob_hash, status.st_size), 0, 0, [])
        candidate.used_ns = max(candidate.used_ns, status.st_atime_ns)
        candidate.total_bytes += status.st_size
        candidate.paths.append(entry.path)


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise StoreFailed(f"cannot evict {path}: {error.strerror}") from error
