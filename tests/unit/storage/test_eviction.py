"""Eviction: the least recently used blobs go, down to 80 %, and never a pinned one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from zbuild.digest import Digest
from zbuild.storage import eviction
from zbuild.storage.blob_directory import BlobDirectory
from zbuild.storage.blob_files import BLOB_MTIME_NS
from zbuild.storage.eviction import EvictionTotals, Evictor

SIZE = 1000


@pytest.fixture
def blobs(tmp_path: Path) -> BlobDirectory:
    return BlobDirectory(tmp_path / "blobs", is_durable=False)


def aged(blobs: BlobDirectory, count: int) -> list[Digest]:
    """Blobs of SIZE bytes, the first used longest ago."""
    digests = [blobs.put_bytes(number.to_bytes(4, "big") * (SIZE // 4)) for number in range(count)]
    blobs.flush_uses()
    for age, digest in enumerate(digests):
        os.utime(blobs.path_of(digest), ns=(10**18 + age, BLOB_MTIME_NS))
    return digests


def ran(evictor: Evictor) -> EvictionTotals:
    *_, totals = evictor.run()
    return totals


def never(_digest: Digest) -> bool:
    return False


def test_oldest_go_until_eighty_percent_are_left(blobs: BlobDirectory) -> None:
    digests = aged(blobs, 20)
    totals = ran(Evictor(BlobDirectory(blobs.path, is_durable=False), 10 * SIZE, never))

    assert [blobs.contains(digest) for digest in digests] == [False] * 12 + [True] * 8
    assert totals == EvictionTotals(found_bytes=20 * SIZE, evicted_bytes=12 * SIZE, evicted_blobs=12)


def test_nothing_goes_below_capacity(blobs: BlobDirectory) -> None:
    aged(blobs, 10)
    assert ran(Evictor(blobs, 10 * SIZE, never)).evicted_blobs == 0


def test_pinned_blobs_stay_and_others_go_instead(blobs: BlobDirectory) -> None:
    digests = aged(blobs, 20)
    pinned = set(digests[:4])
    totals = ran(Evictor(BlobDirectory(blobs.path, is_durable=False), 10 * SIZE, pinned.__contains__))

    assert [blobs.contains(digest) for digest in digests] == [True] * 4 + [False] * 12 + [True] * 4
    assert totals.pinned_bytes == 4 * SIZE


def test_a_use_saves_a_blob(blobs: BlobDirectory) -> None:
    digests = aged(blobs, 20)
    user = BlobDirectory(blobs.path, is_durable=False)
    user.read(digests[0])
    user.close()
    ran(Evictor(BlobDirectory(blobs.path, is_durable=False), 10 * SIZE, never))
    assert blobs.contains(digests[0])
    assert not blobs.contains(digests[1])


def test_executable_form_counts_and_goes_with_its_blob(blobs: BlobDirectory) -> None:
    digests = aged(blobs, 2)
    executable = blobs.path_of(digests[0], executable=True)
    blobs.flush_uses()
    for path in (blobs.path_of(digests[0]), executable):
        os.utime(path, ns=(10**17, BLOB_MTIME_NS))

    totals = ran(Evictor(BlobDirectory(blobs.path, is_durable=False), 2 * SIZE, never))
    assert totals.found_bytes == 3 * SIZE
    assert totals.evicted_bytes == 2 * SIZE
    assert not os.path.exists(executable)
    assert blobs.contains(digests[1])


def test_is_due_when_what_was_stored_since_may_exceed_the_capacity(blobs: BlobDirectory) -> None:
    aged(blobs, 5)
    evictor = Evictor(blobs, 10 * SIZE, never)
    is_due = [evictor.is_due]
    ran(evictor)
    is_due.append(evictor.is_due)
    for number in range(6):
        blobs.put_bytes(bytes([200 + number]) * SIZE)
    is_due.append(evictor.is_due)
    ran(evictor)
    assert [*is_due, evictor.is_due] == [True, False, True, False]


def test_it_yields_between_its_steps_so_that_a_server_can_answer(
    blobs: BlobDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Few directories hold all blobs, so one of them is no step."""
    looked_at: list[int] = []

    def add(found: dict[bytes, eviction._Candidate], entries: list[os.DirEntry[str]]) -> None:
        looked_at.append(len(entries))
        original(found, entries)

    original = eviction._add_candidates
    monkeypatch.setattr(eviction, "EVICTION_STEP_BLOBS", 3)
    monkeypatch.setattr(eviction, "_add_candidates", add)
    aged(blobs, 200)
    steps = sum(1 for _ in Evictor(blobs, 100 * SIZE, never).run())
    assert sum(looked_at) == 200
    assert max(looked_at) == 3
    assert steps > len(looked_at) + 120 / 3


def test_evicted_blob_is_missing_afterwards_not_served_from_memory(blobs: BlobDirectory) -> None:
    digest = aged(blobs, 1)[0]
    ran(Evictor(blobs, 0, never))
    assert not blobs.contains(digest)
    blobs.put_bytes((0).to_bytes(4, "big") * (SIZE // 4))
    assert len(blobs.read(digest)) == SIZE
