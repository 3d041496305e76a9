"""Where a worker is reached by its peers, by how it reaches the broker."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from zbuild.cli.peer_address import peer_endpoints
from zbuild.config import WorkerConfig
from zbuild.errors import BadInput


def endpoints(broker: str, **settings: object) -> list[str]:
    with peer_endpoints(WorkerConfig.load(None, settings), broker) as found:
        return found.steals


def test_a_worker_that_is_not_to_steal_is_reached_nowhere() -> None:
    assert endpoints("tcp://127.0.0.1:9000", enable_work_stealing=False) == []
    assert endpoints("ipc:///somewhere/control", enable_work_stealing=False) == []


def test_it_listens_at_the_address_that_it_has_on_its_way_to_the_broker() -> None:
    assert endpoints("tcp://127.0.0.1:9000") == ["tcp://127.0.0.1:9100", "tcp://127.0.0.1:*"]
    assert endpoints("tcp://localhost:9000")[1] in ("tcp://127.0.0.1:*", "tcp://[::1]:*")


def test_an_address_and_a_port_can_be_given() -> None:
    assert endpoints("tcp://127.0.0.1:9000", listen_host="127.0.0.9", listen_port=9200) == [
        "tcp://127.0.0.9:9200",
        "tcp://127.0.0.9:*",
    ]
    assert endpoints("tcp://127.0.0.1:9000", listen_port=0) == ["tcp://127.0.0.1:*"]
    assert endpoints("tcp://127.0.0.1:9000", listen_host="::1", listen_port=0) == ["tcp://[::1]:*"]


def test_blobs_are_served_beside_it_unless_all_workers_share_them(tmp_path: Path) -> None:
    with peer_endpoints(WorkerConfig(), "tcp://127.0.0.1:9000") as found:
        assert found.blobs == ["tcp://127.0.0.1:9101", "tcp://127.0.0.1:*"]
    with peer_endpoints(WorkerConfig(), f"ipc://{tmp_path}/control") as found:
        assert found.blobs == []


def test_a_host_of_the_broker_that_has_no_address_is_named() -> None:
    with pytest.raises(BadInput, match=r"broker\.invalid"):
        endpoints("tcp://broker.invalid:9000")


def test_a_host_of_its_own_that_has_no_address_is_named() -> None:
    with pytest.raises(BadInput, match=r"worker\.invalid"):
        endpoints("tcp://127.0.0.1:9000", listen_host="worker.invalid")


def test_beside_a_broker_on_unix_sockets_it_has_a_socket_of_its_own(tmp_path: Path) -> None:
    broker = f"ipc://{tmp_path}/control"
    with peer_endpoints(WorkerConfig(), broker) as mine, peer_endpoints(WorkerConfig(), broker) as other:
        assert os.path.dirname(mine.steals[0]) == f"ipc://{tmp_path}"
        assert mine.steals != other.steals, "two processes may have one worker id for a while"
        assert len(os.path.basename(mine.steals[0])) <= len("announcements"), "no longer than the broker's own"


def test_its_socket_goes_with_it_and_so_does_a_directory_that_is_empty_then(tmp_path: Path) -> None:
    directory = tmp_path / "sockets"
    directory.mkdir()
    (directory / "control").touch()
    with peer_endpoints(WorkerConfig(), f"ipc://{directory}/control") as found:
        Path(found.steals[0].removeprefix("ipc://")).touch()
    assert os.listdir(directory) == ["control"]
    (directory / "control").unlink()
    with peer_endpoints(WorkerConfig(), f"ipc://{directory}/control"):
        pass
    assert not directory.exists()
