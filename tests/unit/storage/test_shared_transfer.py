"""Transfers in the store's own directory: what they report when a blob or a source is no good."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.storage.test_transfer import BrokenSource, BytesSource, MemorySink
from zbuild.digest import Digest, of_bytes
from zbuild.errors import BlobCorrupt, BlobMissing, StoreFailed
from zbuild.storage.blob_directory import BlobDirectory
from zbuild.storage.shared_transfer import SharedTransfer
from zbuild.storage.transfer import AbsentFound, Fetched, TransferEvent, TransferFailed, Uploaded

DATA = bytes(range(256)) * 10
DIGEST = of_bytes(DATA)


@pytest.fixture
def directory(tmp_path: Path) -> str:
    return str(tmp_path / "blobs")


def new_transfer(directory: str) -> SharedTransfer:
    """As in another process: nothing is verified yet."""
    return SharedTransfer(BlobDirectory(directory, is_durable=False))


def only_event(transfer: SharedTransfer) -> TransferEvent:
    (event,) = transfer.take_events()
    return event


def failure(transfer: SharedTransfer, digest: Digest = DIGEST) -> Exception:
    event = only_event(transfer)
    assert isinstance(event, TransferFailed)
    assert event.digest == digest
    return event.error


def test_a_blob_goes_in_and_comes_out(directory: str) -> None:
    transfer = new_transfer(directory)
    transfer.find_missing(1, [DIGEST])
    assert transfer.has_events
    assert only_event(transfer) == AbsentFound(1, (DIGEST,))
    transfer.upload(DIGEST, BytesSource(DATA))
    assert only_event(transfer) == Uploaded(DIGEST)
    sink = MemorySink(DIGEST)
    transfer.fetch(DIGEST, sink)
    assert only_event(transfer) == Fetched(DIGEST)
    assert (sink.data, sink.is_committed) == (DATA, True)


def test_a_corrupt_blob_is_not_there_as_with_a_store(directory: str) -> None:
    """So the client has it made again. It failed the build."""
    BlobDirectory(directory, is_durable=False).put_bytes(DATA)
    path = Path(directory, DIGEST.hash.hex()[:1], DIGEST.hash.hex())
    path.chmod(0o644)
    path.write_bytes(DATA[::-1])
    transfer = new_transfer(directory)
    sink = MemorySink(DIGEST)
    transfer.fetch(DIGEST, sink)
    assert isinstance(failure(transfer), BlobMissing)
    assert sink.aborts == 1
    transfer.find_missing(1, [DIGEST])
    assert only_event(transfer) == AbsentFound(1, (DIGEST,)), "it is in quarantine"


@pytest.mark.parametrize("error", [StoreFailed("cannot read"), PermissionError(13, "Permission denied")])
def test_a_source_that_cannot_be_read_fails_its_upload_only(directory: str, error: Exception) -> None:
    transfer = new_transfer(directory)
    transfer.upload(DIGEST, BrokenSource(error))
    assert isinstance(failure(transfer), StoreFailed)


@pytest.mark.parametrize("data", [DATA[:-1], DATA[:-1] + b"?", b""])
def test_a_source_that_has_changed_is_refused(directory: str, data: bytes) -> None:
    transfer = new_transfer(directory)
    transfer.upload(DIGEST, BytesSource(data))
    assert isinstance(failure(transfer), BlobCorrupt)
    transfer.find_missing(1, [DIGEST])
    assert only_event(transfer) == AbsentFound(1, (DIGEST,))
