"""The worker's transfers: what a fetch that fails, or thousands at once, cost the others."""

from __future__ import annotations

import os
from pathlib import Path

import gevent
import pytest

from zbuild.digest import Digest, of_bytes
from zbuild.errors import BlobMissing, StoreFailed
from zbuild.protocol.blob_messages import Get, Parts, decode_to_store, encode_header
from zbuild.storage.blob_directory import BlobDirectory
from zbuild.transport.green import Wakeup
from zbuild.worker.blob_link import BlobLink

BLOBS = {of_bytes(b"%d" % number): b"%d" % number for number in range(300)}


def answer_all(link: BlobLink) -> None:
    """Be the store until nothing is asked for any more."""
    while requests := [decode_to_store(frames)[0] for frames in link.transfer.outgoing(0.0)]:
        for request in requests:
            assert isinstance(request, Get)
            reply = encode_header(Parts(request.request, request.parts, ()))
            link.settle(link.transfer.receive([reply, *(BLOBS[part.digest] for part in request.parts)]))


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def fetching(link: BlobLink, digests: list[Digest]) -> gevent.Greenlet[..., None]:
    greenlet = gevent.spawn(link.fetch, digests)
    gevent.sleep(0)
    return greenlet


def test_fetches_that_wait_hold_no_descriptor(tmp_path: Path) -> None:
    """An action of 1,300 inputs used up the 1,024 descriptors of a worker."""
    blobs = BlobDirectory(tmp_path / "blobs", is_durable=False)
    link = BlobLink(blobs, Wakeup())
    before = open_descriptors()
    greenlet = fetching(link, list(BLOBS))
    assert open_descriptors() < before + 10
    answer_all(link)
    greenlet.get(timeout=10)
    assert all(blobs.contains(digest) for digest in BLOBS)


def test_a_fetch_that_the_disk_refuses_fails_and_the_next_one_is_made(tmp_path: Path) -> None:
    """The second one used to wait for the first for ever."""
    blobs = BlobDirectory(tmp_path / "blobs", is_durable=False)
    link = BlobLink(blobs, Wakeup())
    digest = next(iter(BLOBS))
    os.rename(tmp_path / "blobs/tmp", tmp_path / "gone")
    (tmp_path / "blobs/tmp").symlink_to("/dev/null/nothing")
    greenlet = fetching(link, [digest])
    answer_all(link)
    with pytest.raises(StoreFailed, match="Not a directory"):
        greenlet.get(timeout=10)
    (tmp_path / "blobs/tmp").unlink()
    os.rename(tmp_path / "gone", tmp_path / "blobs/tmp")
    greenlet = fetching(link, [digest])
    answer_all(link)
    greenlet.get(timeout=10)
    assert blobs.contains(digest)


def test_an_upload_that_fails_leaves_a_fetch_of_the_same_blob_alone(tmp_path: Path) -> None:
    """Its error went to the fetch, and the blob that came then had nobody waiting: the worker ended."""
    link = BlobLink(BlobDirectory(tmp_path / "blobs", is_durable=False), Wakeup())
    digest = next(iter(BLOBS))
    fetch = fetching(link, [digest])
    upload = gevent.spawn(link.upload, [digest])
    gevent.sleep(0)
    (get,) = [decode_to_store(frames)[0] for frames in link.transfer.outgoing(0.0)]
    link.settle(link.transfer.expire(0.0))
    with pytest.raises(BlobMissing):
        upload.get(timeout=10)
    assert isinstance(get, Get)
    link.settle(link.transfer.receive([encode_header(Parts(get.request, get.parts, ())), BLOBS[digest]]))
    fetch.get(timeout=10)
