"""Where an action's inputs come from: the peer that is named, then the farm's store."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import pytest

from zbuild.digest import Digest, of_bytes
from zbuild.worker.platform import Platform
from zbuild.worker.processes import Processes
from zbuild.worker.surroundings import WorkerSurroundings

ONE, TWO, THREE = (of_bytes(data) for data in (b"1", b"2", b"3"))
PEER = "tcp://127.0.0.1:5"


class NotedFetches:
    """The farm's store, and a peer that has only ONE."""

    def __init__(self) -> None:
        self.of_store: list[Digest] = []
        self.of_peer: list[tuple[str, list[Digest]]] = []

    def fetch(self, digests: Iterable[Digest]) -> None:
        self.of_store += digests

    def upload(self, digests: Iterable[Digest]) -> None:
        raise AssertionError("nothing is uploaded")


class NotedPeer:
    """The way to it."""

    def __init__(self, noted: NotedFetches) -> None:
        self._noted = noted

    def fetch(self, endpoint: str, digests: Iterable[Digest]) -> list[Digest]:
        asked = list(digests)
        self._noted.of_peer.append((endpoint, asked))
        return [digest for digest in asked if digest != ONE]


def surroundings(noted: NotedFetches, has_peers: bool) -> WorkerSurroundings:
    peers = NotedPeer(noted) if has_peers else None
    return WorkerSurroundings(noted, cast(Processes, None), cast(Platform, None), peers)


def test_the_peer_is_asked_first_and_the_store_for_the_rest() -> None:
    noted = NotedFetches()
    surroundings(noted, has_peers=True).fetch([ONE, TWO, THREE], PEER)
    assert (noted.of_peer, noted.of_store) == ([(PEER, [ONE, TWO, THREE])], [TWO, THREE])


@pytest.mark.parametrize(("peer", "has_peers"), [("", True), (PEER, False)])
def test_without_a_peer_the_store_is_asked_for_all(peer: str, has_peers: bool) -> None:
    noted = NotedFetches()
    surroundings(noted, has_peers).fetch([ONE, TWO], peer)
    assert (noted.of_peer, noted.of_store) == ([], [ONE, TWO])
