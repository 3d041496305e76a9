"""Blobs from one worker process to another over real sockets, with the farm's store behind them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.blob_serving import FetchingWorker, ServingProcess
from zbuild.digest import Digest
from zbuild.errors import BlobMissing
from zbuild.limits import PEER_BLOB_TIMEOUT_S
from zbuild.storage.blob_directory import BlobDirectory

LARGE_BYTES = 64 << 20


class Three:
    """A store, a victim that serves, and a thief; each with a directory of its own."""

    def __init__(self, directory: Path, transport: str) -> None:
        self.stored = BlobDirectory(directory / "stored", is_durable=False)
        self.victims = BlobDirectory(directory / "victims", is_durable=False)
        tcp = "tcp://127.0.0.1:*"
        self.store = ServingProcess("store", directory / "stored", tcp)
        listen = tcp if transport == "tcp" else f"ipc://{directory}/victim"
        self.victim = ServingProcess("peer", directory / "victims", listen)
        self.thief = FetchingWorker(directory / "thiefs", self.store.endpoint)

    def put(self, data: bytes, *, in_store: bool, at_victim: bool) -> Digest:
        digests = [blobs.put_bytes(data) for blobs in [self.stored] * in_store + [self.victims] * at_victim]
        return digests[0]

    def close(self) -> None:
        self.thief.close()
        self.victim.close()
        self.store.close()


@pytest.fixture(params=["tcp", "ipc"])
def three(request: pytest.FixtureRequest, short_path: Path) -> Iterator[Three]:
    made = Three(short_path, request.param)
    yield made
    made.close()


def test_what_the_victim_has_comes_from_it_and_the_rest_from_the_store(three: Three) -> None:
    both = [three.put(b"both %d" % number, in_store=True, at_victim=True) for number in range(100)]
    large = three.put(os.urandom(5 << 20), in_store=True, at_victim=True)
    rest = three.put(b"only in the store", in_store=True, at_victim=False)
    own = three.put(b"not yet in the store", in_store=False, at_victim=True)

    three.thief.fetch([*both, rest, large, own], three.victim.endpoint)

    for digest in (*both, large, rest, own):
        assert three.thief.blobs.path_of(digest)
    assert three.thief.counters == {
        "peer_blobs": 102,
        "peer_blob_bytes": sum(digest.size_bytes for digest in (*both, large, own)),
        "peer_blobs_missing": 1,
    }
    assert three.thief.store_bytes == rest.size_bytes


@pytest.mark.parametrize("size_bytes", [100, 3 << 20])
def test_a_corrupt_blob_of_the_victim_is_never_committed(three: Three, size_bytes: int) -> None:
    data = os.urandom(size_bytes)
    digest = three.put(data, in_store=True, at_victim=True)
    path = three.victims.path_of(digest)
    os.chmod(path, 0o644)
    Path(path).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))

    three.thief.fetch([digest], three.victim.endpoint)

    assert three.thief.blobs.read(digest) == data, "it came from the store"
    assert (three.thief.counters["peer_blobs_corrupt"], three.thief.store_bytes) == (1, size_bytes)

    nowhere_else = three.put(data + b"!", in_store=False, at_victim=True)
    path = three.victims.path_of(nowhere_else)
    os.chmod(path, 0o644)
    Path(path).write_bytes(data + b"?")
    with pytest.raises(BlobMissing):
        three.thief.fetch([nowhere_else], three.victim.endpoint)
    assert not three.thief.blobs.contains(nowhere_else)


def test_a_victim_that_is_killed_in_the_middle_costs_its_time_out(three: Three) -> None:
    digest = three.put(os.urandom(LARGE_BYTES), in_store=True, at_victim=True)
    scratch = os.path.join(three.thief.blobs.path, "tmp")
    killed: list[bool] = []

    def kill_when_some_has_come() -> None:
        arrived = [os.path.join(path, name) for path, _, names in os.walk(scratch) for name in names]
        if not killed and any(map(os.path.getsize, arrived)):
            three.victim.kill()
            killed.append(True)

    took_s = three.thief.fetch([digest], three.victim.endpoint, kill_when_some_has_come)

    assert killed
    assert three.thief.blobs.path_of(digest)
    assert three.thief.counters["peer_blob_timeouts"] == 1
    assert "peer_blobs" not in three.thief.counters
    assert three.thief.store_bytes == LARGE_BYTES
    assert took_s >= PEER_BLOB_TIMEOUT_S

    again = three.put(b"another", in_store=True, at_victim=True)
    assert three.thief.fetch([again], three.victim.endpoint) < PEER_BLOB_TIMEOUT_S, "it is not asked again so soon"
