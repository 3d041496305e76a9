"""The action cache as the broker uses it: what the disk refuses costs a hit, never the broker."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from zbuild.coordinator.published_results import PublishedResults
from zbuild.digest import of_bytes
from zbuild.model.action import ActionResult, OutputFile, OutputKind, ResultStatus
from zbuild.storage.action_cache import ActionCache
from zbuild.storage.blob_directory import BlobDirectory

DATA = b"an output"
DIGEST = of_bytes(DATA)
ACTION = bytes(32)
RESULT = ActionResult(status=ResultStatus.SUCCESS, outputs=(OutputFile("/zb/build/out", OutputKind.FILE, DIGEST),))


@pytest.fixture
def blobs(tmp_path: Path) -> BlobDirectory:
    return BlobDirectory(tmp_path / "blobs", is_durable=False)


@pytest.fixture
def results(tmp_path: Path, blobs: BlobDirectory) -> Iterator[PublishedResults]:
    results = PublishedResults(ActionCache(str(tmp_path / "results.sqlite")), blobs)
    yield results
    results.close()


def test_a_result_is_served_while_its_blobs_are_there(results: PublishedResults, blobs: BlobDirectory) -> None:
    blobs.put_bytes(DATA)
    results.put(ACTION, RESULT)
    assert results.get(ACTION) == RESULT
    Path(blobs.path_of(DIGEST)).unlink()
    assert results.get(ACTION) is None
    assert results.entries() == 0, "and it is not looked at again"


def test_a_blob_that_the_disk_cannot_look_for_is_not_there(results: PublishedResults, blobs: BlobDirectory) -> None:
    """The error ended the broker, and with it every build of the farm."""
    Path(blobs.path, DIGEST.hash.hex()[:1]).write_text("a file in the place of a directory")
    assert results.absent([DIGEST]) == [DIGEST]
    results.put(ACTION, RESULT)
    assert results.get(ACTION) is None


def test_the_status_of_a_directory_that_is_gone_ends_nothing(results: PublishedResults, blobs: BlobDirectory) -> None:
    assert results.free_bytes() > 0
    shutil.rmtree(blobs.path)
    assert results.free_bytes() == 0
